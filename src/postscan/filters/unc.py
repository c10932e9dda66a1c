r"""UNC paths (``\\server\share\folder``) as text: what they may look like; nothing here touches the network.

Whoever can write a scan process chooses this text, so whatever could lead Windows, Samba or a library to
another place than it seems is refused (abuse case 27): device paths, ports and protocols, empty and relative
segments, characters that no name may have.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from postscan.filters.contract import InstructionsError

SHARE_UNC: Final = "fsf:ShareUNC"

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FORBIDDEN = re.compile(r'[/:*?"<>|]')
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?")
# Numbers that resolvers also take for addresses (2130706433, 0x7f.1), and Windows' spelling of IPv6.
_NUMERIC_HOST = re.compile(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+))*|.*\.ipv6-literal\.net", re.IGNORECASE)


def refusal(why: str, advice: str | None = None) -> InstructionsError:
    """Return the error of a share that cannot be used."""
    return InstructionsError(f"the share cannot be used: {why}", detail=SHARE_UNC, advice=advice)


def is_printable(text: str) -> bool:
    """Tell whether a text has neither control characters nor half characters."""
    return not _UNPRINTABLE.search(text)


def unc_segments(text: str) -> tuple[str, ...]:
    """Split a UNC path into server, share and folders ([MS-DTYP] 2.2.57); it may end in one backslash.

    :raises InstructionsError: it is none.
    """
    host, *folders = text.removeprefix("\\\\").removesuffix("\\").split("\\")
    if not text.startswith("\\\\") or not folders:
        raise refusal(rf"{text!r} is not \\server\share")
    if not is_printable(text):
        raise refusal(f"{text!r} has unprintable characters")
    if host in (".", "?"):
        raise refusal(f"{text!r} is a device path")
    if "@" in host:
        raise refusal(f"{text!r} names a port or protocol")
    if not _HOST.fullmatch(host) or ".." in host:
        raise refusal(f"{text!r} names no server")
    for folder in folders:
        if not folder or folder != folder.strip(" ").rstrip("."):
            raise refusal(f"{text!r} has a segment that is empty or ends in a dot or space")
        if _FORBIDDEN.search(folder):
            raise refusal(f"{text!r} has a character that no folder's name may have")
    return host, *folders


def unc_path(segments: Iterable[str]) -> str:
    """Return the UNC path of server, share and folders."""
    return "\\\\" + "\\".join(segments)


def folded(segments: Iterable[str]) -> tuple[str, ...]:
    """Return segments in the one spelling that they are compared in."""
    return tuple(segment.casefold() for segment in segments)


def is_address(host: str) -> bool:
    """Tell whether a host is given by a number, not by a name."""
    if _NUMERIC_HOST.fullmatch(host):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
