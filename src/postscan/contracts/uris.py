"""How URIs are compared: by segments, by identifier, or character by character."""

from __future__ import annotations

import re
from dataclasses import dataclass

# RFC 2396, appendix B. urllib raises for some of what a peer may send; this splits anything.
_PARTS = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)", re.DOTALL)
_UUID = re.compile(r"(?:urn:)?uuid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Uri:
    scheme: str
    authority: str | None
    segments: tuple[str, ...]


def is_uri_prefix(shorter: str, longer: str) -> bool:
    """Whether ``longer`` lies at or below ``shorter``: WS-Discovery's rule rfc2396 (dpws.md, 1.6).

    Schemes and authorities are compared whatever their case, paths segment by segment and exactly; query
    and fragment do not count, nor does a slash at the end of ``shorter``. A URI that is relative or holds
    a segment ``.`` or ``..`` matches nothing.
    """
    wanted, given = _split(shorter), _split(longer)
    if wanted is None or given is None:
        return False
    return (wanted.scheme, wanted.authority) == (given.scheme, given.authority) and given.segments[
        : len(wanted.segments)
    ] == wanted.segments


def is_same_uuid(first: str, second: str) -> bool:
    """Whether both are UUIDs, as ``uuid:`` or ``urn:uuid:`` in any case, and the same one."""
    one, other = _UUID.fullmatch(first.lower()), _UUID.fullmatch(second.lower())
    return one is not None and other is not None and one.group(1) == other.group(1)


def _split(uri: str) -> _Uri | None:
    parts = _PARTS.match(uri)
    if parts is None or not parts.group(1):
        return None
    path = parts.group(3)
    segments = path.removeprefix("/").removesuffix("/").split("/") if path.strip("/") else []
    if "." in segments or ".." in segments:
        return None
    authority = parts.group(2)
    return _Uri(
        parts.group(1).lower(),
        None if authority is None else authority.lower(),
        tuple(segments),
    )
