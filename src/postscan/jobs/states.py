"""The one table of states: every arrow a job or a filter may take, and the reason it carries.

Architecture, "States, in one place"; the keywords are those of ws-dsp.md (JobStatus, FilterStatus).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from postscan.contracts.keywords import FilterState, JobState, JobStateReason
from postscan.core.errors import PostscanError


class IllegalTransition(PostscanError):
    """The table has no such arrow: a defect of ours, never something a peer can cause."""


class JobEvent(StrEnum):
    """What happens to a job."""

    CREATE = "create"
    END = "end"
    HOLD = "hold"
    RELEASE = "release"
    START = "start"
    PROCESS = "process"
    SUCCEED = "succeed"
    SUCCEED_WITH_WARNINGS = "succeed with warnings"
    SUCCEED_WITH_ERRORS = "succeed with errors"
    FAIL = "fail"
    TIME_OUT = "time out"
    CANCEL = "cancel"
    FINISH_CANCEL = "finish cancel"
    RETRY = "retry"


class FilterEvent(StrEnum):
    """What happens to a filter."""

    START = "start"
    SUCCEED = "succeed"
    SUCCEED_WITH_WARNINGS = "succeed with warnings"
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class JobArrow:
    """One allowed change of a job's state; ``source`` is None for its creation."""

    source: JobState | None
    event: JobEvent
    target: JobState
    reason: JobStateReason = JobStateReason.NONE


@dataclass(frozen=True, slots=True)
class FilterArrow:
    """One allowed change of a filter's state; the reason of a failure comes from the destination."""

    source: FilterState
    event: FilterEvent
    target: FilterState


_CANCELABLE = (
    JobState.CREATING,
    JobState.PENDING_HELD,
    JobState.PENDING,
    JobState.STARTED,
    JobState.PROCESSING,
)

JOB_ARROWS: Final[tuple[JobArrow, ...]] = (
    JobArrow(None, JobEvent.CREATE, JobState.CREATING),
    JobArrow(JobState.CREATING, JobEvent.END, JobState.PENDING),
    JobArrow(JobState.PENDING, JobEvent.HOLD, JobState.PENDING_HELD),
    JobArrow(JobState.PENDING_HELD, JobEvent.RELEASE, JobState.PENDING),
    JobArrow(JobState.PENDING, JobEvent.START, JobState.STARTED),
    JobArrow(JobState.STARTED, JobEvent.PROCESS, JobState.PROCESSING),
    JobArrow(
        JobState.PROCESSING, JobEvent.SUCCEED, JobState.COMPLETED, JobStateReason.COMPLETED_SUCCESSFULLY
    ),
    JobArrow(
        JobState.PROCESSING,
        JobEvent.SUCCEED_WITH_WARNINGS,
        JobState.COMPLETED,
        JobStateReason.COMPLETED_WITH_WARNINGS,
    ),
    JobArrow(
        JobState.PROCESSING,
        JobEvent.SUCCEED_WITH_ERRORS,
        JobState.COMPLETED,
        JobStateReason.COMPLETED_WITH_ERRORS,
    ),
    JobArrow(JobState.PROCESSING, JobEvent.FAIL, JobState.ABORTED, JobStateReason.PROCESSING_FAILED),
    JobArrow(JobState.CREATING, JobEvent.TIME_OUT, JobState.ABORTED, JobStateReason.SEND_IMAGE_FAILED),
    *(
        JobArrow(source, JobEvent.CANCEL, JobState.TERMINATING, JobStateReason.CANCELED)
        for source in _CANCELABLE
    ),
    JobArrow(JobState.TERMINATING, JobEvent.FINISH_CANCEL, JobState.CANCELED, JobStateReason.CANCELED),
    JobArrow(JobState.ABORTED, JobEvent.RETRY, JobState.PENDING),
    JobArrow(JobState.COMPLETED, JobEvent.RETRY, JobState.PENDING),
)

FILTER_ARROWS: Final[tuple[FilterArrow, ...]] = (
    FilterArrow(FilterState.PENDING, FilterEvent.START, FilterState.PROCESSING),
    FilterArrow(FilterState.PROCESSING, FilterEvent.SUCCEED, FilterState.COMPLETED_SUCCESSFULLY),
    FilterArrow(
        FilterState.PROCESSING, FilterEvent.SUCCEED_WITH_WARNINGS, FilterState.COMPLETED_WITH_WARNINGS
    ),
    FilterArrow(FilterState.PROCESSING, FilterEvent.FAIL, FilterState.COMPLETED_WITH_ERRORS),
    FilterArrow(FilterState.PENDING, FilterEvent.CANCEL, FilterState.CANCELED),
    FilterArrow(FilterState.PROCESSING, FilterEvent.CANCEL, FilterState.CANCELED),
    FilterArrow(FilterState.COMPLETED_WITH_ERRORS, FilterEvent.RETRY, FilterState.PENDING),
    FilterArrow(FilterState.CANCELED, FilterEvent.RETRY, FilterState.PENDING),
)

_JOB = {(arrow.source, arrow.event): arrow for arrow in JOB_ARROWS}
_FILTER = {(arrow.source, arrow.event): arrow for arrow in FILTER_ARROWS}


def job_arrow(source: JobState | None, event: JobEvent) -> JobArrow:
    """Return the arrow a job in ``source`` takes on ``event``; raises IllegalTransition when none."""
    try:
        return _JOB[source, event]
    except KeyError:
        raise IllegalTransition(f"a job that is {source or 'not there'} cannot {event}") from None


def filter_arrow(source: FilterState, event: FilterEvent) -> FilterArrow:
    """Return the arrow a filter in ``source`` takes on ``event``; raises IllegalTransition when none."""
    try:
        return _FILTER[source, event]
    except KeyError:
        raise IllegalTransition(f"a filter that is {source} cannot {event}") from None
