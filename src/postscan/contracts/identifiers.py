"""PSP_Identifier: the GUID of a scan process, in messages and in the directory (trap 9)."""

from __future__ import annotations

import re
from uuid import UUID

from postscan.core.errors import InvalidArgument
from postscan.soap.xml import WHITE_SPACE

_GUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_SPELLING = re.compile(rf"\{{{_GUID}\}}|{_GUID}")


def parse_process_identifier(text: str) -> UUID:
    """Read a GUID with or without braces, in any case.

    :raises InvalidArgument: anything else; ``detail`` is ``dsp:PSP_Identifier``.
    """
    found = _SPELLING.fullmatch(text.strip(WHITE_SPACE))
    if found is None:
        raise InvalidArgument("PSP_Identifier is not a GUID", detail="dsp:PSP_Identifier")
    return UUID(found.group(0))


def process_identifier_octets(identifier: UUID) -> bytes:
    """Return the 16 octets of msImaging-PSPIdentifier: the first three fields are little-endian."""
    return identifier.bytes_le
