"""Scan processes made of the filters that a test names."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from postscan.contracts.psp import FilterToProcess, write_process
from postscan.directory.model import ProcessDraft, StoredProcess
from postscan.soap.names import ASSEMBLE, FSF, NAMES, OCR, PSP
from postscan.soap.xml import parse
from support.scanning import Site


def step(dialect: str, inner: str) -> FilterToProcess:
    """Return a filter; ``inner`` is what stands in its instructions, in its own namespace by the prefix f."""
    text = f'<p:Instructions xmlns:p="{PSP}" xmlns:f="{dialect}">{inner}</p:Instructions>'
    return FilterToProcess(dialect=dialect, instructions=parse(text.encode()))


def assemble(output: str) -> FilterToProcess:
    """Return a step that puts all pages together."""
    return step(ASSEMBLE, f"<f:AssembleConfig><f:Output>{output}</f:Output></f:AssembleConfig>")


def ocr() -> FilterToProcess:
    """Return a step that makes documents searchable."""
    return step(OCR, "<f:OcrConfig/>")


def names(template: str) -> FilterToProcess:
    """Return a step that names documents."""
    return step(NAMES, f"<f:NamesConfig><f:Template>{template}</f:Template></f:NamesConfig>")


def share(unc: str) -> FilterToProcess:
    """Return a delivery to a share."""
    inner = f"<f:FileShares><f:ShareUNC>{unc}</f:ShareUNC></f:FileShares>"
    return step(FSF, f"<f:FileShareConfig>{inner}</f:FileShareConfig>")


async def add_steps(
    site: Site, name: str, *steps: FilterToProcess, delivers: FilterToProcess | None = None
) -> StoredProcess:
    """Add a process for everyone: some steps, then a delivery (to the users' folders when there is none)."""
    plain = (await site.process()).process
    deliveries = plain.instructions.filters if delivers is None else (delivers,)
    process = replace(plain, instructions=replace(plain.instructions, filters=(*steps, *deliveries)))
    draft = ProcessDraft(uuid4(), name, write_process(process), groups=frozenset({"Everyone"}))
    return await site.directory.create_process(draft)
