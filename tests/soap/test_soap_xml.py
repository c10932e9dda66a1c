from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from postscan.core.errors import FaultParty
from postscan.soap import xml
from postscan.soap.xml import (
    PROCESS_LIMITS,
    XmlLimits,
    XmlRefused,
    detached_copy,
    element_text,
    parse,
    serialize,
    xml_text,
)

LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 if n else str()};" * 10}">' for n in range(9))
    + "]><a>&a8;</a>"
)


def test_an_entity_that_names_a_file_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("TOP SECRET")
    with pytest.raises(XmlRefused):
        parse(f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret.as_uri()}">]><a>&e;</a>'.encode())


def test_the_parser_by_itself_would_not_read_the_file_either(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("TOP SECRET")
    document = f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret.as_uri()}">]><a>&e;</a>'.encode()
    root = etree.fromstring(document, xml._parser())
    assert "SECRET" not in "".join(root.itertext())
    assert b"SECRET" not in etree.tostring(root)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"]
)
@pytest.mark.parametrize("declare", [True, False])
def test_a_document_type_declaration_is_refused_in_every_encoding(encoding, declare):
    prolog = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>' if declare else ""
    with pytest.raises(XmlRefused):
        parse((prolog + LAUGHS).encode(encoding))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<a>",
        b"no markup",
        b"<a>&undefined;</a>",
        b"<a b='1' b='2'/>",
        b"<a>\xff</a>",
        b"<a>\xc0\xbc</a>",
        b"<a>\xed\xa0\x80</a>",
        b"<a>\x00</a>",
        b"<p:a/>",
        b'<?xml version="1.0" encoding="iso-8859-1"?><a>\xe4</a>',
        b'<?xml version="1.0" encoding="utf-7"?><a>+ADw-b/+AD4-</a>',
        b'<?xml version="1.0" encoding="utf-16"?><a/>',
        '<?xml version="1.0" encoding="utf-8"?><a/>'.encode("utf-16"),
        "<a/>".encode("utf-16-le"),
        "<a/>".encode("utf-32"),
        b"\xff\xfe<\x00a\x00/\x00>",
        b"\xff\xfe\x00\xd8",
    ],
)
def test_what_is_not_well_formed_utf_8_or_utf_16_is_refused(document):
    with pytest.raises(XmlRefused):
        parse(document)


@pytest.mark.parametrize("declared", ["utf-8", "UTF-8", "us-ascii", None])
def test_utf_8_is_read_with_and_without_mark_and_declaration(declared):
    prolog = f"<?xml version='1.0' encoding = '{declared}' ?>\n" if declared else ""
    assert parse((prolog + "<a>ä€</a>").encode()).text == "ä€"
    assert parse((prolog + "<a>ä€</a>").encode("utf-8-sig")).text == "ä€"


@pytest.mark.parametrize("declared", ["utf-16", "UTF-16", None])
def test_utf_16_is_read_with_its_mark(declared):
    prolog = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    text = "\ufeff" + prolog + "<a>ä€\U0001f5a8</a>"
    assert parse(text.encode("utf-16-le")).text == "ä€\U0001f5a8"
    assert parse(text.encode("utf-16-be")).text == "ä€\U0001f5a8"


def test_line_ends_before_the_declaration_are_read_over():
    assert parse(b'\r\n<?xml version="1.0" encoding="utf-8"?>\r\n<a/>').tag == "a"


def test_equals_signs_in_text_are_no_attributes():
    assert parse(b"<a>" + b"=" * 5_000 + b"</a>").text == "=" * 5_000


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_octets_is_read(kind):
    assert parse(kind(b"<a/>")).tag == "a"


def test_comments_and_processing_instructions_are_dropped():
    root = parse(b"<?x y?><a>b<!-- c -->d<?e f?><g/></a><!-- h -->")
    assert root.text == "bd"
    assert serialize(root).endswith(b"?><a>bd<g/></a>")


@pytest.mark.parametrize(
    "document",
    [
        b"<a>" * 65 + b"</a>" * 65,
        b"<a>" * 5_000 + b"</a>" * 5_000,
        b"<a " + b" ".join(b'b%d=""' % n for n in range(257)) + b"/>",
        b"<a><c " + b" ".join(b'b%d=""' % n for n in range(20_000)) + b"/></a>",
        b"<a " + b" ".join(b'xmlns:b%d="c"' % n for n in range(1_025)) + b"/>",
        b"<a>" + b"<b/>" * 20_000 + b"</a>",
        b"<a>" + b"x" * 10_000_000 + b"</a>",
    ],
    ids=["depth", "much depth", "attributes", "many attributes", "namespaces", "elements", "text"],
)
def test_a_document_beyond_a_limit_is_refused(document):
    with pytest.raises(XmlRefused) as refusal:
        parse(document)
    assert refusal.value.fault.party is FaultParty.SENDER
    assert refusal.value.detail is None


@pytest.mark.parametrize(
    "document",
    [
        b"<a>" * 64 + b"</a>" * 64,
        b"<a " + b" ".join(b'b%d=""' % n for n in range(256)) + b"/>",
        b"<a>" + b"<b></b>" * 19_999 + b"</a>",
        b"<a>" + b"x" * (262_144 - 7) + b"</a>",
    ],
    ids=["depth", "attributes", "elements", "text"],
)
def test_a_document_just_within_a_limit_is_read(document):
    assert parse(document).tag == "a"


def test_a_scan_process_is_bounded_in_characters_not_octets():
    within = "<a>" + "€" * (524_288 - 7) + "</a>"
    assert len(parse(within.encode(), PROCESS_LIMITS).text) == 524_288 - 7
    with pytest.raises(XmlRefused, match="characters"):
        parse(within.replace("€", "€€", 1).encode(), PROCESS_LIMITS)


def test_limits_of_the_caller_hold():
    with pytest.raises(XmlRefused, match="3 are allowed"):
        parse(b"<a/>", XmlLimits(max_bytes=3))


@given(st.binary(max_size=200) | st.text(alphabet="<>/a?!-&;'\"= []", max_size=80).map(str.encode))
def test_any_octets_are_a_document_or_refused(document):
    try:
        root = parse(document)
    except XmlRefused:
        return
    assert parse(serialize(root)).tag == root.tag


def test_what_is_written_has_the_prolog_and_stays_on_one_line():
    root = parse(b"<r>\n <a>x\xc3\xa4</a>tail</r>")
    assert serialize(root[0]) == b'<?xml version="1.0" encoding="utf-8"?><a>x\xc3\xa4</a>'


def test_text_is_read_without_the_white_space_around_it():
    assert element_text(parse(b"<a>\r\n\t urn:x \n</a>")) == "urn:x"
    assert element_text(parse(b"<a/>")) == ""
    assert element_text(parse("<a>\u00a0</a>".encode())) == "\u00a0"


@given(st.text())
def test_any_text_can_be_put_into_xml_after_cleaning(text):
    element = etree.Element("a")
    element.text = xml_text(text)
    assert parse(serialize(element)).tag == "a"


def test_a_copy_keeps_the_prefixes_its_values_mention():
    root = parse(
        b'<r xmlns:wsdp="urn:w" xmlns:unused="urn:u" xmlns:s="urn:s"><t a="1">wsdp:Device<b/>x</t>tail</r>'
    )
    twin = detached_copy(root[0])
    # Only what is mentioned: "xmlns" ends in a prefix too.
    assert etree.tostring(twin) == b'<t xmlns:wsdp="urn:w" a="1">wsdp:Device<b/>x</t>'
    assert root[0].tail == "tail"
    assert len(root[0]) == 1


def test_what_is_not_well_formed_is_told_with_its_place_and_nothing_of_the_parser() -> None:
    with pytest.raises(XmlRefused, match=r"^not well-formed: .*, line 2, column 8$"):
        parse(b"<a>\n<b></a>")
