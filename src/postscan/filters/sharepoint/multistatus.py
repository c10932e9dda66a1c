"""Reading DAV:multistatus (RFC 4918, 13), what servers answer with 207; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from postscan.filters.sharepoint.library import LibraryError, Trouble
from postscan.soap.xml import XmlLimits, XmlRefused, parse

if TYPE_CHECKING:
    from lxml.etree import _Element

MOST: Final = 1024 * 1024
"""The most octets that are read of an answer."""
_DAV: Final = "{DAV:}"
_LIMITS: Final = XmlLimits(max_bytes=MOST)
_NOT_THERE: Final = frozenset({404, 410})
# An Int64, as file systems count.
_MOST_DIGITS: Final = 18
_MOST_TAG: Final = 500


@dataclass(frozen=True, slots=True)
class Resource:
    """What lies at a path: ``length`` is None for a folder; ``tag`` is its ETag, None without one."""

    is_folder: bool
    length: int | None = None
    tag: str | None = None


def read_resource(body: bytes) -> Resource | None:
    """Return what a PROPFIND of depth 0 found; None when it says that nothing is there.

    :raises LibraryError: it is no answer to that.
    """
    for response in _responses(body):
        if _status(response) in _NOT_THERE:
            return None
        for part in response.findall(f"{_DAV}propstat"):
            properties = part.find(f"{_DAV}prop")
            if _status(part) == 200 and properties is not None:
                return _resource(properties)
    raise LibraryError("the server answers with nothing that is asked for", Trouble.UNREADABLE)


def read_count(body: bytes) -> int:
    """Return how many resources an answer tells of: that which was asked for, and those in it."""
    return len(_responses(body))


def read_failure(body: bytes) -> int:
    """Return the status that an operation on several resources failed with, like 423."""
    inside = [_status(one) for one in _responses(body)]
    # 424 only says that something else failed (RFC 4918, 11.4).
    return next((status for status in inside if status >= 400 and status != 424), 424)


def read_acceptance(body: bytes) -> bool:
    """Tell whether the one property that was set by PROPPATCH was accepted."""
    parts = [part for response in _responses(body) for part in response.findall(f"{_DAV}propstat")]
    return bool(parts) and all(_status(part) == 200 for part in parts)


def _responses(body: bytes) -> list[_Element]:
    try:
        return parse(body, _LIMITS).findall(f"{_DAV}response")
    except XmlRefused as error:
        raise LibraryError("the server answers WebDAV with something else", Trouble.UNREADABLE) from error


def _resource(properties: _Element) -> Resource:
    tag = properties.findtext(f"{_DAV}getetag", "").strip()
    usable = tag.isascii() and tag.isprintable() and 0 < len(tag) <= _MOST_TAG
    if properties.find(f"{_DAV}resourcetype/{_DAV}collection") is not None:
        return Resource(is_folder=True)
    length = properties.findtext(f"{_DAV}getcontentlength", "").strip()
    if not (length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS):
        raise LibraryError("the server tells no length of a file", Trouble.UNREADABLE)
    return Resource(is_folder=False, length=int(length), tag=tag if usable else None)


def _status(element: _Element) -> int:
    """Return the number in DAV:status (``HTTP/1.1 200 OK``), 0 when there is none."""
    words = element.findtext(f"{_DAV}status", "").split()
    found = words[1] if len(words) > 1 else ""
    return int(found) if len(found) == 3 and found.isascii() and found.isdigit() else 0
