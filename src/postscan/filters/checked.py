"""A filter of another package, with what it is given and what it answers looked at.

Its instructions are held to its schema, its destinations to what the engine can keep, and what it raises
against the rules becomes an error that names the package, so that it harms its own jobs and nothing else.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from lxml import etree

from postscan.contracts.schemas import Violation, violations_of
from postscan.core.errors import ConfigurationError, PostscanError
from postscan.core.log import get_logger
from postscan.filters.contract import (
    DeliveryFilter,
    Destination,
    Filter,
    InstructionsError,
    JobFacts,
    ProcessingFilter,
)
from postscan.soap.names import display_name, qname, split_qname
from postscan.soap.xml import XmlRefused, parse

if TYPE_CHECKING:
    from lxml.etree import _Element

_log = get_logger("filters")
MOST_DESTINATIONS: Final = 200
"""How many destinations one filter of a job may have: each change of one costs reading them all."""
_XSD: Final = "http://www.w3.org/2001/XMLSchema"
_ELSEWHERE: Final = tuple(qname(_XSD, name) for name in ("include", "import", "redefine", "override"))
_LONGEST_KEY: Final = 1_000
_LONGEST_LABEL: Final = 1_000
_MOST_PREVIEWS: Final = 100
# What a filter may have besides: those that ask for it look whether it is there.
_OPTIONAL: Final = ("deliver", "process", "probe", "preview")


class InstructionsSchema:
    """The XML Schema that the instructions of one dialect are held to.

    :param xsd: the schema; it stands alone (no include, import, redefine, override).
    :raises ConfigurationError: it is no schema, or of another namespace.
    """

    def __init__(self, xsd: bytes, dialect: str) -> None:
        try:
            root = parse(xsd)
        except XmlRefused as error:
            raise ConfigurationError(f"its schema is refused: {error}") from error
        # What is named elsewhere would be fetched from files or the network by libxml2.
        for element in root.iter(*_ELSEWHERE):
            raise ConfigurationError(
                f"its schema has <{display_name(str(element.tag))}>; it must stand alone"
            )
        if root.get("targetNamespace") != dialect:
            raise ConfigurationError(
                f"its schema is for {root.get('targetNamespace')!r}, and its dialect is {dialect!r}"
            )
        try:
            self._schema = etree.XMLSchema(root)
        except etree.XMLSchemaParseError as error:
            raise ConfigurationError(f"its schema is none: {error}") from error
        self._dialect = dialect

    def violations(self, instructions: _Element) -> list[Violation]:
        """Return what is wrong with psp:Instructions, in document order."""
        line = instructions.sourceline or 1
        if not len(instructions):
            return [Violation(line, f"there is nothing of {self._dialect} in them", "psp:Instructions")]
        found = []
        for element in instructions:
            if split_qname(str(element.tag))[0] == self._dialect:
                found += violations_of(self._schema, element)
            else:
                name = display_name(str(element.tag))
                found.append(Violation(element.sourceline or line, f"{name} is not of {self._dialect}", name))
        return found


class CheckedFilter:
    """Stands before a filter of another package; made by ``checked``."""

    dialect: ClassVar[str]

    def __init__(self, inner: Filter, name: str, schema: InstructionsSchema | None) -> None:
        self.inner = inner
        self.name = name
        self.schema = schema

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return the filter's destinations; raises InstructionsError, also for what the schema refuses."""
        for wrong in self.schema.violations(instructions) if self.schema is not None else ():
            raise InstructionsError(f"line {wrong.line}: {wrong.message}", detail=wrong.detail)
        try:
            # No more than are looked at: what a filter returns may have no end.
            found = list(islice(self.inner.destinations(instructions, job), MOST_DESTINATIONS + 1))
            self._check(found)
        except PostscanError:
            raise
        # Nothing is awaited here: a cancellation is the filter's own. And no filter ends the server.
        except (Exception, CancelledError, SystemExit) as error:
            _log.exception("a filter failed to read its instructions", filter=self.name)
            raise InstructionsError(
                f"the filter {self.name} failed to read its instructions: {type(error).__name__}",
                detail=self.dialect,
                advice=f"Tell the maker of the filter {self.name}; the server's log has the details.",
            ) from error
        return found

    def configuration(self) -> _Element | None:
        """Return what the filter tells of its configuration; nothing when it cannot."""
        try:
            # A filter need not tell (contract.ConfiguredFilter).
            told = cast(Any, self.inner).configuration() if hasattr(self.inner, "configuration") else None
        except (Exception, CancelledError, SystemExit):
            _log.exception("a filter failed to tell its configuration", filter=self.name)
            return None
        return told if isinstance(told, etree._Element) else None

    def _check(self, found: list[Destination]) -> None:
        for place in found:
            if not isinstance(place, Destination):
                raise TypeError(f"{type(place).__name__} is no destination")
        wrong = ""
        if len(found) > MOST_DESTINATIONS:
            wrong = f"more than {MOST_DESTINATIONS} destinations"
        elif any(
            not 0 < len(place.key) <= _LONGEST_KEY or len(place.label) > _LONGEST_LABEL for place in found
        ):
            wrong = f"a destination without a key, or with one of more than {_LONGEST_KEY} characters"
        elif len({place.key for place in found}) < len(found):
            wrong = "two destinations with one key"
        if wrong:
            raise InstructionsError(f"the filter {self.name} names {wrong}", detail=self.dialect)


def checked(inner: Filter, name: str, schema: InstructionsSchema | None) -> Filter:
    """Return a filter that has what ``inner`` has, with what goes in and out looked at.

    :raises ConfigurationError: it neither delivers nor processes, or does both.
    """
    if isinstance(inner, DeliveryFilter) == isinstance(inner, ProcessingFilter):
        raise ConfigurationError(
            "what it makes must have either `deliver` or `process` (see docs/filters.md)"
        )
    members: dict[str, object] = {"dialect": inner.dialect}
    members |= {name: _forward(name) for name in _OPTIONAL if callable(getattr(inner, name, None))}
    if "preview" in members:
        members["preview"] = _preview
    # A class of its own: those who ask look at what a filter's class has.
    made = type("Checked", (CheckedFilter,), members)
    return cast(Filter, made(inner, name, schema))


def _forward(name: str) -> Callable[..., Any]:
    def forwarded(self: CheckedFilter, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.inner, name)(*args, **kwargs)

    return forwarded


def _preview(self: CheckedFilter, instructions: _Element, job: JobFacts) -> list[str]:
    """Return what the filter previews, as far as it can."""
    try:
        told = cast(Any, self.inner).preview(instructions, job)
        return [str(one) for one in islice(told, _MOST_PREVIEWS)]
    except (Exception, CancelledError, SystemExit):
        _log.exception("a filter failed to preview its instructions", filter=self.name)
        return []
