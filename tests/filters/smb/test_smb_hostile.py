"""A hostile file server, or somebody between it and us: nothing is believed, nothing takes for ever."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from postscan.filters.contract import DeliveryError
from postscan.filters.smb.folder import FileStatus, SmbFolder
from support.smb import HOST, SmbSite, at, relay, without_signature
from testservers.fileserver import SCANNER, FileServer

_PATIENCE: Final = 120.0
_COMMAND, _STATUS, _FLAGS, _SESSION = slice(12, 14), slice(8, 12), slice(16, 20), slice(40, 48)
_SESSION_SETUP, _CREATE, _WRITE, _FLUSH, _SET_INFO = 1, 5, 9, 7, 17
_PENDING: Final = 0x103
_ASYNC: Final = 0x2


@pytest.fixture
def signed(_samba: None, tmp_path: Path) -> Iterator[SmbSite]:
    """Run a server that signs and does not encrypt, so that somebody on the line reads all of it."""
    with FileServer(tmp_path / "signing", options={"server smb encrypt": "off"}) as server:
        yield SmbSite(server, tmp_path / "spool")


def command_of(message: bytes) -> int:
    return int.from_bytes(message[_COMMAND], "little")


async def failure(site: SmbSite) -> DeliveryError:
    async with asyncio.timeout(_PATIENCE):
        with pytest.raises(DeliveryError) as raised:
            await site.deliver(site.document())
    assert site.ledger.done == {}
    assert SCANNER.password not in f"{raised.value}{raised.value.what_to_do}{raised.value.__cause__!r}"
    return raised.value


@pytest.mark.parametrize(
    "forged", [3, _CREATE, _WRITE, _FLUSH, _SET_INFO], ids=["tree", "create", "write", "flush", "rename"]
)
async def test_an_answer_that_says_to_be_one_to_a_logon_is_not_believed_without_signature(
    signed: SmbSite, forged: int
) -> None:
    def forge(message: bytes) -> bytes:
        if command_of(message) != forged:
            return message
        plain = without_signature(message)
        return plain[:12] + _SESSION_SETUP.to_bytes(2, "little") + plain[14:40] + b"\xad\xde" + plain[42:]

    with relay(signed.server.port, forge) as between:
        signed.use(at(between.port))
        error = await failure(signed)
    assert error.transient
    assert "not to be trusted" in str(error)


async def test_a_server_that_is_always_about_to_answer_is_away(signed: SmbSite) -> None:
    over = threading.Event()

    def stall(message: bytes) -> bytes | Iterator[bytes]:
        return promises(message) if command_of(message) == _CREATE else message

    def promises(message: bytes) -> Iterator[bytes]:
        flags = int.from_bytes(message[_FLAGS], "little") | _ASYNC
        body = struct.pack("<HBBI", 9, 0, 0, 0)
        while not over.wait(0.05):
            plain = (
                message[:8] + _PENDING.to_bytes(4, "little") + message[12:16] + flags.to_bytes(4, "little")
            )
            yield plain + message[20:48] + bytes(16) + body

    with relay(signed.server.port, stall) as between:
        signed.use(at(between.port, answer_seconds=2))
        try:
            error = await failure(signed)
        finally:
            over.set()
    assert error.transient
    assert "does not answer" in str(error)


async def test_an_answer_that_takes_longer_and_says_so_is_waited_for(signed: SmbSite) -> None:
    def late(message: bytes) -> bytes | Iterator[bytes]:
        return promised(message) if command_of(message) == _CREATE else message

    def promised(message: bytes) -> Iterator[bytes]:
        flags = int.from_bytes(message[_FLAGS], "little") | _ASYNC
        plain = message[:8] + _PENDING.to_bytes(4, "little") + message[12:14] + bytes(2)
        for _ in range(3):
            yield (
                plain
                + flags.to_bytes(4, "little")
                + message[20:48]
                + bytes(16)
                + struct.pack("<HBBI", 9, 0, 0, 0)
            )
            time.sleep(0.05)
        yield message

    with relay(signed.server.port, late) as between:
        signed.use(at(between.port))
        await signed.deliver(signed.document())
    assert len(signed.content()) == 1


async def test_a_logon_with_octets_changed_anywhere_is_a_failure_and_no_defect(signed: SmbSite) -> None:
    chance = random.Random(5)
    for _ in range(60):
        number, place, value = chance.randrange(3), chance.random(), chance.randrange(1, 256)
        seen: list[bytes] = []

        def change(
            message: bytes,
            seen: list[bytes] = seen,
            number: int = number,
            place: float = place,
            value: int = value,
        ) -> bytes:
            seen.append(message)
            if len(seen) - 1 != number:
                return message
            at_octet = int(place * len(message))
            return message[:at_octet] + bytes([message[at_octet] ^ value]) + message[at_octet + 1 :]

        with relay(signed.server.port, change) as between:
            signed.use(at(between.port, connect_seconds=1, answer_seconds=1))
            # Some octets mean nothing: then it is delivered.
            with contextlib.suppress(DeliveryError):
                async with asyncio.timeout(_PATIENCE):
                    await signed.deliver(signed.document())


def _endless(link: socket.socket, octets: bytes) -> None:
    while True:
        link.sendall(octets)


def _slowly(link: socket.socket, _octets: bytes) -> None:
    link.sendall(b"\x00\xff\xff\xff")
    while True:
        link.sendall(b"\xfe")
        time.sleep(0.05)


def _once(link: socket.socket, octets: bytes) -> None:
    link.sendall(octets)
    link.recv(1 << 20)


_SMB2: Final = b"\xfeSMB\x40\x00" + bytes(58)
ANSWERS: Final[dict[str, tuple[Callable[[socket.socket, bytes], None], bytes]]] = {
    "length-of-4-GB": (_once, b"\xff\xff\xff\xff"),
    "16-MB-octet-by-octet": (_slowly, b""),
    "empty-messages-for-ever": (_endless, bytes(4)),
    "zeros-for-ever": (_endless, bytes(1 << 20)),
    "a-banner": (_endless, b"220 mail.example.com ESMTP\r\n"),
    "smb-1": (_once, b"\x00\x00\x00\x23\xffSMB\x72" + bytes(30)),
    "a-header-and-nothing": (_once, struct.pack(">I", 64) + _SMB2),
    "half-a-header": (_once, struct.pack(">I", 10) + _SMB2[:10]),
    "an-encrypted-nothing": (_once, struct.pack(">I", 60) + b"\xfdSMB" + bytes(56)),
    "a-chain-without-end": (_once, struct.pack(">I", 64) + _SMB2[:20] + b"\x01\x00\x00\x00" + _SMB2[24:]),
    "many-contexts": (
        _once,
        struct.pack(">I", 64 + 64)
        + _SMB2
        + struct.pack("<HHHH", 65, 3, 0x0311, 0xFFFF)
        + bytes(48)
        + struct.pack("<HHI", 128, 0xFFFF, 128),
    ),
}


@contextmanager
def scripted(answer: Callable[[socket.socket, bytes], None], octets: bytes) -> Iterator[int]:
    """Run a listener that reads what comes and answers with something of its own; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link = listener.accept()[0]
                    taken.append(link)
                    link.recv(1 << 16)
                    with contextlib.suppress(OSError):
                        answer(link, octets)
                    link.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            for link in [*taken, listener]:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)
            thread.join(_PATIENCE)
            for link in taken:
                link.close()


@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_is_no_file_server_is_a_failure_that_is_told(tmp_path: Path, answer: str) -> None:
    site = SmbSite(FileServer(tmp_path / "never-started"), tmp_path / "spool")
    with scripted(*ANSWERS[answer]) as port:
        site.use(at(port, connect_seconds=1, answer_seconds=1))
        error = await failure(site)
    assert error.transient
    assert HOST in str(error)
    assert not [one for one in threading.enumerate() if one.name == f"msg_worker-127.0.0.1:{port}"]


async def test_a_file_that_grows_for_ever_is_read_no_further_than_the_document(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = smb.document()
    await smb.deliver(document)
    [name] = smb.content()
    (smb.server.folder("scans") / name).write_bytes(bytes(30 << 20))
    read = SmbFolder.read
    octets: list[int] = []

    def counting(self: SmbFolder, name: str, most: int) -> Iterator[bytes]:
        for piece in read(self, name, most):
            octets.append(len(piece))
            yield piece

    def lying(self: SmbFolder, name: str) -> FileStatus | None:
        found = status(self, name)
        return FileStatus(document.size) if found is not None else None

    status = SmbFolder.status
    with monkeypatch.context() as patch:
        patch.setattr(SmbFolder, "status", lying)
        patch.setattr(SmbFolder, "read", counting)
        smb.ledger.done.clear()
        await smb.deliver(document)
    assert 0 < sum(octets) <= document.size + 1
