"""Logging on with a token of Microsoft Entra ID (RFC 6750), for one origin."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from postscan.core.secret import Secret
from postscan.filters.entra.failures import TokenError, TokenTrouble
from postscan.filters.sharepoint.address import Origin
from postscan.filters.sharepoint.http import Answer, SmallRequests
from postscan.filters.sharepoint.library import LibraryError, Trouble

_TROUBLES: Final[Mapping[TokenTrouble, Trouble]] = MappingProxyType(
    {
        TokenTrouble.REFUSED: Trouble.WRONG_CREDENTIALS,
        TokenTrouble.AWAY: Trouble.AWAY,
        TokenTrouble.THROTTLED: Trouble.THROTTLED,
        TokenTrouble.UNTRUSTED: Trouble.UNTRUSTED,
        TokenTrouble.REDIRECTED: Trouble.REDIRECTED,
        TokenTrouble.UNREADABLE: Trouble.UNREADABLE,
    }
)


class Tokens(Protocol):
    """Where tokens come from (``entra.tokens.EntraTokens``)."""

    async def token(self, resource: str) -> Secret:
        """Return a token for a resource; raises TokenError."""

    def refused(self, resource: str, token: Secret) -> None:
        """Take note that a token is not taken any more."""


class BearerAuth:
    """Puts a token into every request to ``origin``: one made for it, which is worth nothing elsewhere.

    It is an HttpAuth. A token that was refused is replaced once; when the new one is refused as well, the app
    has no right there, and more tokens would not help.
    """

    def __init__(self, tokens: Tokens, origin: Origin) -> None:
        if origin.scheme != "https":
            raise ValueError("tokens travel by TLS alone")
        self._tokens = tokens
        self._origin = origin
        self._resource = str(origin)
        self._sent: Secret | None = None
        self._renewed: Secret | None = None
        self._is_renewal = False

    @property
    def origin(self) -> Origin:
        """Where the tokens belong; nobody else may get a request of this."""
        return self._origin

    async def log_on(self, connection: SmallRequests) -> None:
        """Do nothing: a token proves each request by itself."""

    async def headers(self) -> Mapping[str, str]:
        """Return the header with the token."""
        try:
            self._sent = await self._tokens.token(self._resource)
        except TokenError as error:
            trouble = _TROUBLES[error.trouble]
            raise LibraryError(
                str(error), trouble, advice=error.what_to_do, retry_after=error.retry_after
            ) from error
        if self._is_renewal:
            self._is_renewal, self._renewed = False, self._sent
        return {"Authorization": f"Bearer {self._sent.reveal()}"}

    async def renew(self, answer: Answer) -> bool:
        """Tell whether another token is worth a try."""
        if self._sent is None or self._sent == self._renewed:
            return False
        self._tokens.refused(self._resource, self._sent)
        self._is_renewal = True
        return True
