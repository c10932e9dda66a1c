"""The worker's main task: sources in, documents of one format out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from postscan.contracts.keywords import DocumentFormat
from postscan.device.errors import ImageError
from postscan.device.imaging.adapt import adapt
from postscan.device.imaging.encode import HOLDS, encode_page, write_tiff
from postscan.device.imaging.limits import MAX_PAGES
from postscan.device.imaging.page import Page, pages_of
from postscan.device.imaging.request import MULTI_PAGE, ConversionRequest


@dataclass(frozen=True, slots=True)
class Document:
    """A finished document: its file's name in the worker's folder, its pages, its (first) source's number."""

    file: str
    pages: int
    source: int


def convert(folder: Path, request: ConversionRequest) -> list[Document]:
    """Write into ``folder`` what the request asks for, in the order of the pages.

    :raises ImageError: a source is damaged, asks for too much or cannot become the format.
    """
    if request.format not in MULTI_PAGE:
        return list(_single_pages(folder, request))
    if request.joined:
        return [_document(folder, 0, request.sources, request)]
    return [_document(folder, number, [source], request) for number, source in enumerate(request.sources)]


def _single_pages(folder: Path, request: ConversionRequest) -> Iterator[Document]:
    for number, (source, page) in enumerate(_adapted(request.sources, request)):
        file = f"document-{number}"
        (folder / file).write_bytes(encode_page(page, request.format, request.quality))
        yield Document(file, 1, source)


def _document(
    folder: Path, number: int, sources: Sequence[tuple[str, str]], request: ConversionRequest
) -> Document:
    file = f"document-{number}"
    pages = (page for _source, page in _adapted(sources, request))
    with (folder / file).open("w+b") as out:
        if request.format is DocumentFormat.PDF_A:
            from postscan.device.imaging.pdf_writing import write_pdf_a

            return Document(file, write_pdf_a(pages, request.quality, out), number)
        return Document(file, write_tiff(pages, request.format, request.quality, out), number)


def _adapted(sources: Sequence[tuple[str, str]], request: ConversionRequest) -> Iterator[tuple[int, Page]]:
    """Yield every page ready to be encoded, with the number of the source it comes from."""
    holds, count = HOLDS[request.format], 0
    for number, (path, name) in enumerate(sources):
        for page in pages_of(Path(path), name):
            count += 1
            if count > MAX_PAGES:
                raise ImageError(
                    f"The job has more than {MAX_PAGES:,} pages.", advice="Send it as several jobs."
                )
            adapted = adapt(
                page,
                modes=holds.modes,
                color=request.color,
                resolution=request.resolution,
                newest_profile=holds.newest_profile,
                name=name,
            )
            yield number, adapted
