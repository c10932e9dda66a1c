"""What an account looks like in Active Directory, and how people write its name; pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

from postscan.directory.active.identifiers import sid_text
from postscan.directory.ldap.model import Entry
from postscan.directory.ldap.names import InvalidName, dns_domain
from postscan.directory.spelling import folded

# userAccountControl and msDS-User-Account-Control-Computed ([MS-ADTS] 2.2.16).
_ACCOUNT_DISABLE: Final = 0x0002
_LOCKOUT: Final = 0x0010
# accountExpires ([MS-ADA1] 2.4): both mean never.
_NEVER: Final = (0, 0x7FFF_FFFF_FFFF_FFFF)
_FILETIME_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)
# The longest userPrincipalName ([MS-ADA3] 2.349).
_LONGEST_NAME: Final = 1_024

IDENTITY: Final = ("objectSid", "sAMAccountName", "userPrincipalName", "displayName", "mail")
STATE: Final = ("userAccountControl", "accountExpires")


class NameKind(Enum):
    """The ways to write an account's name."""

    LOGON = auto()  # alice, in the domain that is asked
    DOWN_LEVEL = auto()  # DSM\alice
    PRINCIPAL = auto()  # alice@dsm.test


@dataclass(frozen=True, slots=True)
class AccountName:
    """An account's name as somebody wrote it, taken apart; ``domain`` is empty for a logon name alone."""

    kind: NameKind
    name: str
    domain: str = ""

    @property
    def principal(self) -> str:
        """The name with the domain after an at sign."""
        return f"{self.name}@{self.domain}"


def read_name(text: str) -> AccountName | None:
    """Take a name apart; None for what no account can be called."""
    if not text or len(text) > _LONGEST_NAME or any(unicodedata.category(c) in {"Cc", "Cs"} for c in text):
        return None
    if "\\" in text:
        domain, _, name = text.partition("\\")
        whole = bool(domain and name) and "\\" not in name
        return AccountName(NameKind.DOWN_LEVEL, name, domain) if whole else None
    if "@" in text:
        name, _, domain = text.rpartition("@")
        return AccountName(NameKind.PRINCIPAL, name, domain) if name and domain else None
    return AccountName(NameKind.LOGON, text)


def same_name(one: str | None, other: str) -> bool:
    """Tell whether two names are one, but for case.

    Stricter than the directory, which takes e for é and overlooks spaces: whoever is certified, or signs on,
    under one name is not found under another.
    """
    return one is not None and folded(one) == folded(other)


@dataclass(frozen=True, slots=True)
class Account:
    """A user object as it stands in the directory, without its groups."""

    dn: str
    sid: str
    name: str
    domain: str
    upn: str
    display_name: str
    mail: str | None
    home_site: str | None


def read_account(entry: Entry, home_site_attribute: str) -> Account | None:
    """Return the account of a user object, None where what every account has is missing or unreadable."""
    octets, name = entry.octets("objectSid"), entry.text("sAMAccountName")
    if octets is None or not name:
        return None
    try:
        sid, domain = sid_text(octets), dns_domain(entry.dn)
    except (ValueError, InvalidName):
        return None
    return Account(
        dn=entry.dn,
        sid=sid,
        name=name,
        domain=domain,
        # Every account has this principal name too, whether or not another is written with it.
        upn=entry.text("userPrincipalName") or f"{name}@{domain}",
        display_name=entry.text("displayName") or name,
        mail=entry.text("mail") or None,
        home_site=(entry.text(home_site_attribute) or "").strip() or None,
    )


def is_enabled(entry: Entry, computed: int, now: datetime) -> bool:
    """Tell whether an account may be used: not disabled, not expired, not locked.

    A password that has expired does not count: it says nothing of who holds a certificate or a badge. An
    account whose userAccountControl may not be read counts as disabled.

    :param computed: msDS-User-Account-Control-Computed, which alone has the lock ([MS-ADTS] 3.1.1.4.5.17).
    """
    control = number(entry, "userAccountControl")
    if control is None or control & _ACCOUNT_DISABLE or computed & _LOCKOUT:
        return False
    expires = number(entry, "accountExpires")
    return expires is None or expires in _NEVER or expires > filetime(now)


def filetime(moment: datetime) -> int:
    """Return ``moment`` in units of 100 ns since 1601 ([MS-DTYP] 2.3.3)."""
    since = moment - _FILETIME_EPOCH
    return (since.days * 86_400 + since.seconds) * 10_000_000 + since.microseconds * 10


def number(entry: Entry, attribute: str) -> int | None:
    """Return an integer attribute's value, None where there is none (or none that could be one)."""
    try:
        return int(entry.text(attribute) or "")
    except ValueError:
        return None
