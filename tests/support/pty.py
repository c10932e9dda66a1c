"""Commands at a terminal, where a person types what is not shown."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from collections.abc import Mapping, Sequence

SECONDS = 60


def typed(words: Sequence[str], lines: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """Run a command at a terminal and type one line at each prompt; return its status and what was shown."""
    ours, theirs = pty.openpty()
    # What the terminal echoes is shown as well, unless the command turns that off.
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(env), start_new_session=True
    ) as command:
        os.close(theirs)
        shown, waiting = b"", list(lines)
        try:
            while chunk := _read(ours):
                shown += chunk
                if waiting and shown.endswith(b": ") and not _echoes(ours):
                    os.write(ours, waiting.pop(0).encode() + b"\n")
                    shown += b"\n"
            return command.wait(SECONDS), shown.decode()
        finally:
            command.kill()
            os.close(ours)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4_096)
    except OSError:  # EIO: the other side is closed
        return b""


def _echoes(terminal: int) -> bool:
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
