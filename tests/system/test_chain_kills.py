"""A real server, killed, stopped or told to cancel while pages are named, put together and read."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pikepdf
import pytest
from lxml import etree

from postscan.contracts.assemble import AssembleConfig
from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.names import BarcodeKind
from postscan.contracts.ocr import OcrConfig
from postscan.contracts.psp import FilterToProcess, write_process
from postscan.device.client import ScanServerClient
from postscan.directory.model import ProcessDraft
from postscan.filters import ocr_tools
from postscan.soap.names import ASSEMBLE, FSF, NAMES, OCR, PSP, qname
from support.barcodes import barcode_page, names_instructions
from support.processing import png
from support.scanning import Site, make_installation
from support.served import STUBBORN, Server, ended, is_alive
from testservers import fileserver
from testservers.fileserver import SCANNER, FileServer

KILLS = int(os.environ.get("POSTSCAN_PROCESSING_KILLS", "12")) // 2
NAME = "Scan to a searchable document"
PAGES = 2

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def samba(tmp_path: Path) -> Iterator[FileServer]:
    """Run a file server of a test's own."""
    if lacking := fileserver.missing():
        pytest.skip(f"no file server: {'; '.join(lacking)}")
    with FileServer(tmp_path / "fileserver") as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, samba: FileServer) -> Site:
    """Make an installation with a scan process that names, assembles, reads, and delivers to the server."""
    if lacking := ocr_tools.look().missing(("eng",), rotate=False, clean=False):
        pytest.skip("; ".join(lacking))
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text(SCANNER.password)
    made = make_installation(
        tmp_path / "site",
        retry={"first_seconds": 1},
        fileshare={
            "servers": {
                "localhost": {
                    "auth": "ntlm",
                    "account": SCANNER.name,
                    "password_file": str(password),
                    "port": samba.port,
                }
            }
        },
    )
    return Site(made)


async def add_process(site: Site) -> None:
    """Add the scan process, for everyone."""
    plain = (await site.process()).process

    def step(dialect: str, config: etree._Element) -> FilterToProcess:
        instructions = etree.Element(qname(PSP, "Instructions"), nsmap={"psp": PSP})
        instructions.append(config)
        return FilterToProcess(dialect=dialect, instructions=instructions)

    filters = (
        FilterToProcess(dialect=NAMES, instructions=names_instructions("{counter:03}-{barcode}")),
        step(ASSEMBLE, AssembleConfig(output="pdf").to_element()),
        step(OCR, OcrConfig(output_type="pdf", on_failure="Fail").to_element()),
        step(FSF, FileShareConfig(share_uncs=(r"\\localhost\scans",)).to_element()),
    )
    process = replace(plain, instructions=replace(plain.instructions, filters=filters))
    draft = ProcessDraft(uuid4(), NAME, write_process(process), groups=frozenset({"Everyone"}))
    await site.directory.create_process(draft)


async def scan(site: Site, device: ScanServerClient, number: int) -> str:
    """Scan a job whose pages bear a barcode with its number."""
    process, sid = await site.process(NAME), (await site.user()).sid
    token = await device.create(process, sid)
    for page in range(1, PAGES + 1):
        image = barcode_page((BarcodeKind.CODE_128, f"JOB{number}"), words=f"Page {page}")
        await device.send_image(token, page, DocumentFormat.PNG, png(image))
    await device.end(token)
    return token


def arrived(samba: FileServer) -> list[Path]:
    """Return every file at the share, temporary ones included."""
    return sorted(path for path in samba.folder("scans").rglob("*") if path.is_file())


async def reading(server: Server) -> set[int]:
    """Wait until workers are at work; return their processes."""
    async with asyncio.timeout(120):
        while not (below := server.below()):
            await asyncio.sleep(0.01)
    return below


@pytest.mark.kills
async def test_every_document_arrives_once_under_its_name_whenever_the_server_is_killed(
    site: Site, samba: FileServer, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("POSTSCAN_KILLS_SEED", "0")) or random.SystemRandom().randrange(10**9)
    chance = random.Random(seed)
    await add_process(site)
    server, done = Server(site), asyncio.Event()
    tokens: list[str] = []

    async def scan_until_done() -> None:
        async with site.device("alice", STUBBORN) as device:
            while not done.is_set():
                tokens.append(await scan(site, device, len(tokens) + 1))
                # As many as can be read: each takes some seconds of a processor.
                await asyncio.wait({asyncio.ensure_future(done.wait())}, timeout=2)

    try:
        await server.start()
        scanning = asyncio.create_task(scan_until_done())
        left: set[int] = set()
        for _ in range(KILLS):
            left |= await reading(server)
            await asyncio.sleep(chance.uniform(0.0, 4.0))
            left |= server.below()
            await server.kill()
            await server.start()
            assert not scanning.done(), scanning.result()
        done.set()
        await scanning
        states = Counter([str(await ended(site, token, 300)) for token in tokens])
        await site.spool_empty()
        async with asyncio.timeout(30):
            while any(is_alive(pid) for pid in left):
                await asyncio.sleep(0.05)
    finally:
        status = await server.stop()
    names = [path.stem for path in arrived(samba)]
    record_property("figures", f"kills: {KILLS} (seed {seed}); jobs {len(tokens)}; documents {len(names)}")
    assert states == {"Completed": len(tokens)}, server.log()[-3_000:]
    assert sorted(name.split("-")[1] for name in names) == sorted(f"JOB{n + 1}" for n in range(len(tokens)))
    assert sorted(int(name.split("-")[0]) for name in names) == list(range(1, len(tokens) + 1))
    for path in arrived(samba):
        with pikepdf.open(path) as document:
            assert len(document.pages) == PAGES
    assert list((site.made.folder / "data" / "spool" / "work").iterdir()) == []
    assert status == 0


async def test_a_job_that_is_canceled_while_it_is_read_leaves_no_worker_and_no_file(
    site: Site, samba: FileServer
) -> None:
    await add_process(site)
    server = Server(site)
    try:
        await server.start()
        async with site.device("alice") as device:
            token = await scan(site, device, 1)
            workers = await reading(server)
            await device.cancel(token)
        assert await ended(site, token) == "Canceled"
        async with asyncio.timeout(30):
            while any(is_alive(pid) for pid in workers | server.below()):
                await asyncio.sleep(0.05)
        await site.spool_empty()
        assert list((site.made.folder / "data" / "spool" / "work").iterdir()) == []
        assert arrived(samba) == []
    finally:
        assert await server.stop() == 0


async def test_a_server_that_stops_while_it_reads_takes_its_workers_along_and_goes_on_afterwards(
    site: Site, samba: FileServer
) -> None:
    await add_process(site)
    server = Server(site)
    await server.start()
    async with site.device("alice") as device:
        token = await scan(site, device, 1)
    workers = await reading(server)
    assert await server.stop() == 0
    assert not any(is_alive(pid) for pid in workers)
    server = Server(site)
    await server.start()
    try:
        assert await ended(site, token) == "Completed"
        assert [path.name for path in arrived(samba)] == ["001-JOB1.pdf"]
    finally:
        assert await server.stop() == 0
