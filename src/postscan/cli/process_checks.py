"""Checks one scan process as a file: XML, schema, and whether this server can carry its instructions out."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from lxml import etree

from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.schemas import violations
from postscan.core.errors import PostscanError
from postscan.filters.contract import JobFacts
from postscan.filters.fileshare import FileShareSettings
from postscan.filters.registry import built_in_filters
from postscan.soap.names import FSF, PREFIX_OF, PSP, qname
from postscan.soap.xml import PROCESS_LIMITS, XmlRefused, element_text, parse

if TYPE_CHECKING:
    from postscan.cli.settings_model import Settings
    from postscan.filters.contract import Filter

_PROCESS = qname(PSP, "PostScanProcess")
_FILTER = qname(PSP, "Filter")
_SHARE = qname(FSF, "ShareUNC")
_LINE = re.compile(r"\bline (\d+), column")
_PARSER_PLACE = re.compile(r", line \d+, column \d+$")
# What the server would know of a job when it asks a filter for its destinations.
_SAMPLE_JOB = JobFacts(
    token="0" * 32,
    process_name="sample",
    user_name="user",
    user_domain="example.com",
    user_upn="user@example.com",
    user_mail="user@example.com",
    document_root_name="Scan",
    created=datetime(2026, 1, 1, tzinfo=UTC),
)


@dataclass(frozen=True, slots=True)
class ProcessProblem:
    """What is wrong with a scan process: the line (1 is the first), what, and what to do."""

    line: int
    message: str
    advice: str


def problems_of(xml: bytes, settings: Settings | None = None) -> list[ProcessProblem]:
    """Return all that is wrong with a scan process, by line.

    :param xml: the file's content.
    :param settings: the server that is to run it; without it, what only a server knows is not checked
        (its name, where it may deliver).
    """
    try:
        root = parse(xml, PROCESS_LIMITS)
    except XmlRefused as error:
        found = _LINE.search(str(error))
        return [
            ProcessProblem(
                int(found.group(1)) if found else 1,
                _PARSER_PLACE.sub("", str(error)),
                "correct the file; it must be well-formed XML in UTF-8 without a document type declaration",
            )
        ]
    if root.tag != _PROCESS:
        return [
            ProcessProblem(
                _line(root),
                f"<{etree.QName(root).localname}> is not a scan process",
                f"begin with <psp:PostScanProcess xmlns:psp={PSP!r}>",
            )
        ]
    problems = [
        ProcessProblem(found.line, found.message, _schema_advice(found.detail)) for found in violations(root)
    ]
    if settings is not None:
        problems += _check_server(root, settings)
    problems += _check_filters(root, settings)
    return sorted(problems, key=lambda problem: problem.line)


def _schema_advice(element: str | None) -> str:
    if element == "wscn:Format":
        return f"write one of {', '.join(DocumentFormat)}, or a vendor's media type"
    return "correct the element as the scan process schema wants it"


def _line(element: etree._Element) -> int:
    return element.sourceline or 1


def _check_server(root: etree._Element, settings: Settings) -> list[ProcessProblem]:
    repository = root.find(qname(PSP, "ScanRepository"))
    if repository is None or element_text(repository).casefold() == settings.server.fqdn.casefold():
        return []
    return [
        ProcessProblem(
            _line(repository),
            f"ScanRepository is {element_text(repository)!r}, but this server is {settings.server.fqdn!r}"
            " and refuses other servers' scan processes",
            f"write <psp:ScanRepository>{settings.server.fqdn}</psp:ScanRepository>",
        )
    ]


def file_share_settings(settings: Settings) -> FileShareSettings:
    """Return the file-share filter's own settings out of the server's."""
    share = settings.fileshare
    return FileShareSettings(
        roots=tuple(share.roots),
        unc_map=share.unc_map,
        zone=ZoneInfo(share.time_zone) if share.time_zone else None,
        folder_mode=int(share.folder_mode, 8),
    )


def _check_filters(root: etree._Element, settings: Settings | None) -> list[ProcessProblem]:
    filters = built_in_filters(file_share_settings(settings) if settings else FileShareSettings())
    problems = []
    for element in root.iter(_FILTER):
        dialect = element.find(qname(PSP, "Dialect"))
        instructions = element.find(qname(PSP, "Instructions"))
        if dialect is None or instructions is None:
            continue  # the schema has told
        name = element_text(dialect)
        if name not in filters:
            problems.append(
                ProcessProblem(
                    _line(dialect),
                    f"there is no filter for {PREFIX_OF.get(name, name)!r} ({name})",
                    f"filters there are: {', '.join(filters)}",
                )
            )
        elif settings is not None:
            problems += _check_instructions(filters[name], instructions)
    return problems


def _check_instructions(filter_: Filter, instructions: etree._Element) -> list[ProcessProblem]:
    """Ask the filter about each share alone, so that every wrong one is told, with its own line."""
    shares = list(instructions.iter(_SHARE))
    problems = []
    for number, share in enumerate(shares or [instructions]):
        alone = copy.deepcopy(instructions)
        for other in [e for index, e in enumerate(alone.iter(_SHARE)) if index != number]:
            parent = other.getparent()
            if parent is not None:
                parent.remove(other)
        try:
            filter_.destinations(alone, _SAMPLE_JOB)
        except PostscanError as error:
            problems.append(ProcessProblem(_line(share), str(error), error.what_to_do))
    return problems
