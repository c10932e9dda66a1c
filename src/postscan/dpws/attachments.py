"""The attachment of an upload: found in the MIME stream, checked before it is read, copied without a detour.

The root part is read first; what the operation decides about it (job, identity, limits) comes before the
attachment, so that a refused upload costs a header. A root that is not the first part is allowed (trap 7):
parts before it wait in a sink of their own until it is known what they are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from lxml import etree

from postscan.core.errors import InvalidArgument
from postscan.dpws.http.connection import Body
from postscan.soap.mime import ContentType
from postscan.soap.mtom import (
    MessageEnd,
    MtomError,
    MtomLimits,
    MtomParser,
    PartBegin,
    PartData,
    PartEnd,
    RootPart,
)
from postscan.soap.xop import include_of

# Octets of an attachment are handed on in pieces of at least this size, however the sender cuts them.
GATHERED: Final = 65_536


class AttachmentSink(Protocol):
    """Where the octets of an attachment go."""

    def write(self, view: memoryview | bytes | bytearray) -> None:
        """Take octets; must not block for long."""

    def abort(self) -> None:
        """Forget everything; may be called at any time and again."""


class MtomStream:
    """Reads one multipart/related body.

    ``before_keeping`` is awaited before octets are kept aside of which it is not known yet what they are; it
    raises what the sender is to be told who may not have that done.
    """

    def __init__(
        self,
        body: Body,
        content_type: ContentType,
        open_sink: Callable[[], AttachmentSink],
        limits: MtomLimits | None = None,
        *,
        before_keeping: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._body = body
        self._before_keeping = before_keeping
        self._parser = MtomParser(content_type, limits or MtomLimits())
        self._open_sink = open_sink
        self._waiting: dict[str, AttachmentSink] = {}
        self._writing: tuple[str, AttachmentSink] | None = None
        self._begun: PartBegin | None = None
        self._wanted: str | None = None
        self._ended = False
        self._progress: Callable[[], None] | None = None

    async def root(self) -> bytes:
        """Read up to the root part and return its octets; earlier parts are kept aside.

        :raises MtomError: the message is not MTOM, torn, or beyond the limits.
        """
        while True:
            event = await self._next()
            if isinstance(event, RootPart):
                return event.xml
            if isinstance(event, MessageEnd):
                raise MtomError("the message has no root part")
            if isinstance(event, PartBegin) and self._before_keeping is not None:
                await self._before_keeping()
                self._before_keeping = None
            if isinstance(event, PartBegin):
                self._body.widen()
            self._handle(event, keep=True)

    async def attachment(self, content_id: str, progress: Callable[[], None] | None = None) -> AttachmentSink:
        """Read the message to its end and return the sink that holds the named part.

        A part that no Include names is dropped. ``progress`` is called now and then while octets arrive.

        :raises InvalidArgument: no such part. :raises MtomError: the message is torn or malformed.
        """
        self._wanted = content_id
        self._progress = progress
        self._body.widen()
        await self.finish()
        sink = self._waiting.pop(content_id, None)
        if sink is None:
            raise InvalidArgument("the Include names no part of this message", detail="xop:Include")
        self.abort()
        return sink

    async def finish(self) -> None:
        """Read to the end of the request: what is torn anywhere was not sent.

        :raises MtomError: the message is torn or malformed.
        """
        while not self._ended:
            event = await self._next()
            if isinstance(event, MessageEnd):
                self._ended = True
            elif isinstance(event, RootPart):
                raise MtomError("two root parts")
            else:
                self._handle(event, keep=False)
        body = self._body
        body.consume_to(body.end)
        while await body.fill():
            body.consume_to(body.end)

    def abort(self) -> None:
        """Forget every part not handed out."""
        if self._writing is not None:
            self._writing[1].abort()
            self._writing = None
        for sink in self._waiting.values():
            sink.abort()
        self._waiting.clear()

    def _handle(self, event: object, *, keep: bool) -> None:
        if isinstance(event, PartBegin):
            # The parser has seen to it that no two parts have one id; a part without any can't be wanted.
            if event.content_id and (keep or event.content_id == self._wanted):
                self._writing = (event.content_id, self._open_sink())
        elif isinstance(event, PartData):
            if self._writing is not None:
                if self._progress is not None:
                    self._progress()
                self._writing[1].write(memoryview(self._body.buffer)[event.start : event.end])
        elif isinstance(event, PartEnd) and self._writing is not None:
            self._waiting[self._writing[0]] = self._writing[1]
            self._writing = None

    async def _next(self) -> RootPart | PartBegin | PartData | PartEnd | MessageEnd:
        body = self._body
        if self._writing is not None:
            # Few large pieces cost less than many small ones, however the sender cuts them.
            while not body.complete and body.end - body.start < GATHERED:
                await body.fill()
        while True:
            # Without the last chunk the end of a chunked body is not known, although all of it may be here.
            final = body.complete
            event, position = self._parser.next_event(body.buffer, body.start, body.end, final=final)
            if event is not None:
                # PartData points into the buffer: it is written before anything is awaited.
                body.consume_to(position)
                return event
            body.consume_to(position)
            if not await body.fill() and final:
                raise MtomError("the message ends before its closing boundary")


class Attachment:
    """The one attachment of a call, wherever its octets are: a later part, an earlier one, or base64 text."""

    def __init__(
        self,
        element: etree._Element,
        stream: MtomStream | None,
        open_sink: Callable[[], AttachmentSink],
    ) -> None:
        self._element = element
        self._stream = stream
        self._open_sink = open_sink

    async def receive(self, progress: Callable[[], None] | None = None) -> AttachmentSink:
        """Read the attachment and return the sink that holds it, complete; the caller owns the sink.

        ``progress`` is called now and then while octets arrive.

        :raises InvalidArgument: the Include is not a cid: of this message, or the base64 is malformed.
        :raises MtomError: the message is torn or malformed.
        """
        content_id = include_of(self._element)
        if content_id is None:
            if self._stream is not None:
                await self._stream.finish()
            return self._inline()
        if self._stream is None:
            raise InvalidArgument("an Include outside a multipart message", detail="xop:Include")
        return await self._stream.attachment(content_id, progress)

    def _inline(self) -> AttachmentSink:
        text = self._element.text or ""
        name = etree.QName(self._element).localname
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidArgument("neither an Include nor base64", detail=name) from error
        if not data:
            raise InvalidArgument("the attachment is empty", detail=name)
        sink = self._open_sink()
        try:
            sink.write(data)
        except BaseException:
            sink.abort()
            raise
        return sink
