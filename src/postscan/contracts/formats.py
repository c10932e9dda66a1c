"""What kind of file some octets are, and whether they can be what a SendImageRequest calls them (case 31).

Nothing is decoded: the first octets are looked at, 4,096 of them are enough. That a PDF is PDF/A, that a TIFF
holds one page, and that the rest of the file is as it should be is not checked here.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from postscan.contracts.keywords import DocumentFormat


class Family(StrEnum):
    """The kinds of file that the published formats belong to."""

    JPEG = "JPEG"
    PNG = "PNG"
    DIB = "DIB"
    JPEG_2000 = "JPEG 2000"
    PDF = "PDF"
    TIFF = "TIFF"
    JBIG = "JBIG"
    XPS = "XPS"


class DerivedFormat(StrEnum):
    """What only the scan server makes; a device cannot send it, as SendImage has no keyword for it."""

    PDF = "pdf"
    TIFF = "tiff"


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """What octets were found to be.

    ``variant`` tells apart what a family holds: ``JFIF`` or ``EXIF`` (JPEG), ``file`` or ``bare`` (DIB),
    ``JP2`` or ``codestream`` (JPEG 2000). ``compression`` is the value of TIFF's tag 259 on the first page,
    None when it is out of reach. ``certain`` is false for JBIG, which has no magic number: see
    :func:`_is_jbig`.
    """

    family: Family
    variant: str | None = None
    compression: int | None = None
    certain: bool = True


@dataclass(frozen=True, slots=True)
class _Published:
    """What is to be known of a published format; ``compressions`` are the TIFF ones it may have."""

    family: Family
    extension: str
    media_type: str
    compressions: frozenset[int] = frozenset()


# TIFF 6.0, section 8 (1 none, 2 and 3 CCITT Group 3, 4 Group 4) and Technical Note 2 (7 JPEG).
_UNCOMPRESSED: Final = frozenset({1})
_GROUP_3: Final = frozenset({2, 3})
_GROUP_4: Final = frozenset({4})
_JPEG: Final = frozenset({7})


def _tiff(compressions: frozenset[int]) -> _Published:
    return _Published(Family.TIFF, ".tif", "image/tiff", compressions)


_PUBLISHED: Final = {
    DocumentFormat.DIB: _Published(Family.DIB, ".bmp", "image/bmp"),
    DocumentFormat.EXIF: _Published(Family.JPEG, ".jpg", "image/jpeg"),
    DocumentFormat.JBIG: _Published(Family.JBIG, ".jbg", "image/x-jbig"),
    DocumentFormat.JFIF: _Published(Family.JPEG, ".jpg", "image/jpeg"),
    DocumentFormat.JPEG2K: _Published(Family.JPEG_2000, ".jp2", "image/jp2"),
    DocumentFormat.PDF_A: _Published(Family.PDF, ".pdf", "application/pdf"),
    DocumentFormat.PNG: _Published(Family.PNG, ".png", "image/png"),
    DocumentFormat.TIFF_SINGLE_UNCOMPRESSED: _tiff(_UNCOMPRESSED),
    DocumentFormat.TIFF_SINGLE_G4: _tiff(_GROUP_4),
    DocumentFormat.TIFF_SINGLE_G3MH: _tiff(_GROUP_3),
    DocumentFormat.TIFF_SINGLE_JPEG: _tiff(_JPEG),
    DocumentFormat.TIFF_MULTI_UNCOMPRESSED: _tiff(_UNCOMPRESSED),
    DocumentFormat.TIFF_MULTI_G4: _tiff(_GROUP_4),
    DocumentFormat.TIFF_MULTI_G3MH: _tiff(_GROUP_3),
    DocumentFormat.TIFF_MULTI_JPEG: _tiff(_JPEG),
    DocumentFormat.XPS: _Published(Family.XPS, ".xps", "application/vnd.ms-xpsdocument"),
}
_DERIVED: Final = {
    DerivedFormat.PDF: _Published(Family.PDF, ".pdf", "application/pdf"),
    DerivedFormat.TIFF: _tiff(frozenset()),
}


def detect(head: bytes) -> DetectedFormat | None:
    """Return what a file is that begins with ``head`` (4,096 octets, or all there are); None if unknown."""
    for recognise in _RECOGNISERS:
        found = recognise(head)
        if found is not None:
            return found
    return None


def matches(document_format: DocumentFormat, head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` can be what ``document_format`` says.

    Its family must be the same; a TIFF's compression must be, where it is in reach.
    """
    found = detect(head)
    published = _PUBLISHED[document_format]
    if found is None or found.family is not published.family:
        return False
    return found.compression is None or found.compression in published.compressions


def extension_of(document_format: DocumentFormat | DerivedFormat) -> str:
    """Return the usual extension of a file name, with its dot."""
    return _known(document_format).extension


def media_type_of(document_format: DocumentFormat | DerivedFormat) -> str:
    """Return the media type, e.g. for the Content-Type of an attachment."""
    return _known(document_format).media_type


def _known(document_format: DocumentFormat | DerivedFormat) -> _Published:
    if isinstance(document_format, DerivedFormat):
        return _DERIVED[document_format]
    return _PUBLISHED[document_format]


# JPEG (ITU-T T.81, B.1.1.2): start of image, then a marker; JFIF and EXIF are told by the first one.


def _jpeg(head: bytes) -> DetectedFormat | None:
    if not head.startswith(b"\xff\xd8\xff") or len(head) < 4 or head[3] < 0xC0:
        return None
    if head[3] == 0xE0 and head[6:11] == b"JFIF\0":
        return DetectedFormat(Family.JPEG, "JFIF")
    if head[3] == 0xE1 and head[6:12] == b"Exif\0\0":
        return DetectedFormat(Family.JPEG, "EXIF")
    return DetectedFormat(Family.JPEG)


# PNG (3rd edition, 5.2 and 5.6): the signature, and IHDR before everything else.


def _png(head: bytes) -> DetectedFormat | None:
    signature = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR"
    return DetectedFormat(Family.PNG) if head.startswith(signature) else None


# JPEG 2000 (ITU-T T.800, I.5.1 and A.4.1): signature and file type box, or the codestream alone.


def _jpeg_2000(head: bytes) -> DetectedFormat | None:
    if head.startswith(b"\0\0\0\x0cjP  \r\n\x87\n") and head[16:20] == b"ftyp":
        return DetectedFormat(Family.JPEG_2000, "JP2")
    if head.startswith(b"\xff\x4f\xff\x51"):
        return DetectedFormat(Family.JPEG_2000, "codestream")
    return None


# PDF (ISO 32000-1, 7.5.2). Readers put up with octets before the header; a file that has any is two things at
# once (a polyglot), and is not taken.


def _pdf(head: bytes) -> DetectedFormat | None:
    return DetectedFormat(Family.PDF) if re.match(rb"%PDF-\d\.\d", head) else None


# TIFF 6.0, section 2: byte order, 42, and where the first directory is.


def _tiff_file(head: bytes) -> DetectedFormat | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None or len(head) < 8:
        return None
    (directory,) = struct.unpack_from(f"{order}I", head, 4)
    if directory < 8:
        return None
    return DetectedFormat(Family.TIFF, compression=_compression(head, order, directory))


def _compression(head: bytes, order: str, directory: int) -> int | None:
    """Return the first page's compression, 1 when it names none; None when that is out of reach.

    0, which is no compression, stands for a page of which nothing is said at all.
    """
    if directory + 2 > len(head):
        return None
    (count,) = struct.unpack_from(f"{order}H", head, directory)
    for number in range(count):
        entry = directory + 2 + 12 * number
        if entry + 12 > len(head):
            return None
        tag, kind = struct.unpack_from(f"{order}HH", head, entry)
        if tag == 259:
            # A SHORT as it should be, or the LONG that some writers use.
            (value,) = struct.unpack_from(f"{order}{'I' if kind == 4 else 'H'}", head, entry + 8)
            return int(value)
    return 1 if count else 0


# DIB: a BITMAPINFOHEADER or one of its kin, alone or behind the 14 octets of a BITMAPFILEHEADER.

_CORE_HEADER: Final = 12
_INFO_HEADERS: Final = frozenset({40, 52, 56, 64, 108, 124})
_BITS_PER_PIXEL: Final = frozenset({0, 1, 2, 4, 8, 16, 24, 32})


def _dib(head: bytes) -> DetectedFormat | None:
    if head.startswith(b"BM"):
        return DetectedFormat(Family.DIB, "file") if _is_dib_header(head[14:]) else None
    return DetectedFormat(Family.DIB, "bare") if _is_dib_header(head) else None


def _is_dib_header(head: bytes) -> bool:
    if len(head) < 16:
        return False
    (size,) = struct.unpack_from("<I", head)
    if size == _CORE_HEADER:
        planes, bits = struct.unpack_from("<HH", head, 8)
    elif size in _INFO_HEADERS:
        planes, bits = struct.unpack_from("<HH", head, 12)
    else:
        return False
    return planes == 1 and bits in _BITS_PER_PIXEL


# XPS (ECMA-388, 9.1.1) is a ZIP archive by the Open Packaging Conventions; its head is that of any other.


def _xps(head: bytes) -> DetectedFormat | None:
    return DetectedFormat(Family.XPS) if head.startswith(b"PK\x03\x04") else None


# JBIG (ITU-T T.82, 6.2).


def _jbig(head: bytes) -> DetectedFormat | None:
    return DetectedFormat(Family.JBIG, certain=False) if _is_jbig(head) else None


def _is_jbig(head: bytes) -> bool:
    """Tell whether ``head`` can be the header of a bi-level image entity.

    It has no magic number. What is checked are the 20 octets' limits: at least one plane, layers in order,
    the octet that must be zero, sizes of a page (up to 2^20 pixels), and the bits that must be zero. Text,
    programs and archives break at least one of them; some other binary file may not.
    """
    if len(head) < 20:
        return False
    first, last, planes, fill, width, height, stripe, max_x, _max_y, order, options = struct.unpack_from(
        ">BBBBIIIBBBB", head
    )
    unknown_height = height == 0xFFFFFFFF and options & 0x20
    return bool(
        first <= last <= 31
        and planes >= 1
        and fill == 0
        and 1 <= width <= 1 << 20
        and (unknown_height or 1 <= height <= 1 << 20)
        and 1 <= stripe <= 1 << 20
        and max_x <= 127
        and order & 0xF0 == 0
        and options & 0x80 == 0
    )


_RECOGNISERS: Final = (_jpeg, _png, _jpeg_2000, _pdf, _tiff_file, _dib, _xps, _jbig)
