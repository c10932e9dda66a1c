"""`postscan serve` as a process of its own that may be killed, and what devices were promised."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from postscan.contracts.keywords import END_STATES, JobState
from postscan.device.client import Patience
from support.scanning import Site

STUBBORN = Patience(pauses=(0.05,) * 600)


class Server:
    """A server of an installation; ``packages`` is a folder with packages that bring filters."""

    def __init__(self, site: Site, packages: Path | None = None) -> None:
        self._site = site
        self._environment = os.environ | ({"PYTHONPATH": str(packages)} if packages is not None else {})
        self._log = (site.made.folder / "server.log").open("ab")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it accepts jobs."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "postscan", "serve", "--json"),
            *("--config", str(self._site.made.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            env=self._environment,
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert b'"ready"' in line, self.log()[-3_000:]

    def log(self) -> str:
        return (self._site.made.folder / "server.log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def below(self) -> set[int]:
        """Return the processes that it, or one of them, has started and that still run."""
        return _below(self.pid)

    async def kill(self) -> None:
        """Kill it the hard way."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        status = await asyncio.wait_for(self._process.wait(), 30)
        self._log.close()
        return status


async def ended(site: Site, token: str, seconds: float = 120) -> JobState | str:
    """Wait until a job has ended; return its state."""
    async with site.device("alice", STUBBORN) as device, asyncio.timeout(seconds):
        while (status := await device.status(token)).state not in END_STATES:
            await asyncio.sleep(0.05)
    return status.state


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not asked how does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _below(pid: int) -> set[int]:
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            listed = {int(child) for child in children.read_text(encoding="ascii").split()}
        except OSError:
            continue
        found |= listed.union(*(_below(child) for child in listed))
    return found
