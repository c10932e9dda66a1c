"""How fast a large Active Directory answers: the list for a user, and what a Create needs to know.

A Samba domain controller with 100,000 users and 10,000 scan processes runs beside; everybody may use thirty
of them. `ldapsearch` asks the same controller the same in the same rounds. The embedded directory with as
many users and processes is measured, too.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final
from uuid import UUID

import structlog

from bench import machine
from bench.crowd import PASSWORD, WITH_PASSWORD, Crowd
from bench.crowd_domain import running_crowd
from bench.directory_embedded import write_embedded
from bench.directory_peer import LdapSearch
from bench.directory_report import Plan, Row, console, digits, row_of, save, show
from bench.report import print_machine
from bench.toolbox import OUT, BenchError
from postscan.core.secret import Secret
from postscan.directory.active.directory import ActiveDirectory, ActiveDirectorySettings
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.ldap.binding import SimplePassword
from postscan.directory.ldap.client import LdapSettings
from postscan.directory.model import Directory
from testdomain.controller import Controller
from testdomain.errors import TestDomainError
from testdomain.facts import ADDRESS, CONTROLLER, DNS_DOMAIN, SERVICE

_SEED: Final = 53
# People who stand at devices in the same minute.
_AT_DEVICES: Final = 200


class Bench:
    """One run over a controller that answers; inside its namespace."""

    def __init__(self, plan: Plan, crowd: Crowd, controller: Controller, work: Path) -> None:
        self._plan = plan
        self._crowd = crowd
        self._controller = controller
        self._work = work
        self._random = random.Random(_SEED)
        self._peer = LdapSearch(controller, work)
        self.rows: list[Row] = []

    async def run(self) -> list[Row]:
        """Measure everything."""
        for part in (
            self._lists_of_users,
            self._lists_by_descriptor,
            self._creates_cold,
            self._creates_warm,
            self._a_busy_minute,
        ):
            before = len(self.rows)
            await part()
            for row in self.rows[before:]:
                console.print(f"[dim]{row.what}: {digits(row.p50_ms)} ms[/dim]", highlight=False)
        return self.rows

    def _directory(self, *, cache: bool) -> ActiveDirectory:
        ldap = LdapSettings(
            domain=DNS_DOMAIN,
            credentials=SimplePassword(f"{SERVICE.name}@{DNS_DOMAIN}", Secret(SERVICE.password)),
            controllers=(CONTROLLER,),
            dns_servers=(ADDRESS,),
            ca=self._controller.domain.ca,
            connect_seconds=30,
            answer_seconds=120,
            pool_size=8,
        )
        # So long that nothing runs out in between: how long answers hold is a choice, not a speed.
        return ActiveDirectory(ActiveDirectorySettings(ldap=ldap, cache_seconds=3600 if cache else 0))

    async def _lists_of_users(self) -> None:
        """List as a device does: bound as the user, who sees what the controller lets them see."""
        whole, alone, peers = [], [], []
        async with self._directory(cache=False) as directory:
            for number in range(self._plan.rounds):
                person = number % WITH_PASSWORD
                name = f"{self._crowd.user(person)}@{DNS_DOMAIN}"
                began = time.perf_counter()
                signed_in = await directory.signed_in(name, Secret(PASSWORD))
                try:
                    between = time.perf_counter()
                    found = await signed_in.processes()
                    ended = time.perf_counter()
                finally:
                    await signed_in.close()
                self._crowd.check(person, found)
                whole.append(ended - began)
                alone.append(ended - between)
                peers.append(await asyncio.to_thread(self._peer.list_as, name, PASSWORD))
        self.rows += [
            row_of("sign in with a password and list", whole),
            row_of("list, bound as the user", alone, peer=median(peers)),
        ]

    async def _lists_by_descriptor(self) -> None:
        """List by reading every security descriptor, as the server's own account."""
        cold, warm, peers = [], [], []
        for _ in range(max(2, self._plan.rounds // 3)):
            async with self._directory(cache=True) as directory:
                person = self._random.randrange(self._crowd.users)
                user = await directory.user_by_name(self._crowd.user(person))
                if user is None:
                    raise BenchError(f"there is no {self._crowd.user(person)}")
                began = time.perf_counter()
                await directory.processes_for(user)
                between = time.perf_counter()
                found = await directory.processes_for(user)
                warm.append(time.perf_counter() - between)
                cold.append(between - began)
                self._crowd.check(person, found)
            peers.append(await asyncio.to_thread(self._peer.list_descriptors))
        self.rows += [
            row_of("list by descriptors, cold", cold, peer=median(peers)),
            row_of("list by descriptors, warm", warm),
        ]

    async def _creates_cold(self) -> None:
        """Validate Creates of which nothing is known yet: each of another user, with another process."""
        pairs = self._pairs(2 * self._plan.cold)
        sids = await asyncio.to_thread(self._peer.sids, [self._crowd.user(user) for user, _ in pairs])
        one_by_one, together = pairs[: self._plan.cold], pairs[self._plan.cold :]
        peer = await asyncio.to_thread(
            self._peer.create, sids[: len(one_by_one)], self._identifiers(one_by_one)
        )
        for at_once, chosen, first in ((1, one_by_one, 0), (8, together, len(one_by_one))):
            async with self._directory(cache=True) as directory:
                # The connections are there in a server that runs.
                await asyncio.gather(*(directory.ping() for _ in range(8)))
                questions = list(zip(sids[first:], self._identifiers(chosen), strict=False))
                row = await _creates(directory, questions, at_once)
                row.what = f"validate a Create, cold, {at_once} at a time"
                row.peer_ms = 1e3 * peer if at_once == 1 else None
                self.rows.append(row)
                # As after cache_seconds: nothing is answered from memory, but where things stand is known.
                directory.forget()
                row = await _creates(directory, questions, at_once)
                row.what = f"validate a Create, answers run out, {at_once} at a time"
                self.rows.append(row)

    async def _creates_warm(self) -> None:
        """Validate Creates of people and processes that were asked for just now."""
        pairs = self._pairs(self._plan.cold)
        sids = await asyncio.to_thread(self._peer.sids, [self._crowd.user(user) for user, _ in pairs])
        questions = list(zip(sids, self._identifiers(pairs), strict=True))
        async with self._directory(cache=True) as directory:
            await _creates(directory, questions, 8)
            for at_once in (1, 8):
                row = await _creates(directory, questions * (self._plan.warm // len(questions)), at_once)
                row.what = f"validate a Create, warm, {at_once} at a time"
                self.rows.append(row)

    async def _a_busy_minute(self) -> None:
        """Validate Creates of the people who stand at devices now, in any order; tell how many were known."""
        people = [self._random.randrange(self._crowd.users) for _ in range(_AT_DEVICES)]
        sids = dict(
            zip(
                people,
                await asyncio.to_thread(self._peer.sids, [self._crowd.user(person) for person in people]),
                strict=True,
            )
        )
        questions = []
        for _ in range(5 * _AT_DEVICES):
            person = self._random.choice(people)
            process = self._random.choice(sorted(self._crowd.processes_of(person))[:5])
            questions.append((sids[person], process))
        gc.collect()
        before = _memory()
        async with self._directory(cache=True) as directory:
            row = await _creates(directory, questions, 8)
            counts = directory.cache_counts
            gc.collect()
            grown = _memory() - before
        row.what = f"validate a Create, {_AT_DEVICES} people at devices, 8 at a time"
        row.note = ", ".join(f"{name} {100 * count.hit_rate:.0f} % known" for name, count in counts.items())
        row.note += f"; memory +{grown / 1e6:.1f} MB"
        self.rows.append(row)

    def _pairs(self, number: int) -> list[tuple[int, int]]:
        """Return people, and a process that each of them may use, no person twice."""
        people = self._random.sample(range(WITH_PASSWORD, self._crowd.users), number)
        return [(person, self._random.randrange(30)) for person in people]

    def _identifiers(self, pairs: Sequence[tuple[int, int]]) -> list[UUID]:
        return [sorted(self._crowd.processes_of(person))[which] for person, which in pairs]


async def _creates(directory: Directory, questions: Sequence[tuple[str, UUID]], at_once: int) -> Row:
    """Ask what a Create needs to know, so many at a time: the user, the process, and whether they may."""
    waiting = iter(questions)
    taken: list[float] = []

    async def some() -> None:
        for sid, identifier in waiting:
            began = time.perf_counter()
            user, process = await directory.user_by_sid(sid), await directory.process(identifier)
            if user is None or process is None or not process.granted_to(user):
                raise BenchError(f"{sid} may not use {identifier}")
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(at_once)))
    row = row_of("", taken)
    row.per_second = len(taken) / (time.perf_counter() - began)
    return row


async def _embedded(plan: Plan, crowd: Crowd, work: Path) -> list[Row]:
    """Measure the embedded directory with as many people and processes."""
    folder = work / "embedded"
    sids = write_embedded(crowd, folder)
    chosen = random.Random(_SEED)
    gc.collect()
    before = _memory()
    directory = EmbeddedDirectory(folder)
    began = time.perf_counter()
    await directory.processes()
    read = time.perf_counter() - began
    gc.collect()
    rows = [
        Row(
            "embedded: read all files", p50_ms=1e3 * read, note=f"memory +{(_memory() - before) / 1e6:.0f} MB"
        )
    ]
    lists = []
    for _ in range(plan.rounds):
        person = chosen.randrange(crowd.users)
        began = time.perf_counter()
        user = await directory.user_by_name(crowd.user(person))
        found = await directory.processes_for(user) if user is not None else []
        lists.append(time.perf_counter() - began)
        crowd.check(person, found)
    rows.append(row_of("embedded: list for a user", lists))
    people = [chosen.randrange(crowd.users) for _ in range(plan.warm)]
    questions = [(sids[person], chosen.choice(sorted(crowd.processes_of(person)))) for person in people]
    row = await _creates(directory, questions, 1)
    row.what = "embedded: validate a Create"
    rows.append(row)
    return rows


def _memory() -> int:
    """Return the resident memory of this process now, in octets."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str]) -> None:
    """Run with these command-line arguments; print a table and save the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench directory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 users and 500 scan processes")
    parser.add_argument("--users", type=int, metavar="N", help="how many (default 100,000)")
    parser.add_argument("--processes", type=int, metavar="N", help="how many, in tens (default 10,000)")
    parser.add_argument(
        "--domain", type=Path, metavar="FOLDER", help="keep the domain here, and take it from here again"
    )
    parser.add_argument(
        "--work", type=Path, default=OUT, metavar="FOLDER", help="a folder for files of this run"
    )
    given = parser.parse_args(arguments)
    quick = given.quick
    plan = Plan(
        users=given.users or (5_000 if quick else 100_000),
        processes=given.processes or (500 if quick else 10_000),
        rounds=4 if quick else 10,
        cold=50,
        warm=1_000 if quick else 10_000,
    )
    if plan.processes < 100 or plan.processes % 10 or plan.users < 2 * plan.cold + WITH_PASSWORD:
        parser.error("at least 100 processes, in tens, and a thousand users")
    # What is logged is not what is measured.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    work = given.work.resolve() / f"directory-{os.getpid()}"
    work.mkdir(parents=True)
    crowd = Crowd(plan.users, plan.processes)
    try:
        about = machine.describe(work)
        print_machine(about)
        console.print("[dim]putting everybody into the domain[/dim]")
        kept = (given.domain or work / "domain").resolve()
        with running_crowd(crowd, kept, work) as (controller, seconds), controller.namespace.inside():
            rows = asyncio.run(Bench(plan, crowd, controller, work).run())
        rows += asyncio.run(_embedded(plan, crowd, work))
        show(rows, plan, seconds)
        save(rows, plan, seconds, about)
    except TestDomainError as error:
        raise BenchError(str(error)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
