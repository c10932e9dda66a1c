"""The receive window of one connection: one buffer, read into in place, handed out without copies. No I/O."""

from __future__ import annotations

from typing import Final

SMALL: Final = 16_384
LARGE: Final = 262_144
_MAX_POOLED: Final = 32


class BufferPool:
    """Keeps a few large buffers warm: a fresh one costs page faults on every upload."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        """Return a buffer of LARGE octets."""
        return self._free.pop() if self._free else bytearray(LARGE)

    def give_back(self, buffer: bytearray) -> None:
        """Take a buffer back for the next upload."""
        if len(self._free) < _MAX_POOLED:
            self._free.append(buffer)


class Window:
    """Octets received and not yet consumed.

    ``buffer[start:ready]`` is decoded body (or head) for the reader, ``buffer[raw:end]`` is what came off
    the wire and is not decoded yet. Between them lies nothing of use: chunk headers that were cut out.
    Indices are valid until the next await.
    """

    __slots__ = ("_pool", "buffer", "end", "raw", "ready", "start")

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self.buffer = bytearray(SMALL)
        self.start = self.ready = self.raw = self.end = 0

    @property
    def is_large(self) -> bool:
        """Whether the buffer is one of the pool's."""
        return len(self.buffer) == LARGE

    @property
    def unread(self) -> int:
        """Octets ready for the reader."""
        return self.ready - self.start

    def room(self) -> memoryview:
        """Return free space to receive into; empty when the window is full."""
        if self.end == len(self.buffer) and (self.start or self.raw != self.ready):
            self._compact()
        return memoryview(self.buffer)[self.end :]

    def is_full(self) -> bool:
        """Whether nothing more fits until the reader consumes."""
        return self.end == len(self.buffer) and self.start == 0 and self.raw == self.ready

    def received(self, count: int) -> None:
        """Note that ``count`` octets were received into :meth:`room`."""
        self.end += count

    def decode(self, count: int) -> None:
        """Make the next ``count`` raw octets ready for the reader."""
        if self.raw != self.ready:
            view = memoryview(self.buffer)
            view[self.ready : self.ready + count] = view[self.raw : self.raw + count]
        self.ready += count
        self.raw += count

    def skip_raw(self, count: int) -> None:
        """Drop ``count`` raw octets: framing, not body."""
        self.raw += count
        if self.start == self.ready:
            self._restart()

    def take_raw(self, count: int) -> bytes:
        """Return the next ``count`` raw octets and drop them."""
        taken = bytes(memoryview(self.buffer)[self.raw : self.raw + count])
        self.skip_raw(count)
        return taken

    def consume_to(self, position: int) -> None:
        """Note that the reader is done with everything before ``position``."""
        self.start = position
        if self.start == self.ready:
            self._restart()

    def _restart(self) -> None:
        """Continue where raw octets begin, or at the front: decoding then moves nothing."""
        if self.raw == self.end:
            self.raw = self.end = 0
        self.start = self.ready = self.raw

    def clear(self) -> None:
        """Drop everything."""
        self.start = self.ready = self.raw = self.end = 0

    def grow(self) -> None:
        """Move to a large buffer, for an upload."""
        if self.is_large:
            return
        large = self._pool.take()
        self._move_into(large)

    def shrink(self) -> None:
        """Give a large buffer back if what is left fits a small one."""
        if self.is_large and (self.ready - self.start) + (self.end - self.raw) <= SMALL // 2:
            large = self.buffer
            self._move_into(bytearray(SMALL))
            self._pool.give_back(large)

    def release(self) -> None:
        """Give a large buffer back, whatever it holds; the connection is gone."""
        if self.is_large:
            self._pool.give_back(self.buffer)
            self.buffer = bytearray(0)
            self.start = self.ready = self.raw = self.end = 0

    def _move_into(self, target: bytearray) -> None:
        ready, raw = self.ready - self.start, self.end - self.raw
        target[:ready] = memoryview(self.buffer)[self.start : self.ready]
        target[ready : ready + raw] = memoryview(self.buffer)[self.raw : self.end]
        self.buffer = target
        self.start, self.ready, self.raw, self.end = 0, ready, ready, ready + raw

    def _compact(self) -> None:
        view = memoryview(self.buffer)
        ready, raw = self.ready - self.start, self.end - self.raw
        view[:ready] = view[self.start : self.ready]
        view[ready : ready + raw] = view[self.raw : self.end]
        self.start, self.ready, self.raw, self.end = 0, ready, ready, ready + raw
