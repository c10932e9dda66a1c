"""Writing pages in the published formats (worker process, and pages that the device drew itself)."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

from PIL import TiffImagePlugin

from postscan.contracts.keywords import DocumentFormat
from postscan.device.imaging import jpeg_2000, jpeg_header
from postscan.device.imaging.page import Page

_BILEVEL = frozenset({"1"})
_JPEG = frozenset({"L", "RGB"})
_LOSSLESS_TIFF = frozenset({"1", "L", "P", "I;16", "RGB", "CMYK"})
_ANY = 255
_ONE_STRIP = 1 << 31
_FINE_COLOURS_FROM = 90


@dataclass(frozen=True, slots=True)
class Holds:
    """What a format holds: Pillow modes, and colour profiles up to a major version of ICC (0: none)."""

    modes: frozenset[str]
    newest_profile: int = 0


HOLDS: dict[DocumentFormat, Holds] = {
    DocumentFormat.JFIF: Holds(_JPEG),
    DocumentFormat.EXIF: Holds(_JPEG),
    DocumentFormat.JPEG2K: Holds(_JPEG),
    DocumentFormat.PNG: Holds(frozenset({"1", "L", "P", "I;16", "RGB"}), newest_profile=_ANY),
    DocumentFormat.DIB: Holds(frozenset({"1", "L", "P", "RGB"})),
    DocumentFormat.TIFF_SINGLE_UNCOMPRESSED: Holds(_LOSSLESS_TIFF, newest_profile=_ANY),
    DocumentFormat.TIFF_MULTI_UNCOMPRESSED: Holds(_LOSSLESS_TIFF, newest_profile=_ANY),
    DocumentFormat.TIFF_SINGLE_G4: Holds(_BILEVEL),
    DocumentFormat.TIFF_MULTI_G4: Holds(_BILEVEL),
    DocumentFormat.TIFF_SINGLE_G3MH: Holds(_BILEVEL),
    DocumentFormat.TIFF_MULTI_G3MH: Holds(_BILEVEL),
    DocumentFormat.TIFF_SINGLE_JPEG: Holds(_JPEG),
    DocumentFormat.TIFF_MULTI_JPEG: Holds(_JPEG),
    DocumentFormat.PDF_A: Holds(frozenset({"1", "L", "P", "RGB"}), newest_profile=2),
}
"""What each format that can be made holds."""

_TIFF_COMPRESSION = {
    DocumentFormat.TIFF_SINGLE_UNCOMPRESSED: "raw",
    DocumentFormat.TIFF_MULTI_UNCOMPRESSED: "raw",
    DocumentFormat.TIFF_SINGLE_G4: "group4",
    DocumentFormat.TIFF_MULTI_G4: "group4",
    DocumentFormat.TIFF_SINGLE_G3MH: "group3",
    DocumentFormat.TIFF_MULTI_G3MH: "group3",
    DocumentFormat.TIFF_SINGLE_JPEG: "jpeg",
    DocumentFormat.TIFF_MULTI_JPEG: "jpeg",
}


def encode_page(page: Page, document_format: DocumentFormat, quality: int) -> bytes:
    """Return one page as a file of a single-page format.

    :param page: in a mode that the format holds.
    :param quality: 0 to 100; lossless formats pass over it.
    """
    out = io.BytesIO()
    match document_format:
        case DocumentFormat.JFIF:
            return jpeg(page, quality)
        case DocumentFormat.EXIF:
            exif = jpeg_header.exif_of(page.image.size, page.dpi)
            return jpeg_header.as_exif(jpeg(page, quality), exif)
        case DocumentFormat.PNG:
            return png(page)
        case DocumentFormat.DIB:
            page.image.save(out, "BMP", **_dpi(page))
        case DocumentFormat.JPEG2K:
            return _jpeg2000(page, quality)
        case _:
            write_tiff([page], document_format, quality, out)
    return out.getvalue()


def write_tiff(pages: Iterable[Page], document_format: DocumentFormat, quality: int, out: IO[bytes]) -> int:
    """Write pages one after the other into one TIFF and return how many there were."""
    compression = _TIFF_COMPRESSION[document_format]
    count = 0
    with TiffImagePlugin.AppendingTiffWriter(out) as writer:
        for page in pages:
            if count:
                writer.newFrame()
            _append(page, compression, quality, writer)
            count += 1
    return count


def _append(page: Page, compression: str, quality: int, out: IO[bytes]) -> None:
    image, options = page.image, dict[str, Any]()
    if compression == "jpeg":
        # Colours as luminance and chrominance take half the room of RGB.
        options["quality"] = quality
        image = image.convert("YCbCr") if image.mode == "RGB" else image
    if compression != "raw":
        options["strip_size"] = _ONE_STRIP
    image.save(out, "TIFF", compression=compression, software="Postscan", **_dpi(page), **options)


def jpeg(page: Page, quality: int) -> bytes:
    """Return a page (L or RGB) as a JFIF file; from quality 90 on its colours have full resolution."""
    out = io.BytesIO()
    subsampling = 0 if quality >= _FINE_COLOURS_FROM else 2
    page.image.save(
        out, "JPEG", quality=max(1, quality), subsampling=subsampling, optimize=False, **_dpi(page)
    )
    return out.getvalue()


def png(page: Page) -> bytes:
    """Return a page as a PNG file."""
    out = io.BytesIO()
    page.image.save(out, "PNG", **_dpi(page))
    return out.getvalue()


def _jpeg2000(page: Page, quality: int) -> bytes:
    """100 is lossless; below, the quality stands for a signal-to-noise ratio: 75 for 40 dB, 50 for 36 dB."""
    out = io.BytesIO()
    options: dict[str, Any] = {"mct": 1 if page.image.mode == "RGB" else 0}
    if quality < 100:
        options |= {"irreversible": True, "quality_mode": "dB", "quality_layers": [28 + quality * 0.16]}
    page.image.save(out, "JPEG2000", **options)
    data = out.getvalue()
    return jpeg_2000.with_resolution(data, page.dpi) if page.dpi else data


def _dpi(page: Page) -> dict[str, tuple[float, float]]:
    return {"dpi": page.dpi} if page.dpi is not None else {}
