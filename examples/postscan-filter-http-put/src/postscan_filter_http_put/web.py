"""Talking to the web server: what its answers mean for a delivery."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import aiohttp

from postscan.contracts.keywords import FilterStateReason
from postscan.core.errors import ConfigurationError, PostscanError
from postscan.filters.contract import DeliveryError

if TYPE_CHECKING:
    from postscan.core.secret import Secret

_LONGEST_WAIT: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the web servers are reached.

    ``token`` returns what is sent as a bearer token; it is asked for at each delivery, so that a corrected
    one counts at once. ``ca`` holds the authorities of the servers' certificates, the system's when None.
    """

    token: Callable[[], Secret]
    ca: Path | None
    seconds: float

    @classmethod
    def read(cls, settings: Mapping[str, object], secret: Callable[[str], Secret] | None) -> Self:
        """Read what stands in ``[filters.http-put]`` besides the folders."""
        left = dict(settings)
        ca, seconds = left.pop("ca", ""), left.pop("timeout_seconds", 60)
        left.pop("token_file", None)  # Postscan reads it, for secret("token")
        if left:
            raise ConfigurationError(
                f"there is no key {', '.join(left)} in [filters.http-put]",
                advice="known: folders, ca, timeout_seconds, token_file",
            )
        if not isinstance(ca, str) or (ca and not Path(ca).is_absolute()):
            raise ConfigurationError("ca is no absolute path", advice='write ca = "/etc/ssl/own-ca.pem"')
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 3600:
            raise ConfigurationError("timeout_seconds is no number from 1 to 3600", advice="write 60")
        if secret is None:
            raise ConfigurationError("there is nowhere to take the token from")
        return cls(lambda: secret("token"), Path(ca) if ca else None, float(seconds))


class WebFolder:
    """A connection to the server of one folder, for one delivery.

    :param label: the folder, for messages.
    """

    def __init__(self, settings: WebSettings, label: str) -> None:
        self._settings = settings
        self._label = label
        self._host = urlsplit(label).netloc
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        try:
            token = self._settings.token()
            context = ssl.create_default_context(cafile=self._settings.ca)
        except (PostscanError, OSError, ssl.SSLError) as error:
            raise DeliveryError(
                f"{self._label}: {error}",
                reason=FilterStateReason.UNKNOWN_ERROR,
                transient=True,
                advice=error.what_to_do
                if isinstance(error, PostscanError)
                else "Correct ca under [filters.http-put].",
            ) from error
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            # Without a limit for the whole: a large document may take long, as long as it moves.
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._settings.seconds, sock_read=self._settings.seconds
            ),
            headers={"Authorization": f"Bearer {token.reveal()}"},
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def put(self, address: str, octets: AsyncIterator[bytes], size: int) -> None:
        """Put one file. :raises DeliveryError: the server did not take it."""
        await self._ask("PUT", address, octets, {"Content-Length": str(size)}, (200, 201, 204))

    async def remove(self, address: str) -> None:
        """Remove one file; none there is as well. :raises DeliveryError: the server refused."""
        await self._ask("DELETE", address, None, {}, (200, 202, 204, 404))

    async def _ask(
        self,
        method: str,
        address: str,
        body: AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
        good: tuple[int, ...],
    ) -> None:
        if self._session is None:
            raise RuntimeError("use it in `async with`")
        try:
            # The token is for this server: no redirect may carry it elsewhere.
            async with self._session.request(
                method, address, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status not in good:
                    raise self._refused(answer)
        except aiohttp.ClientSSLError as error:
            raise self._failed(
                f"the certificate of {self._host} is not trusted: {error}",
                "Let ca under [filters.http-put] name the authority that issued it.",
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._failed(
                f"{self._host} cannot be reached: {str(error) or type(error).__name__}",
                "See whether the web server runs and is reached from here; it is tried again.",
            ) from error

    def _refused(self, answer: aiohttp.ClientResponse) -> DeliveryError:
        said = f"{self._label} answered {answer.status} {(answer.reason or '')[:80]}".rstrip()
        if answer.status in (401, 403):
            return self._failed(
                said, "`postscan secrets set filters.http-put.token`, or allow it to write there."
            )
        if answer.status in (429, 503):
            return self._failed(said, "It is tried again.", retry_after=_wait(answer))
        if answer.status == 507:
            return self._failed(said, "Make room there.", reason=FilterStateReason.OUT_OF_DISK_SPACE)
        if answer.status >= 500:
            return self._failed(said, "See the web server's log; it is tried again.")
        return self._failed(
            said, "Correct the folder, or let the web server take PUT there.", transient=False
        )

    def _failed(
        self,
        message: str,
        advice: str,
        *,
        reason: FilterStateReason = FilterStateReason.UNKNOWN_ERROR,
        transient: bool = True,
        retry_after: timedelta | None = None,
    ) -> DeliveryError:
        return DeliveryError(
            message, reason=reason, transient=transient, advice=advice, retry_after=retry_after
        )


def _wait(answer: aiohttp.ClientResponse) -> timedelta | None:
    """Return how long Retry-After says to wait, when it says so in seconds."""
    text = answer.headers.get("Retry-After", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None
    return timedelta(seconds=min(int(text), _LONGEST_WAIT))
