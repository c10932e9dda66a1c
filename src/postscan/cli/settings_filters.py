"""The settings of filters that other packages bring; those of our own have sections of their own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, ConfigDict

from postscan.cli.settings_base import Section, setting

_FILTER_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _checked_filter_name(text: str) -> str:
    if len(text) > 64 or not _FILTER_NAME.fullmatch(text):
        raise ValueError("is no filter's name: lower-case letters, digits and hyphens")
    return text


FilterName = Annotated[str, AfterValidator(_checked_filter_name)]


class FilterSettings(Section):
    """Filters of installed packages. Each has its settings in a table of its own, [filters.NAME]."""

    model_config = ConfigDict(extra="allow")
    if not TYPE_CHECKING:  # mypy takes it for a value that every caller has to give
        __pydantic_extra__: dict[FilterName, dict[str, Any]]

    disabled: list[FilterName] = setting(
        [],
        "Filters that are not offered although they are there, by name: those of installed packages, and"
        " file-share, email, sharepoint, assemble, ocr, names. A package's filter that is listed here is not"
        " even loaded.",
    )

    def settings_of(self, name: str) -> dict[str, Any]:
        """Return what stands in ``[filters.<name>]``; empty without such a table."""
        tables: dict[str, dict[str, Any]] = self.model_extra or {}
        return tables.get(name, {})
