"""Writing PDF/A-1b (worker process, and pages that the device drew itself).

PDF/A-1 (ISO 19005-1) rules out JPEG 2000, transparency, 16-bit colours, CMYK beside an RGB output intent and
ICC profiles newer than version 2: pages come here in modes 1, L, P and RGB, with such a profile or in sRGB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import img2pdf

from postscan.contracts.keywords import DocumentFormat
from postscan.device.imaging import encode
from postscan.device.imaging.icc import srgb_profile
from postscan.device.imaging.page import Page

_POINTS_PER_INCH = 72.0
_DPI_WHEN_UNKNOWN = 96.0
_SHORTEST, _LONGEST = 3.0, 14_400.0
_JPEG_COLOUR_SPACES = ("L", "RGB")

_Layout = Callable[[int, int, tuple[float, float]], tuple[float, float, float, float]]


def write_pdf_a(pages: Iterable[Page], quality: int, out: IO[bytes]) -> int:
    """Write pages into one PDF/A-1b document and return how many there were.

    A JPEG goes in as it is, black and white as Group 4, and pages that were never lossy without loss (Flate);
    the rest (a JPEG whose pixels have changed, JPEG 2000) as JPEG of ``quality``.
    Each PDF page has the size in points that its image has at its resolution.
    """
    contents, sizes = list[bytes](), list[tuple[float, float]]()
    for page in pages:
        contents.append(_content(page, quality))
        sizes.append(_size_in_points(page))
    remaining = iter(sizes)

    def layout(_width: int, _height: int, _dpi: tuple[float, float]) -> tuple[float, float, float, float]:
        width, height = next(remaining)
        return width, height, width, height

    with NamedTemporaryFile(suffix=".icc") as profile:
        profile.write(srgb_profile())
        profile.flush()
        _convert(contents, layout, Path(profile.name), out)
    return len(contents)


def _convert(contents: list[bytes], layout: _Layout, profile: Path, out: IO[bytes]) -> None:
    img2pdf.convert(
        contents,
        engine=img2pdf.Engine.internal,  # marks the metadata stream as PDF/A wants it; the others do not
        layout_fun=layout,
        first_frame_only=True,
        rotation=img2pdf.Rotation.none,
        pdfa=str(profile),
        producer="Postscan",
        nodate=True,  # the same pages give the same bytes
        outputstream=out,
    )


def _content(page: Page, quality: int) -> bytes:
    if page.jpeg is not None and page.image.mode in _JPEG_COLOUR_SPACES:
        return page.jpeg
    if page.lossy and page.image.mode in _JPEG_COLOUR_SPACES:
        return encode.jpeg(page, quality)
    if page.image.mode == "1":
        # img2pdf takes Group 4 out of a TIFF; a one-bit PNG would go in as Flate, twice the size.
        return encode.encode_page(page, DocumentFormat.TIFF_SINGLE_G4, quality)
    return encode.png(page)


def _size_in_points(page: Page) -> tuple[float, float]:
    """Return a page's size, brought into the range that PDF has (PDF 1.4, Appendix C) in proportion."""
    across, down = page.dpi or (_DPI_WHEN_UNKNOWN, _DPI_WHEN_UNKNOWN)
    width, height = (
        page.image.width * _POINTS_PER_INCH / across,
        page.image.height * _POINTS_PER_INCH / down,
    )
    factor = max(1.0, _SHORTEST / min(width, height))
    factor = min(factor, _LONGEST / max(width, height))
    return width * factor, height * factor
