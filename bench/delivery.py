"""How fast documents are made and delivered: to Samba, to Postfix, into PDFs; and what a dead place costs.

Everything is measured in one run on one machine and compared with other people's programs doing the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from rich.console import Console
from rich.table import Table

from bench import delivery_dead, delivery_mail, delivery_pages, delivery_server, delivery_smb, machine
from bench.report import print_machine
from bench.toolbox import OUT, BenchError

_PARTS: Final = ("smb", "mail", "pages", "server", "dead")
_console = Console(width=None if sys.stdout.isatty() else 140)


def main(arguments: Sequence[str]) -> None:
    """Run with these command-line arguments; print tables and save the figures.

    :raises BenchError: something is missing on this machine.
    """
    parser = argparse.ArgumentParser(prog="python -m bench delivery", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each: a look, no figures")
    parser.add_argument("--only", choices=_PARTS, action="append", help="only this part; repeatable")
    parser.add_argument(
        "--work", type=Path, default=OUT, metavar="FOLDER", help="a folder on the disk to measure"
    )
    given = parser.parse_args(arguments)
    wanted = given.only or _PARTS
    if "smb" in wanted and (lacking := delivery_smb.missing()):
        raise BenchError("; ".join(lacking))
    # Each delivery is a line of the log, which is not what is measured.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    work = given.work.resolve() / f"delivery-{os.getpid()}"
    work.mkdir(parents=True)
    try:
        about = machine.describe(work)
        print_machine(about)
        figures: dict[str, Any] = {}
        for name in _PARTS:
            if name in wanted:
                (work / name).mkdir()
                figures[name] = _RUN[name](work / name, given.quick)
        _save(figures, about)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _smb(work: Path, quick: bool) -> list[dict[str, Any]]:
    rows = delivery_smb.measure(work, rounds=1 if quick else 5, octets=(50 << 20) if quick else (200 << 20))
    table = _table("To a file share (Samba on this machine)", "document", "protection")
    for way in (delivery_smb.FILTER, delivery_smb.SMBCLIENT, delivery_smb.COPY):
        table.add_column(f"{way}\nMB/s", justify="right")
    table.add_column(f"ours /\n{delivery_smb.SMBCLIENT}", justify="right")
    for protection in (delivery_smb.SIGNED, delivery_smb.ENCRYPTED):
        for size in delivery_smb.SIZES:
            speeds = {
                row.way: row.megabytes_per_second
                for row in rows
                if row.size == size and row.protection in (protection, "")
            }
            ours, theirs = speeds[delivery_smb.FILTER], speeds[delivery_smb.SMBCLIENT]
            copy = speeds[delivery_smb.COPY]
            table.add_row(
                _size(size), protection, f"{ours:.0f}", f"{theirs:.0f}", f"{copy:.0f}", f"{ours / theirs:.2f}"
            )
    _console.print(table)
    return [asdict(row) for row in rows]


def _mail(work: Path, quick: bool) -> dict[str, Any]:
    _passable(work)
    rows, memory = delivery_mail.measure(work, rounds=1 if quick else 5, mails=16 if quick else 80)
    table = _table("By mail (Postfix on this machine, TLS and AUTH)", "attachment", "at a time")
    for heading in ("postscan\nmails/s", "smtplib\nmails/s", "ours /\nsmtplib"):
        table.add_column(heading, justify="right")
    for size in delivery_mail.SIZES:
        for at_a_time in delivery_mail.AT_A_TIME:
            found = {
                row.way: row.mails_per_second
                for row in rows
                if (row.size, row.at_a_time) == (size, at_a_time)
            }
            ours, theirs = found[delivery_mail.FILTER], found[delivery_mail.SMTPLIB]
            table.add_row(_size(size), str(at_a_time), f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}")
    _console.print(table)
    told = ", ".join(f"{one.way} {one.octets / 1e6:.0f} MB" for one in memory)
    _console.print(f"Memory that a mail of {_size(memory[0].size)} takes: {told}\n", highlight=False)
    return {"rows": [asdict(row) for row in rows], "memory": [asdict(one) for one in memory]}


def _pages(work: Path, quick: bool) -> dict[str, Any]:
    speeds, memory = delivery_pages.measure(work, quick=quick)
    table = _table("Pages into PDFs (A4, 300 dpi)", "what", "pages")
    for heading in ("postscan\npages/s", "the other\npages/s", "ours /\nthe other"):
        table.add_column(heading, justify="right")
    table.add_column("the other")
    for one in speeds:
        figures = (f"{one.ours_per_second:.1f}", f"{one.theirs_per_second:.1f}", f"{one.ratio:.2f}")
        table.add_row(one.what, str(one.pages), *figures, f"{one.theirs} alone")
    _console.print(table)
    table = _table("Memory for one large job, at its peak", "what", "pages")
    for heading in ("server, MB", "goal", "largest worker, MB"):
        table.add_column(heading, justify="right")
    goal = delivery_pages.MEMORY_GOAL / 1e6
    for figure in memory:
        server = f"{figure.server / 1e6:.0f}"
        table.add_row(figure.what, str(figure.pages), server, f"< {goal:.0f}", f"{figure.worker / 1e6:.0f}")
    _console.print(table)
    return {"speeds": [asdict(one) for one in speeds], "memory": [asdict(one) for one in memory]}


def _server(work: Path, quick: bool) -> dict[str, Any]:
    memory, answers = delivery_server.measure(work, quick=quick)
    table = _table("One large job through a real server, delivered to a folder", "what", "pages")
    for heading in ("sent, MB", "idle, MB", "peak, MB", "goal", "seconds"):
        table.add_column(heading, justify="right")
    goal = f"< {delivery_server.MEMORY_GOAL / 1e6:.0f}"
    for one in memory:
        peaks = (f"{one.idle / 1e6:.0f}", f"{one.server / 1e6:.0f}")
        table.add_row(one.what, str(one.pages), f"{one.megabytes:.0f}", *peaks, goal, f"{one.seconds:.1f}")
    _console.print(table)
    table = _table("CreatePostScanJob while jobs are read (OCR)", "jobs")
    for heading in ("p50 ms", "p99 ms", "max ms"):
        table.add_column(heading, justify="right")
    for answer in answers:
        times = (f"{answer.p50_ms:.0f}", f"{answer.p99_ms:.0f}", f"{answer.max_ms:.0f}")
        table.add_row(str(answer.jobs), *times)
    _console.print(table)
    return {"memory": [asdict(one) for one in memory], "answers": [asdict(one) for one in answers]}


def _dead(work: Path, quick: bool) -> list[dict[str, Any]]:
    rows = delivery_dead.measure(work, jobs=60 if quick else 400, rounds=1 if quick else 5)
    title = f"{delivery_dead.LIVE} living places per job, {rows[0].jobs} jobs at once, and one that hangs"
    table = _table(title, "")
    for heading in ("deliveries/s", "p50 ms", "p99 ms", "tries of the dead one that ended"):
        table.add_column(heading, justify="right")
    alone, beside = rows
    for what, row in (("without the dead place", alone), ("with it", beside)):
        times = (f"{row.p50_ms:.0f}", f"{row.p99_ms:.0f}", str(row.tries))
        table.add_row(what, f"{row.per_second:.0f}", *times)
    table.add_row(
        "with / without",
        f"{beside.per_second / alone.per_second:.2f}",
        f"{beside.p50_ms / alone.p50_ms:.2f}",
        f"{beside.p99_ms / alone.p99_ms:.2f}",
        "",
    )
    _console.print(table)
    return [asdict(row) for row in rows]


_RUN: Final = {"smb": _smb, "mail": _mail, "pages": _pages, "server": _server, "dead": _dead}


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _size(octets: int) -> str:
    return f"{octets / 1e6:.0f} MB" if octets >= 1_000_000 else f"{octets / 1e3:.0f} KB"


def _passable(folder: Path) -> None:
    """Let the mail server's accounts pass through to ``folder``.

    :raises BenchError: something above it is private.
    """
    folder.chmod(0o755)
    for above in folder.parents:
        if not above.stat().st_mode & 0o001:
            raise BenchError(f"other accounts cannot pass through {above}: name another folder with --work")


def _save(figures: dict[str, Any], about: dict[str, str]) -> None:
    moment = datetime.now(UTC)
    path = OUT / f"delivery-{moment:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"benchmark": "delivery", "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "machine": about}
    path.write_text(json.dumps(content | {"figures": figures}, indent=1) + "\n", encoding="utf-8")
    _console.print(f"Saved as {path}", highlight=False, soft_wrap=True)
