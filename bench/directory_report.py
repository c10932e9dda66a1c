"""The figures of bench.directory: a table for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.toolbox import OUT

console: Final = Console(width=None if sys.stdout.isatty() else 160)


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the directory is, and how often each question is asked."""

    users: int
    processes: int
    rounds: int
    cold: int
    warm: int


@dataclass(slots=True)
class Row:
    """What one question took: milliseconds, calls a second, and whose the answer was compared with."""

    what: str
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    per_second: float = 0.0
    peer_ms: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as long as ldapsearch it took."""
        return None if not self.peer_ms else self.p50_ms / self.peer_ms


def row_of(what: str, seconds: Sequence[float], *, peer: float | None = None) -> Row:
    """Return the row of a question that took so many seconds each time."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return Row(
        what,
        p50_ms=1e3 * ordered[int(0.5 * last)],
        p99_ms=1e3 * ordered[int(0.99 * last)],
        per_second=len(ordered) / sum(ordered),
        peer_ms=None if peer is None else 1e3 * peer,
    )


def show(rows: Sequence[Row], plan: Plan, seconds: float) -> None:
    """Print the table; ``seconds`` is what filling the domain took, 0 when that was not done."""
    table = Table(title=f"{plan.users:,} users, {plan.processes:,} scan processes", title_justify="left")
    table.add_column("what", no_wrap=True)
    for heading in ("p50 ms", "p99 ms", "calls/s", "ldapsearch ms", "ours / ldapsearch"):
        table.add_column(heading, justify="right")
    table.add_column("", overflow="fold")
    for row in rows:
        table.add_row(
            row.what,
            digits(row.p50_ms),
            digits(row.p99_ms),
            digits(row.per_second),
            digits(row.peer_ms or 0),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.note,
        )
    if seconds:
        table.caption = f"putting everybody into the domain took {seconds:.0f} s"
        table.caption_justify = "left"
    console.print(table)


def digits(value: float) -> str:
    """Write a figure with about three digits; nothing for 0."""
    if not value:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def save(rows: Sequence[Row], plan: Plan, seconds: float, about: dict[str, str]) -> None:
    """Save everything as JSON."""
    moment = datetime.now(UTC)
    path = OUT / f"directory-{moment:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": "directory",
        "time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "machine": about,
        "plan": asdict(plan),
        "filling_seconds": seconds,
        "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    console.print(f"Saved as {path}", highlight=False, soft_wrap=True)
