"""Writes of whole jobs to the job store, to be run in a transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from postscan.contracts.keywords import (
    END_STATES,
    FilterState,
    JobState,
    JobStateReason,
)
from postscan.filters.contract import Destination
from postscan.jobs.errors import (
    JobWasCanceled,
    NoImages,
    NotRetryable,
    WrongState,
)
from postscan.jobs.images import CANCELED_STATES, forget_images
from postscan.jobs.model import (
    ChangeKind,
    DeliveryState,
    FilterRun,
    Job,
    JobChange,
    NewJob,
)
from postscan.jobs.moves import cancel_filters, move_filter, move_job, require_processing, state_of
from postscan.jobs.queries import job_by_serial, user_to_text
from postscan.jobs.schema import deliveries, filters, jobs
from postscan.jobs.states import FilterEvent, JobEvent, job_arrow

_UNSUCCESSFUL = frozenset({FilterState.COMPLETED_WITH_ERRORS, FilterState.CANCELED})


def create_job(
    connection: Connection,
    token: str,
    new: NewJob,
    destinations: Sequence[Sequence[Destination]],
    processing: Collection[int],
    created: datetime,
) -> JobChange:
    """Insert a job; ``destinations`` holds those of each filter, ``processing`` which of them process."""
    arrow = job_arrow(None, JobEvent.CREATE)
    serial: int = connection.execute(
        insert(jobs)
        .values(
            token=token,
            owner=new.owner,
            user=user_to_text(new.user),
            process_id=str(new.process_id),
            process_name=new.process_name,
            document_root_name=new.document_root_name,
            continue_on_error=new.continue_on_error,
            request_id=new.request_id,
            correlation_id=new.correlation_id,
            origin=new.origin,
            vouched_by=new.vouched_by,
            state=arrow.target.value,
            reasons=arrow.reason.value,
            timed_out=False,
            created=created,
            images_received=0,
            bytes_received=0,
            images_kept=False,
            kept_seconds=0.0,
        )
        .returning(jobs.c.id)
    ).scalar_one()
    for position, (asked, places) in enumerate(zip(new.filters, destinations, strict=True)):
        connection.execute(
            insert(filters).values(
                job_id=serial,
                position=position,
                dialect=asked.dialect,
                instructions=asked.instructions,
                state=FilterState.PENDING.value,
                reasons="",
                processing=position in processing,
            )
        )
        for place in places:
            connection.execute(
                insert(deliveries).values(
                    job_id=serial,
                    position=position,
                    key=place.key,
                    label=place.label,
                    state=DeliveryState.PENDING.value,
                    attempts=0,
                )
            )
    return JobChange(job_by_serial(connection, serial), None, ChangeKind.CREATED)


def end_job(connection: Connection, serial: int, now: datetime) -> list[JobChange]:
    """Accept the End of a job (R-2); no change when it was accepted before."""
    job = connection.execute(select(jobs).where(jobs.c.id == serial)).one()
    state = JobState(job.state)
    if state in CANCELED_STATES:
        raise JobWasCanceled("the job was canceled")
    if job.ended is not None:
        return []
    if state is not JobState.CREATING:
        raise WrongState(f"the job is {state} and cannot be ended")
    if job.images_received == 0:
        raise NoImages("the job has no images")
    return [move_job(connection, serial, JobEvent.END, ended=now)]


def time_out_job(connection: Connection, serial: int, now: datetime) -> list[JobChange]:
    """Give a job up that got no End in time; no change when something else came first (R-4)."""
    if state_of(connection, serial) is not JobState.CREATING:
        return []
    cancel_filters(connection, serial)
    return [move_job(connection, serial, JobEvent.TIME_OUT, timed_out=True, completed=now)]


def cancel_job(connection: Connection, serial: int, now: datetime, *, keep_images: bool) -> list[JobChange]:
    """Begin to cancel a job, and finish when nothing of it runs yet; no change when it was done before."""
    state = state_of(connection, serial)
    if state in CANCELED_STATES:
        return []
    if state in END_STATES:
        raise WrongState(f"the job is {state} and cannot be canceled")
    changes = [move_job(connection, serial, JobEvent.CANCEL)]
    if state not in (JobState.STARTED, JobState.PROCESSING):
        changes += finish_cancel(connection, serial, now, keep_images=keep_images)
    return changes


def finish_cancel(
    connection: Connection, serial: int, now: datetime, *, keep_images: bool
) -> list[JobChange]:
    """Cancel a Terminating job and whatever of it is not finished; no change when it was done before."""
    if state_of(connection, serial) is not JobState.TERMINATING:
        return []
    cancel_filters(connection, serial)
    if not keep_images:
        forget_images(connection, serial)
    return [move_job(connection, serial, JobEvent.FINISH_CANCEL, completed=now)]


def retry_job(connection: Connection, serial: int, now: datetime) -> list[JobChange]:
    """Make a job runnable again that did not deliver everything and whose images are still there."""
    job = job_by_serial(connection, serial)
    failed = job.state is JobState.ABORTED or JobStateReason.COMPLETED_WITH_ERRORS in job.reasons
    if not failed or not job.images_kept:
        raise NotRetryable(f"the job is {job.state} and cannot be delivered again")
    again = _to_run_again(job)
    if not again:
        raise NotRetryable("the job delivered what it had; only a step that makes documents did not succeed")
    for run in again:
        move_filter(connection, serial, run, FilterEvent.RETRY, ())
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.job_id == serial,
            deliveries.c.position.in_([run.index for run in again]),
            deliveries.c.state.in_([DeliveryState.FAILED.value, DeliveryState.CANCELED.value]),
        )
        .values(
            state=DeliveryState.PENDING.value,
            attempts=0,
            next_attempt=None,
            pause=None,
            last_error=None,
            advice=None,
            reason=None,
            warnings=None,
        )
    )
    return [
        move_job(
            connection,
            serial,
            JobEvent.RETRY,
            ended=job.ended or now,
            completed=None,
            timed_out=False,
            kept_seconds=0.0,
        )
    ]


def _to_run_again(job: Job) -> list[FilterRun]:
    """Return the filters that did not succeed, but for those whose success nobody would see.

    What a processing filter makes is of use to those after it that still have work to do: not when everything
    was delivered without it, nor when a processing filter after it has succeeded without it.
    """
    open_ends = [run for run in job.filters if run.state in _UNSUCCESSFUL]
    if all(run.processing for run in open_ends):
        return []
    last_step = max((r.index for r in job.filters if r.processing and r not in open_ends), default=-1)
    return [run for run in open_ends if not run.processing or run.index > last_step]


def begin_job(connection: Connection, serial: int) -> tuple[Job, list[JobChange]]:
    """Take a job that was ended to Processing; the job is as it stands afterwards, whatever that is."""
    changes = []
    if state_of(connection, serial) is JobState.PENDING:
        changes.append(move_job(connection, serial, JobEvent.START))
    if state_of(connection, serial) is JobState.STARTED:
        changes.append(move_job(connection, serial, JobEvent.PROCESS))
    return job_by_serial(connection, serial), changes


def finish_job(connection: Connection, serial: int, now: datetime, *, keep_images: bool) -> list[JobChange]:
    """End a job whose filters were run; ``keep_images`` says what becomes of them when all was delivered."""
    require_processing(connection, serial)
    job = job_by_serial(connection, serial)
    failed = any(run.state is FilterState.COMPLETED_WITH_ERRORS for run in job.filters)
    if failed and not job.continue_on_error:
        cancel_filters(connection, serial)
        return [move_job(connection, serial, JobEvent.FAIL, completed=now)]
    if failed:
        return [move_job(connection, serial, JobEvent.SUCCEED_WITH_ERRORS, completed=now)]
    if not keep_images:
        forget_images(connection, serial)
    warned = any(run.state is FilterState.COMPLETED_WITH_WARNINGS for run in job.filters)
    event = JobEvent.SUCCEED_WITH_WARNINGS if warned else JobEvent.SUCCEED
    return [move_job(connection, serial, event, completed=now)]


def prune_history(connection: Connection, before: datetime | None, keep: int, at_most: int) -> int:
    """Delete up to ``at_most`` finished jobs without images, older than ``before`` or beyond ``keep``."""
    gone = (jobs.c.completed.is_not(None)) & jobs.c.images_kept.is_(False)
    beyond = select(jobs.c.id).where(gone).order_by(jobs.c.id.desc()).limit(at_most).offset(keep)
    serials = set(connection.scalars(beyond))
    if before is not None and len(serials) < at_most:
        aged = select(jobs.c.id).where(gone, jobs.c.completed < before).limit(at_most - len(serials))
        serials |= set(connection.scalars(aged))
    if serials:
        connection.execute(delete(jobs).where(jobs.c.id.in_(serials)))
    return len(serials)
