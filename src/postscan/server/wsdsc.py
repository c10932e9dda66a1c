"""WS-DSC ([MS-BDSRR]): the five operations and four events by which administrators look after the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final
from uuid import UUID

from lxml import etree

from postscan.contracts import dsc
from postscan.contracts.keywords import END_STATES
from postscan.core.clock import Clock
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.dpws.eventing import EventSource
from postscan.dpws.service import Call, HostedService, operations
from postscan.filters.contract import ConfiguredFilter, Filter
from postscan.filters.unoffered import UnofferedFilter
from postscan.jobs.engine import JobChange, JobEngine
from postscan.jobs.errors import JobNotFound, WrongState
from postscan.jobs.model import Job
from postscan.server import repository_words as words
from postscan.server.administrators import Administrators
from postscan.server.elements import ROOM, answers_by_name, size_of
from postscan.server.job_news import JobNews
from postscan.server.standing import Standing
from postscan.soap.names import DSC, qname
from postscan.soap.xml import serialize

_log = get_logger("wsdsc")
CHANGE_EVENT: Final = dsc.action_of(dsc.RepositoryElementsChangeEvent)
SUMMARY_EVENT: Final = dsc.action_of(dsc.RepositoryStatusSummaryEvent)
STATUS_EVENT: Final = dsc.action_of(dsc.PostScanJobStatusEvent)
END_STATE_EVENT: Final = dsc.action_of(dsc.PostScanJobEndStateEvent)
EVENTS: Final = tuple(dsc.EVENTS)
# More summaries than this fit no envelope.
_PAGE: Final = 64
# Ended jobs that a subscriber is told of after a restart; GetJobHistory has them all.
_MOST_MISSED: Final = 1_000
_LOOK_SECONDS: Final = 30.0
_NAMES: Final = "dsc:RequestedElements"


class WsDsc:
    """The service; :meth:`hosted` is what a DeviceHost hosts.

    :param filters: those the server offers, by dialect; looked at anew for each answer.
    :param max_history: the most ended jobs that are told of.
    """

    def __init__(
        self,
        engine: JobEngine,
        administrators: Administrators,
        events: EventSource,
        filters: Mapping[str, Filter],
        clock: Clock,
        *,
        has_room: Callable[[], bool],
        max_history: int = 1_000,
    ) -> None:
        self.max_history = max_history
        self._engine = engine
        self._administrators = administrators
        self._events = events
        self._filters = filters
        self._news = JobNews(clock)
        self._standing = Standing(has_room)
        self._told: dsc.RepositoryStatus | None = None
        self._looking: asyncio.Task[None] | None = None
        engine.add_listener(self._changed)

    def hosted(self, identifier: UUID) -> HostedService:
        """Return the hosted service under ``identifier``."""
        return HostedService(
            identifier=identifier,
            types=(qname(DSC, "RepositoryConfigurationServiceType"),),
            service_id=f"uri:postscan:wsdsc:{identifier}",
            namespace=DSC,
            operations=operations(
                DSC,
                ("GetRepositoryElements", self.elements),
                ("GetActiveJobs", self.active_jobs),
                ("GetJobHistory", self.history),
                ("GetPostScanJobElements", self.job_elements),
                ("CancelPostScanJob", self.cancel),
            ),
            events=self._events,
            notifications=EVENTS,
            owner_of=self._administrators.admit,
        )

    # Operations ----------------------------------------------------------------------------------------

    async def elements(self, call: Call) -> etree._Element:
        """GetRepositoryElements: one ElementData a name, in order."""
        await self._administrators.admit(call.caller)
        request = dsc.GetRepositoryElementsRequest.from_element(call.message)
        found = await answers_by_name(
            request.names,
            self._element,
            lambda name: dsc.RepositoryElementData(name=name, valid=False),
            detail=_NAMES,
        )
        return dsc.GetRepositoryElementsResponse(elements=found).to_element()

    async def active_jobs(self, call: Call) -> etree._Element:
        """GetActiveJobs: the jobs that have not ended, newest first, as many as an envelope holds."""
        await self._administrators.admit(call.caller)
        skip = dsc.GetActiveJobsRequest.from_element(call.message).skip or 0
        return dsc.GetActiveJobsResponse(active=await self._listed(True, skip)).to_element()

    async def history(self, call: Call) -> etree._Element:
        """GetJobHistory: the jobs that have ended, newest first, as many as an envelope holds."""
        await self._administrators.admit(call.caller)
        skip = dsc.GetJobHistoryRequest.from_element(call.message).skip or 0
        return dsc.GetJobHistoryResponse(history=await self._listed(False, skip)).to_element()

    async def job_elements(self, call: Call) -> etree._Element:
        """GetPostScanJobElements: of any job."""
        await self._administrators.admit(call.caller)
        request = dsc.GetPostScanJobElementsRequest.from_element(call.message)
        job = await self._engine.job(request.job_token, None)
        found = await answers_by_name(
            request.names,
            partial(self._job_element, job),
            lambda name: dsc.JobElementData(name=name, valid=False),
            detail=_NAMES,
        )
        return dsc.GetPostScanJobElementsResponse(elements=found).to_element()

    async def cancel(self, call: Call) -> etree._Element:
        """CancelPostScanJob: any job that has not ended; one that has is not found ([MS-BDSRR] 3.2.4.2)."""
        owner = await self._administrators.admit(call.caller)
        token = dsc.CancelPostScanJobRequest.from_element(call.message).job_token
        job = await self._engine.job(token, None)
        try:
            if not job.finished:
                _log.info("administrator cancels a job", administrator=owner, token=job.token)
                await self._engine.cancel(job.token, None)
                return dsc.CancelPostScanJobResponse().to_element()
        except WrongState as error:  # it ended just now
            raise JobNotFound(str(error), detail=token) from error
        raise JobNotFound("the job has ended", detail=token)

    async def _element(self, name: str) -> dsc.RepositoryElementData:
        if name == dsc.CONFIGURATION:
            return dsc.RepositoryElementData(name=name, valid=True, configuration=self.configuration())
        if name == dsc.STATUS:
            return dsc.RepositoryElementData(name=name, valid=True, status=self._standing.status())
        return dsc.RepositoryElementData(name=name, valid=False)

    async def _job_element(self, job: Job, name: str) -> dsc.JobElementData:
        if name == dsc.JOB_STATUS:
            return dsc.JobElementData(name=name, valid=True, status=words.job_status(job))
        if name == dsc.JOB_DESCRIPTION:
            return dsc.JobElementData(name=name, valid=True, description=words.job_description(job))
        if name == dsc.DOCUMENTS:
            received = words.documents(await self._engine.documents(job.token, None))
            return dsc.JobElementData(name=name, valid=True, documents=received)
        return dsc.JobElementData(name=name, valid=False)

    async def _listed(self, active: bool, skip: int) -> dsc.JobList:
        counts = await self._engine.counts()
        total = sum(number for state, number in counts.items() if (state not in END_STATES) is active)
        if not active:
            total = min(total, self.max_history)
        wanted = min(_PAGE, total - skip)
        found = await self._engine.jobs(active=active, limit=wanted, skip=skip) if wanted > 0 else []
        room = ROOM
        summaries = []
        for job in found:
            one = words.summary(job)
            room -= size_of(one)
            if room < 0:
                break
            summaries.append(one)
        return dsc.JobList(total=total, jobs=tuple(summaries))

    def configuration(self) -> dsc.RepositoryConfiguration:
        """Return what the server offers: one Filter each, with its FilterConfig."""
        offered = {
            dialect: one for dialect, one in self._filters.items() if not isinstance(one, UnofferedFilter)
        }
        room = ROOM // 2 // max(1, len(offered))
        return dsc.RepositoryConfiguration(
            filters=tuple(
                dsc.Filter(dialect=dsc.dialect_name(dialect), config=_config_of(one, room))
                for dialect, one in offered.items()
            )
        )

    # Events --------------------------------------------------------------------------------------------

    def configuration_changed(self) -> None:
        """Tell subscribers that the server's configuration is another."""
        self._publish(CHANGE_EVENT, self._change_event)

    def stopping(self) -> None:
        """Tell subscribers that the server is being stopped, and stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._standing.stop()
        self._tell_standing()

    async def resume(self) -> None:
        """Take up what was before a restart, and tell each subscriber what it may have missed.

        To be called before any job goes on.
        """
        unfinished = await self._engine.unfinished()
        self._standing.begin(unfinished)
        self._told = self._standing.status()
        self._looking = asyncio.create_task(self._look_now_and_then())
        restored = await self._events.restore(await self._engine.last_ending())
        await self._administrators.look_again({one.owner for one in restored})
        restored = [one for one in restored if self._administrators.may_know(one.owner)]
        if not restored:
            return
        ended = await self._engine.ended_since(min(one.confirmed for one in restored), _MOST_MISSED)
        for one in restored:
            for job in ended:
                if job.ending is not None and job.ending > one.confirmed:
                    event = partial(_end_state_event, job)
                    self._events.tell(one.identifier, END_STATE_EVENT, event, mark=job.ending)
            for job in unfinished:
                event = partial(_status_event, job)
                self._events.tell(one.identifier, STATUS_EVENT, event, subject=job.token)
            self._events.tell(one.identifier, SUMMARY_EVENT, partial(_summary_event, self._told))
            self._events.tell(one.identifier, CHANGE_EVENT, self._change_event)

    async def _look_now_and_then(self) -> None:
        """Notice what no job tells: a disk that fills, and administrators who are none any more."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._tell_standing()
            except PostscanError as error:
                _log.warning("the server's standing is not known just now", why=str(error))
            await self._administrators.look_again()

    def _changed(self, change: JobChange) -> None:
        job = change.job
        self._standing.note(job)
        is_end = self._news.is_end(change)
        if is_end or self._news.is_worth_telling(change):
            self._publish(STATUS_EVENT, partial(_status_event, job), subject=job.token)
        if is_end:
            self._publish(END_STATE_EVENT, partial(_end_state_event, job), subject=job.token, mark=job.ending)
        # Last: whoever hears that the server is idle has heard of the last job's end.
        self._tell_standing()

    def _tell_standing(self) -> None:
        status = self._standing.status()
        if status != self._told:
            self._told = status
            self._publish(SUMMARY_EVENT, partial(_summary_event, status))

    def _change_event(self) -> etree._Element:
        changes = dsc.ElementChanges(configuration=self.configuration())
        return dsc.RepositoryElementsChangeEvent(changes=changes).to_element()

    def _publish(
        self,
        action: str,
        event: Callable[[], etree._Element],
        *,
        subject: str | None = None,
        mark: int | None = None,
    ) -> None:
        self._events.publish(action, event, self._administrators.may_know, subject=subject, mark=mark)


def _status_event(job: Job) -> etree._Element:
    return dsc.PostScanJobStatusEvent(status=words.job_status(job)).to_element()


def _end_state_event(job: Job) -> etree._Element:
    return dsc.PostScanJobEndStateEvent(end_state=words.end_state(job)).to_element()


def _summary_event(status: dsc.RepositoryStatus) -> etree._Element:
    summary = dsc.StatusSummary(state=status.state, reasons=status.reasons)
    return dsc.RepositoryStatusSummaryEvent(summary=summary).to_element()


def _config_of(one: Filter, room: int) -> etree._Element:
    config = etree.Element(qname(DSC, "FilterConfig"), nsmap={"dsc": DSC})
    told = one.configuration() if isinstance(one, ConfiguredFilter) else None
    if told is not None and len(serialize(told)) <= room:
        config.append(told)
    return config
