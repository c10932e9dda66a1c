"""What every directory asks of a scan process before it writes one."""

from __future__ import annotations

import re
from typing import Final

from postscan.contracts.psp import PostScanProcess, read_process
from postscan.core.errors import PostscanError
from postscan.directory.model import EntryRefused, ProcessDraft
from postscan.soap.xml import PROCESS_LIMITS

# displayName holds 256 ([MS-ADA1] 2.175, rangeUpper); the embedded directory's texts 255.
MAX_DISPLAY_NAME: Final = 255
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def read_draft(draft: ProcessDraft) -> PostScanProcess:
    """Return a draft's scan process, which can be written to any directory.

    :raises EntryRefused: the name or the XML cannot be written; the message says why.
    """
    check_display_name(draft.display_name)
    check_length(draft)
    try:
        return read_process(draft.xml)
    except PostscanError as error:
        raise EntryRefused(f"the XML of {draft.display_name!r} is no scan process: {error}") from error


def check_display_name(name: str) -> None:
    """Refuse a name that no directory, list or log can show; raises EntryRefused."""
    if not name.strip() or name != name.strip():
        raise EntryRefused(f"the display name {name!r} is empty, or begins or ends with a space")
    if _UNPRINTABLE.search(name):
        raise EntryRefused(f"the display name {name!r} has an unprintable character")
    if len(name) > MAX_DISPLAY_NAME:
        raise EntryRefused(
            f"the display name {name[:40]!r}... has {len(name)} characters, {MAX_DISPLAY_NAME} are allowed"
        )


def check_length(draft: ProcessDraft) -> None:
    """Refuse XML that is longer than a directory can hold; raises EntryRefused with both lengths.

    msImaging-PSPString holds 524,288 characters ([MS-ADA2] 2.527, rangeUpper). Active Directory counts UTF-16
    code units, so a character beyond U+FFFF counts twice.
    """
    limit = PROCESS_LIMITS.max_characters or 0
    if len(draft.xml) <= limit:
        return
    if len(draft.xml) > PROCESS_LIMITS.max_bytes:
        raise EntryRefused(
            f"the XML of {draft.display_name!r} has {len(draft.xml):,} octets; "
            f"a directory holds {limit:,} characters"
        )
    length = code_units(draft.xml)
    if length > limit:
        raise EntryRefused(
            f"the XML of {draft.display_name!r} has {length:,} characters; a directory holds {limit:,}"
        )


def code_units(xml: bytes) -> int:
    """Return how many UTF-16 code units a document has, whichever of UTF-8 and UTF-16 it is written in."""
    if xml.startswith((b"\xff\xfe", b"\xfe\xff")):
        return len(xml) // 2 - 1
    return len(xml.decode("utf-8", errors="replace").encode("utf-16-le", errors="replace")) // 2
