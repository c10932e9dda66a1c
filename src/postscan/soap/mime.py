"""Content types and part headers as peers really write them (dpws.md, 4.2 and 4.4; RFC 2045, RFC 2387).

Tolerant in form (quotes, case, folding, missing and extra semicolons), strict in what could be used to make
two readers see two different messages: control characters, contradicting repetitions, lengths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

from postscan.core.errors import FaultKind, FaultParty, PostscanError

MAX_CONTENT_TYPE: Final = 1_024
MAX_BOUNDARY: Final = 72
MAX_PART_HEADER_BYTES: Final = 8_192

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FOLD = re.compile(r"\r?\n[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_MEDIA_TYPE = re.compile(rf"[ \t]*({_WORD}/{_WORD})[ \t]*")
_SEPARATOR = re.compile(r"[; \t]*")
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]+))')
_ESCAPE = re.compile(r"\\(.)")
_BOUNDARY = re.compile(r"[\x20-\x7e]{0,71}[\x21-\x7e]")
_HEADER_LINE = re.compile(rf"({_WORD})[ \t]*:(.*)", re.DOTALL)
# What decides how a part is read; a second one with another value is an attempt at two readings.
_SINGLE: Final = frozenset({"content-id", "content-type", "content-transfer-encoding"})


class MimeError(PostscanError):
    """A content type or a part header that cannot be read."""

    fault = FaultKind(FaultParty.SENDER, None, "The message is not an acceptable MTOM message.")
    advice = "Send multipart/related with a boundary, a root part and binary parts (RFC 2387, XOP 1.0)."
    http_status: ClassVar[int] = 400


@dataclass(frozen=True, slots=True)
class ContentType:
    """A media type in lower case and its parameters, names in lower case, values as sent without quotes."""

    type: str
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True)
class PartHeaders:
    """The headers of one MIME part.

    ``content_id`` has neither angle brackets nor white space around it, ``content_type`` is the media type
    alone in lower case (each empty when absent), ``raw`` maps lower-case names to unfolded values.
    """

    content_id: str
    content_type: str
    raw: dict[str, str]


def parse_content_type(value: str) -> ContentType:
    """Read a Content-Type value; raises MimeError.

    Accepts folded lines, quoted and bare values (a bare boundary may hold ``= + / :``), parameters
    separated by white space alone, and a trailing semicolon.
    """
    if len(value) > MAX_CONTENT_TYPE:
        raise MimeError(f"a content type of {len(value)} characters, {MAX_CONTENT_TYPE} are allowed")
    value = _FOLD.sub(" ", value)
    if _CONTROL.search(value):
        raise MimeError("a content type with a control character")
    media_type = _MEDIA_TYPE.match(value)
    if media_type is None:
        raise MimeError("a content type without type and subtype")
    parameters: dict[str, str] = {}
    position = media_type.end()
    while (position := _end(_SEPARATOR, value, position)) < len(value):
        found = _PARAMETER.match(value, position)
        if found is None:
            raise MimeError("a content type with a malformed parameter")
        name = found.group(1).lower()
        content = found.group(3) if found.group(2) is None else _ESCAPE.sub(r"\1", found.group(2))
        if parameters.setdefault(name, content) != content:
            raise MimeError("a content type with two values for one parameter", detail=name)
        position = found.end()
    boundary = parameters.get("boundary")
    if boundary is not None and not is_boundary(boundary):
        raise MimeError("a boundary that is empty, too long or not printable", detail="boundary")
    return ContentType(media_type.group(1).lower(), parameters)


def is_boundary(text: str) -> bool:
    """Tell whether ``text`` may be a boundary: 1 to 72 printable ASCII characters, no blank at its end.

    RFC 2046 allows 70 and fewer kinds of characters; devices built on .NET Micro Framework send 72.
    """
    return _BOUNDARY.fullmatch(text) is not None


def strip_content_id(value: str) -> str:
    """Return a Content-ID (or ``start``) value without angle brackets and white space."""
    return value.strip(" \t").removeprefix("<").removesuffix(">").strip(" \t")


def parse_part_headers(data: bytes, *, max_bytes: int = MAX_PART_HEADER_BYTES) -> PartHeaders:
    """Read the header lines of a part (CRLF or LF, folding allowed); raises MimeError."""
    if len(data) > max_bytes:
        raise MimeError(f"{len(data)} octets of part headers, {max_bytes} are allowed")
    raw: dict[str, str] = {}
    for line in _FOLD.sub(" ", data.decode("utf-8", "replace")).split("\n"):
        line = line.removesuffix("\r")
        if not line.strip(" \t"):
            continue
        found = _HEADER_LINE.fullmatch(line)
        if found is None or _CONTROL.search(found.group(2)):
            raise MimeError("a malformed part header")
        name, value = found.group(1).lower(), found.group(2).strip(" \t")
        if raw.setdefault(name, value) != value and name in _SINGLE:
            raise MimeError("a part header with two values", detail=name)
    return PartHeaders(
        content_id=strip_content_id(raw.get("content-id", "")),
        content_type=raw.get("content-type", "").partition(";")[0].strip(" \t").lower(),
        raw=raw,
    )


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return position if found is None else found.end()
