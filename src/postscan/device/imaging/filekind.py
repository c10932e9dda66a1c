"""What a file is, from its first bytes, and whether all of it is there. Nothing here decodes a pixel."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from postscan.contracts.formats import Family, detect
from postscan.device.errors import ImageError

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_J2K_MAGIC = b"\xff\x4f\xff\x51"
_END_OF_IMAGE = b"\xff\xd9"  # both JPEG's EOI and JPEG 2000's EOC
_MAX_PARTS = 500_000
_HEAD = 4096
_BIG_TIFF_MAGICS = (b"II+\0", b"MM\0+")
_BLOCK = 1 << 20


class FileKind(StrEnum):
    """The kinds of file a page can come from, by the name a person would use."""

    JPEG = "JPEG"
    PNG = "PNG"
    BMP = "BMP"
    JPEG2000 = "JPEG 2000"
    TIFF = "TIFF"
    PDF = "PDF"


_KINDS = {
    Family.JPEG: FileKind.JPEG,
    Family.PNG: FileKind.PNG,
    Family.DIB: FileKind.BMP,
    Family.JPEG_2000: FileKind.JPEG2000,
    Family.TIFF: FileKind.TIFF,
    Family.PDF: FileKind.PDF,
}


class ByteReader:
    """Random access to a file that says clearly when a part of it is missing."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self.name = name
        self.size = stream.seek(0, os.SEEK_END)

    def at(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``.

        :raises ImageError: the file ends before that.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self.cut_short()
        self._stream.seek(offset)
        data = self._stream.read(length)
        if len(data) != length:
            raise self.cut_short()
        return data

    def last_index(self, needle: bytes, start: int) -> int:
        """Return where ``needle`` (two bytes) stands last at or after ``start``, or -1."""
        end = self.size
        while end > start:
            begin = max(start, end - _BLOCK)
            found = self.at(begin, min(end + 1, self.size) - begin).rfind(needle)
            if found >= 0:
                return begin + found
            end = begin
        return -1

    def cut_short(self) -> ImageError:
        """Return the error for a file of which a part is missing."""
        return ImageError(
            f"{self.name} is damaged or cut short: a part of the image is missing.",
            advice="Scan or copy the page again.",
        )

    def damaged(self, what: str) -> ImageError:
        """Return the error for a file that contradicts itself; ``what`` ends the sentence."""
        return ImageError(f"{self.name} is damaged: {what}.", advice="Scan or copy the page again.")


@contextmanager
def open_reader(path: Path) -> Iterator[ByteReader]:
    """Open an ordinary, not empty file for reading.

    :raises ImageError: it does not exist, is no ordinary file, is empty or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{path} is not a file.")
        stream = path.open("rb")
    except ValueError as error:  # a NUL in the name
        raise ImageError(f"{path!s} cannot be the name of a file.") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    with stream:
        try:
            reader = ByteReader(stream, str(path))
            if reader.size == 0:
                raise ImageError(f"{path} is empty.", advice="Scan or copy the page again.")
            yield reader
        except OSError as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(
        f"Cannot read {path}: {error.strerror or error}.",
        advice="Check the file's name and its permissions.",
    )


def kind_of(head: bytes) -> FileKind | None:
    """Return what a file is that begins with ``head`` (4,096 bytes, or all there are); None if unknown."""
    if head[:4] in _BIG_TIFF_MAGICS:  # no published format, but it can be made into one
        return FileKind.TIFF
    found = detect(head)
    if found is None or (found.family is Family.DIB and found.variant != "file"):
        return None
    return _KINDS.get(found.family)


def read_kind(reader: ByteReader) -> FileKind:
    """Return what the file is.

    :raises ImageError: it is no kind of file that a page can come from.
    """
    kind = kind_of(reader.at(0, min(reader.size, _HEAD)))
    if kind is None:
        raise ImageError(f"{reader.name} is not an image that can be sent: its content is of no known kind.")
    return kind


def require_complete(reader: ByteReader, kind: FileKind) -> None:
    """Check by the file's own structure that it is all there (TIFF and PDF have modules of their own).

    :raises ImageError: a part is missing.
    """
    match kind:
        case FileKind.JPEG:
            _require_complete_jpeg(reader)
        case FileKind.PNG:
            _require_complete_png(reader)
        case FileKind.BMP:
            _require_complete_bmp(reader)
        case FileKind.JPEG2000:
            _require_complete_jpeg2000(reader)


def jpeg_segments(reader: ByteReader) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, offset, length with marker) of each segment after SOI, up to SOS (ISO 10918-1, B.1).

    :raises ImageError: the segments do not follow one another.
    """
    offset = 2
    while True:
        prefix, marker = reader.at(offset, 2)
        if prefix != 0xFF:
            raise reader.damaged("a JPEG marker is not where it should be")
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        (length,) = struct.unpack(">H", reader.at(offset + 2, 2))
        if length < 2:
            raise reader.damaged("a JPEG segment is too short")
        yield marker, offset, length + 2
        if marker == 0xDA:
            return
        offset += length + 2


def _require_complete_jpeg(reader: ByteReader) -> None:
    start_of_scan = 0
    for _marker, offset, length in jpeg_segments(reader):
        start_of_scan = offset + length
    # Within the scans every FF is followed by 00 or a restart marker, so an end marker there is the end.
    if reader.last_index(_END_OF_IMAGE, start_of_scan) < 0:
        raise reader.cut_short()


def _require_complete_png(reader: ByteReader) -> None:
    offset = len(_PNG_MAGIC)
    for _ in range(_MAX_PARTS):
        length, name = struct.unpack(">I4s", reader.at(offset, 8))
        offset += 12 + length
        if offset > reader.size:
            raise reader.cut_short()
        if name == b"IEND":
            return
    raise reader.damaged("it has too many chunks")


def _require_complete_bmp(reader: ByteReader) -> None:
    (pixels_at,) = struct.unpack("<I", reader.at(10, 4))
    (header_size,) = struct.unpack("<I", reader.at(14, 4))
    if header_size == 12:
        width, height, _planes, depth = struct.unpack("<HHHH", reader.at(18, 8))
        compression, stated_size = 0, 0
    else:
        width, height, _planes, depth, compression, stated_size = struct.unpack("<iiHHII", reader.at(18, 20))
    packed = compression in (1, 2, 4, 5)  # run lengths, JPEG, PNG: only the stated size tells
    pixels = stated_size if packed else (abs(width) * depth + 31) // 32 * 4 * abs(height)
    if pixels_at + pixels > reader.size:
        raise reader.cut_short()


def _require_complete_jpeg2000(reader: ByteReader) -> None:
    codestream = 0
    if reader.at(0, 4) != _J2K_MAGIC:
        codestream = _jpeg2000_codestream(reader)
    if reader.last_index(_END_OF_IMAGE, codestream) < 0:
        raise reader.cut_short()


def _jpeg2000_codestream(reader: ByteReader) -> int:
    """Return where the codestream box's content starts (ISO 15444-1, Annex I.4)."""
    offset = 0
    for _ in range(_MAX_PARTS):
        length, name = struct.unpack(">I4s", reader.at(offset, 8))
        header = 8
        if length == 1:
            (length,) = struct.unpack(">Q", reader.at(offset + 8, 8))
            header = 16
        elif length == 0:
            length = reader.size - offset
        if length < header:
            raise reader.damaged("a JPEG 2000 box is too short")
        if offset + length > reader.size:
            raise reader.cut_short()
        if name == b"jp2c":
            return offset + header
        offset += length
    raise reader.damaged("it has too many boxes")
