from __future__ import annotations

import pytest

from postscan.soap.mime import MimeError, parse_content_type
from postscan.soap.mtom_writer import MtomWriter, new_content_id


def test_the_frame_is_the_one_every_peer_reads():
    writer = MtomWriter(boundary="b-1")
    message = writer.head(b"<e/>", "i@dsm", "image/jpeg") + b"IMAGE" + writer.tail()
    assert message == (
        b"--b-1\r\n"
        b'Content-Type: application/xop+xml; charset=utf-8; type="application/soap+xml"\r\n'
        b"Content-Transfer-Encoding: binary\r\n"
        b"Content-ID: <soap@dsm>\r\n\r\n"
        b"<e/>\r\n"
        b"--b-1\r\n"
        b"Content-Type: image/jpeg\r\n"
        b"Content-Transfer-Encoding: binary\r\n"
        b"Content-ID: <i@dsm>\r\n\r\n"
        b"IMAGE\r\n"
        b"--b-1--\r\n"
    )


def test_the_content_type_names_all_that_a_strict_peer_wants():
    found = parse_content_type(MtomWriter(boundary="b-1").content_type)
    assert found.type == "multipart/related"
    assert found.parameters == {
        "type": "application/xop+xml",
        "boundary": "b-1",
        "start": "<soap@dsm>",
        "start-info": "application/soap+xml",
    }


def test_fresh_boundaries_are_lower_case_plain_and_differ():
    first, second = MtomWriter().boundary, MtomWriter().boundary
    assert first != second
    assert first == first.lower()
    assert set(first) <= set("0123456789abcdef-")


def test_fresh_content_ids_need_no_percent_coding_and_differ():
    first, second = new_content_id(), new_content_id()
    assert first != second
    assert set(first) <= set("0123456789abcdef-@dsm")


def test_the_length_is_known_before_the_image_is_sent():
    writer = MtomWriter()
    message = writer.head(b"<e/>", "i@dsm", "image/png") + b"x" * 77 + writer.tail()
    assert writer.inline_length(b"<e/>", "i@dsm", "image/png", 77) == len(message)


@pytest.mark.parametrize("boundary", ["", "x" * 73, "a\r\nb", 'a"b', "a b", "ü"])
def test_a_boundary_that_would_break_the_frame_is_refused(boundary):
    with pytest.raises(MimeError):
        MtomWriter(boundary=boundary)


@pytest.mark.parametrize(
    ("content_id", "content_type"),
    [
        ("", "image/png"),
        ("a>b", "image/png"),
        ("a\r\nb", "image/png"),
        ("soap@dsm", "image/png"),
        ("a", "x\r\ny: z"),
    ],
)
def test_headers_that_would_break_the_frame_are_refused(content_id, content_type):
    with pytest.raises(MimeError):
        MtomWriter().head(b"<e/>", content_id, content_type)
