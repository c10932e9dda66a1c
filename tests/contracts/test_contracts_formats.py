"""Abuse case 31: the octets of an image must be what its Format says."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from postscan.contracts.formats import DetectedFormat, Family, detect, extension_of, matches, media_type_of
from postscan.contracts.keywords import DocumentFormat

HEAD = 4_096
PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + bytes(17)
JFIF_HEAD = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
EXIF_HEAD = b"\xff\xd8\xff\xe1\0\x20Exif\0\0II*\0"
BARE_JPEG_HEAD = b"\xff\xd8\xff\xdb\0\x43\0"
JP2_HEAD = b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 "
CODESTREAM_HEAD = b"\xff\x4f\xff\x51\0\x29"
PDF_HEAD = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
XPS_HEAD = b"PK\x03\x04\x14\0\x08\0\x08\0"
# Two planes' worth of limits: 1 layer, 1 plane, 200 x 100 pixels in stripes of 100 lines.
JBIG_HEAD = struct.pack(">BBBBIIIBBBB", 0, 0, 1, 0, 200, 100, 100, 8, 0, 0, 0x08) + bytes(40)
INFO_HEADER = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 24, 0, 0, 0, 0, 0, 0)
CORE_HEADER = struct.pack("<IHHHH", 12, 4, 4, 1, 24) + bytes(16)
FILE_HEADER = b"BM" + struct.pack("<IHHI", 86, 0, 0, 54)


def tiff(compression: int | None, order: str = "<", *, kind: int = 3, at: int = 8, others: int = 3) -> bytes:
    """Return a TIFF's head whose first directory stands at ``at``, with the compression as its last entry."""
    mark = b"II" if order == "<" else b"MM"
    entries = [struct.pack(f"{order}HHII", 254 + n, 4, 1, n) for n in range(others)]
    if compression is not None:
        value = struct.pack(f"{order}{'I' if kind == 4 else 'H'}", compression).ljust(4, b"\0")
        entries.append(struct.pack(f"{order}HHI", 259, kind, 1) + value)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return (mark + struct.pack(f"{order}HI", 42, at)).ljust(at, b"\0") + directory


COMPRESSIONS = {
    DocumentFormat.TIFF_SINGLE_UNCOMPRESSED: {1},
    DocumentFormat.TIFF_SINGLE_G4: {4},
    DocumentFormat.TIFF_SINGLE_G3MH: {2, 3},
    DocumentFormat.TIFF_SINGLE_JPEG: {7},
    DocumentFormat.TIFF_MULTI_UNCOMPRESSED: {1},
    DocumentFormat.TIFF_MULTI_G4: {4},
    DocumentFormat.TIFF_MULTI_G3MH: {2, 3},
    DocumentFormat.TIFF_MULTI_JPEG: {7},
}
TIFFS = frozenset(COMPRESSIONS)
HEADS = {
    Family.PNG: [PNG_HEAD],
    Family.JPEG: [JFIF_HEAD, EXIF_HEAD, BARE_JPEG_HEAD],
    Family.JPEG_2000: [JP2_HEAD, CODESTREAM_HEAD],
    Family.PDF: [PDF_HEAD],
    Family.XPS: [XPS_HEAD],
    Family.JBIG: [JBIG_HEAD],
    Family.DIB: [FILE_HEADER + INFO_HEADER, FILE_HEADER + CORE_HEADER, INFO_HEADER, CORE_HEADER],
    Family.TIFF: [tiff(1), tiff(4, ">"), b"II*\0\x00\x00\x10\x00" + bytes(100)],
}
FAMILY_OF = {
    DocumentFormat.DIB: Family.DIB,
    DocumentFormat.EXIF: Family.JPEG,
    DocumentFormat.JBIG: Family.JBIG,
    DocumentFormat.JFIF: Family.JPEG,
    DocumentFormat.JPEG2K: Family.JPEG_2000,
    DocumentFormat.PDF_A: Family.PDF,
    DocumentFormat.PNG: Family.PNG,
    DocumentFormat.XPS: Family.XPS,
} | dict.fromkeys(TIFFS, Family.TIFF)


def picture(file_format: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, file_format, **options)
    return buffer.getvalue()[:HEAD]


# Families -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "head"), [(f, h) for f, heads in HEADS.items() for h in heads])
def test_every_family_is_recognised(family: Family, head: bytes) -> None:
    found = detect(head)
    assert found is not None
    assert found.family is family


@pytest.mark.parametrize("document_format", DocumentFormat)
@pytest.mark.parametrize("family", Family)
def test_octets_match_the_formats_of_their_family_and_no_other(
    document_format: DocumentFormat, family: Family
) -> None:
    same = FAMILY_OF[document_format] is family
    heads = HEADS[family]
    if family is Family.TIFF and document_format in TIFFS:
        heads = [tiff(c) for c in COMPRESSIONS[document_format]]
    assert [matches(document_format, head) for head in heads] == [same] * len(heads)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (JFIF_HEAD, DetectedFormat(Family.JPEG, "JFIF")),
        (EXIF_HEAD, DetectedFormat(Family.JPEG, "EXIF")),
        (BARE_JPEG_HEAD, DetectedFormat(Family.JPEG)),
        (JP2_HEAD, DetectedFormat(Family.JPEG_2000, "JP2")),
        (CODESTREAM_HEAD, DetectedFormat(Family.JPEG_2000, "codestream")),
        (FILE_HEADER + INFO_HEADER, DetectedFormat(Family.DIB, "file")),
        (INFO_HEADER, DetectedFormat(Family.DIB, "bare")),
        (JBIG_HEAD, DetectedFormat(Family.JBIG, certain=False)),
        (tiff(4), DetectedFormat(Family.TIFF, compression=4)),
    ],
)
def test_variants_are_told_apart(head: bytes, found: DetectedFormat) -> None:
    assert detect(head) == found


@pytest.mark.parametrize(
    ("document_format", "head"),
    [
        (DocumentFormat.PNG, picture("PNG")),
        (DocumentFormat.JFIF, picture("JPEG")),
        (DocumentFormat.DIB, picture("BMP")),
        (DocumentFormat.DIB, picture("DIB", "1")),
        (DocumentFormat.JPEG2K, picture("JPEG2000")),
        (DocumentFormat.PDF_A, picture("PDF")),
        (DocumentFormat.TIFF_SINGLE_UNCOMPRESSED, picture("TIFF")),
        (DocumentFormat.TIFF_SINGLE_G4, picture("TIFF", "1", compression="group4")),
        (DocumentFormat.TIFF_SINGLE_G3MH, picture("TIFF", "1", compression="group3")),
        (DocumentFormat.TIFF_SINGLE_JPEG, picture("TIFF", compression="jpeg")),
    ],
)
def test_files_of_an_image_library_match(document_format: DocumentFormat, head: bytes) -> None:
    assert matches(document_format, head)


# Files that are something else --------------------------------------------------------------------------


@pytest.mark.parametrize("document_format", DocumentFormat)
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0",
        bytes(HEAD),
        b"\xff" * HEAD,
        b"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0\xb8\0\0\0" + bytes(100),
        b"\x7fELF\2\1\1\0" + bytes(100),
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"#!/bin/sh\nrm -rf /\n",
        b"GIF89a\x01\0\x01\0\x80\0\0",
        b"<?xml version='1.0'?><svg/>",
        b"BMW is a maker of cars, and this is a text, not a bitmap.",
        b"II is a Roman number",
        b"\n%PDF-1.4\n",
        b"\x89PNG\r\n%PDF-1.4\n",
        b"%PDF-html<script>",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"\x89PNG\r\n\x1a\n<html>",
        b"\xff\xd8\xff<html>",
        b"\xff\xd8",
        b"\0\0\0\x0cjP  \r\n\x87\n<html>and more of it",
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0",
        b"II*\0\0\0\0\0" + bytes(100),
        b"MM*\0\0\0\0\x08" + bytes(100),
        b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0",
        b"\0\0\1\xba\x44\0\4\0\4\1" + bytes(40),
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40),
        b"\x1f\x8b\x08\0" + bytes(40),
        b"Rar!\x1a\x07\x01\0" + bytes(40),
        b"PK\x05\x06" + bytes(18),
        b"\xca\xfe\xba\xbe\0\0\0\x37" + bytes(40),
    ],
)
def test_other_files_match_nothing(document_format: DocumentFormat, head: bytes) -> None:
    assert not matches(document_format, head)


@pytest.mark.parametrize("trick", [PNG_HEAD, JFIF_HEAD, INFO_HEADER, tiff(1), XPS_HEAD])
def test_a_pdf_behind_something_else_is_not_a_pdf(trick: bytes) -> None:
    assert not matches(DocumentFormat.PDF_A, trick + PDF_HEAD)


# TIFF ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946])
@pytest.mark.parametrize("document_format", sorted(TIFFS))
def test_the_compression_must_be_that_of_the_format(
    document_format: DocumentFormat, compression: int, order: str
) -> None:
    head = tiff(compression, order)
    assert matches(document_format, head) is (compression in COMPRESSIONS[document_format])


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_compression_written_as_a_long_is_read(order: str) -> None:
    assert detect(tiff(4, order, kind=4)) == DetectedFormat(Family.TIFF, compression=4)


def test_a_page_that_names_no_compression_has_none() -> None:
    assert matches(DocumentFormat.TIFF_SINGLE_UNCOMPRESSED, tiff(None))
    assert not matches(DocumentFormat.TIFF_SINGLE_G4, tiff(None))


@pytest.mark.parametrize("document_format", sorted(TIFFS))
def test_a_directory_out_of_reach_contradicts_nothing(document_format: DocumentFormat) -> None:
    assert matches(document_format, tiff(5, at=HEAD - 10)[:HEAD])
    assert matches(document_format, tiff(5, at=1 << 20)[:HEAD])


@pytest.mark.parametrize("document_format", sorted(TIFFS))
def test_a_directory_without_entries_is_no_page(document_format: DocumentFormat) -> None:
    assert not matches(document_format, tiff(None, others=0))


# Names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document_format", "extension", "media_type"),
    [
        (DocumentFormat.DIB, ".bmp", "image/bmp"),
        (DocumentFormat.EXIF, ".jpg", "image/jpeg"),
        (DocumentFormat.JFIF, ".jpg", "image/jpeg"),
        (DocumentFormat.JBIG, ".jbg", "image/x-jbig"),
        (DocumentFormat.JPEG2K, ".jp2", "image/jp2"),
        (DocumentFormat.PDF_A, ".pdf", "application/pdf"),
        (DocumentFormat.PNG, ".png", "image/png"),
        (DocumentFormat.XPS, ".xps", "application/vnd.ms-xpsdocument"),
        *((kind, ".tif", "image/tiff") for kind in sorted(TIFFS)),
    ],
)
def test_names_of_files_and_types(document_format: DocumentFormat, extension: str, media_type: str) -> None:
    assert extension_of(document_format) == extension
    assert media_type_of(document_format) == media_type


# Any octets ---------------------------------------------------------------------------------------------

BEGINNINGS = [head[:length] for heads in HEADS.values() for head in heads for length in (4, 8, 16, 32)]


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.sampled_from([b"", *BEGINNINGS]), st.binary(max_size=200))
def test_any_octets_are_at_most_one_family(beginning: bytes, rest: bytes) -> None:
    head = beginning + rest
    found = detect(head)
    families = {FAMILY_OF[kind] for kind in DocumentFormat if matches(kind, head)}
    assert families <= ({found.family} if found else set())


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.text(min_size=1, max_size=300))
def test_no_text_is_an_image(text: str) -> None:
    found = detect(text.encode())
    assert found is None or (found.family is Family.PDF and text.startswith("%PDF-"))
