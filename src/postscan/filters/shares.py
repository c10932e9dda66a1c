r"""Reads what a scan process names as share, and finds the folder of this machine that stands for it.

Only what the administrator listed can be written to (abuse case 27): a ``file:`` URI must lie in an allowed
root, a UNC path (``\\server\share\folder``) below a UNC root that is mapped to a folder. Nothing here touches
the file system or the network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from postscan.core.errors import ConfigurationError
from postscan.filters.contract import InstructionsError

SHARE_UNC: Final = "fsf:ShareUNC"

_FILE_URI = re.compile(r"file:", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FORBIDDEN_IN_UNC = re.compile(r'[/:*?"<>|]')
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?")
# Numbers that resolvers also take for addresses (2130706433, 0x7f.1), and Windows' spelling of IPv6.
_NUMERIC_HOST = re.compile(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+))*|.*\.ipv6-literal\.net", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ShareTarget:
    """Where one share lies here.

    ``key`` is one spelling for all spellings of the same share; ``root`` is the folder the administrator
    listed, and ``folder``, at or below it, the one the share names. Neither is known to exist.
    """

    key: str
    root: Path
    folder: Path


class ShareMap:
    r"""Finds targets by the administrator's lists.

    :param roots: absolute folders in and under which ``file:`` targets may lie.
    :param unc_map: folders by UNC root, such as ``{r"\\server\share": Path("/mnt/share")}``.
    :raises ConfigurationError: a folder is not absolute, a UNC root is none, or stands there twice.
    """

    def __init__(self, roots: Iterable[Path], unc_map: Mapping[str, Path]) -> None:
        self._roots = tuple(_absolute(root) for root in roots)
        self._unc_roots: dict[tuple[str, ...], Path] = {}
        for text, folder in unc_map.items():
            try:
                segments = _unc_segments(text)
            except InstructionsError as error:
                raise ConfigurationError(f"the mapped UNC root {text!r} is none: {error}") from error
            key = _folded(segments)
            if key in self._unc_roots:
                raise ConfigurationError(f"the UNC root {text!r} is mapped twice")
            self._unc_roots[key] = _absolute(folder)

    def target_of(self, share: str) -> ShareTarget:
        """Return where ``share`` (the text of a ShareUNC, or a target's key) lies here.

        :raises InstructionsError: it is neither form, or not allowed; ``detail`` is ``fsf:ShareUNC``.
        """
        share = share.strip()
        if _UNPRINTABLE.search(share):
            raise _refusal("it has unprintable characters")
        if _FILE_URI.match(share):
            return self._file_target(share)
        if share.startswith("\\\\"):
            return self._unc_target(share)
        raise _refusal(r"it is neither \\server\share nor file:///folder")

    def _file_target(self, share: str) -> ShareTarget:
        path = _file_path(share)
        roots = [root for root in self._roots if path.is_relative_to(root)]
        if not roots:
            raise _refusal(
                f"{share!r} lies in no folder that file: targets may use",
                advice="Add the folder to the file-share roots in the settings, or correct the scan process.",
            )
        root = max(roots, key=lambda r: len(r.parts))
        return ShareTarget(key=path.as_uri(), root=root, folder=path)

    def _unc_target(self, share: str) -> ShareTarget:
        segments = _unc_segments(share)
        folded = _folded(segments)
        for length in range(len(folded), 1, -1):
            root = self._unc_roots.get(folded[:length])
            if root is not None:
                rest = segments[length:]
                # Below the mapped root the case of letters may matter to the file system, above it never.
                key = "\\\\" + "\\".join((*folded[:length], *rest))
                return ShareTarget(key=key, root=root, folder=root.joinpath(*rest))
        if _is_address(segments[0]):
            raise _refusal(
                f"{share!r} names its server by an address",
                advice="Name the server by its host name, as certificates and Kerberos do.",
            )
        raise _refusal(
            f"{share!r} is mapped to no folder",
            advice="Mount the share and map its UNC root to the mounted folder in the settings"
            " (fileshare.unc_map).",
        )


def _refusal(why: str, advice: str | None = None) -> InstructionsError:
    return InstructionsError(f"the share cannot be used: {why}", detail=SHARE_UNC, advice=advice)


def _absolute(folder: Path) -> Path:
    if not folder.is_absolute() or ".." in folder.parts:
        raise ConfigurationError(f"{folder} is no absolute path without '..'")
    return folder


def _folded(segments: Iterable[str]) -> tuple[str, ...]:
    return tuple(segment.casefold() for segment in segments)


def _file_path(share: str) -> Path:
    """Return the path a ``file:`` URI names (RFC 8089), percent-decoded once."""
    try:
        parts = urlsplit(share)
        if _BAD_PERCENT.search(parts.path):
            raise ValueError("a percent sign without two hex digits")
        path = unquote(parts.path, errors="strict")
    except ValueError as error:
        raise _refusal(f"{share!r} is no file: URI ({error})") from error
    if parts.netloc.lower() not in ("", "localhost"):
        raise _refusal(f"{share!r} names a host; write a UNC path for that")
    if "?" in share or "#" in share:
        raise _refusal(f"{share!r} has a query or fragment; write %3F or %23 for those characters")
    if not path.startswith("/") or path.startswith("//"):
        raise _refusal(f"{share!r} is no absolute path")
    if _UNPRINTABLE.search(path):
        raise _refusal(f"{share!r} has unprintable characters")
    if not {".", ".."}.isdisjoint(path.split("/")):
        raise _refusal(f"{share!r} has a '.' or '..' in its path")
    return Path(PurePosixPath(path))


def _unc_segments(text: str) -> tuple[str, ...]:
    """Split a UNC path into server, share and folders ([MS-DTYP] 2.2.57); it may end in one backslash."""
    host, *folders = text.removeprefix("\\\\").removesuffix("\\").split("\\")
    if not text.startswith("\\\\") or not folders:
        raise _refusal(rf"{text!r} is not \\server\share")
    if host in (".", "?"):
        raise _refusal(f"{text!r} is a device path")
    if "@" in host:
        raise _refusal(f"{text!r} names a port or protocol")
    if not _HOST.fullmatch(host) or ".." in host:
        raise _refusal(f"{text!r} names no server")
    for folder in folders:
        if not folder or folder != folder.strip(" ").rstrip("."):
            raise _refusal(f"{text!r} has a segment that is empty or ends in a dot or space")
        if _FORBIDDEN_IN_UNC.search(folder):
            raise _refusal(f"{text!r} has a character that no folder's name may have")
    return host, *folders


def _is_address(host: str) -> bool:
    if _NUMERIC_HOST.fullmatch(host):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
