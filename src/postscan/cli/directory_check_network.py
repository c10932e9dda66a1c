"""The way to a domain controller: DNS, connection, TLS. Nothing secret is sent here."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from postscan.cli.directory_steps import Told, Walk, doubtful, fine, left_out, wrong
from postscan.directory.ldap.connection import Connection
from postscan.directory.ldap.dialling import tls_context
from postscan.directory.ldap.locator import Controller, Locator, controller
from postscan.directory.ldap.model import DirectoryAway, DirectoryUntrusted
from postscan.directory.ldap.settings import LdapSettings, Transport
from postscan.directory.model import DirectoryError

CONTROLLERS: Final = "controllers"
ADDRESSES: Final = "addresses"
CONNECTION: Final = "connection"
TLS: Final = "TLS"
_MOST: Final = 8
_RENEW_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    host: str
    port: int
    address: str | None

    @property
    def name(self) -> str:
        at = f" ({self.address})" if self.address and self.address != self.host else ""
        return f"{self.host}:{self.port}{at}"


class NetworkCheck:
    """Finds, connects to and looks at every controller, where the client itself is content with one.

    :param settings: as the server asks with.
    """

    def __init__(self, settings: LdapSettings) -> None:
        self._settings = settings
        self._given = [controller(text) for text in settings.controllers]
        self._locator = Locator(
            settings.domain,
            given=self._given,
            forest=settings.forest,
            site=settings.site,
            global_catalog=settings.global_catalog,
            dns_servers=settings.dns_servers,
            seconds=settings.connect_seconds,
        )
        self._controllers: list[Controller] = []
        self._endpoints: list[_Endpoint] = []
        self._reached: list[_Endpoint] = []

    async def walk(self, walk: Walk) -> None:
        """Take all steps."""
        await walk.take(CONTROLLERS, self._find)
        await walk.take(ADDRESSES, self._look_up, [CONTROLLERS])
        await walk.take(CONNECTION, self._connect, [ADDRESSES])
        await walk.take(TLS, self._shake_hands, [CONNECTION])

    async def _find(self) -> Told:
        self._controllers = (await self._locator.controllers())[:_MOST]
        names = ", ".join(one.host for one in self._controllers)
        if self._given:
            return fine(f"{names}, as the settings say")
        site = f", those of site {self._settings.site} first" if self._settings.site else ""
        return fine(f"{names}, as DNS says for {self._settings.domain}{site}")

    async def _look_up(self) -> Told:
        lines, failures = [], []
        for one in self._controllers:
            try:
                addresses = await self._addresses(one.host)
            except DirectoryError as error:
                failures.append(f"{one.host}: {error}")
                continue
            lines.append(f"{one.host} is {', '.join(addresses)}")
            self._endpoints += [_Endpoint(one.host, self._port(one), address) for address in addresses]
        return _of_several(
            lines,
            failures,
            "Correct the name in [directory] controllers, or name the domain's own name servers as"
            " dns_servers; a line in /etc/hosts helps for a trial.",
        )

    async def _addresses(self, host: str) -> list[str]:
        found = await self._locator.addresses(host)
        if found != [None]:
            return [address for address in found if address is not None]
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                loop = asyncio.get_running_loop()
                resolved = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise DirectoryError("this machine's name servers do not answer in time") from error
        except OSError as error:
            raise DirectoryError(f"this machine cannot resolve it ({error.strerror})") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in resolved))

    def _port(self, one: Controller) -> int:
        usual = self._settings.transport.port(global_catalog=self._settings.global_catalog)
        # DNS names the port without TLS.
        return usual if one.port is None or not self._given else one.port

    async def _connect(self) -> Told:
        lines, failures = [], []
        for one in self._endpoints:
            try:
                async with self._connection(one, None):
                    lines.append(f"{one.name} accepts connections")
                    self._reached.append(one)
            except DirectoryError as error:
                failures.append(str(error) if one.host in str(error) else f"{one.name}: {error}")
        ports = {one.port for one in self._endpoints}
        return _of_several(
            lines,
            failures,
            f"Let a firewall pass TCP {', '.join(map(str, sorted(ports)))} from here to the controllers, and"
            " see that they run"
            + (" with a certificate (without one they close 636)." if 636 in ports else "."),
        )

    async def _shake_hands(self) -> Told:
        transport = self._settings.transport
        if not transport.tls:
            sealed = transport is Transport.SEALED
            return left_out(f"no TLS: {'the bind seals the connection' if sealed else 'clear text is set'}")
        trusted = tls_context(self._settings)
        lines, failures, soon, is_away = [], [], False, True
        for one in self._reached:
            try:
                async with self._connection(one, trusted) as connection:
                    text, expires_soon = _describe(connection.certificate)
                    lines.append(f"{one.name}: {connection.tls_version}, {text}")
                    soon = soon or expires_soon
            except DirectoryUntrusted as error:
                is_away = False
                failures.append(f"{str(error).rstrip('.')}; {await self._shown_by(one)}")
            except DirectoryError as error:
                failures.append(f"{one.name}: {error}")
        if is_away and not lines:
            raise DirectoryAway("; ".join(failures))
        told = _of_several(
            lines,
            failures,
            "Name the authority that issued the controllers' certificates as ca under [directory] (a PEM"
            " file), and the controllers by the names in their certificates.",
        )
        if soon and not failures:
            return doubtful(told.said, "Have the controller's certificate renewed in time.", *told.details)
        return told

    async def _shown_by(self, one: _Endpoint) -> str:
        """Say which certificate an untrusted controller shows; nothing is sent to it."""
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname = False
        anybody.verify_mode = ssl.CERT_NONE
        with contextlib.suppress(DirectoryError):
            async with self._connection(one, anybody) as connection:
                return f"it shows a {_describe(connection.certificate)[0]}"
        return "what it shows cannot be read"

    @asynccontextmanager
    async def _connection(self, one: _Endpoint, tls: ssl.SSLContext | None) -> AsyncIterator[Connection]:
        """Connect, with TLS in the way of the settings when ``tls`` is given, and close again."""
        settings = self._settings
        begins_with_tls = settings.transport is Transport.LDAPS
        connection = await Connection.open(
            one.host,
            one.port,
            address=one.address,
            tls=tls if begins_with_tls else None,
            seconds=settings.connect_seconds,
        )
        try:
            if tls is not None and not begins_with_tls:
                await connection.start_tls(
                    tls, connect_seconds=settings.connect_seconds, answer_seconds=settings.answer_seconds
                )
            yield connection
        finally:
            connection.abort(DirectoryError("the check is over"))


def _of_several(lines: list[str], failures: list[str], advice: str) -> Told:
    """Say how it went with several controllers: one that works is enough, and each other a warning."""
    if not lines:
        return wrong("; ".join(failures) or "there is none", advice)
    if failures:
        return doubtful("; ".join(failures), advice, *lines)
    return fine(lines[0], *lines[1:])


def _describe(der: bytes | None) -> tuple[str, bool]:
    """Return what a controller's certificate is, in words, and whether it expires soon."""
    if der is None:
        return "certificate that was not shown", False
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = _names(certificate)
    except ValueError:
        return "certificate that cannot be read", False
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    valid = f"valid for {left.days} more days" if left > timedelta(0) else "expired"
    text = f"certificate for {', '.join(names[:5]) or 'no name'}, issued by {_issuer(certificate)}, {valid}"
    return text, left < _RENEW_BEFORE


def _issuer(certificate: x509.Certificate) -> str:
    common = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else certificate.issuer.rfc4514_string()


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [
        one
        for one in names.get_values_for_type(x509.IPAddress)
        if isinstance(one, ipaddress.IPv4Address | ipaddress.IPv6Address)
    ]
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]
