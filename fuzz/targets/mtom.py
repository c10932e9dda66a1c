"""MTOM frames: the same parts, or a refusal, however the octets arrive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fuzz import samples
from fuzz.mutation import mutate_lines
from fuzz.target import Target, must
from postscan.core.errors import PostscanError
from postscan.soap.mime import parse_content_type
from postscan.soap.mtom import MessageEnd, MtomLimits, MtomParser, PartBegin, PartData, PartEnd, RootPart
from postscan.soap.mtom_writer import MtomWriter
from postscan.soap.names import DSP, qname
from postscan.soap.xml import parse
from postscan.soap.xop import find_stray_includes, include_of

_LIMITS: Final = MtomLimits(max_root_bytes=8_192, max_part_header_bytes=1_024, max_preamble_bytes=512)
_KEPT: Final = _LIMITS.max_part_header_bytes + 512
_IMAGE_DATA: Final = qname(DSP, "ImageData")


@dataclass
class Message:
    """A message taken apart."""

    root: bytes | None = None
    parts: list[tuple[str, str, bytes]] = field(default_factory=list)
    ended: bool = False


def run(data: bytes) -> None:
    """Read a content type, which the first line is, and a frame; then the image that its root names."""
    first, _, frame = data.partition(b"\n")
    content_type = first.decode("latin-1").strip()
    outcomes = [_outcome(content_type, frame, size) for size in (len(frame) or 1, 1, 61)]
    must(all(o == outcomes[0] for o in outcomes), f"read in several ways: {outcomes!r}")
    whole = _read(content_type, frame, len(frame) or 1)
    must(whole.ended and whole.root is not None, "a message without root or end")
    must(len(whole.parts) < _LIMITS.max_parts, f"{len(whole.parts)} parts")
    root = parse(whole.root or b"")
    place = next(root.iter(_IMAGE_DATA), None)
    find_stray_includes(root, place)
    if place is not None:
        include_of(place)


def _outcome(content_type: str, frame: bytes, size: int) -> Message | None:
    try:
        return _read(content_type, frame, size)
    except PostscanError:
        return None


def _read(content_type: str, frame: bytes, size: int) -> Message:
    parser = MtomParser(parse_content_type(content_type), _LIMITS)
    message, begun, octets = Message(), PartBegin("", ""), bytearray()
    kept = b""
    for at in range(0, len(frame) + 1, size):
        piece = frame[at : at + size]
        final = at + size > len(frame)
        buffer = bytearray(kept + piece)
        start = 0
        while True:
            event, start = parser.next_event(buffer, start, len(buffer), final=final)
            if event is None:
                break
            if isinstance(event, RootPart):
                message.root = event.xml
            elif isinstance(event, PartBegin):
                begun, octets = event, bytearray()
            elif isinstance(event, PartData):
                octets += buffer[event.start : event.end]
            elif isinstance(event, PartEnd):
                message.parts.append((begun.content_id, begun.content_type, bytes(octets)))
            elif isinstance(event, MessageEnd):
                message.ended = True
        kept = bytes(buffer[start:])
        must(len(kept) <= _KEPT, f"{len(kept)} octets are to be kept")
    return message


def seeds() -> list[bytes]:
    """Return what our writer frames, and a frame with everything that is allowed besides."""
    writer = MtomWriter(boundary="b-1")
    envelope = samples.request(f"{DSP}/SendImage", samples.send_image_body())
    head = writer.head(envelope, samples.IMAGE_ID, "image/jpeg")
    ours = writer.content_type.encode() + b"\n" + head + b"\xff\xd8\r\n--b-\r\n--b-12\r\n" + writer.tail()
    other = (
        b"multipart/related; boundary=b; start=<r>\npreamble\n--b \ncontent-id:<i>\n\n--image\n--b\n\n"
        b"Content-ID: <r>\n\n<a/>\r\n--b\r\n\r\n\r\n--b--epilogue\r\n--b--"
    )
    return [ours, other]


TARGET = Target(
    "mtom", run, seeds, mutate_lines, words=(b"\r\n--b", b"--b--", b"\r\n\r\n", b"Content-ID: <i>")
)
