"""How values are bound to elements: times, truth values, qualified names, and what is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from postscan.contracts.binding import (
    BOOLEAN,
    DATE_TIME,
    INTEGER,
    NAME,
    QNAME,
    STRING,
    Bound,
    Codec,
    attribute,
    child,
    children,
    content,
    element,
    flag,
    flag_attribute,
    keyword,
    raw,
    text,
    texts,
)
from postscan.contracts.codecs import vendor_keyword
from postscan.contracts.keywords import JobState, RepositoryStateReason
from postscan.core.errors import InvalidArgument
from postscan.soap.names import DSP, PSP, qname
from postscan.soap.xml import parse, serialize

NOWHERE = etree.Element("nowhere")


@element(PSP, "Leaf")
class Leaf(Bound):
    number: int = content(INTEGER)
    strict: bool = flag_attribute("strict", default=False)


@element(PSP, "Sample", keeps_source=True)
class Sample(Bound):
    name: str = text("Name")
    count: int = text("Count", INTEGER, default=7)
    words: tuple[str, ...] = texts("Word", default=())
    wrapped: tuple[str, ...] = texts("Item", wrapper="Items", default=())
    leaf: Leaf | None = child("Leaf", Leaf, default=None)
    leaves: tuple[Leaf, ...] = children("Leaf", Leaf, wrapper="Leaves", each="Branch", default=())
    on: bool = flag("On", default=False)
    open_items: bool = flag_attribute(qname(PSP, "open"), on="Items", default=False)
    kind: str | None = attribute("kind", QNAME, default=None)
    rest: etree._Element | None = raw("Rest", default=None)


def sample(inner: str, attributes: str = "") -> etree._Element:
    return parse(f'<p:Sample xmlns:p="{PSP}" xmlns:d="{DSP}" {attributes}>{inner}</p:Sample>'.encode())


def test_values_come_back_as_they_were() -> None:
    made = Sample(
        name="n",
        count=0,
        words=("a", "b"),
        wrapped=("c",),
        leaf=Leaf(number=-1, strict=True),
        leaves=(Leaf(number=1), Leaf(number=2)),
        on=True,
        open_items=True,
        kind=qname(DSP, "JobStatus"),
    )
    written = made.to_element()

    assert Sample.from_element(parse(serialize(written))) == made
    assert [etree.QName(node).localname for node in written] == [
        "Name",
        "Count",
        "Word",
        "Word",
        "Items",
        "Leaf",
        "Leaves",
        "On",
    ]


def test_what_is_optional_and_empty_is_not_written() -> None:
    assert [etree.QName(n).localname for n in Sample(name="n").to_element()] == ["Name", "Count"]


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Sample.from_element(sample("<p:Count>1</p:Count>"))
    assert caught.value.detail == "psp:Name"


@pytest.mark.parametrize(
    ("inner", "attributes", "detail"),
    [
        ("<p:Name/><p:Count>many</p:Count>", "", "psp:Count"),
        ("<p:Name/><p:Count>1_000</p:Count>", "", "psp:Count"),
        ("<p:Name/><p:Count>\u0663</p:Count>", "", "psp:Count"),
        (f"<p:Name/><p:Count>{'9' * 5_000}</p:Count>", "", "psp:Count"),
        ("<p:Name/><p:On>yes</p:On>", "", "psp:On"),
        ("<p:Name/><p:Leaf/>", "", "psp:Leaf"),
        ("<p:Name/><p:Leaf strict='si'>1</p:Leaf>", "", "psp:strict"),
        ("<p:Name/>", 'kind="nobody:x"', "psp:kind"),
    ],
)
def test_a_malformed_value_is_named(inner: str, attributes: str, detail: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Sample.from_element(sample(inner, attributes))
    assert caught.value.detail == detail


def test_white_space_of_xml_round_a_value_is_not_part_of_it() -> None:
    read = Sample.from_element(sample("<p:Name>\r\n\t a b \u00a0 </p:Name><p:Count> 3 </p:Count>"))
    assert read.name == "a b \u00a0"
    assert read.count == 3


def test_raw_elements_keep_prefixes_that_only_their_values_use() -> None:
    read = Sample.from_element(sample("<p:Name>n</p:Name><p:Rest>d:JobStatus</p:Rest>"))

    written = Sample(name="n", rest=read.rest).to_element()

    again = parse(serialize(written)).find(qname(PSP, "Rest"))
    assert again is not None
    assert again.nsmap["d"] == DSP
    assert read.rest is not None
    assert read.rest.getparent() is not None


def test_a_value_that_was_read_is_written_as_it_was() -> None:
    read = Sample.from_element(sample("<p:Name>n</p:Name><d:Extra>d:x</d:Extra>", 'd:more="1"'))

    root = etree.Element("root")
    written = read.to_element(root, qname(DSP, "Other"))

    assert written.getparent() is root
    assert written.tag == qname(DSP, "Other")
    assert written.get(qname(DSP, "more")) == "1"
    assert written.findtext(qname(DSP, "Extra")) == "d:x"
    assert read.source is not None
    assert len(read.source) == 2


def test_a_value_made_here_has_no_source() -> None:
    assert Sample(name="n").source is None


# Times --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2009-04-28T18:37:19.519", datetime(2009, 4, 28, 18, 37, 19, 519000, tzinfo=UTC)),
        ("2009-04-28T18:37:19Z", datetime(2009, 4, 28, 18, 37, 19, tzinfo=UTC)),
        ("2009-04-28T18:37:19.5190001Z", datetime(2009, 4, 28, 18, 37, 19, 519000, tzinfo=UTC)),
        ("2009-04-28T20:37:19+02:00", datetime(2009, 4, 28, 18, 37, 19, tzinfo=UTC)),
        ("2009-04-28T24:00:00Z", datetime(2009, 4, 29, tzinfo=UTC)),
        ("2009-12-31T24:00:00.000-01:00", datetime(2010, 1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read_with_any_zone_and_with_none(written: str, moment: datetime) -> None:
    assert DATE_TIME.read(written, NOWHERE) == moment
    assert DATE_TIME.read(written, NOWHERE).tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        "",
        "soon",
        "2009-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T24:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "-0044-03-15T00:00:00Z",
        "12009-04-28T18:37:19Z",
    ],
)
def test_times_beyond_reckoning_are_refused(written: str) -> None:
    with pytest.raises(ValueError):
        DATE_TIME.read(written, NOWHERE)


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.integers(-2_208_988_800_000, 253_000_000_000_000), st.integers(-14 * 60, 14 * 60))
def test_times_come_back_to_the_millisecond(milliseconds: int, offset: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    there = moment.astimezone(timezone(timedelta(minutes=offset)))
    assert DATE_TIME.read(DATE_TIME.write(there, NOWHERE), NOWHERE) == moment


# Other values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("written", "value"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_truth_values_have_two_spellings(written: str, value: bool) -> None:
    assert BOOLEAN.read(written, NOWHERE) is value


@pytest.mark.parametrize("written", ["", "TRUE", "yes", "2"])
def test_other_truth_values_are_refused(written: str) -> None:
    with pytest.raises(ValueError):
        BOOLEAN.read(written, NOWHERE)


def test_a_keyword_is_a_member_and_a_vendors_word_stays_a_word() -> None:
    codec = keyword(JobState, {"Cancelled": "Canceled"})
    assert codec.read("Pending-Held", NOWHERE) is JobState.PENDING_HELD
    assert codec.read("Cancelled", NOWHERE) is JobState.CANCELED
    assert codec.read("acme:Jammed", NOWHERE) == "acme:Jammed"
    assert codec.write(JobState.PENDING_HELD, NOWHERE) == "Pending-Held"


@pytest.mark.parametrize("codec", [QNAME, NAME])
def test_a_name_without_prefix_lies_in_the_default_namespace(codec: Codec) -> None:
    assert codec.read("a", etree.Element("x", nsmap={None: "urn:d"})) == "{urn:d}a"
    assert codec.read("a", NOWHERE) == "a"


def test_only_a_lenient_name_may_have_a_prefix_that_is_not_declared() -> None:
    assert NAME.read("nobody:a", NOWHERE) == "nobody:a"
    with pytest.raises(ValueError):
        QNAME.read("nobody:a", NOWHERE)


@pytest.mark.parametrize(
    "text",
    ["", "{urn:a}b", "ve`ndor:a", "ds/c:a", "a:b:c", "a b", ":a", "a:", "1:a", "a:1", "\u00b2:a", "a}b"],
)
@pytest.mark.parametrize("codec", [QNAME, NAME])
def test_what_is_no_qualified_name_is_refused_and_passes_for_none(codec: Codec, text: str) -> None:
    """Fuzzing found prefixes that could be read and not written again."""
    with pytest.raises(ValueError):
        codec.read(text, NOWHERE)


def test_a_vendors_word_that_is_no_name_stays_a_word_and_passes_for_none() -> None:
    codec = vendor_keyword(RepositoryStateReason)
    named = etree.Element("x", nsmap={"v": "urn:vendor"})
    assert codec.read("v:Jammed", named) == "{urn:vendor}Jammed"
    for word in ("v:1", "a:b:c", "nobody:Jammed"):
        assert codec.read(word, named) == word
    assert codec.read("{urn:vendor}Jammed", named) != "{urn:vendor}Jammed"


def test_the_prefix_xml_needs_no_declaration() -> None:
    name = "{http://www.w3.org/XML/1998/namespace}lang"
    assert QNAME.read("xml:lang", NOWHERE) == name
    assert QNAME.write(name, NOWHERE) == "xml:lang"
    assert QNAME.declare(name) == {}


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.text())
def test_every_string_can_be_written(value: str) -> None:
    node = etree.Element("x")
    node.text = STRING.write(value, node)
    assert parse(serialize(node)).tag == "x"
