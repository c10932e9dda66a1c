"""The workers, and the filters Assemble and OCR, out of the settings; they have no secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from postscan.cli.findings import Finding, warning
from postscan.filters.assemble import AssembleFilter, AssembleSettings
from postscan.filters.contract import WorkLimits
from postscan.filters.ocr import OcrFilter, OcrSettings
from postscan.filters.ocr_tools import look
from postscan.filters.plugins import GROUP
from postscan.filters.workers import WorkerPool, WorkerSettings

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.cli.settings_processing import ProcessingSettings
    from postscan.filters.contract import Workers

_MEBI = 2**20
_MEGA = 1_000_000


def workers_of(loaded: LoadedSettings) -> WorkerPool:
    """Return where images are decoded; the server has one of these for all its filters."""
    said = loaded.settings.processing
    disabled = loaded.settings.filters.disabled
    return WorkerPool(
        WorkerSettings(
            at_once=said.workers or None,
            limits=_limits(said),
            max_pixels=said.megapixels * _MEGA,
            readable=(loaded.settings.server.data / "spool",),
            packages=sorted(
                {
                    point.module.partition(".")[0]
                    for point in entry_points(group=GROUP)
                    if point.name not in disabled
                }
            ),
        )
    )


def assemble_filter(loaded: LoadedSettings, workers: Workers | None = None) -> AssembleFilter:
    """Return the assemble filter, which is always there; ``workers`` are what a dry run uses."""
    said = loaded.settings.processing
    settings = AssembleSettings(
        max_pages=said.pages, max_pixels=said.megapixels * _MEGA, limits=_limits(said)
    )
    return AssembleFilter(settings, workers or workers_of(loaded))


def ocr_filter(loaded: LoadedSettings, workers: Workers | None = None) -> OcrFilter:
    """Return the OCR filter, which is always there, and says itself when something it needs is not."""
    said = loaded.settings.processing
    processors = len(os.sched_getaffinity(0))
    settings = OcrSettings(
        languages=tuple(said.ocr_languages),
        device_pdf=said.ocr_device_pdf,
        jobs=said.ocr_jobs or max(1, processors // (said.workers or processors)),
        page_seconds=said.ocr_page_seconds,
        max_pages=said.pages,
        max_pixels=said.megapixels * _MEGA,
        limits=_limits(said),
    )
    return OcrFilter(settings, workers or workers_of(loaded))


def check_processing(loaded: LoadedSettings) -> Iterator[Finding]:
    """Tell what OCR lacks, on a machine that OCRmyPDF is installed on."""
    tools = look()
    if not tools.ocrmypdf:
        return
    for missing in tools.missing(loaded.settings.processing.ocr_languages, rotate=False, clean=False):
        yield warning(
            "processing.ocr_languages",
            f"OCR is not possible: {missing}",
            "install it, or name another language",
        )


def _limits(said: ProcessingSettings) -> WorkLimits:
    return WorkLimits(
        seconds=said.seconds,
        cpu_seconds=said.seconds,
        memory_bytes=said.memory * _MEBI,
        file_bytes=said.file_size * _MEBI,
    )
