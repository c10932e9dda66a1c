"""Search filters (RFC 4511, 4.5.1.7), made of values and never of text.

A value goes into the filter as octets, so nothing in it can be taken for syntax: ``*``, parentheses, a
backslash or NUL in somebody's name are that name and nothing else.
"""

from __future__ import annotations

import re
from typing import Final

from sansldap import (
    FilterAnd,
    FilterEquality,
    FilterExtensibleMatch,
    FilterGreaterOrEqual,
    FilterLessOrEqual,
    FilterNot,
    FilterOr,
    FilterPresent,
    FilterSubstrings,
    LDAPFilter,
)

# RFC 4512, 1.4: a short name or a dotted number, without options.
_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*|\d+(\.\d+)+", re.ASCII)

# LDAP_MATCHING_RULE_BIT_AND and LDAP_MATCHING_RULE_TRANSITIVE_EVAL ([MS-ADTS] 3.1.1.3.4.4).
_BIT_AND: Final = "1.2.840.113556.1.4.803"
_IN_CHAIN: Final = "1.2.840.113556.1.4.1941"


def equal(attribute: str, value: str | bytes) -> LDAPFilter:
    """Match objects one of whose values equals ``value``; text is sent as UTF-8."""
    return FilterEquality(attribute=_checked(attribute), value=_octets(value))


def present(attribute: str) -> LDAPFilter:
    """Match objects that have the attribute, whatever its value."""
    return FilterPresent(attribute=_checked(attribute))


def at_least(attribute: str, value: str | bytes) -> LDAPFilter:
    """Match objects one of whose values is ``value`` or follows it in the attribute's order."""
    return FilterGreaterOrEqual(attribute=_checked(attribute), value=_octets(value))


def at_most(attribute: str, value: str | bytes) -> LDAPFilter:
    """Match objects one of whose values is ``value`` or comes before it in the attribute's order."""
    return FilterLessOrEqual(attribute=_checked(attribute), value=_octets(value))


def starts_with(attribute: str, value: str | bytes) -> LDAPFilter:
    """Match objects one of whose values starts with ``value``, which must not be empty."""
    octets = _octets(value)
    if not octets:
        raise ValueError("every value starts with nothing: use present()")
    return FilterSubstrings(attribute=_checked(attribute), initial=octets, any=[], final=None)


def has_bits(attribute: str, bits: int) -> LDAPFilter:
    """Match objects whose integer attribute has all of ``bits`` set ([MS-ADTS] 3.1.1.3.4.4.1)."""
    return FilterExtensibleMatch(
        rule=_BIT_AND, attribute=_checked(attribute), value=str(bits).encode(), dn_attributes=False
    )


def in_chain(attribute: str, dn: str) -> LDAPFilter:
    """Match objects that reach ``dn`` over a link attribute, directly or by others ([MS-ADTS] 3.1.1.3.4.4.3).

    ``in_chain("memberOf", group)`` finds the members of a group and of those nested in it.
    """
    return FilterExtensibleMatch(
        rule=_IN_CHAIN, attribute=_checked(attribute), value=_octets(dn), dn_attributes=False
    )


def all_of(*filters: LDAPFilter) -> LDAPFilter:
    """Match what every one of ``filters`` matches; at least one is needed."""
    return FilterAnd(filters=_some(filters))


def any_of(*filters: LDAPFilter) -> LDAPFilter:
    """Match what one of ``filters`` matches; at least one is needed."""
    return FilterOr(filters=_some(filters))


def not_(unwanted: LDAPFilter) -> LDAPFilter:
    """Match what ``unwanted`` does not match."""
    return FilterNot(filter=unwanted)


def _some(filters: tuple[LDAPFilter, ...]) -> list[LDAPFilter]:
    if not filters:
        raise ValueError("and and or need at least one filter")
    return list(filters)


def _checked(attribute: str) -> str:
    if _ATTRIBUTE.fullmatch(attribute) is None:
        raise ValueError(f"not the name of an attribute: {attribute!r}")
    return attribute


def _octets(value: str | bytes) -> bytes:
    # What is no text is looked for all the same, and not found.
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
