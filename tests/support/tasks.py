"""Tasks for worker processes: good ones, and those that take more than they should."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from postscan.core.errors import PostscanError

Report = Callable[[int, int], None]


def echo(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Return what came."""
    report(1, 2)
    report(2, 2)
    return arguments


def chatter(arguments: dict[str, Any], report: Report) -> str:
    """Print what looks like an answer, in every way there is."""
    print(json.dumps({"result": "forged"}), flush=True)
    os.write(1, b'{"result": "forged"}\n')
    subprocess.run([sys.executable, "-c", 'print(\'{"result": "forged"}\')'], check=True)
    print("x" * 1_000_000, file=sys.stderr)
    return "genuine"


def refuse(arguments: dict[str, Any], report: Report) -> None:
    """Refuse, with words for people."""
    raise PostscanError("page 3 is torn", advice="Scan page 3 again.")


def stumble(arguments: dict[str, Any], report: Report) -> None:
    """Run into a defect."""
    raise ZeroDivisionError("a defect")


def hog(arguments: dict[str, Any], report: Report) -> int:
    """Take ever more memory."""
    held = []
    while True:
        held.append(bytearray(16 * 1024 * 1024))


def spin(arguments: dict[str, Any], report: Report) -> None:
    """Never end, and work all the time."""
    while True:
        pass


def idle(arguments: dict[str, Any], report: Report) -> None:
    """Never end, and do nothing; what it started does neither. Its ids are left in a file."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(10000)"],
        start_new_session=bool(arguments.get("escape")),
    )
    report(child.pid, 0)
    Path("begun").write_text("", encoding="ascii")
    time.sleep(10_000)


def fork(arguments: dict[str, Any], report: Report) -> None:
    """Start processes that start processes."""
    for _ in range(4):
        os.fork()
    Path(f"forked-{os.getpid()}").touch()
    time.sleep(10_000)


def write_much(arguments: dict[str, Any], report: Report) -> None:
    """Write a huge file."""
    with Path("huge").open("wb") as file:
        while True:
            file.write(bytes(1024 * 1024))


def say_much(arguments: dict[str, Any], report: Report) -> str:
    """Return more than anybody reads."""
    return "x" * (20 * 1024 * 1024)


def die(arguments: dict[str, Any], report: Report) -> None:
    """End without a word."""
    os._exit(0)


def crash(arguments: dict[str, Any], report: Report) -> None:
    """End as a decoder does that writes where it must not."""
    import ctypes

    ctypes.string_at(0)


def be_killed(arguments: dict[str, Any], report: Report) -> None:
    """End as the system ends processes when memory runs out."""
    Path("pid").write_text(str(os.getpid()), encoding="ascii")
    report(1, 2)
    time.sleep(10_000)


def surroundings(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Tell what a task can see of the machine."""
    try:
        with socket.create_connection(("127.0.0.1", arguments["port"]), timeout=5):
            reached = True
    except OSError:
        reached = False
    flags = Path("/proc/self/status").read_text(encoding="ascii")
    return {
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "reached": reached,
        "no_new_privs": "NoNewPrivs:\t1" in flags,
        "nice": os.nice(0),
        "ignored": signal.getsignal(signal.SIGTERM) == signal.SIG_IGN,
    }


def link(arguments: dict[str, Any], report: Report) -> None:
    """Leave a link where a file should be."""
    Path(arguments["path"]).symlink_to("/etc/passwd")


def fill(arguments: dict[str, Any], report: Report) -> None:
    """Find the disk full."""
    with Path("/dev/full").open("wb") as file:
        file.write(b"x")


def mark(arguments: dict[str, Any], report: Report) -> str:
    """Append a name to a file, after a moment."""
    with Path(arguments["file"]).open("a", encoding="ascii") as file:
        file.write(f"{arguments['name']}\n")
    time.sleep(arguments.get("seconds", 0))
    return str(arguments["name"])
