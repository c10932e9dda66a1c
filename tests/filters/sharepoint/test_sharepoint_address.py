"""Addresses of libraries: what they mean, and which are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.filters.sharepoint.address import (
    AddressError,
    LibraryAddress,
    Origin,
    address_of,
    encoded,
    parse_library_address,
    parse_origin,
)
from postscan.filters.sharepoint.reach import is_forbidden_address, is_forbidden_host
from support.names import NASTY

ADDRESS_TEXTS = st.one_of(
    st.text(max_size=60),
    st.builds(
        "https://{}/{}".format, st.sampled_from(["sp.example.com", "[::1]:8443", "127.1", "a@b"]), NASTY
    ),
    st.builds("https://sp.example.com{}".format, st.text("/.%25#?&=ab\\:;@ä ", max_size=40)),
)
SEGMENTS = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cs"], exclude_characters="/\\"), min_size=1
).filter(lambda text: text not in (".", "..") and not text.lower().endswith(".aspx"))


@pytest.mark.parametrize(
    ("text", "path", "site"),
    [
        ("https://sp.example.com/sites/team/Shared%20Documents", ("sites", "team", "Shared Documents"), 2),
        ("https://SP.example.com:443/sites/team/Docs/", ("sites", "team", "Docs"), 2),
        ("https://sp.example.com/sites/team/Docs/Forms/AllItems.aspx", ("sites", "team", "Docs"), 2),
        ("https://sp.example.com/sites/t/Docs/Forms/AllItems.aspx?viewid=1", ("sites", "t", "Docs"), 2),
        ("https://sp.example.com/sites/team", ("sites", "team", "Shared Documents"), 2),
        ("https://sp.example.com/personal/alice/", ("personal", "alice", "Shared Documents"), 2),
        ("https://sp.example.com", ("Shared Documents",), 0),
        ("https://sp.example.com//te]]>s//a", ("te]]>s", "a"), 0),
        ("https://sp.example.com//evil.example/Docs", ("evil.example", "Docs"), 0),
        ("https://sp.example.com/Scans/Incoming", ("Scans", "Incoming"), 0),
        ("https://sp.example.com/Shared Documents/Grüße", ("Shared Documents", "Grüße"), 0),
    ],
)  # fmt: skip
def test_an_address_means_a_library(text: str, path: tuple[str, ...], site: int) -> None:
    address = parse_library_address(text, default_library="Shared Documents")

    assert address == LibraryAddress(Origin("https", "sp.example.com", 443), path, site)


def test_percent_encoding_is_undone_once() -> None:
    address = parse_library_address("https://sp.example.com/sites/team/50%2525%2520%23")

    assert address.library_path == ("50%25%20#",)
    assert str(address) == "https://sp.example.com/sites/team/50%2525%2520%23"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no address"),
        ("sp.example.com/sites/team/Docs", "no address"),
        ("file:///etc/passwd", "no address"),
        (r"\\sp.example.com\sites", "no address has"),
        ("https:///sites/team/Docs", "no address"),
        ("https://alice:pw@sp.example.com/sites/team/Docs", "user name or a password"),
        ("https://sp.example.com@evil.example/sites/team/Docs", "user name or a password"),
        ("https://sp.example.com/sites/team/Docs#x", "fragment"),
        ("https://sp.example.com/sites/team/Docs?x=1", "query"),
        ("https://sp.example.com/sites/team/Docs/%2e%2e/Secret", "leads elsewhere"),
        ("https://sp.example.com/sites/team/../Secret", "leads elsewhere"),
        ("https://sp.example.com/sites/team/a%2Fb", "leads elsewhere"),
        ("https://sp.example.com/sites/team/a%5Cb", "leads elsewhere"),
        ("https://sp.example.com/sites/team/a%00b", "leads elsewhere"),
        ("https://sp.example.com/sites/team/100%", "encodes nothing"),
        ("https://sp.example.com/sites/team/%FF", "not UTF-8"),
        ("https://sp.example.com/:f:/s/team/Abc", "sharing link"),
        ("https://sp.example.com/sites/team/Docs/Forms/AllItems.aspx?RootFolder=%2Fx", "browser shows"),
        ("https://sp.example.com/Person.aspx?accountname=alice", "is a page"),
        ("https://sp.example.com/sites/team", "no library of it"),
        ("https://127.1/sites/team/Docs", "neither a name nor an address"),
        ("https://0x7f000001/sites/team/Docs", "neither a name nor an address|no host"),
        ("https://2130706433/sites/team/Docs", "neither a name nor an address"),
        ("https://sp.example.com:0/sites/team/Docs", "no port"),
        ("https://sp.example.com:99999/sites/team/Docs", "no address"),
        ("https://sp.\u0435xample.com/sites/team/Docs", "DNS name"),
        ("https://sp.example.com/\u202esites", "no address has"),
        ("https://sp.example.com/" + "a" * 2048, "longer than 2048"),
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_library_is_refused_with_words(text: str, why: str) -> None:
    with pytest.raises(AddressError, match=why) as refused:
        parse_library_address(text)

    assert "pw" not in str(refused.value)


@given(ADDRESS_TEXTS)
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_library_address(text, default_library="Docs")
    except AddressError:
        return
    assert address_of(str(address)) == address
    assert not {".", ".."} & set(address.path)
    assert not any("/" in segment or "\\" in segment for segment in address.path)


@given(st.lists(SEGMENTS, min_size=1, max_size=4))
def test_what_is_encoded_is_decoded_to_the_same(segments: list[str]) -> None:
    path = encoded(*segments)

    assert path.isascii()
    assert not set(path) & set(" %#?") - {"%"}
    if not segments[0].startswith(":") and len("https://sp.example.com" + path) <= 2048:
        address = parse_library_address("https://sp.example.com" + path, default_library="x")
        assert address.path[: len(segments)] == tuple(segments)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://sp.example.com", Origin("https", "sp.example.com", 443)),
        ("HTTPS://SP.Example.COM:8443/", Origin("https", "sp.example.com", 8443)),
        ("http://[::1]:80", Origin("http", "::1", 80)),
        ("https://sp.example.com.", Origin("https", "sp.example.com", 443)),
    ],
)
def test_an_origin_is_scheme_host_and_port(text: str, origin: Origin) -> None:
    assert parse_origin(text) == origin
    assert parse_origin(str(origin)) == origin


def test_an_origin_has_no_path() -> None:
    with pytest.raises(AddressError, match="has a path"):
        parse_origin("https://sp.example.com/sites")


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ],
)
def test_case_37_addresses_of_metadata_services_and_of_no_host_are_never_called(text: str) -> None:
    assert is_forbidden_address(text)
    assert is_forbidden_host(text.partition("%")[0])


@pytest.mark.parametrize("text", ["127.0.0.1", "10.1.2.3", "::1", "fd12::1", "192.0.2.1", "2001:db8::1"])
def test_addresses_of_a_network_may_be_called(text: str) -> None:
    assert not is_forbidden_address(text)
