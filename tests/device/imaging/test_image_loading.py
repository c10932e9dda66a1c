from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import img2pdf
import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from postscan.contracts.formats import matches
from postscan.contracts.keywords import DocumentFormat
from postscan.device.errors import ImageError
from postscan.device.imaging import MAX_PAGES, load
from postscan.device.imaging.page import Page
from postscan.device.imaging.pdf_writing import write_pdf_a

AS_IS = {
    "jpeg": DocumentFormat.JFIF,
    "jpeg grey": DocumentFormat.JFIF,
    "jpeg cmyk": DocumentFormat.JFIF,
    "png": DocumentFormat.PNG,
    "png 16 bit": DocumentFormat.PNG,
    "bmp": DocumentFormat.DIB,
    "jpeg 2000": DocumentFormat.JPEG2K,
    "tiff": DocumentFormat.TIFF_SINGLE_UNCOMPRESSED,
    "tiff g4": DocumentFormat.TIFF_SINGLE_G4,
    "tiff g3": DocumentFormat.TIFF_SINGLE_G3MH,
    "tiff jpeg": DocumentFormat.TIFF_SINGLE_JPEG,
    "tiffs": DocumentFormat.TIFF_MULTI_UNCOMPRESSED,
    "tiffs g4": DocumentFormat.TIFF_MULTI_G4,
    "tiffs g3": DocumentFormat.TIFF_MULTI_G3MH,
    "tiffs jpeg": DocumentFormat.TIFF_MULTI_JPEG,
}
REWRITTEN = {
    "tiff lzw": DocumentFormat.TIFF_SINGLE_UNCOMPRESSED,
    "tiff g3 2d": DocumentFormat.TIFF_SINGLE_G4,
    "big tiff": DocumentFormat.TIFF_SINGLE_G4,
    "tiffs packbits": DocumentFormat.TIFF_MULTI_G4,
    "tiffs deflate": DocumentFormat.TIFF_MULTI_UNCOMPRESSED,
}


def image_of(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def images_or_refusal(path: Path) -> None:
    """Load a file: there have to be images, or an error of ours with advice."""
    try:
        images = load(path)
    except ImageError as error:
        advice = error.what_to_do
    else:
        advice = "none needed"
        assert images
    assert advice


@pytest.mark.parametrize("name", AS_IS)
def test_a_file_that_a_keyword_means_goes_as_it_is(samples: dict[str, Path], name: str) -> None:
    (image,) = load(samples[name])
    assert image.format is AS_IS[name]
    assert image.data == samples[name]
    assert image.read() == samples[name].read_bytes()
    assert image.size == samples[name].stat().st_size
    assert matches(image.format, image.read()[:4096])  # what the server looks at


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_tiff_that_no_keyword_means_is_rewritten_without_loss(samples: dict[str, Path], name: str) -> None:
    (image,) = load(samples[name])
    assert image.format is REWRITTEN[name]
    with Image.open(samples[name]) as before, image_of(image.read()) as after:
        assert image.pages == getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)
        for number in range(image.pages):
            before.seek(number)
            after.seek(number)
            assert (after.mode, after.size, after.info["dpi"]) == (
                before.mode,
                before.size,
                before.info["dpi"],
            )
            assert after.tobytes() == before.tobytes()


def test_a_jpeg_that_opens_as_exif_is_called_exif_and_keeps_its_orientation(
    tmp_path: Path, samples: dict[str, Path]
) -> None:
    stored = samples["jpeg turned"].read_bytes()
    path = tmp_path / "camera"
    path.write_bytes(stored[:2] + stored[stored.index(b"\xff\xe1") :])  # without the JFIF segment
    (image,) = load(path)
    assert image.format is DocumentFormat.EXIF
    assert image_of(image.read()).getexif()[0x0112] == 6


def test_the_pages_of_a_multi_page_file_are_counted(samples: dict[str, Path]) -> None:
    assert load(samples["tiffs g4"])[0].pages == 3


def test_a_pdf_that_claims_pdf_a_goes_as_it_is(tmp_path: Path, art: SimpleNamespace) -> None:
    path = tmp_path / "claims"
    with path.open("wb") as out:
        write_pdf_a([Page(art.picture("1"), (200.0, 200.0))] * 3, 75, out)
    (image,) = load(path)
    assert (image.format, image.pages, image.data) == (DocumentFormat.PDF_A, 3, path)


def test_a_pdf_that_does_not_claim_pdf_a_is_refused_with_a_way_out(samples: dict[str, Path]) -> None:
    with pytest.raises(ImageError, match="does not say that it is PDF/A") as caught:
        load(samples["pdf"])
    assert "--format" in caught.value.what_to_do


def test_a_pdf_behind_a_password_is_refused(tmp_path: Path, samples: dict[str, Path]) -> None:
    path = tmp_path / "locked"
    with pikepdf.open(samples["pdf"]) as pdf:
        pdf.save(path, encryption=pikepdf.Encryption(owner="owner", user="user"))
    with pytest.raises(ImageError, match="password"):
        load(path)


@pytest.mark.parametrize("name", [*AS_IS, *REWRITTEN, "jpeg turned", "pdf"])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_file_cut_short_is_refused(
    tmp_path: Path, samples: dict[str, Path], name: str, share: float
) -> None:
    data = samples[name].read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"cut short|damaged") as caught:
        load(path)
    assert caught.value.what_to_do


@pytest.mark.parametrize("name", ["jpeg", "png", "bmp", "jpeg 2000", "tiff g4"])
def test_one_missing_byte_at_the_end_is_noticed(tmp_path: Path, samples: dict[str, Path], name: str) -> None:
    path = tmp_path / "cut"
    path.write_bytes(samples[name].read_bytes()[:-1])
    with pytest.raises(ImageError, match="cut short"):
        load(path)


def test_what_follows_a_whole_jpeg_is_no_damage(tmp_path: Path, samples: dict[str, Path]) -> None:
    path = tmp_path / "with a film behind"
    path.write_bytes(samples["jpeg"].read_bytes() + bytes(3_000_000))
    assert load(path)[0].format is DocumentFormat.JFIF


@pytest.mark.parametrize(
    "content", [b"GIF89a" + bytes(50), b"<html></html>", b"MZ" + bytes(200), b"BM, a letter", b"\0" * 64]
)
def test_other_files_are_refused_whatever_their_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="not an image that can be sent"):
        load(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.touch()
    with pytest.raises(ImageError, match="is empty"):
        load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        load(tmp_path / "nothing.tif")
    with pytest.raises(ImageError, match="is not a file"):
        load(tmp_path)


def test_tiff_pages_in_a_loop_are_refused(tmp_path: Path, art: SimpleNamespace) -> None:
    path = tmp_path / "loop.tif"
    path.write_bytes(art.tiff_of(2, 5, 3, loop=True))
    with pytest.raises(ImageError, match="loop"):
        load(path)


def test_more_pages_than_a_document_may_have_are_refused(tmp_path: Path, art: SimpleNamespace) -> None:
    path = tmp_path / "thick.tif"
    path.write_bytes(art.tiff_of(2, 5, MAX_PAGES))
    assert load(path)[0].pages == MAX_PAGES
    path.write_bytes(art.tiff_of(2, 5, MAX_PAGES + 1))
    with pytest.raises(ImageError, match="more than 2,000 pages"):
        load(path)


def test_loading_does_not_decode(tmp_path: Path, art: SimpleNamespace) -> None:
    """The header says a hundred gigapixels: naming the file costs nothing, so it may pass."""
    path = tmp_path / "huge.png"
    path.write_bytes(art.png_header(320_000, 320_000))
    assert load(path)[0].format is DocumentFormat.PNG


_MAGICS = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"]
_TIFF_MAGICS = [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(magic=st.sampled_from([b"", *_MAGICS, *_TIFF_MAGICS]), rest=st.binary(max_size=400))
def test_any_bytes_give_images_or_an_image_error(tmp_path: Path, magic: bytes, rest: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(magic + rest)
    images_or_refusal(path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(AS_IS)), data=st.data())
def test_damaged_images_give_images_or_an_image_error(
    tmp_path: Path, samples: dict[str, Path], name: str, data: st.DataObject
) -> None:
    content = bytearray(samples[name].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(400, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    images_or_refusal(path)


@settings(deadline=None, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.binary(max_size=200))
def test_any_bytes_that_open_like_a_pdf_give_an_image_error(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "any.pdf"
    path.write_bytes(b"%PDF-1.4\n" + rest)
    with pytest.raises(ImageError):
        load(path)


def test_a_pdf_whose_claim_is_only_its_name_is_refused(tmp_path: Path, art: SimpleNamespace) -> None:
    data = img2pdf.convert(
        art.encoded(art.picture(), "JPEG"), title="PDF/A-1b", engine=img2pdf.Engine.internal
    )
    assert data is not None
    path = tmp_path / "page.pdfa"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="does not say"):
        load(path)
