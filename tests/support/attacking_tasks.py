"""Tasks of a decoder that a page has taken over: what it could try against the server and other jobs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Report = Callable[[int, int], None]


def read(arguments: dict[str, Any], report: Report) -> dict[str, str]:
    """Try to read files; return what each says, or what kept it."""
    return {
        path: _tried(lambda path=path: Path(path).read_text("utf-8", "replace")) for path in _texts(arguments)
    }


def write(arguments: dict[str, Any], report: Report) -> dict[str, str]:
    """Try to spoil files: to write over them, remove them, rename them, and put a second name to them."""
    found: dict[str, str] = {}
    for text in _texts(arguments):
        path = Path(text)
        found[f"over {text}"] = _tried(lambda path=path: str(path.write_text("spoiled", "utf-8")))
        found[f"away {text}"] = _tried(lambda path=path: str(path.unlink()))
        found[f"here {text}"] = _tried(lambda path=path: str(path.rename("mine")))
        found[f"link {text}"] = _tried(lambda path=path: str(Path("second").hardlink_to(path)))
        found[f"new {text}"] = _tried(lambda path=path: str(path.with_name("new").touch(exist_ok=False)))
    return found


def connect(arguments: dict[str, Any], report: Report) -> str:
    """Try to reach a server by its socket's path."""

    def reach() -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(arguments["path"])
        return "reached"

    return _tried(reach)


def descriptors(arguments: dict[str, Any], report: Report) -> list[str]:
    """Tell what is open here."""
    found = []
    for entry in sorted(Path("/proc/self/fd").iterdir()):
        try:
            found.append(str(entry.readlink()))
        except OSError:
            continue
    return found


def say(arguments: dict[str, Any], report: Report) -> None:
    """Say a line that the server does not expect, by the channel that answers go through."""
    line = arguments["line"].encode()
    for number in range(3, 64):
        try:
            if Path(f"/proc/self/fd/{number}").readlink().name.startswith("pipe:"):
                os.write(number, line + b"\n")
        except OSError:
            continue
    time.sleep(10_000)


def say_without_end(arguments: dict[str, Any], report: Report) -> None:
    """Tell of progress for ever."""
    while True:
        report(1, 2)


def stay(arguments: dict[str, Any], report: Report) -> str:
    """Leave something that lives on, ignores signals, and changes the file after the answer."""
    program = (
        "import signal, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path('staying').touch()\n"
        "while True:\n"
        "    time.sleep(0.05)\n"
        "    pathlib.Path('made.pdf').write_text('changed')\n"
    )
    Path("made.pdf").write_text("as it was", encoding="ascii")
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
        os._exit(0)
    while not Path("staying").exists():
        time.sleep(0.01)
    return "done"


def litter(arguments: dict[str, Any], report: Report) -> int:
    """Leave many files and folders."""
    for number in range(arguments["count"]):
        Path(f"litter-{number}").touch()
    deep = Path()
    for _ in range(200):
        deep = deep / "d"
        deep.mkdir()
    return int(arguments["count"])


def import_here(arguments: dict[str, Any], report: Report) -> str:
    """Tell where a module that lies in the working folder, too, was taken from."""
    import colorsys

    return json.dumps([colorsys.__file__, "poisoned" in os.environ])


def _texts(arguments: dict[str, Any]) -> Iterator[str]:
    yield from arguments["paths"]


def _tried(call: Callable[[], str]) -> str:
    try:
        return call()
    except OSError as error:
        return f"kept: {type(error).__name__}"
