"""The one SOAP client: requests with MTOM, one-way notifications, faults as errors."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from lxml import etree

from postscan.core.errors import PostscanError
from postscan.dpws.failures import NotSoap, RemoteFault, Unreachable, Untrusted, unreachable
from postscan.soap.envelope import EndpointReference, Envelope, Headers, new_message_id, read_envelope
from postscan.soap.envelope import write_envelope as write
from postscan.soap.faults import read_fault
from postscan.soap.mtom_writer import MtomWriter, new_content_id
from postscan.soap.names import ANONYMOUS
from postscan.soap.xml import XmlLimits, parse

__all__ = ["NotSoap", "RemoteFault", "SoapClient", "Unreachable", "Untrusted", "Upload"]

SOAP_TYPE: Final = "application/soap+xml; charset=utf-8"
# GetResponse and GetRepositoryElements may be far larger than what we send (dpws.md 8.5).
_ANSWER_LIMITS: Final = XmlLimits(max_bytes=1024 * 1024)
_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """An attachment to send: octets or a file, with its media type."""

    data: bytes | Path
    media_type: str = "application/octet-stream"

    def size(self) -> int:
        """Return its length in octets."""
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size


class SoapClient:
    """Sends SOAP over HTTP(S). Keeps connections alive, follows no redirect, keeps no cookie."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        timeout_seconds: float = 60.0,
        resolver: AbstractResolver | None = None,
        max_connections: int = 100,
        answer_limits: XmlLimits = _ANSWER_LIMITS,
    ) -> None:
        self._tls = tls
        self._timeout = timeout_seconds
        self._resolver = resolver
        self._max_connections = max_connections
        self._answer_limits = answer_limits
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        url: str,
        action: str,
        body: etree._Element | None,
        *,
        to: str | None = None,
        parameters: Sequence[etree._Element] = (),
        message_id: str | None = None,
    ) -> Envelope:
        """Send a request and return the answer's envelope.

        :param to: the wsa:To, when it is not the URL; ``parameters`` are echoed reference parameters.
        :raises RemoteFault: the peer answered with a fault.
        :raises Unreachable: no connection, no answer in time, or a certificate that is not trusted.
        :raises NotSoap: the answer is something else.
        """
        headers = _request_headers(url, action, to, message_id)
        data = write(headers, body, extra_headers=parameters)
        return await self._exchange(url, headers, data, SOAP_TYPE, None)

    async def upload(
        self,
        url: str,
        action: str,
        make_body: Callable[[str], etree._Element],
        attachment: Upload,
        *,
        message_id: str | None = None,
    ) -> Envelope:
        """Send a request with an attachment by MTOM (dpws.md 4.3); ``make_body`` gets the Content-ID.

        :raises RemoteFault, Unreachable, NotSoap: as :meth:`call`.
        """
        headers = _request_headers(url, action, None, message_id)
        content_id = new_content_id()
        writer = MtomWriter()
        head = writer.head(write(headers, make_body(content_id)), content_id, attachment.media_type)
        tail = writer.tail()
        length = len(head) + attachment.size() + len(tail)
        if isinstance(attachment.data, bytes) and length <= _CHUNK:
            return await self._exchange(
                url, headers, head + attachment.data + tail, writer.content_type, None
            )
        stream = _pieces(head, attachment.data, tail)
        return await self._exchange(url, headers, stream, writer.content_type, length)

    async def notify(
        self,
        url: str,
        action: str,
        body: etree._Element,
        *,
        parameters: Sequence[etree._Element] = (),
        timeout_seconds: float = 10.0,
    ) -> None:
        """Send a one-way message; any 2xx is fine (dpws.md 3.5). :raises Unreachable: it did not arrive."""
        headers = Headers(action=action, to=url, message_id=new_message_id())
        data = write(headers, body, extra_headers=parameters)
        try:
            async with self._open().post(
                url,
                data=data,
                headers={"Content-Type": SOAP_TYPE},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise Unreachable(f"{url} answered a notification with {answer.status}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unreachable(url, error) from error

    async def _exchange(
        self,
        url: str,
        request: Headers,
        data: bytes | AsyncIterator[bytes],
        content_type: str,
        length: int | None,
    ) -> Envelope:
        http_headers = {"Content-Type": content_type}
        if content_type.startswith("multipart"):
            http_headers["MIME-Version"] = "1.0"
        if length is not None:
            http_headers["Content-Length"] = str(length)
        try:
            async with self._open().post(
                url, data=data, headers=http_headers, allow_redirects=False
            ) as answer:
                content = await _bounded(answer, self._answer_limits.max_bytes)
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unreachable(url, error) from error
        return _answer(url, request, status, content, self._answer_limits)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls if self._tls is not None else True,
                    limit=self._max_connections,
                    resolver=self._resolver,
                    # A resolver of ours answers at once, and what it forgot must stay forgotten.
                    use_dns_cache=self._resolver is None,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=10, sock_read=self._timeout, connect=30
                ),
                headers={"User-Agent": "Postscan", "Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _request_headers(url: str, action: str, to: str | None, message_id: str | None) -> Headers:
    return Headers(
        action=action,
        to=to or url,
        message_id=message_id or new_message_id(),
        reply_to=EndpointReference(ANONYMOUS),
    )


async def _pieces(head: bytes, data: bytes | Path, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    if isinstance(data, bytes):
        for at in range(0, len(data), _CHUNK):
            yield data[at : at + _CHUNK]
    else:
        with await asyncio.to_thread(data.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, _CHUNK):
                yield piece
    yield tail


async def _bounded(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    content = bytearray()
    async for piece in answer.content.iter_chunked(65_536):
        content += piece
        if len(content) > limit:
            raise NotSoap(f"{answer.url} answers with more than {limit} octets")
    return bytes(content)


def _answer(url: str, request: Headers, status: int, content: bytes, limits: XmlLimits) -> Envelope:
    try:
        envelope = read_envelope(parse(content, limits))
    except PostscanError as error:
        raise NotSoap(f"{url} answered {status}, and not with a SOAP message") from error
    # Some devices send faults under status 200 (dpws.md 4.4): look at the message, not at the status.
    fault = read_fault(envelope)
    if fault is not None:
        raise RemoteFault(fault)
    if envelope.headers.relates_to not in (None, request.message_id):
        raise NotSoap(f"{url} answered another request")
    return envelope
