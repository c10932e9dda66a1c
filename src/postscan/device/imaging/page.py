"""Pages as pixels: reading them from files, and their colour and resolution (worker process only)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps

from postscan.device.errors import ImageError
from postscan.device.imaging.filekind import FileKind, open_reader, read_kind, require_complete
from postscan.device.imaging.limits import MAX_DPI, MAX_PIXELS, MIN_DPI
from postscan.device.imaging.tiff_structure import read_structure

_DECODERS = {
    FileKind.JPEG: ("JPEG", "MPO"),
    FileKind.PNG: ("PNG",),
    FileKind.BMP: ("BMP",),
    FileKind.JPEG2000: ("JPEG2000",),
    FileKind.TIFF: ("TIFF",),
}
_ORIENTATION = 0x0112
_LYING = range(5, 9)
_MEANING_OF_PIXELS = frozenset({"icc_profile", "transparency"})


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its pixels, its (horizontal, vertical) dots per inch if known, and where it comes from.

    ``jpeg`` is the JPEG file that the pixels come from, as long as they are unchanged; ``lossy`` tells that
    they have been through a lossy coding, so that another one is in order.
    """

    image: Image.Image
    dpi: tuple[float, float] | None
    lossy: bool = False
    jpeg: bytes | None = None

    def with_image(self, image: Image.Image) -> Page:
        """Return the page with other pixels."""
        return self if image is self.image else replace(self, image=image, jpeg=None)


def pages_of(path: Path, name: str) -> Iterator[Page]:
    """Yield the pages of a file, the right way up, each decoded only when its turn comes.

    :raises ImageError: the file is damaged, of no known kind, or asks for too much.
    """
    with open_reader(path) as reader:
        reader.name = name
        kind = read_kind(reader)
        if kind is FileKind.TIFF:
            for _page in (structure := read_structure(reader)).pages:
                require_size(name, _page.width, _page.height)
            count = len(structure.pages)
        else:
            require_complete(reader, kind)
            count = 1
    if kind is FileKind.PDF:
        from postscan.device.imaging.pdf_reading import scanned_pages

        for content, dpi in scanned_pages(path, name):
            page = next(decode(io.BytesIO(content), None, 1, name))
            yield replace(page, dpi=dpi, jpeg=content if page.jpeg is not None else None)
        return
    with path.open("rb") as stream:
        yield from decode(stream, kind, count, name)


def decode(stream: IO[bytes], kind: FileKind | None, count: int, name: str) -> Iterator[Page]:
    """Yield the first ``count`` frames of an image; ``kind`` None stands for what a PDF may hold.

    :raises ImageError: it cannot be decoded, or is larger than MAX_PIXELS.
    """
    decoders = _DECODERS[kind] if kind is not None else ("JPEG", "PNG", "JPEG2000", "TIFF")
    try:
        with Image.open(stream, formats=decoders) as image:
            for number in range(count):
                if number:
                    image.seek(number)
                require_size(name, *image.size)
                yield _upright(image, stream)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name) from error
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on damaged files.
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise ImageError(
            f"{name} is damaged or cut short: {reason}.", advice="Scan or copy the page again."
        ) from error


def require_size(name: str, width: int, height: int) -> None:
    """Refuse a page of more than MAX_PIXELS before anything is decoded.

    :raises ImageError: it is too large, or has no pixel.
    """
    if width <= 0 or height <= 0:
        raise ImageError(f"{name} is damaged: a page has no pixels.", advice="Scan or copy the page again.")
    if width * height > MAX_PIXELS:
        raise _too_large(name, f" of {width:,} by {height:,} pixels")


def _too_large(name: str, size: str = "") -> ImageError:
    return ImageError(
        f"{name} has a page{size} that is larger than {MAX_PIXELS // 1_000_000} megapixels.",
        advice="Scan at a lower resolution, or send the file without --format.",
    )


def _upright(image: Image.Image, stream: IO[bytes]) -> Page:
    orientation = image.getexif().get(_ORIENTATION, 1)
    dpi = _known_dpi(image)
    lossy = image.format in ("JPEG", "MPO", "JPEG2000") or image.info.get("compression") == "jpeg"
    jpeg = None
    if image.format in ("JPEG", "MPO") and orientation == 1:
        stream.seek(0)
        jpeg = stream.read()
    image.load()
    upright = ImageOps.exif_transpose(image)
    # Encoders would carry over comments, XMP and more; a page is its pixels and what they mean.
    upright.info = {key: value for key, value in upright.info.items() if key in _MEANING_OF_PIXELS}
    if dpi is not None and orientation in _LYING:
        dpi = (dpi[1], dpi[0])
    return Page(upright, dpi, lossy, jpeg)


def _known_dpi(image: Image.Image) -> tuple[float, float] | None:
    # A TIFF without resolution counts as 1 dpi in Pillow, and a JPEG in proportions only as none.
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (MIN_DPI <= across <= MAX_DPI and MIN_DPI <= down <= MAX_DPI):
        return None
    # PNG counts per metre, BMP too: 300 dpi comes back as 299.9994.
    return (_near_whole(across), _near_whole(down))


def _near_whole(value: float) -> float:
    return float(round(value)) if abs(value - round(value)) < 0.05 else value
