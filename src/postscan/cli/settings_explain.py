"""Says what is wrong with settings: where it stands, which key, and what to write instead."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic.fields import FieldInfo

from postscan.cli.settings_base import Contradiction, Section
from postscan.cli.settings_model import SECTIONS
from postscan.cli.settings_tables import entry_model
from postscan.cli.settings_text import unit_of
from postscan.cli.toml_text import dotted, toml_value
from postscan.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_FILE: Final = "file"
_KEY_ITSELF: Final = "[key]"
_NO_TABLE: Final = frozenset({"model_type", "dict_type", "model_attributes_type"})

# Where it stands, which key and what is wrong, what to write.
Explained = tuple[str, str, str]


def error_of(found: Sequence[Explained]) -> ConfigurationError:
    """Turn what is wrong into one error."""
    wrong = [f"{where}: {what}" for where, what, _write in found]
    advice = [write for _where, _what, write in found]
    if len(wrong) == 1:
        return ConfigurationError(wrong[0], advice=advice[0])
    return ConfigurationError(
        "\n".join([f"{len(wrong)} settings are wrong", *(f"  - {line}" for line in wrong)]),
        advice="\n".join([advice[0], *(f"            {line}" for line in advice[1:])]),
    )


def explain_contradiction(found: Contradiction, path: Path, origins: Mapping[str, str]) -> Explained:
    """Explain values that do not fit together."""
    return _where(found.key, path, origins), f"{found.key} {found.message}", found.advice


def explain(found: ErrorDetails, path: Path, origins: Mapping[str, str]) -> Explained:
    """Explain what the model refused.

    :param origins: by dotted key of each value of a section where it came from.
    """
    section, key, *inner = (*(str(part) for part in found["loc"]), "")
    table = dotted(section, key) if key else section
    where = _where(table, path, origins)
    if section not in SECTIONS:
        return where, f"there is no section [{section}]", nearest(section, SECTIONS, "section")
    model = SECTIONS[section]
    if key and key not in model.model_fields:
        return where, *_explain_unknown(found, section, key)
    entry = entry_model(model.model_fields[key]) if key else None
    if entry is not None:
        return where, *_explain_in_table(found, table, entry, inner[:-1])
    return where, *_explain_value(found, section, key, model)


def nearest(name: str, known: Mapping[str, object], kind: str) -> str:
    """Return which name was meant, or all that are known."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"the nearest {kind} is {near[0]}" if near else f"known: {names(known)}"


def names(known: Mapping[str, object]) -> str:
    """Return names as one text."""
    return ", ".join(known)


def _where(key: str, path: Path, origins: Mapping[str, str]) -> str:
    # A key within a table came from where the table did.
    table = max((known for known in origins if key == known or key.startswith(f"{known}.")), default="")
    origin = origins.get(table, _FILE)
    return origin if origin.startswith("environment") else str(path)


def _explain_unknown(found: ErrorDetails, section: str, key: str) -> tuple[str, str]:
    """Explain a key that its section does not know, or a free table that is none."""
    model = SECTIONS[section]
    if model.model_config.get("extra") == "allow":
        table = dotted(section, key)
        if found["type"] in _NO_TABLE:
            hint = difflib.get_close_matches(key, list(model.model_fields), n=1, cutoff=0.7)
            return (
                f"{table} = {_shown(found['input'])} is no table",
                f"the nearest key of [{section}] is {hint[0]}"
                if hint
                else f"write [{table}] and the filter's keys below it",
            )
        return f"{table} {_words(found)}", f"write a table like [{section}.dated-folders]"
    what = f"there is no key {key} in [{section}]"
    homes = [f"[{name}]" for name, other in SECTIONS.items() if key in other.model_fields]
    if homes:
        return what, f"{key} belongs under {' or '.join(homes)}"
    return what, nearest(key, model.model_fields, f"key of [{section}]")


def _explain_in_table(
    found: ErrorDetails, table: str, model: type[Section], inner: list[str]
) -> tuple[str, str]:
    """Explain what is wrong in ``[section.key."name"]``; ``inner`` is the way from the table on."""
    if not inner:
        return (
            f"{table} = {_shown(found['input'])} is no table of tables",
            f'write [{table}."NAME"] and its keys below it, for each',
        )
    name, *rest = inner
    entry = f"{table}.{dotted(name)}"
    if rest and rest[0] == _KEY_ITSELF:
        return f"{entry} {_verb(_words(found))}", f"correct {dotted(name)} in [{entry}]"
    if not rest:
        return f"{entry} = {_shown(found['input'])} is no table", f"write [{entry}] and its keys below it"
    key = rest[0]
    if key not in model.model_fields:
        return f"there is no key {key} in [{entry}]", nearest(key, model.model_fields, f"key of [{entry}]")
    return _explain_value(found, entry, key, model)


def _explain_value(found: ErrorDetails, section: str, key: str, model: type[Section]) -> tuple[str, str]:
    """Explain a value that is missing, or that its field refused; without ``key`` the section itself."""
    if not key:
        return f"[{section}] {_verb(_words(found))}", f"write [{section}] and its keys below it"
    field = model.model_fields[key]
    description = field.description or ""
    if found["type"] == "missing":
        return f"{section}.{key} is missing", f'write {key} = "..." under [{section}]: {description}'
    return (
        f"{section}.{key} = {_shown(found['input'])} {_verb(_words(found))}",
        f"{key} in [{section}]: {description}{_example(field)}",
    )


def _words(found: ErrorDetails) -> str:
    text = found["msg"].removeprefix("Value error, ")
    return text[0].lower() + text[1:]


def _verb(text: str) -> str:
    return text if text.startswith(("is ", "has ")) else f"is wrong: {text}"


def _shown(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _example(field: FieldInfo) -> str:
    if field.is_required() or not field.default:
        return ""
    unit = unit_of(field)
    return f" Such as {toml_value(field.default)}{f' ({unit})' if unit else ''}."
