"""Instructions of the file-share filter (scan-process-and-filters.md; schema/fsf.xsd)."""

from __future__ import annotations

from postscan.contracts.binding import Bound, element, texts
from postscan.soap.names import FSF


@element(FSF, "FileShareConfig")
class FileShareConfig(Bound):
    """The shares to save to: UNC paths (or targets of other kinds), at most 255 characters each."""

    share_uncs: tuple[str, ...] = texts("ShareUNC", wrapper="FileShares", default=())
