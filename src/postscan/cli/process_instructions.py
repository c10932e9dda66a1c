"""Asks filters about instructions in a scan process, so that each wrong place is told by its own line."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from postscan.core.errors import PostscanError
from postscan.filters.checked import MOST_DESTINATIONS
from postscan.filters.contract import Filter, InstructionsError, JobFacts, ProcessingFilter
from postscan.filters.previews import PreviewedFilter
from postscan.soap.names import EMLF, FSF, PSP, SPF, WSCN, display_name, qname
from postscan.soap.xml import element_text

if TYPE_CHECKING:
    from lxml.etree import _Element

    from postscan.cli.settings import LoadedSettings

# Elements of which each names one destination, and may be wrong by itself.
_PLACES: Final = (
    qname(FSF, "ShareUNC"),
    qname(SPF, "SaveToSharePointSiteURL"),
    qname(EMLF, "EmailAddress"),
)

_ROOT_NAME: Final = qname(PSP, "DocumentRootName")
# A scan process has no name of its own; what the device shows for its jobs comes close.
_JOB_NAME: Final = qname(WSCN, "JobName")

# The line, what is wrong there, and what to do.
Told = tuple[int, str, str]


def is_processing(one: Filter) -> bool:
    """Tell whether a filter is a processing step."""
    return isinstance(one, ProcessingFilter)


class InstructionsCheck:
    """Asks filters what a job of a made-up user of this server would come to.

    :param loaded: the settings of the server.
    :param process: psp:PostScanProcess.
    """

    def __init__(self, loaded: LoadedSettings, process: _Element) -> None:
        self._job = sample_job(loaded, process)

    def problems(self, filter_: Filter, instructions: _Element) -> list[Told]:
        """Return what is wrong with instructions, each with its line."""
        places = list(instructions.iter(*_PLACES))
        if len(places) > MOST_DESTINATIONS:
            # They are refused as a whole; to ask for each would take for ever.
            places = []
        errors = [
            (place, error)
            for place in places
            if (error := self._asked(filter_, _with(instructions, place))) is not None
        ]
        # What each of several says alike is not about the place: it is told below, once.
        texts = [str(error) for _place, error in errors]
        found = [
            (place.sourceline or 1, str(error), error.what_to_do)
            for place, error in errors
            if len(places) == 1 or texts.count(str(error)) < len(places)
        ]
        if not found:
            whole = self._asked(filter_, instructions)
            if whole is not None:
                found.append((_line_of(whole.detail, instructions), str(whole), whole.what_to_do))
        return found

    def previews(self, filter_: Filter, instructions: _Element) -> Iterator[tuple[int, str]]:
        """Return what the filter says would come of the instructions, each with their line."""
        if isinstance(filter_, PreviewedFilter):
            for sentence in filter_.preview(instructions, self._job):
                yield instructions.sourceline or 1, sentence

    def _asked(self, filter_: Filter, instructions: _Element) -> PostscanError | None:
        try:
            count = len(filter_.destinations(instructions, self._job))
            if not count:
                return InstructionsError("these instructions name no destination", detail="psp:Instructions")
            if count > MOST_DESTINATIONS:
                return InstructionsError(
                    f"these instructions name {count} destinations, {MOST_DESTINATIONS} are allowed",
                    detail="psp:Instructions",
                    advice="Divide the scan process into several.",
                )
        except PostscanError as error:
            return error
        return None


def sample_job(loaded: LoadedSettings, process: _Element) -> JobFacts:
    """Return what the server would know of a job, of a user who has all that an own destination takes."""
    root_name, job_name = process.find(f".//{_ROOT_NAME}"), process.find(f".//{_JOB_NAME}")
    settings = loaded.settings
    domain = settings.directory_domain
    return JobFacts(
        token="0" * 32,
        process_name=element_text(job_name) if job_name is not None else "Process",
        user_name="user",
        user_domain=domain,
        user_upn=f"user@{domain}",
        user_mail=f"user@{domain}",
        document_root_name=element_text(root_name) if root_name is not None else "Scan",
        created=datetime(2026, 1, 1, 9, 30, tzinfo=UTC),
        user_display_name="A User",
        user_home_site=next((f"{site}/personal/user" for site in settings.sharepoint.sites), None),
    )


def _with(instructions: _Element, place: _Element) -> _Element:
    """Return the instructions with ``place`` as the only one of its kind."""
    alone = copy.deepcopy(instructions)
    kept = list(instructions.iter(str(place.tag))).index(place)
    for number, element in enumerate(list(alone.iter(str(place.tag)))):
        parent = element.getparent()
        if number != kept and parent is not None:
            parent.remove(element)
    return alone


def _line_of(detail: str | None, instructions: _Element) -> int:
    """Return the line of the element that an error names, or that of the instructions."""
    for element in instructions.iter():
        if isinstance(element.tag, str) and display_name(element.tag) == detail:
            return element.sourceline or 1
    return instructions.sourceline or 1
