"""Reads of the job store: rows become the values of ``model``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, select

from postscan.contracts.keywords import (
    DocumentFormat,
    FilterState,
    FilterStateReason,
    JobState,
    JobStateReason,
)
from postscan.directory.model import User
from postscan.filters.contract import Delivered
from postscan.jobs.model import Delivery, DeliveryState, Document, FilterRun, Job
from postscan.jobs.schema import deliveries, documents, filters, jobs, ledger, products

_MOST_ENDS = 10_000


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document and the name of its file in the job's spool folder."""

    document: Document
    file_name: str


def user_to_text(user: User) -> str:
    """Write a user as JSON."""
    return json.dumps(
        {
            "sid": user.sid,
            "name": user.name,
            "domain": user.domain,
            "upn": user.upn,
            "display_name": user.display_name,
            "mail": user.mail,
            "groups": sorted(user.groups),
            "enabled": user.enabled,
            "home_site": user.home_site,
        }
    )


def user_from_text(text: str) -> User:
    """Read a user from JSON."""
    fields = json.loads(text)
    fields["groups"] = frozenset(fields["groups"])
    return User(**fields)


def warnings_to_text(warnings: Sequence[str]) -> str | None:
    """Write the warnings of a destination as JSON; None for none."""
    return json.dumps(list(warnings)) if warnings else None


def warnings_from_text(text: str | None) -> tuple[str, ...]:
    """Read the warnings of a destination from JSON."""
    return tuple(json.loads(text)) if text else ()


def job_by_token(connection: Connection, token: str) -> Job | None:
    """Return the job with this token."""
    found = _load(connection, select(jobs).where(jobs.c.token == token))
    return found[0] if found else None


def job_by_serial(connection: Connection, serial: int) -> Job:
    """Return the job with this serial, which exists."""
    return _load(connection, select(jobs).where(jobs.c.id == serial))[0]


def list_jobs(connection: Connection, *, active: bool | None, limit: int, skip: int = 0) -> list[Job]:
    """Return up to ``limit`` jobs, newest first: unfinished ones, finished ones, or (None) all."""
    query = select(jobs).order_by(jobs.c.id.desc()).limit(limit).offset(skip)
    if active is not None:
        query = query.where(jobs.c.completed.is_(None) if active else jobs.c.completed.is_not(None))
    return _load(connection, query)


def unfinished_jobs(connection: Connection) -> list[Job]:
    """Return every job that is not in an end state, oldest first."""
    return _load(connection, select(jobs).where(jobs.c.completed.is_(None)).order_by(jobs.c.id))


def jobs_ended_after(connection: Connection, marks: Mapping[str, int]) -> list[Job]:
    """Return the jobs of each owner that ended later than number ``marks[owner]``, in order of their ends.

    Of the last 10,000 jobs that ended after the least mark; nobody misses more in the hours it is about.
    """
    if not marks:
        return []
    query = (
        select(jobs.c.id, jobs.c.owner, jobs.c.ending)
        .where(jobs.c.ending > min(marks.values()))
        .order_by(jobs.c.ending.desc())
        .limit(_MOST_ENDS)
    )
    serials = [row.id for row in connection.execute(query) if row.ending > marks.get(row.owner, row.ending)]
    return _load(connection, select(jobs).where(jobs.c.id.in_(serials)).order_by(jobs.c.ending))


def jobs_ended_since(connection: Connection, mark: int, limit: int) -> list[Job]:
    """Return the last ``limit`` of the jobs that ended later than number ``mark``, in order of their ends."""
    query = select(jobs).where(jobs.c.ending > mark).order_by(jobs.c.ending.desc()).limit(limit)
    return list(reversed(_load(connection, query)))


def last_ending(connection: Connection) -> int:
    """Return the number of the job that ended last; 0 when none has."""
    return connection.scalar(select(func.max(jobs.c.ending))) or 0


def recent_requests(connection: Connection, since: datetime, until: datetime) -> list[tuple[str, str, str]]:
    """Return (owner, request id, token) of the jobs created between two moments, oldest first."""
    query = (
        select(jobs.c.owner, jobs.c.request_id, jobs.c.token)
        .where(jobs.c.created.between(since, until), jobs.c.request_id.is_not(None))
        .order_by(jobs.c.id)
    )
    return [(row.owner, row.request_id, row.token) for row in connection.execute(query)]


def stored_documents(connection: Connection, serial: int) -> list[StoredDocument]:
    """Return a job's documents in the order of DocumentId."""
    query = select(documents).where(documents.c.job_id == serial).order_by(documents.c.document_id)
    return [
        StoredDocument(document_from_row(row, number), row.file_name)
        for number, row in enumerate(connection.execute(query), start=1)
    ]


def document_from_row(row: Row[Any], number: int) -> Document:
    """Return the document of one row."""
    return Document(
        document_id=row.document_id,
        number=number,
        format=DocumentFormat(row.format),
        size=row.size,
        sha256=row.sha256,
        received=row.received,
    )


def expected_files(connection: Connection) -> dict[str, dict[str, int]]:
    """Return token -> file name -> size of every image and made document that should be in the spool."""
    expected: dict[str, dict[str, int]] = defaultdict(dict)
    for table in (documents, products):
        query = (
            select(jobs.c.token, table.c.file_name, table.c.size)
            .join(table, table.c.job_id == jobs.c.id)
            .where(jobs.c.images_kept, table.c.file_name.is_not(None))
        )
        for token, file_name, size in connection.execute(query):
            expected[token][file_name] = size
    return dict(expected)


def document_ids(connection: Connection, serial: int) -> set[int]:
    """Return the ids of a job's documents."""
    return set(connection.scalars(select(documents.c.document_id).where(documents.c.job_id == serial)))


def counts(connection: Connection) -> dict[str, int]:
    """Return how many jobs are in each state, zeros included."""
    totals = {state.value: 0 for state in JobState}
    by_state = connection.execute(select(jobs.c.state, func.count().label("number")).group_by(jobs.c.state))
    return totals | {row.state: row.number for row in by_state}


def deliveries_waiting(connection: Connection) -> int:
    """Return how many deliveries wait for their next attempt."""
    waiting = select(func.count()).where(deliveries.c.state == DeliveryState.WAITING.value)
    return connection.scalar(waiting) or 0


def ledger_of(connection: Connection, delivery: int) -> tuple[dict[int, str], dict[int, Delivered]]:
    """Return one destination's planned names and what it has, both by document id."""
    planned: dict[int, str] = {}
    delivered: dict[int, Delivered] = {}
    for row in connection.execute(select(ledger).where(ledger.c.delivery_id == delivery)):
        planned[row.document_id] = row.name
        if row.delivered is not None:
            delivered[row.document_id] = Delivered(row.document_id, row.name, row.size)
    return planned, delivered


def _load(connection: Connection, query: Select[Any]) -> list[Job]:
    rows = connection.execute(query).all()
    if not rows:
        return []
    serials = [row.id for row in rows]
    runs = _filters_of(connection, serials)
    return [_job(row, tuple(runs.get(row.id, ()))) for row in rows]


def _job(row: Row[Any], runs: tuple[FilterRun, ...]) -> Job:
    return Job(
        serial=row.id,
        token=row.token,
        owner=row.owner,
        user=user_from_text(row.user),
        process_id=UUID(row.process_id),
        process_name=row.process_name,
        document_root_name=row.document_root_name,
        continue_on_error=row.continue_on_error,
        request_id=row.request_id,
        correlation_id=row.correlation_id,
        origin=row.origin,
        vouched_by=row.vouched_by,
        state=JobState(row.state),
        reasons=tuple(JobStateReason(word) for word in row.reasons.split()),
        timed_out=row.timed_out,
        created=row.created,
        ended=row.ended,
        completed=row.completed,
        images_received=row.images_received,
        bytes_received=row.bytes_received,
        images_kept=row.images_kept,
        filters=runs,
        ending=row.ending,
    )


def _filters_of(connection: Connection, serials: Sequence[int]) -> dict[int, list[FilterRun]]:
    places = _deliveries_of(connection, serials)
    query = (
        select(filters).where(filters.c.job_id.in_(serials)).order_by(filters.c.job_id, filters.c.position)
    )
    runs: dict[int, list[FilterRun]] = defaultdict(list)
    for row in connection.execute(query):
        runs[row.job_id].append(
            FilterRun(
                index=row.position,
                dialect=row.dialect,
                instructions=row.instructions,
                state=FilterState(row.state),
                reasons=tuple(FilterStateReason(word) for word in row.reasons.split()),
                deliveries=tuple(places.get((row.job_id, row.position), ())),
                processing=row.processing,
            )
        )
    return runs


def _deliveries_of(connection: Connection, serials: Sequence[int]) -> dict[tuple[int, int], list[Delivery]]:
    there: dict[int, list[Delivered]] = defaultdict(list)
    query = (
        select(ledger)
        .join(deliveries, deliveries.c.id == ledger.c.delivery_id)
        .where(deliveries.c.job_id.in_(serials), ledger.c.delivered.is_not(None))
        .order_by(ledger.c.delivery_id, ledger.c.document_id)
    )
    for row in connection.execute(query):
        there[row.delivery_id].append(Delivered(row.document_id, row.name, row.size))
    places: dict[tuple[int, int], list[Delivery]] = defaultdict(list)
    every = select(deliveries).where(deliveries.c.job_id.in_(serials)).order_by(deliveries.c.id)
    for row in connection.execute(every):
        places[row.job_id, row.position].append(
            Delivery(
                serial=row.id,
                key=row.key,
                label=row.label,
                state=DeliveryState(row.state),
                attempts=row.attempts,
                next_attempt=row.next_attempt,
                last_error=row.last_error,
                reason=FilterStateReason(row.reason) if row.reason else None,
                delivered=tuple(there.get(row.id, ())),
                pause=row.pause,
                advice=row.advice or "",
                warnings=warnings_from_text(row.warnings),
            )
        )
    return places
