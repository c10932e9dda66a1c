from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.jobs import disk
from postscan.jobs.errors import (
    ImageTooLarge,
    OutOfDiskSpace,
    SpoolUnsafe,
    StorageInUse,
    StorageUnavailable,
)
from postscan.jobs.spool import LocalSpool
from postscan.jobs.upload import BUFFERED_BYTES, HEAD_BYTES, WRITE_BACK_STEP

TOKEN = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
LARGE = BUFFERED_BYTES + 1


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[LocalSpool]:
    made = LocalSpool(tmp_path / "spool")
    made.prepare()
    yield made
    made.close()


def parts(spool: LocalSpool) -> list[Path]:
    return list((spool.root / "incoming").iterdir())


@given(st.lists(st.binary(max_size=30_000), max_size=8))
def test_head_size_and_hash_are_those_of_what_was_written_however_it_is_split(pieces: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        spool = LocalSpool(Path(folder) / "spool")
        spool.prepare()
        writer = spool.open_image(10**6)
        for piece in pieces:
            writer.write(memoryview(piece))
        whole = b"".join(pieces)
        assert (writer.size, writer.head) == (len(whole), whole[:HEAD_BYTES])
        assert writer.sha256 == hashlib.sha256(whole).hexdigest()
        final = spool.path(TOKEN, "1.a")
        writer.stage(final)
        writer.sync()
        writer.keep()
        assert final.read_bytes() == whole
        spool.close()


@pytest.mark.parametrize("size", [100, BUFFERED_BYTES, LARGE, 9_000_000])
def test_an_aborted_image_leaves_nothing_and_may_be_aborted_twice(spool: LocalSpool, size: int) -> None:
    writer = spool.open_image(10**8)
    writer.write(bytes(size))
    writer.abort()
    writer.abort()
    assert parts(spool) == []


def test_one_octet_too_many_is_refused(spool: LocalSpool) -> None:
    writer = spool.open_image(1000)
    writer.write(bytes(1000))
    with pytest.raises(ImageTooLarge) as caught:
        writer.write(b"x")
    assert caught.value.detail == "dsp:ImageData"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_writing_is_out_of_disk_space(
    spool: LocalSpool, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    writer = spool.open_image(10**6)

    def full(*_: object) -> int:
        raise OSError(code, "full")

    monkeypatch.setattr(disk.os, "write", full)
    with pytest.raises(OutOfDiskSpace):
        writer.write(bytes(LARGE))
    monkeypatch.undo()
    writer.abort()
    assert parts(spool) == []


def test_another_disk_error_is_storage_unavailable(
    spool: LocalSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool.open_image(10**6)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(disk.os, "write", broken)
    with pytest.raises(StorageUnavailable):
        writer.write(bytes(LARGE))
    monkeypatch.undo()
    writer.abort()


def test_short_writes_are_completed(spool: LocalSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(disk.os, "write", lambda fd, view: real(fd, view[:1000]))
    octets = os.urandom(LARGE)
    writer = spool.open_image(10**6)
    writer.write(octets)
    writer.stage(spool.path(TOKEN, "1.a"))
    writer.sync()
    assert spool.path(TOKEN, "1.a").read_bytes() == octets


def test_without_sync_file_range_large_images_are_stored_all_the_same(
    spool: LocalSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_sync_file_range", None)
    writer = spool.open_image(10**8)
    for _ in range(10):
        writer.write(bytes(1_000_000))
    writer.stage(spool.path(TOKEN, "1.a"))
    writer.sync()
    assert spool.holds(TOKEN, "1.a", 10_000_000)


def test_folders_and_files_are_for_the_server_alone(spool: LocalSpool) -> None:
    writer = spool.open_image(10**6)
    writer.write(bytes(LARGE))
    writer.stage(spool.path(TOKEN, "1.a"))
    writer.sync()
    modes = {stat.S_IMODE(p.stat().st_mode) for p in [spool.root, *spool.root.rglob("*")] if p.is_dir()}
    assert modes == {0o700}
    assert stat.S_IMODE(spool.path(TOKEN, "1.a").stat().st_mode) == 0o600


@pytest.mark.parametrize("below", ["", "incoming", "jobs"])
def test_a_link_in_place_of_a_spool_folder_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if below:
        (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / below).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolUnsafe):
        LocalSpool(tmp_path / "spool").prepare()


def test_a_file_in_place_of_the_spool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(SpoolUnsafe):
        LocalSpool(tmp_path / "spool").prepare()


def test_a_folder_of_another_account_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SpoolUnsafe):
        LocalSpool(tmp_path / "spool").prepare()


def test_a_spool_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o755)
    spool = LocalSpool(tmp_path / "spool")
    spool.prepare()
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    spool.close()


def test_two_servers_cannot_share_a_spool(spool: LocalSpool) -> None:
    with pytest.raises(StorageInUse):
        LocalSpool(spool.root).prepare()


@pytest.mark.parametrize("token", ["../x", "", "6F9619FF-8B86-4011-B42D-00C04FC964FF", f"{{{TOKEN}}}"])
def test_nothing_but_a_token_becomes_a_folder(spool: LocalSpool, token: str) -> None:
    with pytest.raises(ValueError):
        spool.folder(token)


def test_recovery_removes_what_no_row_names_and_reports_what_is_missing(
    spool: LocalSpool, tmp_path: Path
) -> None:
    outside = tmp_path / "precious"
    outside.write_text("keep me")
    (spool.root / "incoming" / "torn.part").write_bytes(b"half")
    (spool.root / "incoming" / "link.part").symlink_to(outside)
    kept, gone = spool.folder(TOKEN), spool.folder("00000000-0000-4000-8000-000000000000")
    for folder in (kept, gone):
        folder.mkdir()
    (kept / "1.a").write_bytes(b"12345")
    (kept / "1.b").write_bytes(b"orphan")
    (kept / "3.c").write_bytes(b"short")
    (gone / "1.x").write_bytes(b"orphan")
    (spool.root / "jobs" / "link").symlink_to(outside)

    report = spool.recover({TOKEN: {"1.a": 5, "2.z": 9, "3.c": 6}})

    assert (report.torn_uploads, report.orphans) == (2, 3)
    assert report.missing == [(TOKEN, "2.z"), (TOKEN, "3.c")]
    assert sorted(p.name for p in kept.iterdir()) == ["1.a", "3.c"]
    assert not gone.exists()
    assert outside.read_text() == "keep me"


def test_a_link_in_place_of_an_image_does_not_count_as_the_image(spool: LocalSpool, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    spool.folder(TOKEN).mkdir()
    spool.path(TOKEN, "1.a").symlink_to(tmp_path / "x")
    assert not spool.holds(TOKEN, "1.a", 5)


def test_an_image_handed_over_is_out_of_reach_of_its_sender(spool: LocalSpool) -> None:
    writer = spool.open_image(10**6)
    writer.write(bytes(LARGE))
    writer.claim()
    writer.abort()
    assert len(parts(spool)) == 1
    writer.discard()
    assert parts(spool) == []


def test_free_bytes_counts_what_the_disk_says(spool: LocalSpool) -> None:
    room = os.statvfs(spool.root)
    assert 0 < spool.free_bytes() <= room.f_blocks * room.f_frsize


def test_a_large_image_is_refused_midway_when_the_disks_reserve_is_reached(spool: LocalSpool) -> None:
    # As when many send at once: each of them alone had room when it began.
    writer = spool.open_image(10**9, spool.free_bytes() + 2**40)
    for _ in range(WRITE_BACK_STEP // LARGE):
        writer.write(bytes(LARGE))
    with pytest.raises(OutOfDiskSpace):
        writer.write(bytes(LARGE))
    writer.abort()
    assert parts(spool) == []
