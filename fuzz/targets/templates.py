"""Templates of names and mails, and the file names that come of them, whatever the fields hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fuzz.mutation import mutate_octets
from fuzz.target import Target, must
from postscan.contracts.keywords import DocumentFormat
from postscan.filters.contract import JobFacts, SpooledDocument
from postscan.filters.naming import MAX_NAME_BYTES, document_name, safe_component
from postscan.filters.templates import Field, FieldKind, Template

_FIELDS: Final = {
    "root": Field(FieldKind.TEXT, "the first part"),
    "date": Field(FieldKind.MOMENT, "the day", "%Y-%m-%d"),
    "counter": Field(FieldKind.NUMBER, "a number"),
    "barcode": Field(FieldKind.TEXT, "the barcode", longest=200),
}
_MOMENT: Final = datetime(2026, 11, 21, 14, 30, 5, tzinfo=UTC)
_JOB: Final = JobFacts(
    token="0" * 32,
    process_name="Invoices",
    user_name="alice",
    user_domain="example.com",
    user_upn="alice@example.com",
    user_mail=None,
    document_root_name="Invoice",
    created=_MOMENT,
)
_DOCUMENT: Final = SpooledDocument(1, 1, DocumentFormat.JFIF, Path("1.img"), 1, "0" * 64)


def run(data: bytes) -> None:
    """Read a template, and what follows it as the values of its fields."""
    written, _, value = data.decode("utf-8", errors="replace").partition("\0")
    hostile: dict[str, str | int | datetime | None] = {
        "root": value,
        "date": _MOMENT,
        "counter": len(value),
        "barcode": value[::-1] or None,
    }
    template = Template.parse(written, _FIELDS)
    must(template.fields <= set(_FIELDS), f"fields {sorted(template.fields)}")
    name = template.render(hostile)
    for document in (replace(_DOCUMENT, name=name), _DOCUMENT):
        final = document_name(replace(_JOB, document_root_name=value), document, zone=UTC)
        must(0 < len(final.encode()) <= MAX_NAME_BYTES, f"a name of {len(final.encode())} octets")
        must(safe_component(final, "") == final, f"the name {final!r}")


def seeds() -> list[bytes]:
    """Return templates of each form, with values."""
    return [
        b"{root}_{date}_{counter:05}\0Invoice",
        b"{date:%d.%m.%y %H%M%S %j %G-%V}{root:8}\0../../etc/passwd",
        "{barcode|none} {{x}} {root}\0CON\u202e.exe".encode(),
        b"{root:999}\0" + b"x" * 500,
    ]


TARGET = Target(
    "templates",
    run,
    seeds,
    mutate_octets,
    words=(b"{root}", b"{counter:05}", b"{date:%Y}", b"{barcode|", b"{{", b"}}", b"\0", b"../", b"CON"),
)
