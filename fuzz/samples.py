"""Good messages, written by our own writers, from which odd ones are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from lxml import etree

from postscan.contracts import dsc, dsp, wsd, wse
from postscan.contracts.binding import Bound
from postscan.contracts.emlf import EmailConfig
from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.keywords import FilterState, JobState, JobStateReason, RepositoryState
from postscan.contracts.metadata import (
    DeviceMetadata,
    HostedService,
    Relationship,
    ThisDevice,
    ThisModel,
    large_metadata_header,
    write_metadata,
)
from postscan.contracts.psp import FilterToProcess, PostScanInstructions, PostScanProcess, write_process
from postscan.contracts.wscn import (
    DocumentParameters,
    Keyword,
    MediaSide,
    MediaSides,
    Number,
    Resolution,
    ScanTicket,
    TicketJob,
)
from postscan.soap.envelope import EndpointReference, Headers, write_envelope
from postscan.soap.names import (
    ANONYMOUS,
    DISCOVERY_TO,
    DSC,
    DSP,
    EMLF,
    FSF,
    PSP,
    WSDP,
    WSE,
    WXF,
    XOP,
    qname,
)
from postscan.soap.xml import parse

ADDRESS = "https://scan.example.com:5362/ScanServer"
TOKEN = "0c349cb0-59ed-4d02-b6d5-ebc729c73830"  # noqa: S105 - names a job, opens nothing
MESSAGE_ID = "urn:uuid:1f6c2a5e-6b0e-4a53-9c60-1f2f3a4b5c6d"
ANSWERED = "urn:uuid:2f6c2a5e-6b0e-4a53-9c60-1f2f3a4b5c6d"
DEVICE = qname(WSDP, "Device")
TYPES = (DEVICE, qname(DSP, "DistributedScanProcessingServiceType"))
IMAGE_ID = "image@dsm"
_NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_HOUR = timedelta(hours=1)


def parameter(local: str = "Key", text: str = "value") -> etree._Element:
    """Return a reference parameter of a vendor's."""
    node = etree.Element(qname("urn:vendor", local), nsmap={"v": "urn:vendor"})
    node.text = text
    return node


def request(action: str, body: etree._Element | None, *extra: etree._Element) -> bytes:
    """Return a request with every header a peer may send."""
    headers = Headers(
        action=action,
        to=ADDRESS,
        message_id=MESSAGE_ID,
        reply_to=EndpointReference(ANONYMOUS, (parameter(),)),
        source=EndpointReference("urn:uuid:3f6c2a5e-6b0e-4a53-9c60-1f2f3a4b5c6d"),
        fault_to=EndpointReference(ANONYMOUS),
    )
    return write_envelope(headers, body, extra_headers=extra)


def answer(action: str, body: etree._Element | None, *extra: etree._Element) -> bytes:
    """Return an answer."""
    headers = Headers(action=action, to=ANONYMOUS, message_id=MESSAGE_ID, relates_to=ANSWERED)
    return write_envelope(headers, body, extra_headers=extra)


def announcement(action: str, body: etree._Element, *extra: etree._Element) -> bytes:
    """Return a message to everybody."""
    return write_envelope(
        Headers(action=action, to=DISCOVERY_TO, message_id=MESSAGE_ID), body, extra_headers=extra
    )


def questions() -> list[bytes]:
    """Return Probes and Resolves."""
    probes = (
        wsd.Probe(),
        wsd.Probe(types=(DEVICE,)),
        wsd.Probe(types=(*TYPES, "{urn:vendor}Type"), scopes=("http://example.com/a", "urn:b")),
        wsd.Probe(types=TYPES, scopes=("urn:uuid:4f6c2a5e-6b0e-4a53-9c60-1f2f3a4b5c6d",), match_by=wsd.UUID),
        wsd.Probe(scopes=("x",), match_by="urn:unknown"),
    )
    asked = [announcement(wsd.PROBE_ACTION, p.to_element()) for p in probes]
    resolve = wsd.Resolve(EndpointReference(ADDRESS))
    return [*asked, announcement(wsd.RESOLVE_ACTION, resolve.to_element())]


def sightings() -> list[bytes]:
    """Return Hello, Bye, and answers to Probe and Resolve."""
    sequence = wsd.AppSequence(1_700_000_000, 7, "urn:uuid:5f6c2a5e-6b0e-4a53-9c60-1f2f3a4b5c6d").to_element()
    endpoint = EndpointReference(ADDRESS, (parameter(),))
    match = wsd.ProbeMatch(endpoint, TYPES, ("urn:scope",), (ADDRESS, "http://192.168.7.42:5357/x"), 3)
    silent = wsd.ProbeMatch(EndpointReference("urn:uuid:6f6c2a5e-6b0e-4a53-9c60-1f2f3a4b5c6d"))
    return [
        announcement(wsd.HELLO_ACTION, wsd.Hello(endpoint, TYPES, (), (ADDRESS,), 3).to_element(), sequence),
        announcement(wsd.BYE_ACTION, wsd.Bye(endpoint).to_element(), sequence),
        answer(wsd.PROBE_MATCHES_ACTION, wsd.ProbeMatches((match, silent)).to_element(), sequence),
        answer(wsd.RESOLVE_MATCHES_ACTION, wsd.ResolveMatches(match).to_element(), sequence),
        answer(wsd.RESOLVE_MATCHES_ACTION, wsd.ResolveMatches().to_element(), sequence),
    ]


def subscriptions() -> list[bytes]:
    """Return the requests of WS-Eventing."""
    sink = EndpointReference("http://192.168.7.42:5357/sink", (parameter(),))
    subscribe = wse.Subscribe(
        notify_to=sink,
        end_to=sink,
        mode=wse.PUSH,
        expires=wse.Expires(duration=_HOUR),
        filter_dialect=wse.ACTION_DIALECT,
        filter_actions=(f"{DSP}/PostScanJobStatusEvent", f"{DSP}/PostScanJobEndStateEvent"),
    )
    identifier = etree.Element(qname(WSE, "Identifier"), nsmap={"wse": WSE})
    identifier.text = ANSWERED
    until = wse.Expires(moment=_NOW + _HOUR)
    return [
        request(wse.SUBSCRIBE_ACTION, subscribe.to_element()),
        request(wse.SUBSCRIBE_ACTION, wse.Subscribe(notify_to=sink).to_element()),
        request(wse.RENEW_ACTION, wse.Renew(wse.Expires(duration=_HOUR)).to_element(), identifier),
        request(wse.RENEW_ACTION, wse.Renew(until).to_element(), identifier),
        request(wse.GET_STATUS_ACTION, wse.GetStatus().to_element(), identifier),
        request(wse.UNSUBSCRIBE_ACTION, wse.Unsubscribe().to_element(), identifier),
    ]


def subscription_answers() -> list[bytes]:
    """Return what an event source says."""
    manager = EndpointReference(ADDRESS, (parameter("Identifier"),))
    end = wse.SubscriptionEnd(manager=manager, status=wse.DELIVERY_FAILURE, reason="It does not answer.")
    subscribed = wse.SubscribeResponse(manager=manager, expires=_HOUR)
    return [
        answer(wse.SUBSCRIBE_RESPONSE_ACTION, subscribed.to_element()),
        answer(wse.RENEW_RESPONSE_ACTION, wse.RenewResponse(_HOUR).to_element()),
        answer(wse.GET_STATUS_RESPONSE_ACTION, wse.GetStatusResponse(_HOUR).to_element()),
        request(wse.SUBSCRIPTION_END_ACTION, end.to_element()),
    ]


def metadata() -> bytes:
    """Return an answer to Get."""
    told = DeviceMetadata(
        ThisDevice({"en": "Scan server", "de": "Scanserver"}, "1.2", "4711"),
        ThisModel(
            manufacturers={"": "Somebody"},
            manufacturer_url="https://somebody.example/",
            model_names={"en": "Model"},
            model_number="1",
            model_url="https://somebody.example/model",
            presentation_url="https://scan.example.com/",
            categories=("Computers", "Scanners"),
        ),
        Relationship(
            HostedService((ADDRESS,), (DEVICE,), "uri:host"),
            (HostedService((f"{ADDRESS}/1", f"{ADDRESS}/2"), (*TYPES, "{urn:vendor}Type"), "uri:1"),),
        ),
    )
    return answer(f"{WXF}/GetResponse", write_metadata(told), large_metadata_header())


def get() -> bytes:
    """Return a Get."""
    return request(f"{WXF}/Get", None, large_metadata_header())


@lru_cache(maxsize=1)
def process() -> PostScanProcess:
    """Return a scan process with two filters and a ticket."""
    parameters = DocumentParameters(
        format=Keyword(value="jfif", must_honor=True),
        quality=Number(value=80),
        input_source=Keyword(value="ADF"),
        media_sides=MediaSides(
            front=MediaSide(color=Keyword(value="RGB24"), resolution=Resolution(width=300, height=300))
        ),
    )
    ticket = ScanTicket(
        job=TicketJob(name="Ticket", user_name="alice", information="none"), parameters=parameters
    )
    return PostScanProcess(
        scan_repository="scan.example.com",
        scan_ticket=ticket,
        instructions=PostScanInstructions(
            continue_on_error=True,
            document_root_name="Scan",
            filters=(
                _filter(FSF, FileShareConfig(share_uncs=("\\\\files\\scans",))),
                _filter(EMLF, EmailConfig(addresses=("bob@example.com",), can_add_addresses=True)),
            ),
            allow_device_file_name_change=True,
        ),
    )


def _filter(dialect: str, config: Bound) -> FilterToProcess:
    instructions = etree.Element(qname(PSP, "Instructions"), nsmap={"psp": PSP})
    config.to_element(instructions)
    return FilterToProcess(dialect=dialect, instructions=instructions)


def process_xml() -> bytes:
    """Return a scan process as it is stored."""
    return write_process(process())


def create() -> dsp.CreatePostScanJobRequest:
    """Return a request for a job of that process."""
    stored = process().instructions_element
    # Through octets: a prefix that only values use must be declared, as in a message.
    instructions = parse(etree.tostring(stored))
    return dsp.CreatePostScanJobRequest.for_process(
        user_identifier="S-1-5-21-1-2-3-1001",
        psp_identifier="{C4F199C7-6876-4549-A86E-A85035952448}",
        instructions=instructions,
    )


def send_image_body(content: str = f'<x:Include xmlns:x="{XOP}" href="cid:{IMAGE_ID}"/>') -> etree._Element:
    """Return a SendImageRequest; ``content`` is that of ImageData."""
    image = parse(f'<dsp:ImageData xmlns:dsp="{DSP}">{content}</dsp:ImageData>'.encode())
    description = dsp.DocumentDescription(document_id=1, format="jfif")
    return dsp.SendImageRequest(job_token=TOKEN, description=description, image=image).to_element()


def dsp_messages() -> list[bytes]:
    """Return every request of WS-DSP, and what the server tells."""
    status = dsp.JobStatus(
        job_token=TOKEN,
        state=JobState.COMPLETED,
        reasons=(JobStateReason.COMPLETED_SUCCESSFULLY,),
        filters=(dsp.FilterStatus(dialect=FSF, state=FilterState.COMPLETED_SUCCESSFULLY),),
        images_received=3,
        created=_NOW,
        completed=_NOW + _HOUR,
    )
    description = dsp.JobDescription(psp_identifier="p", psp_display_name="Scan", user_name="alice")
    documents = dsp.Documents(documents=(dsp.DocumentDescription(document_id=1, format="png"),))
    names = (dsp.JOB_STATUS, dsp.JOB_DESCRIPTION, dsp.DOCUMENTS, "{urn:vendor}Other")
    ended = dsp.PostScanJobEndState(
        job_token=TOKEN,
        psp_identifier="p",
        psp_display_name="Scan",
        user_name="alice",
        state=JobState.ABORTED,
        reasons=(JobStateReason.PROCESSING_FAILED,),
        filters=status.filters,
        images_received=3,
        completed=_NOW,
    )
    requests: list[Bound] = [
        create(),
        dsp.EndPostScanJobRequest(job_token=TOKEN),
        dsp.CancelPostScanJobRequest(job_token=TOKEN),
        dsp.GetPostScanJobElementsRequest(job_token=TOKEN, names=names),
    ]
    told: list[Bound] = [
        dsp.CreatePostScanJobResponse(job_token=TOKEN),
        dsp.GetPostScanJobElementsResponse(
            elements=(
                dsp.ElementData(name=names[0], valid=True, status=status),
                dsp.ElementData(name=names[1], valid=True, description=description),
                dsp.ElementData(name=names[2], valid=True, documents=documents),
                dsp.ElementData(name=names[3], valid=False),
            )
        ),
        dsp.PostScanJobStatusEvent(status=status),
        dsp.PostScanJobEndStateEvent(end_state=ended),
    ]
    return [
        *(request(dsp.action_of(type(one)), one.to_element()) for one in requests),
        request(f"{DSP}/SendImage", send_image_body()),
        request(f"{DSP}/SendImage", send_image_body("/9j/4AAQSkZJRg==")),
        *(answer(dsp.action_of(type(one)), one.to_element()) for one in told),
    ]


def dsc_messages() -> list[bytes]:
    """Return requests of WS-DSC, and what the server tells."""
    config = etree.Element(qname(DSC, "FilterConfig"), nsmap={"dsc": DSC})
    configuration = dsc.RepositoryConfiguration(
        filters=(dsc.Filter(dialect=dsc.dialect_name(FSF), config=config),)
    )
    status = dsc.RepositoryStatus(state=RepositoryState.STOPPED, reasons=(dsc.OUT_OF_DISK_SPACE,))
    summary = dsc.JobSummary(
        job_token=TOKEN,
        psp_identifier="p",
        psp_display_name="Scan",
        user_name="alice",
        state=JobState.PROCESSING,
        reasons=(JobStateReason.SEND_IMAGE_FAILED,),
        filters=(dsc.FilterStatus(dialect=FSF, state=FilterState.PROCESSING),),
        images_received=1,
    )
    jobs = dsc.JobList(jobs=(summary,), total=7)
    requests: list[Bound] = [
        dsc.GetRepositoryElementsRequest(names=(dsc.CONFIGURATION, dsc.STATUS)),
        dsc.GetActiveJobsRequest(),
        dsc.GetJobHistoryRequest(skip=3),
        dsc.CancelPostScanJobRequest(job_token=TOKEN),
        dsc.GetPostScanJobElementsRequest(job_token=TOKEN, names=(dsc.JOB_STATUS,)),
    ]
    told: list[Bound] = [
        dsc.GetRepositoryElementsResponse(
            elements=(
                dsc.RepositoryElementData(name=dsc.CONFIGURATION, valid=True, configuration=configuration),
                dsc.RepositoryElementData(name=dsc.STATUS, valid=True, status=status),
            )
        ),
        dsc.GetActiveJobsResponse(active=jobs),
        dsc.GetJobHistoryResponse(history=jobs),
        dsc.RepositoryStatusSummaryEvent(summary=dsc.StatusSummary(state=RepositoryState.IDLE)),
    ]
    return [
        *(request(dsc.action_of(type(one)), one.to_element()) for one in requests),
        *(answer(dsc.action_of(type(one)), one.to_element()) for one in told),
    ]
