"""What OCR needs of the machine: OCRmyPDF, Tesseract with its languages, and programs for some choices."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SECONDS: Final = 20
_NEVER_READ: Final = frozenset({"osd", "equ"})
"""What Tesseract lists among its languages: orientation, and equations."""


@dataclass(frozen=True, slots=True)
class OcrTools:
    """What is there: ``languages`` of Tesseract, ``orientation`` its data to tell which side is up."""

    ocrmypdf: bool = False
    tesseract: bool = False
    unpaper: bool = False
    orientation: bool = False
    languages: frozenset[str] = frozenset()

    def missing(self, languages: Sequence[str], *, rotate: bool, clean: bool) -> list[str]:
        """Return what is missing for a choice, each as words that say what to install."""
        wanted = []
        if not self.ocrmypdf:
            wanted.append("OCRmyPDF is not installed (pip install 'postscan[ocr]')")
        if not self.tesseract:
            return [*wanted, "Tesseract is not installed (Debian: tesseract-ocr)"]
        wanted += [
            f"Tesseract has no language {one} (Debian: tesseract-ocr-{one.replace('_', '-').lower()}); it has"
            f" {', '.join(sorted(self.languages)) or 'none'}"
            for one in languages
            if one not in self.languages
        ]
        if rotate and not self.orientation:
            wanted.append("Tesseract cannot tell which side is up (Debian: tesseract-ocr-osd)")
        if clean and not self.unpaper:
            wanted.append("unpaper is not installed (Debian: unpaper), which Clean needs")
        return wanted


def look() -> OcrTools:
    """Look for what OCR needs. Runs Tesseract for a moment."""
    listed = _tesseract_languages()
    return OcrTools(
        ocrmypdf=importlib.util.find_spec("ocrmypdf") is not None,
        tesseract=listed is not None,
        unpaper=shutil.which("unpaper") is not None,
        orientation="osd" in (listed or ()),
        languages=frozenset(listed or ()) - _NEVER_READ,
    )


def _tesseract_languages() -> list[str] | None:
    """Return what ``tesseract --list-langs`` says, None when it cannot be run."""
    program = shutil.which("tesseract")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system, and fixed words
            [program, "--list-langs"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    # The first line is a heading; some versions write all of it to standard error.
    return [line.strip() for line in (done.stdout or done.stderr).splitlines()[1:] if line.strip()]
