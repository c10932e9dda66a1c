"""Server processes under measurement: started, watched (memory, processor time), stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from bench.toolbox import BenchError

_TICKS = os.sysconf("SC_CLK_TCK")


class ServerProcess:
    """One server with whatever processes it forks; its output goes to a file."""

    def __init__(self, command: list[str], *, output: Path, env: Mapping[str, str]) -> None:
        self.output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=dict(env)
            )

    def wait_for_port(self, port: int, seconds: float = 20.0) -> None:
        """Return when something listens on the loopback ``port``; raises BenchError if nothing does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_alive()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise BenchError(f"nothing listens on port {port} after {seconds:.0f} s: {self.last_words()}")

    def wait_for_line(self, text: str, seconds: float = 30.0) -> str:
        """Return the first line of output with ``text`` in it; raises BenchError when none ever comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.output.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line
            self.check_alive()
            time.sleep(0.02)
        raise BenchError(f"not ready after {seconds:.0f} s: {self.last_words()}")

    def check_alive(self) -> None:
        """Raise BenchError when the server has ended, with what it said last."""
        if (code := self._process.poll()) is not None:
            raise BenchError(f"{self._process.args!r} ended with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of the output."""
        return self.output.read_text(encoding="utf-8", errors="replace")[-1000:].strip()

    def peak_memory(self) -> int:
        """Return the sum of the peaks of resident memory (VmHWM) of all its processes, in octets."""
        return sum(peak_memory(pid) for pid in self._pids())

    def own_peak_memory(self) -> int:
        """Return the peak of resident memory (VmHWM) of the server's first process alone, in octets."""
        return peak_memory(self._process.pid)

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, that all its processes have used."""
        ticks = 0
        for pid in self._pids():
            # The name in parentheses may hold anything: fields are counted from behind it (proc(5)).
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def stop(self, seconds: float = 15.0) -> None:
        """Ask it to stop, and end it when it does not."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _pids(self) -> list[int]:
        found, waiting = [], [self._process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting.extend(int(child) for child in children.read_text(encoding="ascii").split())
        return found


def peak_memory(pid: int) -> int:
    """Return the peak of resident memory (VmHWM) of one process alone, in octets."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
