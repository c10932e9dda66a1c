"""How commands speak: tables and colour for a terminal, plain lines for a pipe, JSON for a script."""

from __future__ import annotations

import json as json_text
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# A pipe has no width; rich would fold lines at 80 columns and break whoever reads them.
_PIPE_WIDTH = 10_000
# What JSON leaves as it is: delete and the second set of controls, marks of direction, separators of lines,
# and halves of surrogate pairs, which nothing can write.
_STEERING = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    if stream.isatty():
        return Console(file=stream, highlight=False, markup=False, emoji=False)
    return Console(file=stream, width=_PIPE_WIDTH, highlight=False, markup=False, emoji=False)


def printable(text: str) -> str:
    """Replace control characters, so that what a file or a peer wrote cannot steer the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _as_json(value: object, indent: int | None = None) -> str:
    """Write JSON for people and scripts: umlauts as they are, and escaped what steers a terminal."""
    text = json_text.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def quiet_logs() -> None:
    """Keep the rooms' log lines out of a command that tells a person, in its own words, what they found."""
    from postscan.core.log import configure_logging

    configure_logging(level="CRITICAL", as_json=False)


@dataclass(slots=True)
class Output:
    """Where one command's results go: standard output, as JSON when ``json`` is set.

    People's text (``line``, ``heading``, ``table``) is left out under ``json``; ``result`` is left out
    otherwise. So a command says both and the user gets one.
    """

    json: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    # While bars are drawn on the same terminal, lines go above them.
    _above_bars: Console | None = field(default=None, init=False, repr=False)

    @property
    def on_terminal(self) -> bool:
        """Tell whether a person is looking."""
        return not self.json and self.stream.isatty()

    def line(self, text: str = "", *, style: str | None = None) -> None:
        """Print one line for people; ``style`` (a rich style) shows on a terminal only."""
        if self.json:
            return
        if self.on_terminal and (style is not None or self._above_bars is not None):
            console = self._above_bars or _console(self.stream)
            console.print(printable(text), style=style, soft_wrap=True)
            return
        self.stream.write(printable(text) + "\n")
        # Whoever follows a long command through a pipe wants each line when it is said.
        self.stream.flush()

    def gap(self) -> None:
        """Print an empty line before a table in a pipe; drawn tables bring their own."""
        if not self.on_terminal:
            self.line()

    def heading(self, text: str) -> None:
        """Print a heading for people."""
        self.line(text, style="bold")

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        title: str | None = None,
        styles: Mapping[str, Callable[[str], str | None]] | None = None,
        whole: Collection[str] = (),
    ) -> None:
        """Print a table for people: drawn on a terminal; in a pipe one row a line, aligned, with a head line.

        :param columns: the heads, in order.
        :param rows: as many cells a row as there are heads; None shows as ``-``.
        :param title: stands above the table.
        :param styles: for a head, what rich style a cell with that text takes (terminal only).
        :param whole: heads whose cells are never folded on a narrow terminal.
        """
        if self.json:
            return
        cells = [["-" if cell is None else printable(str(cell)) for cell in row] for row in rows]
        if not self.on_terminal:
            self._plain_table(columns, cells, title)
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            # Folding loses nothing; the default would cut long words off.
            table.add_column(column, overflow="fold", no_wrap=column in whole)
        for row in cells:
            drawn = []
            for column, cell in zip(columns, row, strict=True):
                choose = (styles or {}).get(column)
                drawn.append(Text(cell, style=(choose(cell) if choose else None) or ""))
            table.add_row(*drawn)
        _console(self.stream).print(table)

    def _plain_table(self, columns: Sequence[str], cells: list[list[str]], title: str | None) -> None:
        if title:
            self.stream.write(title + "\n")
        lines = [[head.upper() for head in columns], *cells]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        for line in lines:
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stream.write(text.rstrip() + "\n")

    def result(self, value: object) -> None:
        """Print the command's whole result as one JSON document (only under ``--json``)."""
        if self.json:
            self.stream.write(_as_json(value, indent=2) + "\n")

    def json_line(self, value: object) -> None:
        """Print one JSON object on one line, for commands that report as they go (only under ``--json``)."""
        if self.json:
            self.stream.write(_as_json(value) + "\n")
            self.stream.flush()


@dataclass(slots=True)
class ProgressTask:
    """One piece of long work; tells its bar how far it is, or nobody when there is no terminal."""

    _bars: Progress | None = None
    _task: int = 0

    def advance(self, steps: float = 1) -> None:
        """Move the bar on by ``steps`` (in the unit its total was given in)."""
        if self._bars is not None:
            self._bars.advance(self._bars.task_ids[self._task], steps)

    def set_total(self, total: float) -> None:
        """Say how long the work is, once that is known."""
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[self._task], total=total)

    def describe(self, text: str) -> None:
        """Change the words beside the bar."""
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[self._task], description=printable(text))


class ProgressBars:
    """A set of bars; without a terminal it draws nothing at all."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars

    def task(self, text: str, total: float | None = None) -> ProgressTask:
        """Add a bar; ``total`` in any unit, None while it is not known."""
        if self._bars is None:
            return ProgressTask()
        index = len(self._bars.task_ids)
        self._bars.add_task(printable(text), total=total)
        return ProgressTask(self._bars, index)


@contextmanager
def progress(output: Output, *, octets: bool = False) -> Iterator[ProgressBars]:
    """Show progress bars on standard error while the block runs, if a person is looking.

    :param output: the command's output; under ``--json`` there are no bars.
    :param octets: totals and steps are octets, shown as MB and MB/s.
    """
    if output.json or not sys.stderr.isatty():
        yield ProgressBars(None)
        return
    from rich import progress as rich_progress

    columns: list[rich_progress.ProgressColumn] = [
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
    ]
    if octets:
        columns += [rich_progress.DownloadColumn(), rich_progress.TransferSpeedColumn()]
    else:
        columns += [rich_progress.MofNCompleteColumn(), rich_progress.TimeElapsedColumn()]
    console = _console(sys.stderr)
    with rich_progress.Progress(*columns, console=console, transient=True) as bars:
        output._above_bars = console if output.on_terminal else None
        try:
            yield ProgressBars(bars)
        finally:
            output._above_bars = None


def print_error(
    message: str, what_to_do: str = "", stream: TextIO | None = None, *, warning: bool = False
) -> None:
    """Tell a person on standard error what went wrong (or, as a warning, might be) and what to do next."""
    target = stream or sys.stderr
    console = _console(target)
    head = ("warning", message, "bold yellow") if warning else ("error", message, "bold red")
    for prefix, text, style in (head, ("what to do", what_to_do, "bold")):
        if not text:
            continue
        from rich.text import Text

        first, *more = text.splitlines()
        line = Text.assemble((f"{prefix}: ", style), printable(first))
        console.print(line, soft_wrap=True)
        for further in more:
            console.print(Text(printable(further)), soft_wrap=True)
