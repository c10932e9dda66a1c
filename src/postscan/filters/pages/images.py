"""The pages of accepted documents: opened by the decoders that are allowed, decoded only where it must be."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from PIL import (
    BmpImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)

from postscan.contracts.formats import DetectedFormat, Family, detect
from postscan.filters.pages import jpeg, tiff
from postscan.filters.pages.errors import PageError, TooManyPages, damaged

MIN_DPI: Final = 10
MAX_DPI: Final = 9_600
"""Dots per inch outside of this are a slip of whoever wrote the file, and count as unknown."""

# Loaded by name, as Pillow would otherwise load all it has once none of these knows a file.
ALLOWED: Final = (
    BmpImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)
_DECODERS: Final[dict[Family, tuple[str, ...]]] = {
    Family.JPEG: ("JPEG",),  # of several pictures (MPO), too
    Family.PNG: ("PNG",),
    Family.DIB: ("BMP", "DIB"),
    Family.JPEG_2000: ("JPEG2000",),
    Family.TIFF: ("TIFF",),
}
_TRANSPARENT: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_KEPT_MODES: Final = frozenset({"1", "L", "P", "RGB", "I;16"})
_ONE_STRIP: Final = 1 << 31
_ORIENTATION: Final = 0x0112


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page, coded: the whole file that holds nothing else, as octets or where it lies.

    ``kind`` is what it is coded as: JPEG, PNG, JPEG_2000, or TIFF, which stands for one strip of Group 4.
    ``dpi`` is across and down, None where nobody knows. ``size`` is in pixels; ``mode`` is Pillow's word.
    ``orientation`` is how a JPEG is to be turned (Exif 2.3, 4.6.4; 1: not at all).
    """

    kind: Family
    mode: str
    size: tuple[int, int]
    dpi: tuple[float, float] | None
    content: bytes = field(default=b"", repr=False)
    path: Path | None = None
    orientation: int = 1

    @property
    def weight(self) -> int:
        """The octets of the file."""
        return len(self.content) if self.path is None else self.path.stat().st_size

    def octets(self) -> bytes:
        """Return the file's content."""
        return self.content if self.path is None else self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class Document:
    """A document to take pages from: ``words`` are what people call it, such as ``document 3``."""

    number: int
    path: Path
    words: str
    max_pixels: int
    max_pages: int

    def family(self) -> DetectedFormat:
        """Return what the octets are.

        :raises PageError: nothing that is known.
        """
        with self.path.open("rb") as stream:
            found = detect(stream.read(4096))
        if found is None:
            raise PageError(f"{self.words} is no image of a known kind")
        return found


def sheets_of(document: Document, found: DetectedFormat) -> Iterator[Sheet]:
    """Yield the pages of an image, each coded as it was where a PDF can hold that, else without loss.

    :raises PageError: it is damaged, too large, has too many pages, or is of a kind that nothing here reads.
    """
    if found.family not in _DECODERS:
        raise PageError(
            f"{document.words} is {found.family}, whose pages cannot be taken out",
            advice="Let the device send JPEG, PNG, TIFF, JPEG 2000, BMP or PDF, or let the scan process hand"
            " such documents on as they are (assemble:Unsupported as-sent).",
        )
    with _opened(document, found.family) as (image, stream):
        if found.family is Family.TIFF:
            yield from _tiff_sheets(document, image, stream)
            return
        _require_size(document, image.size)
        if found.family is Family.JPEG:
            yield _jpeg_sheet(document, image)
        elif found.family is Family.PNG:
            yield _png_sheet(document, image)
        elif found.family is Family.JPEG_2000:
            yield _jpeg_2000_sheet(document, image, found)
        else:
            yield decoded(image)


def decoded(image: Image.Image) -> Sheet:
    """Return a page decoded and coded again without loss: Group 4 for black and white, PNG for the rest.

    Transparency becomes white paper; colours that a PNG cannot hold become RGB.
    """
    dpi = known_dpi(image)
    image.load()
    profile = image.info.get("icc_profile")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        over = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(over)
        grey = image.mode in ("LA", "La", "L")
        image = paper.convert("L" if grey else "RGB")
    elif image.mode not in _KEPT_MODES:
        image, profile = image.convert("L" if image.mode in ("I", "F") else "RGB"), None
    else:
        image = image.copy()
    # Encoders would carry over comments, XMP and more; a page is its pixels and what they mean.
    image.info = {}
    options: dict[str, Any] = {} if dpi is None else {"dpi": dpi}
    out = io.BytesIO()
    if image.mode == "1":
        image.save(out, "TIFF", compression="group4", strip_size=_ONE_STRIP, **options)
        return Sheet(Family.TIFF, image.mode, image.size, dpi, out.getvalue())
    if profile is not None:
        options["icc_profile"] = profile
    # The fastest setting: what these are is rare, and large.
    image.save(out, "PNG", compress_level=4, **options)
    return Sheet(Family.PNG, image.mode, image.size, dpi, out.getvalue())


def known_dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return an image's dots per inch, None where it does not say, or says nonsense."""
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (MIN_DPI <= across <= MAX_DPI and MIN_DPI <= down <= MAX_DPI):
        return None
    # PNG and BMP count per metre: 300 dpi comes back as 299.9994.
    return _near_whole(across), _near_whole(down)


def _near_whole(value: float) -> float:
    return float(round(value)) if abs(value - round(value)) < 0.05 else value


@contextmanager
def _opened(document: Document, family: Family) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """Open an image with the decoders of its family; whatever they raise becomes PageError."""
    try:
        with (
            document.path.open("rb") as stream,
            Image.open(stream, formats=_DECODERS[family]) as image,
        ):
            yield image, stream
    except (PageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(document, "") from error
    except Exception as error:
        # Decoders raise OSError, SyntaxError, ValueError, struct.error and more on damaged files.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged(document.words, str(error).partition("\n")[0][:200] or type(error).__name__) from error


def _require_size(document: Document, size: tuple[int, int]) -> None:
    width, height = size
    if width <= 0 or height <= 0:
        raise damaged(document.words, "a page has no pixels")
    if width * height > document.max_pixels:
        raise _too_large(document, f" of {width:,} by {height:,} pixels")


def _too_large(document: Document, size: str) -> PageError:
    most = document.max_pixels // 1_000_000
    return PageError(
        f"{document.words} has a page{size} that is larger than {most:,} megapixels",
        advice="Scan at a lower resolution, or raise processing.megapixels.",
    )


def _jpeg_sheet(document: Document, image: Image.Image) -> Sheet:
    if not jpeg.has_end(document.path.read_bytes()):
        raise damaged(document.words, "its end is missing")
    turned = image.getexif().get(_ORIENTATION, 1)
    return Sheet(
        Family.JPEG,
        image.mode,
        image.size,
        known_dpi(image),
        path=document.path,
        orientation=turned if turned in range(1, 9) else 1,
    )


def _png_sheet(document: Document, image: Image.Image) -> Sheet:
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        return decoded(image)
    if not _png_is_whole(document.path.read_bytes()):
        raise damaged(document.words, "its end is missing")
    return Sheet(Family.PNG, image.mode, image.size, known_dpi(image), path=document.path)


def _png_is_whole(data: bytes) -> bool:
    offset = 8
    while offset + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, offset)
        if name == b"IEND":
            return True
        offset += 12 + length
    return False


def _jpeg_2000_sheet(document: Document, image: Image.Image, found: DetectedFormat) -> Sheet:
    # PDF takes whole JP2 files, without what it would have to interpret: palettes and transparency.
    if (
        found.variant != "JP2"
        or image.mode not in ("L", "RGB")
        or not jpeg.has_end(document.path.read_bytes())
    ):
        return decoded(image)
    return Sheet(Family.JPEG_2000, image.mode, image.size, known_dpi(image), path=document.path)


def _tiff_sheets(document: Document, image: Image.Image, stream: IO[bytes]) -> Iterator[Sheet]:
    for number in range(document.max_pages + 1):
        try:
            image.seek(number)
        except EOFError:
            return
        if number == document.max_pages:
            raise TooManyPages(document.max_pages)
        _require_size(document, image.size)
        yield _tiff_sheet(image, stream) or decoded(image)


def _tiff_sheet(image: Image.Image, stream: IO[bytes]) -> Sheet | None:
    """Return a page whose octets can stay as they are, None when it has to be decoded."""
    assert isinstance(image, TiffImagePlugin.TiffImageFile)  # noqa: S101 - no other decoder was allowed
    tags = image.tag_v2
    offsets, counts = tags.get(tiff.STRIP_OFFSETS, ()), tags.get(tiff.STRIP_COUNTS, ())
    if len(offsets) != 1 or len(counts) != 1 or tags.get(tiff.ORIENTATION, 1) != 1:
        return None
    compression, photometric = tags.get(tiff.COMPRESSION, 1), tags.get(tiff.PHOTOMETRIC)
    if compression == tiff.GROUP_4 and photometric in (tiff.WHITE_IS_ZERO, tiff.BLACK_IS_ZERO):
        strip = _strip(stream, offsets[0], counts[0])
        dpi = known_dpi(image)
        fields = {
            tiff.WIDTH: (image.size[0],),
            tiff.LENGTH: (image.size[1],),
            tiff.BITS: (1,),
            tiff.SAMPLES: (1,),
            tiff.COMPRESSION: (tiff.GROUP_4,),
            tiff.PHOTOMETRIC: (photometric,),
            tiff.FILL_ORDER: (tags.get(tiff.FILL_ORDER, 1),),
        }
        return Sheet(Family.TIFF, image.mode, image.size, dpi, tiff.one_page(strip, fields, dpi))
    if compression == tiff.JPEG and photometric in (tiff.BLACK_IS_ZERO, tiff.RGB, tiff.YCBCR):
        strip = _strip(stream, offsets[0], counts[0])
        whole = jpeg.with_tables(strip, tags.get(tiff.JPEG_TABLES, b""), ycc=photometric != tiff.RGB)
        frame = jpeg.read_frame(whole)
        if frame is not None and len(frame.components) in (1, 3) and jpeg.has_end(whole):
            return Sheet(Family.JPEG, image.mode, image.size, known_dpi(image), whole)
    return None


def _strip(stream: IO[bytes], offset: int, count: int) -> bytes:
    stream.seek(offset)
    data = stream.read(count)
    if len(data) < count:
        raise ValueError("the pixels of a page are not all there")
    return data
