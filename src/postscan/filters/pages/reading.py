"""The tasks of the OCR filter: a document as one PDF of images, and that made searchable by OCRmyPDF."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from postscan.contracts.assemble import AssembleOutput, Unsupported
from postscan.contracts.formats import Family
from postscan.contracts.ocr import OcrOutput
from postscan.filters.pages import progress
from postscan.filters.pages.assembling import assemble
from postscan.filters.pages.errors import PageError, TooManyPages, damaged
from postscan.filters.pages.images import Document
from postscan.filters.pages.join import MARK, Labels, join
from postscan.filters.pages.parts import Part, opened_pdf

Report = Callable[[int, int], None]
_MEGA: Final = 1_000_000


def prepare(arguments: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Make one PDF of a document.

    :param arguments: as those of ``assembling.assemble``, for one document.
    :return: ``pages``, and ``drawn``: whether images are all that it has, as far as a PDF says so of itself.
        ``made-1.pdf`` lies in the folder, unless the document is a PDF itself (``is_pdf``).
    :raises PageError: the document is damaged, too large, or of a kind that no pages can be taken out of.
    """
    [one] = arguments["documents"]
    most = arguments["max_pages"]
    document = Document(one["id"], Path(one["path"]), one["words"], arguments["max_pixels"], most)
    if document.family().family is Family.PDF:
        with opened_pdf(document.path, document.words) as pdf:
            pages, mark = len(pdf.pages), str(pdf.docinfo.get(MARK, ""))
        if pages > most:
            raise TooManyPages(most)
        if pages == 0:
            raise damaged(document.words, "it holds no page")
        return {"is_pdf": True, "pages": pages, "drawn": mark == "images"}
    Path(arguments["folder"]).mkdir(exist_ok=True)
    asked = {"output": AssembleOutput.PDF, "per_document": None, "unsupported": Unsupported.FAIL}
    [made] = assemble({**arguments, **asked}, report)["made"]
    return {"is_pdf": False, "pages": made["pages"], "drawn": True}


def read(arguments: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Make a PDF searchable.

    :param arguments: ``path``, ``made`` (the path to write to), ``id``, ``pages``, ``title``, ``created``,
        ``folder`` for what lies between, ``languages``, ``deskew``, ``rotate``, ``clean``, ``output`` (pdf or
        pdf-a), ``jobs`` (pages at a time), ``page_seconds`` that reading one page may take, and
        ``max_pixels``.
    :return: ``unread``: how many pages took too long, and have no text.
    :raises PageError: OCRmyPDF refuses; nothing that can be used lies at ``made`` then.
    """
    # Here, as it takes half a second: the other task does without.
    import ocrmypdf
    from ocrmypdf.exceptions import ExitCodeException

    archival = arguments["output"] == OcrOutput.PDF_A
    folder, made = Path(arguments["folder"]), Path(arguments["made"])
    folder.mkdir(exist_ok=True)
    with_text = folder / "with-text.pdf"
    progress.report_to(report)
    unread = _Unread()
    logging.getLogger("ocrmypdf").addHandler(unread)
    try:
        code = ocrmypdf.ocr(
            Path(arguments["path"]),
            with_text,
            language=list(arguments["languages"]),
            # PDF/A is made below: OCRmyPDF wants a Ghostscript for it that Debian 12 does not have.
            output_type="pdf",
            # Pages that have text already stay as they are.
            mode="skip",
            deskew=arguments["deskew"],
            rotate_pages=arguments["rotate"],
            clean=arguments["clean"],
            jobs=arguments["jobs"],
            use_threads=True,
            # Images go on as they came; making files smaller is not what was asked for.
            optimize=0,
            max_image_mpixels=arguments["max_pixels"] / _MEGA,
            tesseract_timeout=float(arguments["page_seconds"]),
            plugins=[progress.__name__],
        )
    except ExitCodeException as error:
        raise PageError(_first_line(error)) from error
    if code != ocrmypdf.ExitCode.ok:
        raise PageError(f"OCRmyPDF ended with {code.name.replace('_', ' ')}")
    if not archival:
        with_text.replace(made)
        return {"unread": unread.pages}
    part = Part(with_text, (arguments["id"],) * arguments["pages"], drawn=False)
    labels = Labels(arguments["title"], datetime.fromisoformat(arguments["created"]), archival=True)
    [joined] = join([part], frozenset(), None, folder, labels)
    if joined.unproven:
        raise PageError(f"nobody can tell whether it is PDF/A-2b with its text: {joined.unproven}")
    joined.path.replace(made)
    return {"unread": unread.pages}


class _Unread(logging.Handler):
    """Counts the pages that Tesseract gave up: OCRmyPDF goes on without their text, and logs that."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.pages = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count what says so."""
        self.pages += "took too long to OCR" in record.getMessage()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
