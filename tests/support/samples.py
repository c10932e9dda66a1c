"""Messages that others captured: where they lie, what each is expected to say, and a server that plays them.

They belong to others, so none is in this repository: ``POSTSCAN_SAMPLES`` names the folder that holds
``samples/`` and ``examples/``; else it is ``../shared/spec`` beside the repository.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.client import parse_headers
from io import BytesIO
from pathlib import Path

from postscan.dpws.client import SoapClient
from postscan.soap.envelope import Envelope, read_envelope
from postscan.soap.names import WXF
from postscan.soap.xml import parse

# Read when tests are collected: they start with an environment of their own.
NAMED = os.environ.get("POSTSCAN_SAMPLES")
FOLDER = Path(NAMED) if NAMED else Path(__file__).parents[2].parent / "shared" / "spec"
MISSING = (
    f"the captured messages are not in {FOLDER.name if NAMED else '../shared/spec'}: "
    "set POSTSCAN_SAMPLES to the folder that holds samples/ and examples/"
)

Expectation = Callable[[bytes], Awaitable[None]]
EXPECTED: dict[str, Expectation] = {}


def sample_files() -> list[str]:
    """Return the paths of all captured messages and schemas, below the folder; none where it is missing.

    :raises FileNotFoundError: the folder was named, and is not there.
    """
    if NAMED and not (FOLDER / "samples").is_dir():
        raise FileNotFoundError(MISSING)
    found = (p for part in ("samples", "examples") for p in sorted((FOLDER / part).rglob("*")))
    return [p.relative_to(FOLDER).as_posix() for p in found if p.is_file() and p.suffix != ".md"]


def expects(*paths: str) -> Callable[[Expectation], Expectation]:
    """Declare what is expected of samples, by their paths below the folder."""

    def declare(expectation: Expectation) -> Expectation:
        for path in paths:
            assert path not in EXPECTED, path
            EXPECTED[path] = expectation
        return expectation

    return declare


def message(data: bytes) -> Envelope:
    """Read an envelope."""
    return read_envelope(parse(data))


def split_http(data: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Split a captured HTTP message: first line, headers by lower-case name, body."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
    head, _, body = data.partition(end)
    first, _, lines = head.partition(b"\n")
    headers = parse_headers(BytesIO(lines + b"\r\n\r\n"))
    return first.strip(), {name.lower(): value for name, value in headers.items()}, body


def over_http(body: bytes) -> bytes:
    """Return an answer that carries an envelope."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def playing(said: bytes) -> AsyncIterator[str]:
    """Answer every request with these octets, and close; yields the URL."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            _, headers, _ = split_http(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(int(headers.get("content-length", "0")))
            writer.write(said)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(play, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/device"
    finally:
        listener.close()
        await listener.wait_closed()


async def got(said: bytes, message_id: str) -> Envelope:
    """Send a Get with a message id to a device that says just this, and return what our client reads."""
    async with playing(said) as url, SoapClient(timeout_seconds=20) as client:
        return await client.call(url, f"{WXF}/Get", None, message_id=message_id)
