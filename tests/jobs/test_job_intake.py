"""Create, SendImage and End, as promises (R-1, R-2, R-5, R-9; cases 21, 22, 41)."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest

from postscan.contracts.keywords import DocumentFormat, JobState, JobStateReason
from postscan.core.errors import InvalidArgument
from postscan.filters.contract import InstructionsError
from postscan.jobs import disk
from postscan.jobs.errors import (
    DocumentConflict,
    ImageTooLarge,
    JobEnded,
    JobNotFound,
    JobTooLarge,
    JobWasCanceled,
    NoImages,
    OutOfDiskSpace,
    StorageUnavailable,
    TooManyJobs,
    UnknownFilter,
)
from postscan.jobs.model import ChangeKind, NewFilter
from support.filters import DIALECT, instructions
from support.jobs import ANNA, OTHER, OWNER, Workshop, new_job, page

JFIF = DocumentFormat.JFIF


async def test_a_new_job_is_creating_and_remembers_every_fact(shop: Workshop) -> None:
    new = new_job("a", "b", go_on=True, request_id="uuid:1")
    job = await shop.engine.create(new)
    assert (job.state, job.reasons, job.images_received) == (JobState.CREATING, (JobStateReason.NONE,), 0)
    names = (
        "owner",
        "process_id",
        "process_name",
        "document_root_name",
        "request_id",
        "origin",
        "vouched_by",
    )
    for name in names:
        assert getattr(job, name) == getattr(new, name)
    assert (job.user, job.continue_on_error, job.created) == (ANNA, True, shop.clock.now())
    assert [d.key for d in job.filters[0].deliveries] == ["a", "b"]
    assert job.filters[0].instructions == instructions("a", "b")
    await shop.restart()
    assert await shop.engine.job(job.token, OWNER) == job


async def test_the_token_is_found_in_any_case_and_with_braces(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    assert job.token == job.token.lower()
    for sent in (job.token.upper(), f"{{{job.token}}}", f" {job.token}\n"):
        assert (await shop.engine.job(sent, OWNER)).token == job.token


@pytest.mark.parametrize("ended", [False, True])
async def test_a_token_of_another_identity_does_not_exist(shop: Workshop, ended: bool) -> None:
    job = await (shop.ended_job() if ended else shop.engine.create(new_job()))
    for operation in (
        shop.engine.job(job.token, OTHER),
        shop.engine.end(job.token, OTHER),
        shop.engine.cancel(job.token, OTHER),
        shop.engine.documents(job.token, OTHER),
        shop.engine.check_image(job.token, OTHER, 1, JFIF, None),
        shop.send(job.token, 1, b"x", OTHER),
    ):
        with pytest.raises(JobNotFound):
            await operation
    assert (await shop.engine.job(job.token, None)).token == job.token


@pytest.mark.parametrize("token", ["", "x", "6f9619ff-8b86-4011-b42d-00c04fc964ff", "../../etc/passwd"])
async def test_any_unknown_token_is_answered_alike_with_the_token_as_detail(
    shop: Workshop, token: str
) -> None:
    with pytest.raises(JobNotFound) as caught:
        await shop.engine.job(token, OWNER)
    assert caught.value.detail == token
    assert caught.value.fault.subcode == "ClientErrorJobTokenNotFound"


@pytest.mark.parametrize("size", [1, 1000, 65_536, 65_537, 2_000_000])
async def test_an_acknowledged_image_is_there_after_a_crash_octet_for_octet(
    shop: Workshop, size: int
) -> None:
    job = await shop.engine.create(new_job())
    octets = os.urandom(size)
    document = await shop.send(job.token, 5, octets)
    await shop.crash()
    assert shop.engine.recovery.missing == []
    assert await shop.engine.documents(job.token, OWNER) == [document]
    (stored,) = (shop.spool.root / "jobs" / job.token).iterdir()
    assert stored.read_bytes() == octets
    assert document.sha256 == hashlib.sha256(octets).hexdigest()
    after = await shop.engine.job(job.token, OWNER)
    assert (after.state, after.images_received, after.bytes_received) == (JobState.CREATING, 1, size)


async def test_file_folder_and_row_are_synced_before_the_image_is_acknowledged(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await shop.engine.create(new_job())
    synced: list[str] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        assert not shop.changes or shop.changes[-1].kind is not ChangeKind.IMAGE
        real(descriptor)

    monkeypatch.setattr(disk.os, "fsync", spy)
    await shop.send(job.token, 1, b"octets")
    assert {s.split(".")[0] for s in synced} == {"1", job.token, "jobs"}


@pytest.mark.parametrize("size", [100, 200_000])
async def test_an_image_whose_sync_fails_is_not_acknowledged_and_leaves_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    job = await shop.engine.create(new_job())

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(disk.os, "fsync", broken)
    with pytest.raises(StorageUnavailable):
        await shop.send(job.token, 1, bytes(size))
    monkeypatch.undo()
    assert shop.files() == []
    assert await shop.engine.documents(job.token, OWNER) == []
    await shop.send(job.token, 1, bytes(size))


async def test_a_disk_that_is_full_when_the_image_is_placed_is_out_of_disk_space(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await shop.engine.create(new_job())

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(disk.os, "write", full)
    with pytest.raises(OutOfDiskSpace):
        await shop.send(job.token, 1, b"small")
    monkeypatch.undo()
    assert shop.files() == []
    assert (await shop.send(job.token, 1, b"small")).size == 5


async def test_one_bad_image_of_a_group_does_not_fail_the_others(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    await shop.send(job.token, 3, b"first")
    outcomes = await asyncio.gather(
        *(shop.send(job.token, n, page(n)) for n in range(8)), return_exceptions=True
    )
    assert isinstance(outcomes[3], DocumentConflict)
    assert all(not isinstance(o, BaseException) for n, o in enumerate(outcomes) if n != 3)
    assert len(shop.files()) == 8
    assert (await shop.engine.job(job.token, OWNER)).images_received == 8


@pytest.mark.parametrize("size", [1000, 100_000])
async def test_the_same_image_twice_is_one_image_with_one_answer(shop: Workshop, size: int) -> None:
    job = await shop.engine.create(new_job())
    first = await shop.send(job.token, 1, page(1, size))
    assert await shop.send(job.token, 1, page(1, size)) == first
    await shop.crash()
    assert await shop.send(job.token, 1, page(1, size)) == first
    after = await shop.engine.job(job.token, OWNER)
    assert (after.images_received, after.bytes_received) == (1, size)
    assert len(shop.files()) == 1


async def test_the_same_image_at_the_same_time_is_one_image(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    answers = await asyncio.gather(*(shop.send(job.token, 1, page(1)) for _ in range(8)))
    assert len({a.received for a in answers}) == 1
    assert len(shop.files()) == 1
    assert (await shop.engine.job(job.token, OWNER)).images_received == 1


async def test_other_octets_under_the_same_id_are_a_conflict_and_change_nothing(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    first = await shop.send(job.token, 1, b"one")
    with pytest.raises(DocumentConflict) as caught:
        await shop.send(job.token, 1, b"two")
    assert caught.value.detail == "dsp:DocumentId"
    assert await shop.engine.documents(job.token, OWNER) == [first]
    assert len(shop.files()) == 1


async def test_documents_are_numbered_in_the_order_of_their_ids(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    for document_id in (30, 10, 20):
        await shop.send(job.token, document_id, page(document_id))
    documents = await shop.engine.documents(job.token, OWNER)
    assert [(d.document_id, d.number) for d in documents] == [(10, 1), (20, 2), (30, 3)]


async def test_an_image_is_checked_before_it_is_read(make) -> None:
    shop = await make(max_image_bytes=1000, max_images_per_job=2, max_job_bytes=1500)
    job = await shop.engine.create(new_job())
    check = shop.engine.check_image
    with pytest.raises(ImageTooLarge):
        await check(job.token, OWNER, 1, JFIF, 1001)
    await shop.send(job.token, 1, bytes(1000))
    with pytest.raises(JobTooLarge):
        await check(job.token, OWNER, 2, JFIF, 501)
    await shop.send(job.token, 2, bytes(500))
    with pytest.raises(JobTooLarge):
        await check(job.token, OWNER, 3, JFIF, None)
    await check(job.token, OWNER, 2, JFIF, 500)
    await shop.engine.end(job.token, OWNER)
    with pytest.raises(JobEnded):
        await check(job.token, OWNER, 3, JFIF, None)


async def test_the_limits_hold_for_images_that_were_not_announced(make) -> None:
    shop = await make(max_images_per_job=3, max_job_bytes=10_000)
    job = await shop.engine.create(new_job())
    outcomes = await asyncio.gather(
        *(shop.engine.commit_image(job.token, OWNER, n, JFIF, shop.writer(page(n))) for n in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(o, JobTooLarge) for o in outcomes) == 5
    assert len(shop.files()) == 3


async def test_ending_is_durable_and_repeating_it_changes_nothing(shop: Workshop) -> None:
    hold = shop.filter.block("share")
    job = await shop.ended_job()
    assert job.ended == shop.clock.now()
    await shop.crash()
    shop.clock.advance(5)
    again = await shop.engine.end(job.token, OWNER)
    assert again.ended == job.ended
    hold.set()
    await shop.until_state(job.token, JobState.COMPLETED)
    assert (await shop.engine.end(job.token, OWNER)).state is JobState.COMPLETED


async def test_a_job_without_images_cannot_be_ended_and_stays_open(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    with pytest.raises(NoImages):
        await shop.engine.end(job.token, OWNER)
    await shop.send(job.token, 1, b"x")
    assert (await shop.engine.end(job.token, OWNER)).ended is not None


async def test_an_image_racing_the_end_is_delivered_or_refused_never_lost(shop: Workshop) -> None:
    for _ in range(10):
        job = await shop.engine.create(new_job())
        await shop.send(job.token, 0, page(0))
        sending = [asyncio.create_task(shop.send(job.token, n, page(n))) for n in range(1, 9)]
        for _ in range(3):
            await asyncio.sleep(0)
        await shop.engine.end(job.token, OWNER)
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        accepted = {n for n, o in enumerate(outcomes, 1) if not isinstance(o, BaseException)}
        assert all(isinstance(o, JobEnded) for n, o in enumerate(outcomes, 1) if n not in accepted)
        done = await shop.until_state(job.token, JobState.COMPLETED)
        assert set(shop.filter.arrived[job.token, "share"]) == accepted | {0}
        assert done.images_received == len(accepted) + 1


@pytest.mark.parametrize("operation", ["end", "cancel"])
async def test_an_image_behind_an_end_or_cancel_that_is_being_committed_is_refused(
    shop: Workshop, operation: str
) -> None:
    job = await shop.engine.create(new_job())
    await shop.send(job.token, 1, page(1))
    first = asyncio.create_task(getattr(shop.engine, operation)(job.token, OWNER))
    await asyncio.sleep(0)
    with pytest.raises((JobEnded, JobWasCanceled)):
        await shop.send(job.token, 2, page(2))
    await first
    done = await shop.until_state(job.token, JobState.COMPLETED, JobState.CANCELED)
    assert done.images_received == 1


async def test_an_image_for_a_canceled_job_is_told_so(shop: Workshop) -> None:
    job = await shop.engine.create(new_job())
    await shop.send(job.token, 1, b"x")
    await shop.engine.cancel(job.token, OWNER)
    for operation in (shop.send(job.token, 2, b"y"), shop.engine.end(job.token, OWNER)):
        with pytest.raises(JobWasCanceled) as caught:
            await operation
        assert caught.value.fault.subcode == "ServerErrorPostScanJobCanceled"


async def test_a_writer_is_used_up_even_when_the_job_is_unknown(shop: Workshop) -> None:
    with pytest.raises(JobNotFound):
        await shop.engine.commit_image("x", OWNER, 1, JFIF, shop.writer(bytes(100_000)))
    assert shop.files() == []


async def test_a_sender_that_vanishes_while_its_image_is_committed_leaves_a_whole_image(
    shop: Workshop,
) -> None:
    job = await shop.engine.create(new_job())
    writer = shop.writer(bytes(100_000))
    sending = asyncio.create_task(shop.engine.commit_image(job.token, OWNER, 1, JFIF, writer))
    await asyncio.sleep(0)
    sending.cancel()
    writer.abort()
    await shop.until(lambda: any(c.kind is ChangeKind.IMAGE for c in shop.changes))
    assert len(shop.files()) == 1
    await shop.crash()
    assert shop.engine.recovery.missing == []


async def test_a_torn_upload_is_gone_after_a_restart(shop: Workshop) -> None:
    writer = shop.writer(bytes(100_000))
    assert len(shop.files()) == 1
    await shop.crash()
    assert shop.files() == []
    writer.abort()


async def test_too_many_open_jobs_are_refused_and_may_be_tried_later(make) -> None:
    shop = await make(max_open_jobs=3, max_open_jobs_per_owner=2)
    first = await shop.engine.create(new_job())
    await shop.engine.create(new_job())
    with pytest.raises(TooManyJobs) as caught:
        await shop.engine.create(new_job())
    assert caught.value.retry_helps
    await shop.engine.create(new_job(owner=OTHER))
    with pytest.raises(TooManyJobs):
        await shop.engine.create(new_job(owner="user:third"))
    await shop.engine.cancel(first.token, OWNER)
    await shop.engine.create(new_job())


async def test_the_limit_of_open_jobs_holds_for_requests_at_the_same_time_and_after_a_restart(make) -> None:
    shop = await make(max_open_jobs_per_owner=2)
    outcomes = await asyncio.gather(
        *(shop.engine.create(new_job()) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(o, TooManyJobs) for o in outcomes) == 3
    await shop.restart()
    with pytest.raises(TooManyJobs):
        await shop.engine.create(new_job())


async def test_without_free_space_no_job_begins_and_no_image_is_taken(make) -> None:
    shop = await make(min_free_bytes=1000)
    job = await shop.engine.create(new_job())
    shop.spool.free_bytes = lambda: 1500
    await shop.engine.check_image(job.token, OWNER, 1, JFIF, 500)
    with pytest.raises(OutOfDiskSpace):
        await shop.engine.check_image(job.token, OWNER, 1, JFIF, 501)
    shop.spool.free_bytes = lambda: 999
    with pytest.raises(OutOfDiskSpace) as caught:
        await shop.engine.create(new_job())
    assert (caught.value.fault.subcode, caught.value.retry_helps) == ("OutOfDiskSpace", True)
    assert len(await shop.engine.jobs()) == 1


async def test_a_repeated_create_gets_the_same_job_also_after_a_restart(shop: Workshop) -> None:
    first = await shop.engine.create(new_job(request_id="uuid:1"))
    assert (await shop.engine.create(new_job(request_id="uuid:1"))).token == first.token
    await shop.crash()
    assert (await shop.engine.create(new_job(request_id="uuid:1"))).token == first.token
    assert len(await shop.engine.jobs()) == 1


async def test_a_create_repeated_while_the_first_is_under_way_gets_the_same_job(shop: Workshop) -> None:
    made = await asyncio.gather(*(shop.engine.create(new_job(request_id="uuid:1")) for _ in range(5)))
    assert len({job.token for job in made}) == 1
    assert len(await shop.engine.jobs()) == 1


async def test_a_create_whose_sender_vanished_is_found_again(shop: Workshop) -> None:
    first = asyncio.create_task(shop.engine.create(new_job(request_id="uuid:1")))
    await asyncio.sleep(0)
    first.cancel()
    job = await shop.engine.create(new_job(request_id="uuid:1"))
    assert [j.token for j in await shop.engine.jobs()] == [job.token]


async def test_the_same_request_id_of_another_owner_is_another_job(shop: Workshop) -> None:
    first = await shop.engine.create(new_job(request_id="uuid:1"))
    second = await shop.engine.create(new_job(request_id="uuid:1", owner=OTHER))
    assert first.token != second.token


async def test_a_request_without_id_is_never_a_replay(shop: Workshop) -> None:
    assert (await shop.engine.create(new_job())).token != (await shop.engine.create(new_job())).token


@pytest.mark.parametrize("days", [-1, 0, 1])
async def test_the_replay_window_ends_by_time_passed_wherever_the_clock_jumps(
    shop: Workshop, days: int
) -> None:
    first = await shop.engine.create(new_job(request_id="uuid:1"))
    shop.clock.jump(days)
    shop.clock.steady += 599
    assert (await shop.engine.create(new_job(request_id="uuid:1"))).token == first.token
    shop.clock.steady += 2
    assert (await shop.engine.create(new_job(request_id="uuid:1"))).token != first.token


async def test_a_create_that_failed_is_no_replay(make) -> None:
    shop = await make(max_open_jobs=1)
    other = await shop.engine.create(new_job())
    with pytest.raises(TooManyJobs):
        await shop.engine.create(new_job(request_id="uuid:1"))
    await shop.engine.cancel(other.token, OWNER)
    assert (await shop.engine.create(new_job(request_id="uuid:1"))).state is JobState.CREATING


async def test_a_filter_nobody_has_is_named(shop: Workshop) -> None:
    with pytest.raises(UnknownFilter) as caught:
        await shop.engine.create(new_job(filters=(NewFilter("urn:nobody", b"<x/>"),)))
    assert caught.value.detail == "urn:nobody"


@pytest.mark.parametrize("xml", [b"<Instructions><Broken/></Instructions>", b"<Instructions/>"])
async def test_instructions_a_filter_cannot_work_with_make_no_job(shop: Workshop, xml: bytes) -> None:
    with pytest.raises(InstructionsError):
        await shop.engine.create(new_job(filters=(NewFilter(DIALECT, xml),)))
    assert await shop.engine.jobs() == []


async def test_a_job_that_would_deliver_nothing_is_refused(shop: Workshop) -> None:
    new = new_job()
    with pytest.raises(InvalidArgument):
        await shop.engine.create(type(new)(**{f: getattr(new, f) for f in new.__slots__} | {"filters": ()}))


async def test_jobs_are_listed_newest_first_by_whether_they_are_finished(shop: Workshop) -> None:
    done = await shop.ended_job()
    await shop.until_state(done.token, JobState.COMPLETED)
    second = await shop.engine.create(new_job())
    third = await shop.engine.create(new_job())
    tokens = [job.token for job in await shop.engine.jobs()]
    assert tokens == [third.token, second.token, done.token]
    assert [j.token for j in await shop.engine.jobs(active=True, limit=1)] == [third.token]
    assert [j.token for j in await shop.engine.jobs(active=False)] == [done.token]
    counted = await shop.engine.counts()
    assert counted == {state.value: 0 for state in JobState} | {"Creating": 2, "Completed": 1}


async def test_listeners_hear_every_change_in_order_and_one_that_fails_hurts_nobody(shop: Workshop) -> None:
    heard: list[str] = []

    def defective(_: object) -> None:
        raise ZeroDivisionError

    shop.engine.add_listener(defective)
    shop.engine.add_listener(lambda change: heard.append(f"{change.kind}:{change.job.state}"))
    job = await shop.ended_job(pages=2)
    await shop.until_state(job.token, JobState.COMPLETED)
    assert heard == [
        "created:Creating",
        "image:Creating",
        "image:Creating",
        "state:Pending",
        "state:Started",
        "state:Processing",
        "filter:Processing",
        "delivery:Processing",
        "filter:Processing",
        "state:Completed",
    ]
    assert [c.job.images_received for c in shop.changes if c.kind is ChangeKind.IMAGE] == [1, 2]
    previous = [c.previous for c in shop.changes if c.kind is ChangeKind.STATE]
    assert previous == [JobState.CREATING, JobState.PENDING, JobState.STARTED, JobState.PROCESSING]
