"""A dry run tries every destination at once, each within its time, whatever their filters do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.contracts.psp import read_process
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import StoredProcess, User
from postscan.filters.contract import (
    PROCESSING,
    DeliveryError,
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    Filter,
    InstructionsError,
    JobFacts,
    ProbeOrder,
)
from postscan.server import dry_run as dry_run_module
from postscan.server.dry_run import DryRunRefused, ProofState, dry_run, dry_run_facts
from support.clock import FakeClock

if TYPE_CHECKING:
    from lxml.etree import _Element

DIALECT = "urn:example:places"
OTHER = "urn:example:other"
ALICE = User("S-1-5-21-1-2-3-1001", "alice", "example.com", "alice@example.com", "Alice", "alice@example.com")
BOB = User("S-1-5-21-1-2-3-1002", "bob", "example.com", "bob@example.com", "Bob")
Probe = Callable[[ProbeOrder], Awaitable[list[str]]]


class Places:
    """A delivery filter with destinations a test names, and what becomes of a probe at each."""

    dialect: ClassVar[str] = DIALECT

    def __init__(self, **probes: Probe) -> None:
        self.probes = probes
        self.orders: list[ProbeOrder] = []

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return one destination for each probe."""
        return [Destination(name, f"the place {name}") for name in self.probes]

    async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        """Never be asked to."""
        raise AssertionError("a dry run delivers nothing")

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Do what the test wants at this destination."""
        self.orders.append(order)
        return await self.probes[order.destination.key](order)


class Wrong:
    """A filter that finds its instructions wrong, and has no dry run."""

    dialect: ClassVar[str] = OTHER

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Raise the error, if there is one."""
        if self._error is not None:
            raise self._error
        return [PROCESSING]


async def works(order: ProbeOrder) -> list[str]:
    """Prove something."""
    return ["a file was written", "and removed again"]


async def hangs(order: ProbeOrder) -> list[str]:
    """Never come back."""
    await asyncio.Event().wait()
    return []


async def hangs_even_when_canceled(order: ProbeOrder) -> list[str]:
    """Take no notice of being canceled, as a thread that waits for a dead server does."""
    for _ in range(3):
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            continue
    return []


async def is_denied(order: ProbeOrder) -> list[str]:
    """Fail for good."""
    raise DeliveryError(
        "nobody may write there",
        reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED,
        transient=False,
        advice="Let somebody.",
    )


async def is_away(order: ProbeOrder) -> list[str]:
    """Fail for now."""
    raise DeliveryError("it is away", reason=FilterStateReason.UNKNOWN_ERROR, transient=True)


async def breaks(order: ProbeOrder) -> list[str]:
    """Fail in a way it should not, with words that nobody outside may read."""
    raise RuntimeError("password=hunter2")


def process_xml(*dialects: str) -> bytes:
    steps = "".join(
        f"<psp:Filter><psp:Dialect>{dialect}</psp:Dialect><psp:Instructions/></psp:Filter>"
        for dialect in dialects
    )
    return (
        '<psp:PostScanProcess xmlns:psp="http://schemas.microsoft.com/windows/2008/02/imaging/postscan/psp"'
        ' xmlns:wscn="http://schemas.microsoft.com/windows/2006/08/wdp/scan">'
        "<psp:ScanRepository>scan.example.com</psp:ScanRepository><psp:ScanTicket><wscn:JobDescription>"
        "<wscn:JobName>x</wscn:JobName><wscn:JobOriginatingUserName/></wscn:JobDescription></psp:ScanTicket>"
        "<psp:PostScanInstructions><psp:DocumentRootName>Root</psp:DocumentRootName>"
        f"<psp:FiltersToProcess>{steps}</psp:FiltersToProcess></psp:PostScanInstructions>"
        "</psp:PostScanProcess>"
    ).encode()


@pytest.fixture
def directory(tmp_path: Path) -> EmbeddedDirectory:
    (tmp_path / "directory" / "processes").mkdir(parents=True)
    directory = EmbeddedDirectory(tmp_path / "directory", domain="example.com")
    for user in (ALICE, BOB):
        directory.write_user(user)
    return directory


def store(
    directory: EmbeddedDirectory, *dialects: str, name: str = "Tried", users: tuple[str, ...] = ("alice",)
) -> StoredProcess:
    xml = process_xml(*dialects)
    number = sum(map(ord, name))
    process = StoredProcess(
        UUID(int=number),
        name,
        xml,
        read_process(xml),
        frozenset(users),
        frozenset(() if users else ("Staff",)),
    )
    directory.write_process(process)
    return process


async def tried(
    directory: EmbeddedDirectory, *filters: Filter, user: str | None = None, seconds: float = 30.0
) -> dict[str, Any]:
    table = {one.dialect: one for one in filters}
    report = await dry_run(directory, table, FakeClock(), "tried", user, seconds=seconds)
    facts = dry_run_facts(report)
    json.dumps(facts)
    return facts


def outcomes(facts: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(place["label"], place["state"]) for one in facts["filters"] for place in one["destinations"]]


async def test_each_destination_tells_what_was_proven_or_why_it_failed(directory: EmbeddedDirectory) -> None:
    store(directory, DIALECT)
    facts = await tried(directory, Places(a=works, b=is_denied, c=is_away))
    assert facts["failures"] == 2
    assert outcomes(facts) == [
        ("the place a", "Proven"),
        ("the place b", "Failed"),
        ("the place c", "Failed"),
    ]
    good, denied, away = facts["filters"][0]["destinations"]
    assert good["proven"] == ["a file was written", "and removed again"]
    assert (denied["error"], denied["advice"], denied["heals"]) == (
        "nobody may write there",
        "Let somebody.",
        False,
    )
    assert (away["error"], away["advice"], away["heals"]) == ("it is away", None, True)


async def test_a_probe_gets_the_facts_of_a_job_of_that_user(directory: EmbeddedDirectory) -> None:
    process = store(directory, DIALECT)
    places = Places(a=works)
    await tried(directory, places)
    job = places.orders[0].job
    assert (job.user_upn, job.user_mail, job.user_display_name) == (ALICE.upn, ALICE.mail, "Alice")
    assert (job.document_root_name, job.process_name, job.process_id) == (
        "Root",
        "Tried",
        str(process.identifier),
    )
    assert job.created == FakeClock().now()
    await tried(directory, places)
    assert places.orders[1].job.token == job.token, "a filter may count jobs"


async def test_one_that_hangs_ends_at_its_time_and_holds_up_nobody(directory: EmbeddedDirectory) -> None:
    store(directory, DIALECT)
    facts = await tried(directory, Places(a=hangs, b=works, c=hangs), seconds=0.1)
    assert outcomes(facts) == [
        ("the place a", "Failed"),
        ("the place b", "Proven"),
        ("the place c", "Failed"),
    ]
    assert "no outcome within 0.1 s" in json.dumps(facts)


async def test_one_that_cannot_be_canceled_is_left_behind(
    directory: EmbeddedDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run_module, "_GRACE", 0.1)
    store(directory, DIALECT)
    facts = await tried(directory, Places(a=hangs_even_when_canceled), seconds=0.1)
    assert outcomes(facts) == [("the place a", "Failed")]
    (left,) = dry_run_module._abandoned
    await asyncio.wait({left})
    assert not dry_run_module._abandoned


async def test_an_unexpected_error_is_told_without_its_words(directory: EmbeddedDirectory) -> None:
    store(directory, DIALECT)
    facts = await tried(directory, Places(a=breaks))
    assert "RuntimeError" in json.dumps(facts)
    assert "hunter2" not in json.dumps(facts)


async def test_a_filter_that_is_not_there_fails_beside_others(directory: EmbeddedDirectory) -> None:
    store(directory, OTHER, DIALECT)
    facts = await tried(directory, Places(a=works))
    assert outcomes(facts) == [(None, "Failed"), ("the place a", "Proven")]
    assert f"this server has no filter {OTHER}" in json.dumps(facts)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InstructionsError("there is no such share", advice="Correct it."), "there is no such share"),
        (KeyError("hunter2"), "KeyError"),
    ],
    ids=["instructions", "defect"],
)
async def test_wrong_instructions_fail_beside_others(
    error: Exception, words: str, directory: EmbeddedDirectory
) -> None:
    store(directory, OTHER, DIALECT)
    facts = await tried(directory, Wrong(error), Places(a=works))
    assert outcomes(facts) == [(None, "Failed"), ("the place a", "Proven")]
    assert words in json.dumps(facts)
    assert "hunter2" not in json.dumps(facts)


async def test_a_filter_without_a_dry_run_is_no_failure(directory: EmbeddedDirectory) -> None:
    store(directory, OTHER)
    facts = await tried(directory, Wrong())
    assert outcomes(facts) == [(PROCESSING.label, ProofState.UNTRIED)]
    assert facts["failures"] == 0


async def test_many_destinations_are_tried_a_few_at_a_time(directory: EmbeddedDirectory) -> None:
    store(directory, DIALECT)
    at_once: list[int] = []
    running = 0

    async def counted(order: ProbeOrder) -> list[str]:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0)
        running -= 1
        return ["it"]

    await tried(directory, Places(**{f"n{number}": counted for number in range(100)}))
    assert len(at_once) == 100
    assert 2 <= max(at_once) <= 16


@pytest.mark.parametrize(
    ("users", "user", "words"),
    [
        ((), None, "given to groups"),
        (("bob",), "alice", "alice@example.com may not use Tried"),
        (("alice",), "carol", "there is no user carol"),
        (("alice",), "S-1-5-21-1-2-3-9999", "there is no user S-1-5-21-1-2-3-9999"),
    ],
    ids=["nobody named", "another's", "unknown", "unknown SID"],
)
async def test_whoever_may_not_use_it_cannot_be_tried_for(
    users: tuple[str, ...], user: str | None, words: str, directory: EmbeddedDirectory
) -> None:
    store(directory, DIALECT, users=users)
    with pytest.raises(DryRunRefused, match=words) as caught:
        await tried(directory, Places(a=works), user=user)
    assert caught.value.what_to_do


@pytest.mark.parametrize("user", ["bob", "BOB@example.com", BOB.sid], ids=["name", "principal", "identifier"])
async def test_a_user_is_named_in_any_way(user: str, directory: EmbeddedDirectory) -> None:
    store(directory, DIALECT, users=("alice", "bob"))
    assert (await tried(directory, Places(a=works), user=user))["user"] == {
        "sid": BOB.sid,
        "name": "bob",
        "upn": BOB.upn,
    }


async def test_two_scan_processes_of_one_name_are_told_apart(directory: EmbeddedDirectory) -> None:
    first = store(directory, DIALECT)
    second = StoredProcess(UUID(int=7), "TRIED", first.xml, first.process, frozenset({"alice"}), frozenset())
    directory.write_process(second, "another")
    with pytest.raises(DryRunRefused, match="2 scan processes are named tried") as caught:
        await tried(directory, Places(a=works))
    assert str(first.identifier) in caught.value.what_to_do


def odd(then: Callable[[], Any]) -> Callable[[ProbeOrder], Any]:
    async def probe(order: ProbeOrder) -> Any:
        return then()

    return probe


def raised(error: BaseException) -> Any:
    raise error


ODD: dict[str, Callable[[ProbeOrder], Any]] = {
    "nothing": odd(lambda: None),
    "a number": odd(lambda: 5),
    "things that are no text": odd(lambda: [object(), b"\xff", None]),
    "an answer without end": odd(lambda: iter(int, 1)),
    "a cancellation": odd(lambda: raised(asyncio.CancelledError())),
    "the end of the program": odd(lambda: raised(SystemExit(1))),
    "no coroutine": lambda order: [],
    "an end before the coroutine": lambda order: raised(SystemExit(1)),
    "an error of odd parts": odd(
        lambda: raised(DeliveryError("\udce9", reason=None, transient=None, advice=None))  # type: ignore[arg-type]  # tried here
    ),
}


@pytest.mark.parametrize("kind", ODD)
async def test_a_probe_that_breaks_its_contract_fails_alone(kind: str, directory: EmbeddedDirectory) -> None:
    store(directory, DIALECT)
    facts = await tried(directory, Places(a=ODD[kind], b=works))
    assert outcomes(facts) == [("the place a", "Failed"), ("the place b", "Proven")]


async def test_a_filter_that_wants_to_end_the_program_fails_alone(directory: EmbeddedDirectory) -> None:
    store(directory, OTHER, DIALECT)
    facts = await tried(directory, Wrong(SystemExit(1)), Places(a=works))  # type: ignore[arg-type]  # tried here
    assert outcomes(facts) == [(None, "Failed"), ("the place a", "Proven")]


async def test_case_24_a_filter_that_alters_its_instructions_alters_no_scan_process(
    directory: EmbeddedDirectory,
) -> None:
    class Altering(Places):
        def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
            instructions.text = "elsewhere"
            return super().destinations(instructions, job)

    async def alters(order: ProbeOrder) -> list[str]:
        order.instructions.text = "elsewhere"
        return []

    store(directory, DIALECT)
    await tried(directory, Altering(a=alters, b=works))
    (process,) = await directory.processes()
    assert process.process.instructions.filters[0].instructions.text is None
