"""Writes values as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_value(value: Any) -> str:
    """Write one value as TOML: strings, numbers, booleans, paths, lists and tables of these."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{toml_string(k)} = {toml_value(v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return toml_string(str(value))


def toml_string(text: str) -> str:
    r"""Write a string, as a literal ('...') when that spares doubling backslashes."""
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    # JSON's escapes are a subset of TOML's basic strings, save DEL, which JSON leaves bare.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def dotted(*parts: str) -> str:
    """Join parts to a dotted key, quoted where TOML wants it: ``fileshare.servers."files.example.com"``."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else toml_string(part) for part in parts)
