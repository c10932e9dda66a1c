"""The one place of this filter that opens a URL: one connection, to one origin (abuse case 37).

Nothing is followed: an answer that leads elsewhere is an error. Credentials are sent to the origin they were
made for and nowhere else. A name that means an address of this link, of a group or of nobody is not called,
as those are where metadata services live; a document goes only where a logon was proven before.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

import aiohttp
from yarl import URL

from postscan.filters.sharepoint.address import Origin
from postscan.filters.sharepoint.http import Answer, FilePart, HttpAuth
from postscan.filters.sharepoint.library import CHUNK, LibraryError, Trouble, file_chunks, open_document
from postscan.filters.sharepoint.network import network_failure
from postscan.filters.sharepoint.reach import CarefulResolver
from postscan.filters.sharepoint.troubles import status_error

_UNAUTHORIZED: Final = 401
_NO_TIME: Final = frozenset({429, 502, 503, 504})
_MOST_OF_A_LOGON: Final = 256 * 1024
_REDIRECTS: Final = frozenset({300, 301, 302, 303, 305, 306, 307, 308})
_TRIES: Final = 2
# Asking these again changes nothing.
_HARMLESS: Final = frozenset({"GET", "HEAD", "PROPFIND"})
SHAREPOINT_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Windows' ways of logging on, where a site has forms as well (MS-OFBA 2.2.1).
        "X-FORMS_BASED_AUTH_ACCEPTED": "f",
        # The file itself, not what a web server makes of it (MS-WDVSE 2.2.1).
        "Translate": "f",
    }
)


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """How long a site may take.

    ``connect_seconds`` with TLS; ``answer_seconds`` for an answer to begin, or to go on. A document may take
    as long as ``slowest`` octets a second allow, besides, in either direction.
    """

    connect_seconds: float = 15.0
    answer_seconds: float = 120.0
    slowest: int = 16 * 1024


class HttpSite:
    """One connection to one origin; used by one task.

    :param auth: how to log on, made for this connection and this origin (its ``origin``, where it has one);
        None for a site that knows us by the URL alone.
    :param headers: what every request says besides, like SHAREPOINT_HEADERS.
    :param tls: which authorities are trusted; None for those of this machine.
    :param log_on_path: what is asked for (PROPFIND) while logging on, percent-encoded: best the library.
    """

    def __init__(
        self,
        origin: Origin,
        auth: HttpAuth | None,
        *,
        tls: ssl.SSLContext | None = None,
        limits: SiteLimits | None = None,
        log_on_path: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if getattr(auth, "origin", origin) != origin:
            raise ValueError("credentials go to the origin they were made for, and to no other")
        self.origin = origin
        self._auth = auth
        self._tls = tls
        self._limits = limits or SiteLimits()
        self._log_on_path = log_on_path
        self._headers = {"User-Agent": "Postscan", "Accept-Encoding": "identity", **(headers or {})}
        self._session: aiohttp.ClientSession | None = None
        self._connections = 0
        self._logged_on = 0

    @property
    def host(self) -> str:
        """The host of the origin."""
        return self.origin.host

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | FilePart | None = None,
        most: int = 4 * 1024 * 1024,
    ) -> Answer:
        """Make one request; see http.Site."""
        for last in (False,) * _TRIES + (True,):
            sent = await self._ready(headers)
            before = self._connections
            try:
                async with self._exchange(method, path, sent, body) as response:
                    answer = await self._whole(response, most)
            except LibraryError as error:
                if last or method not in _HARMLESS or self._connections > before or not _was_cut(error):
                    raise
                # The server had closed the connection while nobody used it.
                self._logged_on = 0
                continue
            if answer.status == _UNAUTHORIZED and not last and await self._may_try_again(answer):
                continue
            return self._checked(answer)
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Get a file in chunks; see http.Site."""
        sent = await self._ready(None)
        async with self._exchange("GET", path, sent, None) as response:
            if response.status != 200:
                answer = await self._whole(response, 64 * 1024)
                raise status_error(self._checked(answer), "reading a file back")
            yield self._steadily(response)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def ask(self, headers: Mapping[str, str]) -> Answer:
        """Make a small request without logging on, for HttpAuth (http.SmallRequests).

        :raises LibraryError: as for any request; and the server has no time, which proves nothing of us.
        """
        # Not HEAD, after which aiohttp ends the connection; not OPTIONS, which SharePoint answers to anybody.
        asked = {"Depth": "0", **headers}
        async with self._exchange("PROPFIND", self._log_on_path, asked, None) as response:
            answer = await self._whole(response, _MOST_OF_A_LOGON)
        if answer.status in _NO_TIME:
            raise status_error(answer, "logging on")
        return answer

    async def _ready(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        """Log on where that was not done on this connection; return all that a request has to say."""
        if self._auth is None:
            return dict(headers or {})
        if not self._logged_on:
            await self._auth.log_on(self)
            self._logged_on = max(self._connections, 1)
        return {**(headers or {}), **await self._auth.headers()}

    async def _may_try_again(self, answer: Answer) -> bool:
        if self._auth is None:
            return False
        if self._connections > self._logged_on:
            # The server had closed the connection that was proven; the new one has to be proven, too.
            self._logged_on = 0
            return True
        return await self._auth.renew(answer)

    def _checked(self, answer: Answer) -> Answer:
        if answer.status == _UNAUTHORIZED:
            offers = ", ".join(sorted(answer.schemes)) or "no way at all"
            raise LibraryError(
                f"{self.origin} does not take the credentials of this site (it offers: {offers[:200]})",
                Trouble.WRONG_CREDENTIALS,
            )
        if answer.status in _REDIRECTS:
            target = _shown_target(answer.headers.get("location", ""))
            raise LibraryError(
                f"{self.origin} leads elsewhere ({target}), and is not followed", Trouble.REDIRECTED
            )
        if answer.status == 403 and _wants_a_form(answer):
            raise LibraryError(
                f"{self.origin} wants people to log on at a web page, which nobody is there to fill in",
                Trouble.NO_WAY_TO_LOG_ON,
            )
        return answer

    async def _steadily(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Return an answer of any length in chunks, unless it comes too slowly to end in a useful time."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.answer_seconds
        while True:
            async with asyncio.timeout_at(ends):
                chunk = await response.content.read(CHUNK)
            if not chunk:
                return
            ends += len(chunk) / self._limits.slowest
            yield chunk

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | FilePart | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        limits = self._limits
        headers = dict(headers)
        length = body.length if isinstance(body, FilePart) else 0
        total = limits.connect_seconds + limits.answer_seconds + length / limits.slowest
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=limits.connect_seconds, sock_read=limits.answer_seconds
        )
        with contextlib.ExitStack() as opened:
            data: bytes | AsyncIterator[bytes] | None
            if isinstance(body, FilePart):
                # Closed here, as nobody else would when the answer comes before all of it was sent.
                file = opened.enter_context(await _document(body.path))
                file.seek(body.offset)
                headers["Content-Length"] = str(length)
                data = file_chunks(file, length)
            else:
                data = body
            try:
                # Not by aiohttp, whose total would count what is downloaded as well (see _steadily).
                async with asyncio.timeout(total):
                    response = await self._opened().request(
                        method,
                        URL(f"{self.origin}{path}", encoded=True),
                        headers=headers,
                        data=data,
                        allow_redirects=False,
                        timeout=timeout,
                    )
                async with response:
                    yield response
            except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError) as error:
                raise network_failure(error, self.origin) from error

    async def _whole(self, response: aiohttp.ClientResponse, most: int) -> Answer:
        content = bytearray()
        async for piece in self._steadily(response):
            content += piece
            if len(content) > most:
                raise LibraryError(f"{self.origin} answers with more than {most} octets", Trouble.UNREADABLE)
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            bytes(content),
            _challenges(response.headers.getall("WWW-Authenticate", [])),
            response.certificate if isinstance(response, _Response) else None,
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(self._count_connection)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls if self._tls is not None else True,
                    # NTLM proves a connection: there must be no second one that it does not hold for.
                    limit=1,
                    resolver=CarefulResolver(),
                    use_dns_cache=False,
                    keepalive_timeout=600,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=False,
                trust_env=False,
                response_class=_Response,
                trace_configs=[trace],
            )
        return self._session

    async def _count_connection(
        self, _session: aiohttp.ClientSession, _context: object, _what: aiohttp.TraceConnectionCreateEndParams
    ) -> None:
        self._connections += 1


class _Response(aiohttp.ClientResponse):
    """An answer that knows the certificate of who gave it: read to its end, it has no connection any more."""

    certificate: bytes | None = None

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        transport = connection.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        if tls is not None:
            self.certificate = tls.getpeercert(binary_form=True)
        return await super().start(connection)


async def _document(path: Path) -> BinaryIO:
    try:
        return await asyncio.to_thread(open_document, path)
    except OSError as error:
        raise LibraryError(f"a document cannot be read: {error.strerror}", Trouble.REFUSED) from error


def _wants_a_form(answer: Answer) -> bool:
    """Tell whether a 403 is a call to a page to log on at (MS-OFBA 2.2.2, and its product behavior <3>)."""
    extended = answer.headers.get("x-msdavext_error", "")
    return "x-forms_based_auth_required" in answer.headers or extended.startswith("917656;")


def _was_cut(error: LibraryError) -> bool:
    """Tell whether a connection that stood was closed."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError):
        return False
    return isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)


def _challenges(values: list[str]) -> tuple[str, ...]:
    return tuple(value.strip() for value in values)


def _shown_target(location: str) -> str:
    """Return where a redirect leads without what may be secret in it: no query, no fragment."""
    target = location.partition("?")[0].partition("#")[0].strip()
    printable = "".join(char if char.isprintable() else "?" for char in target)
    return printable[:200] or "to nowhere"
