"""`postscan demo`: the whole system at work, on this machine, in a temporary folder."""

from __future__ import annotations

import asyncio
import ctypes
import json as json_text
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postscan.cli.admin_client import AdminClient
from postscan.cli.exit_codes import ExitCode
from postscan.cli.job_text import said, short_dialect, state_style
from postscan.cli.options import JsonOption
from postscan.cli.output import Output, quiet_logs
from postscan.core.errors import PostscanError

if TYPE_CHECKING:
    from postscan.cli.installation import Installation
    from postscan.contracts import dsp
    from postscan.device.imaging.scanned import ScannedImage
    from postscan.device.session import Outcome

app = typer.Typer(rich_markup_mode=None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_READY_SECONDS = 20.0
_OUTCOME_SECONDS = 60.0


class DemoFailed(PostscanError):
    """The demo did not do what it is to show."""

    advice = "Run it with --stay and look at server.log in its folder; please report what it says."


@dataclass(frozen=True, slots=True)
class DemoJob:
    """One walk-up scan of the demo."""

    title: str
    user: str
    process: str
    pages: Sequence[ScannedImage]
    cancel_after: int | None = None


@dataclass
class _Result:
    job: DemoJob
    outcome: Outcome
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


@app.command()
def demo(
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep the server running afterwards, until Ctrl-C.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Work here and leave everything; empty or absent."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """See the whole system work: server, device and directory, over HTTPS, on this machine.

    Makes an installation in a temporary folder, starts the scan server, draws pages at 300 dpi, and scans
    four jobs as two users, one of them canceled midway. Ends with a table of the jobs, their filters and
    the files that arrived. Nothing outside the folder is touched; it is removed at the end, unless --stay
    or --folder keeps it.

    Exit status: 0 when every job ended as it should, 6 when one did not.
    """
    quiet_logs()
    # Being told to stop is no reason to leave a server and a folder behind.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    output = Output(json)
    if folder is not None:
        ok = asyncio.run(_demo(folder, output, stay))
    else:
        with tempfile.TemporaryDirectory(prefix="postscan-demo-") as temporary:
            ok = asyncio.run(_demo(Path(temporary) / "postscan", output, stay))
    if not ok:
        raise typer.Exit(ExitCode.JOB_NOT_COMPLETED)


async def _demo(folder: Path, output: Output, stay: bool) -> bool:
    from postscan.cli.installation import InstallationPlan, create_installation

    began = time.monotonic()
    port, metrics_port = _free_ports(2)
    made = create_installation(
        InstallationPlan(
            folder=folder,
            fqdn="localhost",
            listen=f"127.0.0.1:{port}",
            domain="example.com",
            # One machine: the device's event sink is on loopback, which is refused everywhere else.
            overrides={
                "eventing": {"allow_loopback": True},
                "server": {"metrics_listen": f"127.0.0.1:{metrics_port}"},
            },
        )
    )
    output.heading(f"1. An installation in {made.folder}")
    output.line(f"   users {', '.join(u.name for u in made.users)}; scan processes "
                f"{', '.join(f'“{p.display_name}”' for p in made.processes)}")  # fmt: skip
    async with AsyncExitStack() as stack:
        ready = await stack.enter_async_context(_server(folder))
        output.heading(f"2. The scan server, at {ready['address']}")
        output.line(f"   WS-DSP: {ready['services']['WS-DSP']}")
        output.heading("3. Pages, drawn at 300 dpi")
        jobs = await _draw_jobs()
        output.line(f"   {sum(len(j.pages) for j in jobs)} documents, "
                    f"{sum(p.size for j in jobs for p in j.pages):,} bytes")  # fmt: skip
        output.heading("4. Walk-up scans")
        results = [await _scan(job, ready["address"], made, output) for job in jobs]
        admin = AdminClient(folder / "data")
        for result in results:
            result.facts = await admin.find(result.outcome.token)
        _tell(output, results, made, time.monotonic() - began)
        if stay:
            await _stay(output, made, results[0].facts["token"])
    return all(_as_expected(result) for result in results)


def _free_ports(count: int) -> list[int]:
    import socket

    with_ports = [socket.socket() for _ in range(count)]
    try:
        for one in with_ports:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in with_ports]
    finally:
        for one in with_ports:
            one.close()


def _end_with_parent() -> None:
    """Have the kernel stop this process when the demo is gone, even if that was killed (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Run `postscan serve` as its own process; yields what it says when it is ready."""
    log = (folder / "server.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        # Whatever lies in the current folder is not to be taken for a module.
        "-P",
        "-m",
        "postscan",
        "serve",
        "--json",
        "--config",
        str(folder / "server.toml"),
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        # Ctrl-C is for the demo, which then stops its server.
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    log.close()
    assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
    try:
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _READY_SECONDS)
        except TimeoutError as error:
            raise DemoFailed("the scan server did not become ready") from error
        if not line:
            await process.wait()
            said = (folder / "server.log").read_text(errors="replace").strip()[-2_000:]
            raise DemoFailed(f"the scan server did not start:\n{said}")
        yield json_text.loads(line)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _draw_jobs() -> list[DemoJob]:
    return await asyncio.to_thread(_draw_jobs_now)


def _draw_jobs_now() -> list[DemoJob]:
    from postscan.device import pages

    return [
        DemoJob("a letter of three pages, G4 TIFF", "alice", "Scan to my folder", _letter(3)),
        DemoJob("an invoice, PDF/A", "alice", "Invoices", (pages.as_pdf_a([pages.text_page(7)], "invoice"),)),
        DemoJob(
            "photos and a report, JPEG and PNG, to two places",
            "bob",
            "Archive (two places)",
            (
                pages.as_jpeg(pages.photo_page(1), "photo 1"),
                pages.as_jpeg(pages.photo_page(2), "photo 2"),
                pages.as_png(pages.mixed_page(3), "report"),
            ),
        ),
        DemoJob("a letter that is called back", "bob", "Scan to my folder", _letter(4), cancel_after=2),
    ]


def _letter(count: int) -> tuple[ScannedImage, ...]:
    from postscan.device import pages

    return tuple(pages.as_g4(pages.text_page(n), f"page {n}") for n in range(1, count + 1))


class _DemoWatcher:
    """Prints what the user sees at the panel; the events' states as one line, in the order they came."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.states: list[str] = []

    def step(self, what: str) -> None:
        """Phases pass too fast here to be shown."""

    def trouble(self, what: str) -> None:
        """Print what went wrong."""
        self._output.line(f"     {what}", style="yellow")

    def again(self, failure: PostscanError, pause: float) -> None:
        """Print that something is tried again."""
        self.trouble(f"{failure}; trying again in {pause:g} s")

    def created(self, token: str) -> None:
        """Print the token."""
        self._output.line(f"     job {token}")

    def sent(self, page: ScannedImage, document_id: int) -> None:
        """Print what the server accepted."""
        self._output.line(f"     sent {page.name:<9} {page.format:<15} {page.size:>9,} bytes")

    def status(self, status: dsp.JobStatus) -> None:
        """Remember a state that is news."""
        if self.states[-1:] != [str(status.state)]:
            self.states.append(str(status.state))


async def _scan(job: DemoJob, address: str, made: Installation, output: Output) -> _Result:
    from postscan.device.client import ScanServerClient, client_context
    from postscan.device.session import ScanSession
    from postscan.directory.embedded import EmbeddedDirectory

    pki = made.folder / "pki"
    own = pki / "users" / f"{job.user}.pem"
    directory = EmbeddedDirectory(made.folder / "directory", domain=None)
    user = await directory.user_by_name(job.user)
    if user is None:
        raise DemoFailed(f"the directory does not know {job.user}")
    granted = {p.display_name: p for p in await directory.processes_for(user)}
    output.line(f"   {job.user} scans {job.title}: “{job.process}”, one of {len(granted)} to choose from")
    began = time.monotonic()
    tls = client_context(pki / "ca.pem", own, own.with_suffix(".key"))
    watcher = _DemoWatcher(output)
    async with ScanServerClient(address, tls=tls, on_retry=watcher.again) as client:
        session = ScanSession(client, user, watcher, sink_address="127.0.0.1")
        outcome = await session.run(
            granted[job.process],
            _stream(job.pages),
            wait_seconds=_OUTCOME_SECONDS,
            cancel_after=job.cancel_after,
        )
    output.line(f"     told by events: {', '.join(watcher.states)}")
    filters = ", ".join(f"{short_dialect(f.dialect)} {f.state}" for f in outcome.filters)
    output.line(
        f"     outcome, by {'an event' if outcome.by_event else 'asking'}:"
        f" {said(outcome.state, outcome.reasons)}; {filters}",
        style=state_style(outcome.state),
    )
    return _Result(job, outcome, time.monotonic() - began)


async def _stream(pages: Sequence[ScannedImage]) -> AsyncIterator[ScannedImage]:
    for page in pages:
        yield page


def _as_expected(result: _Result) -> bool:
    if result.job.cancel_after is not None:
        return result.outcome.state == "Canceled"
    places = [place for run in result.facts["filters"] for place in run["destinations"]]
    everywhere = all(len(place["delivered"]) == len(result.job.pages) for place in places)
    return result.outcome.delivered and bool(places) and everywhere


def _tell(output: Output, results: list[_Result], made: Installation, seconds: float) -> None:
    output.gap()
    output.table(
        ["job", "user", "process", "images", "state", "seconds"],
        [
            (
                result.facts["token"][:8],
                result.facts["user"]["upn"],
                result.facts["process"]["name"],
                result.facts["images"],
                result.facts["state"],
                f"{result.seconds:.1f}",
            )
            for result in results
        ],
        title="Jobs",
        styles={"state": state_style},
    )
    output.gap()
    output.table(
        ["job", "filter", "state", "destination", "delivery", "files"],
        [
            (
                result.facts["token"][:8],
                short_dialect(run["dialect"]),
                run["state"],
                _below(place["label"], made.folder),
                place["state"],
                len(place["delivered"]),
            )
            for result in results
            for run in result.facts["filters"]
            for place in run["destinations"]
        ],
        title="Filters and destinations",
        styles={"state": state_style, "delivery": state_style},
    )
    output.gap()
    arrived = sorted(p for p in (made.folder / "delivered").rglob("*") if p.is_file())
    output.table(
        ["bytes", "file"],
        [(f"{p.stat().st_size:>9,}", p.relative_to(made.folder)) for p in arrived],
        title="Delivered files",
        whole=["bytes"],
    )
    output.gap()
    output.result(
        {
            "seconds": round(seconds, 2),
            "folder": made.folder,
            "jobs": [result.facts for result in results],
            "files": [{"name": p.relative_to(made.folder), "bytes": p.stat().st_size} for p in arrived],
        }
    )
    ok = all(_as_expected(result) for result in results)
    output.line(
        f"{len(results)} jobs, {len(arrived)} files, {seconds:.1f} s: "
        + ("all as it should be" if ok else "NOT as it should be"),
        style="green" if ok else "bold red",
    )


def _below(label: str, folder: Path) -> str:
    return label.replace(f"file://{folder}/", "").replace(f"{folder}/", "")


async def _stay(output: Output, made: Installation, token: str) -> None:
    config = str(made.config)
    page = next(p for p in sorted((made.folder / "delivered").rglob("*")) if p.is_file())
    output.line()
    output.line("The server stays. From another terminal:")
    for command in (
        ["postscan", "jobs", "list", "--config", config],
        ["postscan", "jobs", "show", token[:8], "--config", config],
        ["postscan", "scan", str(page), "--process", "Scan to my folder", "--user", "alice",
         "--config", config],
        ["postscan", "config", "check", "--config", config],
    ):  # fmt: skip
        output.line(f"  {shlex.join(command)}")
    output.line("Ctrl-C ends it.")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
