"""Reads the settings: server.toml, then the environment's overrides, remembering where each came from."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from postscan.cli.secret_store import Secrets
from postscan.cli.settings_base import Contradiction, Section
from postscan.cli.settings_explain import error_of, explain, explain_contradiction, names, nearest
from postscan.cli.settings_model import SECTIONS, Settings
from postscan.cli.settings_tables import Shown, entry_model, shown_values
from postscan.cli.toml_text import dotted
from postscan.core.errors import ConfigurationError

DEFAULT = "default"
FILE = "file"
_PREFIX = "POSTSCAN_"
_DELIMITER = "__"

Values = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings as read, and where from.

    ``origins`` has for each dotted key ``default``, ``file``, or ``environment`` and the variable's name. A
    table of tables has one key there; ``origin_of`` knows of each value in it.
    Paths in ``settings`` are absolute (those given relative are relative to ``base``, the file's folder).
    ``secrets`` finds what the settings need and do not hold.
    """

    settings: Settings
    origins: dict[str, str]
    path: Path
    base: Path
    secrets: Secrets

    def values(self) -> Iterator[Shown]:
        """Return every value in order, those in tables as well, fit for showing."""
        for name in SECTIONS:
            yield from shown_values(name, getattr(self.settings, name))

    def origin_of(self, shown: Shown) -> str:
        """Return where one of ``values()`` came from."""
        return self.origins[shown.table] if shown.is_given else DEFAULT


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
                name = dotted(section, key)
                # An override replaces a list or table as a whole: what is in force is what one place says.
                merged.setdefault(section, {})[key] = value
                origins[name] = kind if kind == FILE else f"environment {variables.get(name, section)}"
    merged.setdefault("server", {})
    base = path.absolute().parent
    try:
        settings = Settings(**merged)  # type: ignore[arg-type]  # validated by this very call
    except ValidationError as error:
        raise error_of([explain(found, path, origins) for found in error.errors()]) from error
    contradictions = [*_named_twice(settings, merged), *settings.contradictions()]
    if contradictions:
        raise error_of([explain_contradiction(found, path, origins) for found in contradictions])
    resolved = _resolve(settings, base)
    secrets = Secrets(base / "secrets.toml", env, _owner_of(resolved.server.data))
    return LoadedSettings(resolved, origins, path, base, secrets)


def _owner_of(data: Path) -> int | None:
    """Return the user id of the account the server runs as: the data folder is its own."""
    try:
        return data.stat().st_uid
    except OSError:
        return None


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
                advice=f"move it under {' or '.join(home)}" if home else f"known sections: {names(SECTIONS)}",
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
            found[dotted(section, _key_of_variable(section, key))] = name
            if section not in SECTIONS:
                raise ConfigurationError(
                    f"environment variable {name}: there is no section {section}",
                    advice=nearest(section, SECTIONS, "section") + ", or unset the variable",
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
    for section, keys in values.items():
        for key in [key for key in keys if key not in SECTIONS[section].model_fields]:
            keys[_key_of_variable(section, key)] = _free_table(keys.pop(key))
    return values


def _key_of_variable(section: str, key: str) -> str:
    """Return the key that a variable sets: the names of filters have hyphens, which variables cannot have."""
    model = SECTIONS.get(section)
    is_free = model is not None and model.model_config.get("extra") == "allow"
    return key.replace("_", "-") if is_free and model is not None and key not in model.model_fields else key


def _free_table(value: Any) -> Any:
    """Read a free table, which the model does not know for one, from the JSON of a variable."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value  # the model says that it is no table


def _named_twice(settings: Settings, merged: Values) -> Iterator[Contradiction]:
    """Tell which entries of a table have names that mean the same, of which all but one would be lost."""
    for name, model in SECTIONS.items():
        for key, field in model.model_fields.items():
            written = merged.get(name, {}).get(key, {})
            if entry_model(field) is not None and len(written) != len(getattr(getattr(settings, name), key)):
                yield Contradiction(
                    dotted(name, key),
                    f"has two names that mean the same: {', '.join(written)}",
                    "write each of them once",
                )


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
        if isinstance(value, Section):
            return resolved_section(value)
        if isinstance(value, list):
            return [resolved(item) for item in value]
        if isinstance(value, dict):
            return {key: resolved(item) for key, item in value.items()}
        return value

    def resolved_section(section: Section) -> Section:
        given = section.model_fields_set
        values = {key: resolved(getattr(section, key)) for key in type(section).model_fields}
        copy = section.model_copy(update=values)
        # What was written must still be told from defaults.
        copy.__pydantic_fields_set__.intersection_update(given)
        return copy

    return settings.model_copy(update={name: resolved_section(getattr(settings, name)) for name in SECTIONS})


__all__ = ["DEFAULT", "FILE", "LoadedSettings", "Settings", "load_settings"]
