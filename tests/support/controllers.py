"""Controllers of the test domain that a test needs besides the one there is: a second one, and a slow way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from postscan.cli.pki import KeyAlgorithm, issue_server, write_pair
from support.domain import Domain
from testdomain.controller import Controller
from testdomain.facts import CONTROLLER
from testdomain.namespace import Namespace

SECOND: Final = "dc2.dsm.test"
SECOND_ADDRESS: Final = "10.53.0.2"
_LDAPS: Final = 636


class Line:
    """A line to the controller's LDAPS port that a test may hold: what is sent waits, and nothing is lost."""

    def __init__(self, address: str) -> None:
        self.port = 0
        self.connections = 0
        self._address = address
        self._open = asyncio.Event()
        self._open.set()
        self._waiting = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def controller(self) -> str:
        """What [directory] controllers names."""
        return f"{CONTROLLER}:{self.port}"

    def hold(self) -> None:
        """Let no answer of the controller through from now on."""
        self._open.clear()
        self._waiting.clear()

    def release(self) -> None:
        """Let through what waits, and all that follows."""
        self._open.set()

    async def waiting(self) -> None:
        """Wait until an answer waits, or somebody connects, while the line is held."""
        await self._waiting.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection(self._address, _LDAPS)
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, there_writer, None, None))
            group.create_task(_copy(there_reader, writer, self._open, self._waiting))


async def _copy(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    gate: asyncio.Event | None,
    waiting: asyncio.Event | None,
) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65_536):
            if gate is not None and waiting is not None and not gate.is_set():
                waiting.set()
                await gate.wait()
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def line(domain: Domain) -> AsyncIterator[Line]:
    """Run a line to the controller while the block runs."""
    made = Line(domain.address)
    connections: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.ensure_future(made.serve(reader, writer)))

    server = await asyncio.start_server(accepted, domain.address, 0)
    made.port = int(server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        made.release()
        server.close()
        for one in connections:
            one.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


class SecondController(Controller):
    """Another controller beside the first, with a name, an address, a certificate and a copy of the data."""

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        with self.namespace.inside(), pytest.MonkeyPatch.context() as patch:
            patch.setattr("testdomain.controller.ADDRESS", SECOND_ADDRESS)
            super()._wait_until_ready(process)

    def stop(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("testdomain.controller.ADDRESS", SECOND_ADDRESS)
            super().stop()


@contextmanager
def second_controller(domain: Domain, folder: Path) -> Iterator[Controller]:
    """Run dc2.dsm.test at 10.53.0.2 while the block runs; its name leads there.

    It begins with the data the first one has now. There is no replication between the two.
    """
    space = domain.controller.namespace
    domain.stop()  # a database is copied while nobody writes to it
    copied = domain.folder.copy(folder / "d")
    domain.start()
    certificate = copied.path / "pki" / "dc2.pem"
    pair = issue_server(domain.authority(), SECOND, algorithm=KeyAlgorithm.RSA)
    write_pair(pair, certificate, certificate.with_suffix(".key"))
    text = copied.settings.read_text()
    for old, new in (("interfaces = lo eth0", f"interfaces = {SECOND_ADDRESS}/32"), ("dc1.pem", "dc2.pem")):
        assert old in text
        text = text.replace(old, new)
    copied.settings.write_text(text.replace("dc1.key", "dc2.key"))
    with _address(space), _name():
        controller = SecondController(copied, space)
        try:
            controller.start()
            yield controller
        finally:
            controller.thaw()
            controller.stop()


@contextmanager
def _address(space: Namespace) -> Iterator[None]:
    # Not where the first one looks for its addresses when it starts again.
    place = [f"{SECOND_ADDRESS}/32", "dev", "eth1"]
    subprocess.run(["ip", "-n", space.name, "address", "add", *place], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["ip", "-n", space.name, "address", "del", *place], check=True, timeout=30)


@contextmanager
def _name() -> Iterator[None]:
    original: Any = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return original(SECOND_ADDRESS if host in (SECOND, SECOND.encode()) else host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield
