"""The markers of JPEG files, and the JPEG files made of a TIFF's strip and tables."""

from __future__ import annotations

import struct
from typing import Final

from fuzz.mutation import mutate_octets
from fuzz.target import Target, must
from postscan.filters.pages.jpeg import has_end, read_frame, with_tables

_FRAME: Final = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 16, 16, 3) + bytes.fromhex("012200021101031101")
_ADOBE: Final = b"\xff\xee\x00\x0eAdobe" + struct.pack(">HHHB", 100, 0, 0, 1)
_SCAN: Final = b"\xff\xda" + struct.pack(">HB", 12, 3) + bytes(9) + b"coded" + b"\xff\xd9"


def run(data: bytes) -> None:
    """Read what may be a JPEG file, and one made of it."""
    tables, _, strip = data.partition(b"\0\0\0\0")
    for ycc in (True, False):
        made = with_tables(strip, tables, ycc=ycc)
        must(made.startswith(b"\xff\xd8"), "no JPEG file")
        must(made.endswith(strip.removeprefix(b"\xff\xd8")), "the coded octets have changed")
        read_frame(made)
    frame = read_frame(data)
    if frame is not None:
        must(0 < len(frame.components) < 256, f"{len(frame.components)} components")
        must(max(frame.sampling) < 16, f"sampling {frame.sampling}")
    has_end(data)


def seeds() -> list[bytes]:
    """Return files with and without tables and segments of applications."""
    return [
        b"\xff\xd8" + _ADOBE + _FRAME + _SCAN,
        b"\xff\xd8" + _FRAME + _ADOBE + _SCAN,
        b"\xff\xd8\xff\xdb\x00\x04\x00\x01\xff\xd9\0\0\0\0\xff\xd8" + _FRAME + _SCAN,
    ]


TARGET = Target(
    "jpeg-markers",
    run,
    seeds,
    mutate_octets,
    words=(b"\xff\xd8", b"\xff\xc0", b"\xff\xda", b"\xff\xee", b"Adobe", b"\0\0\0\0", b"\xff\xff"),
)
