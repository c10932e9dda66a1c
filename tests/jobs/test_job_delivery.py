"""Jobs on their way through filters and destinations (R-2, R-3, R-7)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from postscan.contracts.keywords import FilterState, FilterStateReason, JobState, JobStateReason
from postscan.jobs.model import ChangeKind, DeliveryState, Job, NewFilter
from postscan.jobs.settings import RetryPolicy
from support.filters import RecordingFilter, instructions
from support.jobs import OWNER, Workshop, new_job, page

DONE = (JobState.COMPLETED, JobState.ABORTED, JobState.CANCELED)
DAY = 86_400.0


def waiting(shop: Workshop, token: str) -> int:
    """Return how many deliveries of the job were waiting at its last change."""
    last = [c.job for c in shop.changes if c.job.token == token][-1]
    return sum(d.state is DeliveryState.WAITING for f in last.filters for d in f.deliveries)


def finished(shop: Workshop, token: str, index: int) -> bool:
    """Tell whether a filter of the job had succeeded at its last change."""
    last = [c.job for c in shop.changes if c.job.token == token][-1]
    return last.filters[index].state is FilterState.COMPLETED_SUCCESSFULLY


async def run_two_filters(shop: Workshop, first: str, second: str, *, go_on: bool) -> Job:
    filters = tuple(NewFilter(f.dialect, instructions(p)) for f, p in two(shop, first, second))
    job = await shop.engine.create(new_job(filters=filters, go_on=go_on))
    await shop.send(job.token, 1, page(1))
    return await shop.engine.end(job.token, OWNER)


def two(shop: Workshop, first: str, second: str) -> list[tuple[RecordingFilter, str]]:
    one, other = (f for f in shop.filters.values() if isinstance(f, RecordingFilter))
    return [(one, first), (other, second)]


@pytest.fixture
async def pair(make) -> Workshop:
    """Return a workshop with two filters."""
    return await make(RecordingFilter("urn:one"), RecordingFilter("urn:two"))


async def test_every_image_arrives_at_every_destination_once_and_the_spool_is_empty_then(
    shop: Workshop,
) -> None:
    job = await shop.ended_job("a", "b", pages=3)
    done = await shop.until_state(job.token, *DONE)
    assert (done.state, done.reasons) == (JobState.COMPLETED, (JobStateReason.COMPLETED_SUCCESSFULLY,))
    assert done.completed == shop.clock.now()
    for place in ("a", "b"):
        assert shop.filter.arrived[job.token, place] == {n: page(n) for n in (1, 2, 3)}
    (run,) = done.filters
    assert (run.state, run.reasons) == (FilterState.COMPLETED_SUCCESSFULLY, ())
    assert [(d.state, len(d.delivered)) for d in run.deliveries] == [(DeliveryState.DELIVERED, 3)] * 2
    await shop.engine.stop()
    assert shop.files() == []


async def test_a_failure_that_time_heals_stays_processing_until_it_is_healed(shop: Workshop) -> None:
    shop.filter.failing["share"] = 3
    job = await shop.ended_job()
    for attempt, pause in ((1, 30), (2, 60), (3, 120)):
        await shop.until(
            lambda n=attempt: shop.filter.attempts["share"] == n and waiting(shop, job.token) == 1
        )
        now = await shop.engine.job(job.token, OWNER)
        (place,) = now.filters[0].deliveries
        assert (now.state, now.filters[0].state) == (JobState.PROCESSING, FilterState.PROCESSING)
        assert (place.attempts, place.last_error) == (attempt, "share away")
        assert (place.next_attempt - shop.clock.now()).total_seconds() == pause
        assert await shop.engine.deliveries_waiting() == 1
        await shop.sleepers(3)
        shop.clock.advance(pause - 1)
        await asyncio.sleep(0)
        assert shop.filter.attempts["share"] == attempt
        shop.clock.advance(1)
    done = await shop.until_state(job.token, *DONE)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert shop.filter.attempts["share"] == 4


def test_pauses_double_up_to_an_hour_and_end_after_three_days() -> None:
    policy = RetryPolicy()
    pauses = [policy.pause(n) for n in range(1, 200)]
    given = [p for p in pauses if p is not None]
    assert given[:8] == [30, 60, 120, 240, 480, 960, 1920, 3600]
    assert set(given[7:]) == {3600}
    assert 3 * DAY - 3600 < sum(given) <= 3 * DAY
    assert pauses[len(given) :] == [None] * (199 - len(given))


async def test_a_destination_that_never_recovers_is_given_up_with_its_reason(make) -> None:
    from datetime import timedelta

    shop = await make(retry=RetryPolicy(give_up=timedelta(seconds=100)))
    shop.filter.failing["share"] = -1
    job = await shop.ended_job()
    for attempt in (1, 2):
        await shop.until(
            lambda n=attempt: shop.filter.attempts["share"] == n and waiting(shop, job.token) == 1
        )
        await shop.sleepers(3)
        shop.clock.advance(60)
    done = await shop.until_state(job.token, *DONE)
    assert (done.state, done.reasons) == (JobState.ABORTED, (JobStateReason.PROCESSING_FAILED,))
    assert done.filters[0].state is FilterState.COMPLETED_WITH_ERRORS
    assert done.filters[0].reasons == (FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE,)
    assert shop.filter.attempts["share"] == 3
    assert len(shop.files()) == 1


async def test_a_refusal_is_not_tried_again_and_the_other_destination_is_served(shop: Workshop) -> None:
    shop.filter.denying.add("bad")
    job = await shop.ended_job("bad", "good", go_on=True)
    done = await shop.until_state(job.token, *DONE)
    assert (done.state, done.reasons) == (JobState.COMPLETED, (JobStateReason.COMPLETED_WITH_ERRORS,))
    assert done.filters[0].reasons == (FilterStateReason.FILE_SHARE_ACCESS_DENIED,)
    assert [d.state for d in done.filters[0].deliveries] == [DeliveryState.FAILED, DeliveryState.DELIVERED]
    assert shop.filter.attempts["bad"] == 1
    assert len(shop.files()) == 1


async def test_without_continue_on_error_the_filters_after_a_failed_one_are_canceled(
    pair: Workshop,
) -> None:
    (one, _), (other, _) = two(pair, "", "")
    one.denying.add("x")
    job = await run_two_filters(pair, "x", "y", go_on=False)
    done = await pair.until_state(job.token, *DONE)
    assert (done.state, done.reasons) == (JobState.ABORTED, (JobStateReason.PROCESSING_FAILED,))
    assert [f.state for f in done.filters] == [FilterState.COMPLETED_WITH_ERRORS, FilterState.CANCELED]
    assert other.attempts == {}


async def test_with_continue_on_error_the_filters_after_a_failed_one_run(pair: Workshop) -> None:
    (one, _), (other, _) = two(pair, "", "")
    one.denying.add("x")
    job = await run_two_filters(pair, "x", "y", go_on=True)
    done = await pair.until_state(job.token, *DONE)
    assert (done.state, done.reasons) == (JobState.COMPLETED, (JobStateReason.COMPLETED_WITH_ERRORS,))
    assert [f.state for f in done.filters] == [
        FilterState.COMPLETED_WITH_ERRORS,
        FilterState.COMPLETED_SUCCESSFULLY,
    ]
    assert other.arrived[job.token, "y"] == {1: page(1)}


async def test_with_continue_on_error_a_filter_that_waits_blocks_no_other(pair: Workshop) -> None:
    (one, _), (other, _) = two(pair, "", "")
    one.failing["x"] = 1
    job = await run_two_filters(pair, "x", "y", go_on=True)
    await pair.until(lambda: other.arrived.get((job.token, "y")) == {1: page(1)})
    assert (one.attempts["x"], waiting(pair, job.token)) == (1, 1)
    await pair.sleepers(3)
    pair.clock.advance(30)
    done = await pair.until_state(job.token, *DONE)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)


async def test_with_continue_on_error_a_filter_whose_first_try_hangs_blocks_no_other(pair: Workshop) -> None:
    (one, _), (other, _) = two(pair, "", "")
    hold = one.block("x")
    job = await run_two_filters(pair, "x", "y", go_on=True)
    await one.waiting["x"].wait()
    await pair.until(lambda: finished(pair, job.token, 1))
    assert other.arrived[job.token, "y"] == {1: page(1)}
    assert not finished(pair, job.token, 0)
    hold.set()
    done = await pair.until_state(job.token, *DONE)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)


async def test_without_continue_on_error_later_filters_wait_for_one_that_waits(pair: Workshop) -> None:
    (one, _), (other, _) = two(pair, "", "")
    one.failing["x"] = 1
    job = await run_two_filters(pair, "x", "y", go_on=False)
    await pair.until(lambda: waiting(pair, job.token) == 1)
    await pair.sleepers(3)
    # The store is asked once more, so that whatever was about to begin has begun.
    now = await pair.engine.job(job.token, OWNER)
    assert now.filters[1].state is FilterState.PENDING
    pair.clock.advance(30)
    await pair.until_state(job.token, *DONE)
    assert other.attempts["y"] == 1


async def test_a_dead_destination_starves_no_other(make) -> None:
    shop = await make(parallel_deliveries=3, parallel_per_destination=2, max_open_jobs_per_owner=100)
    hold = shop.filter.block("dead")
    stuck = [await shop.ended_job("dead") for _ in range(6)]
    await shop.filter.waiting["dead"].wait()
    lucky = [await shop.ended_job("alive") for _ in range(6)]
    for job in lucky:
        await shop.until_state(job.token, JobState.COMPLETED)
    assert shop.filter.most_at_once["dead"] == 2
    assert shop.filter.most_at_once["alive"] == 1
    hold.set()
    for job in stuck:
        await shop.until_state(job.token, JobState.COMPLETED)


async def test_as_many_dead_destinations_as_may_run_at_once_starve_no_other(make) -> None:
    shop = await make(parallel_deliveries=2, parallel_per_destination=1, stalled_after=timedelta(0))
    dead = [f"dead {number}" for number in range(4)]
    holds = [shop.filter.block(place) for place in dead]
    stuck = [await shop.ended_job(place) for place in dead]
    alive = await shop.ended_job("alive")
    async with asyncio.timeout(20):
        await shop.until_state(alive.token, JobState.COMPLETED)
    for hold in holds:
        hold.set()
    for job in stuck:
        await shop.until_state(job.token, JobState.COMPLETED)


async def test_an_unexpected_error_is_tried_again_a_few_times_only(make) -> None:
    shop = await make(retry=RetryPolicy(unexpected_attempts=2))
    shop.filter.raising["share"] = -1
    job = await shop.ended_job()
    await shop.until(lambda: waiting(shop, job.token) == 1)
    await shop.sleepers(3)
    shop.clock.advance(30)
    done = await shop.until_state(job.token, *DONE)
    assert done.filters[0].reasons == (FilterStateReason.UNKNOWN_ERROR,)
    assert shop.filter.attempts["share"] == 2
    assert "ZeroDivisionError" in (done.filters[0].deliveries[0].last_error or "")


async def test_success_is_believed_only_when_every_document_was_confirmed(make) -> None:
    shop = await make(retry=RetryPolicy(unexpected_attempts=1))
    shop.filter.forgetful.add("share")
    job = await shop.ended_job()
    done = await shop.until_state(job.token, *DONE)
    assert (done.state, done.filters[0].reasons) == (JobState.ABORTED, (FilterStateReason.UNKNOWN_ERROR,))
    assert len(shop.files()) == 1


async def test_an_image_missing_from_the_spool_is_never_a_success(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    await shop.send(job.token, 1, page(1))
    (file,) = (shop.spool.root / "jobs" / job.token).iterdir()
    aside = file.rename(shop.folder / "aside")
    await shop.engine.end(job.token, OWNER)
    await shop.until(lambda: waiting(shop, job.token) == 1)
    assert shop.filter.attempts == {}
    aside.rename(file)
    await shop.sleepers(3)
    shop.clock.advance(30)
    assert (await shop.until_state(job.token, *DONE)).state is JobState.COMPLETED


async def test_nothing_is_delivered_twice_when_the_server_dies_midway(shop: Workshop) -> None:
    hold = shop.filter.block("b")
    job = await shop.ended_job("a", "b", pages=3)
    await shop.filter.waiting["b"].wait()
    await shop.until(
        lambda: (
            shop.changes[-1].kind is ChangeKind.DELIVERY
            and shop.changes[-1].job.filters[0].deliveries[0].state is DeliveryState.DELIVERED
        )
    )
    await shop.crash()
    hold.set()
    done = await shop.until_state(job.token, *DONE)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert set(shop.filter.writes.values()) == {1}
    assert len(shop.filter.writes) == 6


@pytest.mark.parametrize("days", [-1, 0, 1])
async def test_a_pause_goes_on_after_a_restart_wherever_the_clock_jumped(shop: Workshop, days: int) -> None:
    shop.filter.failing["share"] = 2
    job = await shop.ended_job()
    await shop.until(lambda: waiting(shop, job.token) == 1)
    await shop.sleepers(3)
    shop.clock.advance(30)
    await shop.until(lambda: shop.filter.attempts["share"] == 2 and waiting(shop, job.token) == 1)
    await shop.crash()
    shop.clock.jump(days)
    await shop.crash()
    if days < 1:  # a clock set forward makes the attempt due at once, which is harmless
        await shop.sleepers(3)
        assert shop.filter.attempts["share"] == 2
        shop.clock.advance(60)
    done = await shop.until_state(job.token, *DONE)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert shop.filter.attempts["share"] == 3


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_jump_repeats_and_shortens_no_pause(shop: Workshop, days: int) -> None:
    shop.filter.failing["share"] = 1
    job = await shop.ended_job()
    await shop.until(lambda: waiting(shop, job.token) == 1)
    await shop.sleepers(3)
    shop.clock.jump(days)
    shop.clock.advance(29)
    assert (await shop.engine.job(job.token, OWNER)).state is JobState.PROCESSING
    assert shop.filter.attempts["share"] == 1
    shop.clock.advance(1)
    assert (await shop.until_state(job.token, *DONE)).state is JobState.COMPLETED
    assert shop.filter.attempts["share"] == 2


async def test_stopping_lets_the_document_under_way_arrive_and_goes_on_after_the_start(
    shop: Workshop,
) -> None:
    hold = shop.filter.block("share")
    job = await shop.ended_job(pages=3)
    await shop.filter.waiting["share"].wait()
    stopping = asyncio.create_task(shop.restart())
    await asyncio.sleep(0)
    hold.set()
    await stopping
    done = await shop.until_state(job.token, *DONE)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert set(shop.filter.writes.values()) == {1}
    assert shop.filter.attempts["share"] == 2


async def test_a_filter_that_is_gone_after_a_restart_fails_its_jobs_and_loses_no_image(
    shop: Workshop,
) -> None:
    shop.filter.failing["share"] = -1
    job = await shop.ended_job()
    await shop.until(lambda: waiting(shop, job.token) == 1)
    taken = shop.filters.pop(shop.filter.dialect)
    await shop.crash()
    done = await shop.until_state(job.token, *DONE)
    assert (done.state, done.filters[0].reasons) == (JobState.ABORTED, (FilterStateReason.INVALID_ARGS,))
    assert len(shop.files()) == 1
    shop.filters[taken.dialect] = taken
    shop.filter.failing.clear()
    await shop.engine.retry(job.token)
    assert (await shop.until_state(job.token, JobState.COMPLETED)).token == job.token


async def test_a_database_that_is_away_for_a_while_forgets_no_job(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postscan.jobs import operations
    from postscan.jobs.errors import OutOfDiskSpace

    refused = asyncio.Event()
    loop = asyncio.get_running_loop()

    def full(*_: object, **__: object) -> None:
        loop.call_soon_threadsafe(refused.set)
        raise OutOfDiskSpace("full")

    monkeypatch.setattr(operations, "finish_job", full)
    job = await shop.ended_job()
    await refused.wait()
    monkeypatch.undo()
    await shop.sleepers(3)
    shop.clock.advance(30)
    done = await shop.until_state(job.token, *DONE)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert set(shop.filter.writes.values()) == {1}


async def test_a_filter_that_queues_behind_a_dead_destination_blocks_no_other(make) -> None:
    shop = await make(RecordingFilter("urn:one"), RecordingFilter("urn:two"), parallel_per_destination=1)
    (one, _), (other, _) = two(shop, "", "")
    hold = one.block("dead")
    stuck = await run_two_filters(shop, "dead", "y", go_on=True)
    await one.waiting["dead"].wait()
    queued = await run_two_filters(shop, "dead", "y", go_on=True)
    await shop.until(lambda: other.arrived.get((queued.token, "y")) == {1: page(1)})
    hold.set()
    for job in (stuck, queued):
        await shop.until_state(job.token, JobState.COMPLETED)
