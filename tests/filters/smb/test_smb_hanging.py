"""A server that hangs keeps nobody else waiting, and whoever waits for it can be stopped (R-7)."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from postscan.filters.contract import DeliveryError, DeliveryOrder, Destination
from postscan.filters.smb.folder import SmbFile
from support.delivery import NO_INSTRUCTIONS, MemoryLedger
from support.smb import ALICES, FIRST, SmbSite, at
from testservers.fileserver import FileServer

OTHER = "files.example.com"
_PATIENCE = 100.0


def _begin(smb: SmbSite, number: int, host: str) -> asyncio.Task[None]:
    order = DeliveryOrder(
        Destination(rf"\\{host}\scans", host), smb.job, NO_INSTRUCTIONS, [smb.document(number)]
    )
    return asyncio.create_task(smb.filter.deliver(order, MemoryLedger()))


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(_PATIENCE):
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in done)


async def test_a_frozen_server_keeps_nobody_else_waiting(smb: SmbSite, tmp_path: Path) -> None:
    with FileServer(tmp_path / "other") as other:
        smb.use(at(smb.server.port), at(other.port, host=OTHER), threads=2)
        other.freeze()
        hanging = [_begin(smb, 100 + number, OTHER) for number in range(8)]
        await asyncio.sleep(0.2)
        await asyncio.gather(*(_begin(smb, number, "localhost") for number in range(1, 9)))
        assert len(smb.content()) == 8
        assert not any(task.done() for task in hanging)
        await _cancel(*hanging)
        other.thaw()


async def test_a_delivery_to_a_mute_listener_can_be_stopped(smb: SmbSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        smb.use(at(mute.getsockname()[1]))
        hanging = _begin(smb, 1, "localhost")
        await asyncio.sleep(0.2)
        await _cancel(hanging)


async def test_a_delivery_whose_octets_nobody_takes_can_be_stopped(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SmbFile.write
    writing = threading.Event()

    def freezing(self: SmbFile, octets: bytes, offset: int) -> None:
        smb.server.freeze()
        writing.set()
        write(self, octets, offset)

    monkeypatch.setattr(SmbFile, "write", freezing)
    document = smb.document(content=bytes(8 << 20))
    hanging = asyncio.create_task(smb.deliver(document))
    await asyncio.to_thread(writing.wait)
    await asyncio.sleep(0.3)
    await _cancel(hanging)
    smb.server.thaw()


async def test_a_delivery_that_is_stopped_takes_its_temporary_file_away(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SmbFile.write
    writing, going_on = threading.Event(), threading.Event()

    def waiting(self: SmbFile, octets: bytes, offset: int) -> None:
        write(self, octets, offset)
        writing.set()
        going_on.wait(_PATIENCE)

    with monkeypatch.context() as patch:
        patch.setattr(SmbFile, "write", waiting)
        stopped = asyncio.create_task(smb.deliver(smb.document(content=bytes(20 << 20))))
        await asyncio.to_thread(writing.wait)
        stopped.cancel()
        await asyncio.sleep(0)
        going_on.set()
        await _cancel(stopped)
    assert smb.content() == {}
    await smb.deliver(smb.document())
    assert set(smb.content()) == {f"{ALICES}/{FIRST}"}


async def test_a_server_that_goes_on_after_a_stop_lets_the_next_try_finish_alone(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = SmbFile.rename
    renaming = threading.Event()

    def freezing(self: SmbFile, name: str) -> bool:
        smb.server.freeze()
        renaming.set()
        return rename(self, name)

    document = smb.document()
    with monkeypatch.context() as patch:
        patch.setattr(SmbFile, "rename", freezing)
        stopped = asyncio.create_task(smb.deliver(document))
        await asyncio.to_thread(renaming.wait)
        await asyncio.sleep(0.3)  # until the request is on its way
        await _cancel(stopped)
    smb.server.thaw()
    # While the server still works on what it was asked for, the next try is kept out.
    while not smb.ledger.done:
        try:
            await smb.deliver(document)
        except DeliveryError as error:
            if not error.transient:
                raise
            await asyncio.sleep(0.05)
    assert set(smb.content()) == {f"{ALICES}/{FIRST}"}
    assert smb.ledger.done[1].name == FIRST
