"""Reads the settings: server.toml, then the environment's overrides, remembering where each came from."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, SettingsError

from postscan.cli.secret_store import Secrets
from postscan.cli.settings_base import Contradiction, Section
from postscan.cli.settings_model import SECTIONS, Settings
from postscan.core.errors import ConfigurationError

DEFAULT = "default"
FILE = "file"
_PREFIX = "POSTSCAN_"
_DELIMITER = "__"

Values = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings as read, and where from.

    ``origins`` has for each dotted key ``default``, ``file``, or ``environment`` and the variable's name.
    Paths in ``settings`` are absolute (those given relative are relative to ``base``, the file's folder).
    ``secrets`` finds what the settings need and do not hold.
    """

    settings: Settings
    origins: dict[str, str]
    path: Path
    base: Path
    secrets: Secrets


def load_settings(path: Path, env: Mapping[str, str]) -> LoadedSettings:
    """Read the settings file and the environment's overrides.

    :param path: server.toml.
    :param env: the environment; ``POSTSCAN_<SECTION>__<KEY>`` overrides a value (lists and tables as JSON).
    :raises ConfigurationError: naming each wrong key, where it stands, and what to write instead.
    """
    from_file = _read_file(path)
    variables = _variables(env)
    from_environment = _read_environment(env, variables)
    origins = {
        f"{section}.{key}": DEFAULT for section, model in SECTIONS.items() for key in model.model_fields
    }
    merged: Values = {}
    for values, kind in ((from_file, FILE), (from_environment, "environment")):
        for section, keys in values.items():
            for key, value in keys.items():
                dotted = f"{section}.{key}"
                # An override replaces a list or table as a whole: what is in force is what one place says.
                merged.setdefault(section, {})[key] = value
                origins[dotted] = kind if kind == FILE else f"environment {variables.get(dotted, section)}"
    merged.setdefault("server", {})
    base = path.absolute().parent
    try:
        settings = Settings(**merged)  # type: ignore[arg-type]  # validated by this very call
    except ValidationError as error:
        raise _explain([_explain_one(found, path, origins) for found in error.errors()]) from error
    wrong = [_explain_contradiction(found, path, origins) for found in settings.contradictions()]
    if wrong:
        raise _explain(wrong)
    return LoadedSettings(_resolve(settings, base), origins, path, base, Secrets(base / "secrets.toml", env))


def _read_file(path: Path) -> Values:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no settings file {path}",
            advice="name it with --config FILE, or make an installation with"
            " `postscan init DIR --fqdn NAME --listen HOST:PORT`",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{path} is not valid TOML: {error}", advice=f"correct {path} at the place named"
        ) from error
    for name, value in values.items():
        if name in SECTIONS and not isinstance(value, dict):
            raise ConfigurationError(
                f"{path}: {name} is a section, not a value", advice=f"write [{name}] and its keys below it"
            )
        if not isinstance(value, dict):
            home = [f"[{section}]" for section, model in SECTIONS.items() if name in model.model_fields]
            raise ConfigurationError(
                f"{path}: {name} stands outside of any section",
                advice=f"move it under {' or '.join(home)}"
                if home
                else f"known sections: {_names(SECTIONS)}",
            )
    return values


def _variables(env: Mapping[str, str]) -> dict[str, str]:
    """Return by dotted key the name of the variable that sets it.

    Variables without the delimiter are none of ours: a container platform sets POSTSCAN_PORT and the like
    for a service of this name.
    """
    found = {}
    for name in env:
        if name.upper().startswith(_PREFIX) and _DELIMITER in name[len(_PREFIX) :]:
            section, key, *_inner = name[len(_PREFIX) :].lower().split(_DELIMITER)
            found[f"{section}.{key}"] = name
            if section not in SECTIONS:
                raise ConfigurationError(
                    f"environment variable {name}: there is no section {section}",
                    advice=_nearest(section, SECTIONS, "section") + ", or unset the variable",
                )
    return found


def _read_environment(env: Mapping[str, str], variables: Mapping[str, str]) -> Values:
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): env[name] for name in variables.values()}
    try:
        values: Values = source()
    except (SettingsError, ValueError) as error:
        wrong = next((v for v in variables.values() if _is_bad_json(env[v])), "a POSTSCAN_ variable")
        raise ConfigurationError(
            f"environment variable {wrong} does not hold a JSON value",
            advice='write lists like ["10.1.0.0/16"] and tables like {"key": "value"}',
        ) from error
    return values


def _is_bad_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


def _resolve(settings: Settings, base: Path) -> Settings:
    """Make every path absolute, against the settings file's folder."""

    def resolved(value: Any) -> Any:
        if isinstance(value, Path):
            return Path(os.path.normpath(base / value))
        if isinstance(value, list):
            return [resolved(item) for item in value]
        if isinstance(value, dict):
            return {key: resolved(item) for key, item in value.items()}
        return value

    sections = {}
    for name, model in SECTIONS.items():
        section: Section = getattr(settings, name)
        sections[name] = section.model_copy(
            update={key: resolved(getattr(section, key)) for key in model.model_fields}
        )
    return settings.model_copy(update=sections)


def _explain(found: Sequence[tuple[str, str, str]]) -> ConfigurationError:
    """Turn what is wrong into sentences: for each where, which key and what is wrong, what to write."""
    wrong = [f"{where}: {what}" for where, what, _write in found]
    advice = [write for _where, _what, write in found]
    if len(wrong) == 1:
        return ConfigurationError(wrong[0], advice=advice[0])
    return ConfigurationError(
        "\n".join([f"{len(wrong)} settings are wrong", *(f"  - {line}" for line in wrong)]),
        advice="\n".join([advice[0], *(f"            {line}" for line in advice[1:])]),
    )


def _explain_contradiction(
    found: Contradiction, path: Path, origins: Mapping[str, str]
) -> tuple[str, str, str]:
    origin = origins.get(found.key, FILE)
    where = origin if origin.startswith("environment") else str(path)
    return where, f"{found.key} {found.message}", found.advice


def _explain_one(found: ErrorDetails, path: Path, origins: Mapping[str, str]) -> tuple[str, str, str]:
    section, key, *_inner = (*(str(part) for part in found["loc"]), "")
    dotted = f"{section}.{key}" if key else section
    origin = origins.get(dotted, FILE)
    where = origin if origin.startswith("environment") else str(path)
    if section not in SECTIONS:
        return where, f"there is no section [{section}]", _nearest(section, SECTIONS, "section")
    fields = SECTIONS[section].model_fields
    if key not in fields:
        homes = [f"[{name}]" for name, model in SECTIONS.items() if key in model.model_fields]
        what = f"there is no key {key} in [{section}]"
        if homes:
            return where, what, f"{key} belongs under {' or '.join(homes)}"
        return where, what, _nearest(key, fields, f"key of [{section}]")
    description = fields[key].description or ""
    if found["type"] == "missing":
        return where, f"{dotted} is missing", f'write {key} = "..." under [{section}]: {description}'
    text = found["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    return where, f"{dotted} = {_shown(found['input'])} {_verb(text)}", _example(section, key, description)


def _verb(text: str) -> str:
    return text if text.startswith(("is ", "has ")) else f"is wrong: {text}"


def _shown(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _example(section: str, key: str, description: str) -> str:
    field = SECTIONS[section].model_fields[key]
    if field.is_required():
        return f"{key} in [{section}]: {description}"
    from postscan.cli.settings_text import toml_value, unit_of

    unit = unit_of(field)
    example = f" Such as {toml_value(field.default)}{f' ({unit})' if unit else ''}." if field.default else ""
    return f"{key} in [{section}]: {description}{example}"


def _nearest(name: str, known: Mapping[str, object], kind: str) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"the nearest {kind} is {near[0]}" if near else f"known: {_names(known)}"


def _names(known: Mapping[str, object]) -> str:
    return ", ".join(known)


__all__ = ["DEFAULT", "FILE", "LoadedSettings", "Settings", "load_settings"]
