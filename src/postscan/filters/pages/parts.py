"""PDF parts: the pages of documents as PDF files of bounded size, which a later step joins.

A part is one PDF that was sent, or as many images as fit into little memory. The octets of the images stay
what they were (img2pdf).
"""

from __future__ import annotations

import gc
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import img2pdf
import pikepdf
from PIL import Image

from postscan.contracts.formats import Family
from postscan.filters.pages.errors import PageError, TooManyPages, damaged
from postscan.filters.pages.images import Document, Sheet, decoded, sheets_of

_POINTS_PER_INCH: Final = 72.0
_SHORTEST: Final = 3.0
_LONGEST: Final = 14_400.0
_LONG_SIDE_WHEN_UNKNOWN: Final = 842.0
"""Points: a page that does not say its resolution is as long as a sheet of A4."""
_OCTETS_A_PART: Final = 8 * 1024 * 1024
_SHEETS_A_PART: Final = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A PDF file; ``numbers`` names the document of each page; ``drawn`` when images are all it has."""

    path: Path
    numbers: tuple[int, ...]
    drawn: bool


class PartMaker:
    """Makes parts of documents, one after the other.

    :param folder: where parts are written to.
    :param max_pages: of all documents together.
    :param archival: make only what PDF/A-2b allows.
    :param trouble: says why a PDF that was sent cannot be part of it, None when it can.
    :param refused: is told of a document that cannot be put in; it may raise what it is told.
    """

    def __init__(
        self,
        folder: Path,
        max_pages: int,
        *,
        archival: bool,
        refused: Callable[[Document, PageError], None],
        trouble: Callable[[Part], PageError | None] = lambda _part: None,
    ) -> None:
        self._folder = folder
        self._max_pages = max_pages
        self._archival = archival
        self._refused = refused
        self._trouble = trouble
        self._waiting: list[tuple[Document, Sheet]] = []
        self._weight = 0
        self._pages = 0
        self._parts: list[Part] = []

    def add(self, document: Document) -> None:
        """Take in the pages of one document.

        :raises TooManyPages: with these there are too many.
        """
        try:
            found = document.family()
            if found.family is Family.PDF:
                part = self._of_pdf(document)
                self._count(len(part.numbers))
                self.flush()
                self._parts.append(part)
                return
            for sheet in sheets_of(document, found):
                self._count(1)
                ready = self._fitting(sheet)
                if self._archival and min(_size_in_points(ready)) < _SHORTEST:
                    raise PageError(f"{document.words} has a page whose sides differ too much for PDF/A")
                self._waiting.append((document, ready))
                self._weight += ready.weight
                if self._weight >= _OCTETS_A_PART or len(self._waiting) >= _SHEETS_A_PART:
                    self.flush()
        except TooManyPages:
            raise
        except PageError as error:
            self._refused(document, error)

    def finish(self) -> list[Part]:
        """Return all parts, in order. Pages of documents that were refused may be among them."""
        self.flush()
        return self._parts

    def flush(self) -> None:
        """Write a part of the images that wait for it."""
        waiting, self._waiting, self._weight = self._waiting, [], 0
        if not waiting:
            return
        path = self._folder / f"part-{len(self._parts)}.pdf"
        try:
            _write(path, [sheet for _document, sheet in waiting])
        except (MemoryError, OSError):
            raise
        except Exception:
            # Which of them it was shows when each is tried alone.
            waiting = [
                (document, sheet) for document, sheet in waiting if self._can_be_written(document, sheet)
            ]
            if not waiting:
                return
            _write(path, [sheet for _document, sheet in waiting])
        self._parts.append(Part(path, tuple(document.number for document, _sheet in waiting), drawn=True))
        # What img2pdf leaves behind refers to itself, with all the images in it.
        gc.collect()

    def _count(self, pages: int) -> None:
        self._pages += pages
        if self._pages > self._max_pages:
            raise TooManyPages(self._max_pages)

    def _can_be_written(self, document: Document, sheet: Sheet) -> bool:
        try:
            _write(None, [sheet])
        except (MemoryError, OSError):
            raise
        except Exception as error:
            # img2pdf and Pillow raise anything on what they cannot put into a PDF.
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
            self._refused(document, damaged(document.words, reason))
            return False
        return True

    def _fitting(self, sheet: Sheet) -> Sheet:
        """Return the sheet as PDF/A wants it: colours for printing have no meaning without a profile."""
        if not self._archival or sheet.mode != "CMYK":
            return sheet
        with Image.open(io.BytesIO(sheet.octets()), formats=("JPEG",)) as image:
            return sheet if image.info.get("icc_profile") else decoded(image)

    def _of_pdf(self, document: Document) -> Part:
        with opened_pdf(document.path, document.words) as pdf:
            count = len(pdf.pages)
        if count == 0:
            raise damaged(document.words, "it holds no page")
        if count > self._max_pages:
            raise TooManyPages(self._max_pages)
        part = Part(document.path, (document.number,) * count, drawn=False)
        trouble = self._trouble(part)
        if trouble is not None:
            raise PageError(f"{document.words} is a PDF: {trouble}", advice=trouble.what_to_do)
        return part


def opened_pdf(path: Path, words: str) -> pikepdf.Pdf:
    """Open a PDF.

    :raises PageError: it is damaged or protected by a password.
    """
    try:
        # Not mapped: what is mapped counts as memory, and a job may be larger than a worker may have.
        return pikepdf.open(path, access_mode=pikepdf.AccessMode.stream)
    except pikepdf.PasswordError as error:
        raise PageError(
            f"{words} is protected by a password", advice="Take the protection off before sending it."
        ) from error
    except pikepdf.PdfError as error:
        raise damaged(words, "it is no whole PDF") from error


def _write(path: Path | None, sheets: Sequence[Sheet]) -> None:
    sizes = iter([_size_in_points(sheet) for sheet in sheets])

    def layout(_width: int, _height: int, _dpi: tuple[float, float]) -> tuple[float, float, float, float]:
        width, height = next(sizes)
        return width, height, width, height

    out = io.BytesIO() if path is None else path.open("wb")
    with out:
        img2pdf.convert(
            [sheet.octets() if sheet.path is None else sheet.path for sheet in sheets],
            engine=img2pdf.Engine.internal,
            layout_fun=layout,
            first_frame_only=True,
            rotation=img2pdf.Rotation.ifvalid,
            nodate=True,
            outputstream=out,
        )


def _size_in_points(sheet: Sheet) -> tuple[float, float]:
    """Return a page's size, brought into the range that PDF has (ISO 32000-1, annex C) in proportion."""
    width, height = sheet.size
    if sheet.dpi is not None:
        across, down = sheet.dpi
    else:
        across = down = max(width, height) * _POINTS_PER_INCH / _LONG_SIDE_WHEN_UNKNOWN
    points = width * _POINTS_PER_INCH / across, height * _POINTS_PER_INCH / down
    factor = max(1.0, _SHORTEST / min(points))
    factor = min(factor, _LONGEST / max(points))
    return points[0] * factor, points[1] * factor
