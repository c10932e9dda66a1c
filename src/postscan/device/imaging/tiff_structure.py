"""The directories of a TIFF file: its pages, their compression, and whether their data is there.

Read from the file itself rather than by a decoder, so that naming a file for what it is costs a few reads and
meets no decoder's weak spots (TIFF 6.0, sections 2 and 8; BigTIFF as libtiff writes it).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from postscan.device.errors import ImageError
from postscan.device.imaging.filekind import ByteReader
from postscan.device.imaging.limits import MAX_PAGES

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES, _T4_OPTIONS = 256, 257, 258, 259, 277, 292
_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS = 273, 279, 324, 325
_TYPE_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_FIELDS = 4_096
_MAX_PIECES = 131_072


class TiffCompression(IntEnum):
    """The values of the Compression field that have a published keyword."""

    NONE = 1
    MODIFIED_HUFFMAN = 2
    GROUP3 = 3
    GROUP4 = 4
    JPEG_TN2 = 7


@dataclass(frozen=True, slots=True)
class TiffPage:
    """One page: its size in pixels and how its pixels are held."""

    width: int
    height: int
    bits_per_pixel: int
    compression: int
    two_dimensional_group3: bool


@dataclass(frozen=True, slots=True)
class TiffStructure:
    """All pages in order; ``big`` for BigTIFF (64-bit offsets), which no published keyword means."""

    pages: tuple[TiffPage, ...]
    big: bool


@dataclass(frozen=True, slots=True)
class _Directory:
    reader: ByteReader
    order: str
    big: bool
    fields: dict[int, tuple[int, int, bytes]]

    def integers(self, tag: int) -> tuple[int, ...]:
        """Return a field's whole values, none if the page has no such field."""
        if tag not in self.fields:
            return ()
        kind, count, slot = self.fields[tag]
        code = _INTEGER_TYPES.get(kind)
        if code is None or not 0 < count <= _MAX_PIECES:
            raise self.reader.damaged(f"TIFF field {tag} is malformed")
        length = struct.calcsize(code) * count
        if length > len(slot):
            (offset,) = struct.unpack(self.order + ("Q" if self.big else "I"), slot)
            slot = self.reader.at(offset, length)
        return struct.unpack(f"{self.order}{count}{code}", slot[:length])

    def integer(self, tag: int, default: int) -> int:
        """Return a field's first value."""
        return next(iter(self.integers(tag)), default)


def read_structure(reader: ByteReader) -> TiffStructure:
    """Read every page's directory and check that the data it points to is in the file.

    :raises ImageError: no TIFF, cut short, directories in a loop, no page, or more than MAX_PAGES.
    """
    order = "<" if reader.at(0, 1) == b"I" else ">"
    (version,) = struct.unpack(order + "H", reader.at(2, 2))
    big = version == 43
    pages = tuple(_page(directory) for directory in _directories(reader, order, big))
    if not pages:
        raise reader.damaged("it holds no page")
    return TiffStructure(pages, big)


def _directories(reader: ByteReader, order: str, big: bool) -> Iterator[_Directory]:
    pointer, count_code, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    pointer_size, count_size = struct.calcsize(pointer), struct.calcsize(count_code)
    (offset,) = struct.unpack(order + pointer, reader.at(8 if big else 4, pointer_size))
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise reader.damaged("its pages point to one another in a loop")
        if len(seen) >= MAX_PAGES:
            raise ImageError(
                f"{reader.name} has more than {MAX_PAGES:,} pages.", advice="Split it into smaller files."
            )
        seen.add(offset)
        (count,) = struct.unpack(order + count_code, reader.at(offset, count_size))
        if count > _MAX_FIELDS:
            raise reader.damaged("a TIFF directory has too many fields")
        table = reader.at(offset + count_size, count * entry_size)
        fields = {
            tag: (kind, values, slot)
            for tag, kind, values, slot in struct.iter_unpack(f"{order}HH{pointer}{pointer_size}s", table)
        }
        for kind, values, slot in fields.values():
            length = _TYPE_SIZES.get(kind, 0) * values
            if length > pointer_size and struct.unpack(order + pointer, slot)[0] + length > reader.size:
                raise reader.cut_short()
        yield _Directory(reader, order, big, fields)
        (offset,) = struct.unpack(
            order + pointer, reader.at(offset + count_size + count * entry_size, pointer_size)
        )


def _page(directory: _Directory) -> TiffPage:
    reader = directory.reader
    tiled = _TILE_OFFSETS in directory.fields
    offsets = directory.integers(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    lengths = directory.integers(_TILE_COUNTS if tiled else _STRIP_COUNTS)
    if not offsets or (lengths and len(lengths) != len(offsets)):
        raise reader.damaged("a TIFF page does not say where its pixels are")
    if max(offsets) > reader.size or any(
        offset + length > reader.size for offset, length in zip(offsets, lengths, strict=False)
    ):
        raise reader.cut_short()
    bits = directory.integers(_BITS) or (1,)
    samples = directory.integer(_SAMPLES, 1)
    return TiffPage(
        width=directory.integer(_WIDTH, 0),
        height=directory.integer(_LENGTH, 0),
        bits_per_pixel=sum(bits) if len(bits) == samples else bits[0] * samples,
        compression=directory.integer(_COMPRESSION, TiffCompression.NONE),
        two_dimensional_group3=bool(directory.integer(_T4_OPTIONS, 0) & 1),
    )
