"""Instructions of the OCR filter (schema/ocr.xsd): how documents are made searchable."""

from __future__ import annotations

from enum import StrEnum

from postscan.contracts.binding import Bound, element, flag, keyword, text, texts
from postscan.soap.names import OCR


class OcrOutput(StrEnum):
    """What searchable documents are."""

    PDF = "pdf"
    PDF_A = "pdf-a"


class OnFailure(StrEnum):
    """What becomes of a document that cannot be made searchable."""

    DELIVER_ORIGINAL = "DeliverOriginal"
    FAIL = "Fail"


@element(OCR, "OcrConfig")
class OcrConfig(Bound):
    """How documents are made searchable.

    ``languages`` are Tesseract's names, such as ``eng`` or ``deu``, the server's own choice when there are
    none. ``deskew`` straightens pages, ``rotate`` turns them upright by their text, ``clean`` takes specks
    away before reading (what is delivered keeps them).
    """

    languages: tuple[str, ...] = texts("Language", wrapper="Languages", default=())
    deskew: bool = flag("Deskew", default=False)
    rotate: bool = flag("Rotate", default=False)
    clean: bool = flag("Clean", default=False)
    output_type: str = text("OutputType", keyword(OcrOutput), default=OcrOutput.PDF_A)
    on_failure: str = text("OnFailure", keyword(OnFailure), default=OnFailure.DELIVER_ORIGINAL)
