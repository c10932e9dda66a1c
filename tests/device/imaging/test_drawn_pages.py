from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pikepdf
import pytest
from PIL import Image, ImageChops

from postscan.contracts.keywords import DocumentFormat
from postscan.device.imaging import load
from postscan.device.imaging.filekind import FileKind, kind_of
from postscan.device.pages import (
    A4,
    as_g4,
    as_jpeg,
    as_pdf_a,
    as_png,
    encode,
    encode_all,
    mixed_page,
    photo_page,
    text_page,
)

KINDS = {
    DocumentFormat.TIFF_SINGLE_G4: FileKind.TIFF,
    DocumentFormat.JFIF: FileKind.JPEG,
    DocumentFormat.PNG: FileKind.PNG,
    DocumentFormat.PDF_A: FileKind.PDF,
}
PAGES = {"text": text_page, "photo": photo_page, "mixed": mixed_page}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Image.Image]:
    return {name: draw(3) for name, draw in PAGES.items()}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_a4_at_300_dpi(drawn: dict[str, Image.Image], name: str) -> None:
    assert drawn[name].size == A4
    assert drawn[name].info["dpi"] == (300, 300)


@pytest.mark.parametrize("draw", [text_page, mixed_page])
def test_a_number_always_gives_the_same_page_and_another_number_another(
    draw: Callable[[int], Image.Image],
) -> None:
    once, again, other = draw(4), draw(4), draw(5)
    assert once.tobytes() == again.tobytes()
    assert once.tobytes() != other.tobytes()


def test_each_page_carries_its_number() -> None:
    """Two letters of the same look differ at the foot, where the number stands."""
    foot = (A4[0] - 500, 3340, A4[0], A4[1])
    assert ImageChops.difference(text_page(2).crop(foot), text_page(4).crop(foot)).getbbox()


def test_pages_weigh_what_scanned_pages_weigh(drawn: dict[str, Image.Image]) -> None:
    assert 10_000 < encode(drawn["text"], DocumentFormat.TIFF_SINGLE_G4).size < 100_000
    assert 300_000 < encode(drawn["photo"], DocumentFormat.JFIF).size < 950_000
    assert 300_000 < encode(drawn["mixed"], DocumentFormat.JFIF).size < 950_000


@pytest.mark.parametrize(
    ("name", "document_format"),
    [
        ("text", DocumentFormat.TIFF_SINGLE_G4),
        ("text", DocumentFormat.PNG),
        ("photo", DocumentFormat.JFIF),
        ("mixed", DocumentFormat.EXIF),
        ("mixed", DocumentFormat.PDF_A),
    ],
)
def test_encoded_pages_are_what_they_are_called(
    tmp_path: Path, drawn: dict[str, Image.Image], name: str, document_format: DocumentFormat
) -> None:
    path = tmp_path / "page"
    path.write_bytes(encode(drawn[name], document_format).read())
    assert load(path)[0].format is document_format


def test_pages_go_into_one_pdf_a_text_as_group_4_and_colours_as_jpeg(drawn: dict[str, Image.Image]) -> None:
    document = encode_all(list(drawn.values()), DocumentFormat.PDF_A)
    assert document.pages == 3
    with pikepdf.open(io.BytesIO(document.read())) as pdf:
        filters = [
            pikepdf.PdfImage(next(iter(page.resources.XObject.values()))).filters[0] for page in pdf.pages
        ]
        sizes = [[round(float(value)) for value in page.MediaBox] for page in pdf.pages]
    assert filters == ["/CCITTFaxDecode", "/DCTDecode", "/DCTDecode"]
    assert sizes == [[0, 0, 595, 842]] * 3


def test_pages_are_ready_to_send_in_the_formats_of_the_demo(drawn: dict[str, Image.Image]) -> None:
    sent = [
        as_g4(drawn["text"], "a letter"),
        as_jpeg(drawn["photo"], "a photo"),
        as_png(drawn["text"], "a letter"),
        as_pdf_a([drawn["text"], drawn["mixed"]], "a report"),
    ]
    assert [(page.format, page.name) for page in sent] == [
        (DocumentFormat.TIFF_SINGLE_G4, "a letter"),
        (DocumentFormat.JFIF, "a photo"),
        (DocumentFormat.PNG, "a letter"),
        (DocumentFormat.PDF_A, "a report"),
    ]
    for page in sent:
        assert isinstance(page.data, bytes)
        assert kind_of(page.data[:1024]) is KINDS[page.format]


def test_several_pages_do_not_go_into_a_single_page_format(drawn: dict[str, Image.Image]) -> None:
    with pytest.raises(ValueError, match="2 pages do not go into one png"):
        encode_all([drawn["text"], drawn["mixed"]], DocumentFormat.PNG)
