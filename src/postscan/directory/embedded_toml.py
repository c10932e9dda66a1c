"""Changes values in a TOML file without touching the rest: comments, order and other spellings stay.

Only keys at the top of a file are changed, those before its first table. What was made is parsed and compared
before it is given back, so a file written in a way that is not understood here is refused, never spoiled.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from postscan.directory.embedded_entries import toml_value

# A value that is spread over more lines than this is not changed in place.
MAX_LINES: Final = 2_000
_CLOSING: Final = "]\"'"


class CannotChange(ValueError):
    """The file is written in a way that cannot be changed in place; ``str()`` names the key."""


def with_values(text: str, values: Mapping[str, str | list[str]]) -> str:
    """Return TOML ``text`` with these values at its top-level keys, which are added where they are missing.

    :raises CannotChange: a value cannot be replaced where it stands.
    :raises ValueError: ``text`` is no TOML, or a value cannot be written as text.
    """
    for key, value in values.items():
        wanted = tomllib.loads(text) | {key: value}
        candidates = _replaced(text, key, value) if key in tomllib.loads(text) else _added(text, key, value)
        found = next((made for made in candidates if _reads_as(made, wanted)), None)
        if found is None:
            raise CannotChange(f"{key} is written in a way that cannot be changed in place")
        text = found
    return text


def _reads_as(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _added(text: str, key: str, value: str | list[str]) -> Iterator[str]:
    newline = "\r\n" if "\r\n" in text else "\n"
    line = f"{key} = {toml_value(value)}{newline}"
    yield text + ("" if not text or text.endswith("\n") else newline) + line
    # A file with tables ends in one of them: only the top is left.
    yield line + text


def _replaced(text: str, key: str, value: str | list[str]) -> Iterator[str]:
    """Yield ``text`` with the value replaced, for each place where the key may stand."""
    spelling = re.compile(rf"^[ \t]*([\"']?){re.escape(key)}\1[ \t]*=[ \t]*", re.MULTILINE)
    for found in spelling.finditer(text):
        end = _end_of_value(text, found.end())
        if end is not None:
            yield text[: found.end()] + toml_value(value) + text[end:]


def _end_of_value(text: str, start: int) -> int | None:
    """Return where the value that begins at ``start`` ends: before a comment, in the first line it can."""
    line_start, line_end = start, start
    for _ in range(MAX_LINES):
        if line_end >= len(text):
            return None
        line_start, line_end = line_end, text.find("\n", line_end) + 1 or len(text)
        whole = _value(text[start:line_end])
        if whole is not None:
            ends = (at + 1 for at in range(line_start, line_end) if text[at] in _CLOSING)
            return next((end for end in ends if _value(text[start:end]) == whole), None)
    return None


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return None
