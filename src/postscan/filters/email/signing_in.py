"""How the account proves itself to the mail server (RFC 4954), and how often it may be refused.

A password that the server did not take is not shown to it again at once: many jobs with a wrong password
would otherwise lock the account. After a refusal the same password waits a minute, then two, up to an hour;
another password is tried at once. Passwords are shown by one connection after the other, never by many at the
same moment.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from postscan.core.clock import Clock
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.email.replies import Reply, busy, not_signed_in
from postscan.filters.email.scram import ScramClient, ScramError
from postscan.filters.email.settings import AuthMethod
from postscan.filters.turns import Turns

Say = Callable[..., Awaitable[Reply]]
"""Sends one command, given as its words, and returns the answer."""

_STRENGTH: Final = (
    AuthMethod.SCRAM_SHA_256,
    AuthMethod.SCRAM_SHA_1,
    AuthMethod.PLAIN,
    AuthMethod.LOGIN,
)
_ACCEPTED: Final = 235
_GO_ON: Final = 334
_DIGESTS: Final = {AuthMethod.SCRAM_SHA_256: "sha256", AuthMethod.SCRAM_SHA_1: "sha1"}
_FIRST_PAUSE: Final = 60.0
_LONGEST_PAUSE: Final = 3_600.0
ENTER_AGAIN: Final = (
    "Correct `account` of [email], or enter its password again with `postscan secrets set email.password`;"
    " the delivery is tried again by itself."
)


class RefusalGuard:
    """Remembers what the server refused, so that an account is not locked by asking again and again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused: Secret | None = None
        self._said = ""
        self._pause = 0.0
        self._again_at = 0.0
        # Whatever it was, it is the server's or the account's, and both are the same for all mail.
        self._turns = Turns(lambda _: True)

    @asynccontextmanager
    async def turn(self, place: str, secret: Secret) -> AsyncIterator[None]:
        """Surround a sign-in; raises DeliveryError when this secret was refused a short while ago."""
        async with self._turns.turn(partial(self._check, place, secret)):
            yield

    def _check(self, place: str, secret: Secret) -> None:
        left = self._again_at - self._clock.monotonic()
        if self._refused != secret or left <= 0:
            return
        error = not_signed_in(
            place, f"refused the account, and the same password waits a while: {self._said}", ENTER_AGAIN
        )
        error.retry_after = timedelta(seconds=left)
        raise error

    def refused(self, secret: Secret, said: str) -> timedelta:
        """Remember a refusal; returns how long the same secret waits."""
        again = self._refused == secret
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause) if again else _FIRST_PAUSE
        self._refused, self._said = secret, said
        self._again_at = self._clock.monotonic() + self._pause
        return timedelta(seconds=self._pause)

    def accepted(self) -> None:
        """Forget refusals."""
        self._refused = None


def choose(place: str, wanted: AuthMethod, offered: frozenset[str]) -> AuthMethod:
    """Return the way to sign in; raises DeliveryError when the server does not offer it."""
    ways = _STRENGTH if wanted is AuthMethod.AUTO else (wanted,)
    for way in ways:
        if way in offered:
            return way
    names = ", ".join(sorted(offered)).upper() or "none"
    raise not_signed_in(
        place,
        f"does not offer to sign in by {' or '.join(ways).upper()} (it offers {names})",
        "Set `auth` of [email] to a way that the mail server offers; the delivery is tried again by itself.",
    )


@dataclass(frozen=True, slots=True)
class Account:
    """Who signs in, with a password or, for XOAUTH2, a token."""

    name: str
    secret: Secret


async def sign_in(place: str, method: AuthMethod, account: Account, say: Say) -> None:
    """Sign in.

    :raises DeliveryError: it could not be tried to the end.
    :raises Refused: the server does not take name and secret.
    """
    match method:
        case AuthMethod.PLAIN:
            plain = f"\0{account.name}\0{account.secret.reveal()}".encode()
            reply = await say(b"AUTH", b"PLAIN", base64.b64encode(plain))
        case AuthMethod.LOGIN:
            reply = await say(b"AUTH", b"LOGIN")
            for word in (account.name, account.secret.reveal()):
                if reply.code == _GO_ON:
                    reply = await say(base64.b64encode(word.encode()))
        case AuthMethod.XOAUTH2:
            bearer = f"user={account.name}\1auth=Bearer {account.secret.reveal()}\1\1".encode()
            reply = await say(b"AUTH", b"XOAUTH2", base64.b64encode(bearer))
            if reply.code == _GO_ON:
                # What went wrong stands in there; an empty answer ends the exchange.
                reply = await say(b"")
        case _:
            reply = await _scram(place, method, account, say)
    if reply.code == _ACCEPTED:
        return
    reply = reply.without(account.secret.reveal(), *_encodings(account))
    if reply.is_temporary:
        raise busy(place, reply)
    raise Refused(reply)


class Refused(Exception):
    """The mail server does not take name and secret."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def _encodings(account: Account) -> list[str]:
    secret = account.secret.reveal()
    return [
        base64.b64encode(text.encode()).decode()
        for text in (
            secret,
            f"\0{account.name}\0{secret}",
            f"user={account.name}\1auth=Bearer {secret}\1\1",
        )
    ]


async def _scram(place: str, method: AuthMethod, account: Account, say: Say) -> Reply:
    try:
        client = ScramClient(account.name, account.secret, _DIGESTS[method])
        reply = await say(b"AUTH", method.upper().encode(), base64.b64encode(client.first()))
        if reply.code != _GO_ON:
            return _unproven(reply)
        final = await asyncio.to_thread(client.final, _decoded(reply))
        reply = await say(base64.b64encode(final))
        if reply.code != _GO_ON:
            return _unproven(reply)
        client.check(_decoded(reply))
        return await say(b"")
    except ScramError as error:
        raise _not_itself(place, method, error) from error


def _unproven(reply: Reply) -> Reply:
    """Return a refusal; raises ScramError for a yes that comes before the server proved itself."""
    if reply.is_good:
        raise ScramError("it does not prove that it knows the password")
    return reply


def _decoded(reply: Reply) -> bytes:
    try:
        return base64.b64decode(reply.whole, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ScramError("its message is no base64") from error


def _not_itself(place: str, method: AuthMethod, error: ScramError) -> DeliveryError:
    return not_signed_in(
        place,
        f"does not keep to {method.upper()}: {error}",
        "Check that this is the right server; `auth` of [email] may name another way to sign in.",
    )
