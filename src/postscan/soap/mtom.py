"""Reads an MTOM message as it arrives: a push parser over the caller's buffer (dpws.md, 4.4; RFC 2046, 5.1).

The caller owns one window of octets and presents what it has; the parser answers with the next event and how
far it got. Attachment data is never copied: events name index ranges of the window. What the parser itself
holds is bounded by ``MtomLimits.max_root_bytes``, whatever the size of the attachments.

A delimiter is ``--boundary`` at the start of a line, followed by blanks and a line end, or ``--boundary--``
followed by blanks and a line end or the end of the message. The one CRLF (or LF, where no CR stands before
it) in front of it belongs to it. Everything else is data, kept octet for octet, however much it looks like
a boundary. One exception for devices that forget the line end before the last delimiter: where nothing but
white space follows to the end of the message, ``--boundary--`` also closes it in the middle of a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from postscan.soap.mime import ContentType, MimeError, PartHeaders, parse_part_headers, strip_content_id

_MAX_PADDING: Final = 256
_MAX_TRAILING: Final = 8
_AFTER_BOUNDARY: Final = rb"(?:(--)?[ \t]{0,%d}(?:(\r?\n)|\r?\Z)|-\Z)" % _MAX_PADDING
_AFTER = re.compile(_AFTER_BOUNDARY)
_TRAILING = re.compile(rb"[ \t\r\n]{0,%d}\Z" % _MAX_TRAILING)
_BLANK_LINE = re.compile(rb"[ \t]*\r?\n")
_END_OF_HEADERS = re.compile(rb"\n[ \t]*\r?\n")
_HEADER_START: Final = b"content-"
_CR: Final = 13
# Below this many lookalikes in a window, compiling a pattern for the boundary would cost more than it saves.
_LOOKALIKES: Final = 16
_IDENTITY_ENCODINGS: Final = frozenset({"", "binary", "8bit", "7bit"})


class MtomError(MimeError):
    """The message is torn, breaks the rules of multipart/related, or exceeds a limit."""


@dataclass(frozen=True, slots=True)
class MtomLimits:
    """What a message may cost, in octets and parts (abuse case 8).

    The caller's window must hold at least ``max_part_header_bytes`` and 512 octets more.
    """

    max_root_bytes: int = 262_144
    max_parts: int = 16
    max_part_header_bytes: int = 8_192
    max_preamble_bytes: int = 8_192


DEFAULT_LIMITS: Final = MtomLimits()


@dataclass(frozen=True, slots=True)
class RootPart:
    """The whole root part: the octets of the envelope."""

    xml: bytes


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part other than the root begins; its id without angle brackets, its media type in lower case."""

    content_id: str
    content_type: str


@dataclass(frozen=True, slots=True)
class PartData:
    """Octets ``start`` to ``end`` (exclusive) of the caller's buffer; valid until the next call."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The closing delimiter was read; whatever follows is ignored."""


Event = RootPart | PartBegin | PartData | PartEnd | MessageEnd


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    ROOT = auto()
    PART = auto()
    CLOSED = auto()
    DONE = auto()


class _Found(Enum):
    NOTHING = auto()
    DELIMITER = auto()
    CLOSE = auto()


class MtomParser:
    """Takes one message apart; raises MtomError and is of no use after that.

    The root part is the one that ``start`` names, or the first one. It comes as one event as soon as its
    end is seen; the other parts come as PartBegin, any number of PartData, PartEnd, in the message's order.
    """

    def __init__(self, content_type: ContentType, limits: MtomLimits = DEFAULT_LIMITS) -> None:
        if content_type.type != "multipart/related":
            raise MtomError(f"{content_type.type} is not multipart/related")
        boundary = content_type.parameters.get("boundary")
        if not boundary:
            raise MtomError("multipart/related without boundary", detail="boundary")
        try:
            self._delimiter = b"--" + boundary.encode("ascii")
        except UnicodeEncodeError as error:
            raise MtomError("a boundary outside ASCII", detail="boundary") from error
        self._line_delimiter = b"\n" + self._delimiter
        self._lookalike_pattern: re.Pattern[bytes] | None = None
        # What must stay with the caller: anything shorter could still become a delimiter.
        self._keep = len(self._delimiter) + len(b"--") + _MAX_TRAILING
        self._start_id = strip_content_id(content_type.parameters.get("start", ""))
        self._limits = limits
        self._state = _State.PREAMBLE
        self._at_line_start = True
        self._preamble_bytes = 0
        self._parts = 0
        self._content_ids: set[str] = set()
        self._root = bytearray()
        self._root_seen = False

    def next_event(
        self, buffer: bytearray, start: int, end: int, *, final: bool = False
    ) -> tuple[Event | None, int]:
        """Consume from ``buffer[start:end]`` and return the next event and the new start.

        Without an event more octets are needed: what lies between the new start and ``end`` (less than
        the part header limit plus 512 octets) must be presented again, in front of what comes next.
        ``final`` says that nothing will come; then there is an event until MessageEnd was one.

        :raises MtomError: the message is unacceptable, or ``final`` and not complete.
        """
        while True:
            if self._state is _State.HEADERS:
                headers, start = self._read_headers(buffer, start, end, final)
                if headers is None:
                    return None, start
                begun = self._begin_part(headers)
                if begun is not None:
                    return begun, start
            elif self._state is _State.CLOSED:
                if not self._root_seen:
                    raise MtomError("no root part", detail="start")
                self._state = _State.DONE
                return MessageEnd(), start
            elif self._state is _State.DONE:
                return None, end
            else:
                data_end, resume, found = self._scan(buffer, start, end, final)
                if data_end > start:
                    self._at_line_start = False
                    if self._state is _State.PART:
                        return PartData(start, data_end), data_end
                    self._take(buffer, start, data_end)
                if found is _Found.NOTHING:
                    if final:
                        raise MtomError("the message ends before its closing boundary")
                    return None, resume
                start = resume
                ended = self._end_part(found)
                if ended is not None:
                    return ended, start

    def _scan(self, buffer: bytearray, start: int, end: int, final: bool) -> tuple[int, int, _Found]:
        """Look for a delimiter: the end of what is certainly data, where to go on, what was found."""
        after = cut = -1
        close = line_end = False
        if self._at_line_start and buffer.startswith(self._delimiter, start, end):
            after = start + len(self._delimiter)
            judged = _AFTER.match(buffer, after, end)
            if judged is not None:
                cut, after = start, judged.end()
                close, line_end = judged.group(1) is not None, judged.group(2) is not None
        if cut < 0:
            at, judged = self._find_in_line(buffer, start, end)
            if judged is not None:
                cut = at - 1 if at > start and buffer[at - 1] == _CR else at
                after = judged.end()
                close, line_end = judged.group(1) is not None, judged.group(2) is not None
        if cut >= 0:
            if line_end or (close and final):
                return cut, after, _Found.CLOSE if close else _Found.DELIMITER
            return cut, cut, _Found.NOTHING
        certain = max(start, end - self._keep)
        if not final:
            return certain, certain, _Found.NOTHING
        at = buffer.rfind(self._delimiter + b"--", certain, end)
        if at >= 0 and _TRAILING.match(buffer, at + len(self._delimiter) + 2, end):
            return at, end, _Found.CLOSE
        return end, end, _Found.NOTHING

    def _find_in_line(self, buffer: bytearray, start: int, end: int) -> tuple[int, re.Match[bytes] | None]:
        """Find the first line that is, or at the window's end may become, a delimiter: its line feed."""
        delimiter = self._line_delimiter
        at = buffer.find(delimiter, start, end)
        lookalikes = 0
        while at >= 0:
            judged = _AFTER.match(buffer, at + len(delimiter), end)
            if judged is not None:
                return at, judged
            lookalikes += 1
            if lookalikes == _LOOKALIKES:
                # Data made of lookalikes would cost a turn of this loop every few octets.
                if self._lookalike_pattern is None:
                    self._lookalike_pattern = re.compile(re.escape(delimiter) + _AFTER_BOUNDARY)
                judged = self._lookalike_pattern.search(buffer, at + 1, end)
                return (-1 if judged is None else judged.start()), judged
            at = buffer.find(delimiter, at + 1, end)
        return -1, None

    def _take(self, buffer: bytearray, start: int, end: int) -> None:
        if self._state is _State.PREAMBLE:
            self._preamble_bytes += end - start
            if self._preamble_bytes > self._limits.max_preamble_bytes:
                raise MtomError(f"more than {self._limits.max_preamble_bytes} octets before the first part")
            return
        if len(self._root) + end - start > self._limits.max_root_bytes:
            raise MtomError(f"a root part of more than {self._limits.max_root_bytes} octets")
        self._root += buffer[start:end]

    def _end_part(self, found: _Found) -> Event | None:
        ended = self._state
        self._state = _State.CLOSED if found is _Found.CLOSE else _State.HEADERS
        if ended is _State.PREAMBLE:
            return None
        if ended is _State.PART:
            return PartEnd()
        self._root_seen = True
        root, self._root = bytes(self._root), bytearray()
        return RootPart(root)

    def _read_headers(
        self, buffer: bytearray, start: int, end: int, final: bool
    ) -> tuple[PartHeaders | None, int]:
        """Return the part's headers and where its data starts, or None when more octets are needed."""
        limit = self._limits.max_part_header_bytes
        block = bytes(buffer[start : min(end, start + limit)])
        blank = _BLANK_LINE.match(block)
        complete: tuple[bytes, int] | None = None
        if blank is None:
            complete = _split_headers(block, 0)
        else:
            # A blank line ends an absent header block, except in front of headers (one printed example).
            peek = block[blank.end() : blank.end() + len(_HEADER_START)].lower()
            if peek == _HEADER_START:
                complete = _split_headers(block, blank.end())
            elif not _HEADER_START.startswith(peek):
                complete = b"", blank.end()
        if complete is None:
            if len(block) == limit:
                raise MtomError(f"more than {limit} octets of part headers")
            if final:
                raise MtomError("the message ends within part headers")
            return None, start
        try:
            headers = parse_part_headers(complete[0], max_bytes=limit)
        except MimeError as error:
            raise MtomError(str(error), detail=error.detail) from error
        return headers, start + complete[1]

    def _begin_part(self, headers: PartHeaders) -> Event | None:
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise MtomError(f"more than {self._limits.max_parts} parts")
        encoding = headers.raw.get("content-transfer-encoding", "").lower()
        if encoding not in _IDENTITY_ENCODINGS:
            raise MtomError(
                f"a part in {encoding!r}: only binary is read", detail="Content-Transfer-Encoding"
            )
        content_id = headers.content_id
        if content_id and content_id in self._content_ids:
            raise MtomError("two parts with one Content-ID", detail="Content-ID")
        self._content_ids.add(content_id)
        self._at_line_start = True
        is_root = content_id == self._start_id if self._start_id else self._parts == 1
        if is_root:
            self._state = _State.ROOT
            return None
        self._state = _State.PART
        return PartBegin(content_id, headers.content_type)


def _split_headers(block: bytes, offset: int) -> tuple[bytes, int] | None:
    found = _END_OF_HEADERS.search(block, offset)
    return None if found is None else (block[offset : found.start() + 1], found.end())
