"""Jobs whose documents are made into others before they are delivered."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from postscan.contracts.keywords import FilterState, FilterStateReason, JobState, JobStateReason
from postscan.core.errors import InvalidArgument
from postscan.filters.contract import (
    PROCESSING,
    InstructionsError,
    ProcessingOrder,
    Product,
    Workbench,
    WorkFailed,
)
from postscan.jobs.errors import JobNotFound
from postscan.jobs.model import DeliveryState, NewFilter
from postscan.jobs.settings import RetryPolicy
from support.chains import JOIN, MADE, PLACE, Chain, broken, busy, waits
from support.filters import DIALECT, JOINING, JoiningFilter, RecordingFilter, instructions, product
from support.jobs import OTHER, OWNER, new_job, page


async def test_what_a_processing_filter_makes_is_delivered_instead_of_the_images(chain: Chain) -> None:
    job = await chain.scan()
    done = await chain.done(job)
    assert (done.state, done.reasons) == (JobState.COMPLETED, (JobStateReason.COMPLETED_SUCCESSFULLY,))
    assert [run.state for run in done.filters] == [FilterState.COMPLETED_SUCCESSFULLY] * 2
    assert chain.arrived(job) == {MADE: page(1) + page(2)}


async def test_each_processing_filter_gets_what_the_one_before_made(make) -> None:
    first, second = JoiningFilter("urn:first", mark=b"1"), JoiningFilter("urn:second", mark=b"2")
    recording = RecordingFilter()
    chain = Chain(await make(first, second, recording), first, recording)
    both = (NewFilter("urn:first", instructions()), NewFilter("urn:second", instructions()))
    job = await chain.scan(*both, PLACE)
    await chain.done(job)
    assert first.seen[job.token] == [[(1, 1, page(1), None, (1,)), (2, 2, page(2), None, (2,))]]
    assert second.seen[job.token] == [[(MADE, 1, b"1" + page(1) + page(2), None, (1, 2))]]
    assert chain.arrived(job) == {2 << 32 | 1: b"21" + page(1) + page(2)}


async def test_processing_filters_run_first_wherever_they_stand_in_the_process(chain: Chain) -> None:
    job = await chain.scan(PLACE, JOIN)
    done = await chain.done(job)
    assert [(run.dialect, run.processing) for run in done.filters] == [(DIALECT, False), (JOINING, True)]
    assert chain.arrived(job) == {2 << 32 | 1: page(1) + page(2)}


async def test_a_processing_filter_has_one_destination_like_any_other(chain: Chain) -> None:
    done = await chain.done(await chain.scan())
    (place,) = done.filters[0].deliveries
    assert (place.key, place.label) == (PROCESSING.key, PROCESSING.label)
    assert (place.state, place.attempts, place.delivered) == (DeliveryState.DELIVERED, 0, ())


async def test_what_was_made_stays_known_when_its_files_are_gone(chain: Chain) -> None:
    job = await chain.scan()
    await chain.done(job)
    (made,) = await chain.shop.engine.products(job.token, None)
    assert (made.filter_index, made.number, made.document_id, made.handed_on) == (0, 1, MADE, False)
    assert (made.format, made.size, made.sources, made.pages) == ("pdf", 2000, (1, 2), 2)
    await chain.shop.engine.stop()
    assert chain.shop.files() == []
    assert list((chain.shop.spool.root / "work").iterdir()) == []


async def test_what_was_made_belongs_to_the_owner_of_the_job(chain: Chain) -> None:
    job = await chain.scan()
    await chain.done(job)
    assert len(await chain.shop.engine.products(job.token, OWNER)) == 1
    with pytest.raises(JobNotFound):
        await chain.shop.engine.products(job.token, OTHER)


async def test_a_document_that_is_handed_on_is_not_copied_and_keeps_its_id(make) -> None:
    async def name_and_turn_round(order: ProcessingOrder, _: Workbench) -> list[Product]:
        return [product(one, f"page {one.document_id}") for one in reversed(order.documents)]

    naming = JoiningFilter("urn:naming", process=name_and_turn_round)
    joining, recording = JoiningFilter(), RecordingFilter()
    chain = Chain(await make(naming, joining, recording), joining, recording)
    recording.block("share")
    job = await chain.scan(NewFilter("urn:naming", instructions()), JOIN, PLACE)
    await recording.waiting["share"].wait()
    seen = [(2, 1, page(2), "page 2", (2,)), (1, 2, page(1), "page 1", (1,))]
    assert joining.seen[job.token] == [seen]
    made = await chain.shop.engine.products(job.token, None)
    assert [(m.document_id, m.name, m.handed_on) for m in made[:2]] == [
        (2, "page 2", True),
        (1, "page 1", True),
    ]
    assert len(chain.shop.files()) == 3
    recording.blocked["share"].set()
    await chain.done(job)


async def test_a_name_stays_until_another_filter_gives_one(make) -> None:
    async def name(order: ProcessingOrder, _: Workbench) -> list[Product]:
        return [product(one, "a name") for one in order.documents]

    async def hand_on(order: ProcessingOrder, _: Workbench) -> list[Product]:
        return [product(one) for one in order.documents]

    naming, other = (JoiningFilter(d, process=p) for d, p in (("urn:naming", name), ("urn:other", hand_on)))
    joining, recording = JoiningFilter(), RecordingFilter()
    chain = Chain(await make(naming, other, joining, recording), joining, recording)
    job = await chain.scan(
        *(NewFilter(d, instructions()) for d in ("urn:naming", "urn:other")), JOIN, PLACE, pages=1
    )
    await chain.done(job)
    assert joining.seen[job.token] == [[(1, 1, page(1), "a name", (1,))]]


async def test_a_step_that_cannot_be_done_ends_the_job_and_keeps_the_images(chain: Chain) -> None:
    chain.joining.failing = [broken()]
    job = await chain.scan()
    done = await chain.done(job)
    assert (done.state, done.reasons) == (JobState.ABORTED, (JobStateReason.PROCESSING_FAILED,))
    assert [run.state for run in done.filters] == [FilterState.COMPLETED_WITH_ERRORS, FilterState.CANCELED]
    assert done.filters[0].reasons == (FilterStateReason.INVALID_ARGS,)
    (place,) = done.filters[0].deliveries
    assert (place.last_error, place.advice) == ("page 2 is broken", "Scan page 2 again.")
    assert chain.arrived(job) == {}
    assert len(chain.shop.files()) == 2


async def test_with_continue_on_error_those_after_a_failed_step_get_what_it_got(make) -> None:
    first, joining, recording = JoiningFilter("urn:first"), JoiningFilter(), RecordingFilter()
    chain = Chain(await make(first, joining, recording), joining, recording)
    first.failing = [broken()]
    job = await chain.scan(NewFilter("urn:first", instructions()), JOIN, PLACE, go_on=True)
    done = await chain.done(job)
    assert (done.state, done.reasons) == (JobState.COMPLETED, (JobStateReason.COMPLETED_WITH_ERRORS,))
    assert [run.state for run in done.filters] == [
        FilterState.COMPLETED_WITH_ERRORS,
        FilterState.COMPLETED_SUCCESSFULLY,
        FilterState.COMPLETED_SUCCESSFULLY,
    ]
    assert chain.arrived(job) == {2 << 32 | 1: page(1) + page(2)}
    assert len(chain.shop.files()) == 3


async def test_with_continue_on_error_the_images_are_delivered_when_nothing_could_be_made(
    chain: Chain,
) -> None:
    chain.joining.failing = [broken()]
    job = await chain.scan(go_on=True)
    assert (await chain.done(job)).reasons == (JobStateReason.COMPLETED_WITH_ERRORS,)
    assert chain.arrived(job) == {1: page(1), 2: page(2)}


@pytest.mark.parametrize("go_on", [False, True])
async def test_a_step_that_time_heals_is_tried_again_and_nothing_is_delivered_before(
    chain: Chain, go_on: bool
) -> None:
    chain.joining.failing = [busy(), OSError(errno.ENOSPC, "No space left on device")]
    job = await chain.scan(go_on=go_on)
    for attempt, pause in ((1, 30), (2, 60)):
        now = await waits(chain, job, attempt)
        assert now.state is JobState.PROCESSING
        assert chain.arrived(job) == {}
        await chain.shop.sleepers(3)
        chain.shop.clock.advance(pause)
    done = await chain.done(job)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert chain.joining.tries(job.token) == 3
    assert chain.arrived(job) == {MADE: page(1) + page(2)}


async def test_a_full_disk_is_told_as_one(chain: Chain) -> None:
    chain.joining.failing = [OSError(errno.EDQUOT, "Disk quota exceeded")]
    job = await chain.scan()
    now = await waits(chain, job, 1)
    assert now.filters[0].deliveries[0].reason is FilterStateReason.OUT_OF_DISK_SPACE


async def test_a_step_that_never_succeeds_is_given_up(make) -> None:
    joining, recording = JoiningFilter(), RecordingFilter()
    policy = RetryPolicy(unexpected_attempts=2)
    chain = Chain(await make(joining, recording, retry=policy), joining, recording)
    joining.failing = [ZeroDivisionError("a defect"), WorkFailed("it died")]
    job = await chain.scan()
    await waits(chain, job, 1)
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(30)
    done = await chain.done(job)
    assert done.filters[0].reasons == (FilterStateReason.UNKNOWN_ERROR,)
    assert done.filters[0].deliveries[0].last_error == "WorkFailed: it died"


async def test_a_server_without_workers_says_so(make) -> None:
    async def decode(_: ProcessingOrder, bench: Workbench) -> list[Product]:
        await bench.workers.run("module:function", {}, folder=bench.folder)
        return []

    joining, recording = JoiningFilter(process=decode), RecordingFilter()
    chain = Chain(await make(joining, recording), joining, recording)
    now = await waits(chain, await chain.scan(), 1)
    assert "nobody who could run module:function" in (now.filters[0].deliveries[0].last_error or "")


async def test_every_try_begins_in_an_empty_private_folder_of_the_spools_disk(make) -> None:
    folders: list[Path] = []

    async def look(order: ProcessingOrder, bench: Workbench) -> list[Product]:
        folders.append(bench.folder)
        assert list(bench.folder.iterdir()) == []
        assert stat.S_IMODE(bench.folder.stat().st_mode) == 0o700
        assert bench.folder.stat().st_dev == order.documents[0].path.stat().st_dev
        (bench.folder / "deep").mkdir()
        (bench.folder / "deep" / "rest").write_bytes(b"left over")
        if len(folders) == 1:
            raise busy()
        return [product(one) for one in order.documents]

    joining, recording = JoiningFilter(process=look), RecordingFilter()
    chain = Chain(await make(joining, recording), joining, recording)
    job = await chain.scan()
    await waits(chain, job, 1)
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(30)
    assert (await chain.done(job)).reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)


async def test_it_can_be_seen_how_far_a_step_is(chain: Chain) -> None:
    go_on = chain.joining.block()
    job = await chain.scan(PLACE, JOIN, pages=3)
    assert chain.shop.engine.progress(job.token) == {}
    await chain.joining.waiting.wait()
    assert chain.shop.engine.progress(job.token) == {1: (3, 3)}
    go_on.set()
    await chain.done(job)
    assert chain.shop.engine.progress(job.token) == {}


async def test_a_step_that_takes_long_keeps_no_other_job_waiting(chain: Chain) -> None:
    go_on = chain.joining.block()
    slow = [await chain.scan() for _ in range(6)]
    await chain.joining.waiting.wait()
    quick = await chain.scan(PLACE)
    assert (await chain.done(quick)).state is JobState.COMPLETED
    go_on.set()
    for job in slow:
        assert (await chain.done(job)).state is JobState.COMPLETED


async def test_a_job_that_only_makes_documents_is_refused(chain: Chain) -> None:
    with pytest.raises(InvalidArgument, match="would deliver nothing"):
        await chain.shop.engine.create(new_job(filters=(JOIN, JOIN)))
    assert await chain.shop.engine.jobs() == []


async def test_instructions_that_a_processing_filter_cannot_read_make_no_job(chain: Chain) -> None:
    broken_ones = NewFilter(JOINING, b"<Instructions><Broken/></Instructions>")
    with pytest.raises(InstructionsError):
        await chain.shop.engine.create(new_job(filters=(broken_ones, PLACE)))


@pytest.mark.parametrize("go_on", [False, True])
async def test_a_processing_filter_that_is_gone_after_a_restart_loses_no_image(
    chain: Chain, go_on: bool
) -> None:
    chain.joining.failing = [busy()]
    job = await chain.scan(go_on=go_on)
    await waits(chain, job, 1)
    del chain.shop.filters[JOINING]
    await chain.shop.crash()
    done = await chain.done(job)
    assert done.filters[0].reasons == (FilterStateReason.INVALID_ARGS,)
    assert chain.arrived(job) == ({1: page(1), 2: page(2)} if go_on else {})
    assert len(chain.shop.files()) == 2


async def test_a_filter_that_is_turned_off_between_two_tries_loses_no_image(chain: Chain) -> None:
    chain.joining.failing = [busy()]
    job = await chain.scan()
    await waits(chain, job, 1)
    await chain.shop.sleepers(3)
    del chain.shop.filters[JOINING]
    chain.shop.clock.advance(30)
    done = await chain.done(job)
    assert done.filters[0].reasons == (FilterStateReason.INVALID_ARGS,)
    assert len(chain.shop.files()) == 2


async def test_a_filter_that_has_become_one_that_delivers_is_not_believed(chain: Chain) -> None:
    chain.joining.failing = [busy()]
    job = await chain.scan()
    await waits(chain, job, 1)
    chain.shop.filters[JOINING] = RecordingFilter(JOINING)
    await chain.shop.crash()
    done = await chain.done(job)
    assert "makes no documents" in (done.filters[0].deliveries[0].last_error or "")


async def test_two_thousand_documents_are_taken_over_and_delivered(make) -> None:
    async def split(order: ProcessingOrder, bench: Workbench) -> list[Product]:
        made = []
        for number in range(2000):
            path = bench.folder / str(number)
            path.write_bytes(b"%d" % number)
            made.append(Product(path, order.documents[0].format, (1,), name=f"part {number}"))
        return made

    joining, recording = JoiningFilter(process=split), RecordingFilter()
    chain = Chain(await make(joining, recording), joining, recording)
    job = await chain.scan(pages=1)
    await chain.done(job)
    arrived = chain.arrived(job)
    assert list(arrived) == [MADE + number for number in range(2000)]
    assert [*arrived.values()] == [b"%d" % number for number in range(2000)]
    assert set(recording.writes.values()) == {1}


async def test_a_made_document_that_is_missing_from_the_spool_is_never_a_success(make) -> None:
    first, joining, recording = JoiningFilter("urn:first"), JoiningFilter(), RecordingFilter()
    chain = Chain(await make(first, joining, recording), joining, recording)
    joining.failing = [busy()]
    job = await chain.scan(NewFilter("urn:first", instructions()), JOIN, PLACE)
    await waits(chain, job, 1, index=1)
    (file,) = (chain.shop.spool.root / "jobs" / job.token).glob(f"{MADE}.*")
    aside = file.rename(chain.shop.folder / "aside")
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(30)
    await waits(chain, job, 2, index=1)
    assert joining.tries(job.token) == 1
    aside.rename(file)
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(60)
    assert (await chain.done(job)).state is JobState.COMPLETED


async def test_canceling_a_job_stops_the_step_and_leaves_nothing(chain: Chain) -> None:
    chain.joining.block()
    job = await chain.scan()
    await chain.joining.waiting.wait()
    await chain.shop.engine.cancel(job.token, OWNER)
    done = await chain.done(job)
    assert done.state is JobState.CANCELED
    assert [run.state for run in done.filters] == [FilterState.CANCELED] * 2
    await chain.shop.engine.stop()
    assert chain.shop.files() == []
    assert chain.arrived(job) == {}


async def test_stopping_ends_the_step_which_begins_anew_after_the_start(chain: Chain) -> None:
    chain.joining.block().clear()
    job = await chain.scan()
    await chain.joining.waiting.wait()
    chain.joining._go_on = None
    await chain.shop.restart()
    done = await chain.done(job)
    assert done.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert (chain.joining.tries(job.token), done.filters[0].deliveries[0].attempts) == (2, 0)
    assert chain.arrived(job) == {MADE: page(1) + page(2)}
