"""A dry run of a scan process: proves every destination with what its filter can do without a job."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any, Final

from postscan.contracts.psp import FilterToProcess
from postscan.core.clock import Clock
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.directory.model import Directory, StoredProcess, User, is_sid
from postscan.filters.contract import (
    DeliveryError,
    Destination,
    Filter,
    JobFacts,
    ProbedFilter,
    ProbeOrder,
    ProcessingFilter,
)
from postscan.jobs.asking import contained, destinations_of, kept_text, words_of
from postscan.jobs.errors import BrokenContract

_log = get_logger("admin")
PROBE_SECONDS: Final = 60.0
MAX_PROBE_SECONDS: Final = 240.0
_AT_ONCE: Final = 16
_MOST_PROVEN: Final = 100
# How long a probe that was told to stop may take to tidy up behind itself.
_GRACE: Final = 5.0
_abandoned: set[asyncio.Task[Any]] = set()


class DryRunRefused(PostscanError):
    """There is nothing to try: no such scan process, or nobody to try it for."""

    advice = "`postscan processes list` shows the scan processes there are, and who may use them."
    exit_code = 4


class ProofState(StrEnum):
    """What came of one destination."""

    PROVEN = "Proven"
    FAILED = "Failed"
    UNTRIED = "Untried"
    """Its filter has no dry run."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One destination of a filter, tried.

    ``label`` is None where the filter could not even tell its destinations. ``proven`` says what was, in
    order; ``error``, ``advice`` and ``heals`` (a later try may succeed by itself) tell of a failure.
    """

    label: str | None
    state: ProofState
    proven: tuple[str, ...] = ()
    error: str | None = None
    advice: str | None = None
    heals: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FilterProofs:
    """One filter of the scan process, and what came of its destinations."""

    dialect: str
    is_processing: bool
    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What came of a dry run."""

    process: StoredProcess
    user: User
    filters: tuple[FilterProofs, ...]

    @property
    def failures(self) -> int:
        """How many destinations failed."""
        return sum(one.state is ProofState.FAILED for tried in self.filters for one in tried.proofs)


async def dry_run(
    directory: Directory,
    filters: Mapping[str, Filter],
    clock: Clock,
    wanted: str,
    user: str | None = None,
    *,
    seconds: float = PROBE_SECONDS,
) -> DryRunReport:
    """Try every destination of a scan process as a job of this user would, all at once.

    :param filters: by dialect.
    :param wanted: the scan process's display name or identifier.
    :param user: a logon name, UPN or SID; None takes one who may use the process.
    :param seconds: what each destination may take.
    :raises DryRunRefused: there is no such process or user, or the user may not use it.
    :raises DirectoryError: the directory does not answer.
    """
    process = await _process(directory, wanted)
    person = await _person(directory, process, user)
    facts = JobFacts(
        # Always the same: a filter that counts a user's jobs shall not count each dry run anew.
        token=str(uuid.uuid5(process.identifier, person.sid)),
        process_name=process.display_name,
        user_name=person.name,
        user_domain=person.domain,
        user_upn=person.upn,
        user_mail=person.mail,
        document_root_name=process.process.instructions.document_root_name,
        created=clock.now(),
        user_display_name=person.display_name,
        user_home_site=person.home_site,
        process_id=str(process.identifier),
    )
    _log.info("dry run", process=process.display_name, user=person.upn)
    trial = _Trial(facts, clock, seconds)
    wanted_filters = process.process.instructions.filters
    tried = await asyncio.gather(*(trial.filter(filters.get(one.dialect), one) for one in wanted_filters))
    return DryRunReport(process, person, tuple(tried))


def dry_run_facts(report: DryRunReport) -> dict[str, Any]:
    """Return what came of a dry run as JSON-ready values."""
    process, user = report.process, report.user
    return {
        "process": {"identifier": str(process.identifier), "name": process.display_name},
        "user": {"sid": user.sid, "name": user.name, "upn": user.upn},
        "failures": report.failures,
        "filters": [
            {
                "dialect": tried.dialect,
                "kind": "processing" if tried.is_processing else "delivery",
                "destinations": [
                    {
                        "label": one.label,
                        "state": str(one.state),
                        "proven": list(one.proven),
                        "error": one.error,
                        "advice": one.advice,
                        "heals": one.heals,
                        "seconds": round(one.seconds, 3),
                    }
                    for one in tried.proofs
                ],
            }
            for tried in report.filters
        ],
    }


async def _process(directory: Directory, wanted: str) -> StoredProcess:
    guid, name = wanted.strip("{}").casefold(), wanted.casefold()
    stored = await directory.processes()
    found = [one for one in stored if str(one.identifier) == guid or one.display_name.casefold() == name]
    if not found:
        raise DryRunRefused(f"there is no scan process {wanted}")
    if len(found) > 1:
        raise DryRunRefused(
            f"{len(found)} scan processes are named {wanted}",
            advice=f"Use an identifier: {', '.join(str(one.identifier) for one in found)}",
        )
    return found[0]


async def _person(directory: Directory, process: StoredProcess, wanted: str | None) -> User:
    if wanted is not None:
        person = await _find_user(directory, wanted)
        if person is None:
            raise DryRunRefused(
                f"there is no user {wanted}", advice="Give the logon name, as it is in the directory."
            )
        if not process.granted_to(person):
            raise DryRunRefused(
                f"{person.upn} may not use {process.display_name}"
                + ("" if person.enabled else ": the account is disabled, locked or expired"),
                advice="Name somebody who may with --user; `postscan processes show` tells who that is.",
            )
        return person
    for name in sorted(process.users):
        person = await _find_user(directory, name)
        if person is not None and process.granted_to(person):
            return person
    raise DryRunRefused(
        f"it is not known for whom to try {process.display_name}: it is given to groups"
        if process.groups
        else f"nobody may use {process.display_name}",
        advice="Name somebody who may use it with --user NAME.",
    )


async def _find_user(directory: Directory, name: str) -> User | None:
    return await (directory.user_by_sid(name) if is_sid(name) else directory.user_by_name(name))


class _Trial:
    """The destinations of one scan process, tried for a job of these facts."""

    def __init__(self, facts: JobFacts, clock: Clock, seconds: float) -> None:
        self._facts = facts
        self._clock = clock
        self._seconds = seconds
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def filter(self, found: Filter | None, asked: FilterToProcess) -> FilterProofs:
        """Try one filter."""
        return FilterProofs(
            asked.dialect, isinstance(found, ProcessingFilter), tuple(await self._proofs(found, asked))
        )

    async def _proofs(self, found: Filter | None, asked: FilterToProcess) -> Sequence[Proof]:
        if found is None:
            return [
                Proof(
                    None,
                    ProofState.FAILED,
                    error=f"this server has no filter {asked.dialect}",
                    advice="Install the package that brings it, or take the filter out of the scan process.",
                )
            ]
        try:
            # Copies: what the directory keeps is what jobs are compared with.
            instructions = deepcopy(asked.instructions)
            places = destinations_of(found, asked.dialect, instructions, self._facts)
        except PostscanError as error:
            return [_failure(None, error, 0.0)]
        if not isinstance(found, ProbedFilter):
            return [Proof(place.label, ProofState.UNTRIED) for place in places]
        return await asyncio.gather(*(self._prove(found, asked, place) for place in places))

    async def _prove(self, found: ProbedFilter, asked: FilterToProcess, place: Destination) -> Proof:
        async with self._room:
            began = self._clock.monotonic()
            try:
                order = ProbeOrder(place, self._facts, deepcopy(asked.instructions))
                proven = await _within(self._seconds, contained(partial(_probed, found, order)))
            except TimeoutError:
                return Proof(
                    place.label,
                    ProofState.FAILED,
                    error=f"there was no outcome within {self._seconds:g} s",
                    advice="See whether the server it is on answers at all, or allow more with --seconds.",
                    heals=True,
                    seconds=self._clock.monotonic() - began,
                )
            except PostscanError as error:
                return _failure(place.label, error, self._clock.monotonic() - began)
            except Exception as error:  # a filter may be anybody's; the others are tried all the same
                _log.exception(
                    "a filter failed in a way it should not", filter=asked.dialect, destination=place.label
                )
                return _defect(place.label, error, self._clock.monotonic() - began)
            return Proof(place.label, ProofState.PROVEN, proven, seconds=self._clock.monotonic() - began)


async def _probed(found: ProbedFilter, order: ProbeOrder) -> tuple[str, ...]:
    """Return what a probe has proven; raises TypeError when that is not told in texts."""
    told = tuple(islice(await found.probe(order), _MOST_PROVEN))
    if not all(isinstance(one, str) for one in told):
        raise TypeError("a probe tells what it has proven in texts")
    return told


async def _within(seconds: float, probe: Coroutine[Any, Any, tuple[str, ...]]) -> tuple[str, ...]:
    """Await a probe that may hang in a way that canceling does not end; raises TimeoutError."""
    task = asyncio.ensure_future(probe)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.cancelled():
        raise BrokenContract("the filter canceled itself")
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE)
    if not task.done():
        # Only what is referred to goes on to its end, and tidies up.
        _abandoned.add(task)
        task.add_done_callback(_forget)
    elif not task.cancelled():
        task.exception()
    raise TimeoutError


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()


def _failure(label: str | None, error: PostscanError, seconds: float) -> Proof:
    return Proof(
        label,
        ProofState.FAILED,
        error=kept_text(words_of(error)),
        advice=error.what_to_do or None,
        heals=isinstance(error, DeliveryError) and bool(error.transient),
        seconds=seconds,
    )


def _defect(label: str | None, error: Exception, seconds: float) -> Proof:
    # What it says may be anything; it stands in the log.
    return Proof(
        label,
        ProofState.FAILED,
        error=f"the filter failed in a way it should not ({type(error).__name__})",
        advice="Look at the server's log.",
        seconds=seconds,
    )
