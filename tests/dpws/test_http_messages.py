from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.dpws.http.messages import HttpRefused, RequestHead, Response, parse_head

LIMIT = 1_000_000


def head(*lines: str, first: str = "POST /ScanServer HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: scan.example.com", *lines, "", ""]).encode("latin-1")


def parse(*lines: str, first: str = "POST /ScanServer HTTP/1.1") -> RequestHead:
    return parse_head(head(*lines, first=first), max_body_bytes=LIMIT)


def status_of(data: bytes) -> HTTPStatus:
    with pytest.raises(HttpRefused) as refused:
        parse_head(data, max_body_bytes=LIMIT)
    return refused.value.status


def test_a_usual_head_is_read() -> None:
    read = parse("Content-Type: application/soap+xml", "Content-Length: 12")
    assert (read.method, read.path, read.length, read.keep_alive) == ("POST", "/ScanServer", 12, True)
    assert read.headers["content-type"] == "application/soap+xml"


def test_a_chunked_body_has_no_length() -> None:
    assert parse("Transfer-Encoding: Chunked").length is None


def test_a_request_without_framing_has_no_body() -> None:
    assert parse().length == 0


def test_an_absolute_target_is_reduced_to_its_path() -> None:
    assert parse(first="POST https://scan.example.com:5362/ScanServer?x=1 HTTP/1.1").path == "/ScanServer"


def test_http_1_0_is_not_kept_alive() -> None:
    assert not parse_head(b"GET /health HTTP/1.0\r\n\r\n", max_body_bytes=LIMIT).keep_alive


def test_a_folded_content_type_is_unfolded() -> None:
    read = parse("Content-Type: Multipart/Related;", '\tboundary=b;\r\n  type="application/xop+xml"')
    assert read.headers["content-type"] == 'Multipart/Related; boundary=b; type="application/xop+xml"'


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 5",),
        ("Content-Length: +5",),
        ("Content-Length: 0x5",),
        ("Content-Length: -1",),
        ("Content-Length: \xb2",),
        ("Content-Length:",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("X-Folded: a\r\n b",),
        ("Transfer-Encoding:\r\n chunked",),
        ("X-Bare: a\nContent-Length: 5",),
        ("X-Nul: a\0b",),
        ("Host: other.example.com",),
        ("No colon here",),
        ("Content-Length : 5",),
    ],
)
def test_what_two_readers_could_frame_differently_is_refused(lines: tuple[str, ...]) -> None:
    assert status_of(head(*lines)) in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_IMPLEMENTED)


def test_other_transfer_codings_are_not_implemented() -> None:
    assert status_of(head("Transfer-Encoding: gzip, chunked")) in (
        HTTPStatus.NOT_IMPLEMENTED,
        HTTPStatus.BAD_REQUEST,
    )


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "x-unknown"])
def test_a_compressed_request_is_refused(coding: str) -> None:
    assert status_of(head(f"Content-Encoding: {coding}")) is HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def test_three_gibibytes_are_refused_from_the_head() -> None:
    too_much = head(f"Content-Length: {3 * 2**30}")
    assert status_of(too_much) is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_a_head_without_host_is_refused() -> None:
    assert status_of(b"POST / HTTP/1.1\r\n\r\n") is HTTPStatus.BAD_REQUEST


def test_a_hundred_and_one_headers_are_refused() -> None:
    lines = [f"X-{n}: 1" for n in range(101)]
    assert status_of(head(*lines)) is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


@given(st.binary(max_size=400))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    try:
        parse_head(data + b"\r\n\r\n", max_body_bytes=LIMIT)
    except HttpRefused as refused:
        assert 400 <= refused.status < 600  # noqa: PT017 - both outcomes are fine, nothing else is


def test_an_answer_is_one_block_with_its_length() -> None:
    block = Response(200, b"<x/>").encode(keep_alive=False)
    first, _, body = block.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 4" in first
    assert b"Connection: close" in first
    assert body == b"<x/>"
