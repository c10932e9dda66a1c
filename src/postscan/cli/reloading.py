"""The settings file read again while the server runs: which keys take effect, and which need a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from postscan.cli.settings import LoadedSettings, load_settings
from postscan.cli.settings_model import SECTIONS, Settings
from postscan.cli.wiring import filters_of, server_settings

if TYPE_CHECKING:
    from postscan.server.reload import NewSettings

_LOG_LEVEL: Final = "server.log_level"
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
        *(f"fileshare.{key}" for key in ("roots", "folder_mode", "time_zone", "unc_map")),
        *(f"administrators.{key}" for key in ("groups", "certificates", "history_jobs")),
        *(f"revocation.{key}" for key in SECTIONS["revocation"].model_fields),
        "devices.allow",
    }
)
"""Dotted keys that take effect without a restart."""


class SettingsFile:
    """Reads the settings of a running server again; a ``SettingsSource``.

    :param set_log_level: puts another log level into force.
    """

    def __init__(
        self, loaded: LoadedSettings, env: Mapping[str, str], set_log_level: Callable[[str], None]
    ) -> None:
        self._path: Path = loaded.path
        self._env = env
        self._set_log_level = set_log_level
        self._in_force = loaded.settings

    def __call__(self) -> NewSettings:
        """Return the settings as the file has them now, but for what needs a restart.

        :raises ConfigurationError: something is wrong with them.
        """
        from postscan.server.reload import NewSettings

        written = load_settings(self._path, self._env).settings
        # What is written must be right as a whole: the next start would find nothing else.
        server_settings(written)
        changed = _changed(self._in_force, written)
        effective = _taken_over(self._in_force, written, [key for key in changed if key in LIVE])
        applied = tuple(key for key in changed if key in LIVE)

        def commit() -> None:
            self._in_force = effective
            if _LOG_LEVEL in applied:
                self._set_log_level(effective.server.log_level)

        return NewSettings(
            settings=server_settings(effective),
            filters=filters_of(effective),
            applied=applied,
            waiting=tuple(key for key in changed if key not in LIVE),
            of_the_repository=applied != (_LOG_LEVEL,),
            commit=commit,
        )


def _changed(before: Settings, after: Settings) -> list[str]:
    return [
        f"{section}.{key}"
        for section, model in SECTIONS.items()
        for key in model.model_fields
        if getattr(getattr(before, section), key) != getattr(getattr(after, section), key)
    ]


def _taken_over(before: Settings, after: Settings, keys: list[str]) -> Settings:
    """Return ``before`` with the values that ``after`` has for ``keys``."""
    updates: dict[str, dict[str, Any]] = {}
    for dotted in keys:
        section, _, key = dotted.partition(".")
        updates.setdefault(section, {})[key] = getattr(getattr(after, section), key)
    sections = {name: getattr(before, name).model_copy(update=keys) for name, keys in updates.items()}
    return before.model_copy(update=sections)
