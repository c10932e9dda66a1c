from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postscan.soap.mime import ContentType, parse_content_type
from postscan.soap.mtom import MtomError, MtomLimits, MtomParser
from postscan.soap.mtom_writer import MtomWriter, new_content_id

CONTENT_TYPE = 'multipart/related; type="application/xop+xml"; boundary=B; start="<root@x>"'
ROOT_HEAD = b"--B\r\nContent-Type: application/xop+xml\r\nContent-ID: <root@x>\r\n\r\n"
IMAGE_HEAD = b"\r\n--B\r\nContent-Type: image/jpeg\r\nContent-ID: <image@x>\r\n\r\n"
TAIL = b"\r\n--B--\r\n"

LOOKALIKES = [
    b"\r\n--B", b"\n--B", b"--B--", b"--B", b"\r\n--Bx", b"\r\n--B-", b"\n--B--x", b"\r\n--B \t.",
    b"\r\n--", b"\r\n", b"\n", b"\r", b"-", b"B", b" ", b"\r\r\n", b"Content-ID: <a>\r\n\r\n",
]  # fmt: skip
lookalike_data = st.lists(st.sampled_from(LOOKALIKES) | st.binary(max_size=12), max_size=14).map(b"".join)
A_REAL_DELIMITER = re.compile(rb"(?:\A|\n)--B(?:--)?[ \t]*\r?\n")
payloads = lookalike_data.filter(lambda data: A_REAL_DELIMITER.search(data + b"\r\n") is None)


def framed(payload: bytes, root: bytes = b"<e/>") -> bytes:
    return ROOT_HEAD + root + IMAGE_HEAD + payload + TAIL


def split(message: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
    return [message[a:b] for a, b in itertools.pairwise(edges)]


@given(payload=payloads, root=payloads, cuts=st.lists(st.integers(0, 10_000), max_size=30))
def test_any_split_of_a_message_gives_the_same_octets(reader, payload, root, cuts):
    message = reader(CONTENT_TYPE).read(split(framed(payload, root), cuts))
    assert message.root == root
    assert message.parts == [("image@x", "image/jpeg", payload)]


@pytest.mark.parametrize(
    "payload",
    [
        b"x" * 40 + b"--B\r\n" + b"y" * 40,
        b"x" * 40 + b"\r\n--B" + b"y" * 40,
        b"x" * 40 + b"--B--\r\n" + b"y" * 40 + b"--B--",
        b"x" * 40 + b"\r\r\n\n" + b"y" * 40 + b"\r",
    ],
)
def test_a_lookalike_is_data_wherever_the_message_is_cut(reader, payload):
    message = framed(payload)
    for first in range(len(message)):
        for second in (first, first + 1, first + 13, first + 40):
            read = reader(CONTENT_TYPE).read(split(message, [first, min(second, len(message))]))
            assert read.parts == [("image@x", "image/jpeg", payload)]


@given(payload=payloads)
def test_a_message_fed_octet_by_octet_is_read(reader, payload):
    message = reader(CONTENT_TYPE).read(bytes([octet]) for octet in framed(payload))
    assert message.parts == [("image@x", "image/jpeg", payload)]


pieces = st.sampled_from(
    [
        *LOOKALIKES,
        b"--B\r\n",
        b"\r\n--B\r\n",
        b"\n--B\n",
        TAIL,
        ROOT_HEAD,
        IMAGE_HEAD,
        b"\n\n",
        b"content-",
        b"x:y\r\n",
    ]
)


def outcome(reader, chunks: Iterable[bytes]) -> object:
    try:
        return reader(CONTENT_TYPE).read(chunks)
    except MtomError:
        return "refused"


@settings(max_examples=300)
@given(
    message=st.lists(pieces | st.binary(max_size=20), max_size=14).map(b"".join),
    cuts=st.lists(st.integers(0, 10_000), max_size=20),
)
def test_any_octets_are_read_or_refused_alike_however_they_are_split(reader, message, cuts):
    whole = outcome(reader, [message])
    assert outcome(reader, split(message, cuts)) == whole


@given(start=st.sampled_from([ROOT_HEAD, IMAGE_HEAD, b""]), message=st.binary(max_size=400))
def test_any_octets_end_in_a_message_or_a_refusal(reader, start, message):
    assert outcome(reader, [start + message]) is not None


@given(position=st.integers(0, 10_000))
def test_a_torn_message_is_refused_wherever_it_is_torn(reader, position):
    message = framed(b"some image octets")
    torn = message[: position % (len(message) - len(b"\r\n"))]
    with pytest.raises(MtomError):
        reader(CONTENT_TYPE).read([torn])


@given(payload=st.binary(max_size=3_000), cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_what_the_writer_writes_the_parser_reads(reader, payload, cuts):
    writer, content_id = MtomWriter(), new_content_id()
    message = writer.head(b"<e>\r\n--B</e>", content_id, "image/tiff") + payload + writer.tail()
    read = reader(writer.content_type).read(split(message, cuts))
    assert read.root == b"<e>\r\n--B</e>"
    assert read.parts == [(content_id, "image/tiff", payload)]


def test_the_window_that_must_be_kept_stays_small_in_a_large_part(reader):
    feeder = reader(CONTENT_TYPE)
    feeder.feed(ROOT_HEAD + b"<e/>" + IMAGE_HEAD)
    for _ in range(40):
        feeder.feed(b"\r\n--B\r" * 1_000)
    assert feeder.most_kept < 300


def test_all_but_the_last_few_octets_of_a_window_are_handed_out_at_once():
    parser = MtomParser(parse_content_type(CONTENT_TYPE))
    window = bytearray(ROOT_HEAD + b"<e/>" + IMAGE_HEAD + bytes(100_000))
    position = 0
    for _ in range(2):
        _, position = parser.next_event(window, position, len(window))
    event, position = parser.next_event(window, position, len(window))
    assert event.end - event.start > 100_000 - 64
    assert event.end == position


def test_the_root_is_told_before_any_octet_of_the_image_has_come(reader):
    feeder = reader(CONTENT_TYPE)
    feeder.feed(ROOT_HEAD + b"<e/>\r\n--B\r\n")
    assert feeder.message.root == b"<e/>"


def test_many_lookalikes_in_one_window_do_not_hide_the_delimiter(reader):
    payload = b"\n--Bx" * 500
    assert reader(CONTENT_TYPE).read([framed(payload)]).parts[0][2] == payload


def test_a_line_of_the_boundary_with_too_many_blanks_is_data(reader):
    payload = b"\r\n--B" + b" " * 1_000 + b"\r\n"
    assert reader(CONTENT_TYPE).read([framed(payload)]).parts[0][2] == payload


@pytest.mark.parametrize(
    "content_type",
    [
        ContentType("multipart/related", {}),
        ContentType("multipart/related", {"boundary": ""}),
        ContentType("multipart/related", {"boundary": "ü"}),
        ContentType("application/soap+xml", {"boundary": "B"}),
        ContentType("multipart/form-data", {"boundary": "B"}),
    ],
)
def test_a_content_type_that_frames_nothing_is_refused(content_type):
    with pytest.raises(MtomError):
        MtomParser(content_type)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"--B\r\n" + b"X-Flood: y\r\n" * 1_000 + b"\r\n", "octets of part headers"),
        (b"--B\r\nX-Flood: " + b"y" * 9_000, "octets of part headers"),
        (ROOT_HEAD + b"x" * 262_145 + TAIL, "octets"),
        (framed(b"", b"<e/>") [:-len(TAIL)] + b"\r\n--B\r\n\r\n" * 16 + TAIL, "more than 16 parts"),
        (b"x" * 8_193 + b"\r\n" + framed(b""), "before the first part"),
        (IMAGE_HEAD + b"x" + TAIL, "no root part"),
        (b"--B--\r\n", "no root part"),
        (b"", "ends before"),
        (ROOT_HEAD + b"<e/>", "ends before"),
        (ROOT_HEAD + b"<e/>\r\nand then data without any boundary", "ends before"),
        (framed(b"x")[: -len(b"--\r\n")], "ends before"),
        (ROOT_HEAD + b"<e/>\r\n--B\r\nContent-ID: <a>", "within part headers"),
        (ROOT_HEAD + b"<e/>\r\n--B\r\nnot a header\r\n\r\nx" + TAIL, "malformed part header"),
        (ROOT_HEAD + b"<e/>\r\n--B\r\nContent-ID: <a\x00b>\r\n\r\nx" + TAIL, "malformed part header"),
        (ROOT_HEAD + b"<e/>" + IMAGE_HEAD + b"1" + IMAGE_HEAD + b"2" + TAIL, "one Content-ID"),
        (ROOT_HEAD + b"<e/>\r\n--B\r\nContent-Transfer-Encoding: base64\r\n\r\neA==" + TAIL, "only binary"),
    ],
)  # fmt: skip
def test_a_message_that_breaks_a_rule_or_a_limit_is_refused(reader, message, why):
    with pytest.raises(MtomError, match=why) as refusal:
        reader(CONTENT_TYPE).read([message])
    assert refusal.value.http_status == 400


def test_a_refusal_comes_as_soon_as_the_limit_is_passed_not_at_the_end(reader):
    feeder = reader(CONTENT_TYPE, MtomLimits(max_root_bytes=1_000))
    feeder.feed(ROOT_HEAD)
    with pytest.raises(MtomError, match="root part"):
        feeder.feed(b"x" * 2_000)


def test_parts_and_roots_up_to_the_limits_are_read(reader):
    limits = MtomLimits(max_root_bytes=10, max_parts=3, max_preamble_bytes=10)
    message = b"x" * 8 + b"\r\n" + ROOT_HEAD + b"r" * 10 + IMAGE_HEAD + b"a\r\n--B\r\n\r\nb" + TAIL
    read = reader(CONTENT_TYPE, limits).read([message])
    assert read.root == b"r" * 10
    assert [part[2] for part in read.parts] == [b"a", b"b"]
