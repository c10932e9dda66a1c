"""Cancel, retry, idle jobs, retention and history (R-4, R-10)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from postscan.contracts.keywords import END_STATES, FilterState, JobState, JobStateReason
from postscan.jobs.errors import JobNotFound, NotRetryable, WrongState
from postscan.jobs.housekeeping import TIDY_SECONDS
from postscan.jobs.model import ChangeKind, DeliveryState, NewFilter
from support.filters import DIALECT, instructions
from support.jobs import OWNER, Workshop, new_job, page

DAY = 86_400.0


async def settled(shop: Workshop) -> None:
    """Wait until whatever the engine is doing in the background is done, but for its two regular tasks."""
    while len(shop.engine._background) > 2:
        await asyncio.sleep(0)


async def pass_time(shop: Workshop, seconds: float, step: float = 30.0) -> None:
    """Let time pass in steps, giving the sweeps the chance to look around after each."""
    for _ in range(int(seconds / step)):
        await shop.sleepers(2)
        shop.clock.advance(step)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def states(shop: Workshop, token: str) -> list[JobState]:
    return [c.job.state for c in shop.changes if c.job.token == token and c.kind is ChangeKind.STATE]


async def test_canceling_an_open_job_ends_it_at_once_and_forgets_its_images(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    await shop.send(job.token, 1, page(1))
    canceled = await shop.engine.cancel(job.token, OWNER)
    assert (canceled.state, canceled.reasons) == (JobState.CANCELED, (JobStateReason.CANCELED,))
    assert states(shop, job.token) == [JobState.TERMINATING, JobState.CANCELED]
    assert canceled.filters[0].state is FilterState.CANCELED
    assert await shop.engine.cancel(job.token, OWNER) == canceled
    await settled(shop)
    assert shop.files() == []


async def test_canceling_a_running_job_stops_it_between_documents_and_keeps_what_arrived(
    shop: Workshop,
) -> None:
    hold = shop.filter.block("share")
    job = await shop.ended_job(pages=3)
    await shop.filter.waiting["share"].wait()
    assert (await shop.engine.cancel(job.token, OWNER)).state is JobState.TERMINATING
    assert (await shop.engine.cancel(job.token, OWNER)).state is JobState.TERMINATING
    hold.set()
    done = await shop.until_state(job.token, *END_STATES)
    assert (done.state, done.reasons) == (JobState.CANCELED, (JobStateReason.CANCELED,))
    assert done.filters[0].state is FilterState.CANCELED
    assert [d.document_id for d in done.filters[0].deliveries[0].delivered] == [1]
    assert shop.filter.arrived[job.token, "share"] == {1: page(1)}


async def test_a_document_that_never_arrives_does_not_hold_up_the_cancel(make) -> None:
    shop = await make(stop_grace=timedelta(milliseconds=10))
    shop.filter.block("share")
    job = await shop.ended_job()
    await shop.filter.waiting["share"].wait()
    await shop.engine.cancel(job.token, OWNER)
    assert (await shop.until_state(job.token, *END_STATES)).state is JobState.CANCELED


async def test_canceling_a_job_that_waits_for_a_retry_ends_it(shop: Workshop) -> None:
    shop.filter.failing["share"] = -1
    job = await shop.ended_job()
    await shop.until(lambda: shop.changes[-1].kind is ChangeKind.DELIVERY)
    await shop.engine.cancel(job.token, None)
    done = await shop.until_state(job.token, *END_STATES)
    assert done.state is JobState.CANCELED
    assert done.filters[0].deliveries[0].state is DeliveryState.CANCELED
    shop.clock.advance(DAY)
    await settled(shop)
    assert shop.filter.attempts["share"] == 1


async def test_a_job_killed_while_terminating_is_canceled_after_the_start(make) -> None:
    shop = await make(stop_grace=timedelta(days=1))
    shop.filter.block("share")
    job = await shop.ended_job()
    await shop.filter.waiting["share"].wait()
    await shop.engine.cancel(job.token, OWNER)
    await shop.crash()
    assert (await shop.until_state(job.token, *END_STATES)).state is JobState.CANCELED
    await settled(shop)
    assert shop.files() == []


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_cancel_racing_the_end_and_the_runner_always_ends_in_canceled_or_completed(
    shop: Workshop, turns: int
) -> None:
    job = await shop.engine.create(new_job())
    await shop.send(job.token, 1, page(1))
    ending = asyncio.create_task(shop.engine.end(job.token, OWNER))
    for _ in range(turns):
        await asyncio.sleep(0)
    outcome, _ = await asyncio.gather(shop.engine.cancel(job.token, OWNER), ending, return_exceptions=True)
    done = await shop.until_state(job.token, *END_STATES)
    if isinstance(outcome, BaseException):
        assert isinstance(outcome, WrongState)
        assert done.state is JobState.COMPLETED
    else:
        assert done.state is JobState.CANCELED
        assert states(shop, job.token)[-2:] == [JobState.TERMINATING, JobState.CANCELED]


async def test_a_finished_job_cannot_be_canceled(shop: Workshop) -> None:
    job = await shop.ended_job()
    await shop.until_state(job.token, JobState.COMPLETED)
    with pytest.raises(WrongState):
        await shop.engine.cancel(job.token, OWNER)


async def test_an_administrator_can_have_the_rest_delivered_again(shop: Workshop) -> None:
    shop.filter.denying.add("bad")
    job = await shop.ended_job("good", "bad", pages=2)
    assert (await shop.until_state(job.token, *END_STATES)).state is JobState.ABORTED
    shop.filter.denying.clear()
    assert (await shop.engine.retry(job.token)).completed is None
    done = await shop.until_state(job.token, *END_STATES)
    assert (done.state, done.reasons) == (JobState.COMPLETED, (JobStateReason.COMPLETED_SUCCESSFULLY,))
    assert len(shop.filter.writes) == 4
    assert set(shop.filter.writes.values()) == {1}
    await settled(shop)
    assert shop.files() == []


async def test_a_retry_runs_the_filters_that_were_canceled_too(shop: Workshop) -> None:
    shop.filter.denying.add("bad")
    both = tuple(NewFilter(DIALECT, instructions(place)) for place in ("bad", "later"))
    job = await shop.engine.create(new_job(filters=both))
    await shop.send(job.token, 1, page(1))
    await shop.engine.end(job.token, OWNER)
    await shop.until_state(job.token, JobState.ABORTED)
    shop.filter.denying.clear()
    await shop.engine.retry(job.token)
    done = await shop.until_state(job.token, *END_STATES)
    assert [f.state for f in done.filters] == [FilterState.COMPLETED_SUCCESSFULLY] * 2
    assert set(shop.filter.arrived) == {(job.token, "bad"), (job.token, "later")}


async def test_what_delivered_everything_or_was_canceled_or_still_runs_is_not_retried(
    shop: Workshop,
) -> None:
    done = await shop.ended_job()
    await shop.until_state(done.token, JobState.COMPLETED)
    canceled = await shop.engine.create(new_job())
    await shop.engine.cancel(canceled.token, OWNER)
    fresh = await shop.engine.create(new_job())
    for job in (done, canceled, fresh):
        with pytest.raises(NotRetryable):
            await shop.engine.retry(job.token)


async def test_a_job_without_end_is_given_up_after_the_idle_limit_and_keeps_its_images(
    shop: Workshop,
) -> None:
    job = await shop.engine.create(new_job())
    await shop.send(job.token, 1, page(1))
    await pass_time(shop, 870)
    assert states(shop, job.token) == []
    await pass_time(shop, 60)
    done = await shop.until_state(job.token, *END_STATES)
    assert (done.state, done.reasons) == (JobState.ABORTED, (JobStateReason.SEND_IMAGE_FAILED,))
    assert done.timed_out
    assert len(shop.files()) == 1
    with pytest.raises(WrongState):
        await shop.engine.end(job.token, OWNER)
    await shop.engine.retry(job.token)
    delivered = await shop.until_state(job.token, JobState.COMPLETED)
    assert not delivered.timed_out
    assert shop.filter.arrived[job.token, "share"] == {1: page(1)}


@pytest.mark.parametrize("sign", ["image", "check", "touch"])
async def test_every_sign_of_life_begins_the_idle_limit_anew(shop: Workshop, sign: str) -> None:
    job = await shop.engine.create(new_job())
    for number in range(3):
        await pass_time(shop, 600)
        if sign == "image":
            await shop.send(job.token, number, page(number))
        elif sign == "check":
            await shop.engine.check_image(job.token, OWNER, number, "jfif", None)
        else:
            shop.engine.touch(job.token)
    await pass_time(shop, 600)
    assert (await shop.engine.job(job.token, OWNER)).state is JobState.CREATING


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_jump_expires_no_open_job(shop: Workshop, days: int) -> None:
    job = await shop.engine.create(new_job())
    shop.clock.jump(days)
    await pass_time(shop, 600)
    assert (await shop.engine.job(job.token, OWNER)).state is JobState.CREATING
    await shop.crash()
    await pass_time(shop, 600)
    assert (await shop.engine.job(job.token, OWNER)).state is JobState.CREATING
    await pass_time(shop, 360)
    assert (await shop.until_state(job.token, *END_STATES)).timed_out


@pytest.mark.parametrize("days", [-1, 0, 1])
async def test_undelivered_images_are_kept_for_the_retention_in_running_time(make, days: int) -> None:
    shop = await make(retain_undelivered=timedelta(hours=2))
    shop.filter.denying.add("share")
    job = await shop.ended_job()
    await shop.until_state(job.token, JobState.ABORTED)
    shop.clock.jump(days)
    await pass_time(shop, 6600, TIDY_SECONDS)
    await shop.sleepers(2)
    await shop.crash()
    assert len(shop.files()) == 1
    await pass_time(shop, 600, TIDY_SECONDS)
    await shop.sleepers(2)
    await settled(shop)
    assert shop.files() == []
    with pytest.raises(NotRetryable):
        await shop.engine.retry(job.token)


async def test_delivered_images_can_be_kept_for_a_while(make) -> None:
    shop = await make(retain_delivered=timedelta(hours=1))
    job = await shop.ended_job()
    await shop.until_state(job.token, JobState.COMPLETED)
    await settled(shop)
    assert len(shop.files()) == 1
    await pass_time(shop, 3600, TIDY_SECONDS)
    await shop.sleepers(2)
    await settled(shop)
    assert shop.files() == []


async def test_images_whose_removal_was_cut_short_are_removed_at_the_next_start(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.spool, "remove_job", lambda _: None)
    job = await shop.ended_job()
    await shop.until_state(job.token, JobState.COMPLETED)
    assert len(shop.files()) == 1
    await shop.crash()
    assert shop.files() == []


async def test_the_history_is_pruned_by_number_and_keeps_unfinished_jobs_and_kept_images(make) -> None:
    shop = await make(history_jobs=2)
    shop.filter.denying.add("bad")
    kept = await shop.ended_job("bad")
    await shop.until_state(kept.token, JobState.ABORTED)
    opened = await shop.engine.create(new_job())
    done = []
    for _ in range(4):
        done.append(await shop.ended_job())
        await shop.until_state(done[-1].token, JobState.COMPLETED)
    await shop.restart()
    left = {job.token for job in await shop.engine.jobs()}
    assert left == {kept.token, opened.token, done[2].token, done[3].token}
    with pytest.raises(JobNotFound):
        await shop.engine.job(done[0].token, OWNER)


async def test_the_history_is_pruned_by_age(shop: Workshop) -> None:
    job = await shop.ended_job()
    await shop.until_state(job.token, JobState.COMPLETED)
    shop.clock.advance(89 * DAY)
    await shop.restart()
    assert len(await shop.engine.jobs()) == 1
    shop.clock.advance(2 * DAY)
    await shop.restart()
    assert await shop.engine.jobs() == []


async def test_a_clock_that_jumped_while_running_prunes_no_history(shop: Workshop) -> None:
    job = await shop.ended_job()
    await shop.until_state(job.token, JobState.COMPLETED)
    shop.clock.jump(100 * 365)
    await pass_time(shop, 600, TIDY_SECONDS)
    await shop.sleepers(2)
    assert len(await shop.engine.jobs()) == 1


async def test_a_crash_at_any_moment_loses_doubles_and_changes_nothing(shop: Workshop) -> None:
    """The server dies again and again while eight jobs come; senders repeat what was not answered."""

    async def sender(name: str) -> str:
        job = await persist(lambda: shop.engine.create(new_job(name, request_id=name)))
        for number in range(1, 4):
            await persist(lambda n=number: shop.send(job.token, n, page(n)))
        await persist(lambda: shop.engine.end(job.token, OWNER))
        return job.token

    up = asyncio.Event()
    up.set()

    async def persist(action):
        while True:
            await up.wait()
            asked = asyncio.ensure_future(action())
            died = asyncio.ensure_future(down.wait())
            await asyncio.wait({asked, died}, return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            if asked.done() and not asked.cancelled() and asked.exception() is None:
                return asked.result()
            asked.cancel()

    down = asyncio.Event()
    senders = [asyncio.create_task(sender(f"place {n}")) for n in range(8)]
    for turns in range(1, 60, 7):
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        up.clear()
        down.set()
        await asyncio.sleep(0)
        await shop.crash()
        assert shop.engine.recovery.missing == []
        down.clear()
        up.set()
    tokens = await asyncio.gather(*senders)
    assert len(set(tokens)) == 8
    while {(await shop.engine.job(t, OWNER)).state for t in tokens} != {JobState.COMPLETED}:
        await asyncio.sleep(0)
    assert len(await shop.engine.jobs()) == 8
    for number, token in enumerate(tokens):
        assert shop.filter.arrived[token, f"place {number}"] == {n: page(n) for n in (1, 2, 3)}
