"""Jobs as WS-DSP tells them."""

from __future__ import annotations

from postscan.contracts import dsp
from postscan.contracts.keywords import JobStateReason
from postscan.jobs.model import Document, Job


def filter_statuses(job: Job) -> tuple[dsp.FilterStatus, ...]:
    """Return where each filter stands, in the order of the process."""
    return tuple(dsp.FilterStatus(dialect=f.dialect, state=f.state, reasons=f.reasons) for f in job.filters)


def job_status(job: Job) -> dsp.JobStatus:
    """Return a job's status (ws-dsp.md, PostScanJobStatusEvent.JobStatus)."""
    return dsp.JobStatus(
        job_token=job.token,
        state=job.state,
        reasons=job.reasons,
        filters=filter_statuses(job),
        images_received=job.images_received,
        created=job.created,
        completed=job.completed,
    )


def job_description(job: Job) -> dsp.JobDescription:
    """Return what a job is (ws-dsp.md, the example of GetPostScanJobElementsResponse)."""
    return dsp.JobDescription(
        psp_identifier=str(job.process_id).upper(),
        psp_display_name=job.process_name[:255],
        user_name=job.user.upn[:255],
    )


def documents(received: list[Document]) -> dsp.Documents:
    """Return the documents of a job, by DocumentId."""
    return dsp.Documents(
        documents=tuple(dsp.DocumentDescription(document_id=d.document_id, format=d.format) for d in received)
    )


def end_state(job: Job) -> dsp.PostScanJobEndState:
    """Return how a job ended (ws-dsp.md, PostScanJobEndStateEvent.PostScanJobEndState)."""
    return dsp.PostScanJobEndState(
        job_token=job.token,
        psp_identifier=str(job.process_id).upper(),
        psp_display_name=job.process_name[:255],
        user_name=job.user.upn[:255],
        state=job.state,
        reasons=job.reasons or (JobStateReason.NONE,),
        filters=filter_statuses(job),
        images_received=job.images_received,
        completed=job.completed,
    )
