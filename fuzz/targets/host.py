"""A whole host without sockets: HTTP requests in, answers out, discovery, metadata, operations, events.

Every answer must be valid and small enough for WSDAPI, and no request may end in an internal error.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from functools import lru_cache
from random import Random
from typing import Any, Final, cast
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from lxml import etree

from fuzz import samples
from fuzz.mutation import mutate_lines, mutate_octets, mutate_xml
from fuzz.target import Target, Violation, must
from postscan.contracts import dsp, schemas
from postscan.contracts.compare import differences
from postscan.contracts.metadata import ThisDevice, ThisModel
from postscan.core.clock import SystemClock
from postscan.core.errors import InvalidArgument
from postscan.dpws.eventing import EventLimits, EventSource
from postscan.dpws.host import DeviceDescription, DeviceHost
from postscan.dpws.http.connection import Body, Connection, ConnectionLost, Phase, Request
from postscan.dpws.http.framing import framing_for
from postscan.dpws.http.messages import Peer, parse_head
from postscan.dpws.http.window import SMALL, BufferPool, Window
from postscan.dpws.notify_policy import NotifyPolicy, NotifyRefused
from postscan.dpws.service import Call, Caller, HostedService, Operation, operations
from postscan.server.elements import answers_by_name
from postscan.soap.envelope import LARGEST_ENVELOPE
from postscan.soap.mtom_writer import MtomWriter
from postscan.soap.names import DSP, qname
from postscan.soap.xml import parse

_SERVICE: Final = UUID("4d15d73c-bbcd-4cba-beae-07e1f8ea9475")
_PEER: Final = Peer("192.168.7.42", 50_000)
_STATUS: Final = f"{DSP}/PostScanJobStatusEvent"
_END: Final = b"\r\n\r\n"
_LIMIT: Final = 1_000_000


class _Counting:
    """A sink for attachments that keeps nothing of them."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, view: memoryview | bytes | bytearray) -> None:
        """Count octets."""
        self.size += len(view)

    def abort(self) -> None:
        """Forget nothing, for nothing was kept."""


class _Line:
    """The end of a connection that has received all it ever will."""

    def __init__(self, received: bytes) -> None:
        self.window = Window(BufferPool())
        room = self.window.room()
        room[: len(received)] = received
        self.window.received(len(received))

    def send_raw(self, data: bytes) -> None:
        """Take "100 Continue"."""

    async def more(self, phase: Phase) -> None:
        """Say that the peer is gone."""
        raise ConnectionLost


class _NoNames(NotifyPolicy):
    """Checks sinks like the real one, but looks up no name."""

    __slots__ = ()

    async def check(self, url: str, peer: str) -> str:
        """Check an address with a number in it."""
        try:
            ipaddress.ip_address(urlsplit(url).hostname or "")
        except ValueError as error:
            raise NotifyRefused(f"{url}: a name", detail="wsa:Address") from error
        return await NotifyPolicy.check(self, url, peer)


async def _create(call: Call) -> etree._Element:
    request = dsp.CreatePostScanJobRequest.from_element(call.message)
    if differences(samples.process(), request.instructions_element):
        raise InvalidArgument("other instructions", detail="dsp:PostScanInstructions")
    return dsp.CreatePostScanJobResponse(job_token=samples.TOKEN).to_element()


async def _send_image(call: Call) -> etree._Element:
    request = dsp.SendImageRequest.from_element(call.message)
    if call.attachment is None:
        raise InvalidArgument("no image", detail="dsp:ImageData")
    sink = cast(_Counting, await call.attachment.receive())
    must(sink.size <= SMALL, f"{sink.size} octets of image {request.description.document_id}")
    return dsp.SendImageResponse().to_element()


async def _elements(call: Call) -> etree._Element:
    request = dsp.GetPostScanJobElementsRequest.from_element(call.message)

    def unknown(name: str) -> dsp.ElementData:
        return dsp.ElementData(name=name, valid=False)

    async def element(name: str) -> dsp.ElementData:
        return unknown(name)

    answers = await answers_by_name(request.names, element, unknown, detail="dsp:RequestedElements")
    return dsp.GetPostScanJobElementsResponse(elements=answers).to_element()


async def _owner_of(caller: Caller) -> str:
    return "alice"


def _host(outcomes: list[str]) -> DeviceHost:
    description = DeviceDescription(
        samples.ADDRESS,
        ThisDevice({"en": "Scan server"}, "1", "2"),
        ThisModel(manufacturers={"": "Somebody"}, model_names={"": "Model"}),
        "uri:host",
        scopes=("http://example.com/a/b",),
    )
    events = EventSource(
        address=lambda: f"{samples.ADDRESS}/{_SERVICE}",
        actions=(_STATUS, f"{DSP}/PostScanJobEndStateEvent"),
        clock=SystemClock(),
        policy=_NoNames(),
        limits=EventLimits(),
    )
    host = DeviceHost(
        description,
        path="/ScanServer",
        owner_of=_owner_of,
        instance_id=1_700_000_000,
        observe=lambda operation, outcome, seconds: outcomes.append(outcome),
    )
    table = operations(DSP, ("CreatePostScanJob", _create), ("GetPostScanJobElements", _elements))
    send = f"{DSP}/SendImage"
    table[send] = Operation(
        send, qname(DSP, "SendImageRequest"), f"{send}Response", _send_image, qname(DSP, "ImageData")
    )
    service = HostedService(
        _SERVICE,
        (qname(DSP, "DistributedScanProcessingServiceType"),),
        "uri:1",
        DSP,
        table,
        events=events,
        notifications=(_STATUS,),
        open_sink=_Counting,
    )
    host.add(service)
    return host


@contextmanager
def _watched() -> Iterator[list[BaseException]]:
    """Yield the errors that are logged with their trace: those nobody expected."""
    before = structlog.get_config()
    unexpected: list[BaseException] = []

    def note(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        error = sys.exc_info()[1]
        if event.get("exc_info") and error is not None:
            unexpected.append(error)
        raise structlog.DropEvent

    structlog.configure(processors=[note], cache_logger_on_first_use=False)
    try:
        yield unexpected
    finally:
        structlog.configure(**before)


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def run(data: bytes) -> None:
    """Answer one request, as it may come over a connection."""
    head, end, body = data.partition(_END)
    read = parse_head(head + end, max_body_bytes=_LIMIT)
    line = cast(Connection, _Line(body[:SMALL]))
    request = Request(_PEER, read, Body(line, framing_for(read.length, _LIMIT), read))
    outcomes: list[str] = []
    with _watched() as unexpected:
        try:
            answer = _loop().run_until_complete(_host(outcomes).handle(request))
        except ConnectionLost:
            return
    if unexpected:
        raise Violation("an internal error") from unexpected[0]
    must("error" not in outcomes, "an internal error")
    wire = answer.encode(keep_alive=True)
    must(wire.count(b"\r\nContent-Length: ") == 1, "an answer of no certain length")
    if answer.body and answer.content_type.startswith("application/soap+xml"):
        must(len(answer.body) <= LARGEST_ENVELOPE, f"an answer of {len(answer.body)} octets")
        schemas.validate(parse(answer.body))


def _post(body: bytes, content_type: str = "application/soap+xml", path: str = f"/{_SERVICE}") -> bytes:
    lines = (
        f"POST /ScanServer{path} HTTP/1.1",
        "Host: scan.example.com:5362",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def _upload(content: bytes) -> bytes:
    writer = MtomWriter(boundary="b")
    envelope = samples.request(f"{DSP}/SendImage", samples.send_image_body())
    body = writer.head(envelope, samples.IMAGE_ID, "image/jpeg") + content + writer.tail()
    return _post(body, writer.content_type)


def seeds() -> list[bytes]:
    """Return requests of every kind."""
    body = samples.get()
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:300], body[300:])) + b"0\r\n\r\n"
    chunked = b"POST /ScanServer HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked"
    return [
        *(_post(question, path="") for question in samples.questions()),
        *(_post(message) for message in (*samples.subscriptions(), *samples.dsp_messages())),
        _post(body),
        chunked + _END + pieces,
        _upload(b"\xff\xd8\xff\xe0\r\n--b-"),
        f"GET /ScanServer/{_SERVICE}?wsdl HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
        f"GET /ScanServer/{_SERVICE}?xsd=dsp HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    ]


def mutate(data: bytes, random: Random) -> bytes:
    """Change the head, the envelope, or octets anywhere; the length stays right more often than not."""
    head, end, body = data.partition(_END)
    match random.randrange(4):
        case 0:
            return mutate_lines(head, random) + end + body
        case 1:
            return mutate_octets(data, random)
        case 2 if body.startswith(b"--"):
            body = mutate_lines(body, random)
        case _:
            start, stop = body.find(b"<"), body.rfind(b">") + 1
            body = body[:start] + mutate_xml(body[start:stop], random) + body[stop:]
    if random.randrange(8):
        lines = head.split(b"\r\n")
        length = b"Content-Length: %d" % len(body)
        head = b"\r\n".join(length if li.startswith(b"Content-Length:") else li for li in lines)
    return head + end + body


TARGET = Target(
    "host",
    run,
    seeds,
    mutate,
    words=(b"Content-Type: multipart/related", b"Transfer-Encoding: chunked", b"mustUnderstand", b"?xsd="),
)
