"""Abuse cases 29 to 31 and 41: the spool, what is put into it, and how much of it."""

import asyncio
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postscan.contracts.keywords import JobState
from postscan.jobs.errors import SpoolUnsafe
from support.scanning import PNG, Site, jpeg, make_installation, running
from support.wire import (
    create_request,
    frame,
    image_part,
    images_of,
    job_request,
    jobs_of,
    mtom_type,
    root_part,
    send_image,
    temporary_files,
    wire,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def spooled(site: Site, token: str) -> list[bytes]:
    folder = site.made.folder / "data" / "spool" / "jobs" / token
    return [p.read_bytes() for p in sorted(folder.iterdir())] if folder.is_dir() else []


# Case 29 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["spool", "spool/incoming", "spool/jobs"])
async def test_case_29_a_spool_that_is_a_link_stops_the_start(tmp_path: Path, below: str) -> None:
    made = make_installation(tmp_path / "site")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("keep me")
    link = made.folder / "data" / below
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(SpoolUnsafe):
        async with running(tmp_path / "site", made=made):
            raise AssertionError("it started")
    assert (elsewhere / "precious").read_text() == "keep me"


async def test_case_29_links_and_fifos_in_the_spool_are_removed_and_never_followed(tmp_path: Path) -> None:
    made = make_installation(tmp_path / "site")
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    for folder in ("incoming", "jobs"):
        inside = made.folder / "data" / "spool" / folder
        inside.mkdir(parents=True, mode=0o700)
        os.mkfifo(inside / "fifo")
        (inside / "link").symlink_to(precious)
        (inside / "folder-link").symlink_to(tmp_path)
    async with asyncio.timeout(20), running(tmp_path / "site", made=made) as site, wire(site) as peer:
        assert await peer.works()
        assert [p for p in (made.folder / "data" / "spool").rglob("*") if not p.is_dir()] == []
    assert precious.read_text() == "keep me"


@pytest.mark.parametrize("kind", ["link", "fifo", "other octets"])
async def test_case_29_what_took_an_images_place_is_not_delivered(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    image = jpeg(1, 5_000)
    secret.write_bytes(jpeg(2, 5_000))
    async with running(tmp_path / "site") as site, wire(site) as peer:
        token = await peer.create()
        assert (await peer.upload(token, image)).status == 200
        (spool_file,) = site.spooled()
        assert stat.S_IMODE(spool_file.stat().st_mode) == 0o600
        spool_file.unlink()
        if kind == "link":
            spool_file.symlink_to(secret)
        elif kind == "fifo":
            os.mkfifo(spool_file)
        else:
            spool_file.write_bytes(secret.read_bytes())
        assert (await peer.post(job_request("EndPostScanJob", token))).status == 200
        assert site.server is not None
        async with asyncio.timeout(20):
            while True:
                job = await site.server.engine.job(token, None)
                if job.state is JobState.ABORTED or any(
                    d.attempts for f in job.filters for d in f.deliveries
                ):
                    break
                await asyncio.sleep(0.01)
        assert site.delivered() == []
        # The others are served all the same.
        second = await peer.create()
        await peer.upload(second, image)
        assert (await peer.post(job_request("EndPostScanJob", second))).status == 200
        async with asyncio.timeout(10):
            while (await site.server.engine.job(second, None)).state is not JobState.COMPLETED:
                await asyncio.sleep(0.005)
        assert [p.read_bytes() for p in site.delivered()] == [image]


# Cases 30 and 31 ------------------------------------------------------------------------------------------

EXE = b"MZ\x90\x00\x03\x00\x00\x00" + b"\0" * 300
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
ZIP = b"PK\x03\x04\x14\x00" + b"\0" * 300
PDF = b"%PDF-1.4\n" + b"x" * 300
GIF = b"GIF89a" + b"\0" * 300
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"x" * 300


@pytest.mark.parametrize("label", ["png", "jfif", "exif", "dib", "jpeg2k", "pdf-a", "tiff-single-g4"])
@pytest.mark.parametrize(
    "data", [EXE, HTML, ZIP, GIF, EPS, b"x"], ids=["exe", "HTML", "zip", "GIF", "EPS", "one octet"]
)
async def test_case_31_octets_that_are_not_what_they_are_called_are_refused(
    site: Site, label: str, data: bytes
) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        for size in (len(data), 100_000):
            answer = await peer.upload(token, data.ljust(size, b"\0"), image_format=label)
            assert (answer.status, answer.subcode) == (400, "InvalidArgs")
            assert answer.detail == "dsp:Format"
        assert await images_of(site, token) == 0
        assert spooled(site, token) == []
        assert temporary_files(site) == []


@pytest.mark.parametrize(
    ("label", "data"),
    [
        ("png", jpeg()),
        ("jfif", PNG),
        ("pdf-a", jpeg()),
        ("pdf-a", b"GIF89a" + PDF),
        ("pdf-a", b"\n" + PDF),
        ("png", b"%PDF-1.4\n" + PNG),
        ("jfif", HTML + jpeg()),
        ("tiff-single-g4", struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 259, 3, 1, 1) + b"\0" * 50),
    ],
)
async def test_case_31_one_format_is_not_another_and_a_polyglot_is_none(
    site: Site, label: str, data: bytes
) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        answer = await peer.upload(token, data, image_format=label)
        assert (answer.subcode, answer.detail) == ("InvalidArgs", "dsp:Format")
        assert spooled(site, token) == []


@pytest.mark.parametrize("label", ["exe", "../png", "PNG", "image/png", "", "x:y"])
async def test_case_31_a_format_nobody_published_is_refused(site: Site, label: str) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        answer = await peer.upload(token, jpeg(), image_format=label)
        assert (answer.subcode, answer.detail) == ("InvalidArgs", "dsp:Format")


async def test_case_30_an_image_that_says_it_has_gigapixels_is_stored_as_it_is(site: Site) -> None:
    """Nothing here decodes: a bomb is no more than its octets, and arrives as them."""
    bomb = PNG + struct.pack(">II", 2**31 - 1, 2**31 - 1) + b"\x10\x06\0\0\0" + b"\0" * 1_000
    loop = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 259, 3, 1, 4, 0, 8) + b"\0" * 100
    async with wire(site) as peer:
        token = await peer.create()
        assert (await peer.upload(token, bomb, image_format="png")).status == 200
        answer = await peer.upload(token, loop, document_id=2, image_format="tiff-single-g4")
        assert answer.status == 200, answer.body
        assert (await peer.post(job_request("EndPostScanJob", token))).status == 200
        assert site.server is not None
        async with asyncio.timeout(10):
            while (await site.server.engine.job(token, None)).state is not JobState.COMPLETED:
                await asyncio.sleep(0.005)
    arrived = [p.read_bytes() for p in site.delivered()]
    assert bomb in arrived
    assert loop in arrived


async def test_case_30_no_decoder_is_loaded_by_the_server(tmp_path: Path) -> None:
    """A server process that took an image has none of the libraries that could decode it."""
    program = (
        "import sys\n"
        "import postscan.server.app, postscan.cli.filters, postscan.directory.embedded\n"
        "decoders = ('PIL', 'pikepdf', 'img2pdf', 'ocrmypdf', 'pypdfium2', 'zxingcpp')\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in decoders))\n"
    )
    run = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


# Case 41 --------------------------------------------------------------------------------------------------


async def create(site: Site, user: str = "alice") -> str:
    """Try to create a job; return the fault's subcode, or "ok"."""
    async with wire(site, user) as peer:
        answer = await peer.post(create_request(await site.process(), (await site.user(user)).sid))
        return "ok" if answer.status == 200 else answer.subcode


async def test_case_41_many_jobs_without_end_stop_their_owner_and_nobody_else(tmp_path: Path) -> None:
    async with running(tmp_path / "site", limits={"max_open_jobs_per_owner": 3}) as site:
        assert [await create(site) for _ in range(5)] == ["ok"] * 3 + ["ServerErrorTemporaryError"] * 2
        assert await create(site, "bob") == "ok"
        assert await jobs_of(site) == 4
        assert site.server is not None
        first = (await site.server.engine.jobs())[-1]
        async with wire(site) as peer:
            assert (await peer.post(job_request("CancelPostScanJob", first.token))).status == 200
        assert await create(site) == "ok"


async def test_case_41_jobs_asked_for_all_at_once_do_not_pass_the_limit(tmp_path: Path) -> None:
    async with running(tmp_path / "site", limits={"max_open_jobs_per_owner": 3}) as site:
        outcomes = await asyncio.gather(*(create(site) for _ in range(10)))
        assert sorted(outcomes) == ["ServerErrorTemporaryError"] * 7 + ["ok"] * 3


async def test_case_41_all_together_have_a_limit_too(tmp_path: Path) -> None:
    async with running(tmp_path / "site", limits={"max_open_jobs": 2}) as site:
        assert [await create(site, user) for user in ("alice", "bob", "alice", "bob")] == [
            "ok",
            "ok",
            "ServerErrorTemporaryError",
            "ServerErrorTemporaryError",
        ]


async def test_case_41_with_little_room_left_no_job_begins(tmp_path: Path) -> None:
    async with running(tmp_path / "site", limits={"min_free_bytes": 2**60}) as site:
        assert await create(site) == "OutOfDiskSpace"
        assert await jobs_of(site) == 0


async def test_case_41_an_image_or_a_job_beyond_its_size_is_refused(tmp_path: Path) -> None:
    limits = {"max_image_bytes": 100_000, "max_job_bytes": 150_000, "max_images_per_job": 2}
    async with running(tmp_path / "site", limits=limits) as site, wire(site) as peer:
        token = await peer.create()
        answer = await peer.upload(token, jpeg(1, 100_001))
        assert (answer.subcode, answer.detail) == ("InvalidArgs", "dsp:ImageData")
        assert (await peer.upload(token, jpeg(1, 90_000))).status == 200
        answer = await peer.upload(token, jpeg(2, 90_000), document_id=2)
        assert answer.subcode == "OperationFailed"
        assert (await peer.upload(token, jpeg(2, 10_000), document_id=2)).status == 200
        answer = await peer.upload(token, jpeg(3, 100), document_id=3)
        assert answer.subcode == "OperationFailed"
        assert temporary_files(site) == []
        assert len(spooled(site, token)) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", [300_000, 40_000], ids=["large images", "images kept in memory"])
async def test_case_41_on_a_full_disk_images_are_refused_and_nothing_is_lost(
    tmp_path: Path, small_disk: Path, size: int
) -> None:
    made = make_installation(tmp_path / "site", server={"data": str(small_disk / "data")})
    spool = small_disk / "data" / "spool"

    def incoming() -> list[Path]:
        return list((spool / "incoming").iterdir())

    async with running(tmp_path / "site", made=made) as site, wire(site) as peer:
        token = await peer.create()
        accepted = 0
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * 2_500_000)
        for number in range(1, 200):
            answer = await peer.upload(token, jpeg(number, size), document_id=number)
            if answer.status != 200:
                break
            accepted += 1
        assert answer.subcode == "OutOfDiskSpace"
        assert accepted > 0
        # Again and again, also with a root that comes last.
        late = frame(image_part(jpeg(0, size)), root_part(send_image(token, document_id=999)))
        for _ in range(3):
            assert (await peer.post(late, mtom_type())).subcode == "OutOfDiskSpace"
        assert incoming() == []
        kept = {p.read_bytes() for p in (spool / "jobs").rglob("*") if p.is_file()}
        assert kept == {jpeg(number, size) for number in range(1, accepted + 1)}
        assert await images_of(site, token) == accepted
        ballast.unlink()
        number = accepted + 1
        answer = await peer.upload(token, jpeg(number, size), document_id=number)
        assert answer.status == 200, answer.body
        assert (await peer.post(job_request("EndPostScanJob", token))).status == 200
        assert site.server is not None
        async with asyncio.timeout(20):
            while (await site.server.engine.job(token, None)).state is not JobState.COMPLETED:
                await asyncio.sleep(0.005)
        assert {p.read_bytes() for p in site.delivered()} == kept | {jpeg(number, size)}
