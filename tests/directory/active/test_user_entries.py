"""Names as people write them, and user objects as a directory may hold them: read, or nobody's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.directory.active.user_entries import (
    AccountName,
    NameKind,
    filetime,
    is_enabled,
    number,
    read_account,
    read_name,
    same_name,
)
from postscan.directory.ldap.model import Entry

ATTRIBUTES = ("objectSid", "sAMAccountName", "userPrincipalName", "displayName", "mail", "wWWHomePage")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("alice", AccountName(NameKind.LOGON, "alice")),
        ("zoë (test)", AccountName(NameKind.LOGON, "zoë (test)")),
        ("DSM\\alice", AccountName(NameKind.DOWN_LEVEL, "alice", "DSM")),
        ("DSM\\alice@x", AccountName(NameKind.DOWN_LEVEL, "alice@x", "DSM")),
        ("alice@dsm.test", AccountName(NameKind.PRINCIPAL, "alice", "dsm.test")),
        ("a@b@dsm.test", AccountName(NameKind.PRINCIPAL, "a@b", "dsm.test")),
    ],
)
def test_a_name_is_taken_apart(text: str, read: AccountName) -> None:
    assert read_name(text) == read


@given(st.text(max_size=1_100))
def test_whatever_is_written_is_a_whole_name_or_none(text: str) -> None:
    read = read_name(text)
    if read is None:
        return
    assert read.name
    written = {
        NameKind.LOGON: read.name,
        NameKind.DOWN_LEVEL: f"{read.domain}\\{read.name}",
        NameKind.PRINCIPAL: read.principal,
    }
    assert written[read.kind] == text
    text.encode()  # so that it can be asked for
    assert "\0" not in text


@given(st.text(max_size=30))
def test_a_name_is_the_same_as_itself_in_any_case(text: str) -> None:
    assert same_name(text, text)
    swapped = "".join(c.swapcase() if c.isascii() else c for c in text)
    assert same_name(text, swapped)


@pytest.mark.parametrize(
    ("one", "other"),
    [("zoë", "zoe"), ("alice", "alice "), ("a b", "a  b"), ("\uff41lice", "alice"), (None, "")],
)
def test_names_that_a_directory_confuses_are_not_the_same(one: str | None, other: str) -> None:
    assert not same_name(one, other)


def test_one_letter_is_the_same_however_it_is_put_together() -> None:
    assert same_name("zo\u00eb", "zoe\u0308")


@given(
    st.text(max_size=60),
    st.dictionaries(st.sampled_from(ATTRIBUTES), st.lists(st.binary(max_size=60), max_size=2)),
)
def test_whatever_an_object_holds_it_is_an_account_or_none(
    dn: str, attributes: dict[str, list[bytes]]
) -> None:
    account = read_account(Entry(dn, attributes), "wWWHomePage")
    assert account is None or (account.sid.startswith("S-1-") and account.name and account.upn)


@given(st.binary(max_size=30), st.binary(max_size=30), st.integers())
def test_whatever_the_state_of_an_account_is_it_is_enabled_or_not(
    control: bytes, expires: bytes, computed: int
) -> None:
    entry = Entry("CN=x", {"userAccountControl": [control], "accountExpires": [expires]})
    enabled = is_enabled(entry, computed, NOW)
    assert enabled in (True, False)
    assert not (enabled and number(entry, "userAccountControl") is None)


def test_times_are_counted_as_windows_does() -> None:
    assert filetime(datetime(1601, 1, 1, tzinfo=UTC)) == 0
    assert filetime(datetime(1970, 1, 1, tzinfo=UTC)) == 116_444_736_000_000_000
    assert filetime(datetime(2020, 1, 1, tzinfo=UTC)) == 132_223_104_000_000_000
