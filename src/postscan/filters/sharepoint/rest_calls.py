"""The calls that address files and folders, in the two spellings that SharePoint's REST service knows.

``@f`` stands for a server-relative path, ``@n`` for a name, each a parameter alias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Calls:
    """One spelling. ``decoded`` tells that paths are taken as they are, whatever characters are in them."""

    decoded: bool
    file: str
    folder: str
    add_file: str
    add_folder: str
    move: str


def _by_path() -> Calls:
    folder = "GetFolderByServerRelativePath(decodedurl=@f)"
    return Calls(
        decoded=True,
        file="GetFileByServerRelativePath(decodedurl=@f)",
        folder=folder,
        add_file=f"{folder}/Files/AddUsingPath(decodedurl=@n,overwrite=false)",
        add_folder=f"{folder}/Folders/AddUsingPath(decodedurl=@n,overwrite=false)",
        move="MoveToUsingPath(decodedurl=@n,moveOperations=0)",
    )


def _by_url() -> Calls:
    folder = "GetFolderByServerRelativeUrl(@f)"
    return Calls(
        decoded=False,
        file="GetFileByServerRelativeUrl(@f)",
        folder=folder,
        add_file=f"{folder}/Files/add(url=@n,overwrite=false)",
        add_folder=f"{folder}/Folders/add(@n)",
        move="MoveTo(newurl=@n,flags=0)",
    )


BY_PATH: Final = _by_path()
"""Decoded paths: SharePoint 2019 and later, and Online."""
BY_URL: Final = _by_url()
"""What SharePoint 2013 and 2016 know."""
