from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pikepdf
import pytest
from PIL import Image, ImageChops, ImageCms

from postscan.contracts.formats import matches
from postscan.contracts.keywords import DocumentFormat
from postscan.device.errors import ImageError
from postscan.device.imaging import ScannedImage, load
from postscan.device.imaging.icc import srgb_profile
from postscan.device.imaging.request import ConversionRequest, submit
from postscan.device.transcode import MULTI_PAGE, PRODUCIBLE, prepare, prepare_async, transcode, transcode_all

PAGES = {
    "tiffs": 2,
    "tiffs g4": 3,
    "tiffs g3": 2,
    "tiffs jpeg": 2,
    "tiffs packbits": 2,
    "tiffs deflate": 2,
    "pdf": 2,
}
LOSSLESS = {DocumentFormat.PNG, DocumentFormat.DIB, DocumentFormat.TIFF_SINGLE_UNCOMPRESSED}
UNCHANGED = {
    "png": "RGB",
    "png bilevel": "1",
    "bmp": "RGB",
    "tiff": "RGB",
    "tiff g4": "1",
    "tiff lzw": "RGB",
}


def opened(image: ScannedImage) -> Image.Image:
    return Image.open(io.BytesIO(image.read()))


def frames(image: ScannedImage) -> Iterator[Image.Image]:
    with opened(image) as picture:
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            yield picture


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two pictures' shades, 0 to 255."""
    histogram = ImageChops.difference(one.convert("L"), other.convert("L")).histogram()
    return sum(level * count for level, count in enumerate(histogram)) / sum(histogram)


@pytest.mark.parametrize("target", sorted(PRODUCIBLE))
def test_every_kind_of_file_becomes_every_format(
    tmp_path: Path, samples: dict[str, Path], art: SimpleNamespace, target: DocumentFormat
) -> None:
    names = list(samples)
    made = submit([samples[name] for name in names], ConversionRequest((), target))
    for number, name in enumerate(names):
        images = [image for source, image in made if source == number]
        pages = PAGES.get(name, 1)
        assert [image.pages for image in images] == ([pages] if target in MULTI_PAGE else [1] * pages), name
        for image in images:
            (tmp_path / "made").write_bytes(image.read())
            assert matches(target, image.read()[:4096]), name  # what the server looks at
            if target is DocumentFormat.PDF_A:
                check_pdf_a(image, art)
                continue
            (seen,) = load(tmp_path / "made")
            single_as_multi = image.pages == 1 and target in MULTI_PAGE
            assert (
                seen.format.replace("-single", "-multi") == target
                if single_as_multi
                else seen.format is target
            )
            assert seen.pages == image.pages
            for frame in frames(image):
                assert frame.size == art.SIZE, name
                assert [round(value) for value in frame.info["dpi"]] == [art.DPI, art.DPI], name
                assert shade(frame, 35) < 60 < shade(frame, 300), name  # the dark bar is at the top
                if target in LOSSLESS and name in UNCHANGED:
                    assert (
                        frame.convert("RGB").tobytes()
                        == art.picture(UNCHANGED[name]).convert("RGB").tobytes()
                    )


def shade(frame: Image.Image, y: int) -> float:
    """Return how light (0 to 255) a frame is in the middle of a row."""
    if frame.mode.startswith("I;16"):
        frame = frame.convert("I").point(lambda level: level / 256)
    value = frame.convert("L").getpixel((120, y))
    assert isinstance(value, int)
    return value


def check_pdf_a(image: ScannedImage, art: SimpleNamespace) -> None:
    with pikepdf.open(io.BytesIO(image.read())) as pdf:
        assert pdf.open_metadata().pdfa_status == "1B"
        (intent,) = pdf.Root.OutputIntents
        assert intent.S == "/GTS_PDFA1"
        assert intent.DestOutputProfile.read_bytes() == srgb_profile()
        assert pdf.Root.Metadata.Subtype == "/XML"
        assert "/Filter" not in pdf.Root.Metadata
        assert pdf.pdf_version < "1.5"
        assert "/ID" in pdf.trailer
        for page in pdf.pages:
            size = [float(value) for value in page.MediaBox]
            assert size == pytest.approx(
                [0, 0, art.SIZE[0] * 72 / art.DPI, art.SIZE[1] * 72 / art.DPI], abs=0.01
            )
            (picture,) = page.resources.XObject.values()
            assert "/SMask" not in picture
            assert picture.BitsPerComponent in (1, 2, 4, 8)
            assert pikepdf.PdfImage(picture).filters[0] != "/JPXDecode"


def test_what_is_the_format_already_is_left_alone(samples: dict[str, Path]) -> None:
    (image,) = transcode(samples["jpeg"], DocumentFormat.JFIF, quality=10)
    assert image.read() == samples["jpeg"].read_bytes()


def test_one_page_becomes_a_multi_page_format_as_it_is(samples: dict[str, Path]) -> None:
    (image,) = transcode(samples["tiff g4"], DocumentFormat.TIFF_MULTI_G4)
    assert image.format is DocumentFormat.TIFF_MULTI_G4
    assert image.data == samples["tiff g4"]


def test_a_multi_page_tiff_is_split_and_joined_again_without_loss(samples: dict[str, Path]) -> None:
    split = transcode(samples["tiffs g4"], DocumentFormat.TIFF_SINGLE_G4)
    assert [image.pages for image in split] == [1, 1, 1]
    (joined,) = transcode_all(split, DocumentFormat.TIFF_MULTI_G4)
    assert joined.pages == 3
    with Image.open(samples["tiffs g4"]) as before:
        for number, frame in enumerate(frames(joined)):
            before.seek(number)
            assert frame.tobytes() == before.tobytes()


def test_all_pages_of_a_job_come_in_one_document_and_in_order(samples: dict[str, Path]) -> None:
    sources = [samples["jpeg"], samples["tiffs g4"], samples["png"]]
    (joined,) = transcode_all(sources, DocumentFormat.PDF_A)
    with pikepdf.open(io.BytesIO(joined.read())) as pdf:
        kinds = [
            pikepdf.PdfImage(next(iter(page.resources.XObject.values()))).filters[0] for page in pdf.pages
        ]
    assert kinds == ["/DCTDecode", *["/CCITTFaxDecode"] * 3, "/FlateDecode"]


def test_documents_that_need_nothing_keep_their_place_among_those_that_do(samples: dict[str, Path]) -> None:
    made = transcode_all([samples["png"], samples["jpeg"], samples["bmp"]], DocumentFormat.JFIF)
    assert [image.name for image in made] == [str(samples[name]) for name in ("png", "jpeg", "bmp")]
    assert made[1].data == samples["jpeg"]


def test_a_jpeg_goes_into_pdf_a_bit_for_bit(samples: dict[str, Path]) -> None:
    (image,) = transcode(samples["jpeg"], DocumentFormat.PDF_A)
    assert samples["jpeg"].read_bytes() in image.read()


def test_the_same_pages_give_the_same_pdf_a(samples: dict[str, Path]) -> None:
    once, again = (transcode(samples["png"], DocumentFormat.PDF_A)[0].read() for _ in range(2))
    assert once == again


def test_images_of_a_plain_pdf_are_taken_out_as_they_are(samples: dict[str, Path]) -> None:
    (image,) = transcode(samples["pdf"], DocumentFormat.PDF_A)
    with pikepdf.open(samples["pdf"]) as before, pikepdf.open(io.BytesIO(image.read())) as after:
        (old,), (new,) = (pdf.pages[0].resources.XObject.values() for pdf in (before, after))
        assert new.read_raw_bytes() == old.read_raw_bytes()


def test_a_pdf_page_that_is_not_one_image_is_refused_with_advice(
    tmp_path: Path, samples: dict[str, Path]
) -> None:
    path = tmp_path / "drawn.pdf"
    with pikepdf.open(samples["pdf"]) as pdf:
        page = pdf.pages[1]
        page.contents_add(b"0 0 100 100 re f")
        pdf.save(path)
    with pytest.raises(ImageError, match=r"Page 2 of .*drawn\.pdf is not one scanned image") as caught:
        transcode(path, DocumentFormat.PNG)
    assert "pdftoppm" in caught.value.what_to_do


def test_lower_quality_makes_smaller_files(samples: dict[str, Path]) -> None:
    for target in (DocumentFormat.JFIF, DocumentFormat.JPEG2K, DocumentFormat.TIFF_SINGLE_JPEG):
        sizes = [transcode(samples["png"], target, quality=quality)[0].size for quality in (10, 95)]
        assert sizes[0] * 1.3 < sizes[1], target


def test_jpeg_2000_of_quality_100_is_without_loss(samples: dict[str, Path], art: SimpleNamespace) -> None:
    (image,) = transcode(samples["png"], DocumentFormat.JPEG2K, quality=100)
    assert opened(image).tobytes() == art.picture().tobytes()


@pytest.mark.parametrize("name", ["png", "tiff g4"])
def test_another_resolution_keeps_the_page_as_large(
    samples: dict[str, Path], art: SimpleNamespace, name: str
) -> None:
    (image,) = transcode(samples[name], DocumentFormat.PNG, resolution=100)
    picture = opened(image)
    assert picture.size == (art.SIZE[0] // 2, art.SIZE[1] // 2)
    assert [round(value) for value in picture.info["dpi"]] == [100, 100]
    with Image.open(samples[name]) as before:
        assert picture.mode == before.mode


@pytest.mark.parametrize(("color", "mode"), [("BlackAndWhite1", "1"), ("Grayscale8", "L"), ("RGB24", "RGB")])
@pytest.mark.parametrize("name", ["jpeg", "tiff g4", "png 16 bit"])
def test_the_colour_mode_is_what_the_ticket_says(
    samples: dict[str, Path], name: str, color: str, mode: str
) -> None:
    (image,) = transcode(samples[name], DocumentFormat.PNG, color=color)
    assert opened(image).mode == mode


def test_text_is_cut_where_it_parts_from_the_paper(tmp_path: Path, art: SimpleNamespace) -> None:
    """Pale grey writing on grey paper: a cut in the middle of the scale would leave an empty page."""
    page = Image.new("L", (200, 200), 235)
    page.paste(150, (50, 50, 100, 100))
    path = tmp_path / "pale"
    path.write_bytes(art.encoded(page, "PNG"))
    picture = opened(transcode(path, DocumentFormat.TIFF_SINGLE_G4)[0])
    assert picture.histogram()[0] == 50 * 50


def test_a_blank_page_stays_blank(tmp_path: Path, art: SimpleNamespace) -> None:
    page = Image.new("L", (200, 200), 240)
    page.paste(250, (0, 0, 100, 200))
    path = tmp_path / "blank"
    path.write_bytes(art.encoded(page, "PNG"))
    picture = opened(transcode(path, DocumentFormat.TIFF_SINGLE_G4)[0])
    assert picture.histogram()[0] == 0


def test_transparency_becomes_white_paper(tmp_path: Path, art: SimpleNamespace) -> None:
    path = tmp_path / "clear"
    path.write_bytes(art.encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG"))
    assert opened(transcode(path, DocumentFormat.DIB)[0]).getpixel((5, 5)) == (255, 255, 255)


def test_a_page_lying_on_its_side_is_turned_upright(samples: dict[str, Path], art: SimpleNamespace) -> None:
    (image,) = transcode(samples["jpeg turned"], DocumentFormat.PNG)
    picture = opened(image)
    assert picture.size == art.SIZE
    assert difference(picture, art.picture()) < 3


def test_exif_output_opens_as_exif_and_says_no_more_than_needed(
    samples: dict[str, Path], art: SimpleNamespace
) -> None:
    (image,) = transcode(samples["png"], DocumentFormat.EXIF)
    data = image.read()
    assert data[2:4] == b"\xff\xe1"
    assert data[6:12] == b"Exif\0\0"
    exif = opened(image).getexif()
    assert (exif[0x0112], exif[0x011A], exif[0x0128]) == (1, art.DPI, 2)
    assert not exif.get_ifd(0x8825)  # where it was taken


def test_colours_of_another_profile_come_out_as_srgb(tmp_path: Path, art: SimpleNamespace) -> None:
    """A profile that calls green what sRGB calls red: its picture's red has to come out green."""
    profile = bytearray(srgb_profile())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    path = tmp_path / "swapped"
    path.write_bytes(art.encoded(Image.new("RGB", (40, 40), (255, 0, 0)), "PNG", icc_profile=bytes(profile)))
    (image,) = transcode(path, DocumentFormat.DIB)
    red_now, green_now, _blue = opened(image).getpixel((5, 5))  # type: ignore[misc]  # a tuple in RGB
    assert green_now > 240 > 20 > red_now
    (kept,) = transcode(path, DocumentFormat.TIFF_SINGLE_UNCOMPRESSED)
    assert opened(kept).info["icc_profile"] == bytes(profile)


def test_the_srgb_profile_is_one_that_pdf_a_1_allows() -> None:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())).profile
    assert profile.version < 3
    assert (profile.device_class, profile.xcolor_space.strip()) == ("mntr", "RGB")
    picture = Image.linear_gradient("L").convert("RGB")
    there = ImageCms.profileToProfile(
        picture, ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())), ImageCms.createProfile("sRGB")
    )
    assert there is not None
    assert difference(picture, there) < 0.6


@pytest.mark.parametrize("target", [DocumentFormat.JBIG, DocumentFormat.XPS])
def test_formats_that_cannot_be_made_are_refused(samples: dict[str, Path], target: DocumentFormat) -> None:
    with pytest.raises(ImageError, match="cannot be made") as caught:
        transcode(samples["png"], target)
    assert "pdf-a" in caught.value.what_to_do


@pytest.mark.parametrize(
    ("target", "ticket"),
    [
        (DocumentFormat.PNG, {"quality": 101}),
        (DocumentFormat.PNG, {"resolution": 0}),
        (DocumentFormat.PNG, {"color": "RGB48"}),
        (DocumentFormat.TIFF_SINGLE_G4, {"color": "RGB24"}),
        (DocumentFormat.JFIF, {"color": "BlackAndWhite1"}),
    ],
)
def test_tickets_that_cannot_be_met_are_refused(
    samples: dict[str, Path], target: DocumentFormat, ticket: dict[str, int | str]
) -> None:
    with pytest.raises(ImageError):
        transcode(samples["png"], target, **ticket)  # type: ignore[arg-type]  # one keyword at a time


def test_without_a_format_files_go_as_they_are(samples: dict[str, Path]) -> None:
    assert [image.data for image in prepare([samples["png"], samples["bmp"]])] == [
        samples["png"],
        samples["bmp"],
    ]


def test_a_resolution_alone_keeps_each_format(samples: dict[str, Path]) -> None:
    made = prepare([samples["jpeg"], samples["tiffs g4"]], resolution=100)
    assert [(image.format, image.pages) for image in made] == [
        (DocumentFormat.JFIF, 1),
        (DocumentFormat.TIFF_MULTI_G4, 3),
    ]


async def test_the_event_loop_goes_on_while_the_worker_works(samples: dict[str, Path]) -> None:
    work = asyncio.create_task(prepare_async([samples["png"]], DocumentFormat.JFIF))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 5
    assert work.result()[0].format is DocumentFormat.JFIF


def test_images_in_memory_are_transcoded_too(samples: dict[str, Path]) -> None:
    image = ScannedImage(samples["png"].read_bytes(), DocumentFormat.PNG, name="a page")
    (made,) = transcode(image, DocumentFormat.DIB)
    assert made.name == "a page"
    out = io.BytesIO()
    made.write_to(out)
    assert out.getvalue() == made.read()


def test_a_folder_named_like_us_is_not_taken_for_us(
    tmp_path: Path, samples: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "postscan").mkdir()
    (tmp_path / "postscan" / "__init__.py").write_text("raise SystemExit(9)")
    shutil.copy(samples["png"], tmp_path / "page.png")
    monkeypatch.chdir(tmp_path)
    assert transcode(Path("page.png"), DocumentFormat.DIB)
