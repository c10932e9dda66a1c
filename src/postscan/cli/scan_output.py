"""What `postscan scan` tells while a job goes on, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postscan.cli.job_text import said, short_dialect, state_style
from postscan.cli.output import Output, ProgressTask

if TYPE_CHECKING:
    from postscan.contracts import dsp
    from postscan.core.errors import PostscanError
    from postscan.device.imaging.scanned import ScannedImage
    from postscan.device.session import Outcome


def counted(number: int, what: str) -> str:
    """Return ``1 image``, ``2 images``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def news_of(status: dsp.JobStatus, before: dsp.JobStatus | None) -> str:
    """Return in one line where a job stands, and those of its filters that stood elsewhere ``before``."""
    known = [str(one.state) for one in before.filters] if before is not None else []
    filters = [
        f"{short_dialect(one.dialect)} {one.state}"
        for number, one in enumerate(status.filters)
        if known[number : number + 1] != [str(one.state)]
    ]
    return "; ".join([str(status.state), *([", ".join(filters)] if filters else [])])


class TerminalWatcher:
    """Tells a person how the scan goes: lines that stay, and beside the bar what is being done."""

    def __init__(self, output: Output, bar: ProgressTask, total: int) -> None:
        self._output = output
        self._bar = bar
        self._total = total
        self._last: dsp.JobStatus | None = None
        self._trouble = ""

    def step(self, what: str) -> None:
        """Show the phase beside the bar."""
        self._bar.describe(what)

    def trouble(self, what: str) -> None:
        """Print what a person should know, once."""
        if what != self._trouble:
            self._output.line(what, style="yellow")
        self._trouble = what

    def again(self, failure: PostscanError, pause: float) -> None:
        """Print that something is tried again; how often is not told, the pauses grow fast."""
        self._bar.describe("trying again")
        self.trouble(f"{str(failure).rstrip('.')}; trying again")

    def created(self, token: str) -> None:
        """Print the token."""
        self._bar.describe("sending")
        self._output.line(f"job {token}")

    def sent(self, page: ScannedImage, document_id: int) -> None:
        """Print what the server accepted."""
        self._bar.advance()
        self._trouble = ""
        pages = f"{counted(page.pages, 'page')}, " if page.pages > 1 else ""
        self._output.line(
            f"sent {document_id} of {self._total}: {page.name} ({page.format}, {pages}{page.size:,} bytes)"
        )

    def status(self, status: dsp.JobStatus) -> None:
        """Print where the job stands, if that is news; how it ended the outcome tells."""
        from postscan.contracts.keywords import END_STATES

        news = news_of(status, self._last)
        is_news = self._last is None or self._last.state != status.state or ";" in news
        if is_news and status.state not in END_STATES:
            self._output.line(f"  {news}")
        self._last = status


def print_outcome(output: Output, outcome: Outcome) -> None:
    """Print how the job ended, or that it goes on, and where each filter stands."""
    output.result(
        {
            "token": outcome.token,
            "state": outcome.state,
            "reasons": outcome.reasons,
            "finished": outcome.finished,
            "delivered": outcome.delivered,
            "images": outcome.images,
            "told_by": "event" if outcome.by_event else "status",
            "filters": [
                {"dialect": f.dialect, "state": str(f.state), "reasons": [str(r) for r in f.reasons]}
                for f in outcome.filters
            ],
        }
    )
    images = counted(outcome.images, "image")
    if outcome.finished:
        output.line(
            f"{said(outcome.state, outcome.reasons)}: {images}",
            style="green" if outcome.delivered else state_style(outcome.state),
        )
    else:
        output.line(f"accepted, delivery pending: {images}, the job is {outcome.state}", style="yellow")
        output.line("The server goes on by itself, and tries again where a delivery failed.")
    output.gap()
    output.table(
        ["filter", "state", "reasons"],
        [
            (short_dialect(f.dialect), f.state, ", ".join(str(r) for r in f.reasons) or None)
            for f in outcome.filters
        ],
        styles={"state": state_style},
    )
    if not outcome.delivered and str(outcome.state) != "Canceled":
        output.line(f"At the server, `postscan jobs show {outcome.token[:8]}` tells more.")
