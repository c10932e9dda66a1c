"""Multi-page TIFF: pages stay Group 4 or JPEG where they are, and are LZW otherwise; nothing is lost."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from PIL import Image, TiffImagePlugin

from postscan.contracts.formats import Family
from postscan.filters.pages import jpeg, tiff
from postscan.filters.pages.errors import PageError, TooManyPages, damaged
from postscan.filters.pages.images import Document, Sheet, decoded, sheets_of
from postscan.filters.pages.join import Joined

_LARGEST: Final = 4_000_000_000
"""Octets: the offsets of a TIFF have 32 bits."""
_DOTS_PER_INCH_DRAWN: Final = 300
_POINTS_PER_INCH: Final = 72
_ONE_STRIP: Final = 1 << 31


def write_tiffs(
    documents: Iterable[Document],
    per_document: int | None,
    max_pages: int,
    folder: Path,
    refused: Callable[[Document, PageError], None],
    on_document: Callable[[], None],
) -> list[Joined]:
    """Write all pages into TIFF files of ``per_document`` pages, all into one when it is None.

    A document's pages are all looked at before the first is written, so that one that is refused leaves none.

    :raises PageError: too many pages, a file would be too large, or what ``refused`` raises.
    """
    book = _Book(folder, per_document)
    pages = 0
    for document in documents:
        try:
            for _sheet in _sheets(document):
                pages += 1
                if pages > max_pages:
                    raise TooManyPages(max_pages)
        except TooManyPages:
            raise
        except PageError as error:
            refused(document, error)
        else:
            for sheet in _sheets(document):
                book.add(document.number, sheet)
        on_document()
    return book.close()


class _Book:
    """TIFF files, one page appended after the other."""

    def __init__(self, folder: Path, per_document: int | None) -> None:
        self._folder = folder
        self._per_document = per_document
        self._made: list[Joined] = []
        self._writer: TiffImagePlugin.AppendingTiffWriter | None = None
        self._path = folder
        self._numbers: list[int] = []

    def add(self, number: int, sheet: Sheet) -> None:
        page = _page(sheet)
        if self._writer is None:
            self._path = self._folder / f"made-{len(self._made) + 1}.tif"
            self._writer = TiffImagePlugin.AppendingTiffWriter(str(self._path), new=True)
        else:
            self._writer.newFrame()
        if self._path.stat().st_size + len(page) > _LARGEST:
            raise PageError(
                "the pages are more than a TIFF file can hold (4 GB)",
                advice="Choose PagesPerDocument, or the output pdf.",
            )
        self._writer.write(page)
        self._numbers.append(number)
        if len(self._numbers) == self._per_document:
            self._end()

    def close(self) -> list[Joined]:
        self._end()
        return self._made

    def _end(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._made.append(Joined(self._path, tuple(dict.fromkeys(self._numbers)), len(self._numbers)))
        self._writer, self._numbers = None, []


def _sheets(document: Document) -> Iterator[Sheet]:
    found = document.family()
    if found.family is Family.PDF:
        yield from _drawn(document)
    else:
        yield from sheets_of(document, found)


def _page(sheet: Sheet) -> bytes:
    """Return a sheet as a TIFF file of one page."""
    data = sheet.octets()
    if sheet.kind is Family.TIFF:
        return data
    if sheet.kind is Family.JPEG:
        frame = jpeg.read_frame(data)
        if (
            frame is not None
            and frame.sequential
            and frame.precision == 8
            and len(frame.components) in (1, 3)
        ):
            return tiff.one_page(data, _jpeg_fields(sheet, frame), sheet.dpi)
    out = io.BytesIO()
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "JPEG2000")) as image:
        image.load()
        plain = image.convert("RGB") if image.mode == "CMYK" else image
        profile = None if plain is not image else image.info.get("icc_profile")
        options = {} if sheet.dpi is None else {"dpi": sheet.dpi}
        if plain.mode == "1":
            plain.save(out, "TIFF", compression="group4", strip_size=_ONE_STRIP, **options)
        else:
            plain.save(out, "TIFF", compression="tiff_lzw", icc_profile=profile, **options)
    return out.getvalue()


def _jpeg_fields(sheet: Sheet, frame: jpeg.JpegFrame) -> dict[int, tuple[float, ...]]:
    count = len(frame.components)
    fields: dict[int, tuple[float, ...]] = {
        tiff.WIDTH: (sheet.size[0],),
        tiff.LENGTH: (sheet.size[1],),
        tiff.BITS: (8,) * count,
        tiff.SAMPLES: (count,),
        tiff.COMPRESSION: (tiff.JPEG,),
        tiff.PHOTOMETRIC: (tiff.BLACK_IS_ZERO,),
        tiff.ORIENTATION: (sheet.orientation,),
    }
    if count == 3:
        fields[tiff.PHOTOMETRIC] = (tiff.YCBCR if frame.is_ycc else tiff.RGB,)
        if frame.is_ycc:
            fields[tiff.SUBSAMPLING] = frame.sampling
            fields[tiff.REFERENCE] = (0, 255, 128, 255, 128, 255)
    return fields


def _drawn(document: Document) -> Iterator[Sheet]:
    """Draw the pages of a PDF: a TIFF holds pixels only."""
    if importlib.util.find_spec("pypdfium2") is None:
        raise PageError(
            f"{document.words} is a PDF, and what draws its pages (pypdfium2) is not installed",
            advice="Install pypdfium2, or choose the output pdf.",
        )
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(document.path) as pdf:
            for place in range(min(len(pdf), document.max_pages + 1)):
                page = pdf[place]
                width, height = (side * _DOTS_PER_INCH_DRAWN / _POINTS_PER_INCH for side in page.get_size())
                if width * height > document.max_pixels:
                    raise PageError(f"{document.words} has a page that is larger than can be drawn")
                image = page.render(scale=_DOTS_PER_INCH_DRAWN / _POINTS_PER_INCH).to_pil()
                image.info["dpi"] = (_DOTS_PER_INCH_DRAWN, _DOTS_PER_INCH_DRAWN)
                yield decoded(image)
    except pypdfium2.PdfiumError as error:
        raise damaged(document.words, "it is no whole PDF") from error
