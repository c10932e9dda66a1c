"""The file-share filter delivers whole files, overwrites nothing, and says what is wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from postscan.contracts.keywords import FilterStateReason
from postscan.filters import publish
from postscan.filters.contract import DeliveryError, Destination, InstructionsError
from postscan.filters.fileshare import FileShareFilter, FileShareSettings
from postscan.soap.names import FSF, PSP
from postscan.soap.xml import parse
from support.delivery import JOB, MemoryLedger, ShareSite, replace_calls

FIRST = "alice@example.com/Invoice_2026-11-21_143005_alice_001.tif"
SECOND = "alice@example.com/Invoice_2026-11-21_143005_alice_002.tif"


def instructions(*shares: str) -> etree._Element:
    inside = "".join(f"<f:ShareUNC>{share}</f:ShareUNC>" for share in shares)
    wrapped = f"<f:FileShares>{inside}</f:FileShares>" if shares else ""
    return parse(
        f'<p:Instructions xmlns:p="{PSP}" xmlns:f="{FSF}"><f:FileShareConfig>{wrapped}</f:FileShareConfig>'
        "</p:Instructions>".encode()
    )


def test_each_share_is_a_destination_once(site: ShareSite) -> None:
    uri = site.share.as_uri()
    found = site.filter.destinations(instructions(uri, f"{uri}/deep", f" {uri}/ "), JOB)
    assert [(d.key, d.label) for d in found] == [(uri, uri), (f"{uri}/deep", f"{uri}/deep")]


def test_the_config_element_itself_is_read_too(site: ShareSite) -> None:
    assert len(site.filter.destinations(instructions(site.share.as_uri())[0], JOB)) == 1


def test_destinations_are_known_while_the_share_is_away(site: ShareSite) -> None:
    site.share.rmdir()
    assert site.filter.destinations(instructions(site.share.as_uri()), JOB)


@pytest.mark.parametrize("shares", [(), ("file:///etc",), (r"\\evil.example.net\share",)])
def test_instructions_without_an_allowed_share_are_refused(site: ShareSite, shares: tuple[str, ...]) -> None:
    with pytest.raises(InstructionsError) as caught:
        site.filter.destinations(instructions(*shares), JOB)
    assert caught.value.detail == "fsf:ShareUNC"


def test_instructions_of_another_filter_are_refused(site: ShareSite) -> None:
    with pytest.raises(InstructionsError) as caught:
        site.filter.destinations(parse(f'<p:Instructions xmlns:p="{PSP}"/>'.encode()), JOB)
    assert caught.value.detail == "fsf:FileShareConfig"


async def test_documents_arrive_whole_in_the_users_folder_and_nothing_else_does(site: ShareSite) -> None:
    documents = [site.document(1), site.document(2, b"x" * (3 * publish.CHUNK_BYTES + 5))]
    await site.deliver(*documents)
    assert site.content() == {FIRST: documents[0].path.read_bytes(), SECOND: documents[1].path.read_bytes()}
    assert site.ledger.done[2].name == Path(SECOND).name
    assert site.ledger.done[2].size == documents[1].size


async def test_a_unc_share_is_delivered_to_where_it_is_mapped(site: ShareSite) -> None:
    (site.share / "In").mkdir()
    settings = FileShareSettings(unc_map={r"\\files.example.com\scans": site.share}, zone=UTC)
    site.filter = FileShareFilter(settings)
    [destination] = site.filter.destinations(instructions(r"\\FILES.example.com\Scans\In"), JOB)
    await site.deliver_to(destination, site.document())
    assert list(site.content()) == [f"In/{FIRST}"]


async def test_delivering_again_delivers_only_what_is_missing(site: ShareSite) -> None:
    first = site.document(1)
    await site.deliver(first)
    await site.deliver(first, site.document(2))
    assert list(site.content()) == [FIRST, SECOND]


async def test_an_existing_file_is_never_overwritten(site: ShareSite) -> None:
    taken = site.share / FIRST
    taken.parent.mkdir()
    taken.write_bytes(b"older")
    taken.with_stem(taken.stem + " (2)").symlink_to(taken)
    await site.deliver(site.document(1, b"newer"))
    assert taken.read_bytes() == b"older"
    assert taken.with_stem(taken.stem + " (3)").read_bytes() == b"newer"
    assert site.ledger.done[1].name == taken.stem + " (3).tif"
    assert len(site.content()) == 3


async def test_a_name_taken_between_look_and_link_is_not_overwritten(site: ShareSite) -> None:
    class SlowLedger(MemoryLedger):
        async def plan(self, document_id: int, name: str) -> None:
            await super().plan(document_id, name)
            if "(" not in name:
                (site.alices / name).write_bytes(b"faster")

    site.ledger = SlowLedger()
    await site.deliver(site.document(1, b"slower"))
    assert site.content() == {FIRST: b"faster", FIRST.replace(".tif", " (2).tif"): b"slower"}


async def test_two_jobs_of_one_second_keep_their_documents_apart(site: ShareSite) -> None:
    mine = site.document(1, b"one")
    other = replace(site.document(2, b"two"), document_id=1, number=1)
    other_job = replace(JOB, token="11111111-5a0d-4c1b-9a63-0d2f5a4b7c11")
    await asyncio.gather(
        site.deliver(mine),
        site.deliver_to(site.destination, other, job=other_job, ledger=MemoryLedger()),
    )
    assert sorted(site.content().values()) == [b"one", b"two"]


async def test_two_shares_that_are_one_folder_get_a_copy_each(site: ShareSite) -> None:
    settings = FileShareSettings(roots=(site.share,), unc_map={r"\\files\scans": site.share}, zone=UTC)
    site.filter = FileShareFilter(settings)
    found = site.filter.destinations(instructions(site.share.as_uri(), r"\\files\scans"), JOB)
    document = site.document()
    await asyncio.gather(*(site.deliver_to(d, document, ledger=MemoryLedger()) for d in found))
    assert list(site.content().values()) == [document.path.read_bytes()] * 2


async def test_the_users_folder_and_files_get_the_permissions_that_are_set(site: ShareSite) -> None:
    site.filter = FileShareFilter(FileShareSettings(roots=(site.share,), zone=UTC, folder_mode=0o700))
    await site.deliver(site.document())
    assert stat.S_IMODE(site.alices.stat().st_mode) == 0o700
    assert stat.S_IMODE((site.share / FIRST).stat().st_mode) == 0o600


async def test_a_user_folder_that_links_out_of_the_root_is_not_followed(site: ShareSite) -> None:
    outside = site.folder / "outside"
    outside.mkdir()
    site.alices.symlink_to(outside)
    with pytest.raises(DeliveryError) as caught:
        await site.deliver(site.document())
    assert caught.value.reason is FilterStateReason.FILE_SHARE_ACCESS_DENIED
    assert not caught.value.transient
    assert not list(outside.iterdir())


async def test_a_target_that_links_out_of_the_root_is_not_followed(site: ShareSite) -> None:
    (site.share / "deep").symlink_to(site.folder)
    destination = Destination(key=f"{site.share.as_uri()}/deep", label="deep")
    with pytest.raises(DeliveryError) as caught:
        await site.deliver_to(destination, site.document())
    assert caught.value.reason is FilterStateReason.FILE_SHARE_ACCESS_DENIED
    assert not (site.folder / "alice@example.com").exists()


async def test_a_root_that_is_itself_a_link_is_used(site: ShareSite) -> None:
    link = site.folder / "link"
    link.symlink_to(site.share)
    site.filter = FileShareFilter(FileShareSettings(roots=(link,), zone=UTC))
    await site.deliver_to(Destination(link.as_uri(), "link"), site.document())
    assert list(site.content()) == [FIRST]


async def test_a_share_that_is_away_is_tried_again_and_its_folder_is_not_made(site: ShareSite) -> None:
    site.share.rmdir()
    with pytest.raises(DeliveryError) as caught:
        await site.deliver(site.document())
    assert caught.value.reason is FilterStateReason.UNKNOWN_ERROR
    assert caught.value.transient
    assert "Mount the share" in caught.value.what_to_do
    assert not site.share.exists()


async def test_a_mount_point_with_nothing_mounted_is_away(site: ShareSite) -> None:
    table = site.folder / "fstab"
    table.write_text(f"//files/scans {site.share} cifs defaults 0 0\n")
    site.filter = FileShareFilter(FileShareSettings(roots=(site.share,), zone=UTC, mount_table=table))
    with pytest.raises(DeliveryError, match="nothing is mounted") as caught:
        await site.deliver(site.document())
    assert caught.value.transient
    assert not site.content()


async def test_a_share_that_is_away_does_not_undo_what_was_delivered(site: ShareSite) -> None:
    document = site.document()
    await site.deliver(document)
    site.share.rename(site.folder / "elsewhere")
    await site.deliver(document)
    assert list(site.ledger.done) == [1]


async def test_a_share_that_is_no_longer_allowed_is_refused_for_good(site: ShareSite) -> None:
    site.filter = FileShareFilter(FileShareSettings())
    with pytest.raises(DeliveryError) as caught:
        await site.deliver(site.document())
    assert caught.value.reason is FilterStateReason.FILE_SHARE_ACCESS_DENIED
    assert not caught.value.transient


async def test_a_file_where_the_users_folder_should_be_is_named(site: ShareSite) -> None:
    site.alices.write_bytes(b"")
    with pytest.raises(DeliveryError, match="other than a folder") as caught:
        await site.deliver(site.document())
    assert not caught.value.transient


@pytest.mark.parametrize("harm", ["gone", "other bytes", "longer", "a folder", "a link"])
async def test_an_image_that_is_not_what_was_accepted_is_not_delivered(site: ShareSite, harm: str) -> None:
    document = site.document(1, b"accepted")
    document.path.unlink()
    if harm == "other bytes":
        document.path.write_bytes(b"accepteD")
    elif harm == "longer":
        document.path.write_bytes(b"accepted and more")
    elif harm == "a folder":
        document.path.mkdir()
    elif harm == "a link":
        document.path.symlink_to(site.document(2, b"accepted").path)
    with pytest.raises(DeliveryError) as caught:
        await site.deliver(document)
    assert caught.value.reason is FilterStateReason.UNKNOWN_ERROR
    assert not caught.value.transient
    assert not site.content()


@pytest.mark.parametrize(
    ("code", "reason", "transient"),
    [
        (errno.EACCES, FilterStateReason.FILE_SHARE_ACCESS_DENIED, False),
        (errno.EPERM, FilterStateReason.FILE_SHARE_ACCESS_DENIED, False),
        (errno.EROFS, FilterStateReason.FILE_SHARE_ACCESS_DENIED, False),
        (errno.ENOSPC, FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE, True),
        (errno.EDQUOT, FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE, True),
        (errno.EFBIG, FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE, True),
        (errno.ENOMEM, FilterStateReason.SERVER_OUT_OF_MEMORY, True),
        (errno.ESTALE, FilterStateReason.UNKNOWN_ERROR, True),
        (errno.EIO, FilterStateReason.UNKNOWN_ERROR, True),
        (errno.EHOSTDOWN, FilterStateReason.UNKNOWN_ERROR, True),
        (errno.ENETUNREACH, FilterStateReason.UNKNOWN_ERROR, True),
        (errno.ETIMEDOUT, FilterStateReason.UNKNOWN_ERROR, True),
        (errno.EDEADLK, FilterStateReason.UNKNOWN_ERROR, True),
    ],
)
async def test_a_failing_write_is_told_as_the_published_reason_and_leaves_nothing(
    site: ShareSite, monkeypatch: pytest.MonkeyPatch, code: int, reason: FilterStateReason, transient: bool
) -> None:
    def write(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    replace_calls(monkeypatch, write=write)
    document = site.document()
    with pytest.raises(DeliveryError) as caught:
        await site.deliver(document)
    assert caught.value.reason is reason
    assert caught.value.transient is transient
    assert caught.value.what_to_do
    assert not site.content()
    monkeypatch.undo()
    await site.deliver(document)
    assert list(site.content()) == [FIRST]


async def test_canceling_waits_for_the_thread_and_leaves_nothing(
    site: ShareSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    real_write = os.write

    def write(descriptor: int, data: memoryview) -> int:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        return real_write(descriptor, data)

    replace_calls(monkeypatch, write=write)
    task = asyncio.create_task(site.deliver(site.document(1, b"x" * (4 * publish.CHUNK_BYTES))))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not site.content()


async def test_a_folder_that_blocks_holds_up_no_other(
    site: ShareSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    real_mkdir = os.mkdir
    other = site.folder / "other"
    other.mkdir()
    site.filter = FileShareFilter(FileShareSettings(roots=(site.share, other), zone=UTC, threads=1))
    place = Destination(key=other.as_uri(), label="the other")

    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        if os.path.samestat(os.fstat(dir_fd), site.share.stat()):
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(60)
        real_mkdir(name, mode, dir_fd=dir_fd)

    replace_calls(monkeypatch, mkdir=mkdir)
    document = site.document()
    blocked = asyncio.create_task(site.deliver(document))
    await begun.wait()
    try:
        async with asyncio.timeout(20):
            await site.deliver_to(place, document, ledger=MemoryLedger())
        assert not blocked.done()
    finally:
        go_on.set()
    await blocked
    assert [path.read_bytes() for path in other.rglob("*.tif")] == list(site.content().values())


async def test_a_folder_full_of_taken_names_is_a_failure(
    site: ShareSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postscan.filters.folder_delivery._MAX_NAMES", 2)
    site.alices.mkdir()
    for name in (FIRST, FIRST.replace(".tif", " (2).tif")):
        (site.share / name).write_bytes(b"")
    with pytest.raises(DeliveryError, match="no free name"):
        await site.deliver(site.document())
    assert len(site.content()) == 2
