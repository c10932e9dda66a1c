from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.soap.mime import ContentType, MimeError, parse_content_type, parse_part_headers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/soap+xml", ContentType("application/soap+xml", {})),
        ("Application/SOAP+xml;", ContentType("application/soap+xml", {})),
        (
            'application/soap+xml; charset=utf-8; action="urn:a b"',
            ContentType("application/soap+xml", {"charset": "utf-8", "action": "urn:a b"}),
        ),
        (
            "application/xop+xml; type=application/soap+xml\r\n            charset=UTF-8",
            ContentType("application/xop+xml", {"type": "application/soap+xml", "charset": "UTF-8"}),
        ),
        (
            'application/xop+xml; type="application/soap+xml"\tcharset=UTF-8',
            ContentType("application/xop+xml", {"type": "application/soap+xml", "charset": "UTF-8"}),
        ),
        ("image/jpeg ;; ;", ContentType("image/jpeg", {})),
        ('a/b; x="1"y=2', ContentType("a/b", {"x": "1", "y": "2"})),
        ('a/b; X = "q\\"uo\\\\te"', ContentType("a/b", {"x": 'q"uo\\te'})),
        ("a/b; boundary==p/K+N:6==", ContentType("a/b", {"boundary": "=p/K+N:6=="})),
        ("a/b; x=1; X=1", ContentType("a/b", {"x": "1"})),
    ],
)
def test_content_types_of_real_peers_are_read(value, expected):
    assert parse_content_type(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "multipart",
        "/related",
        "a/b; boundary",
        "a/b; =x",
        'a/b; x="open',
        'a/b; boundary=""',
        f"a/b; boundary={'x' * 73}",
        'a/b; boundary="ends with blank "',
        "a/b; boundary=ü",
        "a/b; boundary=one; boundary=two",
        "a/b; x=\x00",
        "a/b\r\nX-Injected: y",
        "a/b; " + "x=y;" * 300,
    ],
)
def test_a_content_type_that_could_be_read_in_two_ways_is_refused(value):
    with pytest.raises(MimeError):
        parse_content_type(value)


@given(st.text(max_size=60) | st.text(alphabet='ab/;=" \\\r\n\t', max_size=60))
def test_any_text_is_a_content_type_or_refused(value):
    try:
        found = parse_content_type(value)
    except MimeError:
        return
    assert found.type == found.type.lower()
    assert all(name == name.lower() for name in found.parameters)


def test_part_headers_are_unfolded_and_their_names_lowered():
    found = parse_part_headers(
        b"Content-Type: application/xop+xml; type=application/soap+xml\r\n"
        b"     charset=UTF-8\r\nCONTENT-ID:< a@b >\nContent-Transfer-Encoding : binary\r\n"
    )
    assert found.content_id == "a@b"
    assert found.content_type == "application/xop+xml"
    assert found.raw["content-type"].endswith("charset=UTF-8")
    assert found.raw["content-transfer-encoding"] == "binary"


def test_a_content_id_may_hold_an_address_and_lack_angle_brackets():
    assert parse_part_headers(b"Content-ID: http://tempuri.org/1/63562\r\n").content_id == (
        "http://tempuri.org/1/63562"
    )


def test_no_headers_are_no_error():
    found = parse_part_headers(b"")
    assert (found.content_id, found.content_type, found.raw) == ("", "", {})


@pytest.mark.parametrize(
    "block",
    [
        b"no colon\r\n",
        b": no name\r\n",
        b"  starts with a fold: x\r\n",
        b"Bad Name: x\r\n",
        b"Content-ID: <a>\rContent-ID: <b>\r\n",
        b"Content-ID: <a>\r\nContent-ID: <b>\r\n",
        b"Content-Type: text/html\r\ncontent-type: image/png\r\n",
        b"X: \x00\r\n",
        b"X: " + b"y" * 8_192,
    ],
)
def test_part_headers_that_could_be_read_in_two_ways_are_refused(block):
    with pytest.raises(MimeError):
        parse_part_headers(block)


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([b"A:", b"\r\n", b" ", b"x", b"\xff"])).map(b"".join)
)
def test_any_octets_are_part_headers_or_refused(block):
    try:
        found = parse_part_headers(block)
    except MimeError:
        return
    assert all(name == name.lower() for name in found.raw)
