"""A caller that feeds the MTOM parser from a window, as a server does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from postscan.soap.mime import parse_content_type
from postscan.soap.mtom import (
    DEFAULT_LIMITS,
    MessageEnd,
    MtomLimits,
    MtomParser,
    PartBegin,
    PartData,
    PartEnd,
    RootPart,
)


@dataclass
class Message:
    """A message taken apart: the order of its parts, and their octets."""

    root: bytes | None = None
    parts: list[tuple[str, str, bytes]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)


class Reader:
    """Feeds chunks the way a server does: what was not consumed goes in front of the next chunk."""

    def __init__(self, content_type: str, limits: MtomLimits = DEFAULT_LIMITS) -> None:
        self.parser = MtomParser(parse_content_type(content_type), limits)
        self.message = Message()
        self.most_kept = 0
        self._kept = b""
        self._begun: PartBegin | None = None
        self._data = bytearray()
        self._ended = False

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        # Octets around the window that are none of the parser's business.
        before, after = b"\r\n--B--\r\n", b"\r\n--B\r\n"
        buffer = bytearray(before + self._kept + chunk + after)
        start, end = len(before), len(buffer) - len(after)
        while True:
            event, position = self.parser.next_event(buffer, start, end, final=final)
            assert start <= position <= end
            start = position
            if event is None:
                break
            self._handle(event, buffer)
            if final and self._ended:
                break
        self._kept = bytes(buffer[start:end])
        self.most_kept = max(self.most_kept, len(self._kept))

    def _handle(self, event: object, buffer: bytearray) -> None:
        assert not self._ended
        if isinstance(event, RootPart):
            assert self._begun is None
            self.message.root = event.xml
            self.message.order.append("root")
        elif isinstance(event, PartBegin):
            assert self._begun is None
            self._begun = event
        elif isinstance(event, PartData):
            assert event.start < event.end
            self._data += buffer[event.start : event.end]
        elif isinstance(event, PartEnd):
            assert self._begun is not None
            self.message.parts.append((self._begun.content_id, self._begun.content_type, bytes(self._data)))
            self.message.order.append(self._begun.content_id)
            self._begun, self._data = None, bytearray()
        else:
            assert isinstance(event, MessageEnd)
            self._ended = True

    def read(self, chunks: Iterable[bytes]) -> Message:
        for chunk in chunks:
            self.feed(chunk)
        self.feed(b"", final=True)
        assert self._ended
        return self.message
