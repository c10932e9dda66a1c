"""The values of this room: a job, its filters, its deliveries, its documents, and a change of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from postscan.contracts.keywords import (
    END_STATES,
    DocumentFormat,
    FilterState,
    FilterStateReason,
    JobState,
    JobStateReason,
)
from postscan.filters.contract import Delivered, FileFormat, JobFacts

if TYPE_CHECKING:
    from uuid import UUID

    from postscan.directory.model import User


@dataclass(frozen=True, slots=True)
class NewFilter:
    """One filter a new job asks for: its dialect (a URI) and its instructions, one XML element as octets."""

    dialect: str
    instructions: bytes


@dataclass(frozen=True, slots=True)
class NewJob:
    """Everything that is known of a job before it exists.

    ``owner`` is the identity the token will be bound to (``user:<SID>`` or ``device:<address>``);
    ``request_id`` the MessageID of the request, so that a replay finds the same job (abuse case 21);
    ``origin`` who sent it and ``vouched_by`` who says that it is for ``user``, both for the audit: the
    user's own certificate (``certificate:sha256:<hash>``) or a device (``device:<address or hash>``).
    """

    owner: str
    user: User
    process_id: UUID
    process_name: str
    document_root_name: str
    continue_on_error: bool
    filters: tuple[NewFilter, ...]
    request_id: str | None
    correlation_id: str
    origin: str
    vouched_by: str

    def asks_for(self, job: Job) -> bool:
        """Tell whether ``job`` is what this asks for: a MessageID may be used again for something else."""
        return (
            (self.owner, self.user.sid, self.process_id) == (job.owner, job.user.sid, job.process_id)
            and self.document_root_name == job.document_root_name
            and self.continue_on_error == job.continue_on_error
            and [(f.dialect, f.instructions) for f in self.filters]
            == [(run.dialect, run.instructions) for run in job.filters]
        )


class DeliveryState(StrEnum):
    """Where one destination of one filter stands; ours, never on the wire."""

    PENDING = "Pending"
    WAITING = "Waiting"
    DELIVERED = "Delivered"
    FAILED = "Failed"
    CANCELED = "Canceled"


SETTLED_DELIVERIES = frozenset({DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.CANCELED})


@dataclass(frozen=True, slots=True)
class Delivery:
    """One destination of one filter.

    ``attempts`` counts finished attempts that failed; ``next_attempt`` is the wall-clock time of the next one
    while the state is WAITING, ``pause`` the seconds between it and the attempt before; ``last_error`` and
    ``advice`` (what to do about it, may be empty) are for administrators, and so are ``warnings``;
    ``delivered`` is what is there already.
    """

    serial: int
    key: str
    label: str
    state: DeliveryState
    attempts: int
    next_attempt: datetime | None
    last_error: str | None
    reason: FilterStateReason | None
    delivered: tuple[Delivered, ...]
    pause: float | None = None
    advice: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Tell whether nothing more will be tried."""
        return self.state in SETTLED_DELIVERIES


@dataclass(frozen=True, slots=True)
class FilterRun:
    """One filter of a job; ``index`` counts from 0 in the order of the scan process.

    ``processing`` tells the filters that make documents from those that deliver them; the former have one
    delivery, to ``contract.PROCESSING``.
    """

    index: int
    dialect: str
    instructions: bytes
    state: FilterState
    reasons: tuple[FilterStateReason, ...]
    deliveries: tuple[Delivery, ...]
    processing: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored. ``serial`` grows with every job; ``token`` is a lower-case GUID.

    ``timed_out`` is true when no End came in time: WS-DSC then says PostScanJobTimedOut where WS-DSP says
    SendImageFailed. ``created``, ``ended`` (End was accepted) and ``completed`` (an end state was reached)
    are wall-clock times in UTC. ``images_kept`` tells whether the images are still in the spool. ``ending``
    grows with every job that ends, in the order in which they do. ``vouched_by`` is as in NewJob; None for a
    job of a version that did not record it.
    """

    serial: int
    token: str
    owner: str
    user: User
    process_id: UUID
    process_name: str
    document_root_name: str
    continue_on_error: bool
    request_id: str | None
    correlation_id: str
    origin: str
    state: JobState
    reasons: tuple[JobStateReason, ...]
    timed_out: bool
    created: datetime
    ended: datetime | None
    completed: datetime | None
    images_received: int
    bytes_received: int
    images_kept: bool
    filters: tuple[FilterRun, ...]
    ending: int | None = None
    vouched_by: str | None = None

    @property
    def finished(self) -> bool:
        """Tell whether the job is in an end state."""
        return self.state in END_STATES

    def facts(self) -> JobFacts:
        """Return what a filter may know of this job."""
        return facts_of(self.token, self, self.created)


@dataclass(frozen=True, slots=True)
class Document:
    """One accepted image.

    ``number`` counts from 1 in the order of DocumentId (as it stands now: it is final once the job was
    ended); ``size`` is in octets; ``sha256`` is lower-case hex; ``received`` is when all of it had come.
    """

    document_id: int
    number: int
    format: DocumentFormat
    size: int
    sha256: str
    received: datetime


@dataclass(frozen=True, slots=True)
class ProcessedDocument:
    """One document as a processing filter handed it on.

    ``filter_index`` is that filter's, ``number`` counts from 1 among its documents; ``name``, ``sources`` and
    ``pages`` are as in ``contract.SpooledDocument``. ``file_name`` is that of its file in the job's folder,
    None for a document that the filter handed on as it got it.
    """

    filter_index: int
    number: int
    document_id: int
    format: FileFormat
    size: int
    sha256: str
    name: str | None
    sources: tuple[int, ...]
    pages: int | None
    file_name: str | None

    @property
    def handed_on(self) -> bool:
        """Tell whether the filter got the document itself, and left it as it was."""
        return self.file_name is None


class ChangeKind(StrEnum):
    """What changed."""

    CREATED = "created"
    STATE = "state"
    FILTER = "filter"
    DELIVERY = "delivery"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class JobChange:
    """One stored change: the job after it, the job's state before it (None when it was just created)."""

    job: Job
    previous: JobState | None
    kind: ChangeKind


def facts_of(token: str, job: NewJob | Job, created: datetime) -> JobFacts:
    """Return what a filter may know of a job with this token."""
    return JobFacts(
        token=token,
        process_name=job.process_name,
        user_name=job.user.name,
        user_domain=job.user.domain,
        user_upn=job.user.upn,
        user_mail=job.user.mail,
        document_root_name=job.document_root_name,
        created=created,
        user_display_name=job.user.display_name,
        user_home_site=job.user.home_site,
        process_id=str(job.process_id),
    )
