"""Which part of the message an element's value stands in (XOP 1.0; spec README, trap 14).

An Include may name nothing but a part of the same message and may stand nowhere but where binary data is
expected; everything else has been used to make servers fetch addresses and files (abuse cases 12 to 14).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from lxml import etree

from postscan.core.errors import InvalidArgument
from postscan.soap.names import XOP, XOP_2003, display_name, qname
from postscan.soap.xml import WHITE_SPACE

INCLUDE: Final = qname(XOP, "Include")
_INCLUDES: Final = frozenset({INCLUDE, qname(XOP_2003, "Include")})
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class XopRefused(InvalidArgument):
    """An xop:Include that is not the only content of a binary element, or names no part of the message."""

    advice = (
        "Put one xop:Include with a cid: reference to a part of the same message into the binary element."
    )


def include_of(element: etree._Element) -> str | None:
    """Return the content id that the element's single xop:Include names, None when it holds none.

    The id is percent-decoded once and has no angle brackets. White space around the Include is accepted
    (the published example has it).

    :raises XopRefused: the reference is no ``cid:`` one, or the Include has siblings or text beside it.
    """
    includes = [child for child in element if child.tag in _INCLUDES]
    if not includes:
        return None
    include = includes[0]
    beside = (element.text or "") + (include.tail or "")
    if len(element) > 1 or beside.strip(WHITE_SPACE):
        raise _refusal(element, "xop:Include with something beside it")
    scheme, colon, rest = (include.get("href") or "").strip(WHITE_SPACE).partition(":")
    if not colon or scheme.lower() != "cid":
        raise _refusal(element, "xop:Include refers to something other than a part of the message")
    try:
        content_id = unquote(rest, errors="strict").strip(WHITE_SPACE)
    except UnicodeDecodeError as error:
        raise _refusal(element, "xop:Include with a reference that is not UTF-8") from error
    if not content_id or _UNPRINTABLE.search(content_id):
        raise _refusal(element, "xop:Include with an empty or unprintable reference")
    return content_id


def find_stray_includes(envelope_root: etree._Element, allowed: etree._Element | None) -> None:
    """Refuse every xop:Include that is not the one child of ``allowed`` (none is allowed when that is None).

    As at most one Include passes, no part can be included twice.

    :raises XopRefused: ``detail`` names the element the Include stands in.
    """
    found = False
    for element in envelope_root.iter(f"{{{XOP}}}*", f"{{{XOP_2003}}}*"):
        holder = element.getparent()
        if holder is None or holder is not allowed or element.tag not in _INCLUDES or found:
            raise _refusal(envelope_root if holder is None else holder, "xop:Include where none may stand")
        found = True


def _refusal(holder: etree._Element, message: str) -> XopRefused:
    return XopRefused(f"{message} in {holder.tag!s}", detail=display_name(str(holder.tag)))
