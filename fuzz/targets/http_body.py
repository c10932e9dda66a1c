"""Chunked bodies: the same octets, or the same refusal, however they arrive."""

from __future__ import annotations

from typing import Final

from fuzz.mutation import mutate_lines
from fuzz.target import Target, must
from postscan.dpws.http.framing import ChunkedFraming
from postscan.dpws.http.messages import HttpRefused
from postscan.dpws.http.window import BufferPool, Window

_LIMIT: Final = 100_000


def run(data: bytes) -> None:
    """Read a body at once and in pieces."""
    whole = _read(data, len(data) or 1)
    for size in (1, 3, 257):
        in_pieces = _read(data, size)
        must(in_pieces == whole, f"{whole!r} at once, {in_pieces!r} in pieces of {size}")
    must(len(whole[0]) <= _LIMIT, f"{len(whole[0])} octets of body")


def _read(data: bytes, size: int) -> tuple[bytes, object]:
    """Return the octets of the body, and whether it is complete or with which status it was refused."""
    window, framing = Window(BufferPool()), ChunkedFraming(_LIMIT)
    body = bytearray()
    at = 0
    while at < len(data) and not framing.complete:
        room = window.room()
        must(len(room) > 0, "the window is full, although its reader takes everything")
        piece = data[at : at + min(size, len(room))]
        room[: len(piece)] = piece
        window.received(len(piece))
        at += len(piece)
        try:
            framing.advance(window)
        except HttpRefused as error:
            # What came before the refusal depends on the pieces, and nobody uses it.
            return b"", int(error.status)
        body += window.buffer[window.start : window.ready]
        window.consume_to(window.ready)
    return bytes(body), framing.complete


def seeds() -> list[bytes]:
    """Return chunked bodies."""
    return [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"A;name=value\r\n0123456789\r\n1\r\nx\r\n000\r\nTrailer: y\r\n\r\n",
        b"2bc\r\n" + b"z" * 700 + b"\r\n0\r\n\r\nPOST / HTTP/1.1\r\n",
    ]


TARGET = Target("http_body", run, seeds, mutate_lines, words=(b"\r\n", b"0\r\n\r\n", b";", b"ffffffff"))
