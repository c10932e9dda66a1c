"""What real peers do otherwise than expected in discovery, in messages of our own.

The traits are those of the captured messages, which are not in this repository (test_captures.py reads them).
"""

from __future__ import annotations

import pytest

from postscan.contracts import wsd
from postscan.dpws.discovery.findings import Findings, Question, Sighting, usable_addresses
from postscan.soap.names import (
    ANONYMOUS,
    ANONYMOUS_2005,
    WSCN,
    WSDP,
    qname,
)
from samples.own import (
    ADDRESS,
    DEVICE,
    ENDPOINT,
    ID,
    REFERENCE,
    datagram,
    match,
    only_match,
    question,
    told,
)
from support.discovery import LINK, NEIGHBOUR, TARGET, Desk, matches_in, sent

# Probes and Resolves ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param(
            question(
                wsd.PROBE_ACTION,
                f'<d:Probe><d:Types xmlns:kde="{WSDP}">kde:Device</d:Types></d:Probe>',
                headers=f"<a:ReplyTo><a:Address>{ANONYMOUS_2005}</a:Address></a:ReplyTo>",
            ),
            id="KDE: a reply address of 2005/08, a prefix declared at the types",
        ),
        pytest.param(
            question(wsd.PROBE_ACTION, "<d:Probe/>", prolog='<?xml version="1.0" ?>\n'),
            id="WSDiscovery: no types, a prolog with a blank and a line end behind",
        ),
        pytest.param(
            question(
                f"\n\t{wsd.PROBE_ACTION}\n ", "\n<d:Probe>\n<d:Types>\n p:Device\n</d:Types></d:Probe>\n"
            ),
            id="WSDAPI's documents: white space round every value",
        ),
        pytest.param(
            question(
                wsd.PROBE_ACTION,
                "<d:Probe><d:Types>p:Device</d:Types></d:Probe>",
                prolog='<?xml version="1.0" encoding="utf-8"?>',
            ),
            id="Windows and wsdd: all on one line",
        ),
        pytest.param(
            question(wsd.PROBE_ACTION, "<d:Probe><d:Types>p:Device</d:Types></d:Probe>").replace(
                b"<a:Action>", b'<a:Action e:mustUnderstand="true">'
            ),
            id="gSOAP: an action that must be understood",
        ),
    ],
)
def test_a_probe_as_real_clients_write_it_is_answered(probe: bytes) -> None:
    answer = Desk().ask(probe)
    assert sent(answer).headers.relates_to == ID
    (found,) = matches_in(answer)
    assert found.endpoint.address == TARGET.address


@pytest.mark.parametrize(
    "types",
    [
        pytest.param("<d:Types>nobody:Device</d:Types>", id="gSOAP: a prefix declared nowhere"),
        pytest.param(
            '<d:Types xmlns:kQ="http">kQ:schemas.xmlsoap.org/ws/2006/02/devprof</d:Types>',
            id="WSDiscovery: a type split in the middle of its URI",
        ),
    ],
)
def test_a_probe_for_what_cannot_be_a_type_is_read_and_finds_nobody(types: str) -> None:
    probe = question(wsd.PROBE_ACTION, f"<d:Probe>{types}</d:Probe>")
    body = datagram(probe).body
    assert body is not None
    assert wsd.Probe.from_element(body) == wsd.Probe(unresolved_types=True)
    assert Desk().ask(probe) is None


def test_a_resolve_with_white_space_round_its_endpoint_is_answered() -> None:
    reference = f"<a:EndpointReference>\n<a:Address>\n {TARGET.address}\n</a:Address>\n</a:EndpointReference>"
    answer = sent(Desk().ask(question(wsd.RESOLVE_ACTION, f"<d:Resolve>\n{reference}</d:Resolve>")))
    assert answer.headers.action == wsd.RESOLVE_MATCHES_ACTION


# Announcements and matches ------------------------------------------------------------------------------


def hello(content: str, headers: str = "") -> bytes:
    return question(wsd.HELLO_ACTION, f"<d:Hello>{REFERENCE}{content}</d:Hello>", headers=headers)


def test_a_hello_numbered_from_zero_is_news() -> None:
    """The first message of wsdd has the number 0."""
    sequence = '<d:AppSequence InstanceId="17" SequenceId="urn:uuid:s" MessageNumber="0" />'
    data = hello(f"<d:XAddrs>{ADDRESS}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>", sequence)
    found = Findings(wsd.Probe()).hear(data, NEIGHBOUR, LINK)
    assert found == [Sighting(ENDPOINT, (), (), (ADDRESS,), 1, NEIGHBOUR, LINK)]


def test_an_app_sequence_with_an_end_tag_and_no_sequence_is_read() -> None:
    """Windows writes the end tag, Kyocera leaves the sequence out."""
    block = '<d:AppSequence MessageNumber="525" InstanceId="1727722437"></d:AppSequence>'
    (header,) = datagram(hello("<d:MetadataVersion>24</d:MetadataVersion>", block)).headers.others
    assert wsd.AppSequence.from_element(header) == wsd.AppSequence(1727722437, 525)


def test_a_hello_without_addresses_is_asked_for_them() -> None:
    data = hello("<d:Types>p:Device</d:Types><d:MetadataVersion>2</d:MetadataVersion>")
    (asked,) = Findings(wsd.Probe()).hear(data, NEIGHBOUR, LINK)
    assert isinstance(asked, Question)


def test_an_address_without_scheme_is_read_and_never_called() -> None:
    data = hello(
        '<d:Types xmlns:kQ="http">kQ:schemas.xmlsoap.org/ws</d:Types>'
        "<d:XAddrs>192.168.7.42:5357</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>"
    )
    body = datagram(data).body
    assert body is not None
    read = wsd.Hello.from_element(body)
    assert (read.types, read.xaddrs) == ((), ("192.168.7.42:5357",))
    assert usable_addresses(read) == ()


def test_a_match_with_two_addresses_and_an_endpoint_without_urn_is_read() -> None:
    """Kyocera's firmware: headers before To, both versions of IP, and a Body that preserves its space."""
    addresses = ("http://192.168.7.42:5358/Service/", "http://[fe80::17:42]:5358/Service/")
    reference = REFERENCE.replace("urn:uuid:", "uuid:")
    data = told(
        wsd.PROBE_MATCHES_ACTION,
        match(
            f"{reference}<d:Types>p:Device w:ScanDeviceType</d:Types>"
            f"<d:XAddrs>{' '.join(addresses)}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>"
        ),
    ).replace(b"<e:Body>", b'<e:Body xml:space="preserve">')
    found = only_match(data)
    assert found.endpoint.address == ENDPOINT.removeprefix("urn:")
    assert found.types == (DEVICE, qname(WSCN, "ScanDeviceType"))
    assert usable_addresses(found) == addresses


def test_a_match_of_a_camera_is_read() -> None:
    """ONVIF's: To and Action must be understood, the endpoint has empty parts, and there are no types."""
    reference = REFERENCE.replace(
        "</a:Address>",
        "</a:Address><a:ReferenceProperties/><a:ReferenceParameters/><a:PortType>ttl</a:PortType>",
    )
    data = told(
        wsd.PROBE_MATCHES_ACTION,
        match(
            f"{reference}<d:Scopes>cam://maker.example/a cam://maker.example/b</d:Scopes>"
            f"<d:XAddrs>{ADDRESS}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>"
        ),
        headers=f'<a:To e:mustUnderstand="true">{ANONYMOUS}</a:To>',
    ).replace(b"<a:Action>", b'<a:Action e:mustUnderstand="true">')
    found = only_match(data)
    assert found.endpoint == wsd.EndpointReference(ENDPOINT)
    assert (found.types, found.scopes) == ((), ("cam://maker.example/a", "cam://maker.example/b"))


def test_a_match_without_addresses_is_read() -> None:
    data = told(wsd.PROBE_MATCHES_ACTION, match(f"{REFERENCE}<d:MetadataVersion>1</d:MetadataVersion>"))
    assert only_match(data).xaddrs == ()


def test_addresses_and_versions_with_line_ends_round_them_are_read() -> None:
    data = told(
        wsd.RESOLVE_MATCHES_ACTION,
        f"<d:ResolveMatches>\n<d:ResolveMatch>{REFERENCE}<d:XAddrs>\n  {ADDRESS}\n</d:XAddrs>"
        "<d:MetadataVersion>\n2\n</d:MetadataVersion></d:ResolveMatch></d:ResolveMatches>",
    )
    body = datagram(data).body
    assert body is not None
    found = wsd.ResolveMatches.from_element(body).match
    assert found == wsd.ProbeMatch(wsd.EndpointReference(ENDPOINT), xaddrs=(ADDRESS,), metadata_version=2)
