"""One connection to the mail server: protected, signed in, and used for one message after the other.

Commands and answers are aiosmtplib's; the text of a message is written piece by piece with the connection's
own flow control, so that no message is ever held in memory as a whole. Whatever goes wrong is a DeliveryError
that names the server and quotes what it said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Final, cast

import aiosmtplib

from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.email.addresses import MailAddress
from postscan.filters.email.replies import (
    NO_TLS,
    Reply,
    busy,
    not_signed_in,
    refused,
    tls_trouble,
    unreachable,
    untrusted,
)
from postscan.filters.email.settings import AuthMethod, EmailSettings, Security
from postscan.filters.email.signing_in import (
    ENTER_AGAIN,
    Account,
    RefusalGuard,
    Refused,
    choose,
    sign_in,
)

_START_INPUT: Final = 354
_AUTH_REQUIRED: Final = 530
_QUIT_SECONDS: Final = 5.0
_XOAUTH2_ADVICE: Final = (
    "Let the account send by SMTP with this app or token (SMTP AUTH may be switched off for a mailbox), and"
    " check `account` of [email]; the delivery is tried again by itself."
)


class MailConnection:
    """A connection that is signed in; made by :func:`connected`.

    :ivar signed_in_by: how the account signed in; None when none did.
    """

    def __init__(self, settings: EmailSettings, smtp: aiosmtplib.SMTP) -> None:
        self._settings = settings
        self._smtp = smtp
        self._writer: asyncio.StreamWriter | None = None
        self.signed_in_by: AuthMethod | None = None

    @property
    def tls_version(self) -> str | None:
        """The version of TLS, as in ``TLSv1.3``; None without TLS."""
        version = self._smtp.get_transport_info("ssl_object")
        return None if version is None else version.version()

    @property
    def size_limit(self) -> int | None:
        """The most octets of a message that the server takes (RFC 1870), None where it does not say."""
        said = self._smtp.esmtp_extensions.get("size", "")
        return int(said) or None if said.isascii() and said.isdigit() and len(said) < 16 else None

    @property
    def takes_utf8(self) -> bool:
        """Whether the server takes addresses of other letters (RFC 6531)."""
        return self._smtp.supports_extension("smtputf8")

    async def say(self, *words: bytes, seconds: float | None = None) -> Reply:
        """Send a command and return the answer; raises DeliveryError when none comes."""
        reply = await self._answer(*words, seconds=seconds)
        if reply.code == 421:
            # RFC 5321, 3.8: it closes the connection, whatever was asked.
            raise busy(self._settings.place, reply)
        return reply

    async def begin(self, sender: MailAddress, *, size: int | None = None, utf8: bool = False) -> Reply:
        """Begin a message (MAIL FROM)."""
        options = []
        if size is not None and self._smtp.supports_extension("size"):
            options.append(f"SIZE={size}".encode())
        if utf8:
            options.append(b"SMTPUTF8")
        return await self.say(b"MAIL", f"FROM:<{sender}>".encode(), *options)

    async def recipient(self, address: MailAddress) -> Reply:
        """Name a recipient (RCPT TO)."""
        return await self.say(b"RCPT", f"TO:<{address}>".encode())

    async def send(self, chunks: Iterator[bytes], before_end: Callable[[], Awaitable[None]]) -> Reply:
        """Send a message (DATA), and return what the server says of it.

        :param chunks: the message, its lines beginning with a dot doubled; read in a thread.
        :param before_end: awaited when all is sent but the end, which is what makes the server take it.
        :raises DeliveryError: a document cannot be read, or the connection is lost; the server took nothing
            then, unless the end had been sent.
        """
        reply = await self.say(b"DATA")
        if reply.code != _START_INPUT:
            return reply
        try:
            async with contextlib.aclosing(_ahead(chunks)) as pieces:
                async for chunk in pieces:
                    await self._write(chunk)
            await before_end()
        except BaseException:
            # In the middle of a message there is no way back but this one.
            self.drop()
            raise
        return await self._answer(b".", seconds=self._settings.end_seconds)

    async def reset(self) -> None:
        """Drop the message that was begun."""
        await self.say(b"RSET")

    async def close(self) -> None:
        """Say goodbye where that is possible, and close."""
        with contextlib.suppress(DeliveryError):
            if self._smtp.is_connected:
                await self.say(b"QUIT", seconds=min(_QUIT_SECONDS, self._settings.timeout_seconds))
        self.drop()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next turn

    def drop(self) -> None:
        """Close at once."""
        transport = cast(asyncio.WriteTransport | None, self._smtp.transport)
        if transport is not None:
            # Without the farewell of TLS, which nobody would wait for.
            transport.abort()
        self._smtp.close()

    async def _answer(self, *words: bytes, seconds: float | None) -> Reply:
        with self._troubles():
            limit = self._settings.timeout_seconds if seconds is None else seconds
            answer = await self._smtp.execute_command(*words, timeout=limit)
        return Reply.of(answer.code, answer.message)

    async def _write(self, chunk: bytes) -> None:
        with self._troubles():
            async with asyncio.timeout(self._settings.timeout_seconds):
                writer = self._writer or self._make_writer()
                writer.write(chunk)
                await writer.drain()

    def _make_writer(self) -> asyncio.StreamWriter:
        """Return the flow control of the connection: aiosmtplib's protocol is made to have one of these."""
        protocol, transport = self._smtp.protocol, self._smtp.transport
        if protocol is None or transport is None or transport.is_closing():
            raise ConnectionResetError("Connection lost")
        stream = cast(asyncio.WriteTransport, transport)
        self._writer = asyncio.StreamWriter(stream, protocol, None, asyncio.get_running_loop())
        return self._writer

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        """Turn what the libraries raise into DeliveryErrors."""
        place = self._settings.place
        try:
            yield
        except DeliveryError:
            raise
        except aiosmtplib.SMTPResponseException as error:
            if error.code < 0:
                raise unreachable(place, "answers with what is none of SMTP") from error
            reply = Reply.of(error.code, error.message)
            raise (
                busy(place, reply) if not 500 <= reply.code < 600 else refused(place, "us", reply)
            ) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _connection_failure(self._settings, error) from error


@contextlib.asynccontextmanager
async def connected(
    settings: EmailSettings, context: ssl.SSLContext | None, guard: RefusalGuard
) -> AsyncIterator[MailConnection]:
    """Connect, protect and sign in; close afterwards.

    :param context: how the server's certificate is judged; None only without TLS.
    :raises DeliveryError: the server is away, cannot be trusted, or does not let the account in.
    """
    seconds = settings.timeout_seconds
    smtp = aiosmtplib.SMTP(
        hostname=settings.server,
        port=settings.port,
        local_hostname=settings.local_name or None,
        timeout=seconds,
        use_tls=settings.security is Security.TLS,
        start_tls=False,
        tls_context=context,
    )
    connection = MailConnection(settings, smtp)
    try:
        try:
            await smtp.connect()
            await smtp.ehlo()
            if settings.security is Security.STARTTLS:
                await _start_tls(settings, smtp, context)
        except aiosmtplib.SMTPResponseException as error:
            if error.code < 0:
                raise unreachable(settings.place, "answers with what is none of SMTP") from error
            reply = Reply.of(error.code, error.message)
            raise unreachable(settings.place, f"does not let us in: {reply}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _connection_failure(settings, error) from error
        await _sign_in(settings, connection, smtp, guard)
        yield connection
    except BaseException:
        connection.drop()
        raise
    await connection.close()


async def _start_tls(settings: EmailSettings, smtp: aiosmtplib.SMTP, context: ssl.SSLContext | None) -> None:
    if not smtp.supports_extension("starttls"):
        raise untrusted(
            settings.place, "it does not offer STARTTLS (or somebody in between takes the offer out)", NO_TLS
        )
    await smtp.starttls(tls_context=context)
    # RFC 3207, 4.2: what it said before TLS counts for nothing.
    await smtp.ehlo()


async def _sign_in(
    settings: EmailSettings, connection: MailConnection, smtp: aiosmtplib.SMTP, guard: RefusalGuard
) -> None:
    if settings.auth is AuthMethod.NONE or not settings.account:
        return
    place = settings.place
    if settings.security is Security.NONE and not settings.insecure:
        raise untrusted(place, "the account would sign in over a connection without TLS")
    method = choose(place, settings.auth, frozenset(smtp.server_auth_methods))
    if method is AuthMethod.XOAUTH2:
        await _sign_in_by_token(settings, connection)
        connection.signed_in_by = method
        return
    try:
        secret = settings.password() if settings.password is not None else Secret("")
    except ConfigurationError as error:
        raise not_signed_in(place, f"got no password: {error}", error.what_to_do) from error
    async with guard.turn(place, secret):
        try:
            await sign_in(place, method, Account(settings.account, secret), connection.say)
        except Refused as error:
            why = f"refuses the account {settings.account}: {error.reply}"
            failure = not_signed_in(place, why, ENTER_AGAIN)
            failure.retry_after = guard.refused(secret, str(error.reply))
            raise failure from error
        guard.accepted()
    connection.signed_in_by = method


async def _sign_in_by_token(settings: EmailSettings, connection: MailConnection) -> None:
    if settings.tokens is None:
        raise not_signed_in(
            settings.place, "wants a token, and there is none", "Set `token_file` or `oauth_...` of [email]."
        )
    for last in (False, True):
        token = await settings.tokens.token()
        try:
            account = Account(settings.account, token)
            await sign_in(settings.place, AuthMethod.XOAUTH2, account, connection.say)
        except Refused as error:
            # The token may have been withdrawn before its time: one new one is worth trying.
            settings.tokens.refused(token)
            if last or await settings.tokens.token() == token:
                why = f"refuses the token of {settings.account}: {error.reply}"
                raise not_signed_in(settings.place, why, _XOAUTH2_ADVICE) from error
        else:
            return


async def _ahead(chunks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Return the pieces; each is read, in a thread, while the one before is on its way."""
    reading = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
    try:
        # The shield keeps a cancellation from leaving a thread behind that still reads.
        while (chunk := await asyncio.shield(reading)) is not None:
            reading = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
            yield chunk
    finally:
        await asyncio.wait({reading})
        reading.exception()


def needs_sign_in(reply: Reply) -> bool:
    """Tell whether the server wants an account first (RFC 4954, 6)."""
    return reply.code == _AUTH_REQUIRED


def _connection_failure(settings: EmailSettings, error: BaseException) -> DeliveryError:
    if (trouble := tls_trouble(settings.place, error)) is not None:
        return trouble
    if isinstance(error, TimeoutError):
        return unreachable(settings.place, f"does not answer within {settings.timeout_seconds:g} seconds")
    cause: BaseException = error
    while isinstance(cause.__cause__, OSError):
        cause = cause.__cause__
    if isinstance(cause, aiosmtplib.SMTPException) or not isinstance(cause, OSError):
        return unreachable(settings.place, "closed the connection")
    if cause.errno is not None and cause.errno > 0:
        # asyncio's own texts hold addresses and no reason.
        return unreachable(settings.place, f"cannot be reached: {os.strerror(cause.errno)}")
    return unreachable(
        settings.place, f"cannot be reached: {cause.strerror or 'none of its addresses answers'}"
    )
