"""A workshop whose jobs are processed before they are delivered."""

from __future__ import annotations

from postscan.contracts.keywords import FilterStateReason, JobState
from postscan.filters.contract import DeliveryError
from postscan.jobs.model import DeliveryState, Job, NewFilter
from support.filters import DIALECT, JOINING, JoiningFilter, RecordingFilter, instructions
from support.jobs import Workshop

DONE = (JobState.COMPLETED, JobState.ABORTED, JobState.CANCELED)
JOIN = NewFilter(JOINING, instructions())
PLACE = NewFilter(DIALECT, instructions("share"))
# The id of the first document that the first filter of a job made.
MADE = 1 << 32 | 1


def broken() -> DeliveryError:
    """Return what a step raises that cannot be done."""
    return DeliveryError(
        "page 2 is broken",
        reason=FilterStateReason.INVALID_ARGS,
        transient=False,
        advice="Scan page 2 again.",
    )


def busy() -> DeliveryError:
    """Return what a step raises that could be done later."""
    return DeliveryError("busy", reason=FilterStateReason.UNKNOWN_ERROR, transient=True)


class Chain:
    """A workshop with a filter that joins and one that delivers, and how to scan into it."""

    def __init__(self, shop: Workshop, joining: JoiningFilter, recording: RecordingFilter) -> None:
        self.shop = shop
        self.joining = joining
        self.recording = recording

    async def scan(self, *filters: NewFilter, pages: int = 2, go_on: bool = False) -> Job:
        """Scan a job that is joined and delivered to ``share``, or goes through other filters."""
        return await self.shop.ended_job(pages=pages, filters=filters or (JOIN, PLACE), go_on=go_on)

    async def done(self, job: Job) -> Job:
        """Wait until a job has ended."""
        return await self.shop.until_state(job.token, *DONE)

    def arrived(self, job: Job, place: str = "share") -> dict[int, bytes]:
        """Return what has arrived of a job: document id -> octets."""
        return self.recording.arrived.get((job.token, place), {})


async def waits(chain: Chain, job: Job, attempts: int, index: int = 0) -> Job:
    """Wait until a filter waits for its next attempt after so many, and return the job as it is then."""
    found: list[Job] = []

    def wanted() -> bool:
        found[:] = [c.job for c in chain.shop.changes if c.job.token == job.token][-1:]
        (place,) = found[0].filters[index].deliveries
        return place.state is DeliveryState.WAITING and place.attempts == attempts

    await chain.shop.until(wanted)
    return found[0]
