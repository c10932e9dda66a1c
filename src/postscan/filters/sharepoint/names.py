"""Names that SharePoint takes, made of names that are safe everywhere else (filters.naming).

What a server takes grew with time. *Strict* names are good for all versions: the rules of 2013 and before,
and paths that its URLs have room for. *Modern* ones are for 2016 and later and Online: most characters, paths
of 400 characters ("Restrictions and limitations in OneDrive and SharePoint", Microsoft Support). All count
characters of the decoded path, as UTF-16 does.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from postscan.filters.naming import MAX_NAME_BYTES, safe_component


class NameRules(StrEnum):
    """Which names a library takes."""

    STRICT = "strict"
    MODERN = "modern"


@dataclass(frozen=True, slots=True)
class _Rules:
    forbidden: frozenset[str]
    longest_name: int
    longest_path: int


# Left out by filters.naming already: " * : < > ? / \ | and what is invisible.
_RULES: Final = {
    NameRules.STRICT: _Rules(frozenset("#%&{}~"), 128, 260),
    NameRules.MODERN: _Rules(frozenset(), 255, 400),
}
_VTI: Final = re.compile("_vti_", re.IGNORECASE)
_DOTS: Final = re.compile(r"\.{2,}")
_SPACES: Final = re.compile(" {2,}")
# Names that Windows or SharePoint keep for themselves, and endings that make a folder the half of a web page.
_RESERVED: Final = frozenset({".lock", "desktop.ini", "forms", "thumbs.db"})
_PAGE_ENDINGS: Final = re.compile(r"[._-](files|dateien|fichiers|bestanden|archivos|file)$", re.IGNORECASE)
_TAIL: Final = 64
_SHORTEST: Final = 80


def file_name(name: str, rules: NameRules, longest: int) -> str:
    """Return a file's name as a library takes it: what it does not take is left out.

    What is too long is cut in front of its last 64 characters, which hold date, user, number and ending.

    :param longest: the most characters it may have (UTF-16), as :func:`room_for_name` returns it.
    """
    fitting = _fitting(name, rules, longest)
    return fitting if fitting.casefold() not in _RESERVED else _fitting(f"_{fitting}", rules, longest)


def folder_name(name: str, rules: NameRules) -> str:
    """Return a user's folder as a library takes it; two that differ stay different, by a hash."""
    fitting = file_name(name, rules, _RULES[rules].longest_name)
    if _PAGE_ENDINGS.search(fitting):
        fitting += "_"
    if fitting == name:
        return name
    tag = "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    kept = _fitting(fitting, rules, _RULES[rules].longest_name - len(tag), MAX_NAME_BYTES - len(tag))
    return kept + tag


def room_for_name(folder_path: str, rules: NameRules) -> int:
    """Return how many characters a name in this folder may have; too few for any name is 0.

    :param folder_path: the decoded path from the root of the server.
    """
    room = _RULES[rules].longest_path - _units(folder_path) - 1
    return min(room, _RULES[rules].longest_name) if room >= _SHORTEST else 0


def _fitting(name: str, rules: NameRules, longest: int, octets: int = MAX_NAME_BYTES) -> str:
    forbidden = _RULES[rules].forbidden
    for _ in range(len(name) + 4):
        before = name
        name = "".join(char for char in name if char not in forbidden)
        name = _SPACES.sub(" ", _VTI.sub("vti", _DOTS.sub(".", name)))
        name = name.removeprefix("~$")
        name = safe_component(_shortened(name, longest), "_", max_bytes=octets)
        if name == before:
            break
    return name


def _shortened(name: str, longest: int) -> str:
    if _units(name) <= longest:
        return name
    tail = name[-_TAIL:]
    while _units(tail) > longest - 8:
        tail = tail[1:]
    head = name[: len(name) - len(tail)]
    while head and _units(head) + _units(tail) > longest:
        head = head[:-1]
    return head.rstrip(" .") + tail


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
