"""A small page to try processing filters with, drawn dot by dot, so that nothing is needed to make it."""

from __future__ import annotations

import hashlib
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from postscan.contracts.keywords import DocumentFormat
from postscan.filters.contract import SpooledDocument

PROBE_WORD: Final = "HELLO"
"""What stands on the page, five times as high as print: every Latin alphabet reads it."""

_LETTERS: Final = {
    "H": ("#...#", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "E": ("#####", "#....", "#....", "####.", "#....", "#....", "#####"),
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "O": (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
}
_DOT: Final = 8
_MARGIN: Final = 120
_DOTS_PER_METRE: Final = 7874  # 200 dpi


@contextmanager
def probe_page() -> Iterator[tuple[Path, SpooledDocument]]:
    """Yield a temporary folder and a document in it: one page as PNG, at 200 dpi."""
    with tempfile.TemporaryDirectory(prefix="postscan-probe-") as folder:
        path = Path(folder) / "page"
        content = _png()
        path.write_bytes(content)
        yield (
            Path(folder),
            SpooledDocument(
                document_id=1,
                number=1,
                format=DocumentFormat.PNG,
                path=path,
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                sources=(1,),
            ),
        )


def _png() -> bytes:
    columns = ["".join(_LETTERS[letter][row] + ".." for letter in PROBE_WORD) for row in range(7)]
    width = len(columns[0]) * _DOT + 2 * _MARGIN
    blank = bytes([0]) + bytes([255]) * width
    rows = [blank] * _MARGIN
    for column in columns:
        dots = b"".join(bytes([0 if dot == "#" else 255]) * _DOT for dot in column)
        rows += [bytes([0]) + bytes([255]) * _MARGIN + dots + bytes([255]) * _MARGIN] * _DOT
    rows += [blank] * _MARGIN
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), 8, 0, 0, 0, 0))
        + _chunk(b"pHYs", struct.pack(">IIB", _DOTS_PER_METRE, _DOTS_PER_METRE, 1))
        + _chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
