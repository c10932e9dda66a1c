"""kill -9 of the scan server, and of the file server behind it: each document arrives, once and whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from postscan.contracts.keywords import DocumentFormat
from support.scanning import Site, jpeg, make_installation
from support.served import STUBBORN, Server, ended
from support.steps import add_steps, share
from testservers.fileserver import SCANNER, FileServer, missing

KILLS = int(os.environ.get("POSTSCAN_FILE_SERVER_KILLS", "8"))
NAME = "Scan to the file server"


async def scan_until(done: asyncio.Event, site: Site, promised: dict[str, list[str]], seed: float) -> None:
    """Scan job after job of several documents, and note down what the server acknowledged."""
    chance = random.Random(seed)
    process, sid = await site.process(NAME), (await site.user()).sid
    async with site.device("alice", STUBBORN) as device:
        while not done.is_set():
            token = await device.create(process, sid)
            hashes = []
            for document_id in range(1, chance.randint(2, 6)):
                data = jpeg(chance.randrange(10**7), chance.choice((3_000, 300_000, 3_000_000)))
                await device.send_image(token, document_id, DocumentFormat.JFIF, data)
                hashes.append(hashlib.sha256(data).hexdigest())
            await device.end(token)
            promised[token] = hashes


@pytest.mark.kills
@pytest.mark.timeout(600)
async def test_every_document_arrives_once_whichever_server_is_killed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if lacking := missing():
        pytest.skip(f"no file server: {'; '.join(lacking)}")
    seed = int(os.environ.get("POSTSCAN_KILLS_SEED", "0")) or random.SystemRandom().randrange(10**9)
    chance = random.Random(seed)
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text(SCANNER.password)
    with FileServer(tmp_path / "files") as files:
        known = {"auth": "ntlm", "account": SCANNER.name, "password_file": str(password), "port": files.port}
        patience = {"connect_seconds": 2, "answer_seconds": 5}
        made = make_installation(
            tmp_path / "site",
            retry={"first_seconds": 1, "cap_seconds": 2},
            fileshare={"servers": {"localhost": known | patience}},
        )
        site = Site(made)
        await add_steps(site, NAME, delivers=share(r"\\localhost\scans"))
        promised: dict[str, list[str]] = {}
        server, done = Server(site), asyncio.Event()
        try:
            await server.start()
            device = asyncio.create_task(scan_until(done, site, promised, chance.random()))
            while not promised and not device.done():
                await asyncio.sleep(0.01)
            for number in range(KILLS):
                await asyncio.sleep(chance.uniform(0.0, 1.5))
                if number % 3 == 2:
                    await asyncio.to_thread(files.kill)
                    await asyncio.sleep(chance.uniform(0.0, 1.5))
                    await asyncio.to_thread(files.start)
                else:
                    await server.kill()
                    await server.start()
                assert not device.done(), device.result()
            done.set()
            await device
            states = Counter([str(await ended(site, token)) for token in promised])
            await site.spool_empty()
        finally:
            status = await server.stop()
        arrived = [path for path in files.folder("scans").rglob("*") if path.is_file()]
        delivered = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in arrived)
    expected = Counter(one for hashes in promised.values() for one in hashes)
    missed, doubled = expected - delivered, delivered - expected
    record_property(
        "figures",
        f"kills: {KILLS} (seed {seed}); jobs {len(promised)}, documents {expected.total()}; missing"
        f" {missed.total()}, doubled or changed {doubled.total()}",
    )
    assert not [path.name for path in arrived if path.name.endswith(".part")]
    assert (missed, doubled) == (Counter(), Counter()), sorted(path.name for path in arrived)
    assert states == {"Completed": len(promised)}
    assert SCANNER.password not in server_log(made.folder)
    assert status == 0


def server_log(folder: Path) -> str:
    """Return what the scan server said."""
    return (folder / "server.log").read_text()
