"""What a dead destination costs the others: jobs to three places, with and without a fourth that hangs.

The fourth is a file server that takes connections and never says a word, the worst there is: nothing is
refused, every try waits for its time to run out. The jobs come all at once, through a real engine and store.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from uuid import UUID

from lxml import etree

from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.keywords import DocumentFormat
from postscan.core.clock import SystemClock
from postscan.core.secret import Secret
from postscan.directory.model import User
from postscan.filters.fileshare import FileShareFilter, FileShareSettings
from postscan.filters.smb.servers import Logon, SmbServer
from postscan.jobs.engine import JobEngine
from postscan.jobs.model import ChangeKind, DeliveryState, JobChange, NewFilter, NewJob
from postscan.jobs.settings import JobSettings
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from postscan.soap.names import FSF, PSP, qname

LIVE: Final = 3
_OCTETS: Final = 50_000
_HOST: Final = "localhost"
_USER: Final = User(
    sid="S-1-5-21-1-2-3-1001",
    name="alice",
    domain="example.com",
    upn="alice@example.com",
    display_name="Alice",
)


@dataclass(frozen=True, slots=True)
class DeadRow:
    """How the living destinations fared, in the middle of some rounds.

    ``per_second`` counts deliveries of a job to one place; ``p50_ms`` and ``p99_ms`` run from the job's end
    until it was there. ``tries`` is how often the dead one was tried meanwhile.
    """

    dead: bool
    jobs: int
    per_second: float
    p50_ms: float
    p99_ms: float
    tries: int


def measure(folder: Path, *, jobs: int, rounds: int) -> list[DeadRow]:
    """Measure without and with the dead place, in turns, after a round to warm up.

    :param folder: an empty folder on the disk to measure with.
    """
    found: dict[bool, list[DeadRow]] = {False: [], True: []}
    with closing(socket.socket()) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(1024)
        port: int = mute.getsockname()[1]
        for number in range(rounds + 1):
            for dead in (False, True):
                work = folder / f"{number}-{dead}"
                work.mkdir()
                row = asyncio.run(_round(work, port, jobs, dead=dead))
                shutil.rmtree(work)
                if number:  # the first round warms up
                    found[dead].append(row)
    return [
        DeadRow(
            dead,
            jobs,
            median(row.per_second for row in rows),
            median(row.p50_ms for row in rows),
            median(row.p99_ms for row in rows),
            max(row.tries for row in rows),
        )
        for dead, rows in found.items()
    ]


async def _round(work: Path, port: int, jobs: int, *, dead: bool) -> DeadRow:
    places = [work / f"place{number}" for number in range(LIVE)]
    for place in places:
        place.mkdir()
    shares = [place.as_uri() for place in places]
    if dead:
        # First, so that whoever tried one after the other would begin with it.
        shares.insert(0, rf"\\{_HOST}\scans")
    server = SmbServer(_HOST, Logon.NTLM, "scanner", lambda: Secret("no matter"), port=port)
    deliver = FileShareFilter(FileShareSettings(roots=(work,), servers=(server,), zone=UTC))
    settings = JobSettings(
        max_open_jobs=jobs, max_open_jobs_per_owner=jobs, min_free_bytes=0, stop_grace=timedelta(seconds=0)
    )
    engine = JobEngine(
        settings,
        LocalSpool(work / "spool"),
        JobStore(work / "jobs.sqlite"),
        {FSF: deliver},
        SystemClock(),
    )
    there: dict[tuple[str, str], float] = {}
    tries: dict[str, int] = {}
    done = asyncio.Event()

    def heard(change: JobChange) -> None:
        if change.kind is not ChangeKind.DELIVERY:
            return
        now = time.perf_counter()
        for place in change.job.filters[0].deliveries:
            if place.state is DeliveryState.DELIVERED:
                there.setdefault((change.job.token, place.key), now)
            elif place.attempts:
                tries[change.job.token] = place.attempts
        if len(there) == jobs * LIVE:
            done.set()

    engine.add_listener(heard)
    await engine.start()
    try:
        instructions = etree.Element(qname(PSP, "Instructions"))
        FileShareConfig(share_uncs=tuple(shares)).to_element(instructions)
        octets = os.urandom(_OCTETS)
        tokens = []
        for number in range(jobs):
            job = await engine.create(_job(number, etree.tostring(instructions)))
            image = engine.open_image()
            await asyncio.to_thread(image.write, octets)
            await engine.commit_image(job.token, job.owner, 1, DocumentFormat.TIFF_SINGLE_G4, image)
            tokens.append(job.token)
        began = time.perf_counter()
        ended = {}
        for token in tokens:
            ended[token] = time.perf_counter()
            await engine.end(token, None)
        await done.wait()
        seconds = max(there.values()) - began
        waits = [1000 * (at - ended[token]) for (token, _), at in there.items()]
    finally:
        await engine.stop()
    return DeadRow(
        dead, jobs, len(there) / seconds, median(waits), quantiles(waits, n=100)[98], sum(tries.values())
    )


def _job(number: int, instructions: bytes) -> NewJob:
    return NewJob(
        owner=f"user:{_USER.sid}",
        user=_USER,
        process_id=UUID(int=7),
        process_name="bench",
        document_root_name=f"scan{number}",
        continue_on_error=True,
        filters=(NewFilter(FSF, instructions),),
        request_id=None,
        correlation_id="bench",
        origin="127.0.0.1",
        vouched_by="device:127.0.0.1",
    )
