"""Who calls, and whom they may speak for (architecture, "Identity and trust").

Authenticated mode: the TLS client certificate is the user's and maps to one account, which must be the
UserIdentifier of the job. Unauthenticated mode: a device on the allow-list vouches for the user.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol

from cryptography import x509

from postscan.core.certificates import MALFORMED
from postscan.core.clock import Clock
from postscan.core.errors import FaultKind, FaultParty, PostscanError
from postscan.core.log import get_logger
from postscan.directory.model import Directory, DirectoryError, User
from postscan.dpws.http.certificates import AuthenticationFlaw, CertificateFlaw
from postscan.dpws.http.judgement import read_certificate
from postscan.dpws.http.messages import Peer
from postscan.dpws.service import Caller
from postscan.soap.names import WSSE, qname

_log = get_logger("identity")
_CACHE_SECONDS = 60.0
_CACHE_SIZE = 4_096
# While the directory is away: for how long who a certificate was found to stand for is still believed, so
# that jobs under way go on, and how often the directory is asked meanwhile.
_AWAY_SECONDS: Final = 900.0
_ASK_AGAIN_SECONDS: Final = 60.0
# Digits of a certificate's hash in the log: enough to find it.
_SHORT: Final = 16
_BY_CERTIFICATE: Final = "device:sha256:"


class Mode(StrEnum):
    """How callers prove who they are (dsm-overview.md, security)."""

    AUTHENTICATED = "authenticated"
    UNAUTHENTICATED = "unauthenticated"


class AuthenticationFailed(PostscanError):
    """The caller did not prove who they are; the fault's Detail is the fixed sentence of ``flaw``.

    No published fault fits, so the standard one of WS-Security is used: wsse:FailedAuthentication.
    """

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSSE, "FailedAuthentication"),
        "The caller could not be authenticated.",
    )
    advice = "Present the user's certificate, or have the device put on the server's list of devices."
    exit_code = 4

    def __init__(self, message: str, *, flaw: CertificateFlaw | AuthenticationFlaw) -> None:
        """Tell ``message`` to the log alone; it may say more than the caller may learn."""
        super().__init__(message, detail=flaw.value)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class TrustedDevices:
    """The devices that may vouch for users: networks, and SHA-256 hashes of certificates (hex)."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    certificates: frozenset[str] = field(default_factory=frozenset)

    def identify(self, caller: Caller, now: datetime) -> str | None:
        """Return the device's identity, or None for one that is not on the list."""
        digest = listed_certificate(caller.peer, self.certificates, now)
        if digest is not None:
            return f"{_BY_CERTIFICATE}{digest}"
        address = _ip_address(caller.peer.address)
        if address is None:
            return None
        if any(address in network for network in self.networks if network.version == address.version):
            return f"device:{address}"
        return None


class RevocationCheck(Protocol):
    """Finds out whether certificates were revoked."""

    async def check(self, chain: Sequence[x509.Certificate]) -> float:
        """Return for how many seconds a verified chain may be taken as good.

        :raises AuthenticationFailed: it was revoked; or nobody knows, and that is not enough.
        """


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose a certificate is, until when that need not be asked again, and when it was last."""

    user: User
    until: float
    verified: float


class SignOnCheck(Protocol):
    """Knows which authorities may certify users."""

    def may_sign_on(self, chain: Sequence[bytes]) -> bool:
        """Tell whether a verified chain (DER, leaf first, anchor last) may sign its user on."""


class Authenticator:
    """Turns a caller into an identity that tokens are bound to."""

    def __init__(
        self,
        mode: Mode,
        directory: Directory,
        devices: TrustedDevices,
        clock: Clock,
        revocation: RevocationCheck | None = None,
        sign_on: SignOnCheck | None = None,
    ) -> None:
        """Believe callers by ``mode``.

        Without ``revocation`` nobody is asked about certificates; without ``sign_on`` every trusted authority
        may certify users.
        """
        self.mode = mode
        self._sign_on = sign_on
        self._revocation = revocation
        # By the octets of a certificate that is listed by its hash: until when it is known to stand.
        self._standing: dict[bytes, float] = {}
        self._directory = directory
        self._devices = devices
        self._clock = clock
        # By the certificate's octets.
        self._known: dict[bytes, _Known] = {}

    def now(self) -> datetime:
        """Return the time certificates must be valid at."""
        return self._clock.now()

    def trust(self, devices: TrustedDevices) -> None:
        """Believe these devices from now on, and no others."""
        self._devices = devices

    async def owner(self, caller: Caller) -> str:
        """Return the identity of a caller: ``user:<SID>`` or ``device:<address or certificate hash>``.

        :raises AuthenticationFailed: no certificate, one that maps to nobody, a device not on the list.
        """
        if self.mode is Mode.UNAUTHENTICATED:
            device = self._devices.identify(caller, self._clock.now())
            if device is None:
                raise self._not_listed(caller)
            if device.startswith(_BY_CERTIFICATE):
                await self.refuse_revoked(caller.peer)
            return device
        return f"user:{(await self._certified_user(caller)).sid}"

    async def user(self, caller: Caller, sid: str) -> User | None:
        """Return the user a job is created for, or None when the directory knows nobody by that SID.

        As the directory has them now, whoever the certificate was found to be a moment ago: an account that
        was disabled, or left a group, begins no further job.

        :raises AuthenticationFailed: in authenticated mode, the certificate is another account's.
        """
        if self.mode is Mode.AUTHENTICATED:
            certified = await self._certified_user(caller)
            if certified.sid.casefold() != sid.casefold():
                raise AuthenticationFailed(
                    f"certificate of {certified.sid} used for {sid}", flaw=AuthenticationFlaw.OTHER_ACCOUNT
                )
        return await self._directory.user_by_sid(sid)

    async def _certified_user(self, caller: Caller) -> User:
        der = caller.peer.certificate
        if der is None:
            raise not_believed(caller.peer)
        now = self._clock.monotonic()
        known = self._known.get(der)
        if known is not None and known.until > now:
            return known.user
        digest = hashlib.sha256(der).hexdigest()[:_SHORT]
        certificate = _current(der, self._clock.now())
        if self._sign_on is not None and not self._sign_on.may_sign_on(caller.peer.chain):
            raise AuthenticationFailed(
                f"the issuer of certificate {digest} is none of NTAuthCertificates",
                flaw=AuthenticationFlaw.ISSUER_NOT_FOR_SIGN_ON,
            )
        try:
            user = await self._directory.user_for_certificate(certificate)
        except DirectoryError as error:
            if known is None or now - known.verified > _AWAY_SECONDS:
                raise
            # Whose it is was known a moment ago. No job begins with that: see user().
            _log.info(
                "the directory is away: going by what it said before", certificate=digest, why=str(error)
            )
            await self._seconds_of(caller.peer)
            self._known[der] = replace(known, until=now + _ASK_AGAIN_SECONDS)
            return known.user
        if user is None:
            raise AuthenticationFailed(
                f"certificate {digest} maps to no account", flaw=AuthenticationFlaw.UNKNOWN_ACCOUNT
            )
        if not user.enabled:
            raise AuthenticationFailed(
                f"account {user.upn} is disabled", flaw=AuthenticationFlaw.ACCOUNT_DISABLED
            )
        # Last: only a certificate of ours, and of somebody we know, may make us ask others about it.
        seconds = await self._seconds_of(caller.peer)
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[der] = _Known(user, until=now + seconds, verified=now)
        return user

    def voucher(self, caller: Caller, owner: str) -> str:
        """Return who vouches for the user of a job, for the audit.

        The caller's own certificate (``certificate:sha256:<hash>``); or ``owner``, the device.
        """
        der = caller.peer.certificate
        if self.mode is Mode.UNAUTHENTICATED or der is None:
            return owner
        return f"certificate:sha256:{hashlib.sha256(der).hexdigest()}"

    async def refuse_revoked(self, peer: Peer) -> None:
        """Refuse the holder of a certificate that is trusted by its hash when its authority revoked it.

        Whoever put the hash on the list vouches for it; so it is taken when nobody knows.

        :raises AuthenticationFailed: it was revoked.
        """
        der, now = peer.certificate, self._clock.monotonic()
        if der is None or self._standing.get(der, 0.0) > now:
            return
        try:
            seconds = await self._seconds_of(peer)
        except AuthenticationFailed as error:
            if error.flaw is not CertificateFlaw.REVOCATION_UNKNOWN:
                raise
            seconds = _CACHE_SECONDS
        if len(self._standing) >= _CACHE_SIZE:
            self._standing.clear()
        self._standing[der] = now + seconds

    async def _seconds_of(self, peer: Peer) -> float:
        """Return for how long a certificate may be taken as standing; raises AuthenticationFailed."""
        if self._revocation is None:
            return _CACHE_SECONDS
        try:
            chain = [read_certificate(der) for der in peer.chain]
        except MALFORMED as error:
            raise AuthenticationFailed(
                f"unreadable certificate of an authority: {error}", flaw=AuthenticationFlaw.UNREADABLE
            ) from error
        return min(_CACHE_SECONDS, await self._revocation.check(chain))

    def _not_listed(self, caller: Caller) -> AuthenticationFailed:
        refused = caller.peer.refused
        flaw: CertificateFlaw | AuthenticationFlaw = AuthenticationFlaw.DEVICE_NOT_LISTED
        if refused is not None and hashlib.sha256(refused.der).hexdigest() in self._devices.certificates:
            flaw = refused.other_flaw or flaw
        return AuthenticationFailed(f"{caller.peer.address} is not on the list of devices", flaw=flaw)


def not_believed(peer: Peer) -> AuthenticationFailed:
    """Return what to refuse a caller with who shows no certificate that is trusted."""
    refused = peer.refused
    if refused is None:
        return AuthenticationFailed("no client certificate", flaw=AuthenticationFlaw.NO_CERTIFICATE)
    digest = hashlib.sha256(refused.der).hexdigest()[:_SHORT]
    flaws = ", ".join(flaw.name.lower() for flaw in refused.flaws)
    return AuthenticationFailed(f"certificate {digest} is refused: {flaws}", flaw=refused.flaw)


def listed_certificate(peer: Peer, listed: Collection[str], now: datetime) -> str | None:
    """Return the SHA-256 hash (hex) of the peer's certificate when it is among those ``listed``.

    The list stands in for an authority, and for nothing else: a self-signed certificate will do, one that has
    expired or is too weak will not.
    """
    der = peer.certificate
    if der is None and peer.refused is not None and peer.refused.other_flaw is None:
        der = peer.refused.der
    if der is None or not listed:
        return None
    digest = hashlib.sha256(der).hexdigest()
    if digest not in listed:
        return None
    try:
        _current(der, now)
    except AuthenticationFailed as error:
        _log.info("a listed certificate is not taken", certificate=digest[:_SHORT], why=str(error))
        return None
    return digest


def _current(der: bytes, now: datetime) -> x509.Certificate:
    """Read a certificate, and look at its dates again: a connection can outlive it.

    :raises AuthenticationFailed: it is not valid now, or not readable.
    """
    try:
        certificate = read_certificate(der)
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except MALFORMED as error:  # OpenSSL takes some that break the letter of X.509
        raise AuthenticationFailed(
            f"unreadable client certificate: {error}", flaw=AuthenticationFlaw.UNREADABLE
        ) from error
    if now > ends:
        raise AuthenticationFailed(f"the certificate expired at {ends}", flaw=CertificateFlaw.EXPIRED)
    if now < begins:
        raise AuthenticationFailed(f"the certificate begins at {begins}", flaw=CertificateFlaw.NOT_YET_VALID)
    return certificate


@lru_cache(maxsize=1_024)
def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address of a peer, IPv4 where it came mapped into IPv6; None when it has none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
