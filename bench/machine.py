"""What a benchmark ran on: without it, its figures mean nothing to others."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.toolbox import REPOSITORY, find_nginx

_LIBRARIES = ("postscan", "uvloop", "httptools", "lxml", "sqlalchemy")


def describe(work: Path) -> dict[str, str]:
    """Return name and value of everything that bears on the figures; ``work`` is where files are stored."""
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal:")), "")
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    load = os.getloadavg()[0]
    return {
        "processor": f"{cpu.partition(':')[2].strip() or platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{int(memory.split()[1]) / 1e6:.1f} GB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system(work),
        "load before": f"{load:.2f}" + (" (others are at work: figures are noisy)" if load > 0.5 else ""),
        "python": platform.python_version(),
        "nginx": _first_line([find_nginx() or "nginx", "-v"]).rpartition("/")[2],
        "gcc": _first_line(["gcc", "--version"]).rpartition(" ")[2],
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        "commit": _commit(),
    }


def file_system(folder: Path) -> str:
    """Return type and mount point of the file system that holds ``folder``."""
    folder = folder.resolve()
    best, kind = Path("/"), "unknown"
    for line in _lines("/proc/self/mounts"):
        _device, mount, mounted_kind, *_ = line.split()
        point = Path(mount.encode().decode("unicode_escape"))
        if folder.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, mounted_kind
    return f"{kind} at {best}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return (done.stdout or done.stderr).partition("\n")[0].strip() or "unknown"


def _commit() -> str:
    git = ["git", "-C", str(REPOSITORY)]
    commit = _first_line([*git, "rev-parse", "--short", "HEAD"])
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, check=False).returncode
    return f"{commit}, with local changes" if changed else commit
