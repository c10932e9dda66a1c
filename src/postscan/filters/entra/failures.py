"""Why there is no token, in words that say what to do."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum, auto
from typing import Final

import aiohttp

from postscan.core.errors import PostscanError
from postscan.filters.entra.app import EntraApp
from postscan.filters.entra.authority_http import AuthorityHttp

_CODE: Final = re.compile(r"AADSTS\d{3,9}")

# What the codes of the authority mean that an administrator can do something about
# ("Microsoft Entra authentication and authorization error codes").
_MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    "AADSTS700016": (
        "no app of this id is registered in the tenant",
        "Compare client_id and tenant with the app's registration.",
    ),
    "AADSTS90002": (
        "no such tenant exists",
        "Compare tenant with the tenant's id in the Entra admin center.",
    ),
    "AADSTS900023": ("this is no name of a tenant", "Write the tenant's id or its domain name."),
    "AADSTS700027": (
        "the certificate is not registered with the app",
        "Upload the certificate (not its key) to the app's registration, or name the one that is there.",
    ),
    "AADSTS7000222": ("the app's credential has expired", "Register a new certificate with the app."),
    "AADSTS700024": (
        "the assertion is not valid at this time",
        "Set this machine's clock right (NTP); the authority accepts a few minutes of difference.",
    ),
    "AADSTS500011": (
        "the resource is unknown in the tenant",
        "Compare the site's host name with the tenant's.",
    ),
    "AADSTS53003": (
        "a policy for conditional access forbids it",
        "Have the policy allow this app from this server's address.",
    ),
    "AADSTS7000112": ("the app is disabled", "Enable the app in the Entra admin center."),
}


class TokenTrouble(Enum):
    """What kept a token from coming."""

    REFUSED = auto()
    """The authority knows no such app or tenant, or does not take its certificate."""
    AWAY = auto()
    """Not reached, cut off, too slow, or out of order."""
    THROTTLED = auto()
    """Asked too often: TokenError.retry_after says for how long."""
    UNTRUSTED = auto()
    """The authority's own certificate is not one that is trusted."""
    REDIRECTED = auto()
    """It leads to another host, which is not followed."""
    UNREADABLE = auto()
    """It answers something else than an authority would."""


class TokenError(PostscanError):
    """There is no token; ``str(error)`` says why, without a secret."""

    def __init__(
        self,
        message: str,
        trouble: TokenTrouble,
        *,
        advice: str,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, advice=advice)
        self.trouble = trouble
        self.retry_after = retry_after


def refusal(authority: str, answer: Mapping[str, object]) -> TokenError:
    """Return the failure of an authority that answered, and gave no token."""
    # Only the code is shown: the text of a stranger might repeat what was sent.
    found = _CODE.search(str(answer.get("error_description", "")))
    code = found[0] if found else ""
    meaning, advice = _MEANINGS.get(
        code,
        ("it gives no token to this app", "Look the code up in the documentation of Microsoft Entra ID."),
    )
    if answer.get("error") == "temporarily_unavailable":
        return TokenError(
            f"{authority} has no time for us",
            TokenTrouble.AWAY,
            advice="It is tried again by itself.",
        )
    return TokenError(
        f"{authority} refuses: {meaning}" + (f" ({code})" if code else ""),
        TokenTrouble.REFUSED,
        advice=advice,
    )


def unreadable(app: EntraApp, http: AuthorityHttp, error: Exception) -> TokenError:
    """Return the failure of an authority whose answers cannot be used."""
    authority = app.authority
    if http.strange_host is not None:
        return TokenError(
            f"{authority} sends us to {http.strange_host}, which is not the authority of the settings",
            TokenTrouble.REDIRECTED,
            advice="Name the authority host of your cloud in the settings.",
        )
    if http.last_status is not None and (http.last_status == 429 or http.last_status >= 500):
        return TokenError(
            f"{authority} has no time for us ({http.last_status})",
            TokenTrouble.AWAY if http.retry_after is None else TokenTrouble.THROTTLED,
            advice="It is tried again by itself.",
            retry_after=http.retry_after,
        )
    if http.last_status in (400, 404):
        return TokenError(
            f"{authority} knows no tenant {app.tenant}",
            TokenTrouble.REFUSED,
            advice="Compare tenant with the tenant's id in the Entra admin center.",
        )
    return TokenError(
        f"{authority} gives answers that are none of an authority ({type(error).__name__})",
        TokenTrouble.UNREADABLE,
        advice="Check the authority host of the settings, and whether a proxy stands between.",
    )


def away(authority: str, error: Exception) -> TokenError:
    """Return the failure of an authority that was not reached."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return TokenError(
            f"{authority}, which gives the tokens, shows a certificate that is not trusted",
            TokenTrouble.UNTRUSTED,
            advice="Look for a proxy that opens TLS; if it is meant to be there, trust its authority.",
        )
    return TokenError(
        f"{authority}, which gives the tokens, cannot be reached: {_words(error)}",
        TokenTrouble.AWAY,
        advice="Let this server reach it by HTTPS; the delivery is tried again by itself.",
    )


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve to an address"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    number = getattr(getattr(error, "os_error", error), "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) and number > 0 else "the connection broke"
