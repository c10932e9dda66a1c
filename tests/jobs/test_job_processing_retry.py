"""Crashes and repeated deliveries of jobs whose documents are made: nothing is made or delivered twice."""

from __future__ import annotations

import pytest

from postscan.contracts.keywords import FilterState, JobState, JobStateReason
from postscan.filters.contract import ProcessingOrder, Product, Workbench
from postscan.jobs.errors import NotRetryable
from postscan.jobs.model import NewFilter
from support.chains import JOIN, MADE, PLACE, Chain, broken
from support.filters import DIALECT, JoiningFilter, RecordingFilter, instructions
from support.jobs import page

JOINED = {MADE: page(1) + page(2)}
SUCCESS = (JobStateReason.COMPLETED_SUCCESSFULLY,)


async def test_a_step_that_a_crash_cut_short_begins_anew(chain: Chain) -> None:
    chain.joining.block()
    job = await chain.scan()
    await chain.joining.waiting.wait()
    (work,) = (chain.shop.spool.root / "work").iterdir()
    chain.joining._go_on = None
    await chain.shop.crash()
    done = await chain.done(job)
    assert (done.reasons, chain.joining.tries(job.token)) == (SUCCESS, 2)
    assert chain.arrived(job) == JOINED
    assert not work.exists()


async def test_a_step_that_was_recorded_never_runs_again(chain: Chain) -> None:
    hold = chain.recording.block("share")
    job = await chain.scan()
    await chain.recording.waiting["share"].wait()
    made = await chain.shop.engine.products(job.token, None)
    await chain.shop.crash()
    assert chain.shop.engine.recovery.missing == []
    assert await chain.shop.engine.products(job.token, None) == made
    hold.set()
    done = await chain.done(job)
    assert (done.reasons, chain.joining.tries(job.token)) == (SUCCESS, 1)
    assert chain.arrived(job) == JOINED


async def test_what_was_moved_and_not_recorded_is_removed_after_a_crash(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postscan.jobs import processing

    def die(*_: object, **__: object) -> None:
        raise ZeroDivisionError("as if the server had died here")

    monkeypatch.setattr(processing, "finish_step", die)
    monkeypatch.setattr("postscan.jobs.products.Takeover.undo", lambda *_: None)
    job = await chain.scan()
    await chain.shop.sleepers(3)
    assert len(chain.shop.files()) == 3
    monkeypatch.undo()
    await chain.shop.crash()
    assert chain.shop.engine.recovery.orphans == 1
    done = await chain.done(job)
    assert (done.reasons, chain.joining.tries(job.token)) == (SUCCESS, 2)
    assert chain.arrived(job) == JOINED


async def test_a_store_that_refuses_for_good_leaves_no_document_behind(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postscan.jobs import processing
    from postscan.jobs.errors import OutOfDiskSpace

    def full(*_: object, **__: object) -> None:
        raise OutOfDiskSpace("the store: database or disk is full")

    monkeypatch.setattr(processing, "finish_step", full)
    job = await chain.scan()
    await chain.shop.until(lambda: chain.shop.changes[-1].job.filters[0].deliveries[0].attempts == 1)
    assert len(chain.shop.files()) == 2
    monkeypatch.undo()
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(30)
    assert (await chain.done(job)).reasons == SUCCESS
    assert chain.arrived(job) == JOINED


async def test_an_administrators_retry_delivers_what_was_made_and_makes_nothing_again(chain: Chain) -> None:
    chain.recording.denying.add("bad")
    job = await chain.scan(JOIN, NewFilter(DIALECT, instructions("good", "bad")))
    assert (await chain.done(job)).state is JobState.ABORTED
    assert len(chain.shop.files()) == 3
    chain.recording.denying.clear()
    await chain.shop.engine.retry(job.token)
    done = await chain.done(job)
    assert (done.reasons, chain.joining.tries(job.token)) == (SUCCESS, 1)
    assert chain.arrived(job, "good") == chain.arrived(job, "bad") == JOINED
    assert set(chain.recording.writes.values()) == {1}


async def test_an_administrators_retry_runs_a_step_that_failed_and_all_after_it(chain: Chain) -> None:
    chain.joining.failing = [broken()]
    job = await chain.scan()
    await chain.done(job)
    await chain.shop.engine.retry(job.token)
    done = await chain.done(job)
    assert done.reasons == SUCCESS
    assert chain.arrived(job) == JOINED
    assert (done.filters[0].deliveries[0].last_error, done.filters[0].deliveries[0].advice) == (None, "")


async def test_there_is_nothing_to_repeat_when_all_was_delivered_without_what_a_step_makes(
    chain: Chain,
) -> None:
    chain.joining.failing = [broken()]
    job = await chain.scan(go_on=True)
    assert (await chain.done(job)).reasons == (JobStateReason.COMPLETED_WITH_ERRORS,)
    with pytest.raises(NotRetryable, match="delivered what it had"):
        await chain.shop.engine.retry(job.token)
    assert chain.joining.tries(job.token) == 1


async def test_who_got_images_before_a_step_succeeded_keeps_them_and_is_warned_of(chain: Chain) -> None:
    chain.joining.failing = [broken()]
    chain.recording.denying.add("bad")
    job = await chain.scan(JOIN, NewFilter(DIALECT, instructions("good", "bad")), go_on=True)
    await chain.done(job)
    chain.recording.denying.clear()
    await chain.shop.engine.retry(job.token)
    done = await chain.done(job)
    assert done.reasons == (JobStateReason.COMPLETED_WITH_WARNINGS,)
    (warning,) = done.filters[0].deliveries[0].warnings
    assert "stay as they were delivered" in warning
    assert chain.arrived(job, "good") == {1: page(1), 2: page(2)}
    assert chain.arrived(job, "bad") == JOINED


async def test_a_failed_step_is_left_alone_when_one_after_it_has_succeeded(make) -> None:
    first, joining, recording = JoiningFilter("urn:first"), JoiningFilter(), RecordingFilter()
    chain = Chain(await make(first, joining, recording), joining, recording)
    first.failing = [broken()]
    recording.denying.add("share")
    job = await chain.scan(NewFilter("urn:first", instructions()), JOIN, PLACE, go_on=True)
    await chain.done(job)
    recording.denying.clear()
    await chain.shop.engine.retry(job.token)
    done = await chain.done(job)
    assert done.reasons == (JobStateReason.COMPLETED_WITH_ERRORS,)
    assert [run.state for run in done.filters] == [
        FilterState.COMPLETED_WITH_ERRORS,
        FilterState.COMPLETED_SUCCESSFULLY,
        FilterState.COMPLETED_SUCCESSFULLY,
    ]
    assert (first.tries(job.token), joining.tries(job.token)) == (1, 1)
    assert chain.arrived(job) == {2 << 32 | 1: page(1) + page(2)}
    with pytest.raises(NotRetryable):
        await chain.shop.engine.retry(job.token)


async def test_an_administrator_who_cannot_wait_has_a_step_tried_at_once(chain: Chain) -> None:
    from support.chains import busy, waits

    chain.joining.failing = [busy()]
    job = await chain.scan()
    await waits(chain, job, 1)
    await chain.shop.sleepers(3)
    await chain.shop.engine.retry(job.token)
    assert (await chain.done(job)).reasons == SUCCESS


async def test_a_crash_between_any_two_steps_of_a_chain_repeats_none(make) -> None:
    """The server dies after each filter of three, whose next waits; every one works once."""
    runs: list[str] = []

    def counting(mark: str) -> JoiningFilter:
        async def run(order: ProcessingOrder, bench: Workbench) -> list[Product]:
            runs.append(mark)
            if hold == mark:
                await blocked.join(order, bench)
            return list(await joins[mark].join(order, bench))

        return JoiningFilter(f"urn:{mark}", process=run)

    blocked, hold = JoiningFilter(), ""
    joins = {mark: JoiningFilter(mark=mark.encode()) for mark in "abc"}
    steps, recording = [counting(mark) for mark in "abc"], RecordingFilter()
    chain = Chain(await make(*steps, recording), steps[0], recording)
    for hold in "abc":
        runs.clear()
        blocked.block()
        filters = [NewFilter(step.dialect, instructions()) for step in steps]
        job = await chain.scan(*filters, PLACE)
        await blocked.waiting.wait()
        held, hold = hold, ""
        await chain.shop.crash()
        await chain.done(job)
        assert sorted(runs) == sorted(["a", "b", "c", held])
        assert chain.arrived(job) == {3 << 32 | 1: b"cba" + page(1) + page(2)}
