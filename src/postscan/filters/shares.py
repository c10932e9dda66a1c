r"""Reads what a scan process names as share, and finds what stands for it: a folder here, or a server.

Only what the administrator listed can be written to (abuse case 27): a ``file:`` URI must lie in an allowed
root, a UNC path (``\\server\share\folder``) below a UNC root that is mapped to a folder, or else on a server
of the list. Nothing here touches the file system or the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from postscan.core.errors import ConfigurationError
from postscan.filters.contract import InstructionsError
from postscan.filters.smb.servers import SmbServers, SmbTarget
from postscan.filters.unc import SHARE_UNC, folded, is_address, is_printable, refusal, unc_path, unc_segments

__all__ = ["SHARE_UNC", "ShareMap", "ShareTarget"]

_FILE_URI: Final = re.compile(r"file:", re.IGNORECASE)
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


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
    :param unc_map: folders by UNC root, such as ``{r"\\server\share": Path("/mnt/share")}``; they come
        before servers.
    :param servers: the file servers that are written to over the network.
    :raises ConfigurationError: a folder is not absolute, a UNC root is none, or stands there twice.
    """

    def __init__(
        self, roots: Iterable[Path], unc_map: Mapping[str, Path], servers: SmbServers | None = None
    ) -> None:
        self._roots = tuple(_absolute(root) for root in roots)
        self._servers = servers or SmbServers(())
        self._unc_roots: dict[tuple[str, ...], Path] = {}
        for text, folder in unc_map.items():
            try:
                segments = unc_segments(text)
            except InstructionsError as error:
                raise ConfigurationError(f"the mapped UNC root {text!r} is none: {error}") from error
            key = folded(segments)
            if key in self._unc_roots:
                raise ConfigurationError(f"the UNC root {text!r} is mapped twice")
            self._unc_roots[key] = _absolute(folder)

    def target_of(self, share: str) -> ShareTarget | SmbTarget:
        """Return where ``share`` (the text of a ShareUNC, or a target's key) lies, here or on a server.

        :raises InstructionsError: it is neither form, or not allowed; ``detail`` is ``fsf:ShareUNC``.
        """
        share = share.strip()
        if not is_printable(share):
            raise refusal("it has unprintable characters")
        if _FILE_URI.match(share):
            return self._file_target(share)
        if share.startswith("\\\\"):
            return self._unc_target(share)
        raise refusal(r"it is neither \\server\share nor file:///folder")

    def _file_target(self, share: str) -> ShareTarget:
        path = _file_path(share)
        roots = [root for root in self._roots if path.is_relative_to(root)]
        if not roots:
            raise refusal(
                f"{share!r} lies in no folder that file: targets may use",
                advice="Add the folder to the file-share roots in the settings, or correct the scan process.",
            )
        root = max(roots, key=lambda r: len(r.parts))
        return ShareTarget(key=path.as_uri(), root=root, folder=path)

    def _unc_target(self, share: str) -> ShareTarget | SmbTarget:
        segments = unc_segments(share)
        lowered = folded(segments)
        for length in range(len(lowered), 1, -1):
            root = self._unc_roots.get(lowered[:length])
            if root is not None:
                rest = segments[length:]
                # Below the mapped root the case of letters may matter to the file system, above it never.
                key = unc_path((*lowered[:length], *rest))
                return ShareTarget(key=key, root=root, folder=root.joinpath(*rest))
        if is_address(segments[0]):
            raise refusal(
                f"{share!r} names its server by an address",
                advice="Name the server by its host name, as certificates and Kerberos do.",
            )
        return self._servers.target_of(segments)


def _absolute(folder: Path) -> Path:
    if not folder.is_absolute() or ".." in folder.parts:
        raise ConfigurationError(f"{folder} is no absolute path without '..'")
    return folder


def _file_path(share: str) -> Path:
    """Return the path a ``file:`` URI names (RFC 8089), percent-decoded once."""
    try:
        parts = urlsplit(share)
        if _BAD_PERCENT.search(parts.path):
            raise ValueError("a percent sign without two hex digits")
        path = unquote(parts.path, errors="strict")
    except ValueError as error:
        raise refusal(f"{share!r} is no file: URI ({error})") from error
    if parts.netloc.lower() not in ("", "localhost"):
        raise refusal(f"{share!r} names a host; write a UNC path for that")
    if "?" in share or "#" in share:
        raise refusal(f"{share!r} has a query or fragment; write %3F or %23 for those characters")
    if not path.startswith("/") or path.startswith("//"):
        raise refusal(f"{share!r} is no absolute path")
    if not is_printable(path):
        raise refusal(f"{share!r} has unprintable characters")
    if not {".", ".."}.isdisjoint(path.split("/")):
        raise refusal(f"{share!r} has a '.' or '..' in its path")
    return Path(PurePosixPath(path))
