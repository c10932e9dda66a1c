"""`python -m bench.event_sinks`: many event sinks in one process, which note how long events were under way.

Prints one JSON line with the ports once all listen, and one with what was measured for each line it reads;
ends when its input does. An event carries the moment it was raised, by the clock that all processes of a
machine share (CLOCK_MONOTONIC), behind the word in ``MARK``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import Final, cast

import uvloop

MARK: Final = b"raised-at-"
_ACCEPTED: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_SLOW_SECONDS: Final = 1.0
QUICK, SLOW, DEAD = "quick", "slow", "dead"


class Sinks:
    """Counts what arrives, by kind of sink; delays are in nanoseconds."""

    def __init__(self) -> None:
        self.delays: dict[str, list[int]] = {QUICK: [], SLOW: [], DEAD: []}
        self.last: dict[str, int] = {QUICK: 0, SLOW: 0, DEAD: 0}
        self.ends = 0

    def report(self) -> str:
        """Return what was measured since the last report."""
        measured = {"delays": self.delays, "last": self.last, "ends": self.ends}
        text = json.dumps(measured)
        self.delays, self.ends = {QUICK: [], SLOW: [], DEAD: []}, 0
        return text


class Sink(asyncio.Protocol):
    """One connection of a sink that answers at once, after a second, or never."""

    def __init__(self, sinks: Sinks, kind: str) -> None:
        self._sinks = sinks
        self._kind = kind
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take whatever requests are whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._take(self._buffer[end + 4 : end + 4 + length])
            self._buffer = self._buffer[end + 4 + length :]

    def _take(self, body: bytes) -> None:
        at = body.find(MARK)
        if at < 0:
            self._sinks.ends += 1
        else:
            now = time.monotonic_ns()
            raised = int(body[at + len(MARK) :].partition(b"<")[0])
            self._sinks.delays[self._kind].append(now - raised)
            self._sinks.last[self._kind] = now
        if self._kind == QUICK:
            self._answer()
        elif self._kind == SLOW:
            asyncio.get_running_loop().call_later(_SLOW_SECONDS, self._answer)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_ACCEPTED)


async def _serve(quick: int) -> None:
    loop, sinks = asyncio.get_running_loop(), Sinks()
    ports: dict[str, list[int]] = {QUICK: [], SLOW: [], DEAD: []}
    servers = []
    for kind, count in ((QUICK, quick), (SLOW, 1), (DEAD, 1)):
        for _ in range(count):
            made = await loop.create_server(
                partial(Sink, sinks, kind),
                "127.0.0.1",
                0,
                backlog=1_024,
            )
            servers.append(made)
            ports[kind].append(made.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(sinks.report(), flush=True)
    for server in servers:
        server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
