"""PDF files: whether they claim PDF/A, and the pages of scanned ones (worker process only)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pikepdf

from postscan.device.errors import ImageError
from postscan.device.imaging.limits import MAX_DPI, MAX_PAGES, MIN_DPI
from postscan.device.imaging.page import require_size

_POINTS_PER_INCH = 72.0
_DRAWING_ONE_IMAGE = frozenset({"q", "Q", "cm", "Do", "gs", "BMC", "BDC", "EMC"})
_NOT_ONE_IMAGE = (
    "Such a PDF has to be turned into images first, for example with `pdftoppm -r 300 -png FILE page`."
)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[pikepdf.Pdf]:
    try:
        with pikepdf.open(path, attempt_recovery=False) as pdf:
            if len(pdf.pages) > MAX_PAGES:
                raise ImageError(
                    f"{name} has more than {MAX_PAGES:,} pages.", advice="Split it into smaller files."
                )
            if len(pdf.pages) == 0:
                raise ImageError(f"{name} is damaged: it holds no page.")
            yield pdf
    except pikepdf.PasswordError as error:
        raise ImageError(
            f"{name} is protected by a password.", advice="Take the protection off first."
        ) from error
    except pikepdf.PdfError as error:
        raise ImageError(
            f"{name} is damaged or cut short: it is no whole PDF.", advice="Scan or copy the document again."
        ) from error


def inspect(path: Path, name: str) -> tuple[int, str]:
    """Count the pages, and tell the PDF/A part and level that the XMP metadata claims ("1B"; "" if none).

    An encrypted PDF cannot be PDF/A (ISO 19005-1, 6.1.3), whatever it claims.

    :raises ImageError: damaged, cut short, protected, without pages or with more than MAX_PAGES.
    """
    with _opened(path, name) as pdf:
        claim = "" if pdf.is_encrypted else pdf.open_metadata().pdfa_status
        return len(pdf.pages), claim


def scanned_pages(path: Path, name: str) -> Iterator[tuple[bytes, tuple[float, float] | None]]:
    """Yield each page's one image as a file of its own (JPEG, PNG or TIFF, not decoded where it need not be).

    Beside it stands the resolution it has on the page, as (horizontal, vertical) dots per inch.

    :raises ImageError: a page is anything but one upright image, or the PDF is damaged.
    """
    with _opened(path, name) as pdf:
        for number, page in enumerate(pdf.pages, 1):
            where = f"Page {number} of {name}"
            image, width, height = _only_image(page, where)
            require_size(where, image.width, image.height)
            stream = io.BytesIO()
            try:
                image.extract_to(stream=stream)
            except (NotImplementedError, ValueError, OSError, pikepdf.PdfError) as error:
                # pikepdf's own errors for codings it cannot take out derive from these and from PdfError.
                raise ImageError(
                    f"{where} holds an image that cannot be taken out.", advice=_NOT_ONE_IMAGE
                ) from error
            across, down = (
                round(pixels * _POINTS_PER_INCH / points, 2)
                for pixels, points in ((image.width, width), (image.height, height))
            )
            known = MIN_DPI <= across <= MAX_DPI and MIN_DPI <= down <= MAX_DPI
            yield stream.getvalue(), (across, down) if known else None


def _only_image(page: pikepdf.Page, where: str) -> tuple[pikepdf.PdfImage, float, float]:
    """Return the image that is all of a page, and its width and height on the page in points."""
    refusal = ImageError(f"{where} is not one scanned image.", advice=_NOT_ONE_IMAGE)
    if int(page.obj.get("/Rotate", 0)) % 360:
        raise refusal
    matrix, outer = pikepdf.Matrix(), list[pikepdf.Matrix]()
    shown: tuple[str, pikepdf.Matrix] | None = None
    for instruction in pikepdf.parse_content_stream(page):
        operator = str(instruction.operator)
        if operator not in _DRAWING_ONE_IMAGE:
            raise refusal
        if operator == "q":
            outer.append(matrix)
        elif operator == "Q":
            matrix = outer.pop() if outer else matrix
        elif operator == "cm":
            step = [float(operand) for operand in instruction.operands]
            matrix = pikepdf.Matrix(*step) @ matrix
        elif operator == "Do":
            if shown is not None:
                raise refusal
            shown = str(instruction.operands[0]), matrix
    if shown is None:
        raise refusal
    name, placed = shown
    raw = page.resources.get("/XObject", pikepdf.Dictionary()).get(name)
    if not isinstance(raw, pikepdf.Stream) or raw.get("/Subtype") != "/Image":
        raise refusal
    upright = math.isclose(placed.b, 0, abs_tol=1e-6) and math.isclose(placed.c, 0, abs_tol=1e-6)
    if not upright or placed.a <= 0 or placed.d <= 0 or "/SMask" in raw or "/Mask" in raw:
        raise refusal
    return pikepdf.PdfImage(raw), placed.a, placed.d
