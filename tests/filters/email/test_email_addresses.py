"""Which addresses are sent to, and how they are written."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postscan.filters.email.addresses import (
    MAX_ADDRESS_BYTES,
    AddressRefused,
    DomainPolicy,
    header_text,
    parse_address,
    parse_mailbox,
)

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
LOCAL = st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9#$&'*+/=?^_`{}~-]{0,20}(\.[A-Za-z0-9_-]{1,10}){0,2}", fullmatch=True
)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("alice@example.com", "alice@example.com"),
        ("  Alice.B+scans@Example.COM\n", "Alice.B+scans@example.com"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("jürgen@example.com", "jürgen@example.com"),
        ("ju\u0308rgen@example.com", "jürgen@example.com"),
        ("x@xn--bcher-kva.example", "x@xn--bcher-kva.example"),
        ("o'neil@sub.example.co.uk", "o'neil@sub.example.co.uk"),
        ("root@localhost", "root@localhost"),
    ],
)
def test_addresses_are_taken(text: str, written: str) -> None:
    assert str(parse_address(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "@example.com",
        "alice@",
        "a@b@",
        "alice@example.com\r\nRCPT TO:<eve@evil.example>",
        "alice\r@example.com",
        "alice@example.com\0",
        "<alice@example.com>",
        "alice@example.com> SIZE=1",
        "alice@example.com,eve@evil.example",
        "alice@example.com eve@evil.example",
        '"alice smith"@example.com',
        '"a\\"b"@example.com',
        "alice@[127.0.0.1]",
        "alice@127.0.0.1",
        "alice@-example.com",
        "alice@example..com",
        ".alice@example.com",
        "alice.@example.com",
        "al..ice@example.com",
        "alice(comment)@example.com",
        "alice;@example.com",
        "alice\u202e@example.com",
        "alice\u200b@example.com",
        "alice@exa mple.com",
        "alice@exam\u2028ple.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 64 + ".example",
        "a@" + ".".join(["b" * 60] * 5),
        "@evil.example:alice@example.com",
        "alice%evil.example@example.com@",
    ],
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@given(local=LOCAL, domain=st.lists(LABEL, min_size=1, max_size=4).map(".".join))
def test_ordinary_addresses_stay_as_they_are(local: str, domain: str) -> None:
    try:
        address = parse_address(f"{local}@{domain}")
    except AddressRefused:
        assert domain.split(".")[-1].isdigit()
        return
    assert str(address) == f"{local}@{domain}"


@given(st.text(max_size=80))
@example("a@b\r\nDATA")
@example("Ⓐ@ⓑ.example")
@example("a@ﬀ.example")
def test_whatever_is_taken_cannot_be_syntax(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressRefused:
        return
    written = str(address)
    assert written.isprintable()
    assert not set(written) & set(' \t\r\n\0<>()[]\\,;:"')
    assert written.count("@") == 1
    assert address.domain.isascii()
    assert len(written.encode()) <= MAX_ADDRESS_BYTES
    assert parse_address(written) == address


def test_a_mailbox_has_a_name() -> None:
    mailbox = parse_mailbox("Scans of Example <scans@example.com>")
    assert (mailbox.name, str(mailbox.address)) == ("Scans of Example", "scans@example.com")
    assert parse_mailbox('"Example, Inc." <scans@example.com>').name == "Example, Inc."
    assert parse_mailbox("scans@example.com").name == ""


@pytest.mark.parametrize(
    "text", ["A <a@b.example> <c@d.example>", "A\r\nBcc: x <a@b.example>", "<>", "A <b>"]
)
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        parse_mailbox(text)


def test_domains_are_allowed_as_they_are_listed() -> None:
    policy = DomainPolicy.of(["example.com", "*.example.org", "bücher.example"])
    allowed = ["a@example.com", "a@EXAMPLE.com", "a@x.example.org", "a@y.x.example.org", "a@bücher.example"]
    refused = ["a@sub.example.com", "a@example.org", "a@notexample.com", "a@example.com.evil.example"]
    assert all(policy.allows(parse_address(one)) for one in allowed)
    assert not any(policy.allows(parse_address(one)) for one in refused)
    assert DomainPolicy.of(["*"]).allows(parse_address("a@anywhere.example"))
    assert not DomainPolicy.of([]).allows(parse_address("a@anywhere.example"))


@pytest.mark.parametrize("entry", ["", "*.", "*example.com", "a@example.com", "example com", "*.*.example"])
def test_what_is_no_domain_is_no_entry(entry: str) -> None:
    with pytest.raises(AddressRefused):
        DomainPolicy.of([entry])


@given(st.text(max_size=300))
def test_text_for_a_header_is_one_printable_line(text: str) -> None:
    line = header_text(text, 100)
    assert len(line) <= 100
    assert "\n" not in line
    assert "\r" not in line
    assert header_text(line, 100) == line
