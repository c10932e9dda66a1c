"""The settings of the e-mail filter: the mail server, who mail comes from, and whom it may go to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from postscan.cli.settings_base import Contradiction, HostName, Section, setting
from postscan.filters.email.addresses import AddressRefused, DomainPolicy, parse_mailbox
from postscan.filters.email.settings import PORTS, ReplyTo

_OF_ENTRA: Final = ("entra_tenant", "entra_client_id", "entra_certificate", "entra_key")


def _checked_mailbox(text: str) -> str:
    try:
        if text:
            parse_mailbox(text)
    except AddressRefused as error:
        raise ValueError(f"is no sender ({error})") from error
    return text


def _checked_reply_to(text: str) -> str:
    if text in (ReplyTo.USER, ReplyTo.NONE):
        return text
    try:
        parse_mailbox(text)
    except AddressRefused as error:
        raise ValueError(f'is neither "user" nor "none" nor an address ({error})') from error
    return text


def _checked_domain(text: str) -> str:
    try:
        DomainPolicy.of([text])
    except AddressRefused as error:
        raise ValueError('is no domain; write one like "example.com", "*.example.com" or "*"') from error
    return text


def _checked_port(number: int) -> int:
    if number > 65_535:
        raise ValueError("is no port; write one from 1 to 65535")
    return number


Sender = Annotated[str, AfterValidator(_checked_mailbox)]
Answers = Annotated[str, AfterValidator(_checked_reply_to)]
MailDomain = Annotated[str, AfterValidator(_checked_domain)]
Port = Annotated[int, AfterValidator(_checked_port)]


class EmailSettings(Section):
    """The mail server that scans are sent through, and whom they may go to. See docs/email.md."""

    server: Literal[""] | HostName = setting(
        "", "The mail server, by the name its certificate has. Empty: this server sends no mail."
    )
    port: Port = setting(0, "Its port. 0: 587 for starttls, 465 for tls, 25 for none.", least=0)
    security: Literal["starttls", "tls", "none"] = setting(
        "starttls",
        "How the connection is protected. starttls: by TLS before anything is said. tls: by TLS from the"
        " first octet. none: not at all; anybody in between reads the mail.",
    )
    ca: Literal[""] | Path = setting(
        "",
        "The authorities, in a PEM file, that the mail server's certificate must come from. Empty: those that"
        " this system trusts.",
    )
    auth: Literal["auto", "scram-sha-256", "scram-sha-1", "plain", "login", "xoauth2", "none"] = setting(
        "auto",
        "How the account signs in. auto: by the strongest way of the next four that the mail server offers."
        " xoauth2: with a token (Exchange Online). none: not at all; the mail server knows this machine.",
    )
    account: str = setting("", "The account that signs in, often an address. Empty: none does.")
    password_file: Literal[""] | Path = setting(
        "",
        "A file with the account's password, which others cannot read (0600 or 0400). Empty: the systemd"
        " credential email.password, or else POSTSCAN_SECRET_EMAIL_PASSWORD, or else what"
        " `postscan secrets set email.password` has kept.",
    )
    insecure_plain_auth: bool = setting(
        False,
        'Let the account sign in with security = "none": its password travels in clear text. For a'
        " laboratory, never on a network.",
    )
    sender: Sender = setting(
        "", 'Who all mail comes from, like "scans@example.com" or "Scanner <scans@example.com>".'
    )
    reply_to: Answers = setting(
        "user",
        "Who answers go to. user: the user who scanned. none: nobody else than the sender. Or an address.",
    )
    recipients: list[MailDomain] = setting(
        [],
        'The domains that scans may be sent to, like "example.com", "*.example.com" for those below it, "*"'
        " for any. None: the sender's domain alone. A user's own address of the directory is always allowed.",
    )
    max_recipients: int = setting(50, "The most recipients of one job.", unit="addresses", least=1)
    max_recipients_per_hour: int = setting(
        200, "The most recipients that one user may send to within an hour.", unit="addresses", least=1
    )
    max_message_bytes: int = setting(
        25_000_000,
        "The largest message; what is more is split into several. The mail server's own limit counts, too."
        " In a message a file takes about 37 % more than on a disk. 0: no limit of ours.",
        unit="bytes",
        least=0,
    )
    templates: Literal[""] | Path = setting(
        "",
        "A folder with templates of messages: subject.txt, body.txt and body.html, each in place of what is"
        " built in.",
    )
    timeout_seconds: int = setting(
        60, "A mail server that does not answer for this long is away.", unit="seconds", least=1
    )
    connections: int = setting(
        8, "The most connections to the mail server at a time.", unit="connections", least=1
    )
    token_file: Literal[""] | Path = setting(
        "",
        "For xoauth2: a file with a token that another program keeps fresh (0600). Empty: tokens come from"
        " Microsoft Entra ID, with the keys that follow.",
    )
    entra_tenant: str = setting("", "For xoauth2: the tenant's id, or a domain name of it.")
    entra_client_id: str = setting("", "The id of the app that is registered for this server.")
    entra_certificate: Literal[""] | Path = setting(
        "", "The app's certificate, a PEM file; Entra has it as well."
    )
    entra_key: Literal[""] | Path = setting(
        "", "The key of the app's certificate, a PEM file that others cannot read."
    )
    entra_key_has_passphrase: bool = setting(
        False, "The key is encrypted: `postscan secrets set email.passphrase` keeps what opens it."
    )
    entra_authority: HostName = setting(
        "login.microsoftonline.com", "The host that tokens come from; another one in national clouds."
    )

    @property
    def server_port(self) -> int:
        """The port, chosen or usual."""
        return self.port or PORTS[self.security]

    @property
    def has_password(self) -> bool:
        """Whether the account signs in with a password."""
        return bool(self.server and self.account) and self.auth not in ("none", "xoauth2")

    def contradictions(self) -> Iterator[Contradiction]:
        """Tell which values of this section do not fit together."""
        if not self.server:
            return
        if not self.sender:
            yield Contradiction(
                "email.sender",
                "is missing, and mail has to come from somebody",
                'write sender = "scans@example.com" under [email]',
            )
        signs_in = self.has_password or self.auth == "xoauth2"
        if self.security == "none" and signs_in and not self.insecure_plain_auth:
            yield Contradiction(
                "email.security",
                "is none, and the account would sign in by clear text",
                'write security = "starttls" (or "tls"); in a laboratory, insecure_plain_auth = true',
            )
        if self.auth not in ("auto", "none") and not self.account:
            yield Contradiction(
                "email.account",
                f"is missing, and {self.auth} needs one",
                "write who signs in, or take auth out",
            )
        if self.auth == "xoauth2":
            yield from self._of_tokens()

    def _of_tokens(self) -> Iterator[Contradiction]:
        given = [key for key in _OF_ENTRA if getattr(self, key)]
        if self.token_file and given:
            yield Contradiction(
                "email.token_file",
                f"stands beside {given[0]}, and only one of them can count",
                "take out one of them",
            )
        for key in () if self.token_file else _OF_ENTRA:
            if not getattr(self, key):
                yield Contradiction(
                    f"email.{key}",
                    "is missing, and xoauth2 needs tokens",
                    f"write all of {', '.join(_OF_ENTRA)}, or token_file alone",
                )
