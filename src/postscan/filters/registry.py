"""The filters this project brings along."""

from __future__ import annotations

from postscan.filters.contract import Filter
from postscan.filters.fileshare import FileShareFilter, FileShareSettings


def built_in_filters(settings: FileShareSettings) -> dict[str, Filter]:
    """Return the built-in filters by dialect (Filter.Dialect, a namespace).

    :raises ConfigurationError: the settings cannot be used.
    """
    filters: list[Filter] = [FileShareFilter(settings)]
    return {one.dialect: one for one in filters}
