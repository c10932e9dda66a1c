"""How fast images are stored: SendImage at our server, beside nginx's PUT and the raw disk, in the same run.

Every contestant keeps the same promise: an answer comes after the file and its folder are on the disk.
Rounds are interleaved, so that whatever else the machine does hits all alike; ratios are made in a round.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, report
from bench.certificates import TlsClient, TlsServer, make_certificates
from bench.payload import Image, make_image
from bench.servers import Cell, Contestant, Measurement, Nginx, Postscan, PostscanInstallation, RawDisk
from bench.toolbox import OUT, require_packages, settle

SIZES = (50_000, 600_000, 25_000_000)
CONNECTIONS = (1, 8)
RAW, NGINX, OURS = "raw", "nginx", "postscan"
STOCK = "nginx, no sync"
_RAW_SHARE = 0.5
_SHORTEST, _LONGEST = 0.3, 1.5
_CELL_OVERHEAD_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: rounds a cell, seconds in all, and whether further nginx variants are too."""

    rounds: int
    budget_seconds: float
    notes: bool
    contestants: tuple[str, ...]


@dataclass(slots=True)
class CellResult:
    """What was measured in one cell: by contestant one measurement a round, and peak memory in octets."""

    cell: Cell
    rounds: dict[str, list[Measurement]] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)


class Bench:
    """One run: the work folder, images, certificates, and our server's installation."""

    def __init__(self, work: Path, plan: Plan) -> None:
        self._work = work
        self._plan = plan
        self._images = {size: make_image(size) for size in SIZES}
        self._certificates = make_certificates(work / "pki")
        self._installation = PostscanInstallation(work) if OURS in plan.contestants else None

    def run(self, tell: Callable[[CellResult], None]) -> list[CellResult]:
        """Measure every cell; ``tell`` hears of each as it ends."""
        cells = [Cell(s, c, tls) for tls in (False, True) for s in SIZES for c in CONNECTIONS]
        deadline = time.monotonic() + self._plan.budget_seconds
        overhead = _CELL_OVERHEAD_SECONDS
        results = []
        for done, cell in enumerate(cells):
            began = time.monotonic()
            share = (deadline - began) / (len(cells) - done)
            seconds = min(_LONGEST, max(_SHORTEST, (share - overhead) / self._weight()))
            result = self._run_cell(cell, seconds)
            # What a cell costs beside measuring (starting, emptying, writing back) is learned as it goes.
            overhead = (overhead + max(0.0, time.monotonic() - began - seconds * self._weight())) / 2
            results.append(result)
            tell(result)
        return results

    def _weight(self) -> float:
        """Return how many times the seconds of one measurement a cell takes, warm-up included."""
        a_round = sum(_RAW_SHARE if name == RAW else 1.0 for name in self._plan.contestants)
        return 1.2 * (self._plan.rounds * a_round + (len(self._notes_names()) if self._plan.notes else 0))

    def _run_cell(self, cell: Cell, seconds: float) -> CellResult:
        result = CellResult(cell)
        image = self._images[cell.size]
        contestants = {name: self._contestant(name, cell, image) for name in self._plan.contestants}
        with contextlib.ExitStack() as stack:
            for contestant in contestants.values():
                stack.callback(contestant.stop)
                contestant.start()
            for number in range(self._plan.rounds):
                # Each goes first, and after each other one, in turn.
                names = [*contestants][number % len(contestants) :] + [*contestants][
                    : number % len(contestants)
                ]
                for name in names:
                    self._measure(contestants[name], name, seconds, result)
            for name, contestant in contestants.items():
                if (peak := contestant.peak_memory()) is not None:
                    result.peak_memory[name] = peak
        if self._plan.notes:
            for name in self._notes_names():
                contestant = self._contestant(name, cell, image)
                with contextlib.ExitStack() as stack:
                    stack.callback(contestant.stop)
                    contestant.start()
                    self._measure(contestant, name, seconds, result)
        return result

    def _measure(self, contestant: Contestant, name: str, seconds: float, result: CellResult) -> None:
        settle(self._work)
        measured = contestant.measure(seconds * _RAW_SHARE if name == RAW else seconds)
        result.rounds.setdefault(name, []).append(measured)

    def _notes_names(self) -> list[str]:
        if NGINX not in self._plan.contestants:
            return []
        return [f"nginx, {_workers()} workers", STOCK] if _workers() > 1 else [STOCK]

    def _contestant(self, name: str, cell: Cell, image: Image) -> Contestant:
        if name == RAW:
            return RawDisk(cell, image, self._work)
        if name == OURS:
            assert self._installation is not None
            return Postscan(cell, image, self._work, installation=self._installation)
        tls: tuple[TlsServer, TlsClient] | None = self._certificates if cell.tls else None
        if name == STOCK:
            return Nginx(cell, image, self._work, tls=tls, durable=False)
        return Nginx(cell, image, self._work, tls=tls, workers=1 if name == NGINX else _workers())


def _workers() -> int:
    return os.cpu_count() or 1


def main(arguments: Sequence[str]) -> None:
    """Run with these command-line arguments; print tables and save the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="about how long to run (default 200)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each case (default 3)")
    parser.add_argument(
        "--without", action="append", choices=(RAW, NGINX, OURS), default=[], help="leave one out"
    )
    parser.add_argument(
        "--work", type=Path, default=OUT, metavar="FOLDER", help="a folder on the disk to measure"
    )
    given = parser.parse_args(arguments)
    plan = Plan(
        rounds=given.rounds or (1 if given.quick else 3),
        budget_seconds=given.budget or (40.0 if given.quick else 200.0),
        notes=not given.quick,
        contestants=tuple(name for name in (NGINX, OURS, RAW) if name not in given.without),
    )
    require_packages()
    work = given.work.resolve() / f"work-{os.getpid()}"
    work.mkdir(parents=True)
    try:
        about = machine.describe(work)
        report.print_machine(about)
        results = Bench(work, plan).run(report.print_progress)
        report.print_tables(results)
        report.save(results, about, OUT)
    finally:
        shutil.rmtree(work, ignore_errors=True)
