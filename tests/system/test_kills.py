"""kill -9 of a real server at random moments, again and again, while devices scan (R-1, R-2, R-6, R-8).

Nothing acknowledged may be missing, doubled or changed, and nothing else may be left behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from postscan.contracts.keywords import END_STATES, DocumentFormat, JobState
from postscan.device.client import Patience
from support.scanning import Site, jpeg, make_installation

KILLS = int(os.environ.get("POSTSCAN_KILLS", "50"))
# A device goes on trying for half a minute: longer than any restart takes.
STUBBORN = Patience(pauses=(0.05,) * 600)


@dataclass
class Tally:
    """What devices were promised, and how often the server was killed at which moment."""

    kills: int = 0
    tokens: list[str] = field(default_factory=list)
    promised: Counter[str] = field(default_factory=Counter)
    ready_seconds: list[float] = field(default_factory=list)
    found: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))


class Server:
    """`postscan serve` as a process that may be killed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._log = (site.made.folder / "server.log").open("ab")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> float:
        """Start it and wait until it accepts jobs; return the seconds that took."""
        began = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "postscan", "serve", "--json"),
            *("--config", str(self._site.made.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        assert b'"ready"' in line, (self._site.made.folder / "server.log").read_text()[-3_000:]
        return time.monotonic() - began

    async def kill(self) -> None:
        """Kill it the hard way."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        assert self._process is not None
        self._process.terminate()
        status = await asyncio.wait_for(self._process.wait(), 30)
        self._log.close()
        return status


async def scan_until(done: asyncio.Event, site: Site, user: str, tally: Tally, chance: random.Random) -> None:
    """Scan job after job as one user, and note down what the server acknowledged."""
    process = await site.process()
    number = chance.randrange(10**6)
    async with site.device(user, STUBBORN) as device:
        sid = (await site.user(user)).sid
        # A device that never reached its server gives up soon, as its user would want: reach it first.
        await device.find()
        tally.found.release()
        while not done.is_set():
            token = await device.create(process, sid)
            hashes = []
            for document_id in range(1, chance.randint(2, 6)):
                number += 1
                data = jpeg(number, chance.choice((3_000, 50_000, 400_000)))
                await device.send_image(token, document_id, DocumentFormat.JFIF, data)
                hashes.append(hashlib.sha256(data).hexdigest())
            await device.end(token)
            tally.tokens.append(token)
            tally.promised.update(hashes)


async def settled(site: Site, token: str) -> JobState | str:
    """Wait until a job has ended, and return its state."""
    for user in ("alice", "bob"):
        async with site.device(user, STUBBORN) as device:
            try:
                status = await device.status(token)
            except Exception as error:
                if "ClientErrorJobTokenNotFound" not in str(error):
                    raise
                continue
            async with asyncio.timeout(60):
                while status.state not in END_STATES:
                    await asyncio.sleep(0.05)
                    status = await device.status(token)
            return status.state
    return "missing"


@pytest.mark.kills
@pytest.mark.timeout(600)
async def test_nothing_acknowledged_is_lost_doubled_or_changed_by_kills(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("POSTSCAN_KILLS_SEED", "0")) or random.SystemRandom().randrange(10**9)
    chance = random.Random(seed)
    site = Site(make_installation(tmp_path / "site", retry={"first_seconds": 1}))
    server, tally, done = Server(site), Tally(), asyncio.Event()
    await server.start()
    devices = [
        asyncio.create_task(scan_until(done, site, user, tally, random.Random(chance.random())))
        for user in ("alice", "bob")
    ]
    for _ in devices:
        await asyncio.wait_for(tally.found.acquire(), 30)
    while tally.kills < KILLS:
        await asyncio.sleep(chance.uniform(0.0, 0.6))
        await server.kill()
        tally.kills += 1
        tally.ready_seconds.append(await server.start())
        assert not any(device.done() for device in devices)
    done.set()
    await asyncio.gather(*devices)
    states = Counter([str(await settled(site, token)) for token in tally.tokens])
    await site.spool_empty()
    delivered = Counter(hashlib.sha256(p.read_bytes()).hexdigest() for p in site.delivered())
    status = await server.stop()
    missing, doubled = tally.promised - delivered, delivered - tally.promised
    ready = sorted(tally.ready_seconds)
    record_property(
        "figures",
        f"kills: {tally.kills} (seed {seed}); jobs acknowledged {len(tally.tokens)}, images acknowledged "
        f"{tally.promised.total()}; missing {missing.total()}, doubled or changed {doubled.total()}; "
        f"ready again after {ready[len(ready) // 2]:.2f} s (median), {ready[-1]:.2f} s (worst)",
    )
    assert states == {"Completed": len(tally.tokens)}
    assert (missing, doubled) == (Counter(), Counter())
    assert all(p.name.endswith(".jpg") for p in site.delivered())
    assert status == 0
