"""Worker processes: what they can do, what they cannot, and how their end is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from postscan.filters.contract import WorkFailed, WorkLimits
from postscan.filters.workers import (
    NoRoom,
    TaskRefused,
    WorkerDied,
    WorkerPool,
    WorkerSettings,
    made_file,
)
from support.processing import MemoryBench

SMALL = WorkLimits(seconds=60, cpu_seconds=30, memory_bytes=256 * 1024**2, file_bytes=1024**2)
Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def bench(tmp_path: Path) -> MemoryBench:
    return MemoryBench(tmp_path / "bench")


@pytest.fixture
def run(bench: MemoryBench) -> Run:
    async def call(task: str, limits: WorkLimits = SMALL, **arguments: Any) -> Any:
        return await bench.workers.run(
            f"support.tasks:{task}", arguments, folder=bench.folder, limits=limits, on_progress=bench.progress
        )

    return call


def grants(kind: str) -> bool:
    """Whether this system lets a process of ours have a namespace of its own."""
    commands = (["unshare", *how, kind, "--fork", "true"] for how in ((), ("--user",)))
    return any(
        subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands
    )


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not ready():
            await asyncio.sleep(0.02)


def is_there(pid: int) -> bool:
    """Whether a process lives: one that nobody has waited for yet does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def workers_below(folder: Path) -> list[int]:
    """Return the processes whose working folder this is."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink() == folder and is_there(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def test_a_task_gets_its_arguments_and_its_result_comes_back(run: Run, bench: MemoryBench) -> None:
    assert await run("echo", a=[1, {"ü": None}]) == {"a": [1, {"ü": None}]}
    assert bench.told == [(1, 2), (2, 2)]


async def test_what_a_task_prints_is_no_answer(run: Run) -> None:
    assert await run("chatter") == "genuine"


async def test_an_error_of_ours_arrives_with_its_words(run: Run) -> None:
    with pytest.raises(TaskRefused, match="page 3 is torn") as caught:
        await run("refuse")
    assert caught.value.what_to_do == "Scan page 3 again."
    assert caught.value.limit is None


async def test_a_defect_of_a_task_is_named(run: Run) -> None:
    with pytest.raises(WorkFailed, match="ZeroDivisionError: a defect") as caught:
        await run("stumble")
    assert not isinstance(caught.value, TaskRefused)


@pytest.mark.parametrize(
    ("task", "limits", "limit"),
    [
        ("hog", SMALL, "memory_bytes"),
        ("spin", WorkLimits(seconds=60, cpu_seconds=1), "cpu_seconds"),
        ("idle", WorkLimits(seconds=1), "seconds"),
        ("fork", WorkLimits(seconds=2), "seconds"),
        ("write_much", SMALL, "file_bytes"),
    ],
)
async def test_case_30_a_task_that_takes_too_much_is_ended_and_the_limit_is_named(
    run: Run, bench: MemoryBench, task: str, limits: WorkLimits, limit: str
) -> None:
    with pytest.raises(WorkFailed, match="and was ended") as caught:
        await run(task, limits)
    assert caught.value.limit == limit
    assert "[processing]" in caught.value.what_to_do
    await until(lambda: not workers_below(bench.folder))


async def test_a_task_that_returns_too_much_fails(run: Run) -> None:
    with pytest.raises(WorkFailed, match="more than can be read"):
        await run("say_much", WorkLimits())


@pytest.mark.parametrize(
    ("task", "ended_by"), [("die", None), ("crash", signal.SIGSEGV)], ids=["without a word", "crash"]
)
async def test_a_process_that_dies_is_told_of(run: Run, task: str, ended_by: int | None) -> None:
    with pytest.raises(WorkerDied) as caught:
        await run(task)
    assert caught.value.signal == ended_by


async def test_a_worker_that_is_killed_midway_is_told_of(run: Run, bench: MemoryBench) -> None:
    work = asyncio.ensure_future(run("be_killed"))
    await until(lambda: bool(bench.told))
    [first, *others] = sorted(workers_below(bench.folder))
    os.kill(others[0] if others else first, signal.SIGKILL)
    with pytest.raises(WorkerDied) as caught:
        await work
    assert caught.value.signal == signal.SIGKILL
    await until(lambda: not workers_below(bench.folder))


async def test_a_full_disk_is_told_apart(run: Run) -> None:
    with pytest.raises(NoRoom):
        await run("fill")


async def test_canceling_ends_the_process_and_what_it_started(run: Run, bench: MemoryBench) -> None:
    work = asyncio.ensure_future(run("idle"))
    await until(lambda: (bench.folder / "begun").exists())
    assert len(workers_below(bench.folder)) >= 2
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert workers_below(bench.folder) == []


@pytest.mark.skipif(not grants("--pid"), reason="this system grants no process namespaces (unshare)")
async def test_what_left_the_process_group_ends_too(run: Run, bench: MemoryBench) -> None:
    work = asyncio.ensure_future(run("idle", escape=True))
    await until(lambda: (bench.folder / "begun").exists())
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await until(lambda: not workers_below(bench.folder))


async def test_the_death_of_the_server_ends_its_workers(tmp_path: Path) -> None:
    program = """
        import asyncio, sys
        from pathlib import Path
        from postscan.filters.workers import WorkerPool, WorkerSettings
        pool = WorkerPool(WorkerSettings(packages=("support",)))
        asyncio.run(pool.run("support.tasks:idle", {}, folder=Path(sys.argv[1])))
    """
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(program),
        str(tmp_path),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    await until(lambda: (tmp_path / "begun").exists())
    assert len(workers_below(tmp_path)) >= 2
    server.kill()
    await server.wait()
    await until(lambda: not workers_below(tmp_path))


async def test_no_secret_of_the_environment_reaches_a_worker(
    run: Run, bench: MemoryBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSCAN_SECRET_EMAIL_PASSWORD", "hunter2")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    seen = await run("surroundings", port=1)
    assert "hunter2" not in json.dumps(seen)
    assert "CREDENTIALS_DIRECTORY" not in seen["environment"]
    assert seen["folder"] == str(bench.folder)
    assert Path(seen["environment"]["TMPDIR"]).parent == bench.folder
    assert not Path(seen["environment"]["TMPDIR"]).exists()


async def test_a_worker_gains_no_rights_and_stands_back(run: Run) -> None:
    seen = await run("surroundings", port=1)
    assert seen["no_new_privs"]
    assert seen["nice"] >= 10


@pytest.mark.skipif(not grants("--net"), reason="this system grants no network namespaces (unshare)")
async def test_case_32_a_worker_has_no_network(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = await run("surroundings", port=server.getsockname()[1])
    assert not seen["reached"]


@pytest.mark.parametrize(
    "task",
    ["os:system", "support.tasks", "support.tasks:echo:x", "supports:x", "postscan.filtersx:y", "", "a b:c"],
)
async def test_no_function_but_of_registered_filters_is_a_task(bench: MemoryBench, task: str) -> None:
    with pytest.raises(ValueError, match="no task of a registered filter"):
        await bench.workers.run(task, {}, folder=bench.folder)


async def test_no_more_run_at_once_than_the_settings_say_and_jobs_take_turns(tmp_path: Path) -> None:
    pool = WorkerPool(WorkerSettings(at_once=1, packages=("support",)))
    order: list[Any] = []

    async def one(job: str, number: int) -> None:
        arguments = {"file": "log", "name": f"{job}{number}"}
        order.append(await pool.run("support.tasks:mark", arguments, folder=tmp_path / job))

    async def work(job: str, count: int) -> None:
        (tmp_path / job).mkdir()
        await asyncio.gather(*(one(job, number) for number in range(count)))

    long = asyncio.ensure_future(work("a", 4))
    await until(lambda: bool(order))
    await asyncio.gather(long, work("b", 1))
    assert order.index("b0") < order.index("a3")
    assert sorted(order) == ["a0", "a1", "a2", "a3", "b0"]


async def test_a_canceled_piece_that_waits_gives_its_turn_on(tmp_path: Path) -> None:
    pool = WorkerPool(WorkerSettings(at_once=1, packages=("support",)))

    def mark(name: str, seconds: float = 0) -> asyncio.Future[Any]:
        arguments = {"file": str(tmp_path / "log"), "name": name, "seconds": seconds}
        return asyncio.ensure_future(pool.run("support.tasks:mark", arguments, folder=tmp_path))

    first = mark("first", 1)
    await until((tmp_path / "log").exists)
    waiting, last = mark("waiting"), mark("last")
    await asyncio.sleep(0)
    waiting.cancel()
    assert await first == "first"
    assert await last == "last"
    assert (tmp_path / "log").read_text(encoding="ascii").split() == ["first", "last"]


async def test_a_link_that_a_worker_left_is_not_followed(run: Run, bench: MemoryBench) -> None:
    path = bench.folder / "made.pdf"
    await run("link", path=str(path))
    with pytest.raises(WorkFailed, match="no file of its own"):
        made_file(path)
    with pytest.raises(WorkFailed, match="left no file"):
        made_file(bench.folder / "nothing")
