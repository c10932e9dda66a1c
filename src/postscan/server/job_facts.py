"""A job as JSON: what administrators are told of it, by the local socket and on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from postscan.core.clock import xs_datetime
from postscan.jobs.model import Delivery, Document, FilterRun, Job, ProcessedDocument


def job_facts(job: Job) -> dict[str, Any]:
    """Return a job as JSON-ready values; times are ISO 8601 in UTC, sizes octets."""
    return {
        "token": job.token,
        "state": str(job.state),
        "reasons": [str(r) for r in job.reasons],
        "process": {"identifier": str(job.process_id), "name": job.process_name},
        "user": {"sid": job.user.sid, "name": job.user.name, "upn": job.user.upn},
        "owner": job.owner,
        "origin": job.origin,
        "vouched_by": job.vouched_by,
        "correlation_id": job.correlation_id,
        "created": _time(job.created),
        "ended": _time(job.ended),
        "completed": _time(job.completed),
        "images": job.images_received,
        "bytes": job.bytes_received,
        "images_kept": job.images_kept,
        "filters": [_filter(run) for run in job.filters],
    }


def full_job_facts(
    job: Job,
    documents: Sequence[Document],
    made: Sequence[ProcessedDocument],
    progress: Mapping[int, tuple[int, int]],
) -> dict[str, Any]:
    """Return a job with its images, what its processing filters handed on, and how far they are.

    :param made: of all its filters, in order.
    :param progress: of those at work: index -> (done, total).
    """
    facts = job_facts(job)
    for run, told in zip(job.filters, facts["filters"], strict=True):
        done = progress.get(run.index)
        told["progress"] = None if done is None else {"done": done[0], "total": done[1]}
        told["made"] = [_made(one) for one in made if one.filter_index == run.index]
    facts["documents"] = [
        {
            "document": d.document_id,
            "format": str(d.format),
            "size": d.size,
            "sha256": d.sha256,
            "received": _time(d.received),
        }
        for d in documents
    ]
    return facts


def _filter(run: FilterRun) -> dict[str, Any]:
    return {
        "dialect": run.dialect,
        "kind": "processing" if run.processing else "delivery",
        "state": str(run.state),
        "reasons": [str(r) for r in run.reasons],
        "destinations": [_destination(place) for place in run.deliveries],
    }


def _destination(place: Delivery) -> dict[str, Any]:
    return {
        "label": place.label,
        "state": str(place.state),
        "attempts": place.attempts,
        "next_attempt": _time(place.next_attempt),
        "last_error": place.last_error,
        "advice": place.advice or None,
        "warnings": list(place.warnings),
        "delivered": [
            {"document": one.document_id, "name": one.name, "size": one.size} for one in place.delivered
        ],
    }


def _made(one: ProcessedDocument) -> dict[str, Any]:
    return {
        "document": one.document_id,
        "number": one.number,
        "format": str(one.format),
        "size": one.size,
        "sha256": one.sha256,
        "name": one.name,
        "pages": one.pages,
        "sources": list(one.sources),
        "handed_on": one.handed_on,
    }


def _time(moment: datetime | None) -> str | None:
    return xs_datetime(moment) if moment is not None else None
