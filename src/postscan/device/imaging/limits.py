"""How much an image may ask for before it is refused (image bombs)."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PIXELS = 200_000_000
"""Pixels of one page: a square of 14,000, or A4 at 1,400 dpi."""

MAX_PAGES = 2_000
"""Pages of one document: the deepest paper trays hold fewer sheets."""

MIN_DPI, MAX_DPI = 10, 9_600
"""Dots per inch outside this range are a slip of whoever wrote the file, and count as unknown."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one decoding process may use.

    ``memory`` is address space in bytes (RLIMIT_AS): a page of MAX_PIXELS takes 0.8 GB as RGB and is held
    up to three times while it changes colour or size. ``cpu`` (RLIMIT_CPU) and ``wall`` are in seconds: 2,000
    pages take some two minutes. ``output`` is the largest file in bytes that may be written (RLIMIT_FSIZE).
    """

    memory: int = 4 << 30
    cpu: int = 600
    wall: float = 900.0
    output: int = 4 << 30
