"""A plug-in of OCRmyPDF that tells how many pages have been read (ocrmypdf.pluginspec)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ocrmypdf import hookimpl

_listener: list[Callable[[int, int], None]] = []
_OCR = "OCR"


def report_to(listener: Callable[[int, int], None]) -> None:
    """Tell ``listener`` of pages from now on: how many were read, and how many there are."""
    _listener[:] = [listener]


class PageCounter:
    """What OCRmyPDF takes for a progress bar; one is made for each step of its work."""

    def __init__(self, *, total: float | None = None, desc: str | None = None, **_more: Any) -> None:
        self._total = int(total) if total and desc == _OCR else 0
        self._done = 0.0

    def __enter__(self) -> PageCounter:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def update(self, n: float = 1, *, completed: float | None = None) -> None:
        """Count ``n`` more, or ``completed`` in all."""
        self._done = self._done + n if completed is None else completed
        if self._total:
            for listener in _listener:
                listener(min(int(self._done), self._total), self._total)


@hookimpl
def get_progressbar_class() -> type[PageCounter]:
    """Return the class to count with."""
    return PageCounter
