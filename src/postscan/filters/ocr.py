"""The OCR filter: documents become searchable PDF or PDF/A through OCRmyPDF and Tesseract.

Everything that reads a page runs in worker processes. A document that cannot be made searchable goes on as it
was, with a warning, unless the instructions want the job to fail: a scan is never lost for want of its text.

PDFs that a device made are not touched, unless the settings allow it: to read them they have to be drawn, and
what draws PDFs was never meant for strangers' files (abuse case 32).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from postscan.contracts.assemble import MAX_PAGES
from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.contracts.ocr import OcrConfig, OcrOutput, OnFailure
from postscan.contracts.psp import filter_config
from postscan.core.errors import InvalidArgument
from postscan.filters.assemble import as_it_is, with_zone
from postscan.filters.contract import (
    PROCESSING,
    DeliveryError,
    Destination,
    InstructionsError,
    JobFacts,
    JsonValue,
    ProbeOrder,
    ProcessingOrder,
    Product,
    SpooledDocument,
    Workbench,
    WorkFailed,
    WorkLimits,
)
from postscan.filters.ocr_tools import OcrTools, look
from postscan.filters.probe_page import probe_page
from postscan.filters.work_failures import processing_failure
from postscan.filters.workers import WorkerPool, made_file, said_count
from postscan.soap.names import OCR

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from lxml.etree import _Element

    from postscan.filters.contract import Workers

_T = TypeVar("_T")
_PREPARE: Final = "postscan.filters.pages.reading:prepare"
_READ: Final = "postscan.filters.pages.reading:read"


@dataclass(frozen=True, slots=True)
class OcrSettings:
    """What a job may ask for, and what it gets when it asks for nothing.

    ``languages`` are read where instructions name none. ``device_pdf`` allows PDFs that devices made.
    ``jobs`` pages of one document are read at a time. Reading may take ``limits`` and, besides, so many
    ``page_seconds`` a page.
    """

    languages: tuple[str, ...] = ("eng",)
    device_pdf: bool = False
    jobs: int = 1
    page_seconds: int = 60
    max_pages: int = MAX_PAGES
    max_pixels: int = 200_000_000
    limits: WorkLimits = field(default_factory=WorkLimits)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A document that can be read: where it lies as PDF, and how many pages it has."""

    document: SpooledDocument
    path: Path
    pages: int


class OcrFilter:
    """Makes documents searchable.

    :param workers: what a dry run uses; a job brings its own.
    :param tools: looks for what is installed.
    """

    dialect: ClassVar[str] = OCR

    def __init__(
        self,
        settings: OcrSettings | None = None,
        workers: Workers | None = None,
        tools: Callable[[], OcrTools] = look,
    ) -> None:
        self._settings = settings or OcrSettings()
        self._workers = workers
        self._look = tools
        # Looked for when first asked: making a filter runs no program.
        self._tools: OcrTools | None = None

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return the one destination of a processing filter.

        :raises InstructionsError: they are malformed, or want what is not installed.
        """
        config = _config(instructions)
        if self._missing(config):
            # It may have been installed since; that is looked for only when something was missing.
            self._tools = self._look()
        if missing := self._missing(config):
            detail = "ocr:Language" if "language" in missing[0] else "ocr:OcrConfig"
            raise InstructionsError(f"OCR is not possible here: {'; '.join(missing)}", detail=detail)
        return [PROCESSING]

    async def process(self, order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
        """Make every document searchable, or hand it on as it is.

        :raises DeliveryError: the spool's disk is full, or a document cannot be made searchable and the
            instructions say that the job fails then.
        """
        config = _config(order.instructions)
        self._tools = await asyncio.to_thread(self._look)
        if missing := self._missing(config):
            await self._give_up(config, bench, _not_installed(missing))
            return [as_it_is(document) for document in order.documents]
        reading = _Reading(self._settings, order.job, config, bench.workers, bench.folder)
        prepared = await _all(
            [self._prepared(reading, document, config, bench) for document in order.documents]
        )
        counter = _Counter([one.pages for one in prepared if one is not None], bench.progress)
        return await _all(
            [
                self._read(reading, document, ready, config, bench, counter)
                for document, ready in zip(order.documents, prepared, strict=True)
            ]
        )

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Read a small page, in a worker like that of a job.

        :raises DeliveryError: what is needed is not installed, or reading fails.
        """
        config = _config(order.instructions)
        self._tools = await asyncio.to_thread(self._look)
        if missing := self._missing(config):
            raise _not_installed(missing)
        with probe_page() as (folder, page):
            reading = _Reading(self._settings, order.job, config, self._workers or WorkerPool(), folder)
            try:
                ready = await reading.prepare(page)
                made, _unread = await reading.read(ready, lambda _done, _total: None)
            except WorkFailed as error:
                raise processing_failure(error, "a page cannot be made searchable") from error
            size = made.stat().st_size
        languages = "+".join(self._languages(config))
        return [
            f"OCRmyPDF and Tesseract are there, with {languages}",
            f"a worker process made a page searchable ({size:,} octets)",
        ]

    def _languages(self, config: OcrConfig) -> tuple[str, ...]:
        return config.languages or self._settings.languages

    def _missing(self, config: OcrConfig) -> list[str]:
        if self._tools is None:
            self._tools = self._look()
        return self._tools.missing(self._languages(config), rotate=config.rotate, clean=config.clean)

    async def _prepared(
        self, reading: _Reading, document: SpooledDocument, config: OcrConfig, bench: Workbench
    ) -> _Prepared | None:
        """Return a document that can be read, None when it goes on as it is."""
        try:
            ready = await reading.prepare(document)
        except WorkFailed as error:
            await self._give_up(config, bench, _failure(document, error))
            return None
        if ready is None:
            await self._give_up(config, bench, _device_made(document))
        return ready

    async def _read(
        self,
        reading: _Reading,
        document: SpooledDocument,
        ready: _Prepared | None,
        config: OcrConfig,
        bench: Workbench,
        counter: _Counter,
    ) -> Product:
        if ready is None:
            return as_it_is(document)
        try:
            made, unread = await reading.read(ready, counter.of(ready.pages))
        except WorkFailed as error:
            await self._give_up(config, bench, _failure(document, error))
            return as_it_is(document)
        if unread:
            await bench.warn(
                f"{unread} of {ready.pages} pages of document {document.number} took longer to read than"
                f" {self._settings.page_seconds} s each, and have no text"
            )
        archival = config.output_type == OcrOutput.PDF_A
        return replace(
            as_it_is(document),
            path=made,
            format=DocumentFormat.PDF_A if archival else DerivedFormat.PDF,
            pages=ready.pages,
        )

    async def _give_up(self, config: OcrConfig, bench: Workbench, error: DeliveryError) -> None:
        """Warn that a document goes on as it is; raise where the instructions or a full disk want that."""
        if config.on_failure == OnFailure.FAIL or error.reason is FilterStateReason.OUT_OF_DISK_SPACE:
            raise error
        await bench.warn(f"{error}; it is delivered as it was. {error.what_to_do}".strip())


class _Reading:
    """One job's work in workers."""

    def __init__(
        self, settings: OcrSettings, job: JobFacts, config: OcrConfig, workers: Workers, folder: Path
    ) -> None:
        self._settings = settings
        self._job = job
        self._config = config
        self._workers = workers
        self._folder = folder

    async def prepare(self, document: SpooledDocument) -> _Prepared | None:
        """Return the document as a PDF that may be read, None for one that a device made and may not be.

        :raises WorkFailed: it is damaged, too large, or no image.
        """
        folder = self._folder / f"pages-{document.document_id}"
        arguments: dict[str, JsonValue] = {
            "documents": [
                {
                    "id": document.document_id,
                    "path": str(document.path),
                    "words": "it",
                }
            ],
            "title": self._job.document_root_name,
            "created": with_zone(self._job.created).isoformat(),
            "max_pixels": self._settings.max_pixels,
            "max_pages": self._settings.max_pages,
            "folder": str(folder),
        }
        said: Any = await self._workers.run(
            _PREPARE, arguments, folder=self._folder, limits=self._settings.limits
        )
        try:
            is_pdf, pages, drawn = bool(said["is_pdf"]), said_count(said["pages"]), bool(said["drawn"])
        except (KeyError, TypeError, ValueError) as error:
            raise WorkFailed("the work said something that is not understood") from error
        if is_pdf and not self._settings.device_pdf and not (drawn and _made_here(document)):
            return None
        return _Prepared(document, document.path if is_pdf else made_file(folder / "made-1.pdf"), pages)

    async def read(
        self, ready: _Prepared | None, on_progress: Callable[[int, int], None]
    ) -> tuple[Path, int]:
        """Return a searchable file, and how many of its pages took too long and have no text.

        :raises WorkFailed: it could not be made.
        """
        assert ready is not None  # noqa: S101 - a page that we drew ourselves may be read
        config, settings, limits = self._config, self._settings, self._settings.limits
        made = self._folder / f"searchable-{ready.document.document_id}.pdf"
        arguments: dict[str, JsonValue] = {
            "path": str(ready.path),
            "made": str(made),
            "id": ready.document.document_id,
            "pages": ready.pages,
            "title": self._job.document_root_name,
            "created": with_zone(self._job.created).isoformat(),
            "folder": str(self._folder / f"pages-{ready.document.document_id}"),
            "languages": list(config.languages or settings.languages),
            "deskew": config.deskew,
            "rotate": config.rotate,
            "clean": config.clean,
            "output": config.output_type,
            "jobs": settings.jobs,
            "page_seconds": settings.page_seconds,
            "max_pixels": settings.max_pixels,
        }
        more = ready.pages * settings.page_seconds
        said: Any = await self._workers.run(
            _READ,
            arguments,
            folder=self._folder,
            limits=replace(limits, seconds=limits.seconds + more, cpu_seconds=limits.cpu_seconds + more),
            on_progress=on_progress,
        )
        try:
            return made_file(made), said_count(said["unread"])
        except (KeyError, TypeError, ValueError) as error:
            raise WorkFailed("the work said something that is not understood") from error


class _Counter:
    """Adds up the pages of documents that are read at the same time."""

    def __init__(self, pages: Sequence[int], tell: Callable[[int, int], None]) -> None:
        self._total = sum(pages)
        self._done = 0
        self._tell = tell

    def of(self, pages: int) -> Callable[[int, int], None]:
        """Return what is to be told how far one document of so many pages is."""
        counted = 0

        def report(done: int, _total: int) -> None:
            nonlocal counted
            step = min(done, pages) - counted
            if step > 0:
                counted += step
                self._done += step
                self._tell(self._done, self._total)

        return report


async def _all(works: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Do several things at a time; when one fails, end the others first, and raise what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _made_here(document: SpooledDocument) -> bool:
    """Tell whether a filter of this server made the document, and no device."""
    return bool(document.sources) and document.document_id not in document.sources


def _failure(document: SpooledDocument, error: WorkFailed) -> DeliveryError:
    return processing_failure(error, f"document {document.number} cannot be made searchable")


def _device_made(document: SpooledDocument) -> DeliveryError:
    return DeliveryError(
        f"document {document.number} is not made searchable: it is a PDF that a device made",
        reason=FilterStateReason.UNKNOWN_ERROR,
        transient=False,
        advice="Let the device send images, or allow it: processing.ocr_device_pdf = true.",
    )


def _not_installed(missing: Sequence[str]) -> DeliveryError:
    return DeliveryError(
        f"OCR is not possible here: {'; '.join(missing)}",
        reason=FilterStateReason.UNKNOWN_ERROR,
        # They were there when the job began: a package is being replaced, perhaps.
        transient=True,
        advice="Install what is named; the work is tried again by itself.",
    )


def _config(instructions: _Element) -> OcrConfig:
    """Read the instructions; the element is psp:Instructions, or OcrConfig itself."""
    try:
        if instructions.tag == OcrConfig.TAG:
            config = OcrConfig.from_element(instructions)
        else:
            config = filter_config(instructions, OcrConfig)
        OcrOutput(config.output_type)
        OnFailure(config.on_failure)
    except InvalidArgument as error:
        raise InstructionsError(f"OCR instructions: {error}", detail=error.detail) from error
    except ValueError as error:
        raise InstructionsError(f"OCR instructions: {error}", detail="ocr:OcrConfig") from error
    return config
