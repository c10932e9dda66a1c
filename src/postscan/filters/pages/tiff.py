"""TIFF files of one page around octets that are coded already (TIFF 6.0, section 2; Technical Note 2)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 273, 274, 277, 278, 279
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, JPEG_TABLES, SUBSAMPLING, REFERENCE = (
    282,
    283,
    296,
    347,
    530,
    532,
)
GROUP_4, JPEG = 4, 7
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6

_SHORT, _LONG, _RATIONAL = 3, 4, 5
_LONGS: Final = frozenset({WIDTH, LENGTH, STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_COUNTS})
_RATIONALS: Final = frozenset({X_RESOLUTION, Y_RESOLUTION, REFERENCE})
_INCH: Final = 2
_LARGEST_DENOMINATOR: Final = 1000


def one_page(strip: bytes, fields: Mapping[int, tuple[float, ...]], dpi: tuple[float, float] | None) -> bytes:
    """Return a TIFF file of one page, all of it in one strip.

    :param fields: values by tag; place and size of the strip and the resolution are added.
    :param dpi: dots per inch, across and down; None where nobody knows.
    """
    known = dict(fields)
    if dpi is not None:
        known |= {X_RESOLUTION: (dpi[0],), Y_RESOLUTION: (dpi[1],), RESOLUTION_UNIT: (_INCH,)}
    known |= {ROWS_PER_STRIP: known[LENGTH], STRIP_COUNTS: (len(strip),), STRIP_OFFSETS: (8,)}
    directory = 8 + len(strip) + len(strip) % 2
    beside = directory + 2 + 12 * len(known) + 4
    table, values = b"", b""
    for tag, given in sorted(known.items()):
        kind, packed = _packed(tag, given)
        if len(packed) > 4:
            slot = struct.pack("<I", beside + len(values))
            values += packed
        else:
            slot = packed.ljust(4, b"\0")
        table += struct.pack("<HHI", tag, kind, len(given)) + slot
    return b"".join(
        (
            b"II*\0",
            struct.pack("<I", directory),
            strip,
            bytes(len(strip) % 2),
            struct.pack("<H", len(known)),
            table,
            bytes(4),
            values,
        )
    )


def _packed(tag: int, values: tuple[float, ...]) -> tuple[int, bytes]:
    if tag in _RATIONALS:
        fractions = [Fraction(value).limit_denominator(_LARGEST_DENOMINATOR) for value in values]
        return _RATIONAL, b"".join(struct.pack("<II", one.numerator, one.denominator) for one in fractions)
    whole = [int(value) for value in values]
    if tag in _LONGS:
        return _LONG, struct.pack(f"<{len(whole)}I", *whole)
    return _SHORT, struct.pack(f"<{len(whole)}H", *whole)
