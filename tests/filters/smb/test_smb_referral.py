"""Reading DFS referrals: whatever a server sends, it is a referral or is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.filters.smb.referral import NoReferral, Referral, parse_referral


def text(value: str) -> bytes:
    return value.encode("utf-16-le") + b"\0\0"


def referral(*targets: str, version: int = 4, consumed: int = 30, flags: int = 0) -> bytes:
    size = 34 if version > 2 else 22
    strings = b""
    entries = b""
    for number, one in enumerate(targets):
        offset = size * (len(targets) - number) + len(strings)
        strings += text(one)
        fields = struct.pack("<HHH", 0, 0, offset)
        times = struct.pack("<I", 600) if version > 2 else struct.pack("<II", 0, 600)
        entries += (struct.pack("<HHHH", version, size, 0, flags) + times + fields).ljust(size, b"\0")
    return struct.pack("<HHI", consumed, len(targets), 2) + entries + strings


@pytest.mark.parametrize("version", [2, 3, 4])
def test_the_targets_are_read_in_their_order(version: int) -> None:
    octets = referral(r"\one\share", r"\two\Ā\ȀÄ", version=version)
    assert parse_referral(octets) == Referral(15, (r"\one\share", r"\two\Ā\ȀÄ"))


def test_a_target_of_version_1_is_read() -> None:
    name = text(r"\one\share")
    entry = struct.pack("<HHHH", 1, 8 + len(name), 0, 0) + name
    assert parse_referral(struct.pack("<HHI", 4, 1, 0) + entry) == Referral(2, (r"\one\share",))


def test_lists_of_domain_controllers_are_no_targets() -> None:
    assert parse_referral(referral(r"\one\share", flags=2)).targets == ()


def test_characters_of_two_units_count_twice() -> None:
    path = r"\host\dfs\𝟚\in"
    assert Referral(len(r"\host\dfs\𝟚".encode("utf-16-le")) // 2, ()).rest_of(path) == r"\in"
    assert Referral(10_000, ()).rest_of(path) == ""


def test_what_a_server_sends_is_told_without_what_no_terminal_should_see() -> None:
    told = Referral(0, ("\\a\x1b[2J\nb", "x" * 1_000)).in_words
    assert told.startswith(r"\a�[2J�b, xxx")
    assert len(told) == 200


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\0" * 7,
        struct.pack("<HHI", 0, 1, 0),
        struct.pack("<HHI", 1, 0, 0),
        struct.pack("<HHI", 0, 65_535, 0),
        referral(r"\one\share")[:-2],
        struct.pack("<HHIHHHH", 0, 2, 0, 4, 0, 0, 0),
    ],
    ids=["nothing", "half a head", "no entry", "half a character", "too many", "no end", "no size"],
)
def test_what_is_no_referral_is_refused(octets: bytes) -> None:
    with pytest.raises(NoReferral):
        parse_referral(octets)


@given(st.binary(max_size=300))
def test_any_octets_are_a_referral_or_refused(octets: bytes) -> None:
    _read(octets)


@given(st.data())
def test_a_damaged_referral_is_a_referral_or_refused(data: st.DataObject) -> None:
    octets = bytearray(referral(r"\one\share", r"\two\share"))
    for _ in range(data.draw(st.integers(1, 6))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    _read(bytes(octets))


def _read(octets: bytes) -> None:
    try:
        found = parse_referral(octets)
    except NoReferral:
        return
    assert len(found.targets) <= 64
    assert sum(map(len, found.targets)) <= 64 * 2_048
