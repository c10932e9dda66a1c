"""The answering side of discovery, rule by rule, without a socket."""

from __future__ import annotations

import pytest

from postscan.contracts import wsd
from postscan.dpws.discovery.timing import APP_MAX_DELAY
from postscan.soap.names import ANONYMOUS, ANONYMOUS_2005, WSCN, WSD, qname
from support.discovery import (
    ADDRESS,
    DEVICE,
    LINK,
    LOOPBACK,
    NEIGHBOUR,
    NORTH,
    TARGET,
    WINDOWS_PROBE,
    WS_DSC,
    WS_DSP,
    Desk,
    address,
    matches_in,
    message,
    number_of,
    probe,
    resolve,
    sent,
)

ODD_PROBE = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"><s:Header>'
    f"<a:Action>{WSD}/Probe</a:Action><a:MessageID>uuid:1</a:MessageID>%s</s:Header>"
    f'<s:Body><p:Probe xmlns:p="{WSD}"><p:Types>%s</p:Types></p:Probe></s:Body></s:Envelope>'
)


@pytest.mark.parametrize("types", [(), (DEVICE,), (WS_DSP,), (DEVICE, WS_DSC)])
def test_a_probe_for_our_types_is_answered_with_all_that_is_known(types: tuple[str, ...]) -> None:
    (match,) = matches_in(Desk().ask(probe(*types)))
    assert match.endpoint.address == ADDRESS
    assert match.types == TARGET.types
    assert match.scopes == TARGET.scopes
    assert match.xaddrs == (ADDRESS,)
    assert match.metadata_version == 7


@pytest.mark.parametrize("types", [(qname(WSCN, "ScanDeviceType"),), (DEVICE, qname(WSD, "DiscoveryProxy"))])
def test_a_probe_for_another_type_is_not_answered(types: tuple[str, ...]) -> None:
    assert Desk().ask(probe(*types)) is None


def test_a_type_whose_prefix_means_nothing_is_nobodys() -> None:
    assert Desk().ask((ODD_PROBE % ("", "x:Device")).encode().ljust(900)) is None
    assert Desk().ask((ODD_PROBE % ("", "")).encode().ljust(900)) is not None


def test_the_answer_names_the_probe_and_goes_to_where_it_came_from() -> None:
    outgoing = Desk().ask(probe(message_id="urn:uuid:8c1d"), port=50_001)
    assert outgoing is not None
    assert (outgoing.destination, outgoing.port, outgoing.interface) == (NEIGHBOUR, 50_001, LINK)
    envelope = sent(outgoing)
    assert envelope.headers.relates_to == "urn:uuid:8c1d"
    assert envelope.headers.to == ANONYMOUS


@pytest.mark.parametrize(
    ("scopes", "rule", "answered"),
    [
        ((NORTH,), None, True),
        (("HTTP://EXAMPLE.com/floors",), None, True),
        (("http://example.com/floors/31",), None, False),
        (("http://example.com/floors",), wsd.RFC2396, True),
        (("http://example.com/floors",), wsd.STRCMP0, False),
        ((NORTH,), wsd.STRCMP0, True),
        ((NORTH, "http://example.com/cellar"), wsd.STRCMP0, False),
        (("urn:uuid:3b0f7cd5-5a3a-4b3c-8e2c-000000000001",), wsd.UUID, False),
        ((NORTH,), f"{WSD}/ldap", False),
        ((NORTH,), "urn:example:my-own-rule", False),
    ],
)
def test_scopes_are_compared_by_the_rule_that_is_asked_for(
    scopes: tuple[str, ...], rule: str | None, answered: bool
) -> None:
    assert (Desk().ask(probe(scopes=scopes, match_by=rule)) is not None) is answered


def test_a_rule_nobody_knows_is_a_fault_for_who_asks_us_alone() -> None:
    asked = probe(scopes=(NORTH,), match_by="urn:example:my-own-rule", pad=1_200)
    envelope = sent(Desk().ask(asked, destination=address("192.168.7.1")))
    assert envelope.headers.action == f"{WSD}/fault"
    assert envelope.body is not None
    assert f"{WSD}/rfc2396" in "".join(envelope.body.itertext())


def test_the_fault_too_is_not_much_larger_than_the_question() -> None:
    asked = probe(scopes=("a:b",), match_by="c:d", pad=0)
    assert Desk(size_ratio=1.0).ask(asked, destination=address("192.168.7.1")) is None


@pytest.mark.parametrize("endpoint", [ADDRESS, f"{ADDRESS}/"])
def test_our_own_endpoint_is_resolved(endpoint: str) -> None:
    envelope = sent(Desk().ask(resolve(endpoint)))
    assert envelope.body is not None
    match = wsd.ResolveMatches.from_element(envelope.body).match
    assert match is not None
    assert match.xaddrs == (ADDRESS,)


def test_the_endpoint_of_another_is_not_resolved() -> None:
    assert Desk().ask(resolve("urn:uuid:5ad9f1c5-0000-4000-8000-000000000000")) is None


def test_what_was_asked_of_everybody_is_answered_after_a_random_while() -> None:
    desk = Desk()
    firsts = []
    for number in range(50):
        desk.now += 10
        outgoing = desk.ask(probe(), port=50_000 + number)
        assert outgoing is not None
        first, second = outgoing.times
        assert 0 <= first <= APP_MAX_DELAY
        assert 0.05 <= second - first <= 0.25
        firsts.append(first)
    assert max(firsts) - min(firsts) > APP_MAX_DELAY / 2


def test_what_was_asked_of_us_alone_is_answered_at_once() -> None:
    outgoing = Desk().ask(probe(), destination=address("192.168.7.1"))
    assert outgoing is not None
    assert outgoing.times[0] == 0


def test_a_probe_that_comes_again_is_answered_once() -> None:
    desk = Desk()
    asked = probe(message_id="urn:uuid:1")
    assert desk.ask(asked) is not None
    assert desk.ask(asked) is None


def test_another_sender_with_the_same_message_id_is_answered_too() -> None:
    desk = Desk()
    asked = probe(message_id="urn:uuid:1")
    assert desk.ask(asked) is not None
    assert desk.ask(asked, source=address("192.168.7.43")) is not None
    assert desk.ask(asked, port=50_000) is not None


@pytest.mark.parametrize("reply_to", [ANONYMOUS, ANONYMOUS_2005])
def test_a_reply_to_that_is_anonymous_is_answered(reply_to: str) -> None:
    assert Desk().ask(probe(reply_to=reply_to)) is not None


@pytest.mark.parametrize("reply_to", ["http://192.168.7.99/sink", "urn:uuid:1", "soap.udp://10.0.0.1:7"])
def test_a_reply_to_that_leads_elsewhere_is_ignored(reply_to: str) -> None:
    assert Desk().ask(probe(reply_to=reply_to)) is None


@pytest.mark.parametrize(
    "data",
    [
        message(wsd.PROBE_ACTION, wsd.Resolve(wsd.EndpointReference(ADDRESS)).to_element(), pad=800),
        message(wsd.RESOLVE_ACTION, wsd.Probe().to_element(), pad=800),
        message(wsd.HELLO_ACTION, wsd.Probe().to_element(), pad=800),
        message(wsd.PROBE_MATCHES_ACTION, wsd.ProbeMatches().to_element(), pad=800),
        probe().replace(b"MessageID", b"MessageNo"),
        (ODD_PROBE % ('<x:y xmlns:x="urn:x" s:mustUnderstand="1"/>', "")).encode().ljust(900),
        (ODD_PROBE % ("<a:Action>urn:again</a:Action>", "")).encode().ljust(900),
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + probe(),
    ],
)
def test_what_is_no_proper_question_gets_silence(data: bytes) -> None:
    assert Desk().ask(data) is None


def test_a_question_to_another_group_is_not_ours() -> None:
    assert Desk().ask(probe(), destination=address("239.255.255.251")) is None


def test_numbers_are_taken_when_a_message_is_first_sent_and_copies_are_the_same() -> None:
    desk = Desk()
    first, second = desk.ask(probe()), desk.ask(probe(), port=50_000)
    assert first is not None
    assert second is not None
    later = second.message.write()
    assert number_of(sent(first)) == number_of(sent(second)) + 1
    assert second.message.write() == later
    assert desk.counter.next().message_number == 3


def test_without_an_address_for_the_asker_there_is_silence() -> None:
    desk = Desk()
    desk.xaddrs = ()
    assert desk.ask(probe()) is None
    assert desk.responder.hello(LINK, 4) is None
    assert desk.responder.bye(LINK, 4) is None


def test_the_answer_to_a_probe_of_windows_holds_everything() -> None:
    (match,) = matches_in(Desk().ask(probe(DEVICE, pad=WINDOWS_PROBE)))
    assert match.types == TARGET.types


def test_who_asks_shortly_is_told_only_the_types_asked_for() -> None:
    desk = Desk(size_ratio=2.2)
    asked = probe(DEVICE, pad=0)
    outgoing = desk.ask(asked)
    (match,) = matches_in(outgoing)
    assert match.types == (DEVICE,)
    assert outgoing is not None
    assert len(outgoing.message.write()) <= 2.2 * len(asked)


def test_hello_tells_everybody_on_one_link_four_times() -> None:
    outgoing = Desk().responder.hello(LINK, 6)
    assert outgoing is not None
    assert (str(outgoing.destination), outgoing.port, outgoing.interface) == ("ff02::c", 3702, LINK)
    first, *others = outgoing.times
    assert 0 <= first <= APP_MAX_DELAY
    pauses = [b - a for a, b in zip(outgoing.times, others, strict=False)]
    assert len(pauses) == 3
    assert 0.05 <= pauses[0] <= 0.25
    assert pauses[1:] == pytest.approx([min(2 * pauses[0], 0.5), min(4 * pauses[0], 0.5)])
    envelope = sent(outgoing)
    assert envelope.headers.to == wsd.DISCOVERY_TO
    assert envelope.headers.relates_to is None
    assert envelope.body is not None
    hello = wsd.Hello.from_element(envelope.body)
    assert (hello.xaddrs, hello.types, hello.metadata_version) == ((ADDRESS,), TARGET.types, 7)


def test_bye_goes_at_once() -> None:
    outgoing = Desk().responder.bye(LOOPBACK, 4)
    assert outgoing is not None
    assert outgoing.times[0] == 0
    assert len(outgoing.times) == 4
    envelope = sent(outgoing)
    assert envelope.body is not None
    assert wsd.Bye.from_element(envelope.body).endpoint.address == ADDRESS


def test_what_changed_is_in_the_next_hello() -> None:
    desk = Desk()
    desk.target = type(TARGET)(ADDRESS, (DEVICE,), (), 8)
    envelope = sent(desk.responder.hello(LINK, 4))
    assert envelope.body is not None
    assert wsd.Hello.from_element(envelope.body).metadata_version == 8
