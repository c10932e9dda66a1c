"""Names that SharePoint takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.filters.sharepoint.names import NameRules, file_name, folder_name, room_for_name
from support.names import NASTY, assert_safe_everywhere

SHAREPOINTS = st.lists(
    st.one_of(
        NASTY,
        st.sampled_from(
            ("~$", "_vti_", "_VTI_", "..", "#", "%", "&", "{}", "~", "_files", ".lock", "Forms", "-dateien")
        ),
    ),
    max_size=6,
).map("".join)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize(
    ("name", "strict", "modern"),
    [
        ("Invoice_001.tif", "Invoice_001.tif", "Invoice_001.tif"),
        ("50% #1 & {a} ~b.pdf", "50 1 a b.pdf", "50% #1 & {a} ~b.pdf"),
        ("~$Invoice.pdf", "$Invoice.pdf", "Invoice.pdf"),
        ("a_vti_b.pdf", "avtib.pdf", "avtib.pdf"),
        ("_v_vti_ti_.pdf", "_vvtiti_.pdf", "_vvtiti_.pdf"),
        ("a...b.pdf", "a.b.pdf", "a.b.pdf"),
        ("Forms", "_Forms", "_Forms"),
        ("desktop.ini", "_desktop.ini", "_desktop.ini"),
    ],
)
def test_what_a_library_does_not_take_is_left_out(name: str, strict: str, modern: str) -> None:
    assert file_name(name, NameRules.STRICT, 128) == strict
    assert file_name(name, NameRules.MODERN, 255) == modern


def test_a_long_name_keeps_its_end() -> None:
    end = "_2026-11-21_143005_alice_001 (2).tif"

    name = file_name("Rechnung " * 40 + end, NameRules.STRICT, 128)

    assert units(name) == 128
    assert name.startswith("Rechnung Rechnung")
    assert name.endswith(end)


@pytest.mark.parametrize("rules", NameRules)
@given(name=SHAREPOINTS, longest=st.integers(80, 255))
def test_every_name_is_one_that_a_library_takes(rules: NameRules, name: str, longest: int) -> None:
    made = file_name(name, rules, longest)

    assert_safe_everywhere(made)
    assert units(made) <= longest
    assert not made.startswith("~$")
    assert "_vti_" not in made.lower()
    assert ".." not in made
    assert file_name(made, rules, longest) == made
    if rules is NameRules.STRICT:
        assert not set("#%&{}~") & set(made)


@pytest.mark.parametrize("rules", NameRules)
@given(one=SHAREPOINTS, other=SHAREPOINTS)
def test_two_users_never_share_a_folder(rules: NameRules, one: str, other: str) -> None:
    first, second = folder_name(one, rules), folder_name(other, rules)

    assert_safe_everywhere(first)
    assert not first.lower().endswith(("_files", "-dateien", ".files"))
    assert (first == second) == (one == other)


def test_a_folder_that_a_library_takes_is_kept() -> None:
    assert folder_name("alice@example.com", NameRules.STRICT) == "alice@example.com"


@pytest.mark.parametrize(
    ("length", "rules", "room"),
    [
        (50, NameRules.STRICT, 128),
        (150, NameRules.STRICT, 109),
        (180, NameRules.STRICT, 0),
        (50, NameRules.MODERN, 255),
        (319, NameRules.MODERN, 80),
        (320, NameRules.MODERN, 0),
    ],
)
def test_a_path_leaves_room_for_a_name_or_none(length: int, rules: NameRules, room: int) -> None:
    assert room_for_name("/" + "a" * (length - 1), rules) == room
