"""Tables for people and JSON for scripts, from what was measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from bench.ingest import CellResult
    from bench.servers import Cell, Measurement

_BIG = 600_000
_MEMORY_GOAL = 120_000_000
_console = Console()
if not _console.is_terminal:
    _console = Console(width=140)


def goal_against_nginx(cell: Cell) -> float | None:
    """Return the least ratio to nginx (one worker, durable) that we set out for, if any."""
    if cell.tls:
        return 0.9 if cell.size >= _BIG else None
    if cell.size >= _BIG:
        return 1.0
    return 1.0 if cell.connections > 1 else 0.6


def ratios(result: CellResult, ours: str, other: str) -> list[float]:
    """Return ours / other in images a second, one a round; empty when one was left out.

    Made within each round, a ratio is nearly free of what changes from one round to the next.
    """
    pairs = zip(result.rounds.get(ours, []), result.rounds.get(other, []), strict=False)
    return [mine.images_per_second / theirs.images_per_second for mine, theirs in pairs]


def ratio(result: CellResult, ours: str, other: str) -> float | None:
    """Return the median over the rounds of ours / other; None when one was left out."""
    found = ratios(result, ours, other)
    return median(found) if found else None


def middle(result: CellResult, name: str, value: Callable[[Measurement], float | None]) -> float | None:
    """Return the median over the rounds of one value; None when there is none."""
    found = [v for v in map(value, result.rounds.get(name, [])) if v is not None]
    return median(found) if found else None


def print_machine(about: dict[str, str]) -> None:
    """Print what the run is made on."""
    table = Table.grid(padding=(0, 2))
    for name, value in about.items():
        table.add_row(name, value)
    _console.print(table)
    _console.print()


def print_progress(result: CellResult) -> None:
    """Print one line on a cell that has been measured."""
    figures = [f"{name} {_megabytes(result, name):.0f} MB/s" for name in result.rounds if result.rounds[name]]
    _console.print(f"[dim]{_title(result.cell)}: {', '.join(figures)}[/dim]", highlight=False)


def print_tables(results: Sequence[CellResult]) -> None:
    """Print speeds with their ratios, then latencies, then processor time and memory."""
    names = list(dict.fromkeys(name for result in results for name in result.rounds))
    for tls in (False, True):
        chosen = [result for result in results if result.cell.tls is tls]
        if chosen:
            title = "TLS 1.3 with client certificate" if tls else "HTTP"
            _console.print()
            _console.print(_speeds(chosen, names, f"{title}: MB/s, and ratios ours / theirs"))
            _console.print(_details(chosen, names, f"{title}: images/s, p50 / p99 ms"))
    _console.print()
    _console.print(_costs(results))


def _speeds(results: Sequence[CellResult], names: list[str], title: str) -> Table:
    table = _table(title)
    for name in names:
        table.add_column(name, justify="right")
    for heading in ("ours / nginx", "in rounds", "goal", "ours / raw"):
        table.add_column(heading, justify="right")
    for result in results:
        against, goal = ratio(result, "postscan", "nginx"), goal_against_nginx(result.cell)
        shown = _number(against, 2)
        if against is not None and goal is not None:
            shown = f"[green]{shown}[/green]" if against >= goal else f"[red]{shown}[/red]"
        each = ratios(result, "postscan", "nginx")
        table.add_row(
            _title(result.cell),
            *(_number(_megabytes(result, name), 0) for name in names),
            shown,
            f"{min(each):.2f} - {max(each):.2f}" if len(each) > 1 else "",
            f">= {goal}" if goal is not None else "",
            _number(ratio(result, "postscan", "raw"), 2),
        )
    return table


def _details(results: Sequence[CellResult], names: list[str], title: str) -> Table:
    table = _table(title)
    for name in names:
        table.add_column(name, justify="right")
    for result in results:
        table.add_row(_title(result.cell), *(_detail(result, name) for name in names))
    return table


def _detail(result: CellResult, name: str) -> str:
    rate = middle(result, name, lambda m: m.images_per_second)
    if rate is None:
        return ""
    p50, p99 = middle(result, name, lambda m: m.p50_ms), middle(result, name, lambda m: m.p99_ms)
    return f"{rate:.0f}/s  {_digits(p50)} / {_digits(p99)}"


def _costs(results: Sequence[CellResult]) -> Table:
    names = list(dict.fromkeys(name for result in results for name in result.peak_memory))
    table = _table("What the servers cost: processor ms an image, peak memory MB (sum of VmHWM)")
    for name in names:
        table.add_column(f"{name} ms", justify="right")
    for name in names:
        table.add_column(f"{name} MB", justify="right")
    for result in results:
        times = [_digits(middle(result, name, lambda m: m.cpu_ms_per_image)) for name in names]
        table.add_row(_title(result.cell), *times, *(_peak(result, name) for name in names))
    table.caption = f"goal: postscan under {_MEMORY_GOAL / 1e6:.0f} MB"
    return table


def _peak(result: CellResult, name: str) -> str:
    octets = result.peak_memory.get(name)
    if octets is None:
        return ""
    shown = f"{octets / 1e6:.0f}"
    return f"[red]{shown}[/red]" if name == "postscan" and octets >= _MEMORY_GOAL else shown


def save(results: Sequence[CellResult], about: dict[str, str], folder: Path) -> Path:
    """Save machine, medians, ratios and every round as JSON; return the file."""
    moment = datetime.now(UTC)
    path = folder / f"ingest-{moment:%Y%m%dT%H%M%SZ}.json"
    content = {
        "benchmark": "ingest",
        "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "machine": about,
        "cells": [_as_json(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _console.print(f"Saved as {path}", highlight=False, soft_wrap=True)
    return path


def _as_json(result: CellResult) -> dict[str, Any]:
    return {
        "image_bytes": result.cell.size,
        "connections": result.cell.connections,
        "tls": result.cell.tls,
        "median": {
            name: {
                "mb_per_second": _megabytes(result, name),
                "images_per_second": middle(result, name, lambda m: m.images_per_second),
                "p50_ms": middle(result, name, lambda m: m.p50_ms),
                "p99_ms": middle(result, name, lambda m: m.p99_ms),
                "cpu_ms_per_image": middle(result, name, lambda m: m.cpu_ms_per_image),
            }
            for name in result.rounds
        },
        "ratio": {
            "ours_to_nginx": ratio(result, "postscan", "nginx"),
            "ours_to_raw": ratio(result, "postscan", "raw"),
            "nginx_to_raw": ratio(result, "nginx", "raw"),
            "goal_ours_to_nginx": goal_against_nginx(result.cell),
        },
        "peak_memory_bytes": result.peak_memory,
        "rounds": {name: [dataclasses.asdict(m) for m in made] for name, made in result.rounds.items()},
    }


def _megabytes(result: CellResult, name: str) -> float | None:
    rate = middle(result, name, lambda m: m.images_per_second)
    return None if rate is None else rate * result.cell.size / 1e6


def _title(cell: Cell) -> str:
    size = f"{cell.size // 1_000_000} MB" if cell.size >= 1_000_000 else f"{cell.size // 1000} KB"
    return f"{size} x {cell.connections}" + (" TLS" if cell.tls else "")


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("image x connections", no_wrap=True)
    return table


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _digits(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
