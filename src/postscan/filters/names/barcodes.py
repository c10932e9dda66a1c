"""Reads barcodes from the first page of a document; runs in a worker process (abuse case 30).

Everything here is given octets that anybody may have put on the scanner's glass, and a regular expression:
what takes too long, or too much memory, ends with the worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from postscan.contracts.formats import DerivedFormat, media_type_of
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.names import BarcodeKind
from postscan.core.errors import PostscanError

if TYPE_CHECKING:
    from PIL import Image

    from postscan.filters.contract import FileFormat, JsonValue

READ: Final = f"{__name__}:read"
PROVE: Final = f"{__name__}:prove"
"""The tasks that workers run."""
MAX_TEXT: Final = 200
_MAX_PIXELS: Final = 200_000_000
_PDF_DPI: Final = 200
_PDF_SIDE: Final = 6_000
_EAN_DIGITS: Final = 13
_PDF: Final = "application/pdf"
# By media type, the decoders of Pillow that may be tried.
_DECODERS: Final = {
    "image/bmp": ("BMP", "DIB"),
    "image/jp2": ("JPEG2000",),
    "image/jpeg": ("JPEG",),
    "image/png": ("PNG",),
    "image/tiff": ("TIFF",),
}


class Unreadable(PostscanError):
    """The first page cannot be made a picture."""

    advice = "Look at the document; it is delivered as it is."


def readable(form: FileFormat) -> bool:
    """Tell whether barcodes can be read from documents of a format."""
    return media_type_of(form) in (*_DECODERS, _PDF)


def read(arguments: Mapping[str, JsonValue], report: Callable[[int, int], None]) -> JsonValue:
    """Return of each document the text of the first barcode on its first page, from the top, that fits.

    :param arguments: ``documents`` (``path`` and ``format`` of each), ``kinds`` of barcode, and ``pattern``,
        a regular expression or None.
    :return: for each document ``text`` (None where no barcode fits), or ``unreadable`` with the reason.
    """
    documents, kinds, pattern = arguments["documents"], arguments["kinds"], arguments["pattern"]
    if not isinstance(documents, list) or not isinstance(kinds, list):
        raise TypeError("documents and kinds are lists")
    wanted = [BarcodeKind(str(kind)) for kind in kinds]
    found: list[JsonValue] = []
    for document in documents:
        try:
            page = first_page(Path(str(document["path"])), _format_of(str(document["format"])))
            text = fitting(texts_on(page, wanted), None if pattern is None else str(pattern))
            found.append({"text": text})
        except Unreadable as error:
            found.append({"unreadable": str(error)})
        report(len(found), len(documents))
    return found


def fitting(found: Iterable[str], pattern: str | None) -> str | None:
    """Return the first text that matches ``pattern`` as a whole, or what its first group holds."""
    expression = re.compile(pattern) if pattern else None
    for text in found:
        if expression is None:
            return text[:MAX_TEXT]
        match = expression.fullmatch(text)
        if match is not None:
            # A group that took no part leaves the whole.
            return ((match[1] if expression.groups else None) or text)[:MAX_TEXT]
    return None


def texts_on(page: Image.Image, kinds: Iterable[BarcodeKind]) -> list[str]:
    """Return what the barcodes on a page say, from the top to the bottom, then from the left."""
    # The server has this module loaded, and shall have no decoder loaded.
    import zxingcpp

    wanted = zxingcpp.barcode_formats_from_str(",".join(kinds))
    found = zxingcpp.read_barcodes(page, formats=wanted, text_mode=zxingcpp.TextMode.Plain)
    placed = []
    for one in found:
        text = one.text
        if one.format == zxingcpp.BarcodeFormat.UPCA and len(text) == _EAN_DIGITS:
            # The decoder adds the zero that makes an EAN-13 of it; below the bars it is not printed.
            text = text.removeprefix("0")
        placed.append((one.position.top_left.y, one.position.top_left.x, text))
    return [text for _, _, text in sorted(placed) if text.strip()]


def first_page(path: Path, form: FileFormat) -> Image.Image:
    """Return the first page of a document as a picture in shades of gray; raises Unreadable."""
    media_type = media_type_of(form)
    if media_type == _PDF:
        return _page_of_pdf(path)
    if media_type not in _DECODERS:
        raise Unreadable(f"barcodes cannot be read from {form}")
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=_DECODERS[media_type]) as image:
            width, height = image.size
            if width * height > _MAX_PIXELS:
                raise Unreadable(f"the first page has {width} x {height} pixels")
            return image.convert("L")
    except Unreadable:
        raise
    except UnidentifiedImageError as error:
        # Its own words are about the file's path, which nobody reads who sees the job.
        raise Unreadable(
            f"the first page is no {media_type.removeprefix('image/')} that can be decoded"
        ) from error
    # What decoders raise for a broken file is not bounded by any documentation of theirs.
    except Exception as error:
        raise Unreadable(f"the first page cannot be decoded: {error}") from error


def _page_of_pdf(path: Path) -> Image.Image:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
        try:
            page = document[0]
            longest = max(page.get_size())
            scale = min(_PDF_DPI / 72, _PDF_SIDE / max(longest, 1.0))
            picture: Image.Image = page.render(scale=scale, grayscale=True).to_pil()
            return picture.convert("L")
        finally:
            document.close()
    except Exception as error:
        raise Unreadable(f"the first page cannot be drawn: {error}") from error


def _format_of(value: str) -> FileFormat:
    if value in set(DerivedFormat):
        return DerivedFormat(value)
    return DocumentFormat(value)


def prove(arguments: Mapping[str, JsonValue], report: Callable[[int, int], None]) -> JsonValue:
    """Draw a page with a barcode, and return what is read from it.

    :param arguments: the ``kind`` of barcode, and its ``text``.
    """
    kind = BarcodeKind(str(arguments["kind"]))
    path = Path("drawn.png")
    draw_page(path, kind, str(arguments["text"]))
    return fitting(texts_on(first_page(path, DocumentFormat.PNG), [kind]), None)


def draw_page(path: Path, kind: BarcodeKind, text: str) -> None:
    """Write a page with one barcode on it as a PNG file."""
    import zxingcpp
    from PIL import Image

    barcode = zxingcpp.create_barcode(text, zxingcpp.barcode_format_from_str(kind))
    # Its stubs know neither that it is a buffer nor that the buffer has a shape.
    drawn: Any = zxingcpp.write_barcode_to_image(barcode, scale=3)
    height, width = memoryview(drawn).shape or (0, 0)
    page = Image.new("L", (width + 200, height + 200), "white")
    page.paste(Image.frombytes("L", (width, height), bytes(drawn)), (100, 100))
    page.save(path)
