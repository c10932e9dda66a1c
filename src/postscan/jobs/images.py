"""Writes of a job's images to the job store, to be run in a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from postscan.contracts.keywords import (
    DocumentFormat,
    JobState,
    JobStateReason,
)
from postscan.jobs.errors import (
    DocumentConflict,
    JobEnded,
    JobTooLarge,
    JobWasCanceled,
)
from postscan.jobs.model import (
    Document,
)
from postscan.jobs.moves import state_of
from postscan.jobs.prepared import Prepared
from postscan.jobs.queries import document_from_row
from postscan.jobs.schema import documents, jobs

CANCELED_STATES = frozenset({JobState.TERMINATING, JobState.CANCELED})


@dataclass(frozen=True, slots=True)
class ImageRow:
    """What the row of one image needs."""

    document_id: int
    format: DocumentFormat
    size: int
    sha256: str
    file_name: str
    received: datetime


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What came of an image: its document, whether it was there before, and the job's totals."""

    document: Document
    repeated: bool
    images: int
    octets: int


_INSERT_IMAGE = Prepared(sqlite_insert(documents).on_conflict_do_nothing())


_COUNT_IMAGE = Prepared(
    update(jobs)
    .where(
        jobs.c.id == bindparam("serial"),
        jobs.c.state == JobState.CREATING.value,
        jobs.c.images_received < bindparam("max_images"),
        jobs.c.bytes_received + bindparam("octets") <= bindparam("max_bytes"),
    )
    .values(
        images_received=jobs.c.images_received + 1,
        bytes_received=jobs.c.bytes_received + bindparam("octets"),
        images_kept=True,
    )
    .returning(jobs.c.images_received, jobs.c.bytes_received)
)


def refuse_images(state: JobState) -> None:
    """Raise what an image gets that comes for a job in ``state``; nothing for one that is Creating."""
    if state is JobState.CREATING:
        return
    if state in CANCELED_STATES:
        raise JobWasCanceled("the job was canceled")
    raise JobEnded(f"the job is {state} and takes no more images")


def add_image(
    connection: Connection, serial: int, image: ImageRow, *, max_images: int, max_bytes: int
) -> StoredImage:
    """Insert an image's row and count it, or find that it is there already (R-5)."""
    inserted = _INSERT_IMAGE.run(
        connection,
        job_id=serial,
        document_id=image.document_id,
        format=image.format.value,
        size=image.size,
        sha256=image.sha256,
        file_name=image.file_name,
        received=image.received,
    )
    if inserted.rowcount == 0:
        return _image_again(connection, serial, image)
    counted = _COUNT_IMAGE.run(
        connection, serial=serial, octets=image.size, max_images=max_images, max_bytes=max_bytes
    ).fetchall()
    if not counted:
        refuse_images(state_of(connection, serial))
        raise JobTooLarge("the job has as many images or octets as one may have")
    ((images, octets),) = counted
    document = Document(image.document_id, images, image.format, image.size, image.sha256, image.received)
    return StoredImage(document, repeated=False, images=images, octets=octets)


def _image_again(connection: Connection, serial: int, image: ImageRow) -> StoredImage:
    job = connection.execute(select(jobs).where(jobs.c.id == serial)).one()
    refuse_images(JobState(job.state))
    key = (documents.c.job_id == serial) & (documents.c.document_id == image.document_id)
    row = connection.execute(select(documents).where(key)).one()
    if row.sha256 != image.sha256:
        raise DocumentConflict(f"document {image.document_id} was accepted with other octets")
    before = select(func.count()).where(
        documents.c.job_id == serial, documents.c.document_id <= image.document_id
    )
    document = document_from_row(row, connection.scalar(before) or 1)
    return StoredImage(document, repeated=True, images=job.images_received, octets=job.bytes_received)


def forget_images(connection: Connection, serial: int) -> None:
    """Record that a job's images are no longer kept; the files may be removed once this is committed."""
    connection.execute(update(jobs).where(jobs.c.id == serial).values(images_kept=False))


def age_images(
    connection: Connection, seconds: float, limits: dict[JobStateReason, float], otherwise: float
) -> list[str]:
    """Let kept images of finished jobs grow older; forget those past their limit and return their tokens.

    ``limits`` holds the seconds for jobs with certain reasons, ``otherwise`` those of all the rest.
    """
    kept = (jobs.c.completed.is_not(None)) & jobs.c.images_kept
    connection.execute(update(jobs).where(kept).values(kept_seconds=jobs.c.kept_seconds + seconds))
    expired = [
        row
        for row in connection.execute(
            select(jobs.c.id, jobs.c.token, jobs.c.reasons, jobs.c.kept_seconds).where(kept)
        )
        if row.kept_seconds
        >= min(
            (limits.get(JobStateReason(word), otherwise) for word in row.reasons.split()), default=otherwise
        )
    ]
    for row in expired:
        forget_images(connection, row.id)
    return [row.token for row in expired]
