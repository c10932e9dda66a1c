"""What the captured messages of WS-Discovery say, and what our responder and our search make of them."""

from __future__ import annotations

from dataclasses import replace

from postscan.contracts import wsd
from postscan.dpws.discovery.findings import Findings, Gone, Question, Sighting, usable_addresses
from postscan.dpws.discovery.messages import read_datagram
from postscan.soap.envelope import Envelope
from postscan.soap.names import ANONYMOUS, ANONYMOUS_2005, DISCOVERY_TO, WSCN, WSDP, qname
from support.discovery import LINK, NEIGHBOUR, TARGET, Desk, matches_in, sent
from support.samples import FOLDER, expects

DEVICE = qname(WSDP, "Device")
COMPUTER = "{http://schemas.microsoft.com/windows/pub/2005/07}Computer"
PRINT_DEVICE = "{http://schemas.microsoft.com/windows/2006/08/wdp/print}PrintDeviceType"
MSDOCS_DEVICE = "urn:uuid:37f86d35-e6ac-4241-964f-1d9ae46fb366"
MSDOCS_ADDRESS = "http://192.168.0.2:5357/37f86d35-e6ac-4241-964f-1d9ae46fb366"
MSDOCS_SEQUENCE = "urn:uuid:369a7d7b-5f87-48a4-aa9a-189edf2a8772"
WSDD_DEVICE = "urn:uuid:3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"
WSDD_ADDRESS = "http://10.9.0.2:5357/3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"


def datagram(data: bytes) -> Envelope:
    envelope = read_datagram(data)
    assert envelope is not None
    return envelope


def sequence_of(envelope: Envelope) -> wsd.AppSequence:
    (header,) = (h for h in envelope.headers.others if h.tag == wsd.AppSequence.TAG)
    return wsd.AppSequence.from_element(header)


def probe_in(data: bytes, message_id: str) -> wsd.Probe:
    envelope = datagram(data)
    assert envelope.headers.action == wsd.PROBE_ACTION
    assert envelope.headers.to == DISCOVERY_TO
    assert envelope.headers.message_id == message_id
    assert envelope.body is not None
    return wsd.Probe.from_element(envelope.body)


def assert_answered(data: bytes, message_id: str) -> None:
    answer = Desk().ask(data)
    assert sent(answer).headers.relates_to == message_id
    (match,) = matches_in(answer)
    assert match.endpoint.address == TARGET.address
    assert match.xaddrs == (TARGET.address,)


# Probes -------------------------------------------------------------------------------------------------


@expects("samples/real/02-windows-probe-udp.xml")
async def windows_probe(data: bytes) -> None:
    assert probe_in(data, "urn:uuid:4d6edace-b1e6-4d71-a0ea-c7176e73ee0e") == wsd.Probe(types=(DEVICE,))
    assert_answered(data, "urn:uuid:4d6edace-b1e6-4d71-a0ea-c7176e73ee0e")


@expects("samples/real/03-kdsoap-probe-odd.xml")
async def kde_probe(data: bytes) -> None:
    assert probe_in(data, "urn:uuid:f4c2e673-e582-49ee-aed5-c4ee133a7779") == wsd.Probe(types=(DEVICE,))
    reply_to = datagram(data).headers.reply_to
    assert reply_to is not None
    assert reply_to.address == ANONYMOUS_2005
    assert_answered(data, "urn:uuid:f4c2e673-e582-49ee-aed5-c4ee133a7779")


@expects("samples/msdocs/03-wsdapi-probe.xml")
async def indented_probe(data: bytes) -> None:
    assert probe_in(data, "urn:uuid:29cf10da-5c41-4d55-b184-5ee15e38ce23") == wsd.Probe(types=(DEVICE,))
    assert_answered(data, "urn:uuid:29cf10da-5c41-4d55-b184-5ee15e38ce23")


@expects("samples/peers/01-pywsdiscovery-2.1.2-probe-udp.xml")
async def empty_probe(data: bytes) -> None:
    assert probe_in(data, "urn:uuid:254387b9-c4d7-4a51-8f53-f1aaa871edd0") == wsd.Probe()
    assert_answered(data, "urn:uuid:254387b9-c4d7-4a51-8f53-f1aaa871edd0")


@expects("samples/peers/04-wsdd-0.9-probe-udp.xml")
async def wsdd_probe(data: bytes) -> None:
    assert probe_in(data, "urn:uuid:72b0784a-e54b-11f1-a0cf-5eb960c91f5a") == wsd.Probe(types=(DEVICE,))
    assert_answered(data, "urn:uuid:72b0784a-e54b-11f1-a0cf-5eb960c91f5a")


# Resolves -----------------------------------------------------------------------------------------------


async def resolve_of(data: bytes, endpoint: str, message_id: str) -> None:
    """Check a Resolve: silence from others, the addresses from who is meant."""
    envelope = datagram(data)
    assert envelope.headers.action == wsd.RESOLVE_ACTION
    assert envelope.headers.message_id == message_id
    assert envelope.body is not None
    assert wsd.Resolve.from_element(envelope.body).endpoint.address == endpoint
    assert Desk().ask(data) is None
    answer = sent(Desk(replace(TARGET, address=endpoint)).ask(data))
    assert answer.headers.relates_to == message_id
    assert answer.body is not None
    match = wsd.ResolveMatches.from_element(answer.body).match
    assert match is not None
    assert match.endpoint.address == endpoint


@expects("samples/msdocs/05-wsdapi-resolve.xml")
async def indented_resolve(data: bytes) -> None:
    await resolve_of(data, MSDOCS_DEVICE, "urn:uuid:38d1c3d9-8d73-4424-8861-6b7ee2af24d3")


@expects("samples/peers/05-wsdd-0.9-resolve-udp.xml")
async def wsdd_resolve(data: bytes) -> None:
    await resolve_of(
        data,
        "urn:uuid:11111111-2222-3333-4444-555555555555",
        "urn:uuid:72b38c92-e54b-11f1-a0cf-5eb960c91f5a",
    )


# Who comes and goes -------------------------------------------------------------------------------------


def hello_in(data: bytes, message_id: str, sequence: wsd.AppSequence) -> wsd.Hello:
    envelope = datagram(data)
    assert envelope.headers.action == wsd.HELLO_ACTION
    assert envelope.headers.to == DISCOVERY_TO
    assert envelope.headers.message_id == message_id
    assert sequence_of(envelope) == sequence
    assert envelope.body is not None
    return wsd.Hello.from_element(envelope.body)


@expects("samples/real/04-windows-hello-xaddrs.xml")
async def windows_hello(data: bytes) -> None:
    endpoint = "urn:uuid:d6b92844-8911-4f59-8bdb-c9dadbb1a5bc"
    address = "http://192.168.12.56:5357/d6b92844-8911-4f59-8bdb-c9dadbb1a5bc/"
    sequence = wsd.AppSequence(7, 52, "urn:uuid:a2f92f83-42ba-4927-b782-a51293878e9f")
    hello = hello_in(data, "urn:uuid:c6643c5c-b038-4ff2-a33e-52b3d082ac19", sequence)
    assert hello == wsd.Hello(
        wsd.EndpointReference(endpoint), types=(DEVICE,), xaddrs=(address,), metadata_version=24
    )
    found = Findings(wsd.Probe(types=(DEVICE,))).hear(data, NEIGHBOUR, LINK)
    assert found == [Sighting(endpoint, (DEVICE,), (), (address,), 24, NEIGHBOUR, LINK)]


@expects("samples/msdocs/01-wsdapi-hello.xml")
async def hello_without_addresses(data: bytes) -> None:
    sequence = wsd.AppSequence(2, 14, MSDOCS_SEQUENCE)
    hello = hello_in(data, "urn:uuid:0f5d604c-81ac-4abc-8010-51dbffad55f2", sequence)
    assert hello == wsd.Hello(wsd.EndpointReference(MSDOCS_DEVICE), types=(DEVICE,), metadata_version=2)
    (question,) = Findings(wsd.Probe()).hear(data, NEIGHBOUR, LINK)
    assert isinstance(question, Question)
    assert question.endpoint == MSDOCS_DEVICE


@expects("samples/peers/02-pywsdiscovery-2.1.2-hello-udp.xml")
async def hello_of_a_type_that_is_no_name(data: bytes) -> None:
    sequence = wsd.AppSequence(345498519, 1)
    hello = hello_in(data, "urn:uuid:3c16f542-69f2-4e3b-be9a-699c24d501b2", sequence)
    endpoint = wsd.EndpointReference("urn:uuid:a0a37baf-dd49-4fba-887c-db0292f00dda")
    # Its type is split in the middle of a URI, and its address has no scheme: neither is of use.
    assert hello == wsd.Hello(endpoint, xaddrs=("10.9.0.2:5357",))
    assert usable_addresses(hello) == ()


@expects("samples/peers/03-wsdd-0.9-hello-udp.xml")
async def wsdd_hello(data: bytes) -> None:
    sequence = wsd.AppSequence(1795224757, 0, "urn:uuid:6f060200-e54b-11f1-a0cf-5eb960c91f5a")
    hello = hello_in(data, "urn:uuid:6f06014c-e54b-11f1-a0cf-5eb960c91f5a", sequence)
    assert hello == wsd.Hello(wsd.EndpointReference(WSDD_DEVICE), xaddrs=(WSDD_ADDRESS,))
    found = Findings(wsd.Probe()).hear(data, NEIGHBOUR, LINK)
    assert found == [Sighting(WSDD_DEVICE, (), (), (WSDD_ADDRESS,), 1, NEIGHBOUR, LINK)]


def bye_in(data: bytes, sequence: wsd.AppSequence) -> str:
    envelope = datagram(data)
    assert envelope.headers.action == wsd.BYE_ACTION
    assert sequence_of(envelope) == sequence
    assert envelope.body is not None
    return wsd.Bye.from_element(envelope.body).endpoint.address


@expects("samples/msdocs/02-wsdapi-bye.xml")
async def indented_bye(data: bytes) -> None:
    assert bye_in(data, wsd.AppSequence(2, 21, MSDOCS_SEQUENCE)) == MSDOCS_DEVICE


@expects("samples/peers/06-wsdd-0.9-bye-udp.xml")
async def wsdd_bye(data: bytes) -> None:
    sequence = wsd.AppSequence(1795224757, 1, "urn:uuid:7d262644-e54b-11f1-a0cf-5eb960c91f5a")
    assert bye_in(data, sequence) == WSDD_DEVICE
    findings = Findings(wsd.Probe())
    hello = (FOLDER / "samples/peers/03-wsdd-0.9-hello-udp.xml").read_bytes()
    assert findings.hear(hello, NEIGHBOUR, LINK)
    assert findings.hear(data, NEIGHBOUR, LINK) == [Gone(WSDD_DEVICE)]


# Answers ------------------------------------------------------------------------------------------------


def answer_in(data: bytes, action: str, message_id: str, relates_to: str) -> Envelope:
    envelope = datagram(data)
    headers = envelope.headers
    assert (headers.action, headers.to) == (action, ANONYMOUS)
    assert (headers.message_id, headers.relates_to) == (message_id, relates_to)
    return envelope


def probe_matches(data: bytes, message_id: str, relates_to: str) -> tuple[wsd.ProbeMatch, ...]:
    envelope = answer_in(data, wsd.PROBE_MATCHES_ACTION, message_id, relates_to)
    assert envelope.body is not None
    return wsd.ProbeMatches.from_element(envelope.body).matches


def resolve_match(data: bytes, message_id: str, relates_to: str) -> wsd.ProbeMatch | None:
    envelope = answer_in(data, wsd.RESOLVE_MATCHES_ACTION, message_id, relates_to)
    assert envelope.body is not None
    return wsd.ResolveMatches.from_element(envelope.body).match


@expects("samples/real/08-kyocera-m2040dn-probematches.xml")
async def kyocera_match(data: bytes) -> None:
    (match,) = probe_matches(
        data,
        "urn:uuid:bc8b1d56-8d93-11ef-b071-a93a87f9617d",
        "urn:uuid:f9f56956-7662-4b32-9459-d0f2823424fe",
    )
    addresses = (
        "http://192.168.1.102:5358/DeviceService/",
        "http://[fe80::217:c8ff:fe7b:6a91]:5358/DeviceService/",
    )
    assert match == wsd.ProbeMatch(
        wsd.EndpointReference("uuid:4509a320-00a0-008f-00b6-002507510eca"),
        types=(DEVICE, qname(WSCN, "ScanDeviceType"), PRINT_DEVICE),
        xaddrs=addresses,
    )
    assert usable_addresses(match) == addresses
    assert sequence_of(datagram(data)) == wsd.AppSequence(1727722437, 525)


@expects("samples/real/16-onvif-probematches.xml")
async def onvif_match(data: bytes) -> None:
    (match,) = probe_matches(
        data, "uuid:2419d68a-2dd2-21b2-a205-78A5DD0F9593", "urn:uuid:2de9f5ad-abd2-4c0e-9ba8-178098d67f01"
    )
    assert match == wsd.ProbeMatch(
        wsd.EndpointReference("urn:uuid:2419d68a-2dd2-21b2-a205-78A5DD0F9593"),
        scopes=(
            "onvif://www.onvif.org/Profile/Streaming",
            "onvif://www.onvif.org/Model/631GA",
            "onvif://www.onvif.org/Name/IPCAM",
            "onvif://www.onvif.org/location/country/china",
        ),
        xaddrs=("http://192.168.1.104:80/onvif/device_service",),
    )
    assert not datagram(data).headers.others


@expects("samples/peers/07-wsdd-0.9-probematches-udp.xml")
async def wsdd_match(data: bytes) -> None:
    (match,) = probe_matches(
        data,
        "urn:uuid:2a129916-e54a-11f1-85ea-5eb960c91f5a",
        "urn:uuid:4d6edace-b1e6-4d71-a0ea-c7176e73ee0e",
    )
    assert match == wsd.ProbeMatch(wsd.EndpointReference(WSDD_DEVICE), types=(DEVICE, COMPUTER))


@expects("samples/msdocs/04-wsdapi-probematches.xml")
async def indented_match(data: bytes) -> None:
    (match,) = probe_matches(
        data,
        "urn:uuid:967d0036-fe69-40ad-8191-dd1fc8ef64ab",
        "urn:uuid:29cf10da-5c41-4d55-b184-5ee15e38ce23",
    )
    assert match == wsd.ProbeMatch(
        wsd.EndpointReference(MSDOCS_DEVICE), types=(DEVICE,), xaddrs=(MSDOCS_ADDRESS,), metadata_version=2
    )


@expects("samples/msdocs/06-wsdapi-resolvematches.xml")
async def indented_resolve_match(data: bytes) -> None:
    match = resolve_match(
        data,
        "urn:uuid:64ddd01c-b0d6-4afd-aba6-6f1f161ce9d4",
        "urn:uuid:38d1c3d9-8d73-4424-8861-6b7ee2af24d3",
    )
    assert match == wsd.ProbeMatch(
        wsd.EndpointReference(MSDOCS_DEVICE), types=(DEVICE,), xaddrs=(MSDOCS_ADDRESS,), metadata_version=2
    )


@expects("samples/real/15-wsdd-resolvematches.xml")
async def wsdd_resolve_match(data: bytes) -> None:
    match = resolve_match(
        data,
        "urn:uuid:de0375c6-e6ff-11ef-a671-ec2e988443d5",
        "urn:uuid:676a3045-ecba-4bce-b441-96efcb02eb07",
    )
    assert match == wsd.ProbeMatch(
        wsd.EndpointReference("urn:uuid:c3e195f5-cece-40a4-9760-9ae807e243d9"),
        types=(DEVICE, COMPUTER),
        xaddrs=("http://192.168.3.2:5357/c3e195f5-cece-40a4-9760-9ae807e243d9",),
    )
