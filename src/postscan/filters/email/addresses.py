"""Mail addresses as they may be used: one mailbox each, nothing that could become syntax (abuse case 33).

Taken is what RFC 5321 (4.1.2) calls a mailbox, with a local part that needs no quotes and a domain name, and
with letters of any script in both (RFC 6531). Refused are quoted local parts, address literals, comments,
display names where none belongs, and whatever holds a control character, white space or one of ``<>``: nobody
who scans has such an address, and each of them has been a way into somebody else's mail. So are local parts
with ``%``, ``!`` or ``|``, or that begin with ``/`` or ``-``: some servers read another domain in them
(``victim%example.org@example.com``: allow_percent_hack of postconf(5)), a program, a file or an option.

A domain of other letters is turned into its ASCII form (IDNA 2008, RFC 5891), which every server takes. A
local part of other letters has no such form: it needs a server that offers SMTPUTF8.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from email.headerregistry import Address
from typing import Final

import idna

MAX_LOCAL_BYTES: Final = 64
MAX_DOMAIN_BYTES: Final = 255
MAX_ADDRESS_BYTES: Final = 254
"""The most octets of an address (RFC 5321, 4.5.3.1.3, less the angle brackets)."""
MAX_NAME: Final = 200
"""The most characters of a person's name in a header."""
# RFC 5322, 3.2.3: atext, without the letters, which may be of any script here, and without what routes.
_SYMBOLS: Final = frozenset("#$&'*+-/=?^_`{}~")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_LETTERS: Final = frozenset({"L", "M", "N"})


class AddressRefused(ValueError):
    """This is no address that mail is sent to; the text says why, and quotes at most a part of it."""


@dataclass(frozen=True, slots=True)
class MailAddress:
    """An address: ``local`` as it was written, ``domain`` in lower-case ASCII."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether only a server with SMTPUTF8 can be told of it."""
        return not self.local.isascii()

    def header(self) -> Address:
        """Return it as a header takes it."""
        return Address("", self.local, self.domain)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with the name of whoever it belongs to, which may be empty."""

    address: MailAddress
    name: str = ""


def parse_address(text: str) -> MailAddress:
    """Read one bare address; white space around it is dropped. Raises AddressRefused."""
    text = unicodedata.normalize("NFC", text.strip(" \t\r\n"))
    if not text:
        raise AddressRefused("an address is empty")
    if any(not char.isprintable() or char.isspace() or char in "<>" for char in text):
        raise AddressRefused(f"{shown(text)} holds a character that no address has")
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise AddressRefused(f"{shown(text)} is no address; write one like alice@example.com")
    _check_local(local, text)
    ascii_domain = _ascii_domain(domain, text)
    address = MailAddress(local, ascii_domain)
    if len(str(address).encode()) > MAX_ADDRESS_BYTES:
        raise AddressRefused(f"{shown(text)} is longer than the {MAX_ADDRESS_BYTES} octets of an address")
    return address


def parse_mailbox(text: str) -> Mailbox:
    """Read ``alice@example.com`` or ``Alice Example <alice@example.com>``; raises AddressRefused."""
    text = text.strip()
    if not text.endswith(">"):
        return Mailbox(parse_address(text))
    name, bracket, address = text[:-1].rpartition("<")
    if not bracket or any(not char.isprintable() or char in '<>"\\' for char in name.strip().strip('"')):
        raise AddressRefused(f"{shown(text)} is no mailbox; write one like Scans <scans@example.com>")
    return Mailbox(parse_address(address), name.strip().strip('"').strip())


@dataclass(frozen=True, slots=True)
class DomainPolicy:
    """The domains mail may go to: ``example.com``, ``*.example.com`` for those below it, ``*`` for all."""

    domains: frozenset[str]

    @classmethod
    def of(cls, written: Iterable[str]) -> DomainPolicy:
        """Read the entries; raises AddressRefused for one that is no domain."""
        return cls(frozenset(_entry(one) for one in written))

    def allows(self, address: MailAddress) -> bool:
        """Tell whether mail may go there."""
        if "*" in self.domains or address.domain in self.domains:
            return True
        labels = address.domain.split(".")
        return any(f"*.{'.'.join(labels[start:])}" in self.domains for start in range(1, len(labels)))

    def __str__(self) -> str:
        return ", ".join(sorted(self.domains)) or "none"


def header_text(text: str, longest: int) -> str:
    """Return ``text`` fit for one header (abuse case 34): one line, without control characters, bounded."""
    kept = []
    for char in unicodedata.normalize("NFC", text):
        category = unicodedata.category(char)
        if category[0] == "Z" or char in "\t\r\n":
            kept.append(" ")
        elif category[0] != "C":
            kept.append(char)
    return " ".join("".join(kept).split())[:longest].strip()


def shown(text: str, longest: int = 80) -> str:
    """Return what somebody wrote so that it can stand in a sentence."""
    clean = "".join(char if char.isprintable() else "�" for char in text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def _entry(text: str) -> str:
    if text == "*":
        return text
    below = text.startswith("*.")
    domain = _ascii_domain(text.removeprefix("*."), text)
    return f"*.{domain}" if below else domain


def _check_local(local: str, text: str) -> None:
    if len(local.encode()) > MAX_LOCAL_BYTES:
        raise AddressRefused(f"{shown(text)} has more than {MAX_LOCAL_BYTES} octets before the @")
    if local.startswith(".") or local.endswith(".") or ".." in local:
        raise AddressRefused(f"{shown(text)} has a dot in a place where no address has one")
    if local.startswith(("/", "-")):
        raise AddressRefused(f"{shown(text)} begins with a character that no address begins with")
    for char in local:
        if char != "." and char not in _SYMBOLS and unicodedata.category(char)[0] not in _LETTERS:
            raise AddressRefused(f"{shown(text)} has a character before the @ that is not taken there")


def _ascii_domain(domain: str, text: str) -> str:
    try:
        ascii_form = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressRefused(f"{shown(text)} has no domain name behind the @") from error
    labels = ascii_form.split(".")
    if len(ascii_form) > MAX_DOMAIN_BYTES or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused(f"{shown(text)} has no domain name behind the @")
    if labels[-1].isdigit():
        raise AddressRefused(f"{shown(text)} has an IP address behind the @; write a domain name")
    return ascii_form
