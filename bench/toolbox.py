"""What the benchmarks are made with: Debian packages, C programs compiled here, folders, ports."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
NATIVE = Path(__file__).resolve().parent / "native"
OUT = Path(__file__).resolve().parent / "out"
_PROGRAMS = {
    "loadgen": ("loadgen.c", ["-lssl", "-lcrypto", "-lpthread"]),
    "rawdisk": ("rawdisk.c", ["-lpthread"]),
    "durable_rename.so": ("durable_rename.c", ["-shared", "-fPIC", "-ldl"]),
}


class BenchError(Exception):
    """A benchmark cannot run; the text says why and what to do."""


def find_nginx() -> str | None:
    """Return nginx's path; Debian keeps it where the PATH of ordinary users does not look."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def require_packages() -> None:
    """Make sure that compiler, OpenSSL headers and nginx are there; installs them when it may.

    :raises BenchError: something is missing still; names the Debian packages.
    """
    if not _missing():
        return
    subprocess.run(["sh", str(REPOSITORY / "tools" / "debian-packages"), "bench"], check=False)
    if missing := _missing():
        raise BenchError(f"missing {', '.join(missing)}: apt-get install {' '.join(missing)}")


def _missing() -> list[str]:
    there = {
        "gcc": shutil.which("gcc") is not None,
        "libc6-dev": Path("/usr/include/stdio.h").exists(),
        "libssl-dev": Path("/usr/include/openssl/ssl.h").exists(),
        "nginx-light": find_nginx() is not None,
    }
    return [package for package, found in there.items() if not found]


def compiled(name: str) -> Path:
    """Return a C program of bench/native, compiled anew when its source is newer.

    :raises BenchError: the compiler refused; with what it said.
    """
    source, flags = _PROGRAMS[name]
    program = OUT / "bin" / name
    sources = [NATIVE / source, NATIVE / "meter.h"]
    if program.exists() and program.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(program), str(sources[0]), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{source} does not compile:\n{done.stderr}")
    return program


def run_for_json(command: list[str], *, timeout: float) -> dict[str, Any]:
    """Run a load program and return what it printed.

    :raises BenchError: it failed, took longer than ``timeout`` seconds, or saw an error; with its words.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{Path(command[0]).name} took more than {timeout:.0f} s") from error
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise BenchError(f"{Path(command[0]).name} failed: {done.stderr.strip()}") from error
    if result["error"]:
        raise BenchError(f"{Path(command[0]).name}: {result['error']}")
    return result


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def emptied(folder: Path) -> None:
    """Make ``folder`` exist and hold nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def settle(folder: Path) -> None:
    """Write back everything the file system of ``folder`` still holds in memory.

    What one measurement left unwritten would be written during the next, at its cost.
    """
    subprocess.run(["sync", "-f", str(folder)], check=True)
