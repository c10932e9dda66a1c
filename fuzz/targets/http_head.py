"""Heads of HTTP requests: read so that nobody can read them otherwise, or refused."""

from __future__ import annotations

from typing import Final

from fuzz.mutation import mutate_lines
from fuzz.target import Target, must
from postscan.dpws.http.messages import MAX_HEADERS, HttpRefused, parse_head

_LIMIT: Final = 1_000_000


def run(data: bytes) -> None:
    """Read a head."""
    try:
        head = parse_head(data, max_body_bytes=_LIMIT)
    except HttpRefused as error:
        must(400 <= int(error.status) <= 505, f"refused with {error.status}")
        raise
    must(head.length is None or 0 <= head.length <= _LIMIT, f"a length of {head.length}")
    must(len(head.headers) <= MAX_HEADERS, f"{len(head.headers)} headers")
    must(head.path.startswith(("/", "*")) or "/" not in head.path, f"the path {head.path!r}")
    for name, value in head.headers.items():
        must(name == name.lower(), f"the name {name!r}")
        must(not set("\r\n\0") & set(name + value), f"a line end in {name!r}")
    must(head.length is not None or "content-length" not in head.headers, "both framings")


def seeds() -> list[bytes]:
    """Return heads of several clients."""
    heads = (
        ("POST /ScanServer HTTP/1.1", "Host: scan.example.com:5362", "Content-Type: application/soap+xml"),
        (
            "POST http://scan.example.com/ScanServer?x HTTP/1.1",
            "Host: a",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
        ),
        ("POST / HTTP/1.0", "Content-Length: 17", "Connection: keep-alive"),
        ("GET /ScanServer/1?wsdl HTTP/1.1", "Host: [::1]:5362", "Accept-Encoding: gzip", "Cookie: a=b"),
        (
            "POST /a HTTP/1.1",
            "Host: a",
            "Content-Length: 3",
            "Content-Type: multipart/related;",
            '  boundary="b"',
        ),
    )
    return ["\r\n".join((*head, "", "")).encode() for head in heads]


TARGET = Target(
    "http_head",
    run,
    seeds,
    mutate_lines,
    words=(
        b"Content-Length: ",
        b"Transfer-Encoding: chunked",
        b"\r\n ",
        b"HTTP/1.1",
        b"Upgrade: ",
        b"Host: ",
    ),
)
