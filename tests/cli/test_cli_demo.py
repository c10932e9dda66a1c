"""`postscan demo`: what a newcomer sees first; it works anywhere and leaves nothing behind."""

from __future__ import annotations

import json
import re
import shlex
import socket
import time
from pathlib import Path

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from support.commands import interrupt, line_with, postscan, started

SECONDS = 90


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def test_it_shows_four_jobs_in_a_page_or_so_and_its_server_stays_for_the_commands_it_prints(
    tmp_path: Path, temporary: Path
) -> None:
    env = {"TMPDIR": str(temporary), "HOME": "/proc/nobody"}
    with started("demo", "--stay", cwd=folder_with_traps(tmp_path), env=env) as process:
        assert process.stdout is not None
        lines = []
        while not (line := process.stdout.readline().rstrip("\n")).startswith("4 jobs, 10 files, "):
            assert line or process.poll() is None
            lines.append(line)
        assert line.endswith(": all as it should be")
        assert len(lines) < 70
        # The folder's own name may be as long as it likes.
        assert max(len(line.replace(str(temporary), "")) for line in lines) <= 120
        assert sum(bool(re.search("outcome, by .*: Completed", line)) for line in lines) == 3
        assert sum(bool(re.search("outcome, by .*: Canceled", line)) for line in lines) == 1
        line_with(process, "The server stays.")
        commands = []
        while (line := process.stdout.readline().strip()) != "Ctrl-C ends it.":
            commands.append(shlex.split(line))
        assert [words[1] for words in commands] == ["jobs", "jobs", "scan", "config"]
        for _program, *words in commands:
            assert main(words) == ExitCode.OK, words
        status, _, complained = interrupt(process)
    assert status == ExitCode.OK
    assert complained == ""
    assert list(temporary.iterdir()) == []


def folder_with_traps(parent: Path) -> Path:
    """Return a folder that holds modules of names the demo's own have."""
    here = parent / "a folder with traps"
    (here / "postscan").mkdir(parents=True)
    (here / "postscan" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    (here / "json.py").write_text("raise SystemExit('the wrong module')")
    return here


def test_a_script_gets_json(temporary: Path) -> None:
    done = postscan("demo", "--json", env={"TMPDIR": str(temporary)})
    assert done.returncode == ExitCode.OK, done.stderr
    told = json.loads(done.stdout)
    assert [job["state"] for job in told["jobs"]] == ["Completed", "Completed", "Completed", "Canceled"]
    assert len(told["files"]) == 10
    assert list(temporary.iterdir()) == []


def test_being_told_to_stop_in_the_middle_leaves_nothing_behind(temporary: Path) -> None:
    with started("demo", env={"TMPDIR": str(temporary)}) as process:
        line_with(process, "2. The scan server")
        process.terminate()
        _, complained = process.communicate(timeout=SECONDS)
    assert process.returncode == ExitCode.INTERRUPTED
    assert complained == "error: interrupted\n"
    assert list(temporary.iterdir()) == []


def test_a_demo_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    with started("demo", "--folder", tmp_path / "site") as process:
        port = int(line_with(process, "2. The scan server").partition("localhost:")[2].partition("/")[0])
        process.kill()
        process.wait()
    while listens(port):
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Tell whether anybody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    done = postscan("demo", "--folder", tmp_path)
    assert done.returncode == ExitCode.REFUSED
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
