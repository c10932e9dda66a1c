"""Tells a scan process in words: who may use it, what the device scans, where the pages go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from lxml import etree

from postscan.contracts.wscn import MUST_HONOR
from postscan.directory.model import StoredProcess
from postscan.soap.names import ASSEMBLE, EMLF, EXTENSIONS, FSF, NAMES, OCR, SPF, WSCN, qname, split_qname
from postscan.soap.xml import element_text

_DELIVERIES: Final = {FSF: "file share", SPF: "SharePoint", EMLF: "e-mail"}
_STEPS: Final = {ASSEMBLE: "assemble", NAMES: "names", OCR: "OCR"}
_LONGEST: Final = 200


def matching(stored: Iterable[StoredProcess], wanted: str) -> list[StoredProcess]:
    """Return the scan processes with this display name, in any case, or the one with this identifier."""
    guid = wanted.strip("{}").casefold()
    name = wanted.casefold()
    return [p for p in stored if str(p.identifier) == guid or p.display_name.casefold() == name]


def may_use(process: StoredProcess) -> str:
    """Tell who may use a scan process."""
    named = _named(process)
    # Somebody is denied, or may read parts of it: only `processes list --user` tells for whom it holds.
    return named if process.access is None or process.access.only_grants else f"{named}, with exceptions"


def _named(process: StoredProcess) -> str:
    if any(group.casefold() == "everyone" for group in process.groups):
        return "everyone"
    parts = []
    if process.groups:
        parts.append(f"group {', '.join(sorted(process.groups))}")
    if process.users:
        parts.append(f"user {', '.join(sorted(process.users))}")
    return "; ".join(parts) or "nobody"


def describe(stored: StoredProcess) -> dict[str, Any]:
    """Return what a scan process says, ready for JSON.

    ``ticket`` holds the scan ticket's values by path (``Format``, ``MediaFront/ColorProcessing``),
    ``filters`` the name, dialect and destinations of each, whether it is one of our processing steps, and
    what the instructions say besides, by path (``says``).
    """
    process = stored.process
    instructions = process.instructions
    changes = {"file name": process.file_name_may_change, "file path": process.file_path_may_change}
    return {
        "identifier": str(stored.identifier),
        "display_name": stored.display_name,
        "may_use": may_use(stored),
        "users": sorted(stored.users),
        "groups": sorted(stored.groups),
        "scan_repository": process.scan_repository,
        "document_root_name": instructions.document_root_name,
        "device_may_change": [what for what, allowed in changes.items() if allowed],
        "continue_on_error": instructions.continue_on_error,
        "ticket": ticket_values(process.scan_ticket_element),
        "filters": [
            {
                "name": (_DELIVERIES | _STEPS).get(filter_.dialect, filter_.dialect),
                "dialect": filter_.dialect,
                "processing": filter_.dialect in _STEPS,
                "destinations": list(_destinations(filter_.dialect, filter_.instructions)),
                "says": list(_instructions(filter_.dialect, filter_.instructions)),
            }
            for filter_ in instructions.filters
        ],
    }


def ticket_values(ticket: etree._Element) -> dict[str, str]:
    """Return a scan ticket's values by path; one that must be honored ends in ``(must be honored)``."""
    parameters = ticket.find(qname(WSCN, "DocumentParameters"))
    return {} if parameters is None else dict(_leaves(parameters, ""))


def _leaves(element: etree._Element, path: str) -> Iterator[tuple[str, str]]:
    for child in element:
        name = etree.QName(child).localname
        # MediaSides only groups the two sides, whose own names tell all.
        inner = path if name == "MediaSides" else f"{path}{name}"
        strict = " (must be honored)" if child.get(MUST_HONOR) in ("true", "1") else ""
        if name == "Resolution":
            sides = [element_text(side) for side in child]
            yield inner, f"{' x '.join(sides if len(sides) > 1 else sides * 2)} dpi{strict}"
        elif len(child):
            yield from _leaves(child, f"{inner}/" if inner else "")
        else:
            yield inner, element_text(child) + strict


def _destinations(dialect: str, instructions: etree._Element) -> Iterator[str]:
    """Return where a published filter delivers, in words; nothing for a filter that is not known."""
    switches = {
        qname(SPF, "SaveToMySite"): "the user's My Site",
        qname(EMLF, "SendToScanUser"): "the user's own address",
    }
    places = {qname(FSF, "ShareUNC"), qname(SPF, "SaveToSharePointSiteURL"), qname(EMLF, "EmailAddress")}
    if dialect not in _DELIVERIES:
        return
    for element in instructions.iter():
        if element.tag in places:
            yield element_text(element)
        elif element.tag in switches and element_text(element) in ("true", "1"):
            yield switches[str(element.tag)]


def _instructions(dialect: str, instructions: etree._Element) -> Iterator[str]:
    """Return what instructions say besides destinations: of a published filter, what this project added."""
    for config in instructions:
        for path, value, namespace in _said(config, ""):
            if dialect not in _DELIVERIES or namespace == EXTENSIONS:
                yield f"{path} {value}".rstrip()


def _said(element: etree._Element, path: str) -> Iterator[tuple[str, str, str]]:
    """Return the values in instructions: path, value, namespace; what is switched on has no value."""
    for child in element:
        namespace, name = split_qname(str(child.tag))
        text = element_text(child)
        if len(child):
            yield from _said(child, f"{path}{name}/")
        elif text not in ("false", "0"):
            shown = "" if text in ("true", "1") else text
            short = f"{shown[:_LONGEST]}..." if len(shown) > _LONGEST else shown
            yield f"{path}{name}", short, namespace
