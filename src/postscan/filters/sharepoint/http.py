"""What adapters say to a site by HTTP: one connection, to one origin, for one delivery."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Protocol

_LONGEST_PAUSE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FilePart:
    """A request's body that is read from a file as it is sent: ``length`` octets from ``offset`` on."""

    path: Path
    length: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whole. The names of ``headers`` are in lower case; of equal ones the last counts.

    ``challenges`` are the values of WWW-Authenticate; ``certificate`` is the server's, as DER, over TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    challenges: tuple[str, ...] = ()
    certificate: bytes | None = None

    @property
    def schemes(self) -> frozenset[str]:
        """The ways of logging on that the server offers, in lower case; several may stand in one header."""
        words = (part.strip().partition(" ")[0] for value in self.challenges for part in value.split(","))
        return frozenset(word.lower() for word in words if word.isascii() and word.isalpha())

    @property
    def retry_after(self) -> timedelta | None:
        """What Retry-After says, at most a day; None when it cannot be read (RFC 9110, 10.2.3).

        A date counts from the answer's own Date, so that no clock but the server's matters.
        """
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return min(timedelta(seconds=int(text[:9])), _LONGEST_PAUSE)
        try:
            pause = parsedate_to_datetime(text) - parsedate_to_datetime(self.headers.get("date", ""))
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(pause, timedelta()), _LONGEST_PAUSE)


class SmallRequests(Protocol):
    """The connection, as an HttpAuth sees it while it logs on; ``host`` is whom it leads to."""

    @property
    def host(self) -> str:
        """The host of the origin, in lower case."""

    async def ask(self, headers: Mapping[str, str]) -> Answer:
        """Make a small request that changes nothing, with these headers and no others of HttpAuth."""


class HttpAuth(Protocol):
    """How requests on one connection prove who asks. Made for one connection, used by one task.

    NTLM proves a connection, Kerberos a connection or each request, Basic and bearer tokens each request.
    """

    async def log_on(self, connection: SmallRequests) -> None:
        """Prove a connection that is new; called before anything large travels on it, may do nothing.

        :raises LibraryError: the server does not take who we are.
        """

    async def headers(self) -> Mapping[str, str]:
        """Return what has to stand in the next request."""

    async def renew(self, answer: Answer) -> bool:
        """Tell, after 401 for a request that had our headers, whether trying once more can help."""


class Site(Protocol):
    """One origin (scheme, host, port), which alone is ever called, and its one connection."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | FilePart | None = None,
        most: int = 4 * 1024 * 1024,
    ) -> Answer:
        """Make one request and return the answer whatever its status, except 401 and redirects.

        :param path: what follows the origin, percent-encoded, with its query: ``/sites/a/_api/contextinfo``.
        :param most: the most octets the answer may have.
        :raises LibraryError: not reached, cut off, too slow, untrusted, redirected, 401, or too large.
        """

    def download(self, path: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Get a file in chunks; a status other than 200 raises LibraryError."""

    async def close(self) -> None:
        """Let go of the connection."""
