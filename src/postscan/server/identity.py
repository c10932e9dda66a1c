"""Who calls, and whom they may speak for (architecture, "Identity and trust").

Authenticated mode: the TLS client certificate is the user's and maps to one account, which must be the
UserIdentifier of the job. Unauthenticated mode: a device on the allow-list vouches for the user.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from postscan.core.clock import Clock
from postscan.core.errors import FaultKind, FaultParty, PostscanError
from postscan.core.log import get_logger
from postscan.directory.model import Directory, User
from postscan.dpws.service import Caller
from postscan.soap.names import WSSE, qname

_log = get_logger("identity")
_CACHE_SECONDS = 60.0
_CACHE_SIZE = 4_096


class Mode(StrEnum):
    """How callers prove who they are (dsm-overview.md, security)."""

    AUTHENTICATED = "authenticated"
    UNAUTHENTICATED = "unauthenticated"


class AuthenticationFailed(PostscanError):
    """The caller did not prove who they are.

    No published fault fits, so the standard one of WS-Security is used: wsse:FailedAuthentication.
    """

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSSE, "FailedAuthentication"),
        "The caller could not be authenticated.",
    )
    advice = "Present the user's certificate, or have the device put on the server's list of devices."
    exit_code = 4


@dataclass(frozen=True, slots=True)
class TrustedDevices:
    """The devices that may vouch for users: networks, and SHA-256 hashes of certificates (hex)."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    certificates: frozenset[str] = field(default_factory=frozenset)

    def identify(self, caller: Caller) -> str | None:
        """Return the device's identity, or None for one that is not on the list."""
        der = caller.peer.certificate
        if der is not None and self.certificates:
            digest = hashlib.sha256(der).hexdigest()
            if digest in self.certificates:
                return f"device:sha256:{digest}"
        address = _ip_address(caller.peer.address)
        if address is None:
            return None
        if any(address in network for network in self.networks if network.version == address.version):
            return f"device:{address}"
        return None


class Authenticator:
    """Turns a caller into an identity that tokens are bound to."""

    def __init__(self, mode: Mode, directory: Directory, devices: TrustedDevices, clock: Clock) -> None:
        self.mode = mode
        self._directory = directory
        self._devices = devices
        self._clock = clock
        # By the certificate's octets; the time until which it holds, and the account.
        self._known: dict[bytes, tuple[float, User]] = {}

    def trust(self, devices: TrustedDevices) -> None:
        """Believe these devices from now on, and no others."""
        self._devices = devices

    async def owner(self, caller: Caller) -> str:
        """Return the identity of a caller: ``user:<SID>`` or ``device:<address or certificate hash>``.

        :raises AuthenticationFailed: no certificate, one that maps to nobody, a device not on the list.
        """
        if self.mode is Mode.UNAUTHENTICATED:
            device = self._devices.identify(caller)
            if device is None:
                raise AuthenticationFailed(f"{caller.peer.address} is not on the list of devices")
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
                raise AuthenticationFailed(f"certificate of {certified.sid} used for {sid}")
        return await self._directory.user_by_sid(sid)

    async def _certified_user(self, caller: Caller) -> User:
        der = caller.peer.certificate
        if der is None:
            raise AuthenticationFailed("no client certificate")
        now = self._clock.monotonic()
        known = self._known.get(der)
        if known is not None and known[0] > now:
            return known[1]
        try:
            certificate = caller.certificate
        except ValueError as error:  # OpenSSL takes some that break the letter of X.509
            raise AuthenticationFailed(f"unreadable client certificate: {error}") from error
        if certificate is None:
            raise AuthenticationFailed("no client certificate")
        user = await self._directory.user_for_certificate(certificate)
        if user is None:
            digest = hashlib.sha256(der).hexdigest()
            raise AuthenticationFailed(f"certificate {digest[:16]} maps to no account")
        if not user.enabled:
            raise AuthenticationFailed(f"account {user.upn} is disabled")
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[der] = (now + _CACHE_SECONDS, user)
        return user


@lru_cache(maxsize=1_024)
def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address of a peer, IPv4 where it came mapped into IPv6; None when it has none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
