"""What the e-mail filter is told: the server, who it is there, whom it may send to, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from postscan.core.secret import Secret
from postscan.filters.email.addresses import DomainPolicy, Mailbox

PORTS: Final[dict[str, int]] = {"starttls": 587, "tls": 465, "none": 25}


class Security(StrEnum):
    """How a connection to the mail server is protected."""

    STARTTLS = "starttls"
    """TLS begun before anything is said (RFC 3207); a server that does not offer it is not used."""
    TLS = "tls"
    """TLS from the first octet (RFC 8314, 3.3)."""
    NONE = "none"
    """Not at all: whoever is in between reads and changes the mail."""


class AuthMethod(StrEnum):
    """How the account proves itself to the mail server (RFC 4954)."""

    AUTO = "auto"
    """The strongest of SCRAM-SHA-256, SCRAM-SHA-1, PLAIN and LOGIN that the server offers."""
    SCRAM_SHA_256 = "scram-sha-256"
    SCRAM_SHA_1 = "scram-sha-1"
    PLAIN = "plain"
    LOGIN = "login"
    XOAUTH2 = "xoauth2"
    NONE = "none"
    """Not at all: the server takes mail from this machine's address."""


class TokenSource(Protocol):
    """Where tokens for XOAUTH2 come from."""

    async def token(self) -> Secret:
        """Return a token that is good for a while yet; raises DeliveryError."""

    def refused(self, token: Secret) -> None:
        """Take note that the mail server does not take ``token``, so that the next one is another."""


class ReplyTo(StrEnum):
    """Who answers go to, where it is no fixed address."""

    USER = "user"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """How mail is sent.

    :ivar server: the mail server's host name, which its certificate must have; ``port`` its port.
    :ivar ca: the authorities its certificate must come from, in a PEM file; None: those this system trusts.
    :ivar account: who signs in; ``password`` returns the password as it is now (raises ConfigurationError),
        ``tokens`` gives the tokens of XOAUTH2.
    :ivar insecure: let the account sign in over a connection without TLS.
    :ivar sender: who all mail comes from; ``reply_to`` who answers go to.
    :ivar recipients: the domains that scan processes, and the users of those that let them, may send to.
    :ivar max_message_bytes: the most octets of a message as it is transferred.
    :ivar max_recipients: of one job; ``max_recipients_per_hour`` of all jobs of one user within an hour.
    :ivar templates: a folder with subject.txt, body.txt and body.html, each in place of what is built in.
    :ivar zone: the time zone of dates in messages and names (this machine's when None).
    :ivar timeout_seconds: how long the server may take for one answer; ``end_seconds`` for the one that says
        it has the message (RFC 5321, 4.5.3.2.6, wants ten minutes).
    :ivar connections: how many there may be at a time.
    """

    server: str
    sender: Mailbox
    recipients: DomainPolicy
    port: int = 587
    security: Security = Security.STARTTLS
    ca: Path | None = None
    auth: AuthMethod = AuthMethod.AUTO
    account: str = ""
    password: Callable[[], Secret] | None = None
    tokens: TokenSource | None = None
    insecure: bool = False
    reply_to: ReplyTo | Mailbox = ReplyTo.USER
    max_message_bytes: int = 25_000_000
    max_recipients: int = 50
    max_recipients_per_hour: int = 200
    templates: Path | None = None
    zone: tzinfo | None = None
    timeout_seconds: float = 60.0
    end_seconds: float = 600.0
    connections: int = 8
    local_name: str = field(default="")
    """What we call ourselves in EHLO; this machine's name when empty."""

    @property
    def place(self) -> str:
        """The server and port, for people."""
        return f"{self.server}:{self.port}"
