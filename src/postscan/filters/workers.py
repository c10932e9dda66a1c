"""Runs what decodes images in processes of their own: the server's side (the other is ``worker_main``).

A process for each piece of work, ended when it takes too much, and never more of them at once than the
settings say. Jobs take turns: a job of a thousand pages does not keep one of a single page waiting.

What a worker says is input like any other. It is read as JSON of bounded length, and a file it leaves is
looked at (``made_file``) before anybody opens it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import sys
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from postscan.core.log import MAX_FIELD, get_logger
from postscan.filters.contract import JsonValue, WorkFailed, WorkLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_log = get_logger("filters")
_TASK: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_OUR_FILTERS: Final = "postscan.filters"
_LONGEST_LINE: Final = 8 * 1024 * 1024
_KEPT_WORDS: Final = 8 * 1024
_KEPT_NAME: Final = 32
_LONGEST_TEXT: Final = 1_000
_MOST: Final = 10**9
# What administrators may have set for Tesseract and fonts; the rest of the environment stays here.
_HANDED_ON: Final = ("PATH", "TZ", "TESSDATA_PREFIX", "FONTCONFIG_FILE", "FONTCONFIG_PATH")
_SECONDS_TO_END: Final = 10.0
_LIMIT_WORDS: Final = {
    "seconds": "took longer than {seconds:,.0f} s",
    "cpu_seconds": "needed more than {cpu_seconds:,} s of the processor",
    "memory_bytes": "needed more than {memory:,} MB of memory",
    "file_bytes": "wrote a file of more than {file:,} MB",
}
_LIMIT_ADVICE: Final = (
    "Scan at a lower resolution or in smaller jobs, or raise the limits under [processing]; the original"
    " images are kept."
)


class TaskRefused(WorkFailed):
    """The work itself refused, with an error of its own that says why: an image is broken, for example."""


class WorkerDied(WorkFailed):
    """The process ended without an answer; ``signal`` is what ended it, None when it went by itself.

    SIGKILL that did not come from here is the system's way to make room when memory runs out: that heals.
    """

    def __init__(self, message: str, *, ended_by: int | None) -> None:
        super().__init__(message)
        self.signal = ended_by


class NoRoom(WorkFailed):
    """The disk is full."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How many pieces of work run at once (None: as many as there are processors), and their usual limits.

    ``packages`` name the packages, besides our own filters, whose functions may be tasks: those that
    registered filters live in. ``max_pixels`` of one page are decoded at most (abuse case 30: 200 megapixels
    are A4 at 1,400 dpi). ``nice`` is added to the priority number of nice(2). A worker may read the files
    that its arguments name by absolute paths, only those below the folders ``readable`` if there are any.
    """

    at_once: int | None = None
    limits: WorkLimits = field(default_factory=WorkLimits)
    max_pixels: int = 200_000_000
    packages: Sequence[str] = ()
    nice: int = 10
    readable: Sequence[Path] = ()


class WorkerPool:
    """The ``Workers`` of the filter contract."""

    def __init__(self, settings: WorkerSettings | None = None) -> None:
        self._settings = settings or WorkerSettings()
        self._turns = _Turns(self._settings.at_once or _processors())
        self._missing_told: set[str] = set()

    async def run(
        self,
        task: str,
        arguments: Mapping[str, JsonValue],
        *,
        folder: Path,
        limits: WorkLimits | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> JsonValue:
        """Run ``module:function`` in a worker process and return what it returns (see ``Workers.run``).

        Work of one ``folder`` is one job's, and waits for its turn among others'. The clock of ``limits``
        begins when the process does.

        :raises ValueError: the task is no function of a registered filter's package; a defect of the caller.
        :raises TaskRefused: the function raised a PostscanError.
        :raises WorkerDied: the process ended without an answer.
        :raises WorkFailed: anything else; ``limit`` names the limit that it ran into.
        """
        self._check(task)
        used = limits or self._settings.limits
        async with self._turns.turn(str(folder)):
            with tempfile.TemporaryDirectory(prefix=".work-", dir=folder, ignore_cleanup_errors=True) as own:
                order = {
                    "task": task,
                    "arguments": arguments,
                    "limits": asdict(used),
                    "nice": self._settings.nice,
                    "max_pixels": self._settings.max_pixels,
                    "readable": [str(one) for one in self._settings.readable],
                    "parent": os.getpid(),
                }
                worker = _Worker(task, used, on_progress, self._isolation)
                return await worker.run(json.dumps(order).encode(), folder, _environment(Path(own)))

    def _check(self, task: str) -> None:
        module = task.partition(":")[0]
        allowed = (_OUR_FILTERS, *self._settings.packages)
        if not _TASK.fullmatch(task) or not any(f"{module}.".startswith(f"{one}.") for one in allowed):
            raise ValueError(f"{task!r} is no task of a registered filter")

    def _isolation(self, isolation: Mapping[str, JsonValue]) -> None:
        missing = {str(name)[:_KEPT_NAME] for name, there in isolation.items() if not there}
        if not missing <= self._missing_told and len(self._missing_told) < _KEPT_NAME:
            self._missing_told |= missing
            _log.warning(
                "workers run with less isolation than possible: this system does not grant all that it takes"
                " (namespaces, Landlock, filters of system calls)",
                missing=", ".join(sorted(missing)),
            )


def made_file(path: Path) -> Path:
    """Return ``path`` when a worker left a regular file there that nothing else refers to.

    :raises WorkFailed: it did not: a link could lead to any file that the server may read.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise WorkFailed(f"the work left no file {path.name}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise WorkFailed(f"the work left something at {path.name} that is no file of its own")
    return path


def said_text(value: object) -> str:
    """Return a text out of a worker's answer, as much of it as people read, on one line.

    :raises ValueError: it is no text.
    """
    if not isinstance(value, str):
        raise ValueError("no text")
    return "".join(one if one.isprintable() else " " for one in value[:_LONGEST_TEXT])


def said_count(value: object) -> int:
    """Return a count out of a worker's answer, such as that of pages.

    :raises ValueError: it is none.
    """
    if not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ValueError("no count")
    return value


class _Turns:
    """At most so many at once; who waits longest goes first, one of each key in turn."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        await self._begin(key)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, key: str) -> None:
        if self._free:
            self._free -= 1
            return
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._end()
            else:
                self._forget(key, called)
            raise

    def _forget(self, key: str, called: asyncio.Future[None]) -> None:
        queue = self._waiting.get(key)
        if queue is not None and called in queue:
            queue.remove(called)
            if not queue:
                del self._waiting[key]

    def _end(self) -> None:
        while self._waiting:
            key, queue = self._waiting.popitem(last=False)
            called = queue.popleft()
            if queue:
                self._waiting[key] = queue
            if not called.done():
                called.set_result(None)
                return
        self._free += 1


class _Worker:
    """One process, from its beginning to its end."""

    def __init__(
        self,
        task: str,
        limits: WorkLimits,
        on_progress: Callable[[int, int], None] | None,
        on_isolation: Callable[[Mapping[str, JsonValue]], None],
    ) -> None:
        self._task = task
        self._limits = limits
        self._on_progress = on_progress
        self._on_isolation = on_isolation
        self._words = bytearray()

    async def run(self, order: bytes, folder: Path, environment: Mapping[str, str]) -> JsonValue:
        # -P: a folder named `postscan` in the job's folder is not our package.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "postscan.filters.worker_main",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        listening = asyncio.create_task(self._listen(process))
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._converse(process, order)
        except TimeoutError as error:
            raise self._over("seconds") from error
        finally:
            await _end(process, listening)
            if self._words:
                words = self._words.decode(errors="replace").strip()
                # The last of it, where what went wrong stands, as much as a line of the log holds.
                _log.info("a worker said", task=self._task, words=words[-MAX_FIELD:])

    async def _converse(self, process: asyncio.subprocess.Process, order: bytes) -> JsonValue:
        assert process.stdin is not None  # noqa: S101 - it was asked for, and mypy cannot know
        assert process.stdout is not None  # noqa: S101 - as above
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # A process that ended at once shows in what it does not answer.
            process.stdin.write(order)
            await process.stdin.drain()
            process.stdin.close()
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError as error:
                raise WorkFailed("the work said more than can be read") from error
            if not line.endswith(b"\n"):
                raise self._died(None)
            kind, value = _message(line)
            if kind == "result":
                result: JsonValue = value
                return result
            self._hear(kind, value)

    def _hear(self, kind: str, value: Any) -> None:
        """Take note of a message that is no result; raises WorkFailed for one that ends the work."""
        match kind, value:
            case "progress", [int(done), int(total)] if 0 <= done <= _MOST and 0 <= total <= _MOST:
                if self._on_progress is not None:
                    self._on_progress(done, total)
            case "isolation", dict():
                self._on_isolation(value)
            case "refused", [str(text), str(advice)]:
                raise TaskRefused(said_text(text), advice=said_text(advice) or None)
            case "limit", str(limit) if limit in _LIMIT_WORDS:
                raise self._over(limit)
            case "no-room", None:
                raise NoRoom("the spool's disk is full")
            case "failed", str(text):
                raise WorkFailed(f"the work failed: {said_text(text)}")
            case "died", int(number):
                raise self._died(number)
            case _:
                raise WorkFailed("the work said something that is not understood")

    def _over(self, limit: str) -> WorkFailed:
        words = _LIMIT_WORDS[limit].format(
            seconds=self._limits.seconds,
            cpu_seconds=self._limits.cpu_seconds,
            memory=self._limits.memory_bytes // 1_000_000,
            file=self._limits.file_bytes // 1_000_000,
        )
        return WorkFailed(f"the work {words} and was ended", limit=limit, advice=_LIMIT_ADVICE)

    def _died(self, ended_by: int | None) -> WorkFailed:
        if ended_by == signal.SIGXCPU:
            return self._over("cpu_seconds")
        if ended_by is None:
            return WorkerDied("the process that did the work ended without an answer", ended_by=None)
        return WorkerDied(
            f"the process that did the work was ended by {_signal_name(ended_by)}", ended_by=ended_by
        )

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Keep the last words of the process; the pipe must not fill."""
        assert process.stderr is not None  # noqa: S101 - it was asked for, and mypy cannot know
        while words := await process.stderr.read(65_536):
            self._words += words
            del self._words[:-_KEPT_WORDS]


async def _end(process: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
    """End the process and all it has started, and wait until it is gone, even while being cancelled."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    ending = asyncio.ensure_future(_gone(process, listening))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending
        raise


async def _gone(process: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
    # Bounded: somebody who escaped the process group may hold the pipes open.
    await asyncio.wait([asyncio.ensure_future(process.wait()), listening], timeout=_SECONDS_TO_END)
    await asyncio.wait([listening], timeout=1.0)
    listening.cancel()


def _message(line: bytes) -> tuple[str, Any]:
    try:
        [[kind, value]] = json.loads(line, parse_constant=_refuse_constant).items()
    except (ValueError, AttributeError, RecursionError) as error:
        raise WorkFailed("the work said something that is not understood") from error
    return kind, value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _environment(own: Path) -> dict[str, str]:
    """Return an environment that holds no secret, and a temporary folder of the worker's own."""
    path = os.pathsep.join(one for one in sys.path if Path(one).is_absolute())
    return {name: os.environ[name] for name in _HANDED_ON if name in os.environ} | {
        "LC_ALL": "C.UTF-8",
        "HOME": str(own),
        "TMPDIR": str(own),
        "PYTHONPATH": path,
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Tesseract's threads cost more than they bring (and are not counted by the settings).
        "OMP_THREAD_LIMIT": "1",
    }


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
