"""From settings to a bound connection: which controller, TLS, log-on; who was away is asked last."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from postscan.core.errors import ConfigurationError, PostscanError
from postscan.core.log import get_logger
from postscan.directory.ldap import codec
from postscan.directory.ldap.binding import (
    SASL_MECHANISM,
    Negotiation,
    Sasl,
    SimplePassword,
    as_now,
    channel_binding,
    in_words,
)
from postscan.directory.ldap.connection import Connection
from postscan.directory.ldap.locator import Controller, Locator, controller
from postscan.directory.ldap.model import DirectoryAway, DirectoryUntrusted
from postscan.directory.ldap.results import BIND_IN_PROGRESS, SUCCESS, bind_failure
from postscan.directory.ldap.settings import LdapSettings, Transport
from postscan.directory.model import DirectoryError

_log = get_logger("directory")
_T = TypeVar("_T")

_DOWN_SECONDS: Final = 60.0
_MOST_STEPS: Final = 10
# Kerberos libraries wait for absent centres as long as they like, and so does the system's resolver for its
# name servers, which often are the controllers. Threads left behind in them are few.
_MOST_THREADS: Final = 8
_MOST_ADDRESSES: Final = 4
_threads = threading.BoundedSemaphore(_MOST_THREADS)


class Dialler:
    """Makes bound connections for one account."""

    def __init__(self, settings: LdapSettings) -> None:
        self._settings = settings
        self._credentials = settings.credentials
        self._trouble = ""
        self._locator = Locator(
            settings.domain,
            given=[controller(text) for text in settings.controllers],
            forest=settings.forest,
            site=settings.site,
            global_catalog=settings.global_catalog,
            dns_servers=settings.dns_servers,
            seconds=settings.connect_seconds,
        )
        self._down: dict[tuple[str, int], float] = {}
        self._last: tuple[str, int] | None = None

    @property
    def has_password(self) -> bool:
        """Whether the account proves itself with a password, of which a domain counts the wrong ones."""
        return isinstance(self._credentials, SimplePassword) or self._credentials.password is not None

    async def renew_credentials(self) -> bool:
        """Look for another password where this one came from; tell whether there is one.

        One that cannot be read changes nothing: what was right a moment ago may still be.
        """
        try:
            fresh = await asyncio.to_thread(as_now, self._credentials)
        except PostscanError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("the account's password cannot be read again", why=str(error))
            return False
        self._trouble = ""
        changed = fresh != self._credentials
        self._credentials = fresh
        return changed

    async def dial(self) -> Connection:
        """Return a connection that is protected and bound, to the first controller that gives one.

        :raises CredentialsRefused: the account was refused; no other controller is asked, since each one
            counts wrong passwords.
        :raises DirectoryUntrusted: none could be trusted (and others were away).
        :raises DirectoryAway: none could be reached.
        """
        failures: list[DirectoryError] = []
        try:
            async with asyncio.timeout(self._settings.patience):
                for host, port in self._in_order(await self._locator.controllers()):
                    try:
                        connection = await self._dial_one(host, port)
                    except (DirectoryAway, DirectoryUntrusted) as error:
                        self._down[(host, port)] = self._now() + _DOWN_SECONDS
                        failures.append(error)
                        continue
                    self._down.pop((host, port), None)
                    self._last = (host, port)
                    return connection
        except TimeoutError:
            failures.append(DirectoryAway(f"there was no connection within {self._settings.patience:g} s"))
        raise _all_failed(failures)

    async def controllers(self) -> list[Controller]:
        """Return the controllers that there are, as they were given or as DNS names them."""
        return await self._locator.controllers()

    def went_away(self, host: str, port: int) -> None:
        """Ask this controller last for a while: a connection to it ended."""
        self._down[(host, port)] = self._now() + _DOWN_SECONDS

    def _in_order(self, controllers: list[Controller]) -> list[tuple[str, int]]:
        """Put the one that worked last first, and those that were away just now last."""
        now = self._now()
        self._down = {endpoint: until for endpoint, until in self._down.items() if until > now}
        endpoints = list(dict.fromkeys((one.host, self._port(one)) for one in controllers))
        return sorted(endpoints, key=lambda endpoint: (endpoint in self._down, endpoint != self._last))

    def _port(self, one: Controller) -> int:
        usual = self._settings.transport.port(global_catalog=self._settings.global_catalog)
        if one.port is None or (
            self._settings.transport is Transport.LDAPS and not self._settings.controllers
        ):
            return usual  # DNS names the port without TLS
        return one.port

    async def _dial_one(self, host: str, port: int) -> Connection:
        failures: list[DirectoryError] = []
        for address in await self._addresses(host, port):
            try:
                return await self._dial_address(host, port, address)
            except DirectoryAway as error:
                failures.append(error)
        raise _all_failed(failures)

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Return where to connect to; never by the event loop's own threads, which have other work to do."""
        found = [address for address in await self._locator.addresses(host) if address is not None]
        if found:
            return found
        seconds = self._settings.connect_seconds
        why = f"{host}:{port} cannot be reached"
        try:
            resolved = await in_thread(
                partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM),
                seconds,
                DirectoryAway(f"{why}: its address was not found within {seconds:g} s"),
            )
        except (OSError, UnicodeError) as error:
            raise DirectoryAway(f"{why}: {getattr(error, 'strerror', None) or error}") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in resolved))[:_MOST_ADDRESSES]

    async def _dial_address(self, host: str, port: int, address: str) -> Connection:
        settings = self._settings
        tls = tls_context(settings) if settings.transport.tls else None
        connection = await Connection.open(
            host,
            port,
            address=address,
            tls=tls if settings.transport is Transport.LDAPS else None,
            seconds=settings.connect_seconds,
        )
        try:
            if settings.transport is Transport.STARTTLS and tls is not None:
                await connection.start_tls(
                    tls, connect_seconds=settings.connect_seconds, answer_seconds=settings.answer_seconds
                )
            await self._bind(connection)
        except BaseException:
            connection.abort(DirectoryAway(f"logging on at {connection.name} failed"))
            raise
        return connection

    async def _bind(self, connection: Connection) -> None:
        credentials = self._credentials
        if isinstance(credentials, SimplePassword):
            await self._bind_simple(connection, credentials)
        else:
            await self._bind_sasl(connection, credentials)

    async def _bind_simple(self, connection: Connection, credentials: SimplePassword) -> None:
        if connection.certificate is None and self._settings.transport is not Transport.INSECURE_PLAIN:
            raise DirectoryUntrusted(f"{connection.name} has no TLS; the password is not sent")
        answer = await connection.ask(
            lambda number: codec.bind_simple(number, credentials.account, credentials.password.reveal()),
            self._settings.answer_seconds,
        )
        if answer.result.code != SUCCESS:
            raise bind_failure(credentials.account, answer.result)

    async def _bind_sasl(self, connection: Connection, credentials: Sasl) -> None:
        seconds = self._settings.answer_seconds
        certificate = connection.certificate
        binding = None if certificate is None else channel_binding(certificate)
        negotiation = Negotiation(credentials, connection.host, binding)
        token = await in_thread(negotiation.step, seconds)
        for _ in range(_MOST_STEPS):
            answer = await connection.ask(
                partial(codec.bind_sasl, mechanism=SASL_MECHANISM, token=token or b""),
                seconds,
            )
            result = answer.result
            if result.code not in {SUCCESS, BIND_IN_PROGRESS}:
                raise bind_failure(in_words(credentials), result)
            if result.credentials and not negotiation.complete:
                token = await in_thread(partial(negotiation.step, result.credentials), seconds)
            else:
                token = None
            if result.code == SUCCESS:
                negotiation.check()
                connection.mechanism = negotiation.mechanism
                if negotiation.seals:
                    connection.start_sealing(negotiation)
                return
        raise DirectoryUntrusted(f"{connection.name} never ends the logon")

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


async def in_thread(work: Callable[[], _T], seconds: float, late: DirectoryAway | None = None) -> _T:
    """Run what blocks in a thread, and wait for it at most ``seconds``; the thread may live longer.

    :param late: what to raise when it took too long, if it is not a logon.
    :raises DirectoryAway: it took too long, or too many such threads are still under way.
    """
    places = _threads
    if not places.acquire(blocking=False):
        raise DirectoryAway("too many logons are still waiting for a name server or a Kerberos centre")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # there is one

    def run() -> None:
        result: _T | None = None
        failed: Exception | None = None
        try:
            result = work()
        except Exception as error:  # handed to whoever waits
            failed = error
        finally:
            places.release()
        with contextlib.suppress(RuntimeError):  # the program ended meanwhile, and its loop is closed
            loop.call_soon_threadsafe(settle, result, failed)

    try:
        # Not from a pool: a thread that hangs would keep the program from ending.
        threading.Thread(target=run, name="ldap-logon", daemon=True).start()
    except RuntimeError as error:
        places.release()
        raise DirectoryAway("this computer makes no more threads just now") from error
    try:
        async with asyncio.timeout(seconds):
            return await done
    except TimeoutError as error:
        raise late or DirectoryAway(
            f"Kerberos did not answer within {seconds:g} s",
            advice="Check the realm and its kdc in krb5.conf, and port 88 of the domain controllers.",
        ) from error


def tls_context(settings: LdapSettings) -> ssl.SSLContext:
    """Return a context made anew for each connection, so that a changed file of authorities counts."""
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{settings.ca} cannot be read as PEM certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _all_failed(failures: list[DirectoryError]) -> DirectoryError:
    """Return one error for all: the one an administrator has to act on before any that time may heal."""
    if not failures:
        return DirectoryAway("there is no domain controller to ask")
    worst = next((one for one in failures if isinstance(one, DirectoryUntrusted)), failures[0])
    if len(failures) == 1:
        return worst
    words = "; ".join(dict.fromkeys(str(one) for one in failures))
    return type(worst)(words, advice=worst.what_to_do)
