"""What is sent: an image-like file, and the requests that carry it to our server and to nginx.

The load generator replaces :data:`MARKER` in a request's head by a number that is unique in the run.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from postscan.soap.mtom_writer import MtomWriter, new_content_id
from postscan.soap.names import ANONYMOUS, DSP, SOAP, WSA, XOP

# Ten digits below 2**31, so that the number is an xs:int of the same width wherever it stands.
MARKER = "1999999999"
FIRST_ID = 1_000_000_001


@dataclass(frozen=True, slots=True)
class Image:
    """A file with a JPEG's beginning and end and random octets between.

    ``first`` holds the marker (in a comment segment), so that no two images sent are the same.
    """

    first: bytes
    rest: bytes

    @property
    def size(self) -> int:
        """Its length in octets."""
        return len(self.first) + len(self.rest)


def make_image(size: int) -> Image:
    """Return an image of exactly ``size`` octets (at least 100), the same for every run."""
    comment = f"postscan bench {MARKER}".encode("ascii")
    first = (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    )
    filler = random.Random(size).randbytes(size - len(first) - 2)
    return Image(first, filler + b"\xff\xd9")


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the load generator, as files: one head a connection, shared body and tail."""

    heads: tuple[Path, ...]
    body: Path
    tail: Path | None
    expect: str | None

    def arguments(self) -> list[str]:
        """Return the load generator's options for it."""
        found = [option for head in self.heads for option in ("--head", str(head))]
        found += ["--body", str(self.body)]
        if self.tail is not None:
            found += ["--tail", str(self.tail)]
        if self.expect is not None:
            found += ["--expect", self.expect]
        return found


def write_body(image: Image, folder: Path) -> Path:
    """Write what all requests with this image share; return the file."""
    body = folder / f"body-{image.size}"
    if not body.exists():
        body.write_bytes(image.rest)
    return body


def write_image(image: Image, folder: Path) -> Path:
    """Write the whole image, for the raw disk; return the file."""
    whole = folder / f"image-{image.size}"
    if not whole.exists():
        whole.write_bytes(image.first + image.rest)
    return whole


def put_request(image: Image, host: str, folder: Path) -> Request:
    """Return the WebDAV PUT of the image to a path of its own."""
    head = folder / f"put-{image.size}"
    lines = (
        f"PUT /{MARKER}.jpg HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {image.size}\r\n\r\n"
    )
    head.write_bytes(lines.encode("ascii") + image.first)
    return Request((head,), write_body(image, folder), None, None)


def send_image_request(image: Image, service: str, tokens: list[str], folder: Path) -> Request:
    """Return SendImage by MTOM to the service's address, one head for each job token (dpws.md 4.3)."""
    writer = MtomWriter()
    where = urlsplit(service)
    heads = []
    for index, token in enumerate(tokens):
        content_id = new_content_id()
        start = writer.head(_envelope(service, token, content_id), content_id, "image/jpeg")
        length = len(start) + image.size + len(writer.tail())
        lines = (
            f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nMIME-Version: 1.0\r\n"
            f"Content-Type: {writer.content_type}\r\nContent-Length: {length}\r\n\r\n"
        )
        head = folder / f"send-{image.size}-{index}"
        head.write_bytes(lines.encode("ascii") + start + image.first)
        heads.append(head)
    tail = folder / "send-tail"
    tail.write_bytes(writer.tail())
    return Request(tuple(heads), write_body(image, folder), tail, "SendImageResponse")


def _envelope(to: str, token: str, content_id: str) -> bytes:
    # Servers remember message ids (abuse case 21): the marker makes each one new.
    message_id = f"urn:uuid:{str(uuid.uuid4())[:24]}00{MARKER}"
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<soap:Envelope xmlns:soap="{SOAP}" xmlns:wsa="{WSA}" xmlns:dsp="{DSP}" xmlns:xop="{XOP}">'
        f"<soap:Header><wsa:To>{to}</wsa:To><wsa:Action>{DSP}/SendImage</wsa:Action>"
        f"<wsa:MessageID>{message_id}</wsa:MessageID>"
        f"<wsa:ReplyTo><wsa:Address>{ANONYMOUS}</wsa:Address></wsa:ReplyTo></soap:Header>"
        f"<soap:Body><dsp:SendImageRequest><dsp:JobToken>{token}</dsp:JobToken>"
        f"<dsp:DocumentDescription><dsp:DocumentId>{MARKER}</dsp:DocumentId><dsp:Format>jfif</dsp:Format>"
        f'</dsp:DocumentDescription><dsp:ImageData><xop:Include href="cid:{content_id}"/></dsp:ImageData>'
        "</dsp:SendImageRequest></soap:Body></soap:Envelope>"
    ).encode()
