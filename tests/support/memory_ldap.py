"""A directory service in memory that answers searches as a controller does; for forests no test can bring up.

State (:class:`MemoryLdap`: naming contexts and objects), service (its LdapClient methods), and use cases (the
tests). It knows the filters, scopes and the attributes that are only answered to a base search; it checks no
rights. Every question is counted in ``asked``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sansldap import (
    FilterAnd,
    FilterEquality,
    FilterExtensibleMatch,
    FilterNot,
    FilterOr,
    FilterPresent,
    LDAPFilter,
)

from postscan.directory.active.identifiers import sid_octets
from postscan.directory.ldap.model import (
    Change,
    DirectoryAway,
    Entry,
    NoSuchObject,
    Operation,
    RootDse,
    Scope,
)
from postscan.directory.ldap.names import below, normal, parent, same

_BASE_ONLY = {"tokengroups", "tokengroupsglobalanduniversal"}
_BIT_AND = "1.2.840.113556.1.4.803"
Value = str | bytes | int


class MemoryLdap:
    """One service: a domain's, or with ``base=""`` a Global Catalog's."""

    def __init__(self, base: str, configuration: str) -> None:
        self.base = base
        self.configuration = configuration
        self.objects: dict[str, dict[str, list[bytes]]] = {}
        self.asked: list[tuple[str, Scope]] = []
        self.away = False
        self.closed = False

    def put(self, dn: str, attributes: Mapping[str, Value | Sequence[Value]]) -> None:
        self.objects[dn] = {name.casefold(): _values(value) for name, value in attributes.items()}

    async def root(self) -> RootDse:
        self._check()
        return RootDse("memory", self.base, self.configuration, f"CN=Schema,{self.configuration}", self.base)

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
        self._check()
        self.asked.append((base, scope))
        base = self._dn(base.encode()).decode()
        if base.startswith("<"):
            raise NoSuchObject("noSuchObject", 32)
        if scope is Scope.BASE and not any(same(dn, base) for dn in self.objects):
            raise NoSuchObject("noSuchObject", 32)
        wanted = {name.casefold() for name in attributes}
        if scope is not Scope.BASE:
            wanted -= _BASE_ONLY
        found = [
            Entry(dn, {name: values for name, values in held.items() if name in wanted})
            for dn, held in self.objects.items()
            if _in_scope(dn, base, scope) and self._matches(where, held)
        ]
        return found[:limit]

    async def read(self, dn: str, attributes: Sequence[str], *, descriptors: bool = False) -> Entry | None:
        try:
            return (await self.search(dn, Scope.BASE, FilterPresent("objectClass"), attributes))[0]
        except NoSuchObject:
            return None

    async def add(
        self, dn: str, attributes: Mapping[str, Sequence[bytes]], *, descriptors: bool = False
    ) -> None:
        self._check()
        self.put(dn, attributes)

    async def modify(self, dn: str, changes: Sequence[Change], *, descriptors: bool = False) -> None:
        self._check()
        for change in changes:
            assert change.operation is Operation.REPLACE, "all that is needed yet"
            self.objects[dn][change.attribute.casefold()] = list(change.values)

    async def delete(self, dn: str) -> None:
        self._check()
        del self.objects[dn]

    async def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.away:
            raise DirectoryAway("no controller answers")

    def _matches(self, where: LDAPFilter, held: Mapping[str, list[bytes]]) -> bool:
        match where:
            case FilterAnd(filters=filters):
                return all(self._matches(each, held) for each in filters)
            case FilterOr(filters=filters):
                return any(self._matches(each, held) for each in filters)
            case FilterNot(filter=unwanted):
                return not self._matches(unwanted, held)
            case FilterPresent(attribute=attribute):
                return bool(held.get(attribute.casefold()))
            case FilterExtensibleMatch(rule=rule, attribute=attribute, value=value):
                assert rule == _BIT_AND
                assert attribute is not None
                bits = int(value)
                return any(int(v) & bits == bits for v in held.get(attribute.casefold(), []))
            case FilterEquality(attribute=attribute, value=value):
                return any(_equal(self._dn(value), v) for v in held.get(attribute.casefold(), []))
        raise AssertionError(f"no such filter here: {where}")

    def _dn(self, value: bytes) -> bytes:
        """Return the name of the object that ``<SID=…>`` stands for, or the value itself."""
        sid = re.fullmatch(rb"<SID=(S-[0-9-]+)>", value)
        if sid is None:
            return value
        octets = sid_octets(sid[1].decode())
        return next(
            (dn.encode() for dn, held in self.objects.items() if octets in held.get("objectsid", [])), value
        )


def _values(value: Value | Sequence[Value]) -> list[bytes]:
    several = [value] if isinstance(value, (str, bytes, int)) else value
    return [v if isinstance(v, bytes) else str(v).encode() for v in several]


def _equal(one: bytes, other: bytes) -> bool:
    # As the directory does: in any case, and however many spaces there are.
    def folded(value: bytes) -> bytes:
        try:
            return b" ".join(value.decode().casefold().encode().split())
        except UnicodeDecodeError:
            return value

    return folded(one) == folded(other)


def _in_scope(dn: str, base: str, scope: Scope) -> bool:
    match scope:
        case Scope.BASE:
            return same(dn, base)
        case Scope.ONE_LEVEL:
            return normal(parent(dn)) == normal(base)
        case Scope.SUBTREE:
            return below(dn, base)
