"""Jobs as WS-DSC tells them: those of WS-DSP in dsc's words, and the summaries of its lists."""

from __future__ import annotations

from typing import Final

from postscan.contracts import dsc
from postscan.contracts.keywords import JobState, JobStateReason
from postscan.jobs.model import Document, Job

# A summary must fit an envelope, and a scan process may name a filter any number of times.
_MOST_FILTERS: Final = 50


def reasons(job: Job) -> tuple[JobStateReason | str, ...]:
    """Return why a job is in its state: one that got no End in time is PostScanJobTimedOut here."""
    if job.timed_out and job.state is JobState.ABORTED:
        return (dsc.TIMED_OUT,)
    return job.reasons


def filter_statuses(job: Job) -> tuple[dsc.FilterStatus, ...]:
    """Return where each filter stands, in the order of the process."""
    return tuple(
        dsc.FilterStatus(dialect=run.dialect, state=run.state, reasons=run.reasons) for run in job.filters
    )


def job_status(job: Job) -> dsc.JobStatus:
    """Return a job's status ([MS-BDSRR] 2.2.4.21)."""
    return dsc.JobStatus(
        job_token=job.token,
        state=job.state,
        reasons=reasons(job),
        filters=filter_statuses(job),
        images_received=job.images_received,
        created=job.created,
        completed=job.completed,
    )


def job_description(job: Job) -> dsc.JobDescription:
    """Return what a job is ([MS-BDSRR] 2.2.4.17)."""
    return dsc.JobDescription(
        psp_identifier=str(job.process_id).upper(),
        psp_display_name=job.process_name[:255],
        user_name=job.user.upn[:255],
    )


def documents(received: list[Document]) -> dsc.Documents:
    """Return the documents of a job, by DocumentId."""
    return dsc.Documents(
        documents=tuple(dsc.DocumentDescription(document_id=d.document_id, format=d.format) for d in received)
    )


def summary(job: Job) -> dsc.JobSummary:
    """Return a job as it stands in a list ([MS-BDSRR] 2.2.4.22); of its filters, the first fifty."""
    return dsc.JobSummary(
        job_token=job.token,
        psp_identifier=str(job.process_id).upper(),
        psp_display_name=job.process_name[:255],
        user_name=job.user.upn[:255],
        state=job.state,
        reasons=reasons(job),
        filters=filter_statuses(job)[:_MOST_FILTERS],
        images_received=job.images_received,
    )


def end_state(job: Job) -> dsc.PostScanJobEndState:
    """Return how a job ended ([MS-BDSRR] 3.2.4.9)."""
    return dsc.PostScanJobEndState(
        job_token=job.token,
        psp_identifier=str(job.process_id).upper(),
        psp_display_name=job.process_name[:255],
        user_name=job.user.upn[:255],
        state=job.state,
        reasons=reasons(job) or (JobStateReason.NONE,),
        filters=filter_statuses(job),
        images_received=job.images_received,
        completed=job.completed,
    )
