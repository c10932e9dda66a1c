r"""What may be named as share, and where it lies (abuse case 27)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.core.errors import ConfigurationError
from postscan.filters.contract import InstructionsError
from postscan.filters.shares import ShareMap

SHARES = ShareMap(
    roots=[Path("/srv/scans"), Path("/srv/scans/deep")],
    unc_map={
        r"\\files.example.com\scans": Path("/mnt/scans"),
        r"\\files.example.com\scans\Archive": Path("/mnt/archive"),
        r"\\192.0.2.7\old": Path("/mnt/old"),
    },
)


@pytest.mark.parametrize(
    ("share", "folder"),
    [
        ("file:///srv/scans", "/srv/scans"),
        ("file:///srv/scans/", "/srv/scans"),
        ("FILE://localhost/srv/scans/a%20b", "/srv/scans/a b"),
        ("file:/srv/scans/a", "/srv/scans/a"),
        ("file:///srv/scans/100%25", "/srv/scans/100%"),
        ("file:///srv/scans/%252e%252e", "/srv/scans/%2e%2e"),
        (" \n file:///srv/scans/a \n", "/srv/scans/a"),
        (r"\\files.example.com\scans", "/mnt/scans"),
        (r"\\FILES.Example.COM\SCANS\\"[:-1], "/mnt/scans"),
        (r"\\files.example.com\scans\In\Box", "/mnt/scans/In/Box"),
        (r"\\files.example.com\scans\ARCHIVE\2026", "/mnt/archive/2026"),
        (r"\\192.0.2.7\old", "/mnt/old"),
    ],
)
def test_a_share_that_is_allowed_lies_in_its_folder(share: str, folder: str) -> None:
    assert SHARES.target_of(share).folder == Path(folder)


@pytest.mark.parametrize(
    "share",
    [
        "",
        "scans",
        "/srv/scans",
        "http://example.com/scans",
        "smb://files.example.com/scans",
        "file:scans",
        "file://",
        "file:///etc",
        "file:///srv/scansX",
        "file:///srv/scans/../../etc",
        "file:///srv/scans/%2e%2e/%2e%2e/etc",
        "file:///srv/scans%2f..%2f..%2fetc",
        "file:///srv/scans/./a",
        "file:////srv/scans",
        "file://evil.example.net/srv/scans",
        "file://user@localhost/srv/scans",
        "file:///srv/scans/a?b",
        "file:///srv/scans/a#b",
        "file:///srv/scans/%zz",
        "file:///srv/scans/%00",
        "file:///srv/scans/%ff",
        "file:///srv/sc\x00ans",
        "file://[/srv/scans",
        r"\\evil.example.net\share",
        r"\\files.example.com\other",
        r"\\files.example.com\scansX",
        r"\\files.example.com",
        r"\\files.example.com\\"[:-1],
        r"\\files.example.com@80\scans",
        r"\\files.example.com@SSL@443\scans",
        r"\\.\pipe\scans",
        r"\\?\UNC\files.example.com\scans",
        r"\\?\C:\scans",
        r"\\files.example.com\scans\..\..\other",
        r"\\files.example.com\scans\.\a",
        r"\\files.example.com\scans\...",
        r"\\files.example.com\scans\a \b",
        r"\\files.example.com\scans\\a",
        r"\\files.example.com\scans\a/../b",
        r"\\files.example.com\scans\a:stream",
        r"\\files.example.com\scans\*",
        "//files.example.com/scans",
        r"\\192.0.2.9\share",
        r"\\3221226249\share",
        r"\\0x7f.1\share",
        r"\\fe80--1.ipv6-literal.net\share",
        r"\\[::1]\share",
        r"\\-files\scans",
        r"\scans",
    ],
)
def test_a_share_that_is_not_allowed_is_refused(share: str) -> None:
    with pytest.raises(InstructionsError) as caught:
        SHARES.target_of(share)
    assert caught.value.detail == "fsf:ShareUNC"


def test_a_share_that_is_not_mapped_says_to_map_it() -> None:
    with pytest.raises(InstructionsError) as caught:
        SHARES.target_of(r"\\other.example.com\scans")
    assert "unc_map" in caught.value.what_to_do


def test_an_address_that_is_not_mapped_says_to_use_a_name() -> None:
    with pytest.raises(InstructionsError) as caught:
        SHARES.target_of(r"\\192.0.2.9\scans")
    assert "host name" in caught.value.what_to_do


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\\files.example.com\scans", r"\\FILES.EXAMPLE.COM\Scans\\"[:-1]),
        ("file:///srv/scans/a", "FILE://localhost/srv/scans/%61/"),
    ],
)
def test_two_spellings_of_a_share_have_one_key(one: str, other: str) -> None:
    assert SHARES.target_of(one).key == SHARES.target_of(other).key


@pytest.mark.parametrize(
    "share", ["file:///srv/scans/a%20b%25", r"\\Files.example.com\Scans\In Box", r"\\192.0.2.7\old\Ünïcode"]
)
def test_the_key_of_a_share_leads_to_the_same_target(share: str) -> None:
    target = SHARES.target_of(share)
    assert SHARES.target_of(target.key) == target


@given(
    st.lists(
        st.one_of(
            st.text(max_size=4),
            st.sampled_from(("..", "\\", "/", "%2e", "%2f")),
            st.sampled_from(("file:///srv/scans", r"\\files.example.com\scans")),
        ),
        max_size=8,
    ).map("".join)
)
def test_whatever_is_named_the_target_is_in_its_root(share: str) -> None:
    try:
        target = SHARES.target_of(share)
    except InstructionsError:
        return
    assert target.folder.is_relative_to(target.root)
    assert ".." not in target.folder.parts


def test_the_innermost_root_is_the_one_that_counts() -> None:
    assert SHARES.target_of("file:///srv/scans/deep/er").root == Path("/srv/scans/deep")


@pytest.mark.parametrize(
    ("roots", "unc_map"),
    [
        ([Path("scans")], {}),
        ([Path("/srv/../etc")], {}),
        ([], {r"\\server\share": Path("mnt")}),
        ([], {r"\\server": Path("/mnt")}),
        ([], {"server/share": Path("/mnt")}),
        ([], {r"\\server\share": Path("/mnt"), r"\\SERVER\Share": Path("/mnt2")}),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(roots: list[Path], unc_map: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError):
        ShareMap(roots, unc_map)
