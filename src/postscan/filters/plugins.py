"""Filters that other packages bring: found through the entry point group ``postscan.filters``.

An entry point leads to a ``FilterKind``. Installed is enabled; whoever installs a package trusts it, as its
code runs in the server. What cannot work is a ConfigurationError that names package and entry point.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from postscan.core.errors import ConfigurationError, PostscanError
from postscan.filters.checked import InstructionsSchema, checked
from postscan.filters.contract import Filter, FilterEnvironment, FilterKind

GROUP: Final = "postscan.filters"
# A key of [filters], beside which the tables of filters stand.
_RESERVED: Final = "disabled"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,250}")


@dataclass(frozen=True, slots=True)
class InstalledFilter:
    """A kind of filter, and the package it comes from, with its version (empty for one without a name)."""

    kind: FilterKind
    package_name: str
    version: str
    schema: InstructionsSchema | None

    @property
    def package(self) -> str:
        """The package in words."""
        return _in_words(self.package_name, self.version)

    def make(self, environment: FilterEnvironment) -> Filter:
        """Make the filter. :raises ConfigurationError: it cannot be made with these settings."""
        try:
            filter_ = self.kind.make(environment)
            if getattr(filter_, "dialect", None) != self.kind.dialect:
                raise ConfigurationError(f"what it makes is no filter of {self.kind.dialect}")
            return checked(filter_, self.kind.name, self.schema)
        except PostscanError as error:
            raise ConfigurationError(
                f"the filter {self.kind.name} of {self.package} cannot be used: {error}",
                advice=f"Correct [filters.{self.kind.name}] in the settings"
                f"{f' ({error.what_to_do})' if error.what_to_do else ''}, {_or_disable(self.kind.name)}.",
            ) from error
        # A package that ends the program would end every command, and the server without a word.
        except (Exception, SystemExit) as error:
            raise ConfigurationError(
                f"the filter {self.kind.name} of {self.package} failed to start: {_told(error)}",
                advice=f"Correct [filters.{self.kind.name}], tell the maker of {self.package},"
                f" {_or_disable(self.kind.name)}.",
            ) from error


def installed_filters(
    taken: Mapping[str, str],
    disabled: Collection[str] = (),
    *,
    found: Sequence[EntryPoint] | None = None,
) -> list[InstalledFilter]:
    """Return the filters that other packages bring, by name.

    :param taken: the server's own filters, dialect to name, which no other may claim.
    :param disabled: names of filters that are left out, without being loaded.
    :param found: the entry points; without them, those of this Python environment.
    :raises ConfigurationError: one cannot be loaded or is no filter, or two claim one name or dialect.
    """
    listed = sorted(
        entry_points(group=GROUP) if found is None else found, key=lambda point: (point.name, point.value)
    )
    loaded = [_load(point) for point in listed if point.name not in disabled]
    _refuse_doubles(loaded, taken)
    return loaded


def _load(point: EntryPoint) -> InstalledFilter:
    package = _package_of(point)
    try:
        kind = point.load()
    except (Exception, SystemExit) as error:
        raise _wrong(
            point,
            f"cannot be loaded: {_told(error)}",
            f"Install what {package} needs, or another version of it",
        ) from error
    wrong = "".join(_wrongs(kind, point))
    if wrong:
        raise _wrong(point, wrong, f"Tell the maker of {package}")
    try:
        schema = InstructionsSchema(kind.schema, kind.dialect) if kind.schema is not None else None
    except PostscanError as error:
        raise _wrong(point, f"cannot be used: {error}", f"Tell the maker of {package}") from error
    dist = point.dist
    return InstalledFilter(kind, dist.name if dist else "", dist.version if dist else "", schema)


def _wrongs(kind: object, point: EntryPoint) -> Iterator[str]:
    """Tell the first thing that is wrong with what an entry point led to."""
    if not isinstance(kind, FilterKind):
        yield f"leads to {type(kind).__name__}, not to a FilterKind"
    elif not isinstance(schema := cast("object", kind.schema), bytes | None):
        yield f"has a schema that is {type(schema).__name__}, not bytes"
    elif kind.name != point.name or not _NAME.fullmatch(kind.name) or kind.name == _RESERVED:
        yield (
            f"has the name {kind.name!r}; it must be the entry point's,"
            f" in lower-case letters, digits and hyphens, and not {_RESERVED!r}"
        )
    elif not isinstance(kind.dialect, str) or not _URI.fullmatch(kind.dialect):
        yield f"has the dialect {kind.dialect!r}, which is no URI of at most 250 characters"


def _refuse_doubles(loaded: Sequence[InstalledFilter], taken: Mapping[str, str]) -> None:
    own = set(taken.values())
    names: dict[str, InstalledFilter] = {}
    dialects: dict[str, InstalledFilter] = {}
    for one in loaded:
        kind = one.kind
        if kind.name in own or kind.dialect in taken:
            what = f"the name {kind.name}" if kind.name in own else f"the dialect {kind.dialect}"
            raise ConfigurationError(
                f"the filter {kind.name} of {one.package} claims {what}, which is Postscan's own",
                advice=f"Remove {one.package}, {_or_disable(kind.name)}.",
            )
        for claimed, key, what in ((names, kind.name, "name"), (dialects, kind.dialect, "dialect")):
            other = claimed.setdefault(key, one)
            if other is not one:
                raise ConfigurationError(
                    f"{other.package} and {one.package} both bring a filter with the {what} {key}",
                    advice="Remove one of the packages"
                    + (f", {_or_disable(kind.name)}." if what == "dialect" else "."),
                )


def _wrong(point: EntryPoint, what: str, advice: str) -> ConfigurationError:
    return ConfigurationError(
        f"the entry point {point.name} = {point.value} of {_package_of(point)} {what}",
        advice=f"{advice}, {_or_disable(point.name)}.",
    )


def _or_disable(name: str) -> str:
    return f'or leave the filter out: disabled = ["{name}"] under [filters]'


def _package_of(point: EntryPoint) -> str:
    return _in_words(point.dist.name, point.dist.version) if point.dist is not None else _in_words("", "")


def _in_words(package: str, version: str) -> str:
    return f"package {package} {version}" if package else "a package without a name"


def _told(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}{f': {text}' if text else ''}"
