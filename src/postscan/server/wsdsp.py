"""WS-DSP: the five operations and two events of Distributed Scan Processing, answered with jobs."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Final, cast
from uuid import UUID

from lxml import etree

from postscan.contracts import dsp
from postscan.contracts.formats import matches
from postscan.contracts.keywords import DocumentFormat
from postscan.core.clock import Clock
from postscan.core.errors import InvalidArgument
from postscan.core.log import get_logger
from postscan.dpws.eventing import EventSource
from postscan.dpws.service import Call, HostedService, Operation, operations
from postscan.filters.contract import InstructionsError
from postscan.jobs.engine import JobChange, JobEngine
from postscan.jobs.model import Job
from postscan.jobs.spool import ImageWriter
from postscan.server import status
from postscan.server.create import Admission, NoValidInstructions
from postscan.server.elements import answers_by_name
from postscan.server.job_news import JobNews
from postscan.soap.names import DSP, qname

_log = get_logger("wsdsp")
STATUS_EVENT: Final = f"{DSP}/PostScanJobStatusEvent"
END_STATE_EVENT: Final = f"{DSP}/PostScanJobEndStateEvent"
EVENTS: Final = (STATUS_EVENT, END_STATE_EVENT)


class WsDsp:
    """The service; :meth:`hosted` is what a DeviceHost hosts."""

    def __init__(self, engine: JobEngine, admission: Admission, events: EventSource, clock: Clock) -> None:
        self._engine = engine
        self._admission = admission
        self._events = events
        self._news = JobNews(clock)
        engine.add_listener(self._changed)

    def hosted(self, identifier: UUID, *, extra_types: tuple[str, ...] = ()) -> HostedService:
        """Return the hosted service under ``identifier``."""
        table = operations(
            DSP,
            ("CreatePostScanJob", self.create),
            ("EndPostScanJob", self.end),
            ("CancelPostScanJob", self.cancel),
            ("GetPostScanJobElements", self.elements),
        )
        send = f"{DSP}/SendImage"
        table[send] = Operation(
            action=send,
            request=qname(DSP, "SendImageRequest"),
            response_action=f"{send}Response",
            operate=self.send_image,
            attachment_in=qname(DSP, "ImageData"),
        )
        return HostedService(
            identifier=identifier,
            types=(qname(DSP, "DistributedScanProcessingServiceType"),),
            service_id=f"uri:postscan:wsdsp:{identifier}",
            namespace=DSP,
            operations=table,
            events=self._events,
            notifications=EVENTS,
            open_sink=self._engine.open_image,
            extra_types=extra_types,
        )

    # Operations ----------------------------------------------------------------------------------------

    async def create(self, call: Call) -> etree._Element:
        """CreatePostScanJob: everything is checked before a job exists."""
        request = dsp.CreatePostScanJobRequest.from_element(call.message)
        new = await self._admission.admit(request, call.caller, call.envelope.headers.message_id)
        try:
            job = await self._engine.create(new)
        except InstructionsError as error:
            raise NoValidInstructions(str(error), detail=error.detail, advice=error.what_to_do) from error
        _log.info(
            "job created",
            token=job.token,
            process=job.process_name,
            mode=self._admission.authenticator.mode.value,
            user_sid=job.user.sid,
            user_upn=job.user.upn,
            vouched_by=job.vouched_by,
            device=new.origin,
        )
        return dsp.CreatePostScanJobResponse(job_token=job.token).to_element()

    async def send_image(self, call: Call) -> etree._Element:
        """SendImage: job, identity and limits are checked before the image is read; see R-1 and R-5."""
        request = dsp.SendImageRequest.from_element(call.message)
        owner = await self._admission.authenticator.owner(call.caller)
        token = request.job_token
        image_format = _published(request.description.format)
        document_id = request.description.document_id
        await self._engine.check_image(token, owner, document_id, image_format, None)
        if call.attachment is None:
            raise InvalidArgument("no image", detail="dsp:ImageData")
        alive = partial(self._engine.touch, token)
        writer = cast(ImageWriter, await call.attachment.receive(alive))
        try:
            if writer.size == 0:
                raise InvalidArgument("the image is empty", detail="dsp:ImageData")
            if not matches(image_format, writer.head):
                raise InvalidArgument(f"the octets are not {image_format}", detail="dsp:Format")
            await self._engine.commit_image(token, owner, document_id, image_format, writer)
        finally:
            writer.abort()
        return dsp.SendImageResponse().to_element()

    async def end(self, call: Call) -> etree._Element:
        """EndPostScanJob: the job is accepted, durably (R-2)."""
        request = dsp.EndPostScanJobRequest.from_element(call.message)
        owner = await self._admission.authenticator.owner(call.caller)
        await self._engine.end(request.job_token, owner)
        return dsp.EndPostScanJobResponse().to_element()

    async def cancel(self, call: Call) -> etree._Element:
        """CancelPostScanJob: by the one who created it, best effort."""
        request = dsp.CancelPostScanJobRequest.from_element(call.message)
        owner = await self._admission.authenticator.owner(call.caller)
        await self._engine.cancel(request.job_token, owner)
        return dsp.CancelPostScanJobResponse().to_element()

    async def elements(self, call: Call) -> etree._Element:
        """GetPostScanJobElements: one ElementData a name, in order."""
        request = dsp.GetPostScanJobElementsRequest.from_element(call.message)
        owner = await self._admission.authenticator.owner(call.caller)
        job = await self._engine.job(request.job_token, owner)
        answers = await answers_by_name(
            request.names,
            partial(self._element, job, owner),
            lambda name: dsp.ElementData(name=name, valid=False),
            detail="dsp:RequestedElements",
        )
        return dsp.GetPostScanJobElementsResponse(elements=answers).to_element()

    async def _element(self, job: Job, owner: str, name: str) -> dsp.ElementData:
        if name == dsp.JOB_STATUS:
            return dsp.ElementData(name=name, valid=True, status=status.job_status(job))
        if name == dsp.JOB_DESCRIPTION:
            return dsp.ElementData(name=name, valid=True, description=status.job_description(job))
        if name == dsp.DOCUMENTS:
            received = await self._engine.documents(job.token, owner)
            return dsp.ElementData(name=name, valid=True, documents=status.documents(received))
        return dsp.ElementData(name=name, valid=False)

    # Events --------------------------------------------------------------------------------------------

    def _changed(self, change: JobChange) -> None:
        job = change.job
        if self._news.is_end(change):
            self._publish(STATUS_EVENT, job)
            self._publish(END_STATE_EVENT, job)
        elif self._news.is_worth_telling(change):
            self._publish(STATUS_EVENT, job)

    def _publish(self, action: str, job: Job) -> None:
        # A job's events are its creator's business alone: its token is in them.
        self._events.publish(
            action, partial(_event, action, job), job.owner, subject=job.token, mark=_mark(action, job)
        )

    async def resume(self) -> None:
        """Take up the subscriptions of before a restart and tell each what it may have missed.

        That is where its unfinished jobs stand, and the end of those whose end-state event its subscriber is
        not known to have taken. To be called before any job goes on, so that nothing older comes later.
        """
        restored = await self._events.restore(await self._engine.last_ending())
        if not restored:
            return
        marks: dict[str, int] = {}
        for one in restored:
            if one.wants(END_STATE_EVENT):
                marks[one.owner] = min(one.confirmed, marks.get(one.owner, one.confirmed))
        # The ends first: they came first.
        news = defaultdict(list)
        for job in await self._engine.ended_after(marks):
            news[job.owner].append((END_STATE_EVENT, job))
        for job in await self._engine.unfinished():
            news[job.owner].append((STATUS_EVENT, job))
        for one in restored:
            for action, job in news[one.owner]:
                mark = _mark(action, job)
                if mark is None or mark > one.confirmed:
                    event = partial(_event, action, job)
                    self._events.tell(one.identifier, action, event, subject=job.token, mark=mark)


def _event(action: str, job: Job) -> etree._Element:
    if action == END_STATE_EVENT:
        return dsp.PostScanJobEndStateEvent(end_state=status.end_state(job)).to_element()
    return dsp.PostScanJobStatusEvent(status=status.job_status(job)).to_element()


def _mark(action: str, job: Job) -> int | None:
    return job.ending if action == END_STATE_EVENT else None


def _published(name: str) -> DocumentFormat:
    try:
        return DocumentFormat(name)
    except ValueError as error:
        raise InvalidArgument(f"format {name}", detail="dsp:Format") from error
