"""What the captured MTOM frames hold, and why the ones that are damaged are refused."""

from __future__ import annotations

import pytest

from postscan.contracts import dsp, schemas
from postscan.core.errors import FaultParty
from postscan.dpws.client import RemoteFault
from postscan.soap.envelope import VersionMismatch, read_envelope
from postscan.soap.faults import read_fault
from postscan.soap.mime import parse_content_type
from postscan.soap.mtom import MtomError
from postscan.soap.names import DSP, SOAP, WSA, WSCN, XML, qname
from postscan.soap.xml import XmlRefused, parse
from postscan.soap.xop import find_stray_includes, include_of
from support.mtom import Reader
from support.samples import expects, got, over_http, split_http

EPSON_IMAGE = "9CAED324E3C0_417441432@epson"
PRINTED_IMAGE = "1c696bd7-005a-48d9-9ee9-9adca11f8892@uuid"


@expects("samples/real/17-epson-retrieveimageresponse-mtom.http")
async def epson_image(data: bytes) -> None:
    _, headers, body = split_http(data)
    content_type = parse_content_type(headers["content-type"])
    assert content_type.parameters == {"type": "application/xop+xml", "boundary": "mime_boundary_test_1"}
    frame = Reader(headers["content-type"]).read([body])
    assert frame.parts == [(EPSON_IMAGE, "image/jpeg", b"\xff\xd8\xff\xe0data")]
    assert frame.root is not None
    envelope = read_envelope(parse(frame.root))
    assert envelope.headers.action == f"{WSCN}/RetrieveImageResponse"
    assert (envelope.headers.to, envelope.headers.message_id, envelope.headers.relates_to) == (None,) * 3
    assert envelope.body is not None
    holder = envelope.body.find(qname(WSCN, "ScanData"))
    assert holder is not None
    find_stray_includes(envelope.body, holder)
    assert include_of(holder) == EPSON_IMAGE


@expects("samples/real/18-wcf-mtom-response-body.http")
async def wcf_answer(data: bytes) -> None:
    """Refused twice: an envelope of SOAP 1.1, in a frame that ends within its second part."""
    boundary = "uuid:b582909b-0d45-4983-9480-eb89010588b4+id=10899"
    reader = Reader(
        'multipart/related; type="application/xop+xml";start="<http://tempuri.org/0>";'
        f'boundary="{boundary}";start-info="text/xml"'
    )
    reader.feed(data)
    assert reader.message.root is not None
    root = parse(reader.message.root)
    with pytest.raises(VersionMismatch):
        read_envelope(root)
    holder = next(root.iter("{http://tempuri.org/}get_image_pngResult"))
    assert include_of(holder) == "http://tempuri.org/1/635629279886408732"
    with pytest.raises(MtomError, match="ends before its closing boundary"):
        reader.feed(b"", final=True)


@expects("samples/real/14-ricoh-mp201-mtom-header.txt")
async def ricoh_content_type(data: bytes) -> None:
    value = data.decode().partition(":")[2].strip()
    content_type = parse_content_type(value)
    assert content_type.type == "multipart/related"
    boundary = "uuid:51bba0c2-1dd2-11b2-aea2-c0307c6bacff"
    assert content_type.parameters == {
        "boundary": boundary,
        "type": "application/xop+xml",
        "charset": "utf-8",
        "start": "<SOAP-ENV:Envelope>",
        "start-info": "application/soap+xml",
    }
    frame = Reader(value).read(
        [
            f"--{boundary}\r\nContent-ID: <SOAP-ENV:Envelope>\r\n\r\n<a/>\r\n"
            f"--{boundary}\r\nContent-ID: <b>\r\n\r\nb\r\n--{boundary}--".encode()
        ]
    )
    assert (frame.root, frame.parts) == (b"<a/>", [("b", "", b"b")])


def printed(data: bytes) -> tuple[str, bytes]:
    """Split a frame as a document prints it, its MIME headers first: content type and body."""
    lines = data.decode().split("\n")
    end = next(number for number, line in enumerate(lines) if not line.strip())
    head = "\r\n".join(lines[:end])
    content_type = head.partition("Content-Type:")[2].strip()
    return content_type, "\n".join(lines[end + 1 :]).encode()


@expects("samples/msdocs/12-dsm-sendimagerequest-mtom.txt")
async def printed_send_image(data: bytes) -> None:
    content_type, body = printed(data)
    boundary = parse_content_type(content_type).parameters["boundary"]
    assert boundary == "e1ac1c8d-11be-4313-999f-a8b0857d5360-3c31c1fe-39ef-4c34-8efd-918cf79f6"
    frame = Reader(content_type).read([body])
    assert frame.parts == [(PRINTED_IMAGE, "application/octet-stream", b"Document PDL Data")]
    assert frame.root is not None
    root = parse(frame.root)
    schemas.validate(root)
    envelope = read_envelope(root)
    assert envelope.headers.action == f"{DSP}/SendImage"
    assert envelope.headers.message_id == "uuid:UniqueMsgId"
    assert envelope.body is not None
    request = dsp.SendImageRequest.from_element(envelope.body)
    assert request.job_token == "264a19bf-3604-4603-b59d-b47e0f669a1e"
    assert request.description == dsp.DocumentDescription(document_id=9, format="png")
    assert include_of(request.image) == PRINTED_IMAGE


@expects("samples/msdocs/13-retrieveimageresponse-mtom.txt")
async def printed_retrieve_image(data: bytes) -> None:
    """Read the frame with all its slips; refuse its envelope, which has an attribute without quotes."""
    content_type, body = printed(data)
    frame = Reader(content_type).read([body])
    assert frame.parts == [(PRINTED_IMAGE, "image/jpeg", b"Binary Scan Data")]
    assert frame.root is not None
    with pytest.raises(XmlRefused, match="not well-formed"):
        parse(frame.root)


@expects("samples/real/13-ricoh-mpc3003-fault-fragment.xml")
async def ricoh_fault(data: bytes) -> None:
    """Alone it is refused, since nothing declares its prefixes; in an envelope that does, it is read."""
    with pytest.raises(XmlRefused, match="not well-formed"):
        parse(data)
    whole = (
        f'<SOAP-ENV:Envelope xmlns:SOAP-ENV="{SOAP}" xmlns:a="{WSA}" xmlns:wscn="{WSCN}" '
        f'xmlns:xml="{XML}"><SOAP-ENV:Header><a:Action>{WSA}/fault</a:Action></SOAP-ENV:Header>'
        "<SOAP-ENV:Body>%s</SOAP-ENV:Body></SOAP-ENV:Envelope>"
    ).encode() % data
    fault = read_fault(read_envelope(parse(whole)))
    assert fault is not None
    assert (fault.party, fault.subcode) == (FaultParty.RECEIVER, qname(WSCN, "OperationFailed"))
    assert fault.reason == "Service cannot perform the requested operation"
    with pytest.raises(RemoteFault) as error:
        await got(over_http(whole), "urn:any")
    assert error.value.subcode == "OperationFailed"
