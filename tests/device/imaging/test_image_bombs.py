from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from postscan.contracts.keywords import DocumentFormat
from postscan.device.errors import ImageError
from postscan.device.imaging import MAX_PIXELS, ScannedImage, WorkerLimits
from postscan.device.imaging.request import ConversionRequest, submit
from postscan.device.transcode import transcode


def images_or_refusal(work: Callable[[], list[ScannedImage]]) -> list[ImageError]:
    """Return the error that ``work`` ended in, if any: ours, with advice; else there are images."""
    try:
        images = work()
    except ImageError as error:
        refusal = error
    else:
        assert images
        return []
    assert refusal.what_to_do
    return [refusal]


def test_a_png_of_gigapixels_is_refused_before_it_is_decoded(tmp_path: Path, art: SimpleNamespace) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(art.png_header(60_000, 60_000))
    with pytest.raises(ImageError, match="larger than 200 megapixels") as caught:
        transcode(path, DocumentFormat.JFIF)
    assert "lower resolution" in caught.value.what_to_do


def test_a_page_just_above_the_cap_is_refused(tmp_path: Path, art: SimpleNamespace) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(art.png_header(20_000, MAX_PIXELS // 20_000 + 1))
    with pytest.raises(ImageError, match="larger than 200 megapixels"):
        transcode(path, DocumentFormat.JFIF)


def test_a_tiff_whose_second_page_is_a_bomb_is_refused(tmp_path: Path, art: SimpleNamespace) -> None:
    path = tmp_path / "bomb.tif"
    path.write_bytes(art.tiff_of(100_000, 100_000, 2))
    with pytest.raises(ImageError, match="100,000 by 100,000 pixels"):
        transcode(path, DocumentFormat.PNG)


def test_a_jpeg_whose_header_says_too_much_is_refused(tmp_path: Path, samples: dict[str, Path]) -> None:
    data = bytearray(samples["jpeg"].read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"
    path = tmp_path / "bomb.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="larger than 200 megapixels"):
        transcode(path, DocumentFormat.PNG)


def test_a_bomb_inside_a_pdf_is_refused(tmp_path: Path, samples: dict[str, Path]) -> None:
    path = tmp_path / "bomb.pdf"
    with pikepdf.open(samples["pdf"]) as pdf:
        (image,) = pdf.pages[0].resources.XObject.values()
        image.Width = image.Height = 90_000
        pdf.save(path)
    with pytest.raises(ImageError, match="90,000 by 90,000"):
        transcode(path, DocumentFormat.PNG)


def test_a_resolution_that_would_blow_a_page_up_is_refused(tmp_path: Path, art: SimpleNamespace) -> None:
    path = tmp_path / "stamp.png"
    path.write_bytes(art.encoded(Image.new("1", (400, 400)), "PNG"))
    with pytest.raises(ImageError, match="at 9600 dpi has a page of 19,200 by 19,200 pixels") as caught:
        transcode(path, DocumentFormat.PNG, resolution=9600)
    assert caught.value.exit_code == 4


@pytest.fixture(scope="module")
def wide_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wide") / "wide.png"
    Image.new("RGB", (6_000, 6_000)).save(path, compress_level=1)
    return path


def test_a_decoder_that_wants_too_much_memory_is_stopped(wide_page: Path) -> None:
    with pytest.raises(ImageError, match=r"memory|stopped"):
        submit(
            [wide_page],
            ConversionRequest((), DocumentFormat.DIB),
            limits=WorkerLimits(memory=200 << 20),
        )


def test_a_decoder_that_takes_too_long_is_stopped(wide_page: Path) -> None:
    with pytest.raises(ImageError, match="took too long"):
        submit([wide_page], ConversionRequest((), DocumentFormat.DIB), limits=WorkerLimits(wall=0.001))


def test_a_document_larger_than_allowed_is_not_written(wide_page: Path) -> None:
    with pytest.raises(ImageError, match="File too large"):
        submit([wide_page], ConversionRequest((), DocumentFormat.DIB), limits=WorkerLimits(output=1 << 20))


def test_a_decoder_that_computes_too_long_is_stopped(wide_page: Path) -> None:
    with pytest.raises(ImageError, match="took too long"):
        submit([wide_page], ConversionRequest((), DocumentFormat.JPEG2K), limits=WorkerLimits(cpu=1))


def test_a_worker_that_dies_gives_a_clear_error(
    samples: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ImageError, match="its decoder stopped"):
        submit([samples["png"]], ConversionRequest((), DocumentFormat.DIB))


@pytest.mark.parametrize("name", ["jpeg", "png", "jpeg 2000", "tiff g4", "tiff jpeg", "tiff lzw", "bmp"])
def test_pixels_that_are_nonsense_give_an_image_or_a_clear_error(
    tmp_path: Path, samples: dict[str, Path], name: str
) -> None:
    data = bytearray(samples[name].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(range(200)) * 2
    path = tmp_path / "nonsense"
    path.write_bytes(data)
    refusals = images_or_refusal(lambda: transcode(path, DocumentFormat.PDF_A))
    assert all(str(path) in str(error) for error in refusals)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(
        ["jpeg", "png palette", "bmp", "jpeg 2000", "tiffs", "tiff lzw", "tiffs jpeg", "pdf"]
    ),
    data=st.data(),
)
def test_damaged_files_are_transcoded_or_refused_and_never_crash(
    tmp_path: Path, samples: dict[str, Path], name: str, data: st.DataObject
) -> None:
    content = bytearray(samples[name].read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    images_or_refusal(lambda: transcode(path, DocumentFormat.TIFF_SINGLE_JPEG))
