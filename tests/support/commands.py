"""Commands as a user runs them: real processes, in an installation of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from postscan.cli.installation import Installation
from support.scanning import free_port, make_installation

PROGRAM = (sys.executable, "-P", "-m", "postscan")
# Nothing here takes long; this is for the day when something hangs.
SECONDS = 60


def environment(**changes: str) -> dict[str, str]:
    """Return the environment for a command: no settings from outside, and what the test wants."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("POSTSCAN_")}
    return {**bare, **changes}


def postscan(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**(env or {})),
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def started(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a command whose lines are read as they come; it does not outlive the block."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(**(env or {})),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_with(process: subprocess.Popen[str], words: str) -> str:
    """Read until a line has these words, and return it."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    assert process.stderr is not None
    raise AssertionError(f"ended without saying {words!r}: {process.stderr.read()}")


def interrupt(process: subprocess.Popen[str], by: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    """Press Ctrl-C, or send another signal; return exit status and what else was said."""
    process.send_signal(by)
    said, complained = process.communicate(timeout=SECONDS)
    return process.returncode, said, complained


@dataclass
class Desk:
    """An installation, and commands that are told to use it."""

    made: Installation

    @property
    def config(self) -> Path:
        """The settings."""
        return self.made.config

    @property
    def invoices(self) -> Path:
        """Where the scan process Invoices delivers."""
        return self.made.folder / "delivered" / "invoices"

    def delivered(self) -> list[Path]:
        """Return what arrived as invoices."""
        return sorted(path for path in self.invoices.rglob("*") if path.is_file())

    def run(self, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command with this installation's settings."""
        return postscan(*arguments, "--config", self.config, env=env)

    def scan(self, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        """Scan as alice with the process Invoices."""
        return self.run("scan", *arguments, "--process", "Invoices", "--user", "alice", **env)

    def jobs(self, *arguments: object) -> Any:
        """Return what `postscan jobs ... --json` answers."""
        done = self.run("jobs", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def serving(self, **env: str) -> Iterator[subprocess.Popen[str]]:
        """Run the server while the block runs."""
        with started("serve", "--json", "--config", self.config, env=env) as process:
            line_with(process, '"ready"')
            yield process


def stop(server: subprocess.Popen[str]) -> tuple[int, str]:
    """Tell a server to stop; return its exit status and its log."""
    server.send_signal(signal.SIGTERM)
    _, log = server.communicate(timeout=SECONDS)
    return server.returncode, log


def make_desk(folder: Path, **overrides: Mapping[str, Any]) -> Desk:
    """Make an installation on loopback; a failed delivery is tried again after a second."""
    settings: dict[str, Mapping[str, Any]] = {
        "retry": {"first_seconds": 1},
        "server": {"log_level": "INFO"},
        **overrides,
    }
    return Desk(make_installation(folder, **settings))


def draw_page(path: Path, mode: str = "L") -> Path:
    """Write a small picture whose kind the name tells."""
    Image.new(mode, (120, 160), "white").save(path, dpi=(100, 100))
    return path


__all__ = [
    "Desk",
    "draw_page",
    "environment",
    "free_port",
    "interrupt",
    "line_with",
    "make_desk",
    "postscan",
    "started",
    "stop",
]
