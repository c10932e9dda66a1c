"""Warnings, notes, counters and pauses of filters, and what is left of them after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from postscan.contracts.keywords import FilterState, FilterStateReason, JobState, JobStateReason
from postscan.filters.contract import (
    DeliveryError,
    DeliveryLedger,
    DeliveryOrder,
    Notes,
    ProcessingOrder,
    Product,
    Workbench,
)
from postscan.jobs.model import ChangeKind, NewFilter
from postscan.jobs.settings import RetryPolicy
from support.chains import JOIN, MADE, PLACE, Chain, broken, busy, waits
from support.filters import JoiningFilter, RecordingFilter, instructions, product
from support.jobs import page

WITH_WARNINGS = (JobStateReason.COMPLETED_WITH_WARNINGS,)


class NotingFilter(RecordingFilter):
    """A delivery filter that runs ``note`` before it delivers."""

    def __init__(self, note: Callable[[Notes], Awaitable[None]]) -> None:
        super().__init__()
        self._note = note

    async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        await self._note(ledger)
        await super().deliver(order, ledger)


async def test_a_step_with_warnings_completes_the_job_with_warnings_as_good_as_a_success(
    chain: Chain,
) -> None:
    chain.joining.warnings = ["page 2 had no text", "page 2 had no text", "page 3 was turned"]
    job = await chain.scan()
    done = await chain.done(job)
    assert (done.state, done.reasons) == (JobState.COMPLETED, WITH_WARNINGS)
    assert [run.state for run in done.filters] == [
        FilterState.COMPLETED_WITH_WARNINGS,
        FilterState.COMPLETED_SUCCESSFULLY,
    ]
    (place,) = done.filters[0].deliveries
    assert place.warnings == ("page 2 had no text", "page 3 was turned")
    assert chain.arrived(job) == {MADE: page(1) + page(2)}
    await chain.shop.engine.stop()
    assert chain.shop.files() == []


async def test_a_warning_is_told_when_it_is_given(chain: Chain) -> None:
    chain.joining.warnings = ["page 2 had no text"]
    go_on = chain.joining.block()
    job = await chain.scan()
    await chain.joining.waiting.wait()
    told = [c.job for c in chain.shop.changes if c.kind is ChangeKind.DELIVERY]
    assert [j.filters[0].deliveries[0].warnings for j in told] == [("page 2 had no text",)]
    go_on.set()
    await chain.done(job)


async def test_what_a_failed_try_warned_of_is_forgotten_by_the_next(chain: Chain) -> None:
    chain.joining.failing, chain.joining.warnings = [busy()], ["page 2 took too long"]
    job = await chain.scan()
    now = await waits(chain, job, 1)
    assert now.filters[0].deliveries[0].warnings == ("page 2 took too long",)
    chain.joining.warnings = []
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(30)
    assert (await chain.done(job)).reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)


async def test_an_error_counts_for_more_than_a_warning(chain: Chain) -> None:
    chain.joining.warnings, chain.joining.failing = ["page 2 is dark"], [broken()]
    done = await chain.done(await chain.scan(go_on=True))
    assert done.reasons == (JobStateReason.COMPLETED_WITH_ERRORS,)
    assert done.filters[0].deliveries[0].warnings == ("page 2 is dark",)


async def test_warnings_are_bounded_in_number_and_length(chain: Chain) -> None:
    chain.joining.warnings = [f"{number} " + 1000 * "x" for number in range(150)]
    done = await chain.done(await chain.scan())
    warnings = done.filters[0].deliveries[0].warnings
    assert len(warnings) == 100
    assert {len(text) for text in warnings} == {500}


async def test_a_delivery_can_warn_too(make) -> None:
    recording = NotingFilter(lambda notes: notes.warn("the list has no column Pages"))
    shop = await make(recording)
    job = await shop.ended_job("a", "b")
    done = await shop.until_state(job.token, JobState.COMPLETED)
    assert (done.reasons, done.filters[0].state) == (WITH_WARNINGS, FilterState.COMPLETED_WITH_WARNINGS)
    assert [place.warnings for place in done.filters[0].deliveries] == [("the list has no column Pages",)] * 2


async def test_images_of_a_job_with_warnings_are_kept_as_long_as_delivered_ones(make) -> None:
    joining, recording = JoiningFilter(), RecordingFilter()
    chain = Chain(await make(joining, recording, retain_delivered=timedelta(hours=1)), joining, recording)
    joining.warnings = ["page 2 is dark"]
    await chain.done(await chain.scan())
    assert len(chain.shop.files()) == 3
    for _ in range(6):
        await chain.shop.sleepers(2)
        chain.shop.clock.advance(600)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await chain.shop.sleepers(2)
    await chain.shop.engine.stop()
    assert chain.shop.files() == []


async def test_a_step_finds_its_notes_and_its_number_after_a_crash(make) -> None:
    found: list[tuple[str | None, int]] = []

    async def note(order: ProcessingOrder, bench: Workbench) -> list[Product]:
        found.append((await bench.remembered("at"), await bench.count("letters")))
        await bench.remember("at", f"try {len(found)}")
        await bench.remember("other", "x" * 4000)
        assert await bench.remembered("at") == f"try {len(found)}"
        if len(found) == 1:
            await joining_blocked.join(order, bench)
        return [product(one) for one in order.documents]

    joining_blocked = JoiningFilter()
    joining_blocked.block()
    joining, recording = JoiningFilter(process=note), RecordingFilter()
    chain = Chain(await make(joining, recording), joining, recording)
    job = await chain.scan()
    await joining_blocked.waiting.wait()
    await chain.shop.crash()
    await chain.done(job)
    other = await chain.scan()
    await chain.done(other)
    assert found == [(None, 1), ("try 1", 1), (None, 2)]


async def test_counters_go_on_through_restarts_each_by_its_name(make) -> None:
    got: dict[str, list[int]] = {}

    async def count(order: ProcessingOrder, bench: Workbench) -> list[Product]:
        got[order.job.token] = [await bench.count(name) for name in ("a", "a", order.job.token)]
        return [product(one) for one in order.documents]

    first, second = JoiningFilter("urn:first", process=count), JoiningFilter("urn:second", process=count)
    recording = RecordingFilter()
    chain = Chain(await make(first, second, recording), first, recording)
    for number in range(1, 5):
        dialect = "urn:first" if number % 2 else "urn:second"
        job = await chain.scan(NewFilter(dialect, instructions()), PLACE)
        await chain.done(job)
        assert got[job.token] == [number, number, 1]
        await chain.shop.restart()


async def test_two_jobs_never_get_one_number(make) -> None:
    numbers: list[int] = []

    async def count(order: ProcessingOrder, bench: Workbench) -> list[Product]:
        numbers.append(await bench.count("a"))
        return [product(one) for one in order.documents]

    joining, recording = JoiningFilter(process=count), RecordingFilter()
    chain = Chain(await make(joining, recording), joining, recording)
    jobs = [await chain.scan(pages=1) for _ in range(20)]
    for job in jobs:
        await chain.done(job)
    assert sorted(numbers) == list(range(1, 21))


async def test_a_destination_has_notes_of_its_own_that_outlive_a_crash(make) -> None:
    found: dict[str, list[str | None]] = {"a": [], "b": []}

    class Uploading(RecordingFilter):
        async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
            place = order.destination.key
            found[place].append(await ledger.remembered("session"))
            await ledger.remember("session", f"{place} {len(found[place])}")
            await super().deliver(order, ledger)

    recording = Uploading()
    shop = await make(recording)
    hold = recording.block("a")
    recording.block("b")
    job = await shop.ended_job("a", "b")
    for place in ("a", "b"):
        await recording.waiting[place].wait()
    await shop.crash()
    hold.set()
    recording.blocked["b"].set()
    await shop.until_state(job.token, JobState.COMPLETED)
    assert found == {"a": [None, "a 1"], "b": [None, "b 1"]}


@pytest.mark.parametrize(("key", "value"), [("k" * 4001, "v"), ("k", "v" * 4001)], ids=["key", "value"])
async def test_a_note_that_is_too_long_is_a_defect_of_the_filter(make, key: str, value: str) -> None:
    recording = NotingFilter(lambda notes: notes.remember(key, value))
    shop = await make(recording)
    job = await shop.ended_job()
    await shop.until(lambda: shop.changes[-1].job.filters[0].deliveries[0].attempts == 1)
    now = await shop.engine.job(job.token, None)
    assert "at most 4000 characters" in (now.filters[0].deliveries[0].last_error or "")


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (timedelta(seconds=5), 30),
        (timedelta(seconds=-5), 30),
        (timedelta(seconds=300), 300),
        (timedelta(days=400), 3600),
    ],
    ids=["shorter", "negative", "longer", "absurd"],
)
async def test_another_side_that_says_how_long_to_wait_is_left_alone_so_long(
    chain: Chain, asked: timedelta, pause: int
) -> None:
    chain.joining.failing = [
        DeliveryError("busy", reason=FilterStateReason.UNKNOWN_ERROR, transient=True, retry_after=asked)
    ]
    job = await chain.scan()
    now = await waits(chain, job, 1)
    (place,) = now.filters[0].deliveries
    assert place.pause == pause
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(pause - 1)
    await chain.shop.crash()
    await chain.shop.sleepers(3)
    assert chain.joining.tries(job.token) == 1
    chain.shop.clock.advance(1)
    assert (await chain.done(job)).state is JobState.COMPLETED


async def test_a_long_wait_is_no_longer_after_a_restart_with_the_clock_set_back(chain: Chain) -> None:
    chain.joining.failing = [
        DeliveryError(
            "busy",
            reason=FilterStateReason.UNKNOWN_ERROR,
            transient=True,
            retry_after=timedelta(seconds=300),
        )
    ]
    job = await chain.scan()
    await waits(chain, job, 1)
    chain.shop.clock.jump(-1)
    await chain.shop.crash()
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(299)
    assert chain.joining.tries(job.token) == 1
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(1)
    assert (await chain.done(job)).state is JobState.COMPLETED


async def test_who_asks_for_longer_pauses_is_given_up_after_as_many_tries(make) -> None:
    joining, recording = JoiningFilter(), RecordingFilter()
    policy = RetryPolicy(give_up=timedelta(seconds=100))
    chain = Chain(await make(joining, recording, retry=policy), joining, recording)
    joining.failing = [
        DeliveryError(
            "busy", reason=FilterStateReason.UNKNOWN_ERROR, transient=True, retry_after=timedelta(hours=1)
        )
        for _ in range(3)
    ]
    job = await chain.scan(JOIN, PLACE)
    for attempts in (1, 2):
        await waits(chain, job, attempts)
        await chain.shop.sleepers(3)
        chain.shop.clock.advance(3600)
    assert (await chain.done(job)).state is JobState.ABORTED
