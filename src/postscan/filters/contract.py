"""What a filter is: what it is given, what it has to do, and how it tells what came of it.

There are two kinds. A *processing filter* (OCR, one PDF out of many pages) turns the documents of a job into
others; a *delivery filter* takes documents to one or more destinations. A job runs its processing filters
first, each on what the one before made, then its delivery filters on the result.

A filter never touches the jobs table. What it needs to know comes in its order; what must survive a crash
goes through the ledger (delivery) or the workbench (processing).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, TypeAlias, runtime_checkable

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.core.errors import PostscanError

if TYPE_CHECKING:
    from lxml.etree import _Element

    from postscan.core.secret import Secret

FileFormat: TypeAlias = DocumentFormat | DerivedFormat
JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a filter may know of a job. ``user_home_site`` is the address of the user's own site."""

    token: str
    process_name: str
    user_name: str
    user_domain: str
    user_upn: str
    user_mail: str | None
    document_root_name: str
    created: datetime
    user_display_name: str = ""
    user_home_site: str | None = None
    process_id: str = ""


@dataclass(frozen=True, slots=True)
class SpooledDocument:
    """One document in the spool: an accepted image, or what a processing filter made.

    ``document_id`` tells it from every other document of the job for good (accepted images have the
    DocumentId of the device, made ones greater numbers); ``number`` counts from 1 among the documents that
    are handed over together; ``size`` is in octets; ``sha256`` is lower-case hex; ``format`` is what the
    octets were found to be. ``name`` is what a processing filter called it, without extension and not yet
    made safe: None leaves it to the rule (``naming.document_name``). ``sources`` are the ids of the accepted
    images in it, in order; ``pages`` is how many pages it has, None where nobody counted.
    """

    document_id: int
    number: int
    format: FileFormat
    path: Path
    size: int
    sha256: str
    name: str | None = None
    sources: tuple[int, ...] = ()
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """One place a filter delivers to; ``key`` identifies it within the job for good."""

    key: str
    label: str


# The one destination of every processing filter: it delivers to those that come after it.
PROCESSING: Final = Destination(key="pages", label="pages of the job")


@dataclass(frozen=True, slots=True)
class Delivered:
    """One document, delivered: the final name at the destination, and its size there in octets."""

    document_id: int
    name: str
    size: int


class DeliveryError(PostscanError):
    """A destination refused or could not be reached, or a processing step could not be done.

    ``transient`` is true when time can heal it (share away, disk full): the runner tries again, not before
    ``retry_after`` has passed where the other side said how long to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: FilterStateReason,
        transient: bool,
        advice: str = "",
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, advice=advice)
        self.reason = reason
        self.transient = transient
        self.retry_after = retry_after


class InstructionsError(PostscanError):
    """A filter cannot work with these instructions at all; ``detail`` names what is wrong."""

    advice = "Correct the scan process; `postscan processes validate` names what is wrong."


class Notes(Protocol):
    """A few words that a filter finds again after a crash, for one destination of one job."""

    async def remember(self, key: str, value: str) -> None:
        """Keep ``value`` durably under ``key`` (each of at most 4,000 characters), instead of what was."""

    async def remembered(self, key: str) -> str | None:
        """Return what was kept under ``key``, None when nothing was."""

    async def warn(self, text: str) -> None:
        """Have administrators told of something that went amiss and is no failure; the same text once."""


class DeliveryLedger(Notes, Protocol):
    """Where a delivery filter writes down, durably, what it is about to do and what it has done."""

    async def planned_name(self, document_id: int) -> str | None:
        """Return the name planned before a crash for this document at this destination, if any."""

    async def plan(self, document_id: int, name: str) -> None:
        """Record durably that the document is about to appear under ``name``."""

    async def delivered(self, delivery: Delivered) -> None:
        """Record durably that the document is there."""

    async def already_delivered(self) -> dict[int, Delivered]:
        """Return what is there already, by document id."""


@dataclass(frozen=True, slots=True)
class DeliveryOrder:
    """What a delivery filter has to do: take ``documents`` of ``job`` to ``destination``."""

    destination: Destination
    job: JobFacts
    instructions: _Element
    documents: Sequence[SpooledDocument]


@dataclass(frozen=True, slots=True)
class ProcessingOrder:
    """What a processing filter has to do: make other documents out of ``documents``."""

    job: JobFacts
    instructions: _Element
    documents: Sequence[SpooledDocument]


@dataclass(frozen=True, slots=True)
class Product:
    """A document that a processing filter made, or one that it hands on as it is.

    ``path`` is a file in the workbench's folder, which the job then owns, or that of a document of the order,
    which is not copied. The other fields are as in SpooledDocument.
    """

    path: Path
    format: FileFormat
    sources: tuple[int, ...]
    name: str | None = None
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What one piece of work may take before it is ended.

    ``seconds`` of the clock, ``cpu_seconds`` of a processor, ``memory_bytes`` of address space in each of
    its processes, ``file_bytes`` for the largest file it may write.
    """

    seconds: float = 600.0
    cpu_seconds: int = 600
    memory_bytes: int = 2 * 1024**3
    file_bytes: int = 4 * 1024**3


class WorkFailed(PostscanError):
    """A piece of work in a worker process failed; ``limit`` names the limit it ran into, if that was it.

    ``limit`` is a field's name of WorkLimits, or None: the work itself refused (``str(error)`` says why), or
    its process died.
    """

    advice = "Look at the page that is named; the original images are kept."

    def __init__(self, message: str, *, limit: str | None = None, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.limit = limit


class Workers(Protocol):
    """Runs what decodes images in processes of its own, where it cannot harm the server."""

    async def run(
        self,
        task: str,
        arguments: Mapping[str, JsonValue],
        *,
        folder: Path,
        limits: WorkLimits | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> JsonValue:
        """Run ``module:function`` in a worker process and return what it returns.

        The function is called as ``function(arguments, report)``, where ``report(done, total)`` tells how
        far it is. Its working folder is ``folder``. Canceling the call ends the process.

        :raises WorkFailed: it raised, was killed, or ran into a limit.
        """


class Workbench(Notes, Protocol):
    """What a processing filter works with, for one job.

    ``folder`` is an empty private folder on the spool's disk, removed afterwards.
    """

    @property
    def folder(self) -> Path:
        """The folder that products are written to."""

    @property
    def workers(self) -> Workers:
        """Where whatever decodes images runs."""

    async def count(self, name: str) -> int:
        """Return the next number, from 1, of the counter ``name`` of this server; the same for this job."""

    def progress(self, done: int, total: int) -> None:
        """Tell how far the work is."""


class Filter(Protocol):
    """What every filter has; it is a DeliveryFilter or a ProcessingFilter besides."""

    dialect: ClassVar[str]

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return where this job's documents go; raises InstructionsError when the instructions are wrong.

        Asked when the job is created, and again before it runs; a processing filter returns
        ``[PROCESSING]``. Touches neither files nor network. ``instructions`` is psp:Instructions.
        """


@runtime_checkable
class DeliveryFilter(Filter, Protocol):
    """A filter that takes documents to destinations: each with its own state, tries and clock."""

    async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        """Deliver every document not yet delivered; raises DeliveryError.

        Must be idempotent: called again after a crash at any point it completes what is missing and
        doubles nothing.
        """


@runtime_checkable
class ProcessingFilter(Filter, Protocol):
    """A filter that makes documents out of documents."""

    async def process(self, order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
        """Return what those that come after get instead; raises DeliveryError.

        The accepted images are never changed. After a crash it is called again from the beginning; what it
        returned is kept once and for all.
        """


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """A dry run: what would be done for a job of these facts, at one destination."""

    destination: Destination
    job: JobFacts
    instructions: _Element


@runtime_checkable
class ProbedFilter(Protocol):
    """A filter that can prove a destination without a job."""

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Do all that a delivery would, with a small file that is removed again.

        :return: what was proven, a short sentence each, in order.
        :raises DeliveryError: as a delivery would.
        """


@runtime_checkable
class ConfiguredFilter(Protocol):
    """A filter that tells administrators how it is set up."""

    def configuration(self) -> _Element | None:
        """Return what WS-DSC puts into FilterConfig, an element of the filter's own namespace."""


@dataclass(frozen=True, slots=True)
class FilterEnvironment:
    """What a filter is made with.

    ``settings`` is the table ``[filters.<name>]`` of server.toml, as it stands there; ``secret`` returns a
    secret of this filter by its name, such as ``password`` for ``filters.<name>.password``, and raises
    ConfigurationError when there is none; ``zone`` is the time zone of names (this machine's when None).
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    secret: Callable[[str], Secret] | None = None
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class FilterKind:
    """What an entry point of the group ``postscan.filters`` leads to.

    :ivar name: what people call it, and its table in the settings: lower-case letters, digits, hyphens.
    :ivar dialect: the URI in Filter/Dialect, which is the namespace of its instructions as well.
    :ivar make: makes the filter; raises ConfigurationError when the settings do not fit.
    :ivar schema: the XML Schema of its instructions, whose target namespace is the dialect; None for none.
    """

    name: str
    dialect: str
    make: Callable[[FilterEnvironment], Filter]
    schema: bytes | None = None
