"""When two spellings are one name: of users and of groups, by which people are let in."""

from __future__ import annotations

import unicodedata


def folded(name: str) -> str:
    """Return a form of a name that is the same for all spellings that count as one: those in other case.

    Only letters that are upper and lower case of each other, one for one, are one letter. A directory keeps
    apart names that ``str.casefold`` makes one (ſ and s, ß and ss), so whoever may name a group could pass it
    off as another.
    """
    composed = unicodedata.normalize("NFC", name)
    if any(unicodedata.normalize("NFC", letter) != letter for letter in name):
        composed = name  # It has a letter that only looks like another, such as the sign for Kelvin.
    return "".join(_lower(letter) for letter in composed)


def _lower(letter: str) -> str:
    lower = letter.lower()
    return lower if lower.upper() == letter else letter
