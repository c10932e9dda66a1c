"""Where tokens for XOAUTH2 come from: a file that another program keeps, or Microsoft Entra ID."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from postscan.contracts.keywords import FilterStateReason
from postscan.core.errors import PostscanError
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.entra.failures import TokenError
from postscan.filters.entra.tokens import EntraTokens

EXCHANGE_ONLINE: Final = "https://outlook.office365.com"
"""The resource that Exchange Online takes tokens for (scope https://outlook.office365.com/.default)."""


class FileTokens:
    """Tokens of a file, read anew each time.

    :param read: returns what is in it; raises ConfigurationError when it must not be used.
    """

    def __init__(self, read: Callable[[], Secret]) -> None:
        self._read = read

    async def token(self) -> Secret:
        """Return the token that is there now."""
        try:
            return self._read()
        except PostscanError as error:
            raise no_token(error) from error

    def refused(self, token: Secret) -> None:
        """Do nothing: another program renews the file."""


class EntraMailTokens:
    """Tokens of an app that is registered with Microsoft Entra ID, for one resource."""

    def __init__(self, tokens: EntraTokens, resource: str = EXCHANGE_ONLINE) -> None:
        self._tokens = tokens
        self._resource = resource

    async def token(self) -> Secret:
        """Return a token that is good for a while yet."""
        try:
            return await self._tokens.token(self._resource)
        except PostscanError as error:
            raise no_token(error) from error

    def refused(self, token: Secret) -> None:
        """Have the next token be another."""
        self._tokens.refused(self._resource, token)


def no_token(error: PostscanError) -> DeliveryError:
    """Return the failure of a sign-in for which no token is to be had.

    Time can heal it in any case: what is wrong with an app is put right in its registration or the settings.
    """
    pause = error.retry_after if isinstance(error, TokenError) else None
    return DeliveryError(
        f"there is no token to sign in to the mail server with: {error}",
        reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
        transient=True,
        advice=error.what_to_do,
        retry_after=pause,
    )
