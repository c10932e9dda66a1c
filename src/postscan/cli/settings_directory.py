"""The settings of the directory, where users and scan processes are looked up."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from postscan.cli.settings_base import Contradiction, HostName, Section, parse_host_name, setting

# An attribute's LDAP display name (RFC 4512, 1.4: keystring).
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,255}")
_SITE = re.compile(r"[A-Za-z0-9_-]{1,63}")
EMBEDDED_KEYS: Final = frozenset({"kind", "folder", "domain"})
"""Keys of [directory] that mean something for the embedded directory; all but ``folder`` do for the other."""


def parse_controller(text: str) -> tuple[str, int | None]:
    """Split ``HOST`` or ``HOST:PORT`` (an IPv6 address in brackets); raises ValueError for something else."""
    host, port = text, ""
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    elif ":" in text:
        raise ValueError("has an IPv6 address without brackets; write it like [2001:db8::53]:636")
    if port is not None and (text.endswith(":") or port):
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError("has no port after the colon; write dc1.example.com or dc1.example.com:636")
        return parse_host_name(host), int(port)
    return parse_host_name(host), None


def is_address(host: str) -> bool:
    """Tell whether a host is given by address, not by name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _checked_controller(text: str) -> str:
    parse_controller(text)
    return text


def _checked_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError("is no address of a name server; write one like 10.1.0.53") from error


def _checked_site(text: str) -> str:
    if text and not _SITE.fullmatch(text):
        raise ValueError("is no name of a site; write one like Berlin")
    return text


def _checked_attribute(text: str) -> str:
    if not _ATTRIBUTE.fullmatch(text):
        raise ValueError("is no name of an attribute; write one like wWWHomePage")
    return text


def _checked_dn(text: str) -> str:
    if text and "=" not in text.partition(",")[0]:
        raise ValueError("is no distinguished name; write one like CN=PSPs,CN=System,DC=example,DC=com")
    return text


Controller = Annotated[str, AfterValidator(_checked_controller)]
Address = Annotated[str, AfterValidator(_checked_address)]


class DirectorySettings(Section):
    """Where users and scan processes are looked up. For a domain, see docs/active-directory.md."""

    kind: Literal["embedded", "active-directory"] = setting(
        "embedded",
        "embedded: TOML and XML files in a folder of this machine. active-directory: a domain; only then the"
        " keys after domain have a meaning.",
    )
    folder: Path = setting("directory", "The embedded directory's folder: users.toml and processes/.")
    domain: Literal[""] | HostName = setting(
        "", "The users' DNS domain. Empty: what follows the first dot of server.fqdn (or all of it)."
    )
    controllers: list[Controller] = setting(
        [],
        'The domain controllers, in the order to try them, like "dc1.example.com" or "dc1.example.com:636".'
        " None: those that DNS names (SRV records) are found, and followed when they change.",
    )
    dns_servers: list[Address] = setting(
        [], "Name servers to ask for the controllers, by address. None: those of this machine."
    )
    site: Annotated[str, AfterValidator(_checked_site)] = setting(
        "", "The site of Active Directory this machine is in, whose controllers are preferred. Empty: any."
    )
    transport: Literal["ldaps", "starttls", "sealed", "plain"] = setting(
        "ldaps",
        "How a connection is protected. ldaps: TLS from the first octet (port 636). starttls: TLS begun on"
        " port 389. sealed: signed and encrypted by Kerberos or NTLM on port 389, without certificates."
        " plain: not at all; a laboratory's, and only with insecure_plain_bind.",
    )
    bind: Literal["password", "kerberos", "ntlm", "negotiate"] = setting(
        "password",
        "How the account proves itself. password: a simple bind, over TLS. kerberos: with the keytab, or the"
        " password. ntlm: with the password. negotiate: Kerberos, or else NTLM. All but the first and ntlm"
        " need postscan[kerberos].",
    )
    account: str = setting(
        "",
        "The account to read the directory with, like svc-scan@example.com (no administrator: see the rights"
        " it needs in docs/active-directory.md). Empty, with kerberos: whose ticket this process has.",
    )
    password_file: Literal[""] | Path = setting(
        "",
        "A file with the account's password, which others cannot read (0600 or 0400). Empty: the systemd"
        " credential directory.password, or else POSTSCAN_SECRET_DIRECTORY_PASSWORD, or else what"
        " `postscan secrets set directory.password` has kept.",
    )
    keytab: Literal[""] | Path = setting(
        "", "The account's Kerberos keys, in place of a password, like /etc/krb5.keytab."
    )
    ca: Literal[""] | Path = setting(
        "",
        "The authorities, in a PEM file, that the controllers' certificates must come from. Empty: those that"
        " this system trusts.",
    )
    insecure_plain_bind: bool = setting(
        False,
        'Allow transport = "plain": password and people travel in clear text, and nobody proves to be the'
        " controller. For a laboratory, never on a network.",
    )
    global_catalog: bool = setting(
        False, "Look up people of other domains of the forest, in the global catalog (port 3269, or 3268)."
    )
    processes: Annotated[str, AfterValidator(_checked_dn)] = setting(
        "",
        "The container of the scan processes, by distinguished name. Empty: CN=PSPs,CN=System of the domain.",
    )
    home_site_attribute: Annotated[str, AfterValidator(_checked_attribute)] = setting(
        "wWWHomePage", "The attribute of a user that has the address of their own site."
    )
    weak_mapping: Literal["allow", "refuse"] = setting(
        "allow",
        "Certificates that name their user by nothing but a name (the UPN, without the SID extension and"
        " without a strong altSecurityIdentities). refuse is what Windows does since 2025.",
    )
    enterprise_roots: bool = setting(
        True,
        "Trust client certificates that the authorities of the directory issued, too: its enterprise roots,"
        " with an issuer that NTAuthCertificates lists. false: those of tls.client_ca alone.",
    )
    cache_seconds: int = setting(
        10,
        "How long what was read is believed: a right that was taken away ends after this.",
        unit="seconds",
        least=0,
    )
    cache_entries: int = setting(
        10_000, "The most users and scan processes kept meanwhile.", unit="entries", least=1
    )
    connect_seconds: int = setting(
        5, "A controller that is not connected, with TLS, after this is away.", unit="seconds", least=1
    )
    answer_seconds: int = setting(
        10, "A controller that does not answer a question for this long is away.", unit="seconds", least=1
    )

    @property
    def is_active(self) -> bool:
        """Whether this is an Active Directory."""
        return self.kind == "active-directory"

    def contradictions(self) -> Iterator[Contradiction]:
        """Tell which values of this section do not fit together."""
        if not self.is_active:
            return
        yield from self._of_the_transport()
        yield from self._of_the_account()
        for controller in self.controllers if self.bind in ("kerberos", "negotiate") else ():
            if is_address(parse_controller(controller)[0]):
                yield Contradiction(
                    "directory.controllers",
                    f"has the address {controller}, and Kerberos knows controllers by name",
                    "write the controller's full name, like dc1.example.com",
                )

    def _of_the_transport(self) -> Iterator[Contradiction]:
        if self.transport == "plain" and not self.insecure_plain_bind:
            yield Contradiction(
                "directory.transport",
                "is plain, which sends the password in clear text",
                'write transport = "ldaps" (or "starttls"); in a laboratory, insecure_plain_bind = true',
            )
        if self.transport == "plain" and self.bind != "password":
            yield Contradiction(
                "directory.transport",
                f"is plain, and {self.bind} is never used without protection",
                'write transport = "sealed"',
            )
        if self.transport == "sealed" and self.bind == "password":
            yield Contradiction(
                "directory.transport",
                "is sealed, and a simple bind by password has nothing to seal with",
                'write bind = "kerberos" (or "negotiate", "ntlm"), or transport = "ldaps"',
            )

    def _of_the_account(self) -> Iterator[Contradiction]:
        has_keys = self.bind in ("kerberos", "negotiate")
        if not self.account and not has_keys:
            yield Contradiction(
                "directory.account",
                f"is missing, and {self.bind} needs one",
                'write account = "svc-scan@example.com" under [directory]: the account to read with',
            )
        if "\\" in self.account and has_keys:
            yield Contradiction(
                "directory.account",
                f"is {self.account}, and Kerberos knows accounts as name@domain",
                'write it like account = "svc-scan@example.com"',
            )
        if self.keytab and not has_keys:
            yield Contradiction(
                "directory.keytab",
                f'is a file of Kerberos keys, and bind is "{self.bind}"',
                'write bind = "kerberos", or take keytab out',
            )
        if self.keytab and not self.account:
            yield Contradiction(
                "directory.account",
                "is missing: a keytab may hold the keys of several",
                'write account = "svc-scan@example.com" under [directory]: whose keys to take',
            )
        if self.keytab and self.password_file:
            yield Contradiction(
                "directory.password_file",
                "stands beside keytab, and only one of them can count",
                "take out one of them",
            )
        if self.password_file and not self.account:
            yield Contradiction(
                "directory.account", "is missing, and a password is given", "write whose password it is"
            )
