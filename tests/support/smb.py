"""What deliveries to file servers need: a Samba of one's own, documents, and ways to disturb both."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

from postscan.contracts.keywords import DocumentFormat
from postscan.core.secret import Secret
from postscan.filters.contract import (
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    JobFacts,
    ProbeOrder,
    SpooledDocument,
)
from postscan.filters.fileshare import FileShareFilter, FileShareSettings
from postscan.filters.smb.servers import Logon, SmbServer
from support.delivery import JOB, NO_INSTRUCTIONS, MemoryLedger
from testservers.fileserver import SCANNER, Account, FileServer

HOST = "localhost"
ALICES = "alice@example.com"
FIRST = "Invoice_2026-11-21_143005_alice_001.tif"
_SIGNED = 0x8
_FLAGS = slice(16, 20)


class Killed(BaseException):
    """What ends a delivery as kill -9 would: nothing that cleans up sees it."""


def at(port: int, account: Account = SCANNER, host: str = HOST, **values: object) -> SmbServer:
    """Return a server of this machine, with an account for NTLM."""
    known = SmbServer(
        host, Logon.NTLM, account.name, lambda: Secret(account.password), port=port, connect_to="127.0.0.1"
    )
    return dataclasses.replace(known, **values)  # type: ignore[arg-type] # whatever a test wants to be other


class SmbSite:
    """A file server, a filter that may write to it, and a spool."""

    def __init__(self, server: FileServer, spool: Path) -> None:
        self.server = server
        self.spool = spool
        self.host = HOST
        self.job: JobFacts = JOB
        self.ledger = MemoryLedger()
        spool.mkdir(exist_ok=True)
        self.use(at(server.port))

    def use(self, *servers: SmbServer, **settings: object) -> None:
        """Have a filter with other servers."""
        self.filter = FileShareFilter(
            FileShareSettings(servers=servers, zone=UTC, **settings)  # type: ignore[arg-type] # as above
        )

    def use_server(self, **values: object) -> None:
        """Have a filter whose server is set up differently."""
        self.use(at(self.server.port, **values))  # type: ignore[arg-type] # as above

    def document(self, number: int = 1, content: bytes | None = None) -> SpooledDocument:
        """Put a document into the spool."""
        data = f"page {number} ".encode() * 1000 if content is None else content
        path = self.spool / str(number)
        path.write_bytes(data)
        return SpooledDocument(
            document_id=number,
            number=number,
            format=DocumentFormat.TIFF_SINGLE_G4,
            path=path,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    def destination(self, path: str = "scans") -> Destination:
        r"""Return a destination; ``path`` is ``share`` or ``share\folder``."""
        return Destination(key=rf"\\{self.host}\{path}", label=rf"\\{self.host}\{path}")

    async def deliver(
        self, *documents: SpooledDocument, to: str = "scans", ledger: DeliveryLedger | None = None
    ) -> None:
        """Deliver documents to a share."""
        order = DeliveryOrder(self.destination(to), self.job, NO_INSTRUCTIONS, documents)
        await self.filter.deliver(order, ledger or self.ledger)

    async def probe(self, to: str = "scans") -> list[str]:
        """Prove a share."""
        return await self.filter.probe(ProbeOrder(self.destination(to), self.job, NO_INSTRUCTIONS))

    def content(self, share: str = "scans") -> dict[str, bytes]:
        """Return every file of a share, temporary ones included."""
        folder = self.server.folder(share)
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def folders(self, share: str = "scans") -> set[str]:
        """Return every folder of a share."""
        folder = self.server.folder(share)
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}


class Relay:
    """Passes octets between a client and a file server, and changes what the server says.

    :param change: is given each message of the server (without its length) and returns what is passed on: a
        message, or as many as there are.
    """

    def __init__(self, port: int, change: Callable[[bytes], bytes | Iterable[bytes]]) -> None:
        self._to = port
        self._change = change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open += [client, server]
                for source, sink, change in ((client, server, bytes), (server, client, self._change)):
                    threading.Thread(target=_pass_on, args=(source, sink, change), daemon=True).start()


def _pass_on(
    source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes | Iterable[bytes]]
) -> None:
    with contextlib.suppress(OSError, struct.error):
        while True:
            head = source.recv(4, socket.MSG_WAITALL)
            length = struct.unpack(">I", head)[0]
            changed = change(source.recv(length, socket.MSG_WAITALL))
            for message in [changed] if isinstance(changed, bytes) else changed:
                sink.sendall(struct.pack(">I", len(message)) + message)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def without_signature(message: bytes) -> bytes:
    """Return a message of SMB as one that was never signed."""
    flags = int.from_bytes(message[_FLAGS], "little") & ~_SIGNED
    return message[:16] + flags.to_bytes(4, "little") + message[20:48] + bytes(16) + message[64:]


@contextmanager
def relay(port: int, change: Callable[[bytes], bytes | Iterable[bytes]]) -> Iterator[Relay]:
    """Run a relay while the block runs."""
    made = Relay(port, change)
    try:
        yield made
    finally:
        made.close()
