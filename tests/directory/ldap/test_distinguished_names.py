"""Distinguished names (RFC 4514)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.directory.ldap.names import (
    InvalidName,
    below,
    child,
    dns_domain,
    domain_dn,
    escape,
    join,
    parent,
    parse,
    same,
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("a,b", "a\\,b"),
        ('"+;<>\\=', '\\"\\+\\;\\<\\>\\\\\\='),
        (" both ", "\\ both\\ "),
        (" ", "\\ "),
        ("#sharp", "\\#sharp"),
        ("in # side", "in # side"),
        ("nul\0", "nul\\00"),
        ("line\nfeed", "line\\0Afeed"),
        ("Zoë (test) *", "Zoë (test) *"),
    ],
)
def test_a_value_is_escaped(value: str, written: str) -> None:
    assert escape(value) == written


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_whatever_is_put_into_a_name_comes_out_of_it(first: str, second: str) -> None:
    dn = child("CN", first, child("OU", second, "DC=dsm,DC=test"))
    assert parse(dn)[:2] == ((("CN", first),), (("OU", second),))
    assert parse(parent(dn)) == parse(dn)[1:]


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        names = parse(text)
    except InvalidName:
        return
    assert parse(join(names)) == names


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('CN=James \\"Jim\\" Smith\\, III', 'James "Jim" Smith, III'),
        ("CN=Before\\0DAfter", "Before\rAfter"),
        ("CN=Lu\\C4\\8Di\\C4\\87", "Lučić"),
        ('CN="a, b"', "a, b"),
        ("CN=  spaced  ", "spaced"),
        ("CN=kept\\ ", "kept "),
    ],
)
def test_values_are_read_as_others_write_them(text: str, value: str) -> None:
    assert parse(text) == ((("CN", value),),)


def test_a_name_of_several_values_is_kept_together() -> None:
    assert parse("OU=Sales+CN=J. Smith,DC=test") == ((("OU", "Sales"), ("CN", "J. Smith")), (("DC", "test"),))


@pytest.mark.parametrize(
    "text",
    ["CN", "=x", "CN=a,,DC=b", "CN=a\\", "CN=a\\zz", 'CN="a', "CN=a<b", "CN=#0403", "CN=\\FF", "C N=a"],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        parse(text)


def test_a_name_longer_than_any_directory_has_is_refused() -> None:
    with pytest.raises(InvalidName, match="characters"):
        parse("CN=" + "a" * 10_000)


def test_names_are_compared_without_case_spaces_and_escapes() -> None:
    assert same("CN=A\\2Cb , DC=Dsm,DC=test", "cn=a\\,B,dc=dsm,dc=TEST")
    assert not same("CN=a,DC=dsm", "CN=a,DC=dsm,DC=test")


def test_a_name_lies_below_another() -> None:
    assert below("CN=x,CN=PSPs,DC=dsm,DC=test", "dc=DSM,dc=test")
    assert not below("CN=x,DC=evildsm,DC=test", "DC=dsm,DC=test")
    assert below("CN=x", "")


def test_the_topmost_has_no_parent() -> None:
    assert parent("DC=test") == ""
    assert parent("") == ""


def test_a_domain_and_its_name_lead_to_each_other() -> None:
    assert domain_dn("dsm.test.") == "DC=dsm,DC=test"
    assert dns_domain("CN=x,DC=dsm,DC=test") == "dsm.test"


@pytest.mark.parametrize("domain", ["", "a..b", "a,DC=b", "-a.test", "a" * 64])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(InvalidName):
        domain_dn(domain)


def test_a_name_without_domain_has_none() -> None:
    with pytest.raises(InvalidName, match="DC="):
        dns_domain("CN=x")


def test_an_object_needs_a_name() -> None:
    with pytest.raises(InvalidName):
        child("CN", "", "DC=test")
    with pytest.raises(InvalidName):
        child("C=N", "a", "DC=test")
