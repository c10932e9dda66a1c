"""Writes server.toml from the settings' own descriptions, so that file and program cannot drift apart."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from postscan.cli.settings_model import SECTIONS

_WIDTH = 100
_HEAD = """\
# The settings of a Postscan scan server.
#
# A line "# key = value" shows a default; take the "#" away to change it. Paths are relative to the
# folder of this file. An environment variable overrides any value: POSTSCAN_SERVER__LISTEN is
# listen in [server]; lists and tables are written as JSON. After a change, `postscan config check`
# shows what is in force, where each value came from, and what does not fit.
"""


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


def unit_of(field: FieldInfo) -> str:
    """Return the unit of a setting, empty when it has none."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def server_toml(values: Mapping[str, Mapping[str, Any]], notes: Mapping[str, str] | None = None) -> str:
    """Write a complete server.toml.

    :param values: by section and key what is set; everything else is shown as a comment with its default.
    :param notes: by dotted key why a value is set so, written beside it.
    """
    parts = [_HEAD]
    for section, model in SECTIONS.items():
        given = values.get(section, {})
        parts.append(f"\n\n# {inspect.getdoc(model)}\n[{section}]")
        tables = []
        for key, field in model.model_fields.items():
            unit = unit_of(field)
            text = f"{field.description}{f' Unit: {unit}.' if unit else ''}"
            if key in given:
                text = f"{text} {(notes or {}).get(f'{section}.{key}', '')}".rstrip()
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            comment = "\n".join(textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# "))
            if isinstance(default, Mapping):
                tables.append(_table(section, key, comment, given.get(key, {})))
            elif key in given:
                parts.append(f"\n{comment}\n{key} = {toml_value(given[key])}")
            else:
                parts.append(f"\n{comment}\n# {key} = {toml_value(default)}")
        parts.extend(tables)
    return "\n".join(parts) + "\n"


def _table(section: str, key: str, comment: str, entries: Mapping[str, str | Path]) -> str:
    lines = [f"\n{comment}\n[{section}.{key}]"]
    lines += [f"{toml_string(name)} = {toml_value(value)}" for name, value in entries.items()]
    return "\n".join(lines)
