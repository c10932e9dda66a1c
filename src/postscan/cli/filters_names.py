"""The names filter; it has no settings of its own, its times are in the time zone of [fileshare]."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from postscan.filters.names.filter import NamesFilter

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.filters.contract import Workers


def names_filter(loaded: LoadedSettings, workers: Workers | None = None) -> NamesFilter:
    """Return the names filter, which is always there; ``workers`` are what a dry run reads a barcode in."""
    zone = loaded.settings.fileshare.time_zone
    return NamesFilter(zone=ZoneInfo(zone) if zone else None, workers=workers)
