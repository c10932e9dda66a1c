"""The fields that names are made of, and the name that a template makes of their values."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from postscan.filters.contract import JobFacts, SpooledDocument
from postscan.filters.naming import safe_part
from postscan.filters.templates import Field, FieldKind, FieldValue, Template

BARCODE: Final = "barcode"
COUNTER: Final = "counter"
FIELDS: Final[Mapping[str, Field]] = {
    "root": Field(
        FieldKind.TEXT, "the document root name of the scan process, or what the user changed it to"
    ),
    "date": Field(FieldKind.MOMENT, "the day the job was created", "%Y-%m-%d"),
    "time": Field(FieldKind.MOMENT, "the time the job was created", "%H%M%S"),
    "user": Field(FieldKind.TEXT, "the logon name of the user"),
    "display_name": Field(FieldKind.TEXT, "the full name of the user, the logon name where there is none"),
    "domain": Field(FieldKind.TEXT, "the domain of the user"),
    "process": Field(FieldKind.TEXT, "the name of the scan process"),
    "job": Field(
        FieldKind.TEXT, "the first eight characters of the job's token, as `postscan jobs` shows it"
    ),
    "page": Field(FieldKind.NUMBER, "the number in the job of the document's first page, from 1"),
    "pages": Field(FieldKind.NUMBER, "how many pages the document has"),
    "document": Field(FieldKind.NUMBER, "the number of the document in the job, from 1"),
    "documents": Field(FieldKind.NUMBER, "how many documents the job has"),
    COUNTER: Field(FieldKind.NUMBER, "the number of the job, from 1, among all that used the counter"),
    BARCODE: Field(FieldKind.TEXT, "the barcode on the first page"),
}
_TOKEN_SHOWN: Final = 8
# What a target adds: " (2)" and an extension. The octets of a name are counted before that.
_MAX_BYTES: Final = 230
# Text is cut to so many characters, in turn, until the name is short enough: what tells documents apart, as
# numbers do, must not be what is cut off.
_LENGTHS: Final = (200, 100, 60, 40, 25, 15, 10, 5)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document stands in its job: its number, its first page's, and how many of each there are."""

    document: int
    documents: int
    page: int
    pages: int


def places_of(documents: Sequence[SpooledDocument]) -> list[Place]:
    """Return where each document stands; one whose pages nobody counted has as many as images in it."""
    found = []
    page = 1
    for number, document in enumerate(documents, start=1):
        pages = document.pages or len(document.sources) or 1
        found.append(Place(number, len(documents), page, pages))
        page += pages
    return found


def values_of(
    job: JobFacts,
    place: Place,
    *,
    zone: tzinfo | None,
    counter: int | None = None,
    barcode: str | None = None,
) -> dict[str, FieldValue]:
    """Return the values of all fields; ``zone`` None is this machine's time zone."""
    moment = job.created.astimezone(zone)
    return {
        "root": job.document_root_name,
        "date": moment,
        "time": moment,
        "user": job.user_name,
        "display_name": job.user_display_name or job.user_name,
        "domain": job.user_domain,
        "process": job.process_name,
        "job": job.token[:_TOKEN_SHOWN],
        "page": place.page,
        "pages": place.pages,
        "document": place.document,
        "documents": place.documents,
        COUNTER: counter,
        BARCODE: barcode,
    }


def name_of(template: Template, values: Mapping[str, FieldValue]) -> str | None:
    """Return the name without extension; None when nothing remains of it that may stand in a name."""
    clean = {name: safe_part(value) if isinstance(value, str) else value for name, value in values.items()}
    name = ""
    for longest in _LENGTHS:
        name = template.render(clean, longest=longest)
        if len(safe_part(name).encode()) <= _MAX_BYTES:
            break
    return name if safe_part(name).strip(" .") else None


def unfit(text: str) -> str | None:
    """Return in words the first character of a template's own text that no name can hold, None if all can."""
    for char in text:
        if char.isspace() and char != " ":
            return "a line break or tabulator"
        if not safe_part(unicodedata.normalize("NFC", char)):
            return repr(char) if char.isprintable() else f"the character U+{ord(char):04X}"
    return None
