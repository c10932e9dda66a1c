"""Writes server.toml from the settings' own descriptions, so that file and program cannot drift apart."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from postscan.cli.settings_base import Section
from postscan.cli.settings_model import SECTIONS
from postscan.cli.settings_tables import entry_model, example_name
from postscan.cli.toml_text import dotted, toml_string, toml_value

_WIDTH = 100
_EXAMPLE = "#   "
_HEAD = """\
# The settings of a Postscan scan server.
#
# A line "# key = value" shows a default; take the "#" away to change it. Paths are relative to the
# folder of this file. An environment variable overrides any value: POSTSCAN_SERVER__LISTEN is
# listen in [server]; lists and tables are written as JSON. Where there may be several tables of a
# kind, an indented one shows what may stand in each. After a change, `postscan config check` shows
# what is in force, where each value came from, and what does not fit.
"""


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
        about = "\n".join(f"# {line}".rstrip() for line in (inspect.getdoc(model) or "").splitlines())
        parts.append(f"\n\n{about}\n[{section}]")
        tables = []
        for key, field in model.model_fields.items():
            entry = entry_model(field)
            if entry is not None:
                tables.append("\n".join(_tables(dotted(section, key), field, entry, given.get(key, {}))))
            elif isinstance(_default(field), Mapping):
                tables.append(_table(section, key, _comment(_described(field)), given.get(key, {})))
            else:
                parts.append(_line(section, key, field, given, notes or {}))
        tables += [
            "\n".join(_filled(dotted(section, key), table, {}))
            for key, table in given.items()
            if key not in model.model_fields
        ]
        parts.extend(tables)
    return "\n".join(parts) + "\n"


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _described(field: FieldInfo) -> str:
    unit = unit_of(field)
    return f"{field.description}{f' Unit: {unit}.' if unit else ''}"


def _comment(text: str, mark: str = "# ") -> str:
    return "\n".join(textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent=mark))


def _line(
    section: str, key: str, field: FieldInfo, given: Mapping[str, Any], notes: Mapping[str, str]
) -> str:
    text = _described(field)
    if key in given:
        note = notes.get(f"{section}.{key}", "")
        return f"\n{_comment(f'{text} {note}'.rstrip())}\n{key} = {toml_value(given[key])}"
    return f"\n{_comment(text)}\n# {key} = {toml_value(_default(field))}"


def _table(section: str, key: str, comment: str, entries: Mapping[str, Any]) -> str:
    lines = [f"\n{comment}\n[{section}.{key}]"]
    lines += [f"{toml_string(name)} = {toml_value(value)}" for name, value in entries.items()]
    return "\n".join(lines)


def _tables(
    table: str, field: FieldInfo, model: type[Section], entries: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Write a table of tables: those given, and without any an example that stands in comments."""
    yield f"\n{_comment(_described(field))}"
    for name, entry in entries.items():
        yield from _filled(f"{table}.{dotted(name)}", entry, model.model_fields)
    if entries:
        return
    # Indented, so that nobody takes a single line of it for a key of the section above.
    yield f"{_EXAMPLE}[{table}.{dotted(example_name(field))}]"
    for key, inner in model.model_fields.items():
        yield _comment(_described(inner), f"{_EXAMPLE}# ")
        default = _default(inner)
        yield f"{_EXAMPLE}{key} = {toml_value('...' if default is None else default)}"


def _filled(table: str, entry: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    """Write one table that is given, each value with its meaning where that is known."""
    yield f"\n[{table}]"
    for key, value in entry.items():
        if key in fields:
            yield _comment(_described(fields[key]))
        yield f"{dotted(key)} = {toml_value(value)}"
