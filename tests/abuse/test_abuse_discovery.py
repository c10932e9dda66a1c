"""Abuse case 18: nobody turns discovery against others, or against the server itself."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postscan.dpws.discovery import responder as responding
from postscan.dpws.discovery.guards import AnswerRates
from postscan.dpws.discovery.messages import read_datagram
from postscan.dpws.discovery.timing import MAX_DATAGRAM
from support.discovery import DEVICE, LOOPBACK, NORTH, WS_DSP, Desk, address, probe, resolve

SLOW = AnswerRates(total=4.0, per_source=1.0)


@pytest.mark.parametrize(
    ("source", "port"),
    [
        ("10.1.2.3", 50_000),  # behind a router
        ("192.168.8.1", 50_000),
        ("2001:db8::7", 50_000),
        ("192.168.7.255", 50_000),  # the link's broadcast address, and its own
        ("192.168.7.0", 50_000),
        ("255.255.255.255", 50_000),
        ("239.255.255.250", 50_000),
        ("ff02::c", 50_000),
        ("0.0.0.0", 50_000),
        ("::", 50_000),
        ("127.0.0.1", 50_000),  # forged: comes in over the network
        ("::1", 50_000),
        ("192.168.7.1", 50_000),  # our own address
        ("fe80::1", 50_000),
        ("192.168.7.42", 0),
        ("192.168.7.42", 19),  # chargen, DNS, NTP would answer the answer
        ("192.168.7.42", 53),
        ("192.168.7.42", 123),
    ],
)
def test_case_18_forged_and_distant_sources_get_nothing(source: str, port: int) -> None:
    assert Desk().ask(probe(), source=address(source), port=port) is None


@pytest.mark.parametrize("source", ["192.168.7.42", "fd07::42", "fe80::42"])
def test_case_18_neighbours_are_answered(source: str) -> None:
    assert Desk().ask(probe(), source=address(source)) is not None


@pytest.mark.parametrize("source", ["127.0.0.1", "192.168.7.1"])
def test_case_18_over_loopback_this_machine_itself_is_answered(source: str) -> None:
    assert Desk().ask(probe(), source=address(source), interface=LOOPBACK) is not None


def test_case_18_over_loopback_nobody_else_is() -> None:
    assert Desk().ask(probe(), source=address("192.168.7.42"), interface=LOOPBACK) is None


def test_case_18_a_responder_does_not_talk_to_itself() -> None:
    assert Desk().ask(probe(), source=address("192.168.7.1"), port=3702, interface=LOOPBACK) is None


def test_case_18_what_was_sent_to_an_address_that_is_not_ours_is_ignored() -> None:
    assert Desk().ask(probe(), destination=address("192.168.7.255")) is None
    assert Desk().ask(probe(), destination=address("255.255.255.255")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n",
        b"<a/>",
        probe(pad=MAX_DATAGRAM + 1),
        b"x" + probe(),
    ],
)
def test_case_18_what_cannot_be_a_question_is_dropped_unparsed(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(responding, "read_datagram", parsed.append)
    assert Desk().ask(data) is None
    assert parsed == []


def test_case_18_nobody_far_away_makes_us_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(responding, "read_datagram", parsed.append)
    assert Desk().ask(probe(), source=address("10.1.2.3")) is None
    assert parsed == []


def test_case_18_a_flood_is_not_even_parsed_beyond_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(responding, "read_datagram", parsed.append)
    desk = Desk()
    for number in range(5_000):
        desk.ask(probe(message_id=f"urn:uuid:{number}"))
    assert len(parsed) == 400


def test_case_18_one_address_is_answered_at_a_bounded_rate_and_others_still_are() -> None:
    desk = Desk(rates=AnswerRates(total=50.0, per_source=1.0))
    assert sum(desk.ask(probe(), port=50_000 + n) is not None for n in range(20)) == 2
    assert desk.ask(probe(), source=address("192.168.7.43")) is not None
    desk.now += 1.01
    assert sum(desk.ask(probe(), port=51_000 + n) is not None for n in range(20)) == 1


def test_case_18_all_together_are_answered_at_a_bounded_rate() -> None:
    desk = Desk(rates=SLOW)
    sources = [address(f"192.168.7.{n}") for n in range(2, 100)]
    assert sum(desk.ask(probe(), source=source) is not None for source in sources) == 8
    desk.now += 1.01
    assert sum(desk.ask(probe(), source=source, port=50_000) is not None for source in sources) == 4


def test_case_18_many_forged_sources_take_bounded_memory() -> None:
    desk = Desk()
    for number in range(3_000):
        desk.now += 1
        desk.ask(probe(), source=address(f"fe80::{number:x}:1"))
    assert len(desk.responder._limiter._sources) <= 1_024
    assert len(desk.responder._recent._seen) <= 1_024


def test_case_18_no_answer_to_an_answer() -> None:
    """Two responders that hear each other must not keep each other busy."""
    desk = Desk()
    outgoing = desk.ask(probe())
    assert outgoing is not None
    assert Desk().ask(outgoing.message.write()) is None


VALID = [
    probe(DEVICE, message_id="urn:uuid:1", pad=0),
    probe(WS_DSP, scopes=(NORTH,), message_id="urn:uuid:2"),
    resolve(message_id="urn:uuid:3", pad=0),
    probe(scopes=("a:b",), match_by="urn:x", message_id="urn:uuid:4", pad=0),
]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """Return a question with pieces cut out, doubled, or replaced."""
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 120)))
        piece = draw(st.one_of(st.binary(max_size=40), st.just(bytes(data[start:end]) * 2), st.just(b"")))
        data[start:end] = piece
    return bytes(data)


@given(
    st.one_of(st.binary(max_size=2_000), mangled()),
    st.sampled_from([None, "192.168.7.1"]),
    st.sampled_from(["192.168.7.42", "fe80::42", "10.0.0.1"]),
)
@example(VALID[0], None, "192.168.7.42")
@example(VALID[3], "192.168.7.1", "192.168.7.42")
def test_case_18_whatever_comes_nothing_larger_than_allowed_goes_out(
    data: bytes, destination: str | None, source: str
) -> None:
    to = None if destination is None or ":" in source else address(destination)
    outgoing = Desk().ask(data, source=address(source), destination=to)
    if outgoing is not None:
        assert source != "10.0.0.1"
        assert outgoing.destination == address(source)
        assert len(outgoing.message.write()) <= 3 * len(data)
        assert len(outgoing.times) == 2


@given(st.binary(max_size=500))
def test_case_18_reading_any_octets_raises_nothing(data: bytes) -> None:
    assert read_datagram(data) is None
