"""The assemble filter: all pages of a job as one PDF, PDF/A-2b or TIFF, or in documents of so many pages.

The pages come in the order of the documents, which is that of their DocumentIds. Whatever is decoded or
parsed is so in a worker process; here are orders and answers only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from postscan.contracts.assemble import MAX_PAGES, AssembleConfig, AssembleOutput
from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.psp import filter_config
from postscan.core.errors import InvalidArgument
from postscan.filters.contract import (
    PROCESSING,
    Destination,
    FileFormat,
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
from postscan.filters.probe_page import probe_page
from postscan.filters.work_failures import processing_failure
from postscan.filters.workers import WorkerPool, made_file, said_count, said_text
from postscan.soap.names import ASSEMBLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lxml.etree import _Element

    from postscan.filters.contract import Workers

_TASK: Final = "postscan.filters.pages.assembling:assemble"
_FORMATS: Final[Mapping[str, FileFormat]] = {
    AssembleOutput.PDF: DerivedFormat.PDF,
    AssembleOutput.PDF_A: DocumentFormat.PDF_A,
    AssembleOutput.TIFF: DerivedFormat.TIFF,
}
_WORDS: Final = {
    AssembleOutput.PDF: "a PDF",
    AssembleOutput.PDF_A: "a PDF/A-2b",
    AssembleOutput.TIFF: "a TIFF",
}
_DOING: Final = "the pages cannot be put together"


@dataclass(frozen=True, slots=True)
class AssembleSettings:
    """What a job may ask for: pages in all, pixels of one page, and the limits of the work."""

    max_pages: int = MAX_PAGES
    max_pixels: int = 200_000_000
    limits: WorkLimits = field(default_factory=WorkLimits)


class AssembleFilter:
    """Puts the pages of a job together.

    :param workers: what a dry run uses; a job brings its own.
    """

    dialect: ClassVar[str] = ASSEMBLE

    def __init__(self, settings: AssembleSettings | None = None, workers: Workers | None = None) -> None:
        self._settings = settings or AssembleSettings()
        self._workers = workers

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return the one destination of a processing filter.

        :raises InstructionsError: they are malformed, or contradict themselves.
        """
        _config(instructions)
        return [PROCESSING]

    async def process(self, order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
        """Put the pages together; documents that cannot be put in stand behind, where instructions allow it.

        :raises DeliveryError: a document cannot be put in, or the work ran into a limit.
        """
        config = _config(order.instructions)
        if config.output == AssembleOutput.AS_SENT:
            return [as_it_is(document) for document in order.documents]
        arguments = self._arguments(order, config, bench.folder)
        try:
            answer = await bench.workers.run(
                _TASK,
                arguments,
                folder=bench.folder,
                limits=self._settings.limits,
                on_progress=bench.progress,
            )
            made, warnings, refused = _read(answer, order.documents, config, bench.folder)
        except WorkFailed as error:
            raise processing_failure(error, _DOING) from error
        warnings += [f"{why}; it is handed on as it was sent" for _document, why in refused]
        for text in warnings:
            await bench.warn(text)
        return made + [as_it_is(document) for document, _why in refused]

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Put a small page together, in a worker like that of a job.

        :raises DeliveryError: as ``process``.
        """
        config = _config(order.instructions)
        if config.output == AssembleOutput.AS_SENT:
            return ["pages are handed on as they are sent"]
        workers = self._workers or WorkerPool()
        with probe_page() as (folder, page):
            try:
                arguments = self._arguments(
                    ProcessingOrder(order.job, order.instructions, [page]), config, folder
                )
                answer = await workers.run(_TASK, arguments, folder=folder, limits=self._settings.limits)
                [made], _warnings, _refused = _read(answer, [page], config, folder)
            except WorkFailed as error:
                raise processing_failure(error, _DOING) from error
            size = made.path.stat().st_size
        return [f"a worker process made {_WORDS[AssembleOutput(config.output)]} of a page ({size:,} octets)"]

    def _arguments(
        self, order: ProcessingOrder, config: AssembleConfig, folder: Path
    ) -> dict[str, JsonValue]:
        return {
            "documents": [
                {"id": one.document_id, "path": str(one.path), "words": f"document {one.number}"}
                for one in order.documents
            ],
            "output": config.output,
            "per_document": config.pages_per_document,
            "title": config.title or order.job.document_root_name,
            "created": with_zone(order.job.created).isoformat(),
            "unsupported": config.unsupported,
            "max_pixels": self._settings.max_pixels,
            "max_pages": self._settings.max_pages,
            "folder": str(folder),
        }


def as_it_is(document: SpooledDocument) -> Product:
    """Return the product that is a document of the order itself."""
    return Product(
        path=document.path,
        format=document.format,
        sources=document.sources or (document.document_id,),
        name=document.name,
        pages=document.pages,
    )


def _config(instructions: _Element) -> AssembleConfig:
    """Read the instructions; the element is psp:Instructions, or AssembleConfig itself."""
    try:
        if instructions.tag == AssembleConfig.TAG:
            config = AssembleConfig.from_element(instructions)
        else:
            config = filter_config(instructions, AssembleConfig)
        output = AssembleOutput(config.output)
    except InvalidArgument as error:
        raise InstructionsError(f"assemble instructions: {error}", detail=error.detail) from error
    except ValueError as error:
        raise InstructionsError(
            f"assemble instructions ask for {config.output!r}; write one of {', '.join(AssembleOutput)}",
            detail="assemble:Output",
        ) from error
    pages = config.pages_per_document
    if pages is not None and (output is AssembleOutput.AS_SENT or not 1 <= pages <= MAX_PAGES):
        raise InstructionsError(
            "assemble instructions divide pages that are handed on as they are sent"
            if output is AssembleOutput.AS_SENT
            else f"assemble instructions ask for documents of {pages} pages; write 1 to {MAX_PAGES}",
            detail="assemble:PagesPerDocument",
        )
    return config


def _read(
    answer: JsonValue, documents: Sequence[SpooledDocument], config: AssembleConfig, folder: Path
) -> tuple[list[Product], list[str], list[tuple[SpooledDocument, str]]]:
    """Read a worker's answer, believing nothing: products, warnings, and what was refused with the reason.

    :raises WorkFailed: it does not name files of its own, or documents that it was given.
    """
    said: Any = answer
    known = {document.document_id: document for document in documents}
    made: list[Product] = []
    warnings: list[str] = []
    try:
        for number, one in enumerate(said["made"], 1):
            name = f"made-{number}.{'tif' if config.output == AssembleOutput.TIFF else 'pdf'}"
            took = [known[source] for source in one["sources"]]
            made.append(
                Product(
                    path=made_file(folder / name),
                    format=_FORMATS[config.output],
                    sources=tuple(source for document in took for source in as_it_is(document).sources),
                    name=took[0].name,
                    pages=said_count(one["pages"]),
                )
            )
            if one["unproven"]:
                unproven = said_text(one["unproven"])
                warnings.append(f"nobody can tell whether all pages are PDF/A-2b: {unproven}")
        refused = [(known[one["id"]], said_text(one["why"])) for one in said["refused"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WorkFailed("the work said something that is not understood") from error
    if not made and not refused:
        raise WorkFailed("there is no page to put together")
    return made, warnings, refused


def with_zone(moment: datetime) -> datetime:
    """Return a moment that says how far from UTC it is."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
