"""Tables of tables in the settings: ``[section.key."name"]``, each a section of its own, and free tables.

A free table, ``[filters.NAME]``, is one whose keys only the filter of that name knows.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic.fields import FieldInfo

from postscan.cli.settings_base import Contradiction, Section
from postscan.cli.toml_text import dotted

HIDDEN: Final = "(hidden)"
# Secrets have no place in the settings; should somebody put one into a free table, it is not shown.
_SECRET_KEY = re.compile(r"(^|[_-])(pass(word|phrase|wd)?|secret|token|credentials?|key)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shown:
    """One value of the settings as it is shown: its dotted key, and the field, which free tables lack.

    ``is_given`` tells whether the entry of the table it stands in says it; without a table it is true.
    ``table`` is the dotted key of the value of the section that it belongs to.
    """

    key: str
    value: Any
    field: FieldInfo | None
    table: str
    is_given: bool = True


def entry_model(field: FieldInfo) -> type[Section] | None:
    """Return the section that each entry of a table of tables is; None for a value of another kind."""
    if typing.get_origin(field.annotation) is not dict:
        return None
    entry = typing.get_args(field.annotation)[1]
    return entry if isinstance(entry, type) and issubclass(entry, Section) else None


def example_name(field: FieldInfo) -> str:
    """Return a name that an entry of a table of tables may have."""
    extra = field.json_schema_extra
    return str(extra.get("example", "NAME")) if isinstance(extra, dict) else "NAME"


def free_tables(section: Section) -> dict[str, Mapping[str, Any]]:
    """Return the free tables of a section by name; empty for one that has none."""
    return dict(section.model_extra or {})


def shown_values(name: str, section: Section) -> Iterator[Shown]:
    """Return every value of a section in order, those in its tables as well.

    :param name: the section's name.
    """
    for key, field in type(section).model_fields.items():
        value, table = getattr(section, key), dotted(name, key)
        if entry_model(field) is None or not value:
            yield Shown(table, value, field, table)
            continue
        for entry_name, entry in value.items():
            for inner, inner_field in type(entry).model_fields.items():
                yield Shown(
                    dotted(name, key, entry_name, inner),
                    getattr(entry, inner),
                    inner_field,
                    table,
                    inner in entry.model_fields_set,
                )
    for free, values in free_tables(section).items():
        table = dotted(name, free)
        for key, value in values.items():
            yield Shown(dotted(name, free, key), without_secrets(key, value), None, table)
        if not values:
            yield Shown(table, {}, None, table)


def without_secrets(key: str, value: Any) -> Any:
    """Return a value of a free table without what looks like a secret in it, by its keys."""
    if _SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, Mapping):
        return {inner: without_secrets(inner, item) for inner, item in value.items()}
    return [without_secrets("", item) for item in value] if isinstance(value, list) else value


def secrets_in_free_tables(name: str, section: Section) -> Iterator[str]:
    """Return the dotted keys of free tables that look as if they held a secret."""
    for free, values in free_tables(section).items():
        for key in values:
            if _SECRET_KEY.search(key):
                yield dotted(name, free, key)


def table_contradictions(name: str, section: Section) -> Iterator[Contradiction]:
    """Tell which values of the entries of a section's tables do not fit together, with whole keys."""
    for key, field in type(section).model_fields.items():
        if entry_model(field) is None:
            continue
        for entry_name, entry in getattr(section, key).items():
            for found in entry.contradictions():
                yield replace(found, key=f"{dotted(name, key, entry_name)}.{found.key}")
