"""Whatever step a crash, an error or a dying server hits, the next try leaves each document there once."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import Delivered, DeliveryError, DeliveryOrder, SpooledDocument
from postscan.filters.smb import delivery, folder
from postscan.filters.smb.folder import SmbFile, SmbFolder
from postscan.filters.smb.publication import SmbPublication
from postscan.filters.smb.session import SmbSession
from support.delivery import NO_INSTRUCTIONS, MemoryLedger
from support.smb import ALICES, FIRST, Killed, SmbSite

SECOND = FIRST.replace("001", "002")
CHUNK = 65_536
SIZE = CHUNK + 1_000


class Steps:
    """Counts what a delivery does, and lets one step go wrong, before or after it is done."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fatal: int | None = None
        self.after = False
        self.error: Callable[[], BaseException] = Killed

    def guard(self, name: str) -> bool:
        number = len(self.names)
        self.names.append(name)
        if number == self.fatal and not self.after:
            raise self.error()
        return number == self.fatal

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            fatal = self.guard(name)
            result = call(*args, **kwargs)
            if fatal:
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

    async def remember(self, key: str, value: str) -> None:
        fatal = self.steps.guard("remember")
        await super().remember(key, value)
        if fatal:
            raise self.steps.error()

    async def delivered(self, delivery: Delivered) -> None:
        fatal = self.steps.guard("delivered")
        await super().delivered(delivery)
        if fatal:
            raise self.steps.error()


CALLS: tuple[tuple[type, str], ...] = (
    (SmbSession, "open_target"),
    (SmbFolder, "inner"),
    (SmbFolder, "status"),
    (SmbFolder, "create"),
    (SmbFile, "write"),
    (SmbFile, "flush"),
    (SmbFile, "rename"),
    (SmbFile, "close"),
)


def stepping(smb: SmbSite, monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps()
    # One after the other, so that the steps come in the same order each time.
    monkeypatch.setattr(delivery, "_AT_ONCE", 1)
    monkeypatch.setattr(folder, "_LARGEST_CHUNK", CHUNK)
    for owner, name in CALLS:
        monkeypatch.setattr(owner, name, steps.wrap(name, getattr(owner, name)))
    smb.ledger = SteppingLedger(steps)
    return steps


def anew(smb: SmbSite, steps: Steps) -> None:
    """Begin again with an empty share, and a ledger that knows nothing."""
    for path in sorted(smb.server.folder("scans").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    smb.ledger = SteppingLedger(steps)
    steps.names.clear()
    steps.fatal = None


def documents(smb: SmbSite) -> tuple[SpooledDocument, SpooledDocument]:
    return smb.document(1, os.urandom(SIZE)), smb.document(2)


async def _every_step(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch, *, after: bool, error: Callable[[], BaseException]
) -> None:
    steps = stepping(smb, monkeypatch)
    two = documents(smb)
    await smb.deliver(*two)
    total = len(steps.names)
    assert {"plan", "remember", "delivered", *(name for _, name in CALLS)} == set(steps.names)
    for number in range(total):
        anew(smb, steps)
        steps.fatal, steps.after, steps.error = number, after, error
        with pytest.raises((Killed, DeliveryError)):
            await smb.deliver(*two)
        failed = steps.names[-1]
        steps.fatal = None
        await smb.deliver(*two)
        expected = {f"{ALICES}/{FIRST}": two[0], f"{ALICES}/{SECOND}": two[1]}
        found = smb.content()
        assert found == {name: one.path.read_bytes() for name, one in expected.items()}, (number, failed)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_step_doubles_and_loses_nothing(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    await _every_step(smb, monkeypatch, after=after, error=Killed)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_error_at_any_step_doubles_and_loses_nothing(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    def error() -> BaseException:
        return DeliveryError("disturbed", reason=FilterStateReason.UNKNOWN_ERROR, transient=True)

    await _every_step(smb, monkeypatch, after=after, error=error)


async def test_a_server_killed_in_the_middle_of_a_file_is_delivered_to_once_when_it_is_back(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document(content=os.urandom(20 << 20))
    write = SmbFile.write

    def killing(self: SmbFile, octets: bytes, offset: int) -> None:
        if offset:
            smb.server.kill()
        write(self, octets, offset)

    with monkeypatch.context() as patch:
        patch.setattr(SmbFile, "write", killing)
        with pytest.raises(DeliveryError) as raised:
            await smb.deliver(document)
    assert raised.value.transient
    assert "localhost is away" in str(raised.value)
    [left] = smb.content()
    assert left.endswith(".part")
    smb.server.start()
    await smb.deliver(document)
    assert smb.content() == {f"{ALICES}/{FIRST}": document.path.read_bytes()}


async def test_a_server_killed_after_the_renaming_has_the_document_once(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    rename = SmbFile.rename

    def killing(self: SmbFile, name: str) -> bool:
        renamed = rename(self, name)
        smb.server.kill()
        return renamed

    with monkeypatch.context() as patch:
        patch.setattr(SmbFile, "rename", killing)
        with pytest.raises(DeliveryError) as raised:
            await smb.deliver(document)
    assert raised.value.transient
    assert smb.ledger.done == {}
    smb.server.start()
    await smb.deliver(document)
    assert smb.content() == {f"{ALICES}/{FIRST}": document.path.read_bytes()}
    assert smb.ledger.done[1].name == FIRST


async def test_a_server_killed_between_two_documents_delivers_the_rest(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_AT_ONCE", 1)
    two = documents(smb)
    create = SmbFolder.create

    def killing(self: SmbFolder, name: str) -> SmbFile | None:
        if "-2-" in name:
            smb.server.kill()
        return create(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(SmbFolder, "create", killing)
        with pytest.raises(DeliveryError):
            await smb.deliver(*two)
    assert set(smb.ledger.done) == {1}
    smb.server.start()
    await smb.deliver(*two)
    assert set(smb.content()) == {f"{ALICES}/{FIRST}", f"{ALICES}/{SECOND}"}


async def _renamed_and_killed(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch, document: SpooledDocument
) -> None:
    rename = SmbFile.rename

    def killed(self: SmbFile, name: str) -> bool:
        rename(self, name)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SmbFile, "rename", killed)
        with pytest.raises(Killed):
            await smb.deliver(document)


async def test_where_the_server_has_no_numbers_the_content_proves_that_a_file_is_ours(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    await _renamed_and_killed(smb, monkeypatch, document)
    smb.ledger.notes["file 1"] = "0"
    await smb.deliver(document)
    assert set(smb.content()) == {f"{ALICES}/{FIRST}"}


async def test_the_same_page_of_somebody_else_is_not_taken_for_ours(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    theirs = smb.server.folder("scans") / ALICES / FIRST
    rename = SmbFile.rename

    def late(self: SmbFile, name: str) -> bool:
        if name == FIRST:
            theirs.write_bytes(document.path.read_bytes())
        return rename(self, name)

    def dying(self: SmbFolder, name: str) -> Any:
        if theirs.exists():
            raise DeliveryError("disturbed", reason=FilterStateReason.UNKNOWN_ERROR, transient=True)
        return status(self, name)

    status = SmbFolder.status
    with monkeypatch.context() as patch:
        patch.setattr(SmbFile, "rename", late)
        patch.setattr(SmbFolder, "status", dying)
        with pytest.raises(DeliveryError):
            await smb.deliver(document)
    await smb.deliver(document)
    assert set(smb.content()) == {f"{ALICES}/{FIRST}", f"{ALICES}/{FIRST.replace('.tif', ' (2).tif')}"}


@pytest.mark.parametrize("moment", ["create", "remove"])
async def test_a_former_try_that_finishes_while_its_file_is_removed_is_noticed(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    document = smb.document()
    alices = smb.server.folder("scans") / ALICES

    def killed(self: SmbFile, name: str) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SmbFile, "rename", killed)
        with pytest.raises(Killed):
            await smb.deliver(document)
    call = getattr(SmbFolder, moment)

    def late(self: SmbFolder, name: str) -> Any:
        for left in alices.glob("*.part"):
            left.rename(alices / FIRST)
        return call(self, name)

    monkeypatch.setattr(SmbFolder, moment, late)
    await smb.deliver(document)
    assert smb.content() == {f"{ALICES}/{FIRST}": document.path.read_bytes()}


async def test_a_file_somebody_changed_after_the_crash_is_left_alone(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    await _renamed_and_killed(smb, monkeypatch, document)
    (smb.server.folder("scans") / ALICES / FIRST).write_bytes(b"changed")
    await smb.deliver(document)
    found = smb.content()
    assert found[f"{ALICES}/{FIRST}"] == b"changed"
    assert found[f"{ALICES}/{FIRST.replace('.tif', ' (2).tif')}"] == document.path.read_bytes()


async def test_a_crash_while_looking_for_what_a_former_crash_left_doubles_nothing(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    await _renamed_and_killed(smb, monkeypatch, document)

    def killed(self: SmbFolder, name: str) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SmbFolder, "status", killed)
        with pytest.raises(Killed):
            await smb.deliver(document)
    assert len(smb.content()) == 2  # the document, and a temporary file
    await smb.deliver(document)
    assert smb.content() == {f"{ALICES}/{FIRST}": document.path.read_bytes()}


async def test_a_file_of_somebody_else_that_got_the_number_of_ours_is_not_taken_for_it(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    await _renamed_and_killed(smb, monkeypatch, document)
    ours = smb.server.folder("scans") / ALICES / FIRST
    # In place: the number and the size stay.
    theirs = bytes(document.size)
    ours.write_bytes(theirs)
    await smb.deliver(document)
    second = f"{ALICES}/{FIRST.replace('.tif', ' (2).tif')}"
    assert smb.content() == {f"{ALICES}/{FIRST}": theirs, second: document.path.read_bytes()}


async def test_where_files_may_not_be_read_the_number_proves_that_one_is_ours(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    await _renamed_and_killed(smb, monkeypatch, document)

    def unreadable(self: SmbPublication, name: str) -> bool:
        raise DeliveryError("no", reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED, transient=False)

    monkeypatch.setattr(SmbPublication, "holds_document", unreadable)
    await smb.deliver(document)
    assert set(smb.content()) == {f"{ALICES}/{FIRST}"}


async def test_two_scan_servers_that_want_the_same_names_at_once_lose_no_document(
    smb: SmbSite, tmp_path: Path
) -> None:
    other = SmbSite(smb.server, tmp_path / "other-spool")
    expected: list[bytes] = []

    async def until_delivered(site: SmbSite, number: int) -> None:
        content = f"{site.spool.name} {number}".encode() * 500
        path = site.spool / f"racing-{number}"
        path.write_bytes(content)
        document = dataclasses.replace(
            site.document(), path=path, size=len(content), sha256=sha256(content).hexdigest()
        )
        expected.append(content)
        job = dataclasses.replace(site.job, token=f"{site.spool.name}-{number}")
        order, ledger = DeliveryOrder(site.destination(), job, NO_INSTRUCTIONS, [document]), MemoryLedger()
        while not ledger.done:
            try:
                await site.filter.deliver(order, ledger)
            except DeliveryError as error:
                if not error.transient:
                    raise

    await asyncio.gather(*(until_delivered(site, n) for n in range(12) for site in (smb, other)))
    assert sorted(smb.content().values()) == sorted(expected)
