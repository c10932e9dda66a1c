"""A worker process: ``python -m postscan.filters.worker_main`` (started by ``workers``, and by nothing else).

Two processes, in fact. The first only waits: it tells how the second ended, and ends it with everything
that it started when the server dies. The second has its limits, and walls around it (``worker_walls``),
before it loads anything that decodes.

On standard input comes the order, one JSON object; on what was standard output go JSON objects, one a line,
each with one key: ``isolation``, ``progress``, and at last ``result``, ``refused``, ``limit``, ``no-room``,
``failed`` or ``died``. What the task prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from postscan.core.errors import PostscanError
from postscan.filters.worker_walls import close_in, documents_of

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWPID: Final = 0x2000_0000
_CLONE_NEWNET: Final = 0x4000_0000
_CPU_GRACE_SECONDS: Final = 1
_MOST_PROCESSES: Final = 256
_LONGEST_REASON: Final = 300

_libc = ctypes.CDLL(None, use_errno=True)


def _tell(channel: int, kind: str, value: Any) -> None:
    line = json.dumps({kind: value}, allow_nan=False).encode() + b"\n"
    view = memoryview(line)
    while view:
        view = view[os.write(channel, view) :]


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def _isolate() -> dict[str, bool]:
    """Leave network and processes of the machine, as far as the kernel lets us; tell what was left."""
    uid, gid = os.getuid(), os.getgid()
    for flags in (
        _CLONE_NEWPID | _CLONE_NEWNET,
        _CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNET,
        _CLONE_NEWNET,
    ):
        if _libc.unshare(flags) == 0:
            if flags & _CLONE_NEWUSER:
                # Without these the process would be nobody; a failure changes no right to a file.
                with contextlib.suppress(OSError):
                    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
                    Path("/proc/self/setgroups").write_text("deny")
                    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
                # Counted within the namespace; outside of one it would count all that the account runs.
                _limit(resource.RLIMIT_NPROC, _MOST_PROCESSES)
            return {"network": True, "processes": bool(flags & _CLONE_NEWPID)}
    return {"network": False, "processes": False}


def _limit(which: int, value: int, grace: int = 0) -> None:
    """Lower one limit, the hard one to ``grace`` more; a lower one that was set outside stays."""
    _soft, hard = resource.getrlimit(which)
    ceiling = value + grace if hard == resource.RLIM_INFINITY else min(value + grace, hard)
    resource.setrlimit(which, (min(value, ceiling), ceiling))


def _limit_self(limits: dict[str, Any], nice: int) -> None:
    _limit(resource.RLIMIT_AS, limits["memory_bytes"])
    # First SIGXCPU, which tells why; then SIGKILL.
    _limit(resource.RLIMIT_CPU, limits["cpu_seconds"], _CPU_GRACE_SECONDS)
    _limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _limit(resource.RLIMIT_CORE, 0)
    os.nice(nice)


def _guard_decoders(max_pixels: int) -> None:
    # A bomb is an error here, where Pillow would warn and go on. Not loaded before the limits are set.
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _has_no_room(error: BaseException) -> bool:
    return any(
        isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in _causes(error)
    )


def _limit_of(error: BaseException) -> str | None:
    for cause in _causes(error):
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM):
            return "memory_bytes"
        if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
            return "file_bytes"
    return None


def _work(order: dict[str, Any], channel: int) -> None:
    """Do the task; whatever comes of it is told."""
    try:
        _guard_decoders(order["max_pixels"])
        module, _, name = order["task"].partition(":")
        function: Callable[[Any, Callable[[int, int], None]], Any] = getattr(
            importlib.import_module(module), name
        )
        result = function(order["arguments"], lambda done, total: _tell(channel, "progress", [done, total]))
        _tell(channel, "result", result)
    except Exception as error:
        # Decoders raise anything on bad files; here is the one place that turns it into words.
        limit = _limit_of(error)
        if limit is not None:
            _tell(channel, "limit", limit)
        elif _has_no_room(error):
            _tell(channel, "no-room", None)
        elif isinstance(error, PostscanError):
            _tell(channel, "refused", [str(error), error.what_to_do])
        else:
            traceback.print_exc()
            reason = str(error).strip().partition("\n")[0][:_LONGEST_REASON]
            _tell(channel, "failed", f"{type(error).__name__}: {reason}" if reason else type(error).__name__)


def _wait_for(child: int, channel: int, cpu_seconds: int) -> None:
    """Wait for the second process; tell how it ended when it could not tell itself."""
    _pid, status, used = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        ended_by = os.WTERMSIG(status)
        # The first process of a process namespace never sees SIGXCPU, only the SIGKILL that comes after it.
        if ended_by == signal.SIGKILL and used.ru_utime + used.ru_stime >= cpu_seconds:
            ended_by = signal.SIGXCPU
        _tell(channel, "died", int(ended_by))


def main() -> None:
    """Take the order from standard input, do it, and answer."""
    order: dict[str, Any] = json.load(sys.stdin)
    # The server's death ends this process and its whole group, of which it is the leader.
    signal.signal(signal.SIGTERM, lambda *_unused: os.killpg(0, signal.SIGKILL))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != order["parent"]:
        return
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    channel = os.dup(1)  # not inherited by what the task starts
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):
        _tell(channel, "isolation", _isolate())
        child = os.fork()
        if child:
            _wait_for(child, channel, order["limits"]["cpu_seconds"])
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _limit_self(order["limits"], order["nice"])
        readable = documents_of(order["arguments"], [Path(one).resolve() for one in order["readable"]])
        _tell(channel, "isolation", close_in(Path.cwd(), readable))
        _work(order, channel)


if __name__ == "__main__":
    main()
