"""HTTP to the authority that gives tokens: the one host, no redirects, bounded in time and size.

msal calls it from a thread, and it runs its requests in the loop, by the same library as all others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode, urlsplit

import aiohttp

_MOST_OCTETS: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    """What msal reads of an HTTP response."""

    status_code: int
    text: str
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Raise for a refusal."""
        if self.status_code >= 400:
            raise RuntimeError(f"HTTP status {self.status_code}")


class AuthorityHttp:
    """The HTTP client that msal gets: blocking, called in a thread; the requests run in the loop.

    :ivar strange_host: the other host that a document of the authority named, if any did.
    :ivar broken: why no answer came, where none did.
    """

    def __init__(
        self, host: str, session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop, seconds: float
    ) -> None:
        self._host = host.lower()
        self._session = session
        self._loop = loop
        self._seconds = seconds
        self.strange_host: str | None = None
        self.broken: Exception | None = None
        self.last_status: int | None = None
        self.retry_after: timedelta | None = None

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> _Answer:
        """Send a GET."""
        return self._wait("GET", url, params, headers, None)

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> _Answer:
        """Send a POST of a form."""
        body = data if isinstance(data, str) else urlencode(data or {})
        form = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self._wait("POST", url, params, form, body)

    def close(self) -> None:
        """Do nothing: the session is closed by who made it."""

    def _wait(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: str | None,
    ) -> _Answer:
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.netloc.lower() != self._host:
            self.strange_host = _host_of(url) or "nowhere"
            raise RuntimeError("not the authority's host")
        request = self._send(method, url, params, headers, body)
        try:
            return asyncio.run_coroutine_threadsafe(request, self._loop).result(self._seconds)
        except (aiohttp.ClientError, OSError) as error:
            self.broken = error
            raise

    async def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: str | None,
    ) -> _Answer:
        async with self._session.request(
            method, url, params=params, headers=headers, data=body, allow_redirects=False
        ) as response:
            self.last_status = response.status
            wait = response.headers.get("Retry-After", "")
            if wait.isascii() and wait.isdigit():
                self.retry_after = timedelta(seconds=min(int(wait), 86_400))
            if 300 <= response.status < 400:
                self.strange_host = _host_of(response.headers.get("Location", ""))
                raise RuntimeError("a redirect")
            octets = bytearray()
            async for piece in response.content.iter_any():
                octets += piece
                if len(octets) > _MOST_OCTETS:
                    raise RuntimeError("an answer beyond all measure")
            text = octets.decode("utf-8", errors="replace")
            _require_json(text, response.status)
            return _Answer(response.status, text, dict(response.headers))


def _host_of(url: str) -> str | None:
    """Return the host in a URL that a stranger wrote, fit to be shown."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return None
    return "".join(char if char.isprintable() else "?" for char in host)[:100] or None


def _require_json(text: str, status: int) -> None:
    # msal logs what it cannot read, in full: so it is given nothing else.
    if status >= 500:
        return
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RuntimeError("no JSON") from error
    if not isinstance(read, dict):
        raise RuntimeError("no JSON object")
