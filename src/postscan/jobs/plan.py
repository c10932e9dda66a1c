"""What a new job's filters will do: which of them make documents, and where the others deliver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from postscan.core.errors import InvalidArgument
from postscan.filters.checked import MOST_DESTINATIONS
from postscan.filters.contract import PROCESSING, Destination, Filter, InstructionsError, ProcessingFilter
from postscan.jobs.asking import destinations_of
from postscan.jobs.errors import UnknownFilter
from postscan.jobs.model import NewFilter, NewJob, facts_of
from postscan.soap.xml import PROCESS_LIMITS, parse


@dataclass(frozen=True, slots=True)
class Plan:
    """The destinations of each filter, in order, and which of them make documents (counted from 0)."""

    destinations: tuple[tuple[Destination, ...], ...]
    processing: frozenset[int]


def plan_of(filters: Mapping[str, Filter], new: NewJob, token: str, created: datetime) -> Plan:
    """Let the filters of a new job read their instructions.

    :raises UnknownFilter: the server has no filter of a dialect.
    :raises InstructionsError: a filter cannot work with its instructions.
    :raises InvalidArgument: the job has no filter, or none that delivers.
    """
    if not new.filters:
        raise InvalidArgument("a job without filters would deliver nothing", detail="FiltersToProcess")
    facts = facts_of(token, new, created)
    destinations: list[tuple[Destination, ...]] = []
    processing: set[int] = set()
    for index, asked in enumerate(new.filters):
        found = _filter(filters, asked)
        places = destinations_of(found, asked.dialect, parse(asked.instructions, PROCESS_LIMITS), facts)
        if isinstance(found, ProcessingFilter):
            places = (PROCESSING,)
            processing.add(index)
        elif not places:
            raise InstructionsError(f"{asked.dialect} names no destination", detail=asked.dialect)
        elif len(places) > MOST_DESTINATIONS:
            raise InstructionsError(
                f"{asked.dialect} names {len(places)} destinations, {MOST_DESTINATIONS} are allowed",
                detail=asked.dialect,
                advice="Divide the scan process into several.",
            )
        destinations.append(places)
    if len(processing) == len(destinations):
        raise InvalidArgument(
            "a job whose filters all make documents would deliver nothing", detail="FiltersToProcess"
        )
    return Plan(tuple(destinations), frozenset(processing))


def _filter(filters: Mapping[str, Filter], asked: NewFilter) -> Filter:
    try:
        return filters[asked.dialect]
    except KeyError:
        raise UnknownFilter(f"this server has no filter {asked.dialect}", detail=asked.dialect) from None
