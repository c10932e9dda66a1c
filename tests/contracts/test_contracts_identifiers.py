"""PSP_Identifier in all its spellings."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postscan.contracts.identifiers import parse_process_identifier, process_identifier_octets
from postscan.core.errors import InvalidArgument

GUID = UUID("c4f199c7-6876-4549-a86e-a85035952448")


@pytest.mark.parametrize(
    "text",
    [
        "c4f199c7-6876-4549-a86e-a85035952448",
        "C4F199C7-6876-4549-A86E-A85035952448",
        "{C4F199C7-6876-4549-a86e-a85035952448}",
        "\n  {c4f199c7-6876-4549-a86e-a85035952448}\t ",
    ],
)
def test_a_guid_is_read_in_every_spelling(text: str) -> None:
    assert parse_process_identifier(text) == GUID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "{c4f199c7-6876-4549-a86e-a85035952448",
        "c4f199c7-6876-4549-a86e-a85035952448}",
        "c4f199c768764549a86ea85035952448",
        "urn:uuid:c4f199c7-6876-4549-a86e-a85035952448",
        "c4f199c7-6876-4549-a86e-a8503595244",
        "c4f199c7-6876-4549-a86e-a85035952448a",
        "g4f199c7-6876-4549-a86e-a85035952448",
        "\N{ARABIC-INDIC DIGIT FOUR}4f199c7-6876-4549-a86e-a85035952448",
        "c4f199c7-6876-4549-a86e-a85035952448\n{c4f199c7-6876-4549-a86e-a85035952448}",
    ],
)
def test_anything_else_is_an_invalid_argument(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_process_identifier(text)
    assert caught.value.detail == "dsp:PSP_Identifier"


def test_the_first_three_fields_are_little_endian_in_the_directory() -> None:
    assert process_identifier_octets(GUID).hex() == "c799f1c47668" + "4945" + "a86ea85035952448"


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.text() | st.from_regex(r"\{?[0-9A-Fa-f-]{30,40}\}?", fullmatch=True))
def test_what_is_read_is_what_was_written(text: str) -> None:
    with suppress(InvalidArgument):
        assert str(parse_process_identifier(text)) == text.strip(" \t\r\n{}").lower()
