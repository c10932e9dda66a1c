from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.dpws.http.framing import MAX_CHUNK_LINE, ChunkedFraming, CountedFraming
from postscan.dpws.http.messages import HttpRefused
from postscan.dpws.http.window import SMALL, BufferPool, Window

LIMIT = 10_000_000


def chunked(body: bytes, sizes: list[int]) -> bytes:
    wire = b""
    at = 0
    for size in [*sizes, len(body)]:
        piece = body[at : at + size]
        if not piece:
            break
        wire += b"%x\r\n%s\r\n" % (len(piece), piece)
        at += len(piece)
    return wire + b"0\r\n\r\n"


def run(framing: CountedFraming | ChunkedFraming, wire: bytes, splits: list[int], take: int) -> bytes:
    """Feed ``wire`` in pieces of ``splits`` octets, the reader taking at most ``take`` octets at a time."""
    window = Window(BufferPool())
    body = bytearray()
    at = 0
    sizes = iter([*splits, *([len(wire)] * (len(wire) + 2))])
    while not framing.complete or window.unread:
        room = window.room()
        piece = wire[at : at + min(len(room), max(1, next(sizes)))]
        room[: len(piece)] = piece
        window.received(len(piece))
        at += len(piece)
        framing.advance(window)
        end = min(window.start + take, window.ready)
        body += window.buffer[window.start : end]
        window.consume_to(end)
        if not piece and not window.unread and not framing.complete:
            raise AssertionError("no progress")
    return bytes(body)


bodies = st.binary(max_size=40_000)
sizes = st.lists(st.integers(1, 9_000), max_size=30)


@given(bodies, sizes, sizes, st.integers(500, 20_000))
def test_any_split_of_a_chunked_body_gives_the_same_octets(
    body: bytes, chunks: list[int], splits: list[int], take: int
) -> None:
    assert run(ChunkedFraming(LIMIT), chunked(body, chunks), splits, take) == body


@given(st.binary(min_size=1, max_size=40_000), sizes, st.integers(500, 20_000))
def test_any_split_of_a_counted_body_gives_the_same_octets(body: bytes, splits: list[int], take: int) -> None:
    assert run(CountedFraming(len(body)), body + b"POST next", splits, take) == body


def refused(wire: bytes, limit: int = LIMIT) -> HTTPStatus:
    window = Window(BufferPool())
    room = window.room()
    room[: len(wire)] = wire
    window.received(len(wire))
    with pytest.raises(HttpRefused) as error:
        ChunkedFraming(limit).advance(window)
    return error.value.status


@pytest.mark.parametrize(
    "wire",
    [
        b"-1\r\nx",
        b"+1\r\nx",
        b"0x1\r\nx\r\n",
        b" 1\r\nx\r\n",
        b"1_0\r\nx",
        b"\xd9\xa1\r\nx\r\n",
        b"\r\n",
        b"1\nx\n",
        b"1\r\nxy\r\n",
        b"fffffffffffff\r\n",
        b"1;" + b"a" * (MAX_CHUNK_LINE + 10),
    ],
)
def test_a_malformed_chunk_is_refused(wire: bytes) -> None:
    assert refused(wire) in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def test_chunks_beyond_the_limit_are_refused_when_announced() -> None:
    assert refused(b"ff\r\n", limit=100) is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_an_endless_trailer_is_refused() -> None:
    assert refused(b"0\r\n" + b"X-Trailer: 1\r\n" * 800) is HTTPStatus.BAD_REQUEST


def test_chunk_extensions_and_trailers_are_dropped() -> None:
    wire = b'3;name="value"\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n'
    assert run(ChunkedFraming(LIMIT), wire, [1] * len(wire), 10_000) == b"abc"


@given(st.binary(max_size=300))
def test_any_octets_end_or_wait_or_are_refused(wire: bytes) -> None:
    window = Window(BufferPool())
    window.room()[: len(wire)] = wire
    window.received(len(wire))
    framing = ChunkedFraming(LIMIT)
    try:
        framing.advance(window)
    except HttpRefused:
        return
    assert window.ready <= window.raw <= window.end <= SMALL


def test_a_full_window_keeps_what_was_not_read_when_it_grows_and_shrinks() -> None:
    window = Window(BufferPool())
    window.room()[:] = b"a" * SMALL
    window.received(SMALL)
    window.decode(SMALL)
    assert window.is_full()
    window.grow()
    assert not window.is_full()
    assert bytes(window.buffer[window.start : window.ready]) == b"a" * SMALL
    window.consume_to(window.ready - 10)
    window.shrink()
    assert not window.is_large
    assert bytes(window.buffer[window.start : window.ready]) == b"a" * 10
