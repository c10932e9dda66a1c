"""Whatever step a crash or an error hits, the next attempt leaves each document there once, and nothing else.

On three kinds of file systems: with hard links, without them, and without even a rename that never replaces.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postscan.filters import publish
from postscan.filters.contract import Delivered, DeliveryError, SpooledDocument
from support.delivery import MemoryLedger, ShareSite, replace_calls

FOLDER = "alice@example.com/"
FIRST = FOLDER + "Invoice_2026-11-21_143005_alice_001.tif"
FIRST_AGAIN = FOLDER + "Invoice_2026-11-21_143005_alice_001 (2).tif"
SECOND = FOLDER + "Invoice_2026-11-21_143005_alice_002.tif"
KINDS = ["links", "renames", "placeholders"]
STEPS = ("open", "read", "write", "fsync", "close", "link", "rename", "unlink", "mkdir", "stat", "fstat")


class Crash(BaseException):
    """The process is gone: no cleaning up happens (as with SIGKILL, but in a test)."""


class Steps:
    """Counts what the filter does, and lets one step go wrong, before or after it is done."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fatal: int | None = None
        self.after = False
        self.error: Callable[[], BaseException] = Crash

    def guard(self, name: str) -> bool:
        """Count a step; tell whether it has to go wrong afterwards."""
        number = len(self.names)
        self.names.append(name)
        if number == self.fatal and not self.after:
            raise self.error()
        return number == self.fatal

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``call`` as a step."""

        def step(*args: Any, **kwargs: Any) -> Any:
            fatal = self.guard(name)
            result = call(*args, **kwargs)
            if fatal:
                if name == "open":
                    os.close(result)
                raise self.error()
            return result

        return step


class SteppingLedger(MemoryLedger):
    """A ledger whose writes are steps, too."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps

    async def plan(self, document_id: int, name: str) -> None:
        fatal = self.steps.guard("plan")
        await super().plan(document_id, name)
        if fatal:
            raise self.steps.error()

    async def delivered(self, delivery: Delivered) -> None:
        fatal = self.steps.guard("delivered")
        await super().delivered(delivery)
        if fatal:
            raise self.steps.error()


def linkless(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
    """Answer as Linux does for a file system without hard links: existing names are found first."""
    try:
        os.stat(target, dir_fd=dst_dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        raise PermissionError(errno.EPERM, "no links here") from None
    raise FileExistsError(errno.EEXIST, target)


def no_such_rename(folder: int, old: str, new: str) -> None:
    raise OSError(errno.EINVAL, "no such flag here")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def steps(kind: str, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Run the filter on one kind of file system, each of its calls a step."""
    steps = Steps()
    calls = {name: getattr(os, name) for name in STEPS}
    # A step like the others, but what it is for no test of a living machine can show, and it takes time.
    calls["fsync"] = lambda descriptor: None
    rename = publish.rename_without_replacing
    if kind != "links":
        calls["link"] = linkless
    if kind == "placeholders":
        rename = no_such_rename
    stepping = {name: steps.wrap(name, call) for name, call in calls.items()}
    replace_calls(monkeypatch, **stepping)
    monkeypatch.setattr(publish, "rename_without_replacing", steps.wrap("rename_noreplace", rename))
    return steps


class Trial:
    """Runs deliveries of two documents that go wrong at a chosen step, each in a folder of its own."""

    def __init__(self, folder: Path, steps: Steps, taken: bool) -> None:
        self.folder = folder
        self.steps = steps
        self.taken = taken
        self.number = 0

    def site(self) -> tuple[ShareSite, list[SpooledDocument]]:
        """Return a new share; with ``taken``, the first document's name is somebody else's already."""
        self.number += 1
        site = ShareSite(self.folder / str(self.number), ledger=SteppingLedger(self.steps))
        if self.taken:
            site.alices.mkdir()
            (site.share / FIRST).write_bytes(b"somebody else's")
        return site, [site.document(1), site.document(2)]

    def expected(self, documents: list[SpooledDocument]) -> dict[str, bytes]:
        """Return what has to be on the share in the end."""
        one, two = (document.path.read_bytes() for document in documents)
        if self.taken:
            return {FIRST: b"somebody else's", FIRST_AGAIN: one, SECOND: two}
        return {FIRST: one, SECOND: two}

    async def count(self) -> int:
        """Return how many steps a delivery takes that nothing disturbs."""
        self.steps.fatal = None
        site, documents = self.site()
        self.steps.names.clear()
        await site.deliver(*documents)
        assert site.content() == self.expected(documents)
        return len(self.steps.names)

    async def run(self, number: int, *, after: bool, error: Callable[[], BaseException]) -> None:
        """Let step ``number`` go wrong, deliver again, and look."""
        site, documents = self.site()
        self.steps.names.clear()
        self.steps.fatal, self.steps.after, self.steps.error = number, after, error
        # From the ledger the error comes as it is.
        with contextlib.suppress(Crash, DeliveryError, OSError):
            await site.deliver(*documents)
        failed_at = self.steps.names[number]
        self.steps.fatal = None
        await site.deliver(*documents)
        where = f"{'after' if after else 'before'} step {number}, {failed_at}"
        assert site.content() == self.expected(documents), where
        assert sorted(site.ledger.done) == [1, 2], where
        # Nothing is left to do, and doing it again changes nothing.
        await site.deliver(*documents)
        assert site.content() == self.expected(documents), where


def io_error() -> OSError:
    return OSError(errno.EIO, "it failed")


@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [Crash, io_error], ids=["crash", "error"])
async def test_an_interrupted_delivery_is_completed_and_doubles_nothing(
    tmp_path: Path, steps: Steps, taken: bool, after: bool, error: Callable[[], BaseException]
) -> None:
    trial = Trial(tmp_path, steps, taken)
    for number in range(await trial.count()):
        await trial.run(number, after=after, error=error)


async def test_every_kind_of_file_system_goes_its_own_way(tmp_path: Path, steps: Steps, kind: str) -> None:
    await Trial(tmp_path, steps, taken=False).count()
    used = {
        "links": {"link"},
        "renames": {"link", "rename_noreplace"},
        "placeholders": {"link", "rename_noreplace", "rename"},
    }
    assert {"link", "rename_noreplace", "rename"} & set(steps.names) == used[kind]


async def test_a_crash_during_the_recovery_from_a_crash_doubles_nothing(tmp_path: Path, steps: Steps) -> None:
    trial = Trial(tmp_path, steps, taken=False)
    await trial.count()
    last_plan = len(steps.names) - 1 - steps.names[::-1].index("plan")
    for first in range(last_plan, len(steps.names)):
        second = 0
        while True:
            site, documents = trial.site()
            for fatal in (first, second):
                steps.names.clear()
                steps.fatal, steps.after, steps.error = fatal, True, Crash
                try:
                    await site.deliver(*documents)
                except Crash:
                    continue
            finished = steps.fatal is not None and len(steps.names) <= second
            steps.fatal = None
            await site.deliver(*documents)
            assert site.content() == trial.expected(documents), (first, second)
            if finished:
                break
            second += 1


async def test_the_file_of_another_job_with_the_same_bytes_is_not_taken_for_ours(site: ShareSite) -> None:
    """Where links work the proof is the inode, so the planned name of a crash may be anybody's."""
    document = site.document()
    site.alices.mkdir()
    (site.share / FIRST).write_bytes(document.path.read_bytes())
    site.ledger.planned[1] = Path(FIRST).name
    await site.deliver(document)
    assert list(site.content()) == [FIRST_AGAIN, FIRST]


async def test_a_link_whose_answer_was_lost_is_recognised(
    site: ShareSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: str, target: str, **kwargs: Any) -> None:
        os.link(source, target, **kwargs)
        # NFS repeats a call whose answer it did not get, and then finds the name taken.
        raise FileExistsError(errno.EEXIST, target)

    replace_calls(monkeypatch, link=link)
    await site.deliver(site.document())
    assert list(site.content()) == [FIRST]


async def test_a_file_under_the_planned_name_with_other_bytes_stays_where_links_do_not_work(
    site: ShareSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_calls(monkeypatch, link=linkless)
    site.alices.mkdir()
    (site.share / FIRST).write_bytes(b"somebody else's")
    site.ledger.planned[1] = Path(FIRST).name
    document = site.document()
    await site.deliver(document)
    assert site.content() == {FIRST: b"somebody else's", FIRST_AGAIN: document.path.read_bytes()}


def test_the_rename_of_this_system_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            publish.rename_without_replacing(folder, "old", "new")
        publish.rename_without_replacing(folder, "old", "free")
    finally:
        os.close(folder)
    assert (tmp_path / "new").read_bytes() == b"new"
    assert (tmp_path / "free").read_bytes() == b"old"
