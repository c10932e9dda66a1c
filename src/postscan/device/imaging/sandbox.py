"""Runs what decodes pixels in a process of its own, with limits on memory, processor time and output.

A file that makes a decoder crash, loop or eat memory then costs one process and gives one clear error.
Requests and answers are JSON, images travel as files in a temporary folder: nothing the worker says is run.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from postscan.device.errors import ImageError
from postscan.device.imaging.limits import WorkerLimits

REQUEST_FILE, ANSWER_FILE = "request.json", "answer.json"


def run_limited(
    task: str, folder: Path, request: Mapping[str, object], *, limits: WorkerLimits | None = None
) -> dict[str, Any]:
    """Run one task of `postscan.device.imaging.worker` and return its answer.

    :param task: a key of the worker's TASKS.
    :param folder: an empty folder of the caller's, where the worker writes its files.
    :param request: the task's arguments, of what JSON can say.
    :raises ImageError: the task failed, or needed more than ``limits``.

    Blocks for as long as the work takes; from a coroutine call it in a thread (`asyncio.to_thread`).
    """
    limits = limits or WorkerLimits()
    (folder / REQUEST_FILE).write_text(
        json.dumps({"task": task, "arguments": dict(request), "limits": asdict(limits)})
    )
    # -P: a folder named `postscan` where the user happens to stand is not our package.
    command = [sys.executable, "-P", "-m", "postscan.device.imaging.worker", str(folder)]
    try:
        # The command is this interpreter and our own module.
        done = subprocess.run(  # noqa: S603 - no part of the command comes from outside
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=limits.wall,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _too_long() from error
    if done.returncode == -signal.SIGXCPU:
        raise _too_long()
    try:
        answer = json.loads((folder / ANSWER_FILE).read_bytes())
    except (OSError, ValueError) as error:
        last_words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise ImageError(
            f"The image could not be read: its decoder stopped (status {done.returncode}"
            + (f", {last_words})." if last_words else ")."),
            advice="The file is probably damaged: scan or copy the page again.",
        ) from error
    if "error" in answer:
        raise ImageError(str(answer["error"]), advice=answer.get("advice"))
    result: dict[str, Any] = answer["result"]
    return result


def _too_long() -> ImageError:
    return ImageError(
        "The image was given up: decoding it took too long.",
        advice="Split the document into smaller files, or scan at a lower resolution.",
    )
