"""Has the barcodes of a job's documents read in worker processes; a failure costs names, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from postscan.contracts.names import BarcodeChoice, BarcodeKind, BarcodePage
from postscan.filters.contract import JsonValue, SpooledDocument, Workbench, WorkFailed, WorkLimits
from postscan.filters.names import barcodes
from postscan.filters.names.fields import BARCODE
from postscan.filters.templates import Template

LIMITS: Final = WorkLimits(seconds=120.0, cpu_seconds=60, memory_bytes=2 * 1024**3, file_bytes=16 * 1024**2)
"""What one piece of work may take: the documents of a batch, or a single one."""
# Starting a process takes longer than reading a page.
_BATCH: Final = 8
# Each worker that had to be ended took its whole time; of a job made for that there would be no end.
_MOST_FAILURES: Final = 3


class BarcodeReader:
    """Reads the barcodes of one job's documents.

    :param template: what the names are made by: without the field, nothing is read.
    :param choice: which barcodes count.
    """

    def __init__(self, template: Template, choice: BarcodeChoice, bench: Workbench) -> None:
        self._is_wanted = BARCODE in template.fields
        self._is_needed = BARCODE in template.needed
        self._choice = choice
        self._bench = bench
        self._failures = 0

    async def read(self, documents: Sequence[SpooledDocument]) -> list[str | None]:
        """Return the barcode that counts for each document, None where there is none or it is unreadable."""
        if not self._is_wanted:
            return [None] * len(documents)
        if self._choice.page == BarcodePage.FIRST_OF_JOB:
            return (await self._batch(documents[:1])) * len(documents)
        found: list[str | None] = []
        for start in range(0, len(documents), _BATCH):
            found += await self._batch(documents[start : start + _BATCH])
            self._bench.progress(len(found), len(documents))
        return found

    async def _batch(self, documents: Sequence[SpooledDocument]) -> list[str | None]:
        found = dict.fromkeys((document.document_id for document in documents), None)
        readable = []
        for document in documents:
            if barcodes.readable(document.format):
                readable.append(document)
            else:
                await self._tell(document, f"barcodes cannot be read from {document.format}")
        found |= await self._work(readable)
        return [found[document.document_id] for document in documents]

    async def _work(self, documents: Sequence[SpooledDocument]) -> dict[int, str | None]:
        """Return what is read from some documents, by id; each alone where together they take too much."""
        if not documents:
            return {}
        if self._failures >= _MOST_FAILURES:
            await self._bench.warn(
                "too many pages could not be read: the barcodes of others are not looked for"
            )
            return {}
        try:
            answer = await self._bench.workers.run(
                barcodes.READ, self._arguments(documents), folder=self._bench.folder, limits=LIMITS
            )
        except WorkFailed as error:
            if len(documents) == 1:
                self._failures += 1
                await self._tell(documents[0], f"no barcode could be read: {error}")
                return {}
            alone: dict[int, str | None] = {}
            for document in documents:
                alone |= await self._work([document])
            return alone
        return await self._taken(documents, answer)

    async def _taken(self, documents: Sequence[SpooledDocument], answer: JsonValue) -> dict[int, str | None]:
        """Take what a worker said, which is input like any other."""
        found: dict[int, str | None] = {}
        said = answer if isinstance(answer, list) and len(answer) == len(documents) else [{}] * len(documents)
        for document, one in zip(documents, said, strict=True):
            text = one.get("text") if isinstance(one, dict) else None
            if isinstance(text, str):
                found[document.document_id] = text
            elif isinstance(one, dict) and "unreadable" in one:
                await self._tell(document, f"no barcode could be read: {one['unreadable']}")
            elif self._is_needed:
                await self._tell(document, "there is no barcode that fits on its first page")
        return found

    async def _tell(self, document: SpooledDocument, what: str) -> None:
        if self._choice.page == BarcodePage.FIRST_OF_JOB:
            effect = "the usual names are kept" if self._is_needed else "documents are named without"
        else:
            effect = "it keeps its usual name" if self._is_needed else "it is named without"
        await self._bench.warn(f"document {document.number}: {what} ({effect})")

    def _arguments(self, documents: Sequence[SpooledDocument]) -> dict[str, JsonValue]:
        return {
            "documents": [{"path": str(one.path), "format": str(one.format)} for one in documents],
            "kinds": [str(kind) for kind in self._choice.kinds or BarcodeKind],
            "pattern": self._choice.pattern,
        }
