"""Where a body ends: counted and chunked framing over a window. No I/O."""

from __future__ import annotations

import re
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, Protocol

from postscan.dpws.http.messages import HttpRefused
from postscan.dpws.http.window import Window

MAX_CHUNK_LINE: Final = 256
MAX_TRAILER_BYTES: Final = 8_192
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[\x20-\x7e\t]*)?")


class Framing(Protocol):
    """Turns raw octets of a window into body octets."""

    complete: bool

    def advance(self, window: Window) -> None:
        """Decode what has arrived; sets ``complete`` at the body's last octet; raises HttpRefused."""


class CountedFraming:
    """A body of ``length`` octets (Content-Length)."""

    __slots__ = ("complete", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.complete = length == 0

    def advance(self, window: Window) -> None:
        """Decode what has arrived."""
        count = min(self.remaining, window.end - window.raw)
        if count:
            window.decode(count)
            self.remaining -= count
            self.complete = self.remaining == 0


class _Expecting(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()


class ChunkedFraming:
    """A chunked body (RFC 9112, 7.1), read strictly: hexadecimal ASCII sizes, CRLF, bounded lines."""

    __slots__ = ("_expecting", "_left", "_max_body", "_total", "_trailer", "complete")

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body = max_body_bytes
        self._total = 0
        self._left = 0
        self._trailer = 0
        self._expecting = _Expecting.SIZE
        self.complete = False

    def advance(self, window: Window) -> None:
        """Decode what has arrived; chunk headers are cut out in place."""
        while not self.complete and window.raw < window.end:
            if self._expecting is _Expecting.DATA:
                count = min(self._left, window.end - window.raw)
                window.decode(count)
                self._left -= count
                if self._left == 0:
                    self._expecting = _Expecting.DATA_END
            elif self._expecting is _Expecting.DATA_END:
                if window.end - window.raw < 2:
                    return
                if window.buffer[window.raw : window.raw + 2] != b"\r\n":
                    raise HttpRefused(HTTPStatus.BAD_REQUEST, "chunk is longer than its size says")
                window.skip_raw(2)
                self._expecting = _Expecting.SIZE
            elif not self._line(window):
                return

    def _line(self, window: Window) -> bool:
        limit = MAX_CHUNK_LINE if self._expecting is _Expecting.SIZE else MAX_TRAILER_BYTES
        at = window.buffer.find(b"\n", window.raw, window.end)
        if at < 0:
            if window.end - window.raw > limit:
                raise HttpRefused(HTTPStatus.BAD_REQUEST, "chunk header or trailer line too long")
            return False
        line = bytes(window.buffer[window.raw : at])
        window.skip_raw(at + 1 - window.raw)
        if not line.endswith(b"\r") or len(line) > limit:
            raise HttpRefused(HTTPStatus.BAD_REQUEST, "malformed line in a chunked body")
        if self._expecting is _Expecting.SIZE:
            self._size(line[:-1])
        else:
            self._trailer += len(line)
            if self._trailer > MAX_TRAILER_BYTES:
                raise HttpRefused(HTTPStatus.BAD_REQUEST, "trailer too long")
            self.complete = line == b"\r"
        return True

    def _size(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise HttpRefused(HTTPStatus.BAD_REQUEST, "malformed chunk size")
        self._left = int(found.group(1), 16)
        self._total += self._left
        if self._total > self._max_body:
            raise HttpRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "chunked body too large")
        self._expecting = _Expecting.DATA if self._left else _Expecting.TRAILER


def framing_for(length: int | None, max_body_bytes: int) -> Framing:
    """Return the framing of a body: counted for a length, chunked for None."""
    return ChunkedFraming(max_body_bytes) if length is None else CountedFraming(length)
