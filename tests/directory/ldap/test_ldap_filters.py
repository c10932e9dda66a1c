"""Filters are made of values: nothing in a value becomes syntax (abuse case 38)."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sansldap import FilterEquality, FilterOptions, LDAPFilter
from sansldap.asn1 import ASN1Reader, ASN1Writer

from postscan.directory.ldap import filters


def on_the_wire(made: LDAPFilter) -> bytes:
    writer = ASN1Writer()
    made.pack(writer, FilterOptions())
    return bytes(writer.get_data())


@pytest.mark.parametrize(
    "name", ["*", "*)(objectClass=*", "a(b)c", "a\\2ab", "\0", "|(cn=*)", "Zoë (test) *"]
)
def test_a_name_with_the_characters_of_filters_stays_that_name(name: str) -> None:
    read = LDAPFilter.unpack(ASN1Reader(on_the_wire(filters.equal("sAMAccountName", name))), FilterOptions())
    assert read == FilterEquality(attribute="sAMAccountName", value=name.encode())


@given(st.text())
def test_any_text_is_compared_as_it_is(name: str) -> None:
    made = on_the_wire(filters.equal("cn", name))
    assert LDAPFilter.unpack(ASN1Reader(made), FilterOptions()) == filters.equal("cn", name)


def test_text_that_is_no_text_is_looked_for_and_not_an_error() -> None:
    assert filters.equal("cn", "\udc80") == filters.equal("cn", b"\xed\xb2\x80")


def test_octets_are_compared_as_they_are() -> None:
    assert on_the_wire(filters.equal("objectSid", b"\x01\x05*")).endswith(b"\x04\x03\x01\x05*")


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (filters.present("mail"), "(mail=*)"),
        (filters.at_least("uSNChanged", "7"), "(uSNChanged>=7)"),
        (filters.at_most("uSNChanged", "7"), "(uSNChanged<=7)"),
        (filters.starts_with("cn", "a*"), "(cn=a\\2a*)"),
        (filters.has_bits("userAccountControl", 2), "(userAccountControl:1.2.840.113556.1.4.803:=2)"),
        (filters.in_chain("memberOf", "CN=x"), "(memberOf:1.2.840.113556.1.4.1941:=CN=x)"),
        (
            filters.all_of(filters.equal("a", "1"), filters.not_(filters.equal("b", "2"))),
            "(&(a=1)(!(b=2)))",
        ),
        (filters.any_of(filters.equal("a", "1"), filters.equal("b", "2")), "(|(a=1)(b=2))"),
    ],
)
def test_a_filter_means_what_its_text_would(made: LDAPFilter, text: str) -> None:
    assert made == LDAPFilter.from_string(text)


@pytest.mark.parametrize("attribute", ["", "a=b", "cn)(x", "cn;binary*", "1", "é", "a b"])
def test_what_is_no_attribute_is_refused(attribute: str) -> None:
    with pytest.raises(ValueError, match="not the name of an attribute"):
        filters.present(attribute)


@pytest.mark.parametrize("combine", [filters.all_of, filters.any_of])
def test_nothing_cannot_be_combined(combine: Callable[[], LDAPFilter]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        combine()


def test_a_start_of_nothing_is_refused_as_it_would_match_everything() -> None:
    with pytest.raises(ValueError, match="present"):
        filters.starts_with("cn", "")
