"""Barcodes are read from the first page of documents, whatever kind of file they are."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.names import BarcodeKind
from postscan.core.errors import PostscanError
from postscan.filters.contract import FileFormat, JsonValue
from postscan.filters.names.barcodes import Unreadable, draw_page, fitting, read
from support.barcodes import barcode_page
from support.processing import encoded, jpeg, page, pdf, png, tiff_g4

TEXT = "INV-2026-0042"
SAID: dict[BarcodeKind, tuple[str, str]] = {
    BarcodeKind.AZTEC: (TEXT, TEXT),
    BarcodeKind.CODABAR: ("A12345B", "A12345B"),
    BarcodeKind.CODE_39: (TEXT, TEXT),
    BarcodeKind.CODE_93: (TEXT, TEXT),
    BarcodeKind.CODE_128: (TEXT, TEXT),
    BarcodeKind.DATA_MATRIX: (TEXT, TEXT),
    BarcodeKind.EAN_8: ("96385074", "96385074"),
    BarcodeKind.EAN_13: ("4006381333931", "4006381333931"),
    BarcodeKind.ITF: ("12345678", "12345678"),
    BarcodeKind.PDF417: (TEXT, TEXT),
    BarcodeKind.QR_CODE: ("Rechnung für Müller", "Rechnung für Müller"),
    BarcodeKind.UPC_A: ("725272730706", "725272730706"),
    BarcodeKind.UPC_E: ("01234565", "0012345000065"),
}
CODE = barcode_page((BarcodeKind.CODE_128, TEXT), words="An invoice")
GRAY_JPEG = jpeg(CODE)
FILES: dict[str, tuple[FileFormat, bytes]] = {
    "G4": (DocumentFormat.TIFF_SINGLE_G4, tiff_g4(CODE)),
    "TIFF": (DocumentFormat.TIFF_SINGLE_UNCOMPRESSED, encoded(CODE, "TIFF")),
    "TIFF of two pages": (DocumentFormat.TIFF_MULTI_G4, tiff_g4(CODE, page("the second"))),
    "JPEG": (DocumentFormat.JFIF, GRAY_JPEG),
    "JPEG in color": (DocumentFormat.EXIF, jpeg(CODE.convert("RGB"))),
    "JPEG 2000": (DocumentFormat.JPEG2K, encoded(CODE, "JPEG2000")),
    "PNG": (DocumentFormat.PNG, png(CODE)),
    "bitmap": (DocumentFormat.DIB, encoded(CODE, "BMP")),
    "bare bitmap": (DocumentFormat.DIB, encoded(CODE, "BMP")[14:]),
    "PDF of a device": (DocumentFormat.PDF_A, pdf(GRAY_JPEG, jpeg(page("the second")))),
    "PDF that was made": (DerivedFormat.PDF, pdf(tiff_g4(CODE))),
    "TIFF that was made": (DerivedFormat.TIFF, tiff_g4(CODE)),
}


def told(done: int, total: int) -> None:
    """Take the progress."""


def found_in(
    path: Path, form: FileFormat, content: bytes, *kinds: str, pattern: str | None = None
) -> str | None:
    """Return the barcode of a file; raises Unreadable as it was told."""
    path.write_bytes(content)
    wanted: list[JsonValue] = list(kinds or BarcodeKind)
    documents: list[JsonValue] = [{"path": str(path), "format": str(form)}]
    answer = read({"documents": documents, "kinds": wanted, "pattern": pattern}, told)
    assert isinstance(answer, list)
    (one,) = answer
    if "unreadable" in one:
        raise Unreadable(one["unreadable"])
    text: str | None = one["text"]
    return text


@pytest.mark.parametrize("kind", list(BarcodeKind), ids=str)
def test_every_kind_is_read_where_it_is_asked_for(kind: BarcodeKind, tmp_path: Path) -> None:
    written, said = SAID[kind]
    content = tiff_g4(barcode_page((kind, written), words="Words beside it"))
    assert found_in(tmp_path / "page", DocumentFormat.TIFF_SINGLE_G4, content, kind) == said


@pytest.mark.parametrize("kind", list(FILES))
def test_a_barcode_is_read_from_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    assert found_in(tmp_path / "page", *FILES[kind]) == TEXT


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_barcode_is_read_from_a_page_that_was_put_in_another_way(turned: int, tmp_path: Path) -> None:
    content = png(barcode_page((BarcodeKind.CODE_128, TEXT), turned=turned))
    assert found_in(tmp_path / "page", DocumentFormat.PNG, content) == TEXT


def test_a_page_without_a_barcode_has_none(tmp_path: Path) -> None:
    assert found_in(tmp_path / "page", DocumentFormat.PNG, png(page("Only words"))) is None


def test_a_barcode_on_the_second_page_does_not_count(tmp_path: Path) -> None:
    content = tiff_g4(page("a cover"), CODE)
    assert found_in(tmp_path / "page", DocumentFormat.TIFF_MULTI_G4, content) is None


def test_other_kinds_do_not_count(tmp_path: Path) -> None:
    sheet = barcode_page((BarcodeKind.QR_CODE, "https://example.com"), (BarcodeKind.CODE_128, TEXT))
    path, content = tmp_path / "page", png(sheet)
    assert found_in(path, DocumentFormat.PNG, content, BarcodeKind.CODE_128) == TEXT
    assert found_in(path, DocumentFormat.PNG, content, BarcodeKind.CODE_39) is None


def test_the_uppermost_counts(tmp_path: Path) -> None:
    sheet = barcode_page((BarcodeKind.CODE_128, "above"), (BarcodeKind.CODE_128, "below"))
    assert found_in(tmp_path / "page", DocumentFormat.PNG, png(sheet)) == "above"


def test_the_uppermost_that_matches_the_pattern_counts(tmp_path: Path) -> None:
    sheet = barcode_page((BarcodeKind.CODE_128, "customer 7"), (BarcodeKind.CODE_128, "20260042"))
    assert found_in(tmp_path / "page", DocumentFormat.PNG, png(sheet), pattern="[0-9]{8}") == "20260042"


@pytest.mark.parametrize(
    ("texts", "pattern", "found"),
    [
        (["a1", "12"], "[0-9]+", "12"),
        (["12 "], "[0-9]+", None),
        (["INV-12"], "INV-([0-9]+)", "12"),
        (["INV-"], "INV-([0-9]+)?", "INV-"),
        (["a-b"], "(?P<first>.)-(.)", "a"),
        (["x" * 1000], None, "x" * 200),
        ([], None, None),
    ],
)
def test_the_whole_text_matches_and_the_first_group_is_the_barcode(
    texts: list[str], pattern: str | None, found: str | None
) -> None:
    assert fitting(texts, pattern) == found


@pytest.mark.parametrize("form", [DocumentFormat.XPS, DocumentFormat.JBIG], ids=str)
def test_a_format_that_cannot_be_drawn_is_named(form: DocumentFormat, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=f"cannot be read from {form}"):
        found_in(tmp_path / "page", form, b"anything")


@pytest.mark.parametrize("kind", list(FILES))
def test_half_a_file_is_unreadable_or_has_no_barcode(kind: str, tmp_path: Path) -> None:
    form, content = FILES[kind]
    found: str | None = None
    with contextlib.suppress(Unreadable):
        found = found_in(tmp_path / "page", form, content[: len(content) // 2])
    # Some decoders return the half there is, and the barcode may be in it.
    assert found in (None, TEXT)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    tags = [(256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 1), (259, 3, 1, 4), (262, 3, 1, 0)]
    tags += [(273, 4, 1, 8), (278, 4, 1, 60_000), (279, 4, 1, 4)]
    content = b"II*\0\x0c\0\0\0" + b"\0" * 4 + struct.pack("<H", len(tags))
    content += b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0" * 4
    with pytest.raises(Unreadable, match="pixels"):
        found_in(tmp_path / "page", DocumentFormat.TIFF_SINGLE_G4, content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(kind=st.sampled_from(sorted(FILES)), data=st.data())
def test_a_spoilt_file_never_does_worse_than_be_unreadable(
    kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    form, content = FILES[kind]
    at = data.draw(st.integers(0, min(len(content), 600) - 1))
    spoilt = content[:at] + data.draw(st.binary(min_size=1, max_size=8)) + content[at + 1 :]
    with contextlib.suppress(PostscanError):
        found_in(tmp_path / "page", form, spoilt)


def test_a_broken_document_does_not_hide_what_the_others_say(tmp_path: Path) -> None:
    documents: list[JsonValue] = []
    for name, content in (("first", png(CODE)), ("broken", b"no picture"), ("last", png(page("no code")))):
        (tmp_path / name).write_bytes(content)
        documents.append({"path": str(tmp_path / name), "format": "png"})
    progress: list[tuple[int, int]] = []
    found = read(
        {"documents": documents, "kinds": ["Code128"], "pattern": None},
        lambda done, total: progress.append((done, total)),
    )
    assert found == [
        {"text": TEXT},
        {"unreadable": "the first page is no png that can be decoded"},
        {"text": None},
    ]
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_the_page_drawn_for_a_dry_run_can_be_read(tmp_path: Path) -> None:
    draw_page(tmp_path / "drawn.png", BarcodeKind.CODE_128, "BARCODE")
    content = (tmp_path / "drawn.png").read_bytes()
    assert found_in(tmp_path / "page", DocumentFormat.PNG, content) == "BARCODE"
