"""The settings of what is done with pages before they are delivered: the workers, Assemble and OCR."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator

from postscan.cli.settings_base import Contradiction, Section, setting

_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,31}")
_LEAST_MEMORY_A_PIXEL = 8


def _checked_language(text: str) -> str:
    if not _LANGUAGE.fullmatch(text):
        raise ValueError("is no language of Tesseract; write one like eng, deu or chi_sim")
    return text


Language = Annotated[str, AfterValidator(_checked_language)]


class ProcessingSettings(Section):
    """What is done with pages before they are delivered, in worker processes; see docs/processing.md."""

    workers: int = setting(
        0,
        "How many worker processes, in which images are decoded, may run at once. 0: as many as this machine"
        " has processors.",
        unit="processes",
        least=0,
    )
    seconds: int = setting(
        600,
        "The longest that one piece of work may take, by the clock and of a processor. OCR has"
        " ocr_page_seconds a page besides.",
        unit="seconds",
        least=1,
    )
    memory: int = setting(
        2048, "The most memory (address space) of one process of a worker.", unit="MiB", least=256
    )
    file_size: int = setting(4096, "The largest file that a worker may write.", unit="MiB", least=1)
    pages: int = setting(
        2000, "The most pages that are put together, or read, in one job.", unit="pages", least=1
    )
    megapixels: int = setting(
        200,
        "The largest page that is decoded. A4 at 1,400 dots per inch has 200; image bombs have more.",
        unit="megapixels",
        least=1,
    )
    ocr_languages: list[Language] = setting(
        ["eng"],
        'The languages that OCR reads where a scan process names none, like "eng" or "deu", as Tesseract'
        " calls them. Each has to be installed (Debian: tesseract-ocr-deu).",
    )
    ocr_jobs: int = setting(
        0,
        "How many pages of one document OCR reads at once. 0: the processors divided by the workers.",
        unit="pages",
        least=0,
    )
    ocr_page_seconds: int = setting(
        60,
        "How long OCR may take for one page; a page that takes longer stays without text.",
        unit="seconds",
        least=1,
    )
    ocr_device_pdf: bool = setting(
        False,
        "Let OCR draw and read PDFs that devices made. Only where all devices are trusted: a PDF can be"
        " made to attack what draws it.",
    )

    def contradictions(self) -> Iterator[Contradiction]:
        """Tell which values do not fit together."""
        if not self.ocr_languages:
            yield Contradiction(
                "processing.ocr_languages", "is empty, and OCR reads nothing without one", 'write ["eng"]'
            )
        needed = self.megapixels * 1_000_000 * _LEAST_MEMORY_A_PIXEL // 2**20
        if self.memory < needed:
            yield Contradiction(
                "processing.memory",
                f"is {self.memory} MiB, and a page of {self.megapixels} megapixels needs {needed} MiB",
                f"write memory = {needed}, or lower megapixels",
            )
