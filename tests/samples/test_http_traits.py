"""What real peers do otherwise than expected in metadata and over HTTP, in messages of our own.

The traits are those of the captured messages, which are not in this repository (test_captures.py reads them).
"""

from __future__ import annotations

import pytest

from postscan.contracts import wsd
from postscan.contracts.metadata import HostedService, read_metadata
from postscan.dpws.client import NotSoap, Unreachable
from postscan.dpws.http.messages import HttpRefused, parse_head
from postscan.soap.envelope import require_request
from postscan.soap.names import (
    ANONYMOUS,
    WSCN,
    WSDP,
    WXF,
    qname,
)
from samples.own import (
    ADDRESS,
    ASKED,
    ENDPOINT,
    GET_RESPONSE,
    REFERENCE,
    envelope,
    question,
    sections,
    told,
)
from support.samples import got, message, over_http

# Get and its answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["<e:Body/>", "<e:Body></e:Body>", "<e:Body />", "<e:Body>\n</e:Body>"])
def test_a_get_with_an_empty_body_and_a_from_header_is_a_request(body: str) -> None:
    """Windows and wsdd say who they are by From."""
    source = f"<a:From><a:Address>{ENDPOINT}</a:Address></a:From>"
    data = question(f"{WXF}/Get", "", headers=source).replace(b"<e:Body></e:Body>", body.encode())
    read = message(data)
    require_request(read)
    assert read.body is None
    assert read.headers.source == wsd.EndpointReference(ENDPOINT)


HOST = "<p:Relationship Type='%s/host'>%s</p:Relationship>"
SERVICE = (
    "<p:Hosted>{references}<p:Types>w:ScannerServiceType</p:Types><p:ServiceId>uri:Scanner1</p:ServiceId>"
    "<n:CompatibleId>urn:compatible</n:CompatibleId><n:HardwareId>VEN_1&amp;DEV_2</n:HardwareId></p:Hosted>"
)


async def test_metadata_without_host_in_the_language_of_an_attribute_are_read() -> None:
    """Samsung's, whose RelatesTo says of which kind it is, though there is but one."""
    hosted = SERVICE.format(references=REFERENCE.replace(ENDPOINT, ADDRESS))
    data = envelope(
        GET_RESPONSE,
        sections(
            '<p:ThisDevice><p:FriendlyName xml:lang="en-US">Copier</p:FriendlyName></p:ThisDevice>',
            HOST % (WSDP, hosted),
        ),
        headers=f'<a:To>{ANONYMOUS}</a:To><a:RelatesTo RelationshipType="a:Reply">{ASKED}</a:RelatesTo>',
    )
    answer = await got(over_http(data), ASKED)
    assert answer.body is not None
    read = read_metadata(answer.body)
    assert read.device.friendly_names == {"en-US": "Copier"}
    assert read.relationship.host is None
    service = HostedService((ADDRESS,), (qname(WSCN, "ScannerServiceType"),), "uri:Scanner1")
    assert read.relationship.hosted == (service,)


async def test_metadata_without_to_with_several_endpoints_a_service_are_read() -> None:
    """Kyocera's, which begin with a line end before the declaration and say several categories."""
    other = "http://[fe80::17:42]:5358/scan"
    references = REFERENCE.replace(ENDPOINT, ADDRESS) + REFERENCE.replace(ENDPOINT, other)
    model = (
        "<p:ThisModel><p:Manufacturer>M</p:Manufacturer><p:ModelName>N</p:ModelName>"
        "<n:DeviceCategory>MFP MobilePrinter</n:DeviceCategory></p:ThisModel>"
    )
    data = told(
        GET_RESPONSE, sections(model, HOST % (WSDP, SERVICE.format(references=references))), headers=""
    )
    answer = await got(over_http(b'\n<?xml version="1.0"?>\n' + data + b"\r\n"), ASKED)
    assert answer.headers.to is None
    assert answer.body is not None
    read = read_metadata(answer.body)
    assert read.model.categories == ("MFP", "MobilePrinter")
    assert [s.addresses for s in read.relationship.hosted] == [(ADDRESS, other)]


async def test_metadata_of_a_host_that_is_a_computer_and_hosts_nothing_are_read() -> None:
    """Windows', Synology's and wsdd's, with an element of their own beside the types."""
    host = (
        f"<p:Host>{REFERENCE}<p:Types xmlns:pub='urn:pub'>pub:Computer</p:Types>"
        f"<p:ServiceId>{ENDPOINT}</p:ServiceId><c:Computer xmlns:c='urn:pub'>NAME/Domain:D</c:Computer>"
        "</p:Host>"
    )
    answer = await got(over_http(told(GET_RESPONSE, sections(HOST % (WSDP, host)))), ASKED)
    assert answer.body is not None
    read = read_metadata(answer.body).relationship
    assert read.host == HostedService((ENDPOINT,), ("{urn:pub}Computer",), ENDPOINT)
    assert read.hosted == ()


# Answers over HTTP --------------------------------------------------------------------------------------

ANSWER = told(GET_RESPONSE, sections())
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(ANSWER), ANSWER)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nServer: S\r\nContent-Type: application/soap+xml\r\n\r\n" + ANSWER,
            id="wsdd: without length, up to the end of the connection",
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n" + ANSWER,
            id="an old device: HTTP/1.0 and another media type",
        ),
        pytest.param(
            b"HTTP/1.1 200 \r\nContent-Type: application/soap+xml\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
            + ANSWER,
            id="Windows: a status without words",
        ),
        pytest.param(
            b'HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml; charset="utf-8"\r\n'
            b"Content-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER,
            id="Canon: the character set in quotes",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nTransfer-Encoding: chunked\r\n\r\n"
            + CHUNKS,
            id="WSDAPI: chunked",
        ),
        pytest.param(
            b"HTTP/1.1 202 Accepted\r\nConnection: Keep-Alive\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
            + ANSWER,
            id="no media type, another status, a connection that is kept",
        ),
    ],
)
async def test_an_answer_as_real_http_servers_frame_it_is_read(said: bytes) -> None:
    answer = await got(said, ASKED)
    assert (answer.headers.action, answer.headers.relates_to) == (GET_RESPONSE, ASKED)


@pytest.mark.parametrize(
    ("said", "kind", "why"),
    [
        pytest.param(
            b"HTTP/1.1 200 \r\nContent-Length: 2228\r\n\r\n" + ANSWER,
            Unreachable,
            "in the middle of its answer",
            id="less than was announced",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\n\r\n" + ANSWER[:-40],
            NotSoap,
            "not with a SOAP message",
            id="torn, without length",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NotSoap, "not with a SOAP message", id="nothing"
        ),
    ],
)
async def test_an_answer_that_is_torn_is_refused(said: bytes, kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        await got(said, ASKED)


# Requests over HTTP -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(
            (
                'Content-Type: application/soap+xml; charset=utf-8; action="urn:a"',
                'SOAPAction: "urn:a"',
                "Connection: close",
                "Accept: multipart/related,application/xop+xml,*/*;q=0.8",
            ),
            id="gSOAP and node-soap: the action three times, an Accept list",
        ),
        pytest.param(
            (
                "Content-Type: application/soap+xml",
                "User-Agent: WSDAPI",
                "Connection: Keep-Alive",
                "Cache-Control: no-cache",
                "Pragma: no-cache",
            ),
            id="WSDAPI, and airscan which calls itself so",
        ),
        pytest.param(
            ("Accept-Encoding: identity", "content-type: application/soap+xml", "Connection: close"),
            id="wsdd: what it accepts first, names in any case",
        ),
    ],
)
def test_request_heads_of_real_clients_are_read(lines: tuple[str, ...]) -> None:
    head = "\r\n".join(
        ("POST /ScanServer HTTP/1.1", "Host: 10.0.0.1:5362", *lines, "Content-Length: 7", "", "")
    )
    read = parse_head(head.encode(), max_body_bytes=100)
    assert (read.path, read.length) == ("/ScanServer", 7)
    assert read.headers["content-type"].startswith("application/soap+xml")
    assert read.keep_alive is ("Connection: close" not in lines)


def test_a_request_with_bare_line_feeds_is_refused() -> None:
    """Some test data are stored so; on the wire two readers could frame it differently."""
    with pytest.raises(HttpRefused, match="bare line feed"):
        parse_head(b"POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n", max_body_bytes=100)
