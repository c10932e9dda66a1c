"""What tests of processing filters share: a spool, a workbench, and a job put through a filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.filters.assemble import AssembleFilter, AssembleSettings
from postscan.filters.contract import ProcessingFilter, ProcessingOrder, Product, SpooledDocument
from postscan.filters.ocr import OcrFilter
from postscan.soap.names import ASSEMBLE, OCR
from postscan.soap.xml import parse
from support.delivery import JOB
from support.processing import MemoryBench, document


@dataclass
class Desk:
    """A job's documents on their way through processing filters."""

    folder: Path
    documents: list[SpooledDocument] = field(default_factory=list)
    bench: MemoryBench = field(init=False)
    settings: AssembleSettings = field(default_factory=AssembleSettings)

    def __post_init__(self) -> None:
        self.bench = MemoryBench(self.folder / "bench")

    def add(self, content: bytes, kind: DocumentFormat | DerivedFormat = DocumentFormat.JFIF) -> None:
        """Put the next document of the job into the spool."""
        self.documents.append(document(self.folder / "spool", len(self.documents) + 1, content, kind))

    async def assemble(self, output: str, more: str = "") -> Sequence[Product]:
        """Put the documents together."""
        body = f"<a:Output>{output}</a:Output>{more}"
        return await self.through(AssembleFilter(self.settings), "AssembleConfig", ASSEMBLE, body)

    async def ocr(self, body: str = "", reader: OcrFilter | None = None) -> Sequence[Product]:
        """Make the documents searchable."""
        return await self.through(reader or OcrFilter(), "OcrConfig", OCR, body)

    async def through(
        self, step: ProcessingFilter, local: str, namespace: str, body: str
    ) -> Sequence[Product]:
        """Put the documents through a filter with these instructions."""
        instructions = parse(f'<a:{local} xmlns:a="{namespace}">{body}</a:{local}>'.encode())
        return await step.process(ProcessingOrder(JOB, instructions, self.documents), self.bench)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
