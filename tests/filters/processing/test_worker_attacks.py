"""A worker whose decoder was taken over by a page: what it reaches of the server, and what it says."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from postscan.filters.contract import WorkFailed, WorkLimits
from postscan.filters.worker_walls import documents_of
from postscan.filters.workers import WorkerPool, WorkerSettings, said_count, said_text
from support.processing import MemoryBench

LIMITS = WorkLimits(seconds=60, cpu_seconds=30, memory_bytes=512 * 1024**2, file_bytes=1024**2)
Run = Callable[..., Awaitable[Any]]
_LANDLOCK_CREATE_RULESET = 444


def lacks_landlock() -> bool:
    """Whether this kernel's Landlock is missing, or its first version."""
    version = ctypes.CDLL(None).syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    return int(version) < 2


needs_landlock = pytest.mark.skipif(
    lacks_landlock(), reason="this kernel has no Landlock of version 2 or later"
)
needs_seccomp = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="no filter of system calls for this machine"
)


@pytest.fixture
def bench(tmp_path: Path) -> MemoryBench:
    return MemoryBench(tmp_path / "bench")


@pytest.fixture
def run(bench: MemoryBench) -> Run:
    async def call(task: str, **arguments: Any) -> Any:
        return await bench.workers.run(
            f"support.attacking_tasks:{task}",
            arguments,
            folder=bench.folder,
            limits=LIMITS,
            on_progress=bench.progress,
        )

    return call


@needs_landlock
async def test_case_25_a_worker_reads_what_it_was_told_to_and_no_secret(tmp_path: Path) -> None:
    spool, secrets = tmp_path / "spool", tmp_path / "secrets"
    for path in (spool / "page", spool / "other-job", secrets):
        path.parent.mkdir(exist_ok=True)
        path.write_text("hunter2", encoding="ascii")
    (spool / "link").symlink_to(secrets)
    bench = tmp_path / "bench"
    bench.mkdir()
    pool = WorkerPool(WorkerSettings(packages=("support",), readable=(spool,)))
    # A path that is not absolute is no document that was handed over.
    others = [os.path.relpath(spool / "other-job", bench), str(secrets), str(spool / "link"), "/etc/shadow"]
    tried = [str(spool / "page"), *others]
    said = await pool.run("support.attacking_tasks:read", {"paths": tried}, folder=bench, limits=LIMITS)
    assert said.pop(tried[0]) == "hunter2"
    assert set(said.values()) <= {
        "kept: PermissionError",
        "kept: FileNotFoundError",
        "kept: IsADirectoryError",
    }
    assert said[str(secrets)] == said[str(spool / "link")] == "kept: PermissionError"


@needs_landlock
async def test_case_25_the_environment_and_memory_of_the_server_are_not_read(bench: MemoryBench) -> None:
    files = [f"/proc/{os.getpid()}/{name}" for name in ("environ", "mem", "maps")]
    pool = WorkerPool(WorkerSettings(packages=("support",), readable=(bench.folder,)))
    said = await pool.run("support.attacking_tasks:read", {"paths": files}, folder=bench.folder)
    assert set(said.values()) == {"kept: PermissionError"}


@needs_landlock
async def test_case_29_a_worker_spoils_no_document_nor_anything_else(run: Run, tmp_path: Path) -> None:
    document, settings = tmp_path / "document", tmp_path / "elsewhere" / "server.toml"
    settings.parent.mkdir()
    for path in (document, settings):
        path.write_text("genuine", encoding="ascii")
    said = await run("write", paths=[str(document), str(settings)])
    # The kernel says "across devices" of a second name that would have more rights than the first.
    assert set(said.values()) <= {"kept: PermissionError", "kept: OSError"}
    assert document.read_text(encoding="ascii") == settings.read_text(encoding="ascii") == "genuine"
    assert sorted(one.name for one in settings.parent.iterdir()) == ["server.toml"]


@needs_seccomp
async def test_case_32_a_worker_reaches_no_socket_by_its_path(run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.bind(str(tmp_path / "admin.sock"))
        admin.listen()
        assert await run("connect", path=str(tmp_path / "admin.sock")) == "kept: PermissionError"


async def test_a_worker_inherits_no_file_and_no_socket_of_the_server(run: Run, tmp_path: Path) -> None:
    database = tmp_path / "jobs.sqlite"
    with database.open("wb") as held, socket.create_server(("127.0.0.1", 0)) as listening:
        for one in (held.fileno(), listening.fileno()):
            assert not os.get_inheritable(one)
        opened = await run("descriptors")
    assert not [one for one in opened if one.startswith("socket:") or one == str(database)]


async def test_a_module_in_the_jobs_folder_is_not_imported(
    run: Run, bench: MemoryBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = "import os\nos.environ['poisoned'] = 'yes'\n"
    for name in ("colorsys.py", "sitecustomize.py", "usercustomize.py", "json.py"):
        (bench.folder / name).write_text(poison, encoding="ascii")
    monkeypatch.setenv("PYTHONSTARTUP", str(bench.folder / "json.py"))
    monkeypatch.setenv("PYTHONPATH", str(bench.folder))
    place, poisoned = json.loads(await run("import_here"))
    assert Path(place).parent != bench.folder
    assert not poisoned


@pytest.mark.parametrize(
    "line",
    [
        '{"result": NaN}',
        '{"result": {"made": -Infinity}}',
        '{"progress": [1' + "0" * 30 + ", 2]}",
        '{"progress": [-1, 2]}',
        '{"progress": [1.5, 2]}',
        '{"result": ' + "[" * 100_000,
        '{"result": ' + "9" * 10_000 + "}",
        '{"result": 1, "refused": 2}',
        '{"limit": "patience"}',
        '{"limit": {}}',
        '{"refused": "x"}',
        "[]",
        "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"),
        "",
    ],
    ids=range(14),
)
async def test_an_answer_that_no_worker_of_ours_gives_is_a_failure_of_the_work(run: Run, line: str) -> None:
    with pytest.raises(WorkFailed, match="not understood"):
        await run("say", line=line)


async def test_words_of_a_worker_are_cut_and_made_harmless(run: Run) -> None:
    words = "\x1b[2J\r\n" + "x" * 100_000
    with pytest.raises(WorkFailed) as caught:
        await run("say", line=json.dumps({"refused": [words, words]}))
    assert len(str(caught.value)) == len(caught.value.what_to_do) == 1_000
    assert (str(caught.value) + caught.value.what_to_do).isprintable()


@pytest.mark.parametrize("value", [float("inf"), 10**30, -1, 1.0, "1", None, []])
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no count"):
        said_count(value)


@pytest.mark.parametrize("value", [1, None, [], {}])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no text"):
        said_text(value)


async def test_a_task_that_tells_of_progress_for_ever_is_ended(bench: MemoryBench) -> None:
    with pytest.raises(WorkFailed) as caught:
        await bench.workers.run(
            "support.attacking_tasks:say_without_end",
            {},
            folder=bench.folder,
            limits=WorkLimits(seconds=2, cpu_seconds=30),
        )
    assert caught.value.limit == "seconds"


async def test_what_a_task_leaves_running_changes_nothing_after_the_answer(
    run: Run, bench: MemoryBench
) -> None:
    assert await run("stay") == "done"
    made = bench.folder / "made.pdf"
    made.write_text("looked at", encoding="ascii")
    await asyncio.sleep(0.5)  # ten times as long as it waits between its writes
    assert made.read_text(encoding="ascii") == "looked at"


async def test_many_files_keep_no_other_work_waiting(run: Run, bench: MemoryBench) -> None:
    assert await run("litter", count=20_000) == 20_000
    assert await run("read", paths=[]) == {}


def test_only_files_below_the_spool_are_documents(tmp_path: Path) -> None:
    spool, outside = tmp_path / "spool", tmp_path / "outside"
    spool.mkdir()
    for path in (spool / "1", outside):
        path.touch()
    (spool / "link").symlink_to(outside)
    arguments = {
        "documents": [{"path": str(spool / "1")}, {"path": str(spool / "link")}, {"path": str(spool)}],
        "title": str(outside),
        "up": f"{spool}/../outside",
        "odd": ["/\0", "/" + "x" * 5_000, "relative", 1, None],
    }
    assert list(documents_of(arguments, [spool])) == [spool / "1"]
