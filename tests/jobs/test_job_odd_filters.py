"""Filters that break their contract in ways nobody foresees: the job ends, and the server goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postscan.contracts.keywords import FilterState, FilterStateReason, JobState
from postscan.filters.contract import (
    Delivered,
    DeliveryError,
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    InstructionsError,
    ProcessingOrder,
    Product,
    Workbench,
)
from postscan.jobs.model import DeliveryState, Job, NewFilter
from support.chains import DONE, PLACE
from support.filters import JOINING, JoiningFilter, RecordingFilter, instructions
from support.jobs import Workshop, new_job

ODD = "urn:test:odd"
UNDECODABLE = "caf\udce9"


async def tried_out(shop: Workshop, job: Job) -> Job:
    """Let a job have all the tries it gets; return it as it ends."""
    async with asyncio.timeout(90):
        while not (now := await shop.engine.job(job.token, None)).finished:
            # Time passes only while something waits for it besides the engine itself.
            if len(shop.clock._sleepers) > 2:
                shop.clock.advance(3600)
    return now


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def error_with(**odd: Any) -> DeliveryError:
    """Return an error that has what its class does not allow."""
    error = DeliveryError("odd", reason=FilterStateReason.UNKNOWN_ERROR, transient=False)
    for name, value in odd.items():
        setattr(error, name, value)
    return error


def odd(deliver: Callable[..., Any]) -> RecordingFilter:
    """Return a filter that delivers in a way of its own."""
    made = RecordingFilter(ODD)
    made.deliver = deliver  # type: ignore[method-assign]  # that is what is tried here
    return made


def raising(error: Callable[[], BaseException]) -> Callable[..., Any]:
    async def deliver(order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        raise error()

    return deliver


def at_once(error: Callable[[], BaseException] | None = None) -> Callable[..., Any]:
    def deliver(order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        if error is not None:
            raise error()

    return deliver


async def oddly_named(order: DeliveryOrder, ledger: DeliveryLedger) -> None:
    for document in order.documents:
        await ledger.plan(document.document_id, UNDECODABLE)
        await ledger.delivered(Delivered(document.document_id, UNDECODABLE, document.size))


async def oddly_warned(order: DeliveryOrder, ledger: DeliveryLedger) -> None:
    await ledger.warn(UNDECODABLE * 1_000_000 + "\x1b[2J")
    for document in order.documents:
        await ledger.plan(document.document_id, "page")
        await ledger.delivered(Delivered(document.document_id, "page", document.size))


DELIVERIES: dict[str, Callable[..., Any]] = {
    "a text that is no Unicode": raising(lambda: error_with(args=(UNDECODABLE,), what_to_do=UNDECODABLE)),
    "a reason that is a text": raising(lambda: error_with(reason="FileShareAccessDenied")),
    "no reason": raising(lambda: error_with(reason=None)),
    "a wait that is a number": raising(lambda: error_with(transient=True, retry_after=30)),
    "a wait below nothing": raising(
        lambda: error_with(transient=True, retry_after=timedelta(days=-1), attempts=1)
    ),
    "advice that is none": raising(lambda: error_with(what_to_do=None)),
    "an error that cannot be told": raising(Unspeakable),
    "the end of the program": raising(lambda: SystemExit(1)),
    "an interruption": raising(KeyboardInterrupt),
    "a cancellation": raising(asyncio.CancelledError),
    "the end of a generator": raising(lambda: GeneratorExit()),
    "no coroutine": at_once(),
    "an error before the coroutine": at_once(lambda: ZeroDivisionError("a defect")),
    "an end before the coroutine": at_once(lambda: SystemExit(1)),
    "names that are no Unicode": oddly_named,
}


@pytest.mark.parametrize("kind", DELIVERIES)
async def test_a_delivery_that_ends_in_an_odd_way_ends_its_job_and_no_other(make, kind: str) -> None:
    other = RecordingFilter()
    shop = await make(odd(DELIVERIES[kind]), other)
    filters = (NewFilter(ODD, instructions("odd")), PLACE)
    job = await shop.ended_job(filters=filters, go_on=True, pages=2)
    later = await shop.ended_job("share")
    job = await tried_out(shop, job)
    await shop.until_state(later.token, *DONE)
    assert job.state is JobState.COMPLETED
    assert job.filters[1].deliveries[0].state is DeliveryState.DELIVERED
    assert set(other.writes.values()) == {1}, "what was delivered beside it is not delivered again"
    assert job.images_kept or job.filters[0].deliveries[0].state is DeliveryState.DELIVERED


async def test_a_warning_of_a_megabyte_that_is_no_unicode_is_kept_as_far_as_it_can_be(make) -> None:
    shop = await make(odd(oddly_warned))
    job = await shop.ended_job(filters=(NewFilter(ODD, instructions("odd")),))
    job = await shop.until_state(job.token, *DONE)
    (warning,) = job.filters[0].deliveries[0].warnings
    assert len(warning) <= 500
    assert warning.encode()


def product_with(**other: Any) -> Callable[..., Any]:
    async def process(order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
        (plain,) = await JoiningFilter().join(order, bench)
        return [replace(plain, **other)]

    return process


async def progress_in_words(order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
    bench.progress("half", object())  # type: ignore[arg-type]  # that is what is tried here
    return await JoiningFilter().join(order, bench)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "a format that is a text": product_with(format="application/pdf"),
    "no format": product_with(format=None),
    "pages beyond measure": product_with(pages=1 << 70),
    "pages in words": product_with(pages="many"),
    "a name that is no Unicode": product_with(name=UNDECODABLE),
    "a name that is a number": product_with(name=7),
    "sources that are no list": product_with(sources=None),
    "a path that is a text": product_with(path="joined"),
    "progress in words": progress_in_words,
    "the end of the program": raising(lambda: SystemExit(1)),
    "no coroutine": at_once(),
}


@pytest.mark.parametrize("kind", PRODUCTS)
async def test_a_step_that_makes_something_odd_is_given_up_and_the_images_are_delivered(
    make, kind: str
) -> None:
    delivering = RecordingFilter()
    shop = await make(JoiningFilter(process=PRODUCTS[kind]), delivering)
    job = await shop.ended_job(filters=(NewFilter(JOINING, instructions()), PLACE), go_on=True, pages=2)
    job = await tried_out(shop, job)
    assert job.state is JobState.COMPLETED
    assert job.filters[1].deliveries[0].state is DeliveryState.DELIVERED
    assert set(delivering.writes.values()) == {1}


class Fickle(RecordingFilter):
    """Knows its destinations once, at Create."""

    def __init__(self, then: Callable[[], Any]) -> None:
        super().__init__(ODD)
        self._then = then
        self._asked = 0

    def destinations(self, *args: Any) -> list[Destination]:
        self._asked += 1
        if self._asked == 1:
            return super().destinations(*args)
        made: list[Destination] = self._then()
        return made


def _raise(error: BaseException) -> Any:
    raise error


FICKLE: dict[str, Callable[[], Any]] = {
    "none at all": lambda: None,
    "texts": lambda: ["odd"],
    "another key": lambda: [Destination("other", "odd")],
    "a defect": lambda: _raise(ZeroDivisionError("a defect")),
    "a cancellation": lambda: _raise(asyncio.CancelledError()),
    "an interruption": lambda: _raise(KeyboardInterrupt()),
    "the end of the program": lambda: _raise(SystemExit(1)),
}


@pytest.mark.parametrize("kind", FICKLE)
async def test_a_filter_that_no_longer_knows_its_destinations_fails_and_holds_nobody_up(
    make, kind: str
) -> None:
    other = RecordingFilter()
    shop = await make(Fickle(FICKLE[kind]), other)
    job = await shop.ended_job(filters=(NewFilter(ODD, instructions("odd")), PLACE), go_on=True)
    job = await tried_out(shop, job)
    assert job.state is JobState.COMPLETED
    assert job.filters[0].deliveries[0].state is DeliveryState.FAILED
    assert job.images_kept
    assert set(other.writes.values()) == {1}


async def test_a_filter_that_a_reload_takes_away_disturbs_no_delivery_beside_it(make) -> None:
    going, staying = RecordingFilter(ODD), RecordingFilter()
    going.failing["odd"] = 1
    go_on = staying.block("share")
    shop = await make(going, staying)
    job = await shop.ended_job(filters=(NewFilter(ODD, instructions("odd")), PLACE), go_on=True)
    await staying.waiting["share"].wait()
    await shop.sleepers(3)
    del shop.filters[ODD]
    shop.clock.advance(3600)
    await shop.until(lambda: shop.changes[-1].job.filters[0].state is FilterState.COMPLETED_WITH_ERRORS)
    go_on.set()
    job = await shop.until_state(job.token, *DONE)
    assert job.filters[1].state is FilterState.COMPLETED_SUCCESSFULLY
    assert staying.attempts == {"share": 1}


async def test_a_step_that_takes_no_notice_of_a_cancellation_leaves_nothing_behind(make) -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
        begun.set()
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()
        ended.set()
        return await JoiningFilter().join(order, bench)

    shop = await make(
        JoiningFilter(process=stubborn),
        RecordingFilter(),
        stop_grace=timedelta(0),
        retain_canceled=timedelta(1),
    )
    job = await shop.ended_job(filters=(NewFilter(JOINING, instructions()), PLACE), pages=2)
    await begun.wait()
    await shop.engine.cancel(job.token, None)
    await shop.until_state(job.token, JobState.CANCELED)
    go_on.set()
    await ended.wait()
    await shop.restart()
    assert (await shop.engine.job(job.token, None)).state is JobState.CANCELED
    assert await shop.engine.products(job.token, None) == []
    assert len(shop.files()) == 2, "the images, which are kept"


async def test_a_process_with_more_destinations_than_a_server_can_follow_makes_no_job(make) -> None:
    shop = await make(RecordingFilter())
    with pytest.raises(InstructionsError, match="201 destinations, 200 are allowed"):
        await shop.engine.create(new_job(*(f"place {number}" for number in range(201))))
    assert await shop.engine.jobs() == []
    await shop.engine.create(new_job(*(f"place {number}" for number in range(200))))
