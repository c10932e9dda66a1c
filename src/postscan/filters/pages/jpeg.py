"""The markers of a JPEG file (ITU-T T.81, annex B): what it is made of, without decoding it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_SOI: Final = b"\xff\xd8"
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_BASELINE: Final = frozenset({0xC0, 0xC1})
_SCAN: Final = 0xDA
_ADOBE: Final = 0xEE
_TAIL: Final = 4096


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """The frame header of a JPEG.

    ``sequential`` for baseline and extended Huffman coding; ``sampling`` of the first component (horizontal,
    vertical); ``transform`` as an Adobe segment tells it, None without one.
    """

    sequential: bool
    precision: int
    components: tuple[int, ...]
    sampling: tuple[int, int]
    transform: int | None

    @property
    def is_ycc(self) -> bool:
        """Whether three components are luminance and chrominance, not red, green and blue."""
        if self.transform is not None:
            return self.transform == 1
        return self.components != (0x52, 0x47, 0x42)


def read_frame(data: bytes) -> JpegFrame | None:
    """Return the frame header of a JPEG file, None when there is none before the first scan."""
    if not data.startswith(_SOI):
        return None
    offset, transform = 2, None
    try:
        while True:
            while data[offset] != 0xFF:
                offset += 1
            while data[offset] == 0xFF:
                offset += 1
            marker = data[offset]
            offset += 1
            if marker in _STANDALONE:
                continue
            if marker == _SCAN:
                return None
            (length,) = struct.unpack_from(">H", data, offset)
            body = data[offset + 2 : offset + length]
            if marker == _ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
                transform = body[11]
            elif marker in _FRAMES:
                return _frame(marker, body, transform, data[offset + length :])
            offset += length
    except (IndexError, struct.error):
        return None


def _frame(marker: int, body: bytes, transform: int | None, rest: bytes) -> JpegFrame:
    count = body[5]
    parts = [body[6 + 3 * number : 9 + 3 * number] for number in range(count)]
    if transform is None:
        # An Adobe segment may stand behind the frame header, too.
        found = rest[:_TAIL].find(b"\xff\xee\x00\x0eAdobe")
        transform = rest[found + 15] if found >= 0 and len(rest) > found + 15 else None
    return JpegFrame(
        sequential=marker in _BASELINE,
        precision=body[0],
        components=tuple(part[0] for part in parts),
        sampling=(parts[0][1] >> 4, parts[0][1] & 15),
        transform=transform,
    )


def has_end(data: bytes) -> bool:
    """Tell whether the end-of-image marker stands near the end, as it does unless the file was cut short."""
    return b"\xff\xd9" in data[-_TAIL:]


def with_tables(strip: bytes, tables: bytes, *, ycc: bool) -> bytes:
    """Return a JPEG file of a TIFF's strip and the tables in its directory (TIFF Technical Note 2).

    The coded octets stay as they are. ``ycc`` is false for red, green and blue, which is then said by an
    Adobe segment, as readers would take three components for luminance and chrominance.
    """
    head = _SOI
    if not ycc:
        head += b"\xff\xee\x00\x0eAdobe" + struct.pack(">HHHB", 100, 0, 0, 0)
    if tables.startswith(_SOI):
        head += tables[2:].removesuffix(b"\xff\xd9")
    return head + strip.removeprefix(_SOI)
