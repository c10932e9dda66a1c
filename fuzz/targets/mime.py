"""Content types and the headers of parts."""

from __future__ import annotations

import contextlib

from fuzz.mutation import mutate_lines
from fuzz.target import Target, must
from postscan.soap.mime import MimeError, is_boundary, parse_content_type, parse_part_headers
from postscan.soap.mtom_writer import MtomWriter


def run(data: bytes) -> None:
    """Read the octets as the headers of a part, and as a content type."""
    with contextlib.suppress(MimeError):
        headers = parse_part_headers(data)
        for value in (headers.content_id, headers.content_type, *headers.raw.values()):
            must(not set("\r\n\0") & set(value), f"a line end in {value!r}")
    content_type = parse_content_type(data.decode("latin-1").partition(":")[2])
    must("/" in content_type.type, f"the type {content_type.type!r}")
    must(content_type.type == content_type.type.lower(), f"the type {content_type.type!r}")
    boundary = content_type.parameters.get("boundary")
    must(boundary is None or is_boundary(boundary), f"the boundary {boundary!r}")


def seeds() -> list[bytes]:
    """Return content types of several peers, and headers of parts."""
    values = (
        MtomWriter(boundary="b").content_type,
        "multipart/related; boundary=uuid:1+id=2; start=<a@b>; charset=utf-8;",
        'application/xop+xml; type="application/soap+xml"\r\n   charset=UTF-8',
        'application/soap+xml; action="urn:a\\"b"',
    )
    headers = b"Content-ID:<a@b >\r\ncontent-transfer-encoding: binary\r\nContent-Type: image/jpeg;\r\n"
    return [*(f"Content-Type: {value}".encode() for value in values), headers]


TARGET = Target(
    "mime", run, seeds, mutate_lines, words=(b"boundary=", b"start=", b'"', b"\\", b"Content-ID: ")
)
