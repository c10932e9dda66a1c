"""Requests and responses as values, and the reading of a request head. No I/O."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import httptools

from postscan.core.errors import FaultKind, FaultParty, PostscanError
from postscan.dpws.http.certificates import RefusedCertificate

MAX_HEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
_DIGITS = re.compile(rb"[0-9]{1,18}")
_FOLD = re.compile(rb"\r\n[ \t]+")
_CONTENT_TYPE_FOLD = re.compile(rb"\r\ncontent-type[ \t]*:[^\r\n]*(?:\r\n[ \t]+[^\r\n]*)+", re.IGNORECASE)


class HttpRefused(PostscanError):
    """A request that cannot be served as HTTP; ``status`` says why, the connection is closed after it."""

    fault = FaultKind(FaultParty.SENDER, None, "The HTTP request is not acceptable.")

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end.

    ``certificate`` is the client's (DER), there only when it was found trusted, valid, strong and fit to
    authenticate a client; ``chain`` leads from it to the authority that is trusted. One that was shown and
    is not all of that is ``refused``.
    """

    address: str
    port: int
    tls: bool = False
    certificate: bytes | None = None
    chain: tuple[bytes, ...] = ()
    refused: RefusedCertificate | None = None


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body. ``length`` is None for a chunked body; header names are lower-case."""

    method: str
    target: str
    headers: dict[str, str]
    length: int | None
    keep_alive: bool
    expects_continue: bool

    @property
    def path(self) -> str:
        """The path of the target, without query, also when the target is absolute."""
        path = self.target.partition("?")[0]
        if "://" in path:
            path = "/" + path.partition("://")[2].partition("/")[2]
        return path


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, body, and headers beyond the standard ones."""

    status: int
    body: bytes = b""
    content_type: str = "application/soap+xml; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=())

    def encode(self, *, keep_alive: bool, head_only: bool = False) -> bytes:
        """Return head and body as one block: two small writes would wait for the peer's delayed ACK."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = ""
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        if self.body:
            lines.append(f"Content-Type: {self.content_type}")
        lines.append(f"Content-Length: {len(self.body)}")
        lines.append(f"Date: {_date_of(int(time.time()))}")
        lines.extend(f"{name}: {value}" for name, value in self.headers)
        if not keep_alive:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        return head if head_only else head + self.body


@lru_cache(maxsize=2)
def _date_of(second: int) -> str:
    """Return the Date header of a second; written once a second, however many answers leave in it."""
    return formatdate(second, usegmt=True)


class _Collector:
    __slots__ = ("complete", "fields", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head(data: bytes, *, max_body_bytes: int) -> RequestHead:
    """Read a request head, its blank line included.

    Anything two readers could frame differently is refused (abuse case 11): Content-Length together with
    Transfer-Encoding, doubled or odd lengths, codings other than chunked, folded lines (a folded Content-Type
    alone is unfolded: the documents' own SendImage example has one), bare line feeds.

    :raises HttpRefused: with the status to answer.
    """
    if _FOLD.search(data):
        data = _CONTENT_TYPE_FOLD.sub(lambda found: _FOLD.sub(b" ", found.group()), data)
        if _FOLD.search(data):
            raise HttpRefused(HTTPStatus.BAD_REQUEST, "folded header line")
    if data.count(b"\n") != data.count(b"\r\n") or data.count(b"\r") != data.count(b"\n") or b"\0" in data:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "bare line feed, carriage return or NUL in the head")
    if not data.isascii():
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "head is not ASCII")
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade as error:
        raise HttpRefused(HTTPStatus.NOT_IMPLEMENTED, "upgrades are not supported") from error
    except httptools.HttpParserError as error:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, f"malformed head: {error}") from error
    if not collector.complete:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "malformed head")
    if len(collector.fields) > MAX_HEADERS:
        raise HttpRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
    return _head_of(parser, collector, max_body_bytes)


def _head_of(parser: httptools.HttpRequestParser, collector: _Collector, max_body_bytes: int) -> RequestHead:
    headers: dict[str, str] = {}
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for raw_name, value in collector.fields:
        name = raw_name.decode("ascii").lower()
        if name == "content-length":
            lengths.append(value.strip())
        elif name == "transfer-encoding":
            codings.append(value.strip().lower())
        elif name == "host" and "host" in headers:
            raise HttpRefused(HTTPStatus.BAD_REQUEST, "more than one Host")
        text = value.decode("ascii").strip()
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    version = parser.get_http_version()
    if version not in ("1.0", "1.1"):
        raise HttpRefused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.x is spoken")
    if version == "1.1" and "host" not in headers:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "no Host")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed requests are not accepted")
    return RequestHead(
        method=parser.get_method().decode("ascii"),
        target=collector.target.decode("ascii"),
        headers=headers,
        length=_framing(lengths, codings, version, max_body_bytes),
        keep_alive=bool(parser.should_keep_alive()),
        expects_continue=version == "1.1" and headers.get("expect", "").lower() == "100-continue",
    )


def _framing(lengths: list[bytes], codings: list[bytes], version: str, max_body_bytes: int) -> int | None:
    if codings:
        if lengths or version == "1.0":
            raise HttpRefused(HTTPStatus.BAD_REQUEST, "Transfer-Encoding with Content-Length or HTTP/1.0")
        if codings != [b"chunked"]:
            raise HttpRefused(HTTPStatus.NOT_IMPLEMENTED, "only the chunked coding is spoken")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "Content-Length is not one number")
    length = int(lengths[0])
    if length > max_body_bytes:
        raise HttpRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length} octets announced")
    return length
