"""Making of scanned images what a scan ticket asks for: format, quality, resolution, colour.

All decoding happens in a worker process with limits (`imaging.sandbox`). Nothing is decoded, and no
quality lost, where an image already is what is asked for. Transparency becomes white paper. Colour profiles
stay where the format carries them, and are otherwise applied, so that colours come out as sRGB. A page
lying on its side by its orientation tag is turned upright. What a camera wrote of place and time is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from postscan.contracts.keywords import DocumentFormat
from postscan.device.imaging.loading import identify, load
from postscan.device.imaging.request import (
    MULTI_PAGE,
    PRODUCIBLE,
    ColorMode,
    ConversionRequest,
    check_ticket,
    submit,
)
from postscan.device.imaging.scanned import ScannedImage

__all__ = ["MULTI_PAGE", "PRODUCIBLE", "ColorMode", "prepare", "prepare_async", "transcode", "transcode_all"]

_SINGLE_PAGE_OF = {
    DocumentFormat.TIFF_MULTI_UNCOMPRESSED: DocumentFormat.TIFF_SINGLE_UNCOMPRESSED,
    DocumentFormat.TIFF_MULTI_G4: DocumentFormat.TIFF_SINGLE_G4,
    DocumentFormat.TIFF_MULTI_G3MH: DocumentFormat.TIFF_SINGLE_G3MH,
    DocumentFormat.TIFF_MULTI_JPEG: DocumentFormat.TIFF_SINGLE_JPEG,
}


def transcode(
    image: ScannedImage | Path,
    format: DocumentFormat,  # noqa: A002 - the ticket's own word for it
    *,
    quality: int = 75,
    resolution: int | None = None,
    color: str | None = None,
) -> list[ScannedImage]:
    """Return an image in another format: one document per page, or one in all for a multi-page format.

    :param image: an image, or a file of any kind that `load` knows; of a plain PDF each page has to be
        exactly one scanned image.
    :param quality: WS-Scan's CompressionQualityFactor, 0 to 100, for lossy formats.
    :param resolution: dots per inch, 10 to 9600; None keeps the image's.
    :param color: a value of `ColorMode` (WS-Scan's ColorProcessing); None keeps the image's colours as far as
        the format holds them. Black and white is cut at the level that suits the page, not dithered.
    :raises ImageError: what the ticket asks for cannot be made, or the image is damaged or asks for too much.

    Blocks while the worker works.
    """
    return _transcode([image], format, quality, resolution, color, joined=False)


def transcode_all(
    images: Sequence[ScannedImage | Path],
    format: DocumentFormat,  # noqa: A002 - the ticket's own word for it
    *,
    quality: int = 75,
    resolution: int | None = None,
    color: str | None = None,
) -> list[ScannedImage]:
    """Return all images in another format, in order; for a multi-page format as one document.

    Otherwise like `transcode`, with one worker for all.
    """
    return _transcode(images, format, quality, resolution, color, joined=True)


def prepare(
    paths: Sequence[Path],
    format: DocumentFormat | None = None,  # noqa: A002 - the ticket's own word for it
    *,
    quality: int = 75,
    resolution: int | None = None,
    color: str | None = None,
) -> list[ScannedImage]:
    """Return what to send for files: as they are without ``format``, else as `transcode_all` makes them.

    Without ``format`` but with ``resolution`` or ``color``, each document keeps the format it has.

    :raises ImageError: as `load` and `transcode`.
    """
    if format is not None:
        return transcode_all(paths, format, quality=quality, resolution=resolution, color=color)
    loaded = [image for path in paths for image in load(path)]
    if resolution is None and color is None:
        return loaded
    return [
        made
        for image in loaded
        for made in transcode(image, image.format, quality=quality, resolution=resolution, color=color)
    ]


async def prepare_async(
    paths: Sequence[Path],
    format: DocumentFormat | None = None,  # noqa: A002 - the ticket's own word for it
    *,
    quality: int = 75,
    resolution: int | None = None,
    color: str | None = None,
) -> list[ScannedImage]:
    """Do `prepare` in a thread, so that the event loop goes on meanwhile."""
    return await asyncio.to_thread(
        prepare, paths, format, quality=quality, resolution=resolution, color=color
    )


def _transcode(
    images: Sequence[ScannedImage | Path],
    target: DocumentFormat,
    quality: int,
    resolution: int | None,
    color: str | None,
    *,
    joined: bool,
) -> list[ScannedImage]:
    mode = check_ticket(target, quality, resolution, color)
    results: dict[int, list[ScannedImage]] = {}
    into_one = joined and target in MULTI_PAGE and len(images) > 1
    if resolution is None and mode is None and not into_one:
        as_is = ((number, _as_is(image, target)) for number, image in enumerate(images))
        results = {number: [image] for number, image in as_is if image is not None}
    rest = [number for number in range(len(images)) if number not in results]
    if rest:
        request = ConversionRequest((), target, quality, resolution, mode, joined)
        for index, made in submit([images[number] for number in rest], request):
            results.setdefault(rest[index], []).append(made)
    return [image for number in sorted(results) for image in results[number]]


def _as_is(image: ScannedImage | Path, target: DocumentFormat) -> ScannedImage | None:
    """Return the image if it is what is asked for already."""
    found = identify(image) if isinstance(image, Path) else image
    if found is None or found.format is target:
        return found
    if found.format is _SINGLE_PAGE_OF.get(target):  # a document of one page is a multi-page one too
        return replace(found, format=target)
    return None
