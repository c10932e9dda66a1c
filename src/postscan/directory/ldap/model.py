"""What LDAP answers and is asked with, and the errors of asking; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from sansldap import LDAPFilter

from postscan.directory.model import DirectoryError


class Scope(IntEnum):
    """How far below its base a search looks (RFC 4511, 4.5.1.2)."""

    BASE = 0
    ONE_LEVEL = 1
    SUBTREE = 2


class Operation(IntEnum):
    """What a modification does with the values of an attribute (RFC 4511, 4.6)."""

    ADD = 0
    DELETE = 1
    REPLACE = 2


class Entry(Mapping[str, tuple[bytes, ...]]):
    """An object as a search returned it; attribute names are looked up in any case, absent ones are empty.

    ``dn`` is its distinguished name as the server wrote it; values are octets.
    """

    __slots__ = ("_values", "dn")

    def __init__(self, dn: str, attributes: Mapping[str, Sequence[bytes]]) -> None:
        self.dn = dn
        self._values = {name.casefold(): tuple(values) for name, values in attributes.items()}

    def __getitem__(self, name: str) -> tuple[bytes, ...]:
        return self._values.get(name.casefold(), ())

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Entry({self.dn!r}, {self._values!r})"

    def octets(self, name: str) -> bytes | None:
        """Return the first value of an attribute, None when it has none."""
        return next(iter(self[name]), None)

    def text(self, name: str) -> str | None:
        """Return the first value of an attribute as text; what is not UTF-8 in it is replaced."""
        value = self.octets(name)
        return None if value is None else value.decode("utf-8", errors="replace")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all values of an attribute as text."""
        return tuple(value.decode("utf-8", errors="replace") for value in self[name])


@dataclass(frozen=True, slots=True)
class Change:
    """One attribute's part of a modification."""

    operation: Operation
    attribute: str
    values: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class RootDse:
    """What a controller says of itself and its domain, by distinguished names ([MS-ADTS] 3.1.1.3.2)."""

    host: str
    default_naming_context: str
    configuration_naming_context: str
    schema_naming_context: str
    root_domain_naming_context: str
    supported_controls: frozenset[str] = frozenset()
    supported_mechanisms: frozenset[str] = frozenset()
    is_global_catalog: bool = False
    highest_usn: int = 0


class LdapClient(Protocol):
    """One directory service, however many controllers it has and connections it takes.

    Every method has a deadline of its own and may raise what this module defines.
    """

    async def root(self) -> RootDse:
        """Return what the controller in use says of itself; asked once for each connection."""

    async def search(
        self,
        base: str,
        scope: Scope,
        where: LDAPFilter,
        attributes: Sequence[str],
        *,
        descriptors: bool = False,
        limit: int | None = None,
    ) -> list[Entry]:
        """Return the objects found, page by page until there are no more; referrals are left alone.

        :param where: made by :mod:`postscan.directory.ldap.filters`, never put together from text.
        :param descriptors: return nTSecurityDescriptor without its SACL (which only few may read), as
            LDAP_SERVER_SD_FLAGS_OID asks ([MS-ADTS] 3.1.1.3.4.1.11).
        :param limit: stop after so many.
        :raises NoSuchObject: the base is not there, or may not be seen.
        """

    async def read(self, dn: str, attributes: Sequence[str], *, descriptors: bool = False) -> Entry | None:
        """Return one object, None when it is not there (or may not be seen). Asks by a base-scope search."""

    async def add(
        self, dn: str, attributes: Mapping[str, Sequence[bytes]], *, descriptors: bool = False
    ) -> None:
        """Add an object; ``descriptors``: of nTSecurityDescriptor only the DACL counts, as for modify."""

    async def modify(self, dn: str, changes: Sequence[Change], *, descriptors: bool = False) -> None:
        """Change an object.

        :param descriptors: of nTSecurityDescriptor only the DACL is written, which needs no right to change
            the owner.
        """

    async def delete(self, dn: str) -> None:
        """Delete an object."""

    async def close(self) -> None:
        """Let every connection go."""


class DirectoryAway(DirectoryError):
    """No controller could be found or reached, or none answered in time; time may heal it."""

    advice = "Check name resolution, network and firewall towards the domain controllers."


class OutcomeUnknown(DirectoryAway):
    """A change was sent and no answer came: it may have taken effect, or not. It was not repeated."""

    retry_helps = False
    advice = "Look whether the change is there before trying it again."


class DirectoryUntrusted(DirectoryError):
    """The controller did not prove who it is, or does not protect the connection; nothing secret was sent."""

    retry_helps = False
    exit_code = 3
    advice = (
        "Name the authority of the controllers' certificates in [directory] ca, and use their full names."
    )


class CredentialsRefused(DirectoryError):
    """The directory does not accept the account or its password."""

    retry_helps = False
    exit_code = 4
    advice = "Check the account and its password (or keytab) in [directory]; is it locked, or expired?"


class RequestRefused(DirectoryError):
    """The directory understood and said no; ``code`` is the LDAP result code (RFC 4511, 4.1.9).

    ``str(error)`` has the operation, the code's name and the directory's own words.
    """

    retry_helps = False
    exit_code = 4
    advice = "The directory's own words say what it does not like."

    def __init__(self, message: str, code: int, *, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.code = code


class NoSuchObject(RequestRefused):
    """The object is not there, or may not be seen (noSuchObject, 32)."""


class AlreadyThere(RequestRefused):
    """An object of that name exists (entryAlreadyExists, 68)."""


class NotPermitted(RequestRefused):
    """The account lacks the right (insufficientAccessRights, 50)."""

    advice = "Give the account the right, or use one that has it; docs/active-directory.md lists the rights."
