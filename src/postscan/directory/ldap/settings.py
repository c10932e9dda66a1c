"""What an LDAP client is told: which domain, how protected, as whom, how patient."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from postscan.core.errors import ConfigurationError
from postscan.directory.ldap.binding import Credentials, Sasl, SimplePassword


class Transport(StrEnum):
    """What protects a connection. There is no falling back from one to another."""

    LDAPS = "ldaps"
    """TLS from the first octet, port 636 (global catalog 3269)."""
    STARTTLS = "starttls"
    """Port 389 (3268), made TLS before anything else is said."""
    SEALED = "sealed"
    """Port 389 (3268), signed and sealed by Kerberos or NTLM."""
    INSECURE_PLAIN = "insecure-plain"
    """Port 389 (3268) and a password in clear. For a test set-up only."""

    @property
    def tls(self) -> bool:
        """Whether TLS protects it."""
        return self in {Transport.LDAPS, Transport.STARTTLS}

    def port(self, *, global_catalog: bool) -> int:
        """Return the port such connections are made to."""
        if self is Transport.LDAPS:
            return 3269 if global_catalog else 636
        return 3268 if global_catalog else 389


@dataclass(frozen=True, slots=True)
class LdapSettings:
    """How to reach a domain.

    ``domain`` is its DNS name, ``forest`` that of the forest's root (the domain itself if not given).
    ``controllers`` are ``host`` or ``host:port``; where there are none, DNS says which there are, those of
    ``site`` first. ``dns_servers`` (addresses) are asked instead of the system's. ``ca`` is a file of PEM
    certificates to trust; None trusts those of the system. ``connect_seconds`` is for one look-up, one
    connect or one TLS handshake, ``answer_seconds`` for one answer (of a search: one page of ``page_size``
    objects).

    :raises ConfigurationError: the credentials cannot be used on this transport.
    """

    domain: str
    credentials: Credentials
    transport: Transport = Transport.LDAPS
    controllers: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    site: str | None = None
    forest: str | None = None
    ca: Path | None = None
    global_catalog: bool = False
    connect_seconds: float = 5.0
    answer_seconds: float = 10.0
    pool_size: int = 4
    page_size: int = 500

    def __post_init__(self) -> None:
        simple = isinstance(self.credentials, SimplePassword)
        if self.transport is Transport.SEALED and simple:
            raise ConfigurationError(
                "a simple bind cannot be sealed",
                advice="Use LDAPS or StartTLS, or log on with Kerberos or NTLM.",
            )
        if self.transport is Transport.INSECURE_PLAIN and isinstance(self.credentials, Sasl):
            raise ConfigurationError(
                "Kerberos and NTLM are never used without protection",
                advice="Use the sealed transport, LDAPS or StartTLS.",
            )
        if min(self.connect_seconds, self.answer_seconds, self.pool_size, self.page_size) <= 0:
            raise ConfigurationError("times and sizes of the directory must be more than 0")

    @property
    def patience(self) -> float:
        """How many seconds a request waits for its turn."""
        return 2 * (self.connect_seconds + self.answer_seconds)
