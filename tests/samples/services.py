"""What the messages of WS-DSP, WS-DSC and WS-Scan say that documents print and real peers sent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from postscan.contracts import dsp, schemas
from postscan.contracts.binding import BOOLEAN, NAME, Bound, attribute, children, element
from postscan.contracts.emlf import EmailConfig
from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.keywords import DocumentFormat, FilterState, JobState
from postscan.contracts.psp import filter_config
from postscan.contracts.spf import SharePointConfig
from postscan.soap.envelope import Envelope, VersionMismatch, read_envelope, require_request
from postscan.soap.names import ANONYMOUS, DSD, DSP, EMLF, FSF, SPF, WSCN, qname
from postscan.soap.xml import XmlRefused, element_text, parse
from postscan.soap.xop import include_of
from support.samples import expects, message

TOKEN = "264a19bf-3604-4603-b59d-b47e0f669a1e"


def valid(data: bytes) -> Envelope:
    """Read an envelope that the server would take as a request, or a device as an answer."""
    root = parse(data)
    schemas.validate(root)
    return read_envelope(root)


def request_in(data: bytes, message_id: str) -> Bound:
    envelope = valid(data)
    require_request(envelope)
    assert envelope.headers.message_id == message_id
    kind = dsp.REQUESTS[envelope.headers.action]
    assert envelope.body is not None
    assert envelope.body.tag == kind.TAG
    return kind.from_element(envelope.body)


def answer_in(data: bytes, relates_to: str) -> Envelope:
    envelope = valid(data)
    assert envelope.headers.to == ANONYMOUS
    assert envelope.headers.relates_to == relates_to
    assert envelope.body is not None
    assert envelope.headers.action == f"{DSP}/{envelope.body.tag.rpartition('}')[2]}"
    return envelope


# WS-DSP -------------------------------------------------------------------------------------------------


@expects(
    "samples/msdocs/14-dsm-createpostscanjobrequest.xml", "examples/createpostscanjobrequest-example.xml"
)
async def create(data: bytes) -> None:
    request = request_in(data, "urn:uuid:c7a18640-1e15-48ac-8326-0026a5719d98")
    assert isinstance(request, dsp.CreatePostScanJobRequest)
    assert request.user_identifier == "S-1-5-21-917267712-1342860078-1792151419-500"
    assert request.psp_identifier == "C4F199C7-6876-4549-A86E-A85035952448"
    instructions = request.instructions
    assert (instructions.continue_on_error, instructions.document_root_name) == (True, "SampleScanJob")
    share, site, mail = instructions.filters
    assert [f.dialect for f in instructions.filters] == [FSF, SPF, EMLF]
    assert filter_config(share.instructions, FileShareConfig) == FileShareConfig(
        share_uncs=("\\\\contoso\\scratch\\_prtlab\\IncomingScans",)
    )
    assert filter_config(site.instructions, SharePointConfig) == SharePointConfig(
        urls=("http://contoso/site/scans",)
    )
    assert filter_config(mail.instructions, EmailConfig) == EmailConfig(addresses=("user@contoso.com",))


@expects(
    "samples/msdocs/15-dsm-createpostscanjobresponse.xml", "examples/createpostscanjobresponse-example.xml"
)
async def created(data: bytes) -> None:
    body = answer_in(data, "urn:uuid:c7a18640-1e15-48ac-8326-0026a5719d98").body
    assert body is not None
    assert dsp.CreatePostScanJobResponse.from_element(body).job_token == TOKEN


@expects("examples/sendimagerequest-example.xml")
async def send_image(data: bytes) -> None:
    request = request_in(data, "uuid:UniqueMsgId")
    assert isinstance(request, dsp.SendImageRequest)
    assert request.job_token == TOKEN
    assert request.description == dsp.DocumentDescription(document_id=9, format=DocumentFormat.PNG)
    assert include_of(request.image) == "1c696bd7-005a-48d9-9ee9-9adca11f8892@uuid"


@expects("samples/msdocs/16-dsm-sendimageresponse.xml", "examples/sendimageresponse-example.xml")
async def image_sent(data: bytes) -> None:
    envelope = answer_in(data, "urn:uuid:d4d804f4-4232-484c-b861-a79ac24001cf")
    assert envelope.headers.action == f"{DSP}/SendImageResponse"


@expects("examples/endpostscanjobrequest-example.xml")
async def end(data: bytes) -> None:
    request = request_in(data, "urn:uuid:5eb4f990-bc55-459d-8d3f-9794f586fc32")
    assert request == dsp.EndPostScanJobRequest(job_token=TOKEN)


@expects("examples/endpostscanjobresponse-example.xml")
async def ended(data: bytes) -> None:
    envelope = answer_in(data, "urn:uuid:5eb4f990-bc55-459d-8d3f-9794f586fc32")
    assert envelope.headers.action == f"{DSP}/EndPostScanJobResponse"


@expects("examples/cancelpostscanjobrequest-example.xml")
async def cancel(data: bytes) -> None:
    # Its To is no URI: what stands there refuses no message that came to the right address.
    assert message(data).headers.to == "Destination Address"
    request = request_in(data, "urn:uuid:851d1de6-2bf1-4cc3-af55-dc8b462c505e")
    assert request == dsp.CancelPostScanJobRequest(job_token="1ba72b60-c873-4d9d-b523-66616fe03ea9")


@expects("examples/cancelpostscanjobresponse-example.xml")
async def canceled(data: bytes) -> None:
    envelope = answer_in(data, "urn:uuid:851d1de6-2bf1-4cc3-af55-dc8b462c505e")
    assert envelope.headers.action == f"{DSP}/CancelPostScanJobResponse"


@expects("examples/getpostscanjobelementsrequest-example.xml")
async def get_elements(data: bytes) -> None:
    assert message(data).headers.to == (
        "https://DSMScanServer.contoso.com:5362/ScanServer/4d15d73c-bbcd-4cba-beae-07e1f8ea9475"
    )
    request = request_in(data, "urn:uuid:a79fe111-170d-4699-95d8-a896564aa7d6")
    assert request == dsp.GetPostScanJobElementsRequest(
        job_token="0c349cb0-59ed-4d02-b6d5-ebc729c73830", names=(dsp.JOB_STATUS, dsp.JOB_DESCRIPTION)
    )


@expects("examples/getpostscanjobelementsresponse-example.xml")
async def elements(data: bytes) -> None:
    body = answer_in(data, "urn:uuid:a79fe111-170d-4699-95d8-a896564aa7d6").body
    assert body is not None
    status = dsp.JobStatus(
        job_token="0c349cb0-59ed-4d02-b6d5-ebc729c73830",
        state=JobState.CREATING,
        filters=(dsp.FilterStatus(dialect=FSF, state=FilterState.PENDING),),
        images_received=1,
        created=datetime(2009, 4, 28, 18, 37, 19, 519_000, tzinfo=UTC),
    )
    description = dsp.JobDescription(
        psp_identifier="614655A4-38A5-46C4-B768-B6329EC5F318",
        psp_display_name="FileShare Process",
        user_name="User1@contoso.com",
    )
    assert dsp.GetPostScanJobElementsResponse.from_element(body) == dsp.GetPostScanJobElementsResponse(
        elements=(
            dsp.ElementData(name=dsp.JOB_STATUS, valid=True, status=status),
            dsp.ElementData(name=dsp.JOB_DESCRIPTION, valid=True, description=description),
        )
    )


@expects("examples/distributed-scan-processing-web-service-operation-error-reporting.xml")
async def misprinted_fault(data: bytes) -> None:
    """Refused: the document misprints the namespace of SOAP (spec README, trap 1)."""
    with pytest.raises(VersionMismatch, match="soapelope"):
        message(data)


# WS-DSC -------------------------------------------------------------------------------------------------


@expects("samples/msdocs/18-bdsrr-getrepositoryelements-request-asprinted.txt")
async def broken_lines(data: bytes) -> None:
    """Refused: the print breaks its URIs over lines, the namespace of the service among them."""
    with pytest.raises(XmlRefused, match="not a valid URI"):
        message(data)


# WS-Scan and WS-DSD -------------------------------------------------------------------------------------


@element(WSCN, "ElementData")
class ScannerElement(Bound):
    """One element of a scanner, as WS-Scan tells it: its attributes have no namespace."""

    name: str = attribute("Name", NAME)
    valid: bool = attribute("Valid", BOOLEAN)


@element(WSCN, "GetScannerElementsResponse")
class ScannerElements(Bound):
    """The elements that were asked for."""

    elements: tuple[ScannerElement, ...] = children("ElementData", ScannerElement, wrapper="ScannerElements")


@expects("samples/real/10-kyocera-m2040dn-getscannerelementsresponse.xml")
async def kyocera_scanner(data: bytes) -> None:
    envelope = message(data)
    assert envelope.headers.action == f"{WSCN}/GetScannerElementsResponse"
    assert envelope.headers.relates_to == "urn:uuid:77541427-1fce-4a86-bf59-ba77fa3c2ce7"
    assert envelope.body is not None
    told = ScannerElements.from_element(envelope.body).elements
    names = ("ScannerDescription", "ScannerConfiguration", "DefaultScanTicket")
    assert [(e.name, e.valid) for e in told] == [(qname(WSCN, name), True) for name in names]
    assert element_text(next(envelope.body.iter(qname(WSCN, "ScannerName")))) == "ECOSYS M2040dn"


# A sink knows no event of a device yet; what it must be able to do is to read the message, whose action
# and body lie in two namespaces (spec README, trap 8).
EVENTS = {
    "jobendstateevent-example": ("JobEndStateEvent", "JobCompletedState", "Completed"),
    "jobstatusevent-jobstatus-jobstatusevent-example": ("JobStatusEvent", "JobState", "Processing"),
    "scannerelementschangeevent-example": ("ScannerElementsChangeEvent", "FormatValue", "dib"),
    "scannerstatusconditionclearedevent-example": (
        "ScannerStatusConditionClearedEvent",
        "ConditionId",
        "1543",
    ),
    "scannerstatusconditionevent-example": ("ScannerStatusConditionEvent", "Name", "LampError"),
    "scannerstatussummaryevent-example": ("ScannerStatusSummaryEvent", "ScannerState", "Stopped"),
}


def declare_event(path: str, name: str, local: str, value: str) -> None:
    @expects(path)
    async def event(data: bytes) -> None:
        envelope = message(data)
        assert envelope.headers.action == f"{WSCN}/{name}"
        assert envelope.headers.to == "AddressofEventSink"
        assert envelope.headers.message_id == "uuid:UniqueMsgId"
        assert envelope.body is not None
        assert envelope.body.tag == qname(DSD, name)
        assert element_text(next(envelope.body.iter(qname(WSCN, local)))) == value


for stem, expected in EVENTS.items():
    declare_event(f"examples/{stem}.xml", *expected)
declare_event("samples/msdocs/17-wsscan-jobendstateevent.xml", *EVENTS["jobendstateevent-example"])
