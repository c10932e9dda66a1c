"""The client of WS-DSC: what a scan server offers, how it stands, its jobs, and its events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import ClassVar, Final

from lxml import etree

from postscan.contracts import dsc, wse
from postscan.dpws.client import NotSoap, RemoteFault
from postscan.dpws.service_client import NoService, Patience, ServiceClient
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import DSC

__all__ = ["JobPage", "NoService", "Patience", "RepositoryClient"]

JobPage = Callable[[int], Awaitable[dsc.JobList]]

_ADVICE: Final = {
    "ClientErrorCurrentUserNotScanAdmin": "Show the certificate of an administrator, with --user NAME or"
    " --cert FILE: a member of a group that the server's [administrators] groups names, or one listed in"
    " [administrators] certificates.",
    "ClientErrorJobTokenNotFound": "`postscan server jobs` shows the jobs there are; one that has ended"
    " cannot be canceled, and one that ended long ago is forgotten.",
    "ServerErrorTemporaryError": "Try again a little later; the server's log tells what it lacked.",
    "ServerErrorInternalError": "The server's log tells what happened.",
    "InvalidArgs": "The server's log tells which argument was wrong.",
}


class RepositoryClient(ServiceClient):
    """One scan server, as an administrator sees it.

    Every method that asks the server raises RemoteFault (ClientErrorCurrentUserNotScanAdmin for whoever is no
    administrator), Unreachable, NotSoap, or NoService when the server has no WS-DSC.
    """

    namespace: ClassVar[str] = DSC
    service_name: ClassVar[str] = "WS-DSC"

    def advice_on(self, fault: RemoteFault) -> str:
        """Return what an administrator can do about a fault."""
        return _ADVICE.get(fault.subcode, "")

    # The server ----------------------------------------------------------------------------------------

    async def elements(self, *names: str) -> tuple[dsc.RepositoryElementData, ...]:
        """Return elements of the server by name (Clark names), one for each, in order."""
        request = dsc.GetRepositoryElementsRequest(names=names)
        answer = await self._operate("GetRepositoryElements", request.to_element())
        return dsc.GetRepositoryElementsResponse.from_element(answer).elements

    async def configuration(self) -> dsc.RepositoryConfiguration:
        """Return what the server offers."""
        (one, *_) = await self.elements(dsc.CONFIGURATION) or (None,)
        if one is None or one.configuration is None:
            raise NotSoap("the answer holds no RepositoryConfiguration")
        return one.configuration

    async def status(self) -> dsc.RepositoryStatus:
        """Return how the server stands."""
        (one, *_) = await self.elements(dsc.STATUS) or (None,)
        if one is None or one.status is None:
            raise NotSoap("the answer holds no RepositoryStatus")
        return one.status

    # Jobs ----------------------------------------------------------------------------------------------

    async def active_jobs(self, skip: int = 0) -> dsc.JobList:
        """Return the jobs that have not ended, newest first, as many as fit one answer.

        :param skip: leaves out so many of the newest; only servers that tell ``total`` know it.
        """
        answer = await self._operate(
            "GetActiveJobs", dsc.GetActiveJobsRequest(skip=skip or None).to_element()
        )
        return dsc.GetActiveJobsResponse.from_element(answer).active

    async def history(self, skip: int = 0) -> dsc.JobList:
        """Return the jobs that have ended, newest first, as many as fit one answer; ``skip`` as above."""
        answer = await self._operate(
            "GetJobHistory", dsc.GetJobHistoryRequest(skip=skip or None).to_element()
        )
        return dsc.GetJobHistoryResponse.from_element(answer).history

    async def all_of(self, page: JobPage, limit: int) -> dsc.JobList:
        """Return up to ``limit`` jobs of a list, such as ``client.history``, asking as often as it takes.

        Each job comes once, however many began or ended between two answers.
        """
        found: dict[str, dsc.JobSummary] = {}
        total: int | None = None
        skip = 0
        while True:
            part = await page(skip)
            total = part.total
            found.update({job.job_token: job for job in part.jobs})
            skip += len(part.jobs)
            if not part.jobs or total is None or skip >= min(total, limit):
                break
        return dsc.JobList(total=total, jobs=tuple(found.values())[:limit])

    async def job_elements(self, token: str, *names: str) -> tuple[dsc.JobElementData, ...]:
        """Return elements of any job by name (Clark names), one for each, in order."""
        request = dsc.GetPostScanJobElementsRequest(job_token=token, names=names)
        answer = await self._operate("GetPostScanJobElements", request.to_element())
        return dsc.GetPostScanJobElementsResponse.from_element(answer).elements

    async def job_status(self, token: str) -> dsc.JobStatus:
        """Return how a job stands."""
        (one, *_) = await self.job_elements(token, dsc.JOB_STATUS) or (None,)
        if one is None or one.status is None:
            raise NotSoap("the answer holds no JobStatus")
        return one.status

    async def cancel(self, token: str) -> None:
        """Cancel any job that has not ended; best effort."""
        await self._operate("CancelPostScanJob", dsc.CancelPostScanJobRequest(job_token=token).to_element())

    # Events --------------------------------------------------------------------------------------------

    async def subscribe(
        self,
        sink: EndpointReference,
        expires: timedelta,
        actions: tuple[str, ...] = tuple(dsc.EVENTS),
        *,
        once: bool = False,
    ) -> wse.SubscribeResponse:
        """Subscribe to events by their actions; return the subscription's manager and how long it lasts.

        :param once: does not try again.
        """
        return await self._subscribe(sink, expires, actions, pauses=() if once else None)


Event = (
    dsc.RepositoryElementsChangeEvent
    | dsc.RepositoryStatusSummaryEvent
    | dsc.PostScanJobStatusEvent
    | dsc.PostScanJobEndStateEvent
)


def event_of(body: etree._Element) -> Event | None:
    """Read an event of WS-DSC; None for anything else."""
    for kind in (
        dsc.RepositoryElementsChangeEvent,
        dsc.RepositoryStatusSummaryEvent,
        dsc.PostScanJobStatusEvent,
        dsc.PostScanJobEndStateEvent,
    ):
        if body.tag == kind.TAG:
            return kind.from_element(body)
    return None
