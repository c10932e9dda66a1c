"""`python -m testservers demo`: scans delivered to a share, by mail and to a library, come what may.

Real servers are started for it: Samba, Postfix and Apache. A scan process makes one searchable PDF/A of a
job's pages and delivers it to all three; then each of the three goes away during a run and comes back. What
is shown as a command is run just so, and what follows is what it says.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from postscan.cli.admin_client import AdminClient
from postscan.cli.job_text import short_dialect
from postscan.cli.output import Output, quiet_logs
from testservers import demo_installation, found
from testservers.demo_installation import PAGES, PROCESS, USER, Demonstration, Servers
from testservers.webserver import Logon

_POSTSCAN: Final = (sys.executable, "-P", "-m", "postscan")
_COMMAND_SECONDS: Final = 300.0
_READY_SECONDS: Final = 60.0
_JOB_SECONDS: Final = 180.0
_PAUSE: Final = 0.1
_DELIVERIES: Final = ("fileshare", "email", "sharepoint")
_FEWEST_WORDS: Final = 150


class DemoFailed(Exception):
    """The demo could not go on; the message says why."""


@dataclass(frozen=True, slots=True)
class _Outage:
    """A server goes away (``away``, before the pages are scanned), and comes back when that was noticed.

    ``broken`` is done between: once the others have their files, while this delivery is under way.
    """

    title: str
    filter: str
    words: str
    away: Callable[[], None]
    back: Callable[[], None]
    broken: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """One scan: which server was away, if any, and the job as it stands at its end."""

    title: str
    away: str
    words: str
    job: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long the job took once its last page was in."""
        ended, completed = (datetime.fromisoformat(self.job[key]) for key in ("ended", "completed"))
        return (completed - ended).total_seconds()

    def place(self, filter_: str) -> dict[str, Any]:
        """Return the one destination of a filter."""
        for run in self.job["filters"]:
            if short_dialect(run["dialect"]) == filter_:
                destination: dict[str, Any] = run["destinations"][0]
                return destination
        raise LookupError(filter_)


@dataclass(slots=True)
class _Demo:
    made: Demonstration
    servers: Servers
    output: Output
    runs: list[_Run] = field(default_factory=list)

    def show(self, *arguments: str, typed: str | None = None) -> None:
        """Run a `postscan` command in the installation; print it and what it says. It has to succeed."""
        self.output.line(f"   $ postscan {shlex.join(arguments)}")
        done = self.run(*arguments, typed=typed)
        for line in (done.stdout + done.stderr).rstrip().splitlines():
            self.output.line(f"   {line}".rstrip())
        self.output.gap()
        if done.returncode != 0:
            raise DemoFailed(f"`postscan {shlex.join(arguments)}` ended with status {done.returncode}")

    def run(self, *arguments: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a `postscan` command in the installation."""
        return subprocess.run(
            [*_POSTSCAN, *arguments],
            cwd=self.made.folder,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
        )

    def scan(self, *, wait: bool) -> str:
        """Scan the pages; return the job's token."""
        names = [path.name for path in self.made.pages]
        arguments = ["scan", *names, "--process", PROCESS, "--user", USER]
        if wait:
            self.show(*arguments)
        else:
            done = self.run(*arguments, "--wait", "0")
            if done.returncode != 0:
                raise DemoFailed(f"the scan was not accepted: {done.stderr.strip()}")
        token: str = self.ask("/jobs?limit=1")[0]["token"]
        return token

    def ask(self, path: str) -> Any:
        """Ask the scan server as `postscan jobs` does."""
        return asyncio.run(AdminClient(self.made.folder / "data").ask("GET", path))

    def until(self, token: str, condition: Callable[[_Run], bool], what: str) -> _Run:
        """Wait until a job is as it should be, and return it."""
        end = time.monotonic() + _JOB_SECONDS
        while True:
            run = _Run("", "", "", self.ask(f"/jobs/{token}"))
            if condition(run):
                return run
            if run.job["state"] in ("Completed", "Aborted", "Canceled") or time.monotonic() > end:
                raise DemoFailed(f"the job is {run.job['state']}, but not: {what}")
            time.sleep(_PAUSE)


def demo() -> bool:
    """Run the demo in a temporary folder; tell whether everything went as it should.

    :raises DemoFailed: this machine lacks something, or a command failed.
    """
    quiet_logs()
    lacking = demo_installation.missing()
    if lacking:
        raise DemoFailed(f"this machine lacks: {'; '.join(lacking)}")
    output = Output()
    with tempfile.TemporaryDirectory(prefix="postscan-demo-delivery-") as temporary:
        work = Path(temporary)
        work.chmod(0o755)  # the servers have accounts of their own
        output.heading("1. Three servers, made for this demo")
        with demo_installation.running(work / "servers") as servers:
            output.line(f"   Samba at port {servers.files.port}, Postfix at {servers.mail.port}, and Apache,")
            output.line(f"   as SharePoint's WebDAV, at {servers.web.origin(Logon.BASIC)}")
            output.gap()
            run = _Demo(demo_installation.install(work / "postscan", servers), servers, output)
            _prepare(run)
            with _server(run):
                _prove(run)
                _deliver(run)
                for outage in _outages(servers):
                    _deliver_through(run, outage)
                return _tell(run)


def _prepare(run: _Demo) -> None:
    run.output.heading("2. A scan server that knows them")
    for name, secret in demo_installation.secrets(run.servers).items():
        run.show("secrets", "set", name, typed=f"{secret}\n")
    run.show("processes", "validate", "letters.xml")


def _prove(run: _Demo) -> None:
    run.output.heading("3. Every destination is tried, before anybody scans")
    run.show("processes", "test", PROCESS, "--user", USER)


def _deliver(run: _Demo) -> None:
    run.output.heading(f"4. {PAGES} pages, to three places")
    token = run.scan(wait=True)
    run.show("jobs", "show", token[:8])
    job = run.until(token, _is_completed, "completed").job
    run.runs.append(_Run("all there", "", "", job))


def _outages(servers: Servers) -> tuple[_Outage, ...]:
    files, mail, web = servers.files, servers.mail, servers.web
    return (
        _Outage(
            "Samba is killed while a delivery waits for its answer",
            "fileshare",
            "killed in mid-delivery",
            files.freeze,
            files.start,
            files.kill,
        ),
        _Outage(
            "Postfix is stopped, and started again", "email", "stopped, started again", mail.stop, mail.start
        ),
        _Outage(
            "Apache is killed, and started again", "sharepoint", "killed, started again", web.kill, web.start
        ),
    )


def _deliver_through(run: _Demo, outage: _Outage) -> None:
    output = run.output
    output.heading(f"{4 + len(run.runs)}. {outage.title}")
    others = [name for name in _DELIVERIES if name != outage.filter]
    outage.away()
    try:
        token = run.scan(wait=False)
        output.line(f"   {PAGES} pages scanned: job {token[:8]}")
        now = run.until(token, lambda job: all(_is_there(job, name) for name in others), "the others have it")
        said = ", ".join(f"{name} {now.place(name)['state']}" for name in _DELIVERIES)
        output.line(f"   job {now.job['state']}: {said}")
        if outage.broken is not None:
            outage.broken()
        now = run.until(token, lambda job: bool(job.place(outage.filter)["attempts"]), "it waits")
        place = now.place(outage.filter)
        output.line(f"   {outage.filter} {place['state']}: {place['last_error']}")
    finally:
        outage.back()
    output.line("   the server is started again")
    job = run.until(token, _is_completed, "completed").job
    run.runs.append(_Run(outage.title, outage.filter, outage.words, job))
    output.line(f"   job {job['state']} ({', '.join(job['reasons'])})")
    output.gap()


def _is_completed(run: _Run) -> bool:
    return bool(run.job["state"] == "Completed")


def _is_there(run: _Run, filter_: str) -> bool:
    return bool(run.place(filter_)["state"] == "Delivered")


@contextmanager
def _server(run: _Demo) -> Iterator[dict[str, Any]]:
    """Run `postscan serve`; yields what it says when it is ready."""
    log = run.made.folder / "server.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*_POSTSCAN, "serve", "--json"],
            cwd=run.made.folder,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=os.environ,
            # Ctrl-C is for the demo, which then stops its server.
            start_new_session=True,
        )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            process.wait(_READY_SECONDS)
            said = log.read_text(errors="replace").strip()[-2_000:]
            raise DemoFailed(f"the scan server did not start:\n{said}")
        yield json.loads(line)
    finally:
        process.terminate()
        process.wait(_READY_SECONDS)


def _tell(run: _Demo) -> bool:
    """Print what was delivered where, and whether it is there once; tell whether all is right."""
    output = run.output
    arrived = found.everything(run.servers)
    copies = Counter((one.filter, one.place, Path(one.name).name) for one in arrived)
    rows: list[tuple[object, ...]] = []
    ok = True
    for each in run.runs:
        hashes: set[str] = set()
        for name in _DELIVERIES:
            place = each.place(name)
            files = place["delivered"]
            mine = [one for one in arrived if one.filter == name and Path(one.name).name in _names(files)]
            hashes.update(one.sha256 for one in mine)
            wanted = 2 if name == "email" else 1
            once = len(mine) == wanted and all(
                copies[one.filter, one.place, Path(one.name).name] == 1 for one in mine
            )
            same = all(one.size == file["size"] for one in mine for file in files)
            right = once and same and len(files) == 1 and place["state"] == "Delivered"
            ok = ok and right
            rows.append(
                (
                    each.job["token"][:8],
                    name,
                    each.words if each.away == name else "running",
                    place["attempts"],
                    f"{each.seconds:.1f}",
                    ", ".join(sorted(_names(files))),
                    f"{files[0]['size']:,}" if files else None,
                    "yes" if right else "NO",
                )
            )
        ok = ok and len(hashes) == 1
    output.table(
        ["job", "filter", "server", "failed tries", "job's seconds", "file", "bytes", "complete, once"],
        rows,
        title="Destinations",
        styles={"complete, once": lambda cell: "green" if cell == "yes" else "bold red"},
    )
    output.gap()
    pdfs = {one.sha256: one.content for one in arrived}
    words = [len(found.text_of(content).split()) for content in pdfs.values()]
    ok = ok and len(pdfs) == len(run.runs) and len(arrived) == 4 * len(run.runs)
    ok = ok and all(number >= _FEWEST_WORDS for number in words)
    output.line(
        f"{len(run.runs)} jobs of {PAGES} pages, {len(arrived)} files of {len(pdfs)} different contents;"
        f" pdftotext finds {', '.join(map(str, words))} words: "
        + ("all as it should be" if ok else "NOT as it should be"),
        style="green" if ok else "bold red",
    )
    return ok


def _names(files: list[dict[str, Any]]) -> set[str]:
    return {Path(file["name"]).name for file in files}
