"""How fast events reach their sinks, and what ten thousand subscriptions cost.

One event source with a real job store on the disk, in this process; the sinks in another one. Among them are
a slow one, which answers after a second, and a dead one, which never does.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop
from lxml import etree
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.event_sinks import DEAD, MARK, QUICK, SLOW
from bench.report import print_machine
from bench.toolbox import OUT, BenchError
from postscan.contracts import dsp, wse
from postscan.contracts.keywords import FilterState, JobState
from postscan.core.clock import SystemClock
from postscan.dpws.eventing import EventLimits, EventSource
from postscan.dpws.http.messages import Peer
from postscan.dpws.notify_policy import NotifyPolicy
from postscan.jobs.spool import LocalSpool
from postscan.jobs.store import JobStore
from postscan.server.subscriptions import JobStoreSubscriptions
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import DSP, FSF, WSE, qname

_STATUS: Final = f"{DSP}/PostScanJobStatusEvent"
_PEER: Final = Peer("127.0.0.1", 1)
_QUICK_SINKS: Final = 100
_OTHERS: Final = 4
_console = Console(width=None if sys.stdout.isatty() else 140)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many subscriptions, how many events a second for how long, and how many events to everybody."""

    subscriptions: int
    rate: int
    seconds: float
    bursts: int


@dataclass(slots=True)
class Figures:
    """What was measured; times in milliseconds, memory in octets, rates a second."""

    subscriptions: int = 0
    subscribes_per_second: float = 0.0
    subscribe_p50_ms: float = 0.0
    subscribe_p99_ms: float = 0.0
    memory_each: float = 0.0
    steady_rate: float = 0.0
    steady_p50_ms: float = 0.0
    steady_p99_ms: float = 0.0
    publish_us: float = 0.0
    burst_rate: float = 0.0
    burst_p50_ms: float = 0.0
    burst_p99_ms: float = 0.0
    slow_heard: int = 0
    dead_ended: int = 0
    lost: int = 0
    stop_seconds: float = 0.0
    restore_seconds: float = 0.0


class SinkProcess:
    """The sinks, in a process of their own."""

    def __init__(self, quick: int) -> None:
        command = [sys.executable, "-m", "bench.event_sinks", str(quick)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports: dict[str, list[int]] = self._line()

    def report(self) -> dict[str, Any]:
        """Return what was measured since the last report."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        measured: dict[str, Any] = self._line()
        return measured

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the process of the sinks ended")
        return json.loads(line)


class Bench:
    """One run."""

    def __init__(self, plan: Plan, sinks: SinkProcess, work: Path) -> None:
        self._plan = plan
        self._sinks = sinks
        self._work = work
        self._figures = Figures(subscriptions=plan.subscriptions)
        self._quick: list[str] = []
        self._others: list[str] = []

    async def run(self) -> Figures:
        """Measure everything."""
        store = JobStore(self._work / "jobs.sqlite")
        await store.open(LocalSpool(self._work / "spool"))
        try:
            source = self._source(store)
            await self._subscribe_all(source)
            await self._steadily(source)
            await self._to_everybody(source)
            await source.close(keep=True)
            again = self._source(store)
            began = time.perf_counter()
            restored = await again.restore()
            self._figures.restore_seconds = time.perf_counter() - began
            self._figures.lost += max(0, self._plan.subscriptions - len(restored))
            self._figures.dead_ended += self._sinks.report()["ends"]
            began = time.perf_counter()
            await again.close()
            self._figures.stop_seconds = time.perf_counter() - began
        finally:
            await store.close()
        return self._figures

    def _source(self, store: JobStore) -> EventSource:
        return EventSource(
            address=lambda: "https://localhost:5362/ScanServer/service",
            actions=(_STATUS,),
            clock=SystemClock(),
            policy=NotifyPolicy(allow_loopback=True),
            limits=EventLimits(
                max_subscriptions=2 * self._plan.subscriptions, max_queue=10_000, delivery_seconds=2.0
            ),
            store=JobStoreSubscriptions(store, "bench"),
        )

    async def _subscribe_all(self, source: EventSource) -> None:
        """Subscribe everybody, one owner each, sixteen at a time: as devices of a site would after a stop."""
        for number in range(self._plan.subscriptions):
            self._quick.append(f"user:S-1-5-21-1-2-3-{number}")
        for kind in (SLOW, DEAD):
            self._others += [f"{kind}:{number}" for number in range(_OTHERS)]
        gc.collect()
        before = _memory()
        waiting = [*self._others, *self._quick]
        taken: list[float] = []

        async def some() -> None:
            while waiting:
                owner = waiting.pop()
                began = time.perf_counter()
                await source.subscribe(self._request(owner), owner, _PEER)
                taken.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(some() for _ in range(16)))
        self._figures.subscribes_per_second = len(taken) / (time.perf_counter() - began)
        self._figures.subscribe_p50_ms, self._figures.subscribe_p99_ms = _percentiles(taken, 1e3)
        gc.collect()
        self._figures.memory_each = (_memory() - before) / len(source)

    def _request(self, owner: str) -> wse.Subscribe:
        kind = owner.partition(":")[0]
        ports = self._sinks.ports[kind if kind in (SLOW, DEAD) else QUICK]
        identifier = etree.Element(qname(WSE, "Identifier"), nsmap={"wse": WSE})
        identifier.text = f"urn:uuid:{random.getrandbits(128):032x}"
        sink = EndpointReference(f"http://127.0.0.1:{random.choice(ports)}/sink", (identifier,))
        # The end of a subscription whose sink is dead is told to one that is not.
        ends = EndpointReference(f"http://127.0.0.1:{self._sinks.ports[QUICK][0]}/ends", (identifier,))
        return wse.Subscribe(notify_to=sink, end_to=ends, expires=wse.Expires(duration=timedelta(hours=1)))

    async def _steadily(self, source: EventSource) -> None:
        """Raise events for one subscriber at a time, evenly; those of slow and dead sinks get some too."""
        owners = random.choices(self._quick, k=int(self._plan.rate * self._plan.seconds))
        self._sinks.report()
        spent, began = 0.0, time.perf_counter()
        for number, owner in enumerate(owners):
            due = began + number / self._plan.rate
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            before = time.perf_counter()
            source.publish(_STATUS, _event, owner)
            spent += time.perf_counter() - before
            if number % 100 == 0:
                for other in self._others:
                    source.publish(_STATUS, _event, other)
        elapsed = time.perf_counter() - began
        delays = await self._collect(len(owners))
        self._figures.steady_rate = len(owners) / elapsed
        self._figures.publish_us = 1e6 * spent / len(owners)
        self._figures.steady_p50_ms, self._figures.steady_p99_ms = _percentiles(delays, 1e-6)

    async def _to_everybody(self, source: EventSource) -> None:
        """Raise events that all ten thousand want, each when the last one has arrived everywhere."""
        rates, delays = [], []
        for _ in range(self._plan.bursts):
            source.publish(_STATUS, _event, lambda _owner: True)
            got = await self._collect(len(self._quick))
            rates.append(len(got) / (max(got, default=1) / 1e9))
            delays += got
        self._figures.burst_rate = sum(rates) / len(rates)
        self._figures.burst_p50_ms, self._figures.burst_p99_ms = _percentiles(delays, 1e-6)

    async def _collect(self, expected: int) -> list[int]:
        """Wait for so many events at the quick sinks, and note what the others got."""
        delays: list[int] = []
        deadline = time.perf_counter() + 60
        while len(delays) < expected and time.perf_counter() < deadline:
            await asyncio.sleep(0.1)
            report = self._sinks.report()
            delays += report["delays"][QUICK]
            self._figures.slow_heard += len(report["delays"][SLOW])
            self._figures.dead_ended += report["ends"]
        self._figures.lost += expected - len(delays)
        return delays


def _event() -> etree._Element:
    filters = (dsp.FilterStatus(dialect=FSF, state=FilterState.PENDING, reasons=()),)
    status = dsp.JobStatus(
        job_token=f"{MARK.decode()}{time.monotonic_ns()}",
        state=JobState.CREATING,
        filters=filters,
        images_received=1,
    )
    return dsp.PostScanJobStatusEvent(status=status).to_element()


def _percentiles(values: Sequence[float], factor: float) -> tuple[float, float]:
    ordered = sorted(values)
    if not ordered:
        return 0.0, 0.0
    last = len(ordered) - 1
    return factor * ordered[int(0.5 * last)], factor * ordered[int(0.99 * last)]


def _memory() -> int:
    """Return the resident memory of this process now, in octets."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _show(figures: Figures) -> None:
    table = Table(title="Events", title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("figure", justify="right")
    for what, figure in (
        ("subscriptions", f"{figures.subscriptions}"),
        ("memory a subscription", f"{figures.memory_each / 1000:.1f} KB"),
        ("Subscribe, durable, 16 at a time", f"{figures.subscribes_per_second:.0f}/s"),
        ("Subscribe, p50 / p99", f"{figures.subscribe_p50_ms:.1f} / {figures.subscribe_p99_ms:.1f} ms"),
        (
            f"event to sink at {figures.steady_rate:.0f}/s, p50 / p99",
            f"{figures.steady_p50_ms:.1f} / {figures.steady_p99_ms:.1f} ms",
        ),
        ("raising an event (the caller's time)", f"{figures.publish_us:.0f} us"),
        ("an event for everybody, deliveries", f"{figures.burst_rate:.0f}/s"),
        ("an event for everybody, p50 / p99", f"{figures.burst_p50_ms:.0f} / {figures.burst_p99_ms:.0f} ms"),
        ("events at sinks that take a second", f"{figures.slow_heard}"),
        ("subscriptions ended, their sink dead", f"{figures.dead_ended} of {_OTHERS}"),
        ("events or subscriptions lost at others", f"{figures.lost}"),
        ("taking all up again after a restart", f"{figures.restore_seconds:.2f} s"),
        ("ending all (SourceShuttingDown)", f"{figures.stop_seconds:.2f} s"),
    ):
        table.add_row(what, figure)
    _console.print(table)


def main(arguments: Sequence[str]) -> None:
    """Run with these command-line arguments; print a table and save the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench events", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a thousand subscriptions, a few seconds")
    parser.add_argument("--subscriptions", type=int, metavar="N", help="how many (default 10,000)")
    parser.add_argument("--rate", type=int, metavar="N", help="events a second (default 500)")
    parser.add_argument(
        "--work", type=Path, default=OUT, metavar="FOLDER", help="a folder on the disk to measure"
    )
    given = parser.parse_args(arguments)
    plan = Plan(
        subscriptions=given.subscriptions or (1_000 if given.quick else 10_000),
        rate=given.rate or 500,
        seconds=2.0 if given.quick else 20.0,
        bursts=1 if given.quick else 3,
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Each subscription is a line of the log, which is not what is measured.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    work = given.work.resolve() / f"events-{os.getpid()}"
    work.mkdir(parents=True)
    sinks = SinkProcess(_QUICK_SINKS)
    try:
        about = machine.describe(work)
        print_machine(about)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(Bench(plan, sinks, work).run())
        _show(figures)
        _save(figures, about)
    finally:
        sinks.stop()
        shutil.rmtree(work, ignore_errors=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _save(figures: Figures, about: dict[str, str]) -> None:
    moment = datetime.now(UTC)
    path = OUT / f"events-{moment:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"benchmark": "events", "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "machine": about}
    path.write_text(json.dumps(content | {"figures": asdict(figures)}, indent=1) + "\n", encoding="utf-8")
    _console.print(f"Saved as {path}", highlight=False, soft_wrap=True)
