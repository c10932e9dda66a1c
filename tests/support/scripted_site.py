"""An HTTP server that says what a test wants said, over a real socket: for answers that no Apache gives."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

Script = Callable[[str, str], bytes | None]
"""What is said to a method and a path; None ends the connection without a word."""


@dataclass
class ScriptedSite:
    """Remembers the heads of all requests, and answers as its script says."""

    script: Script
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def origin(self) -> str:
        """Where it is reached."""
        return f"https://localhost:{self.port}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                length = next(
                    (
                        line.partition(":")[2]
                        for line in head.splitlines()
                        if line.lower().startswith("content-length")
                    ),
                    "0",
                )
                await reader.readexactly(int(length))
                method, path, _ = head.split(" ", 2)
                said = self.script(method, path)
                if said is None:
                    return
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return
        finally:
            writer.close()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an answer; underscores in the names of headers mean hyphens."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def properties(*, folder: bool = False, length: int | None = None) -> bytes:
    """Return the answer to PROPFIND for something that is there."""
    kind = "<resourcetype><collection/></resourcetype>" if folder else "<resourcetype/>"
    size = "" if length is None else f"<getcontentlength>{length}</getcontentlength>"
    body = (
        '<?xml version="1.0"?><multistatus xmlns="DAV:"><response><href>/x</href><propstat>'
        f"<prop>{kind}{size}</prop><status>HTTP/1.1 200 OK</status></propstat></response></multistatus>"
    )
    return answer(207, body.encode())


@asynccontextmanager
async def scripted(pki: Path, script: Script) -> AsyncIterator[ScriptedSite]:
    """Run a server with the certificate of localhost in ``pki``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    site = ScriptedSite(script)
    server = await asyncio.start_server(site.talk, "127.0.0.1", 0, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        await server.wait_closed()
