"""The settings file read again while the server runs: which keys take effect, and which need a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from postscan.cli.filters import filters_of
from postscan.cli.filters_processing import workers_of
from postscan.cli.live_workers import LiveWorkers
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.cli.settings_base import Section
from postscan.cli.settings_model import SECTIONS, Settings
from postscan.cli.settings_tables import free_tables
from postscan.cli.toml_text import dotted
from postscan.cli.wiring import server_settings

if TYPE_CHECKING:
    from postscan.server.reload import NewSettings

_LOG_LEVEL: Final = "server.log_level"
_FREE: Final = "filters."
OF_FILTERS: Final = tuple(
    name for name in ("fileshare", "email", "sharepoint", "processing", "filters") if name in SECTIONS
)
"""Sections that the filters are made from."""
LIVE: Final = frozenset(
    {
        _LOG_LEVEL,
        *(f"server.{key}" for key in ("friendly_name", "friendly_names", "manufacturer", "manufacturer_url")),
        *(f"server.{key}" for key in ("model_name", "model_number", "model_url", "presentation_url")),
        *(f"tls.{key}" for key in ("certificate", "key", "client_ca", "min_version")),
        *(f"limits.{key}" for key in ("max_image_bytes", "max_job_bytes", "max_images_per_job")),
        *(f"limits.{key}" for key in ("max_open_jobs", "max_open_jobs_per_owner", "min_free_bytes")),
        *(f"limits.{key}" for key in ("max_connections", "header_timeout_seconds", "idle_timeout_seconds")),
        *(f"limits.{key}" for key in ("keep_alive_seconds", "min_rate_bytes", "min_rate_window_seconds")),
        *(f"{section}.{key}" for section in OF_FILTERS for key in SECTIONS[section].model_fields),
        *(f"administrators.{key}" for key in ("groups", "certificates", "history_jobs")),
        *(f"revocation.{key}" for key in SECTIONS["revocation"].model_fields),
        "devices.allow",
    }
)
"""Dotted keys that take effect without a restart; the free tables of ``[filters]`` do, too."""


class SettingsFile:
    """Reads the settings of a running server again; a ``SettingsSource``.

    :ivar workers: the server's workers, which get other limits with the settings.

    :param set_log_level: puts another log level into force.
    """

    def __init__(
        self, loaded: LoadedSettings, env: Mapping[str, str], set_log_level: Callable[[str], None]
    ) -> None:
        self.workers = LiveWorkers(workers_of(loaded))
        self._path: Path = loaded.path
        self._env = env
        self._set_log_level = set_log_level
        self._in_force = loaded.settings

    def __call__(self) -> NewSettings:
        """Return the settings as the file has them now, but for what needs a restart.

        :raises ConfigurationError: something is wrong with them.
        """
        from postscan.server.reload import NewSettings

        loaded = load_settings(self._path, self._env)
        written = loaded.settings
        # What is written must be right as a whole: the next start would find nothing else.
        server_settings(written)
        changed = _changed(self._in_force, written)
        applied = tuple(key for key in changed if _is_live(key))
        effective = _taken_over(self._in_force, written, applied)

        in_force = replace(loaded, settings=effective)
        pool = workers_of(in_force)

        def commit() -> None:
            self._in_force = effective
            self.workers.pool = pool
            if _LOG_LEVEL in applied:
                self._set_log_level(effective.server.log_level)

        return NewSettings(
            settings=server_settings(effective),
            filters=filters_of(in_force, self.workers),
            applied=applied,
            waiting=tuple(key for key in changed if key not in applied),
            of_the_repository=applied != (_LOG_LEVEL,),
            commit=commit,
        )


def _is_live(key: str) -> bool:
    return key in LIVE or key.startswith(_FREE)


def _changed(before: Settings, after: Settings) -> list[str]:
    return [
        dotted(section, key)
        for section in SECTIONS
        for key in _keys(getattr(before, section), getattr(after, section))
        if _value(getattr(before, section), key) != _value(getattr(after, section), key)
    ]


def _keys(before: Section, after: Section) -> list[str]:
    free = sorted({*free_tables(before), *free_tables(after)})
    return [*type(before).model_fields, *free]


def _value(section: Section, key: str) -> Any:
    return getattr(section, key) if key in type(section).model_fields else free_tables(section).get(key)


def _taken_over(before: Settings, after: Settings, keys: Sequence[str]) -> Settings:
    """Return ``before`` with the values that ``after`` has for ``keys``."""
    updates: dict[str, dict[str, Any]] = {}
    for name in keys:
        section, _, key = name.partition(".")
        if key in SECTIONS[section].model_fields:
            updates.setdefault(section, {})[key] = getattr(getattr(after, section), key)
    # Free tables are taken over all together, as all of them take effect.
    sections = {name: getattr(before, name).model_copy(update=keys) for name, keys in updates.items()}
    sections["filters"] = after.filters
    return before.model_copy(update=sections)
