"""Names that differ in case alone are one; those that only look alike, or sound alike, are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.directory.spelling import folded


@pytest.mark.parametrize(
    ("one", "other"),
    [("Scan Staff", "SCAN staff"), ("Büro (Süd)", "BÜRO (SÜD)"), ("zo\u00eb", "ZOE\u0308"), ("ΣΑΜ", "σαμ")],
)
def test_case_makes_no_other_name(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Adminiſtrators", "Administrators"),
        ("Straße", "Strasse"),
        ("ﬁnance", "finance"),
        ("\u212aelvin", "Kelvin"),
        ("\u212bngstrom", "Ångstrom"),
        ("İstanbul", "istanbul"),
        ("ıstanbul", "istanbul"),
        ("zoë", "zoe"),
        ("alice ", "alice"),
    ],
)
def test_a_name_that_only_looks_alike_is_another(one: str, other: str) -> None:
    assert folded(one) != folded(other)


@given(st.characters(exclude_categories=["Cs"]))
def test_a_letter_is_the_same_as_its_other_case_and_as_no_other(letter: str) -> None:
    for other in {letter.casefold(), letter.upper(), letter.lower(), letter.swapcase()}:
        if folded(letter) == folded(other):
            assert {letter, other} <= {letter.lower(), letter.lower().upper(), letter}
            assert len(other) == 1


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=30))
def test_plain_names_are_folded_to_small_letters(text: str) -> None:
    assert folded(text) == text.lower()


@given(st.text(max_size=30))
def test_a_folded_name_stays_what_it_is(text: str) -> None:
    assert folded(folded(text)) == folded(text)
