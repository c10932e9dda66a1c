"""Checks one scan process as a file: XML, schema, and whether this server can carry its instructions out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lxml import etree

from postscan.cli.filters import OWN, filters_of, installed_by_dialect
from postscan.cli.process_instructions import InstructionsCheck, is_processing
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.schemas import violations
from postscan.filters.unoffered import UnofferedFilter
from postscan.soap.names import PREFIX_OF, PSP, qname
from postscan.soap.xml import PROCESS_LIMITS, XmlRefused, element_text, parse

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.filters.contract import Filter

_PROCESS = qname(PSP, "PostScanProcess")
_FILTER = qname(PSP, "Filter")
_BEHIND: Final = (
    "this processing step stands behind a delivery and runs before it all the same: processing steps always"
    " come first, and what they make is what is delivered"
)
_LINE = re.compile(r"\bline (\d+), column")
_PARSER_PLACE = re.compile(r", line \d+, column \d+$")


@dataclass(frozen=True, slots=True)
class ProcessProblem:
    """What is wrong with a scan process: the line (1 is the first), what, and what to do."""

    line: int
    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What was found out about a scan process.

    ``problems`` make it unfit; ``hints`` (line, sentence) tell what may surprise; ``previews`` (the same)
    tell what would come of it.
    """

    problems: tuple[ProcessProblem, ...] = ()
    hints: tuple[tuple[int, str], ...] = ()
    previews: tuple[tuple[int, str], ...] = ()


class InstalledSchemas:
    """Holds instructions to the schemas of filters of other packages.

    :param loaded: the settings, which may turn some of them off.
    :raises ConfigurationError: an installed filter cannot be loaded.
    """

    def __init__(self, loaded: LoadedSettings | None = None) -> None:
        self._installed = installed_by_dialect(loaded)
        self.names = {dialect: one.kind.name for dialect, one in self._installed.items()}

    def problems(self, xml: bytes) -> list[ProcessProblem]:
        """Return what the schemas refuse in a scan process; nothing for what is none."""
        try:
            root = parse(xml, PROCESS_LIMITS)
        except XmlRefused:
            return []
        return [
            wrong
            for _element, dialect, instructions in _filters_in(root)
            for wrong in self.problems_in(element_text(dialect), instructions)
        ]

    def problems_in(self, dialect: str, instructions: etree._Element) -> Iterator[ProcessProblem]:
        """Return what the schema of a dialect refuses in psp:Instructions."""
        installed = self._installed.get(dialect)
        if installed is not None and installed.schema is not None:
            for found in installed.schema.violations(instructions):
                yield ProcessProblem(
                    found.line,
                    found.message,
                    f"correct it as the filter {installed.kind.name} of {installed.package} wants it",
                )


def problems_of(xml: bytes, loaded: LoadedSettings | None = None) -> list[ProcessProblem]:
    """Return all that is wrong with a scan process, by line; see ``ProcessChecker``."""
    return list(ProcessChecker(loaded).report(xml).problems)


class ProcessChecker:
    """Checks scan processes for one server.

    :param loaded: the settings of the server that is to run them; without, what only a server knows is not
        checked (its name, where it may deliver, what is set up).
    :raises ConfigurationError: the server's filters cannot be made.
    """

    def __init__(self, loaded: LoadedSettings | None = None) -> None:
        self._loaded = loaded
        self._filters: Mapping[str, Filter] = filters_of(loaded) if loaded is not None else {}
        self._schemas = InstalledSchemas(loaded)
        self._known = {own.dialect: own.name for own in OWN} | self._schemas.names

    def report(self, xml: bytes) -> ProcessReport:
        """Return all there is to tell of a scan process, each by line.

        :param xml: the file's content.
        """
        try:
            root = parse(xml, PROCESS_LIMITS)
        except XmlRefused as error:
            return ProcessReport((_not_xml(error),))
        if root.tag != _PROCESS:
            return ProcessReport(
                (
                    ProcessProblem(
                        _line(root),
                        f"<{etree.QName(root).localname}> is not a scan process",
                        f"begin with <psp:PostScanProcess xmlns:psp={PSP!r}>",
                    ),
                )
            )
        problems = [
            ProcessProblem(found.line, found.message, _schema_advice(found.detail))
            for found in violations(root)
        ]
        problems += self._of_the_server(root)
        hints: list[tuple[int, str]] = []
        previews: list[tuple[int, str]] = []
        used: list[tuple[etree._Element, Filter]] = []
        check = InstructionsCheck(self._loaded, root) if self._loaded is not None else None
        for element, dialect, instructions in _filters_in(root):
            name = element_text(dialect)
            if name not in self._known:
                problems.append(self._unknown(dialect, name))
                continue
            wrong = list(self._schemas.problems_in(name, instructions))
            if check is not None:
                found = self._filters[name]
                used.append((element, found))
                if isinstance(found, UnofferedFilter):
                    wrong.append(ProcessProblem(_line(dialect), found.why, found.advice))
                elif not wrong:
                    wrong += [ProcessProblem(*told) for told in check.problems(found, instructions)]
                if not wrong:
                    previews += check.previews(found, instructions)
            problems += wrong
        if used and len(used) == len(list(root.iter(_FILTER))):
            problems += _undelivered(used)
            hints += _order_hints(used)
        return ProcessReport(
            tuple(sorted(problems, key=lambda problem: problem.line)), tuple(hints), tuple(previews)
        )

    def _of_the_server(self, root: etree._Element) -> Iterator[ProcessProblem]:
        repository = root.find(qname(PSP, "ScanRepository"))
        if self._loaded is None or repository is None:
            return
        fqdn = self._loaded.settings.server.fqdn
        if element_text(repository).casefold() != fqdn.casefold():
            yield ProcessProblem(
                _line(repository),
                f"ScanRepository is {element_text(repository)!r}, but this server is {fqdn!r}"
                " and refuses other servers' scan processes",
                f"write <psp:ScanRepository>{fqdn}</psp:ScanRepository>",
            )

    def _unknown(self, dialect: etree._Element, name: str) -> ProcessProblem:
        return ProcessProblem(
            _line(dialect),
            f"there is no filter for {PREFIX_OF.get(name, name)!r} ({name})",
            f"filters there are: {', '.join(f'{title} ({uri})' for uri, title in self._known.items())};"
            " or install the package that brings it",
        )


def _filters_in(root: etree._Element) -> Iterator[tuple[etree._Element, etree._Element, etree._Element]]:
    """Return each Filter with its Dialect and Instructions; one without them the schema tells of."""
    for element in root.iter(_FILTER):
        dialect, instructions = (element.find(qname(PSP, name)) for name in ("Dialect", "Instructions"))
        if dialect is not None and instructions is not None:
            yield element, dialect, instructions


def _not_xml(error: XmlRefused) -> ProcessProblem:
    found = _LINE.search(str(error))
    return ProcessProblem(
        int(found.group(1)) if found else 1,
        _PARSER_PLACE.sub("", str(error)),
        "correct the file; it must be well-formed XML in UTF-8 without a document type declaration",
    )


def _schema_advice(element: str | None) -> str:
    if element == "wscn:Format":
        return f"write one of {', '.join(DocumentFormat)}, or a vendor's media type"
    return "correct the element as the scan process schema wants it"


def _line(element: etree._Element) -> int:
    return element.sourceline or 1


def _undelivered(used: list[tuple[etree._Element, Filter]]) -> Iterator[ProcessProblem]:
    if all(is_processing(one) for _element, one in used):
        yield ProcessProblem(
            _line(used[0][0]),
            "every filter is a processing step, so that the pages would be delivered nowhere",
            "add a filter that delivers: file share, e-mail or SharePoint",
        )


def _order_hints(used: list[tuple[etree._Element, Filter]]) -> Iterator[tuple[int, str]]:
    """Tell of each processing step that stands behind a delivery: what is read first happens second."""
    delivers = False
    for element, one in used:
        if delivers and is_processing(one):
            yield _line(element), _BEHIND
        delivers = delivers or not (is_processing(one) or isinstance(one, UnofferedFilter))
