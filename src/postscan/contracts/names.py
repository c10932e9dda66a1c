"""Instructions of the names filter (schema/names.xsd): what documents shall be called."""

from __future__ import annotations

from enum import StrEnum

from postscan.contracts.binding import Bound, child, element, keyword, text, texts
from postscan.soap.names import NAMES


class BarcodeKind(StrEnum):
    """The kinds of barcode that can be looked for; the names are those of zxing-cpp."""

    AZTEC = "Aztec"
    CODABAR = "Codabar"
    CODE_39 = "Code39"
    CODE_93 = "Code93"
    CODE_128 = "Code128"
    DATA_MATRIX = "DataMatrix"
    EAN_8 = "EAN8"
    EAN_13 = "EAN13"
    ITF = "ITF"
    PDF417 = "PDF417"
    QR_CODE = "QRCode"
    UPC_A = "UPCA"
    UPC_E = "UPCE"


class BarcodePage(StrEnum):
    """Where a document's barcode stands."""

    FIRST_OF_JOB = "FirstOfJob"
    FIRST_OF_DOCUMENT = "FirstOfDocument"


@element(NAMES, "Barcode")
class BarcodeChoice(Bound):
    """Which barcode counts.

    ``kinds`` are those looked for, all of BarcodeKind when there are none; ``pattern`` is a regular
    expression that the whole text must match, and where it has a group, the first group is the barcode.
    With ``FirstOfJob`` every document has the barcode of the job's first page, else that of its own first.
    """

    kinds: tuple[str, ...] = texts("Kind", keyword(BarcodeKind), default=())
    pattern: str | None = text("Pattern", default=None)
    page: str = text("Page", keyword(BarcodePage), default=BarcodePage.FIRST_OF_JOB)


@element(NAMES, "NamesConfig")
class NamesConfig(Bound):
    """What documents are called.

    ``template`` is read by filters.templates. ``counter`` names the counter, which several scan processes
    may share; each has its own when it is None.
    """

    template: str = text("Template")
    counter: str | None = text("Counter", default=None)
    barcode: BarcodeChoice | None = child("Barcode", BarcodeChoice, default=None)
