"""The only places that change a state, each by the table in ``states``; to be run in a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select, update

from postscan.contracts.keywords import (
    END_STATES,
    FILTER_END_STATES,
    FilterStateReason,
    JobState,
)
from postscan.jobs.asking import kept_text
from postscan.jobs.errors import (
    JobNotFound,
    WrongState,
)
from postscan.jobs.model import (
    ChangeKind,
    DeliveryState,
    FilterRun,
    JobChange,
)
from postscan.jobs.queries import job_by_serial
from postscan.jobs.schema import deliveries, filters, jobs
from postscan.jobs.states import FilterEvent, JobEvent, filter_arrow, job_arrow


def state_of(connection: Connection, serial: int) -> JobState:
    """Return the state of a job; raises JobNotFound."""
    state = connection.scalar(select(jobs.c.state).where(jobs.c.id == serial))
    if state is None:
        raise JobNotFound("the job left the history meanwhile")
    return JobState(state)


def require_processing(connection: Connection, serial: int) -> None:
    """Raise WrongState unless the job is Processing: something else came first."""
    state = state_of(connection, serial)
    if state is not JobState.PROCESSING:
        raise WrongState(f"the job is {state} meanwhile")


def changed(connection: Connection, serial: int, kind: ChangeKind) -> JobChange:
    """Return the change of a job whose state stays as it is."""
    job = job_by_serial(connection, serial)
    return JobChange(job, job.state, kind)


def move_job(connection: Connection, serial: int, event: JobEvent, **also: Any) -> JobChange:
    """Take a job along the arrow of ``event``, setting ``also`` other columns; raises IllegalTransition."""
    previous = state_of(connection, serial)
    arrow = job_arrow(previous, event)
    if arrow.target in END_STATES:
        also["ending"] = select(func.coalesce(func.max(jobs.c.ending), 0) + 1).scalar_subquery()
    elif previous in END_STATES:
        also["ending"] = None
    connection.execute(
        update(jobs)
        .where(jobs.c.id == serial)
        .values(state=arrow.target.value, reasons=arrow.reason.value, **also)
    )
    return JobChange(job_by_serial(connection, serial), previous, ChangeKind.STATE)


def move_filter(
    connection: Connection,
    serial: int,
    run: FilterRun,
    event: FilterEvent,
    reasons: Sequence[FilterStateReason],
) -> None:
    """Take a filter along the arrow of ``event``; raises IllegalTransition."""
    arrow = filter_arrow(run.state, event)
    connection.execute(
        update(filters)
        .where(filters.c.job_id == serial, filters.c.position == run.index)
        .values(state=arrow.target.value, reasons=" ".join(reason.value for reason in reasons))
    )


def end_filter(connection: Connection, serial: int, index: int) -> None:
    """Take a filter whose destinations are all settled to the end they give it."""
    run = job_by_serial(connection, serial).filters[index]
    failed = [place for place in run.deliveries if place.state is not DeliveryState.DELIVERED]
    if failed:
        reasons = tuple(dict.fromkeys(place.reason or FilterStateReason.UNKNOWN_ERROR for place in failed))
        move_filter(connection, serial, run, FilterEvent.FAIL, reasons)
    elif any(place.warnings for place in run.deliveries):
        move_filter(connection, serial, run, FilterEvent.SUCCEED_WITH_WARNINGS, ())
    else:
        move_filter(connection, serial, run, FilterEvent.SUCCEED, ())


def cancel_filters(connection: Connection, serial: int) -> None:
    """Cancel every filter of a job that is not finished, and its deliveries."""
    for run in job_by_serial(connection, serial).filters:
        if run.state in FILTER_END_STATES:
            continue
        for place in run.deliveries:
            if not place.settled:
                settle_delivery(
                    connection,
                    place.serial,
                    DeliveryState.CANCELED,
                    place.reason,
                    place.last_error,
                    advice=place.advice,
                )
        move_filter(connection, serial, run, FilterEvent.CANCEL, ())


def settle_delivery(
    connection: Connection,
    delivery: int,
    state: DeliveryState,
    reason: FilterStateReason | None,
    error: str | None,
    *,
    advice: str = "",
    attempts: int | None = None,
) -> None:
    """Put a delivery into an end state."""
    values: dict[str, Any] = {
        "state": state.value,
        "next_attempt": None,
        "pause": None,
        "reason": reason.value if reason else None,
        "last_error": kept_text(error) if error else None,
        "advice": kept_text(advice) or None,
    }
    if attempts is not None:
        values["attempts"] = attempts
    connection.execute(update(deliveries).where(deliveries.c.id == delivery).values(**values))
