"""What a scan ticket asks of pages, and the hand-over to the worker process that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from postscan.contracts.keywords import DocumentFormat
from postscan.device.errors import ImageError
from postscan.device.imaging.limits import MAX_DPI, MIN_DPI, WorkerLimits
from postscan.device.imaging.sandbox import run_limited
from postscan.device.imaging.scanned import ScannedImage

BILEVEL = frozenset(
    {
        DocumentFormat.TIFF_SINGLE_G4,
        DocumentFormat.TIFF_SINGLE_G3MH,
        DocumentFormat.TIFF_MULTI_G4,
        DocumentFormat.TIFF_MULTI_G3MH,
    }
)
"""Formats that hold black and white only."""

MULTI_PAGE = frozenset(
    {
        DocumentFormat.TIFF_MULTI_UNCOMPRESSED,
        DocumentFormat.TIFF_MULTI_G4,
        DocumentFormat.TIFF_MULTI_G3MH,
        DocumentFormat.TIFF_MULTI_JPEG,
        DocumentFormat.PDF_A,
    }
)
"""Formats that hold any number of pages; all others hold one."""

PRODUCIBLE = frozenset(DocumentFormat) - {DocumentFormat.JBIG, DocumentFormat.XPS}
"""Formats that can be made here. JBIG and XPS cannot: no maintained free encoder exists."""


class ColorMode(StrEnum):
    """The colour modes that can be made, of those WS-Scan publishes (ws-scan.md, ColorEntry)."""

    BLACK_AND_WHITE = "BlackAndWhite1"
    GRAYSCALE = "Grayscale8"
    RGB = "RGB24"


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """One piece of work for the worker.

    ``sources`` are (path, name for messages); ``quality`` is CompressionQualityFactor, 0 to 100;
    ``resolution`` in dots per inch, None to keep each page's; ``color`` None to keep each page's, as far as
    the format holds it; ``joined`` puts the pages of all sources into one document of a multi-page format.
    """

    sources: tuple[tuple[str, str], ...]
    format: DocumentFormat
    quality: int = 75
    resolution: int | None = None
    color: ColorMode | None = None
    joined: bool = False

    @classmethod
    def from_json(cls, arguments: dict[str, Any]) -> ConversionRequest:
        """Read what `asdict` wrote, after a way through JSON."""
        return cls(
            sources=tuple((path, name) for path, name in arguments["sources"]),
            format=DocumentFormat(arguments["format"]),
            quality=arguments["quality"],
            resolution=arguments["resolution"],
            color=ColorMode(arguments["color"]) if arguments["color"] else None,
            joined=arguments["joined"],
        )


def check_ticket(
    document_format: DocumentFormat, quality: int, resolution: int | None, color: str | None
) -> ColorMode | None:
    """Check what a scan ticket asks for and return the colour mode.

    :raises ImageError: it cannot be made.
    """
    if document_format not in PRODUCIBLE:
        raise ImageError(
            f"The format {document_format} cannot be made here.",
            advice="Choose one of: " + ", ".join(sorted(PRODUCIBLE)) + ".",
        )
    if not 0 <= quality <= 100:
        raise ImageError(f"The quality {quality} is not between 0 and 100.", advice="Give 0 to 100.")
    if resolution is not None and not MIN_DPI <= resolution <= MAX_DPI:
        raise ImageError(
            f"The resolution {resolution} cannot be made.",
            advice=f"Give {MIN_DPI} to {MAX_DPI} dots per inch.",
        )
    if color is None:
        return None
    if color not in {mode.value for mode in ColorMode}:
        raise ImageError(
            f"The colour mode {color} cannot be made.",
            advice="Choose one of: " + ", ".join(ColorMode) + ".",
        )
    mode = ColorMode(color)
    if document_format in BILEVEL and mode is not ColorMode.BLACK_AND_WHITE:
        raise ImageError(
            f"The format {document_format} holds black and white only, not {color}.",
            advice=f"Ask for {ColorMode.BLACK_AND_WHITE}, or for a format that holds colours.",
        )
    jpeg_only = {
        DocumentFormat.JFIF,
        DocumentFormat.EXIF,
        DocumentFormat.JPEG2K,
        DocumentFormat.TIFF_SINGLE_JPEG,
        DocumentFormat.TIFF_MULTI_JPEG,
    }
    if document_format in jpeg_only and mode is ColorMode.BLACK_AND_WHITE:
        raise ImageError(
            f"The format {document_format} cannot hold pages of black and white only.",
            advice=f"Ask for {ColorMode.GRAYSCALE}, or for a format such as {DocumentFormat.TIFF_SINGLE_G4}.",
        )
    return mode


def submit(
    sources: Sequence[ScannedImage | Path], request: ConversionRequest, *, limits: WorkerLimits | None = None
) -> list[tuple[int, ScannedImage]]:
    """Have the worker do ``request`` on ``sources`` (its own ``sources`` is filled in here).

    Beside each document stands the number of the source that it, or its first page, comes from.

    :raises ImageError: a source cannot be read or made into the format.
    """
    with TemporaryDirectory(prefix="postscan-") as name:
        folder = Path(name)
        arguments = asdict(request)
        arguments["sources"] = [_as_file(folder, number, source) for number, source in enumerate(sources)]
        answer = run_limited("transcode", folder, arguments, limits=limits)
        return [
            (
                one["source"],
                ScannedImage(
                    (folder / one["file"]).read_bytes(),
                    request.format,
                    pages=one["pages"],
                    name=arguments["sources"][one["source"]][1],
                ),
            )
            for one in answer["documents"]
        ]


def _as_file(folder: Path, number: int, source: ScannedImage | Path) -> tuple[str, str]:
    if isinstance(source, Path):
        return str(source.resolve()), str(source)
    if isinstance(source.data, Path):
        return str(source.data.resolve()), source.name
    path = folder / f"source-{number}"
    path.write_bytes(source.data)
    return str(path), source.name
