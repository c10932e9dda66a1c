"""What real peers do otherwise than expected in envelopes and frames, in messages of our own.

The traits are those of the captured messages, which are not in this repository (test_captures.py reads them).
"""

from __future__ import annotations

import pytest

from postscan.contracts import dsp, schemas
from postscan.contracts.binding import BOOLEAN, NAME, Bound, attribute, element
from postscan.dpws.client import RemoteFault
from postscan.soap.envelope import Headers, VersionMismatch, read_envelope, require_request
from postscan.soap.faults import read_fault
from postscan.soap.mtom import MtomError
from postscan.soap.names import (
    DSD,
    DSP,
    SOAP,
    SOAP11,
    WSA,
    WSCN,
    qname,
)
from postscan.soap.xml import XmlRefused, parse
from postscan.soap.xop import include_of
from samples.own import (
    ASKED,
    DECLARED,
    envelope,
    told,
)
from support.mtom import Reader
from support.samples import got, message, over_http

# Envelopes and faults -----------------------------------------------------------------------------------


def test_a_destination_that_is_no_uri_refuses_no_message() -> None:
    """Two examples of the documents have words there."""
    body = "<dsp:EndPostScanJobRequest><dsp:JobToken>t</dsp:JobToken></dsp:EndPostScanJobRequest>"
    data = envelope(
        f"{DSP}/EndPostScanJob",
        body,
        headers="<a:To>Destination Address</a:To><a:MessageID>uuid:SomeMessage</a:MessageID>",
    )
    root = parse(data)
    schemas.validate(root)
    read = read_envelope(root)
    require_request(read)
    assert (read.headers.to, read.headers.message_id) == ("Destination Address", "uuid:SomeMessage")
    assert read.body is not None
    assert dsp.EndPostScanJobRequest.from_element(read.body).job_token == "t"


def test_an_envelope_in_a_misprinted_namespace_is_another_version() -> None:
    data = envelope("urn:a", "", declared=DECLARED.replace(SOAP, SOAP.replace("soap-envelope", "soapelope")))
    with pytest.raises(VersionMismatch):
        message(data)


def test_a_namespace_broken_over_two_lines_is_refused() -> None:
    """One document prints its URIs so."""
    data = envelope("urn:a", "", declared=DECLARED.replace("/2008/12/", "/2008/\n12/"))
    with pytest.raises(XmlRefused, match="not a valid URI"):
        message(data)


def test_an_event_whose_action_lies_in_another_namespace_than_its_body_is_read() -> None:
    """WS-DSD's events have the action of WS-Scan, elements of both, and a To that is no URI."""
    data = envelope(
        f"\n{WSCN}/JobStatusEvent\n",
        "<dsd:JobStatusEvent><dsd:JobStatus><w:JobId>7</w:JobId></dsd:JobStatus></dsd:JobStatusEvent>",
        headers="<a:To>AddressOfTheSink</a:To><a:MessageID>uuid:Some</a:MessageID>",
    )
    read = message(data)
    assert read.headers == Headers(
        action=f"{WSCN}/JobStatusEvent", to="AddressOfTheSink", message_id="uuid:Some"
    )
    assert read.body is not None
    assert read.body.tag == qname(DSD, "JobStatusEvent")


@element(WSCN, "ElementData")
class ScannerElement(Bound):
    """An element of a scanner; its attributes have no namespace."""

    name: str = attribute("Name", NAME)
    valid: bool = attribute("Valid", BOOLEAN)


def test_names_in_attributes_resolve_by_prefixes_declared_far_above() -> None:
    """GSOAP's servers declare forty prefixes on the Envelope and use some in values alone."""
    many = " ".join(f'xmlns:km{number}="http://maker.example/{number}"' for number in range(60))
    data = told(
        f"{WSCN}/GetScannerElementsResponse",
        '<w:GetScannerElementsResponse><w:ElementData Valid="true" Name="km42:Status"/>'
        "</w:GetScannerElementsResponse>",
    ).replace(b"<e:Envelope ", f"<e:Envelope {many} ".encode())
    body = message(data).body
    assert body is not None
    assert ScannerElement.from_element(body[0]).name == "{http://maker.example/42}Status"


async def test_a_fault_with_a_subcode_of_the_service_is_told_by_its_name() -> None:
    """Ricoh's: the code in the prefix of the envelope, a subcode of WS-Scan, no detail."""
    fault = (
        "<e:Fault><e:Code><e:Value>e:Receiver</e:Value><e:Subcode><e:Value>w:OperationFailed</e:Value>"
        '</e:Subcode></e:Code><e:Reason><e:Text xml:lang="en">It failed</e:Text></e:Reason></e:Fault>'
    )
    data = told(f"{WSA}/fault", fault)
    read = read_fault(message(data))
    assert read is not None
    assert (read.subcode, read.reason) == (qname(WSCN, "OperationFailed"), "It failed")
    with pytest.raises(RemoteFault) as error:
        await got(over_http(data), ASKED)
    assert error.value.subcode == "OperationFailed"


# MTOM ---------------------------------------------------------------------------------------------------

ROOT = envelope("urn:answer", '<w:ScanData>\n<xop:Include href="cid:0A1B_7@maker"/>\n</w:ScanData>')
OCTETS = b"\xff\xd8\xff\xe0 octets"


def frame(
    boundary: str, root_headers: str, part_headers: str, *, first: str = "", end: str = "\r\n"
) -> bytes:
    return b"".join(
        (
            f"{first}--{boundary}{end}{root_headers}{end}{end}".encode(),
            ROOT,
            f"{end}--{boundary}{end}{part_headers}{end}{end}".encode(),
            OCTETS,
            f"{end}--{boundary}--{end}".encode(),
        )
    )


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        pytest.param(
            'multipart/related; type="application/xop+xml"; boundary="mime_boundary_1"',
            frame(
                "mime_boundary_1",
                "Content-Type: application/xop+xml",
                "Content-Type:image/jpeg\r\nContent-Transfer-Encoding:binary\r\nContent-ID:<0A1B_7@maker>",
            ),
            id="Epson: no start, no id of the root, no blank behind colons",
        ),
        pytest.param(
            'multipart/related; boundary="uuid:51bb-1dd2"; type="application/xop+xml"; charset="utf-8"; '
            'start="<SOAP-ENV:Envelope>"; start-info="application/soap+xml"',
            frame(
                "uuid:51bb-1dd2",
                "Content-ID: <SOAP-ENV:Envelope>",
                "Content-Type: image/jpeg\r\nContent-ID: <0A1B_7@maker>",
            ),
            id="Ricoh: a start that is a name, a boundary that is a uuid, a character set",
        ),
        pytest.param(
            'multipart/related;type="application/xop+xml";start="<http://maker.example/0>";'
            'boundary="uuid:b582909b+id=10899";start-info="text/xml"',
            frame(
                "uuid:b582909b+id=10899",
                "Content-ID: <http://maker.example/0>\r\nContent-Transfer-Encoding: 8bit\r\n"
                'Content-Type: application/xop+xml;charset=utf-8;type="text/xml"',
                "Content-ID: <0A1B_7@maker>\r\nContent-Transfer-Encoding: binary\r\nContent-Type: image/jpeg",
                first="\r\n",
            ),
            id="WCF: a line end first, 8bit, an id that is an address, + and = in the boundary",
        ),
        pytest.param(
            'multipart/related; type="application/xop+xml"; start="<xml@host>"; start-info="text/xml"; '
            "boundary=5f1c-boundary; action=urn:answer",
            frame(
                "5f1c-boundary",
                'Content-Type: application/xop+xml; charset=utf-8; type="text/xml"\r\nContent-ID: <xml@host>',
                "Content-Type: image/jpeg\r\nContent-Transfer-Encoding: binary\r\n"
                "Content-ID: <0A1B_7@maker>\r\n"
                'Content-Disposition: attachment; filename="page.jpg"',
            ),
            id="node-soap: start-info of SOAP 1.1, an action, no transfer encoding, a disposition",
        ),
        pytest.param(
            'Multipart/Related;\r\n        boundary=e1ac-3c31;\r\n        type="application/xop+xml";\r\n'
            '        start="<xml@host>";\r\n        start-info="application/soap+xml"',
            frame(
                "e1ac-3c31",
                "Content-Type: application/xop+xml; type=application/soap+xml\n        charset=UTF-8\n"
                "Content-ID: <xml@host>",
                "Content-Type: image/jpeg;\nContent-ID: <0A1B_7@maker >",
                first=" \n",
                end="\n",
            ),
            id="the documents: folded, bare line feeds, a missing semicolon and one too many",
        ),
    ],
)
def test_a_frame_as_real_peers_write_it_is_read(content_type: str, data: bytes) -> None:
    for pieces in ([data], [data[at : at + 7] for at in range(0, len(data), 7)]):
        read = Reader(content_type).read(pieces)
        assert read.parts == [("0A1B_7@maker", "image/jpeg", OCTETS)]
        assert read.root is not None
        body = message(read.root).body
        assert body is not None
        assert include_of(body) == "0A1B_7@maker"


def test_a_frame_that_ends_within_its_second_part_is_refused() -> None:
    whole = frame("b", "Content-ID: <r>", "Content-ID: <i>")
    with pytest.raises(MtomError, match="ends before its closing boundary"):
        Reader("multipart/related; boundary=b").read([whole[: whole.index(OCTETS)]])


def test_a_frame_with_an_envelope_of_soap_1_1_is_read_and_the_envelope_refused() -> None:
    data = frame("b", "Content-ID: <r>", "Content-ID: <i>").replace(SOAP.encode(), SOAP11.encode())
    root = Reader("multipart/related; boundary=b").read([data]).root
    assert root is not None
    with pytest.raises(VersionMismatch):
        message(root)
