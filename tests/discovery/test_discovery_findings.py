"""The searching side of discovery, rule by rule, without a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.contracts import wsd
from postscan.dpws.discovery.findings import Findings, Gone, Question, Sighting
from postscan.dpws.discovery.messages import read_datagram
from postscan.soap.names import WSCN, qname
from support.discovery import ADDRESS, DEVICE, LINK, NEIGHBOUR, WS_DSP, address, message

UUID = "urn:uuid:5ad9f1c5-0000-4000-8000-000000000000"
PLAIN = "http://192.168.7.42:5357/5ad9f1c5"


def device(
    endpoint: str = UUID,
    xaddrs: tuple[str, ...] = (PLAIN,),
    version: int = 1,
    types: tuple[str, ...] = (DEVICE,),
) -> wsd.ProbeMatch:
    return wsd.ProbeMatch(wsd.EndpointReference(endpoint), types, (), xaddrs, version)


def order(number: int, instance: int = 5) -> wsd.AppSequence:
    return wsd.AppSequence(instance, number, "urn:uuid:s")


class Search:
    """A search, and what it hears from a neighbour."""

    def __init__(self, *types: str) -> None:
        self.findings = Findings(wsd.Probe(types=types or (DEVICE,)))
        envelope = read_datagram(self.findings.question())
        assert envelope is not None
        self.id = envelope.headers.message_id or ""

    def hear(self, data: bytes, source: str = str(NEIGHBOUR)) -> list[Sighting | Gone | Question]:
        return self.findings.hear(data, address(source), LINK)

    def matches(
        self, *devices: wsd.ProbeMatch, number: int = 1, instance: int = 5, relates_to: str | None = None
    ) -> list[Sighting | Gone | Question]:
        body = wsd.ProbeMatches(devices).to_element()
        return self.hear(
            message(
                wsd.PROBE_MATCHES_ACTION,
                body,
                relates_to=relates_to or self.id,
                sequence=order(number, instance),
            )
        )

    def hello(
        self, number: int = 1, instance: int = 5, version: int = 1, types: tuple[str, ...] = (DEVICE,)
    ) -> list[Sighting | Gone | Question]:
        body = wsd.Hello(wsd.EndpointReference(UUID), types, (), (PLAIN,), version).to_element()
        return self.hear(message(wsd.HELLO_ACTION, body, sequence=order(number, instance)))

    def bye(self, number: int = 9) -> list[Sighting | Gone | Question]:
        body = wsd.Bye(wsd.EndpointReference(UUID)).to_element()
        return self.hear(message(wsd.BYE_ACTION, body, sequence=order(number)))


def test_a_match_is_found_with_the_address_of_who_sent_it() -> None:
    (sighting,) = Search().matches(device())
    assert sighting == Sighting(UUID, (DEVICE,), (), (PLAIN,), 1, NEIGHBOUR, LINK)


def test_an_answer_to_somebody_elses_probe_is_not_ours() -> None:
    assert Search().matches(device(), relates_to="urn:uuid:other") == []


def test_one_answer_may_tell_of_several_devices() -> None:
    found = Search().matches(device(), device("urn:uuid:2"))
    assert [f.endpoint for f in found] == [UUID, "urn:uuid:2"]


def test_the_same_again_is_no_news() -> None:
    search = Search()
    assert search.matches(device())
    assert search.matches(device()) == []
    assert search.matches(device(), number=2) == []
    assert search.hello(number=3) == []


def test_who_comes_while_we_listen_is_found() -> None:
    assert [type(f) for f in Search().hello()] == [Sighting]


def test_a_hello_of_another_type_is_not_what_was_searched() -> None:
    assert Search(WS_DSP).hello(types=(DEVICE, qname(WSCN, "ScanDeviceType"))) == []
    assert Search(WS_DSP).hello(types=(DEVICE, WS_DSP)) != []


def test_who_takes_its_leave_is_gone() -> None:
    search = Search()
    search.matches(device())
    assert search.bye() == [Gone(UUID)]


def test_the_leave_of_somebody_unknown_is_no_news() -> None:
    assert Search().bye() == []


def test_a_message_that_was_late_brings_nobody_back() -> None:
    search = Search()
    search.matches(device(), number=3)
    search.bye(number=9)
    assert search.hello(number=4) == []
    assert search.matches(device(), number=5) == []
    assert search.hello(number=10) != []


def test_a_message_of_an_earlier_start_is_old() -> None:
    search = Search()
    search.matches(device(), instance=6)
    assert search.hello(number=100, instance=5, version=9) == []


def test_answers_that_overtake_each_other_both_count() -> None:
    search = Search()
    search.matches(device(), number=7)
    (second,) = search.matches(device(xaddrs=("http://192.168.7.42:80/",)), number=6)
    assert isinstance(second, Sighting)


def test_newer_metadata_are_news_and_older_are_not() -> None:
    search = Search()
    search.matches(device(version=3))
    (newer,) = search.hello(number=2, version=4)
    assert isinstance(newer, Sighting)
    assert newer.metadata_version == 4
    assert search.hello(number=3, version=2) == []


def test_a_device_without_addresses_is_asked_for_them_once() -> None:
    search = Search()
    (question,) = search.matches(device(xaddrs=()))
    assert isinstance(question, Question)
    assert search.matches(device(xaddrs=()), number=2) == []
    asked = read_datagram(question.data)
    assert asked is not None
    body = wsd.ResolveMatches(device()).to_element()
    answer = message(wsd.RESOLVE_MATCHES_ACTION, body, relates_to=asked.headers.message_id, sequence=order(3))
    (sighting,) = search.hear(answer)
    assert isinstance(sighting, Sighting)
    assert sighting.xaddrs == (PLAIN,)


def test_the_addresses_of_another_device_are_no_answer_to_that() -> None:
    search = Search()
    (question,) = search.matches(device(xaddrs=()))
    assert isinstance(question, Question)
    asked = read_datagram(question.data)
    assert asked is not None
    body = wsd.ResolveMatches(device("urn:uuid:2")).to_element()
    answer = message(wsd.RESOLVE_MATCHES_ACTION, body, relates_to=asked.headers.message_id, sequence=order(3))
    assert search.hear(answer) == []


@pytest.mark.parametrize(
    ("endpoint", "xaddrs", "usable"),
    [
        (UUID, (PLAIN, "http://[fe80::1]:5357/5ad9f1c5"), (PLAIN, "http://[fe80::1]:5357/5ad9f1c5")),
        (ADDRESS, (ADDRESS,), (ADDRESS,)),
        (f"{ADDRESS}/", (ADDRESS,), (ADDRESS,)),
        (UUID, (ADDRESS,), ()),
        (ADDRESS, (ADDRESS, PLAIN), ()),
        (UUID, ("ftp://192.168.7.42/", "file:///etc/passwd", "http://", "http://x:99999/", PLAIN), (PLAIN,)),
    ],
)
def test_addresses_are_http_and_secure_ones_are_the_device_itself(
    endpoint: str, xaddrs: tuple[str, ...], usable: tuple[str, ...]
) -> None:
    found = Search().matches(device(endpoint, xaddrs))
    assert [f.xaddrs for f in found if isinstance(f, Sighting)] == ([usable] if usable else [])


def test_a_device_without_app_sequence_is_found() -> None:
    search = Search()
    body = wsd.ProbeMatches((device(),)).to_element()
    assert search.hear(message(wsd.PROBE_MATCHES_ACTION, body, relates_to=search.id)) != []


def test_one_who_tells_of_thousands_fills_no_memory() -> None:
    search = Search()
    for number in range(30):
        search.matches(*(device(f"urn:x:{number}:{n}") for n in range(40)), number=number + 1)
    assert len(search.findings._known) == 1_024


@given(st.binary(max_size=1_000))
def test_whatever_is_heard_raises_nothing(data: bytes) -> None:
    assert Search().hear(data) == []
