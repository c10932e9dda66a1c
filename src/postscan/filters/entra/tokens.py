"""Tokens for an app of Microsoft Entra ID, which proves itself with a certificate.

The flow is client credentials with a signed assertion (RFC 7523; "Microsoft identity platform and the OAuth
2.0 client credentials flow", second case). msal makes the assertion and the requests; what it sends goes
out through :class:`AuthorityHttp`, which talks TLS to the one authority host, follows no redirect and
takes no longer than it may. A token is kept in memory until shortly before it ends, and is handed out for
its own resource alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp

from postscan.core.clock import Clock, SystemClock
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.core.secret import Secret
from postscan.filters.entra.app import EntraApp
from postscan.filters.entra.authority_http import AuthorityHttp
from postscan.filters.entra.failures import TokenError, TokenTrouble, away, refusal, unreadable
from postscan.filters.turns import Turns

_log = get_logger("filters")
# What msal raises, on purpose or not, over documents that are none of an authority.
_OF_MSAL: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# A token that ends sooner is renewed, so that none ends amid a request.
_MARGIN_SECONDS: Final = 300.0
_LONGEST_SECONDS: Final = 86_400.0
_OF_ALL: Final = frozenset({TokenTrouble.AWAY, TokenTrouble.THROTTLED, TokenTrouble.UNTRUSTED})


@dataclass(frozen=True, slots=True)
class _Token:
    value: Secret
    renew_at: float  # of the monotonic clock


class EntraTokens:
    """Gets and keeps the tokens of one app, one a resource.

    :param context: how the authority's certificate is judged; None: by the authorities this system trusts.
    :param seconds: the longest that getting a token may take.
    """

    def __init__(
        self,
        app: EntraApp,
        *,
        context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        seconds: float = 30.0,
    ) -> None:
        self._app = app
        self._context = context or ssl.create_default_context()
        self._clock = clock or SystemClock()
        self._seconds = seconds
        self._kept: dict[str, _Token] = {}
        self._turns = Turns(_concerns_all)

    @property
    def authority(self) -> str:
        """The host that tokens come from."""
        return self._app.authority

    async def token(self, resource: str) -> Secret:
        """Return a token for ``resource``, such as ``https://graph.microsoft.com``.

        :raises TokenError: the authority refused, or cannot be reached.
        """
        if (kept := self._fresh(resource)) is not None:
            return kept
        async with self._turns.turn():
            if (kept := self._fresh(resource)) is not None:
                return kept
            acquired = self._kept[resource] = await self._acquire(resource)
            return acquired.value

    def refused(self, resource: str, token: Secret) -> None:
        """Take note that ``resource`` no longer takes ``token``, so that the next one is another."""
        kept = self._kept.get(resource)
        if kept is not None and kept.value == token:
            del self._kept[resource]

    def _fresh(self, resource: str) -> Secret | None:
        kept = self._kept.get(resource)
        return None if kept is None or self._clock.monotonic() >= kept.renew_at else kept.value

    async def _acquire(self, resource: str) -> _Token:
        self._check_certificate()
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._ask(resource)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise away(self._app.authority, error) from error
        value = answer.get("access_token")
        lifetime = answer.get("expires_in")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
            raise refusal(self._app.authority, answer)
        seconds = _seconds_of(lifetime)
        _log.info("got a token", authority=self._app.authority, resource=resource, seconds=int(seconds))
        return _Token(Secret(value), self._clock.monotonic() + seconds - min(_MARGIN_SECONDS, seconds / 5))

    async def _ask(self, resource: str) -> Mapping[str, object]:
        connector = aiohttp.TCPConnector(ssl=self._context, limit=1)
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        ) as session:
            http = AuthorityHttp(self._app.authority, session, asyncio.get_running_loop(), self._seconds)
            try:
                return await asyncio.to_thread(self._ask_by_msal, http, resource)
            except _OF_MSAL as error:
                if http.broken is not None:
                    # A certificate that is not trusted is a ValueError as well, and msal says another one.
                    raise away(self._app.authority, http.broken) from http.broken
                raise unreadable(self._app, http, error) from error

    def _ask_by_msal(self, http: AuthorityHttp, resource: str) -> Mapping[str, object]:
        # Imported here, as it takes a while and few installations need it.
        import msal
        from msal.exceptions import MsalError

        # A new one each time (about once an hour): it keeps tokens and refusals, and none of them is wanted.
        try:
            app = msal.ConfidentialClientApplication(
                self._app.client_id,
                client_credential=self._app.credential(),
                authority=f"https://{self._app.authority}/{self._app.tenant}",
                http_client=http,
                # An administrator chose the host; to ask Microsoft about it would be to call another.
                instance_discovery=False,
                azure_region=msal.ConfidentialClientApplication.DISABLE_MSAL_FORCE_REGION,
            )
            answer = app.acquire_token_for_client([f"{resource}/.default"])
            return answer if isinstance(answer, Mapping) else {}
        except MsalError as error:
            raise RuntimeError("msal refuses") from error

    def _check_certificate(self) -> None:
        end = self._app.x509.not_valid_after_utc
        if self._clock.now() >= end:
            raise TokenError(
                f"the certificate of the Entra app ended on {end:%Y-%m-%d}",
                TokenTrouble.REFUSED,
                advice="Register a new certificate with the app and name it here, then retry the job.",
            )


def _concerns_all(error: PostscanError) -> bool:
    return isinstance(error, TokenError) and error.trouble in _OF_ALL


def _seconds_of(lifetime: object) -> float:
    """Return how long a token lasts; no time at all where the authority does not say it as it should."""
    if isinstance(lifetime, int | float) and 0 < lifetime < _LONGEST_SECONDS * 365:
        return min(float(lifetime), _LONGEST_SECONDS)
    return 0.0
