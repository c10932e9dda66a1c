"""kill -9 of a real server while it makes documents out of pages: each is delivered, once and whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from postscan.contracts.keywords import DocumentFormat
from support.processed import NAME, add_process, install_joining
from support.scanning import Site, jpeg, make_installation
from support.served import STUBBORN, Server, ended

KILLS = int(os.environ.get("POSTSCAN_PROCESSING_KILLS", "12"))


@dataclass
class Promised:
    """What devices were promised: the jobs, and the hash of the one document of each."""

    tokens: list[str] = field(default_factory=list)
    documents: Counter[str] = field(default_factory=Counter)


async def scan_until(done: asyncio.Event, site: Site, promised: Promised, chance: random.Random) -> None:
    """Scan job after job, and note down what the server acknowledged."""
    process, sid = await site.process(NAME), (await site.user()).sid
    async with site.device("alice", STUBBORN) as device:
        while not done.is_set():
            token = await device.create(process, sid)
            joined = hashlib.sha256()
            for document_id in range(1, chance.randint(2, 5)):
                data = jpeg(chance.randrange(10**7), chance.choice((3_000, 300_000)))
                await device.send_image(token, document_id, DocumentFormat.JFIF, data)
                joined.update(data)
            await device.end(token)
            promised.tokens.append(token)
            promised.documents[joined.hexdigest()] += 1


@pytest.mark.kills
@pytest.mark.timeout(600)
async def test_every_document_is_made_and_delivered_once_whenever_the_server_is_killed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("POSTSCAN_KILLS_SEED", "0")) or random.SystemRandom().randrange(10**9)
    chance = random.Random(seed)
    install_joining(tmp_path / "packages")
    site = Site(make_installation(tmp_path / "site", retry={"first_seconds": 1}))
    await add_process(site)
    server, promised, done = Server(site, tmp_path / "packages"), Promised(), asyncio.Event()
    try:
        await server.start()
        device = asyncio.create_task(scan_until(done, site, promised, random.Random(chance.random())))
        while not promised.tokens and not device.done():
            await asyncio.sleep(0.01)
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.0, 0.8))
            await server.kill()
            await server.start()
            assert not device.done(), device.result()
        done.set()
        await device
        states = Counter([str(await ended(site, token)) for token in promised.tokens])
        await site.spool_empty()
    finally:
        status = await server.stop()
    delivered = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in site.delivered())
    missing, doubled = promised.documents - delivered, delivered - promised.documents
    record_property(
        "figures",
        f"kills: {KILLS} (seed {seed}); jobs acknowledged {len(promised.tokens)}; documents missing"
        f" {missing.total()}, doubled or changed {doubled.total()}",
    )
    assert states == {"Completed": len(promised.tokens)}
    assert (missing, doubled) == (Counter(), Counter())
    # The filter counts: every job got a number of its own, and the same one however often it began anew.
    numbers = sorted(int(path.stem.removeprefix("document ")) for path in site.delivered())
    assert numbers == list(range(1, len(promised.tokens) + 1))
    assert {path.suffix for path in site.delivered()} == {".pdf"}
    assert list((site.made.folder / "data" / "spool" / "work").iterdir()) == []
    assert status == 0
