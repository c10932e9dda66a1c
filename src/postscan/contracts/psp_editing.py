"""Changes one value of a stored scan process and leaves every other octet as somebody wrote it.

What other consoles wrote has its own prefixes, order of attributes, comments and line ends; writing the
parsed tree again would lose them. So the value is found among the octets, and only it is replaced.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from postscan.core.errors import InvalidArgument
from postscan.soap.names import PSP, qname
from postscan.soap.xml import PROCESS_LIMITS, parse

_REPOSITORY: Final = qname(PSP, "ScanRepository")
# What a host name may be, in letters of any script; nothing that XML would have to escape.
_SERVER: Final = re.compile(r"[\w.-]{1,255}")
# Tokens of a document known to be well-formed and without a document type declaration. No alternative can
# match what another began, so a scan takes time in proportion to the length.
_TOKEN: Final = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    r"""|<(?P<end>/?)[^\s/>"'=!?][^\s/>"'=]*(?:[^"'>]|"[^"]*"|'[^']*')*?(?P<empty>/?)>""",
    re.DOTALL,
)


def characters_of(xml: bytes) -> str:
    """Return a stored scan process as characters: UTF-8, or UTF-16 with its byte order mark.

    :raises InvalidArgument: it is neither.
    """
    utf16 = xml.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return xml.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"the XML is neither UTF-8 nor UTF-16: {error.reason}") from error


def with_scan_repository(xml: bytes, server: str) -> bytes:
    """Return the scan process with another ScanRepository, all else octet for octet as it was.

    :param xml: a scan process that :func:`postscan.contracts.psp.read_process` reads.
    :param server: the fully qualified domain name of the scan server.
    :raises XmlRefused: ``xml`` cannot be read.
    :raises InvalidArgument: it has no ScanRepository, or ``server`` is no text for one.
    """
    if _SERVER.fullmatch(server) is None:
        raise InvalidArgument(f"{server!r} is no name of a scan server")
    # The schema has it come first.
    if [str(child.tag) for child in parse(xml, PROCESS_LIMITS)][:1] != [_REPOSITORY]:
        raise InvalidArgument("the scan process does not begin with a ScanRepository")
    prefix, codec = _encoding(xml)
    text = xml[len(prefix) :].decode(codec)
    start, end = _first_content(text)
    inside = text[start:end]
    before = inside[: len(inside) - len(inside.lstrip())]
    after = inside[len(inside.rstrip()) :] if inside.strip() else ""
    return prefix + (text[:start] + before + server + after + text[end:]).encode(codec)


def _encoding(xml: bytes) -> tuple[bytes, str]:
    """Return the byte order mark, and the codec of what follows it."""
    for mark, codec in (
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF8, "utf-8"),
    ):
        if xml.startswith(mark):
            return mark, codec
    return b"", "utf-8"


def _first_content(text: str) -> tuple[int, int]:
    """Return where the content of the root's first child element begins and ends; it holds text alone."""
    tags = list(islice(_elements(text), 3))
    if len(tags) < 3 or tags[1]["empty"] or not tags[2]["end"]:
        raise InvalidArgument("the scan process has no text in ScanRepository")
    return tags[1].end(), tags[2].start()


def _elements(text: str) -> Iterator[re.Match[str]]:
    """Yield start and end tags, not comments, CDATA sections and processing instructions."""
    return (token for token in _TOKEN.finditer(text) if token["end"] is not None)
