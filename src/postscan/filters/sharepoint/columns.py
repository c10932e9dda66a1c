"""What a filter may write of a job into the columns of a library."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from types import MappingProxyType
from typing import Final

from postscan.filters.contract import JobFacts, SpooledDocument
from postscan.filters.templates import Field, FieldKind, FieldValue

_SHORT: Final = 255
"""A column of one line of text has room for so many characters."""

COLUMN_FIELDS: Final[Mapping[str, Field]] = MappingProxyType(
    {
        "document": Field(FieldKind.TEXT, "what the user called the document", longest=_SHORT),
        "file": Field(FieldKind.TEXT, "the name of the file", longest=_SHORT),
        "process": Field(FieldKind.TEXT, "the scan process", longest=_SHORT),
        "user": Field(FieldKind.TEXT, "the user's account", longest=_SHORT),
        "domain": Field(FieldKind.TEXT, "the user's domain", longest=_SHORT),
        "person": Field(FieldKind.TEXT, "the user's full name", longest=_SHORT),
        "upn": Field(FieldKind.TEXT, "the user's principal name", longest=_SHORT),
        "mail": Field(FieldKind.TEXT, "the user's mail address", longest=_SHORT),
        "created": Field(FieldKind.MOMENT, "when the job began", default="%Y-%m-%dT%H:%M:%S"),
        "number": Field(FieldKind.NUMBER, "the document's number in the job"),
        "pages": Field(FieldKind.NUMBER, "how many pages it has"),
        "job": Field(FieldKind.TEXT, "the job's token", longest=_SHORT),
    }
)


def column_values(
    job: JobFacts, document: SpooledDocument, name: str, zone: tzinfo | None
) -> dict[str, FieldValue]:
    """Return the value of each field for one document, stored as ``name``."""
    return {
        "document": job.document_root_name,
        "file": name,
        "process": job.process_name,
        "user": job.user_name,
        "domain": job.user_domain,
        "person": job.user_display_name,
        "upn": job.user_upn,
        "mail": job.user_mail,
        "created": job.created.astimezone(zone),
        "number": document.number,
        "pages": document.pages,
        "job": job.token,
    }
