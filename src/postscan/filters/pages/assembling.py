"""The task of the assemble filter: puts the pages of documents together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from postscan.contracts.assemble import AssembleOutput, Unsupported
from postscan.filters.pages.errors import PageError
from postscan.filters.pages.images import Document

Report = Callable[[int, int], None]


def assemble(arguments: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Put the pages of documents together.

    :param arguments: ``documents`` (each with ``id``, ``path`` and ``words``), ``output`` (pdf, pdf-a or
        tiff), ``per_document`` (pages, or None), ``title``, ``created`` (ISO 8601, with an offset),
        ``unsupported``, ``max_pixels`` of a page, ``max_pages`` of all, and ``folder``, which files are
        written to.
    :return: ``made`` (each with ``file``, a name in the folder, ``sources``, ``pages``, and ``unproven``:
        what nobody can tell to be PDF/A or not) and ``refused`` (each with ``id`` and ``why``): documents
        that could not be put in.
    :raises PageError: a document cannot be put in, or nothing can.
    """
    documents = [
        Document(one["id"], Path(one["path"]), one["words"], arguments["max_pixels"], arguments["max_pages"])
        for one in arguments["documents"]
    ]
    refused: dict[int, PageError] = {}

    def refuse(document: Document, error: PageError) -> None:
        if arguments["unsupported"] != Unsupported.AS_SENT:
            raise error
        refused.setdefault(document.number, error)

    make = _make_tiff if arguments["output"] == AssembleOutput.TIFF else _make_pdf
    made = make(documents, arguments, refuse, refused, report)
    return {
        "made": made,
        "refused": [{"id": number, "why": str(error)} for number, error in refused.items()],
    }


def _make_pdf(
    documents: list[Document],
    arguments: Mapping[str, Any],
    refuse: Callable[[Document, PageError], None],
    refused: Mapping[int, PageError],
    report: Report,
) -> list[dict[str, Any]]:
    # Here, as drawing TIFF needs none of it.
    from postscan.filters.pages.join import Labels, archival_trouble, join
    from postscan.filters.pages.parts import Part, PartMaker

    folder = Path(arguments["folder"])
    archival = arguments["output"] == AssembleOutput.PDF_A

    def trouble(part: Part) -> PageError | None:
        return archival_trouble(part, folder) if archival else None

    maker = PartMaker(folder, arguments["max_pages"], archival=archival, refused=refuse, trouble=trouble)
    for done, document in enumerate(documents, 1):
        maker.add(document)
        report(done, len(documents))
    parts = maker.finish()
    labels = Labels(arguments["title"], datetime.fromisoformat(arguments["created"]), archival)
    made = [
        {
            "file": one.path.name,
            "sources": list(one.numbers),
            "pages": one.pages,
            "unproven": one.unproven,
        }
        for one in join(parts, frozenset(refused), arguments["per_document"], folder, labels)
    ]
    for part in parts:
        if part.drawn:
            part.path.unlink()
    return made


def _make_tiff(
    documents: list[Document],
    arguments: Mapping[str, Any],
    refuse: Callable[[Document, PageError], None],
    _refused: Mapping[int, PageError],
    report: Report,
) -> list[dict[str, Any]]:
    from postscan.filters.pages.multipage import write_tiffs

    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        report(done, len(documents))

    made = write_tiffs(
        documents, arguments["per_document"], arguments["max_pages"], Path(arguments["folder"]), refuse, count
    )
    return [
        {"file": one.path.name, "sources": list(one.numbers), "pages": one.pages, "unproven": ""}
        for one in made
    ]
