"""`python -m testdomain demo`: the whole system over a real Active Directory, with the commands anybody has.

Bring up a domain, join a scan server to it, and let two people sign in: one with a certificate, one with a
password. What is shown as a command is run just so, beside the controller, and what follows is what it says.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from postscan.cli.output import Output, quiet_logs
from testdomain.controller import Controller
from testdomain.demo_installation import Demonstration, install
from testdomain.errors import TestDomainError
from testdomain.facts import ALICE, BOB, DNS_DOMAIN, PROCESSES_DN, SERVICE, USERS
from testdomain.run import running

_READY_SECONDS: Final = 30.0
_COMMAND_SECONDS: Final = 120.0
_POSTSCAN: Final = (sys.executable, "-P", "-m", "postscan")
_FOR_STAFF: Final = "Staff archive"
_FOR_FINANCE: Final = "Invoices to Finance"
_DELIVERED: Final = 2
_FAULT: Final = re.compile(r"the server refused: (\w+): [^\[]*\[(.*)\]")


@dataclass(slots=True)
class _Demo:
    controller: Controller
    made: Demonstration
    output: Output
    # Who, how they signed in, what they wanted, what came of it, and whether that is right.
    results: list[tuple[str, str, str, str, bool]] = field(default_factory=list)

    def show(self, *arguments: str, at: Path, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a `postscan` command in a folder; print it and what it says, as a terminal would."""
        self.output.line(f"   $ postscan {shlex.join(arguments)}")
        done = self.controller.run([*_POSTSCAN, *arguments], cwd=at, input=typed, timeout=_COMMAND_SECONDS)
        for line in (done.stdout + done.stderr).rstrip().splitlines():
            self.output.line(f"   {line}".rstrip())
        self.output.gap()
        return done

    def must(self, *arguments: str, typed: str | None = None) -> None:
        """Show a command of the server's administrator; it has to succeed."""
        if self.show(*arguments, at=self.made.server, typed=typed).returncode != 0:
            raise TestDomainError(f"`postscan {shlex.join(arguments)}` failed")

    def note(self, user: str, signed_in: str, wanted: str, outcome: str, *, right: bool) -> None:
        """Remember a row of the table at the end."""
        self.results.append((user, signed_in, wanted, outcome, right))


def demo() -> bool:
    """Run the demo in a temporary folder; tell whether everything went as it should.

    :raises TestDomainError: no domain can be had here, or a command failed.
    """
    quiet_logs()
    output = Output()
    with tempfile.TemporaryDirectory(prefix="postscan-demo-ad-") as temporary:
        work = Path(temporary)
        output.heading("1. A domain, made for this demo")
        with running(work) as controller:
            output.line(
                f"   {DNS_DOMAIN}: Samba's Active Directory, in a network of its own, with {len(USERS)}"
            )
            output.line(f"   users; its scan processes are in {PROCESSES_DN}")
            output.gap()
            output.heading("2. A scan server that joins it")
            run = _Demo(controller, install(work, controller), output)
            run.must("secrets", "set", "directory.password", typed=SERVICE.password)
            run.must("directory", "check", "--user", ALICE.name, "--process", _FOR_FINANCE)
            run.must("directory", "publish-certificate")
            _lists(run)
            _by_certificate(run)
            _by_password(run)
            return _tell(run)


def _lists(run: _Demo) -> None:
    """Show what each may use: as the server finds by the rights, and as the directory lists for them."""
    output = run.output
    output.heading("3. Each sees only their own scan processes")
    with run.controller.namespace.inside():
        seen = {user: asyncio.run(run.made.listed(user)) for user in (ALICE, BOB)}
    names = sorted(set().union(*(one.by_rights for one in seen.values())))
    output.table(
        ["scan process", *(user.name for user in seen)],
        [(name, *("may use" if name in one.by_rights else None for one in seen.values())) for name in names],
    )
    output.gap()
    for user, one in seen.items():
        same = one.by_rights == one.as_listed
        said = "the directory lists what the server finds" if same else "THE DIRECTORY LISTS OTHERS"
        run.note(user.name, "password", "their list", said, right=same)


def _by_certificate(run: _Demo) -> None:
    """Let bob scan with his certificate, and ask for what he may not have."""
    output, made = run.output, run.made
    output.heading("4. Authenticated mode: a certificate says who somebody is")
    with _server(run, {}) as ready:
        output.line(f"   The scan server is at {ready['address']}")
        output.gap()
        mine = ["--cert", "bob.pem"]
        _scan(run, BOB.name, "certificate", _FOR_STAFF, *mine, at=made.server)
        _scan(
            run, BOB.name, "certificate", _FOR_FINANCE, *mine, at=made.server, refused="has no scan process"
        )
        output.line(f"   A device that asks for “{_FOR_FINANCE}” for bob all the same is told:")
        arguments = [ready["address"], made.ca, made.certificate(BOB), made.key(BOB), made.sid(BOB)]
        done = run.controller.run(
            [sys.executable, "-m", "testdomain.uninvited", *arguments, _FOR_FINANCE],
            cwd=Path(__file__).parents[1],
        )
        said = _last_line(done.stdout or done.stderr)
        output.line(f"     {said}")
        output.gap()
        right = done.returncode == 0 and "PSP_Identifier" in said
        run.note(BOB.name, "certificate", f"{_FOR_FINANCE}, uninvited", _shortly(said), right=right)
        hers = ["--user", ALICE.name, *mine]
        another = "The certificate is another user's"
        _scan(run, ALICE.name, "bob's certificate", _FOR_FINANCE, *hers, at=made.server, refused=another)


def _by_password(run: _Demo) -> None:
    """Let alice sign in with her password at a device that the server knows."""
    output, made = run.output, run.made
    output.heading("5. Unauthenticated mode: a device on the server's list vouches for whom it signed in")
    listed = json.dumps([hashlib.sha256(made.device_der()).hexdigest()])
    with _server(run, {"POSTSCAN_SERVER__MODE": "unauthenticated", "POSTSCAN_DEVICES__ALLOW": listed}):
        # The device knows the domain and its authority, and has a certificate; nothing else.
        known = ["--domain", DNS_DOMAIN, "--ca", "ca.pem", "--user", ALICE.name]
        own, other = ["--cert", "device.pem"], ["--cert", "other.pem"]
        right, wrong = ["--password-file", "alice.password"], ["--password-file", "wrong.password"]
        at = made.device
        _scan(run, ALICE.name, "password", _FOR_FINANCE, *known, *own, *right, at=at)
        _scan(run, ALICE.name, "wrong password", _FOR_FINANCE, *known, *own, *wrong, at=at, refused="wrong")
        _scan(run, ALICE.name, "other device", _FOR_FINANCE, *known, *other, *right, at=at, refused="list")


def _scan(
    run: _Demo, user: str, signed_in: str, process: str, *options: str, at: Path, refused: str = ""
) -> None:
    """Scan a page; ``refused`` is what the error has to say where it is to be refused."""
    done = run.show("scan", "page.tif", "--process", process, *options, at=at)
    error = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), "")
    right = done.returncode != 0 and refused in error if refused else done.returncode == 0
    run.note(user, signed_in, process, _shortly(error) or "delivered", right=right)


def _shortly(error: str) -> str:
    """Return an error without the standard sentence of a fault's reason."""
    return _FAULT.sub(r"server: \1 \2", error.removeprefix("error: "))


@contextmanager
def _server(run: _Demo, settings: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Run `postscan serve` beside the controller; yields what it says when it is ready."""
    log = run.made.server / "server.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            run.controller.namespace.command([*_POSTSCAN, "serve", "--json"]),
            cwd=run.made.server,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=run.controller.environment() | dict(settings),
        )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            process.wait(_READY_SECONDS)
            said = log.read_text(errors="replace").strip()[-2_000:]
            raise TestDomainError(f"the scan server did not start:\n{said}")
        yield json.loads(line)
    finally:
        process.terminate()
        process.wait(_READY_SECONDS)


def _last_line(text: str) -> str:
    return next(iter(reversed(text.strip().splitlines())), "nothing")


def _tell(run: _Demo) -> bool:
    output = run.output
    output.table(
        ["user", "signed in by", "asked for", "outcome", "right"],
        [(*row, "yes" if right else "NO") for *row, right in run.results],
        title="Outcomes",
        styles={"right": lambda cell: "green" if cell == "yes" else "bold red"},
    )
    output.gap()
    arrived = sorted(p for p in run.made.delivered.rglob("*") if p.is_file())
    output.table(
        ["bytes", "file"],
        [(f"{p.stat().st_size:>9,}", p.relative_to(run.made.server)) for p in arrived],
        title="Delivered files",
        whole=["bytes"],
    )
    output.gap()
    ok = all(right for *_, right in run.results) and len(arrived) == _DELIVERED
    output.line(
        f"{len(run.results)} attempts, {len(arrived)} files: "
        + ("all as it should be" if ok else "NOT as it should be"),
        style="green" if ok else "bold red",
    )
    return ok
