"""What the captured requests ask for, as our host reads them off the wire."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from lxml import etree

from postscan.contracts import wsd
from postscan.contracts.binding import NAME, Bound, element, texts
from postscan.contracts.wscn import DocumentParameters, Keyword, MediaSide, Number, ScanTicket, TicketJob
from postscan.dpws.client import Unreachable
from postscan.dpws.http.messages import HttpRefused, RequestHead, parse_head
from postscan.soap.envelope import Envelope, Headers, require_request, write_envelope
from postscan.soap.mime import parse_content_type
from postscan.soap.names import ANONYMOUS, DISCOVERY_TO, WSCN, WSD, WSDP, WXF, qname
from support.samples import expects, got, message, split_http

WSDD_DEVICE = "urn:uuid:3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"


def request_in(data: bytes) -> tuple[RequestHead, Envelope]:
    """Read a request as the host does: its head, then exactly the octets it announces."""
    head, end, body = data.partition(b"\r\n\r\n")
    read = parse_head(head + end, max_body_bytes=1_000_000)
    assert read.method == "POST"
    assert read.length == len(body)
    assert parse_content_type(read.headers["content-type"]).type == "application/soap+xml"
    envelope = message(body)
    require_request(envelope)
    return read, envelope


def assert_get(envelope: Envelope, to: str, message_id: str, source: str) -> None:
    headers = envelope.headers
    assert (headers.action, headers.to, headers.message_id) == (f"{WXF}/Get", to, message_id)
    assert headers.reply_to is not None
    assert headers.source is not None
    assert (headers.reply_to.address, headers.source.address) == (ANONYMOUS, source)
    assert envelope.body is None


@expects("samples/real/01-windows-get-request.xml")
async def windows_get(data: bytes) -> None:
    assert_get(
        message(data),
        "urn:uuid:b338304b-5023-5185-bfcc-997c88a99130",
        "urn:uuid:af3bf07a-2b88-488f-af4d-ed68315d2041",
        "urn:uuid:10ca9acf-d4d3-4ca5-af28-e197a67beb7a",
    )


@expects("samples/msdocs/07-wsdapi-get-wire.http")
async def wsdapi_get(data: bytes) -> None:
    head, envelope = request_in(data)
    assert (head.path, head.keep_alive) == ("/dbe17c74-3b21-4f52-addc-b84b444f73a0", True)
    assert_get(
        envelope,
        "urn:uuid:dbe17c74-3b21-4f52-addc-b84b444f73a0",
        "urn:uuid:8506ac50-3646-4621-9680-86f484d87909",
        "urn:uuid:b32467b5-e7ee-4ae3-8a8e-f5aa417c23b6",
    )


@expects("samples/peers/08-wsdd-0.9-get-request.http")
async def wsdd_get(data: bytes) -> None:
    head, envelope = request_in(data)
    assert (head.path, head.keep_alive) == ("/11111111-2222-3333-4444-555555555555", False)
    assert head.headers["accept-encoding"] == "identity"
    assert_get(
        envelope,
        "urn:uuid:11111111-2222-3333-4444-555555555555",
        "urn:uuid:72b3e296-e54b-11f1-a0cf-5eb960c91f5a",
        WSDD_DEVICE,
    )


# Directed Probes ----------------------------------------------------------------------------------------


@expects("samples/peers/19-gsoap-probe-unbound-type-prefix.http")
async def gsoap_probe(data: bytes) -> None:
    head, envelope = request_in(data)
    assert head.path == "/ScanServer"
    assert parse_content_type(head.headers["content-type"]).parameters["action"] == wsd.PROBE_ACTION
    assert envelope.headers.action == wsd.PROBE_ACTION
    assert envelope.body is not None
    # The prefix of the type it asks for is declared nowhere, so it asks for nobody's.
    assert wsd.Probe.from_element(envelope.body) == wsd.Probe(unresolved_types=True)


@expects("samples/real/11-airscan-directed-probe-http-to-canon.http")
async def airscan_probe(data: bytes) -> None:
    """Refused as it lies there, with bare line feeds; read with the line ends and length of the wire."""
    head, end, body = data.partition(b"\n\n")
    with pytest.raises(HttpRefused, match="bare line feed") as error:
        parse_head(head + end, max_body_bytes=1_000_000)
    assert error.value.status == HTTPStatus.BAD_REQUEST
    wire = (head.replace(b"562", b"%d" % len(body)) + end).replace(b"\n", b"\r\n") + body
    read, envelope = request_in(wire)
    assert read.path.startswith("/StableWSDiscoveryEndpoint/schemas-xmlsoap-org_ws_2005_04_discovery")
    assert (envelope.headers.action, envelope.headers.to) == (wsd.PROBE_ACTION, DISCOVERY_TO)
    assert envelope.headers.message_id == "urn:uuid:29b743c7-f91d-8d4f-c890-517686b29e26"
    assert envelope.body is not None
    assert wsd.Probe.from_element(envelope.body) == wsd.Probe(types=(qname(WSDP, "Device"),))


@expects("samples/real/12-canon-directed-probe-response-headers.http")
async def canon_answer(data: bytes) -> None:
    """Refused as it lies there, without its body; the head is read with any body of its length."""
    _, headers, body = split_http(data)
    assert body == b""
    assert parse_content_type(headers["content-type"]).parameters == {"charset": "utf-8"}
    with pytest.raises(Unreachable, match="in the middle of its answer"):
        await got(data, "urn:asked")
    answer = Headers(action=f"{WSD}/ProbeMatches", to=ANONYMOUS, relates_to="urn:asked")
    whole = write_envelope(answer, wsd.ProbeMatches().to_element())
    envelope = await got(data + whole.ljust(int(headers["content-length"])), "urn:asked")
    assert envelope.body is not None
    assert wsd.ProbeMatches.from_element(envelope.body) == wsd.ProbeMatches()


# WS-Scan ------------------------------------------------------------------------------------------------


@element(WSCN, "GetScannerElementsRequest")
class NamesAskedFor(Bound):
    """The elements of a scanner that are asked for, by name."""

    names: tuple[str, ...] = texts("Name", NAME, wrapper="RequestedElements")


def scan_request(data: bytes, operation: str, message_id: str) -> etree._Element:
    head, envelope = request_in(data)
    assert (head.path, head.keep_alive, head.headers["user-agent"]) == ("/scan", False, "WSDAPI")
    headers = envelope.headers
    assert (headers.action, headers.to) == (f"{WSCN}/{operation}", "http://10.9.0.1:53000/scan")
    assert headers.message_id == message_id
    assert headers.reply_to is not None
    assert headers.reply_to.address == ANONYMOUS
    assert envelope.body is not None
    assert envelope.body.tag == qname(WSCN, f"{operation}Request")
    return envelope.body


@expects("samples/peers/10-airscan-0.99.27-getscannerelements-configuration.http")
async def airscan_configuration(data: bytes) -> None:
    body = scan_request(data, "GetScannerElements", "urn:uuid:03b6b104-83b6-dd60-ea70-498e9cf2e309")
    assert NamesAskedFor.from_element(body).names == (qname(WSCN, "ScannerConfiguration"),)


@expects("samples/peers/11-airscan-0.99.27-getscannerelements-status.http")
async def airscan_status(data: bytes) -> None:
    body = scan_request(data, "GetScannerElements", "urn:uuid:ff182610-51cc-05ee-d843-221ecaa63d58")
    assert NamesAskedFor.from_element(body).names == (qname(WSCN, "ScannerStatus"),)


@expects("samples/peers/12-airscan-0.99.27-createscanjob.http")
async def airscan_create(data: bytes) -> None:
    body = scan_request(data, "CreateScanJob", "urn:uuid:c4794fc6-da27-8078-dcdd-0915b2209654")
    ticket = ScanTicket.from_element(body[0])
    assert ticket.job == TicketJob(
        name="sane-airscan request", user_name="sane-airscan", information="sane-airscan"
    )
    assert ticket.parameters is not None
    assert isinstance(ticket.parameters, DocumentParameters)
    assert (ticket.parameters.format, ticket.parameters.images_to_transfer) == (
        Keyword(value="jfif"),
        Number(value=0),
    )
    assert ticket.parameters.input_source == Keyword(value="Platen")
    size = ticket.parameters.input_size
    assert size is not None
    assert size.media is not None
    assert (size.media.width, size.media.height) == (8504, 14016)
    sides = ticket.parameters.media_sides
    assert sides is not None
    front: MediaSide = sides.front
    assert front.color == Keyword(value="RGB24")
    assert front.resolution is not None
    assert front.resolution.pair == (300, 300)
    assert front.region is not None
    assert (front.region.width.value, front.region.height.value) == (8504, 14016)
    assert ticket.must_honor == ()


@expects("samples/peers/13-airscan-0.99.27-retrieveimage.http")
async def airscan_retrieve(data: bytes) -> None:
    body = scan_request(data, "RetrieveImage", "urn:uuid:e201a9e5-6628-91f3-8376-2f9d7b82066e")
    told = {str(e.tag).rpartition("}")[2]: (e.text or "").strip() for e in body.iter()}
    assert told["DocumentName"] == "IMAGE000.JPG"
    assert (told["JobId"], told["JobToken"]) == ("1", "tok")
