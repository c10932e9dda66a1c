"""Instructions of the assemble filter (schema/assemble.xsd): what the pages of a job are put together to."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from postscan.contracts.binding import INTEGER, Bound, element, keyword, text
from postscan.soap.names import ASSEMBLE

MAX_PAGES: Final = 2_000
"""Pages of one job beyond which nothing is put together: the deepest paper trays hold fewer sheets."""


class AssembleOutput(StrEnum):
    """What documents are made."""

    PDF = "pdf"
    PDF_A = "pdf-a"
    TIFF = "tiff"
    AS_SENT = "as-sent"


class Unsupported(StrEnum):
    """What becomes of a document whose pages cannot be put into the output."""

    FAIL = "fail"
    AS_SENT = "as-sent"


@element(ASSEMBLE, "AssembleConfig")
class AssembleConfig(Bound):
    """What the pages of a job are put together to.

    ``pages_per_document`` divides the pages into documents of so many (1 to MAX_PAGES), all in one when it is
    None; ``title`` is the title inside a PDF, the job's DocumentRootName when it is None.
    """

    output: str = text("Output", keyword(AssembleOutput))
    pages_per_document: int | None = text("PagesPerDocument", INTEGER, default=None)
    title: str | None = text("Title", default=None)
    unsupported: str = text("Unsupported", keyword(Unsupported), default=Unsupported.FAIL)
