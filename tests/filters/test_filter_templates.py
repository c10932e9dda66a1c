"""Templates: what they write, what they refuse, and that nothing in value or template gets out of hand."""

from __future__ import annotations

import html
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postscan.filters.templates import MAX_FIELDS, Field, FieldKind, FieldValue, Template, TemplateError

KNOWN = {
    "root": Field(FieldKind.TEXT, "a text"),
    "date": Field(FieldKind.MOMENT, "a moment", "%Y-%m-%d"),
    "counter": Field(FieldKind.NUMBER, "a number"),
    "short": Field(FieldKind.TEXT, "a short text", longest=5),
}
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VALUES: dict[str, FieldValue] = {"root": "Invoice", "date": MOMENT, "counter": 42, "short": "abcdefgh"}
# Pieces of templates, so that many of what is made of them can be read, and many nearly so.
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            ("{", "}", "{{", "}}", "{root}", "{date:%Y}", "{counter:05}", "{root:3}", "{root|none}", "{date:")
        ),
        st.sampled_from((":", "|", "%", "root", "{root.upper}", "{root[0]}", "{root!r}", "{0}", "\n", " ")),
        st.text(max_size=4),
    ),
    max_size=12,
).map("".join)
ANY_VALUES = st.fixed_dictionaries(
    {},
    optional={
        "root": st.none() | st.text(),
        "short": st.none() | st.text(),
        "date": st.none() | st.datetimes(timezones=st.just(UTC)),
        "counter": st.none() | st.integers(-(10**20), 10**20),
    },
)


def rendered(text: str, **values: FieldValue) -> str:
    return Template.parse(text, KNOWN).render({**VALUES, **values})


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{root}_{date}_{counter:05}", "Invoice_2026-01-02_00042"),
        ("{root:3}", "Inv"),
        ("{counter}", "42"),
        ("{counter:1}", "42"),
        ("{date:%d.%m.%y %H:%M:%S}", "02.01.26 03:04:05"),
        ("{date:%j %G-W%V-%u %%}", "002 2026-W01-5 %"),
        ("{short}", "abcde"),
        ("{short:9}", "abcde"),
        ("{{root}} {{{root}}}", "{root} {Invoice}"),
        ("no field", "no field"),
        ("", ""),
    ],
)
def test_a_template_writes_values_in_their_formats(template: str, text: str) -> None:
    assert rendered(template) == text


@pytest.mark.parametrize("nothing", [None, ""], ids=["None", "empty"])
def test_what_stands_behind_the_bar_is_written_where_there_is_no_value(nothing: FieldValue) -> None:
    assert rendered("{root|none at all: 1}-{root:3|x}-{root|}-{root}.", root=nothing) == "none at all: 1-x--."
    assert rendered("{root|none}", root="some") == "some"


def test_fields_without_another_text_are_told_apart() -> None:
    template = Template.parse("{root}{date|never}{counter}{root|x}", KNOWN)
    assert template.fields == {"root", "date", "counter"}
    assert template.needed == {"root", "counter"}


def test_only_values_are_escaped() -> None:
    template = Template.parse("<b>{root}</b> {short|<i>none</i>}", KNOWN)
    values: dict[str, FieldValue] = {"root": "<script>&", "short": None}
    assert template.render(values, escape=html.escape) == "<b>&lt;script&gt;&amp;</b> <i>none</i>"


def test_what_is_written_as_it_stands_can_be_asked_for() -> None:
    assert Template.parse("a/{root|b:}{{{date:%Y\\%m%%}", KNOWN).literals == "a/b:{\\%"


def test_a_value_is_never_read_as_a_template() -> None:
    assert rendered("{root}", root="{date} {{ {root}") == "{date} {{ {root}"


@pytest.mark.parametrize(
    ("template", "position", "words"),
    [
        ("{", 1, "not closed"),
        ("ab{root", 3, "not closed"),
        ("ab}", 3, "ends nothing"),
        ("{root{date}}", 6, "within a field"),
        ("{rot}", 2, "did you mean {root}"),
        ("{Root}", 2, "did you mean {root}"),
        ("{}", 2, "no field's name"),
        ("{:5}", 2, "no field's name"),
        ("{root.upper}", 2, "no field {root.upper}"),
        ("{root[0]}", 2, "no field {root[0]}"),
        ("{root!r}", 2, "no field {root!r}"),
        ("{0}", 2, "no field {0}"),
        ("{root }", 2, "no field {root }"),
        ("{root:}", 7, "no length"),
        ("{root:0}", 7, "no length"),
        ("{root:>20}", 7, "no length"),
        ("{root:²}", 7, "no length"),
        ("{counter:0}", 10, "no count of digits"),
        ("{counter:19}", 10, "no count of digits"),
        ("{counter:99999999999}", 10, "no count of digits"),
        ("{counter:,}", 10, "no count of digits"),
        ("{date:}", 7, "missing after the colon"),
        ("{date:%Y%Q}", 9, "'%Q'"),
        ("{date:%A}", 7, "'%A'"),
        ("{date:%Y%}", 9, "'%'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(template: str, position: int, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template.parse(template, KNOWN)
    assert words in str(caught.value)
    assert caught.value.position == position
    assert str(caught.value).startswith(f"character {position}: ")
    assert caught.value.what_to_do


def test_a_place_in_several_lines_is_told_by_line_and_character() -> None:
    with pytest.raises(TemplateError, match=r"^line 2, character 4: ") as caught:
        Template.parse("{root}\n12{rot}", KNOWN)
    assert caught.value.line == 2


def test_the_advice_for_an_unknown_field_names_those_there_are() -> None:
    with pytest.raises(TemplateError) as caught:
        Template.parse("{nothing_like_it}", KNOWN)
    assert caught.value.what_to_do == "Fields there are: root, date, counter, short."


def test_a_template_has_a_greatest_length() -> None:
    Template.parse("x" * 100, KNOWN, longest=100)
    with pytest.raises(TemplateError, match="101 characters, and 100 are allowed"):
        Template.parse("x" * 101, KNOWN, longest=100)


def test_a_template_has_a_greatest_number_of_fields() -> None:
    with pytest.raises(TemplateError, match=f"more than {MAX_FIELDS} fields"):
        Template.parse("{root}" * 10_000, KNOWN, longest=100_000)


def test_a_value_of_another_kind_is_a_defect_of_the_caller() -> None:
    with pytest.raises(TypeError, match="counter is number, not str"):
        rendered("{counter}", counter="many")


@given(PIECES, ANY_VALUES)
@example("{root}" * MAX_FIELDS, {"root": "x" * 100_000})
@example("{counter:18}" * 5, {"counter": 10**300})
def test_any_template_is_refused_or_written_within_bounds(text: str, values: dict[str, FieldValue]) -> None:
    refusal = None
    try:
        template = Template.parse(text, KNOWN, longest=10_000)
    except TemplateError as error:
        refusal = error
    if refusal is not None:
        assert 1 <= refusal.position <= len(text) + 1
        assert len(str(refusal)) < 300
    else:
        assert len(template.render(values)) <= len(text) * 12 + MAX_FIELDS * 1_000


@given(st.text(alphabet=st.characters(exclude_characters="{}"), max_size=200))
def test_text_without_braces_is_written_as_it_stands(text: str) -> None:
    assert Template.parse(text, KNOWN).render({}) == text


@given(st.text(max_size=100))
def test_doubled_braces_write_any_text(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert Template.parse(doubled, KNOWN).render({}) == text
