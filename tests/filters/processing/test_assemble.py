"""Assemble: pages put together without loss, in order, in the documents that were asked for."""

from __future__ import annotations

import io
import shutil
import subprocess
from typing import Any

import pikepdf
import pytest
from pikepdf import pdfa
from PIL import Image, ImageChops, TiffImagePlugin

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.filters.contract import (
    DeliveryError,
    Product,
)
from support.processing import DPI, as_documents, encoded, jpeg, page, pdf, png, tiff_g4

from .conftest import Desk

COLOUR = page("One page\nin colour", mode="RGB")
GREY = page("Another page\nin grey")
BILEVEL = page("A third page\nin black and white", mode="1")
F = DocumentFormat


def images_of(product: Product) -> list[tuple[bytes, str]]:
    """Return the octets of the image of each page, coded as they are, and how."""
    with pikepdf.open(product.path) as pdf_file:
        return [
            (bytes(image.read_raw_bytes()), str(image.get("/Filter")))
            for one in pdf_file.pages
            for image in one.get_images().values()
        ]


def drawn(product: Product) -> list[Image.Image]:
    """Return the pages of a PDF as somebody else's program sees them (poppler), in the pixels they have."""
    folder = product.path.parent / "drawn"
    folder.mkdir()
    subprocess.run(["pdfimages", "-png", str(product.path), str(folder / "p")], check=True)
    made = [Image.open(path).copy() for path in sorted(folder.iterdir())]
    shutil.rmtree(folder)
    return made


def same_pixels(one: Image.Image, other: Image.Image) -> bool:
    mode = "RGB" if one.mode not in ("1", "L") else "L"
    return ImageChops.difference(one.convert(mode), other.convert(mode)).getbbox() is None


def check_with_qpdf(product: Product) -> None:
    done = subprocess.run(["qpdf", "--check", str(product.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def is_missing(program: str) -> bool:
    return shutil.which(program) is None


needs_poppler = pytest.mark.skipif(
    is_missing("pdfimages"), reason="pdfimages is missing (Debian: poppler-utils)"
)
needs_qpdf = pytest.mark.skipif(is_missing("qpdf"), reason="qpdf is missing (Debian: qpdf)")


class TestLossless:
    @pytest.mark.parametrize("output", ["pdf", "pdf-a"])
    async def test_a_jpeg_is_embedded_octet_for_octet(self, desk: Desk, output: str) -> None:
        files = [jpeg(COLOUR), jpeg(GREY), jpeg(COLOUR, progressive=True)]
        for content in files:
            desk.add(content)
        [made] = await desk.assemble(output)
        assert images_of(made) == [(content, "/DCTDecode") for content in files]

    async def test_jpeg_2000_is_embedded_octet_for_octet(self, desk: Desk) -> None:
        content = encoded(COLOUR, "JPEG2000")
        desk.add(content, F.JPEG2K)
        [made] = await desk.assemble("pdf")
        assert images_of(made) == [(content, "/JPXDecode")]

    @pytest.mark.parametrize("pages", [1, 3])
    async def test_the_coded_octets_of_group_4_stay_as_they_are(self, desk: Desk, pages: int) -> None:
        content = tiff_g4(*[BILEVEL, page("two"), page("three")][:pages])
        desk.add(content, F.TIFF_MULTI_G4)
        [made] = await desk.assemble("pdf")
        with Image.open(io.BytesIO(content)) as tiff:
            strips = []
            for number in range(pages):
                tiff.seek(number)
                assert isinstance(tiff, TiffImagePlugin.TiffImageFile)
                offset, count = tiff.tag_v2[273][0], tiff.tag_v2[279][0]
                strips.append(content[offset : offset + count])
        assert [octets for octets, _filter in images_of(made)] == strips

    async def test_the_coded_octets_of_a_png_stay_as_they_are(self, desk: Desk) -> None:
        content = png(COLOUR)
        desk.add(content, F.PNG)
        [made] = await desk.assemble("pdf")
        [(octets, _filter)] = images_of(made)
        assert octets in content.replace(b"IDAT", b"") or content.count(octets[:64]) == 1

    async def test_a_jpeg_in_a_tiff_is_not_coded_again(self, desk: Desk) -> None:
        desk.add(tiff_jpeg(COLOUR), F.TIFF_SINGLE_JPEG)
        [made] = await desk.assemble("pdf")
        [(octets, kind)] = images_of(made)
        assert kind == "/DCTDecode"
        with Image.open(io.BytesIO(tiff_jpeg(COLOUR))) as before, Image.open(io.BytesIO(octets)) as after:
            assert same_pixels(before.convert("RGB"), after.convert("RGB"))

    @needs_poppler
    @pytest.mark.parametrize(
        ("image", "kind", "options", "called"),
        [
            (COLOUR, "PNG", {}, F.PNG),
            (BILEVEL, "PNG", {}, F.PNG),
            (COLOUR.convert("P"), "PNG", {}, F.PNG),
            (COLOUR, "BMP", {}, F.DIB),
            (BILEVEL, "BMP", {}, F.DIB),
            (COLOUR, "TIFF", {"compression": "raw"}, F.TIFF_SINGLE_UNCOMPRESSED),
            (GREY, "TIFF", {"compression": "tiff_lzw"}, F.TIFF_SINGLE_UNCOMPRESSED),
            (BILEVEL, "TIFF", {"compression": "group3"}, F.TIFF_SINGLE_G3MH),
            (BILEVEL, "TIFF", {"compression": "group4"}, F.TIFF_SINGLE_G4),
            (COLOUR, "JPEG2000", {}, F.JPEG2K),
        ],
        ids=lambda value: str(value) if isinstance(value, str) else None,
    )
    async def test_every_format_keeps_its_pixels(
        self, desk: Desk, image: Image.Image, kind: str, options: dict[str, Any], called: F
    ) -> None:
        desk.add(encoded(image, kind, **options), called)
        [made] = await desk.assemble("pdf")
        [after] = drawn(made)
        assert same_pixels(image, after)

    async def test_transparency_becomes_white_paper(self, desk: Desk) -> None:
        image = Image.new("RGBA", (100, 100), (200, 0, 0, 0))
        desk.add(png(image), F.PNG)
        [made] = await desk.assemble("pdf-a")
        with pikepdf.open(made.path) as made_pdf:
            [found] = made_pdf.pages[0].get_images().values()
            assert pikepdf.PdfImage(found).as_pil_image().convert("RGB").getpixel((50, 50)) == (255, 255, 255)
            assert "/SMask" not in found


class TestPages:
    async def test_pages_come_in_the_order_of_the_documents_with_all_of_each(self, desk: Desk) -> None:
        sizes = [(200 + 10 * number, 300) for number in range(7)]
        images = [Image.new("L", size, 255) for size in sizes]
        desk.add(jpeg(images[0]))
        desk.add(tiff_g4(images[1], images[2]), F.TIFF_MULTI_G4)
        desk.add(pdf(jpeg(images[3]), png(images[4])), F.PDF_A)
        desk.add(png(images[5]), F.PNG)
        desk.add(jpeg(images[6]))
        [made] = await desk.assemble("pdf")
        with pikepdf.open(made.path) as made_pdf:
            found = [int(image["/Width"]) for one in made_pdf.pages for image in one.get_images().values()]
        assert found == [width for width, _height in sizes]
        assert made.pages == 7
        assert made.sources == (1, 2, 3, 4, 5)
        assert made.format is DerivedFormat.PDF
        assert desk.bench.told[-1] == (5, 5)

    async def test_a_page_has_the_size_that_its_resolution_says(self, desk: Desk) -> None:
        image = Image.new("L", (400, 600), 255)
        desk.add(jpeg(image, dpi=(100, 200)))
        desk.add(encoded(image, "TIFF", compression="raw", dpi=(300, 300)), F.TIFF_SINGLE_UNCOMPRESSED)
        desk.add(jpeg(image, dpi=(0, 0)))
        [made] = await desk.assemble("pdf")
        with pikepdf.open(made.path) as made_pdf:
            boxes = [[round(float(side), 1) for side in one.mediabox[2:]] for one in made_pdf.pages]
        # Without a resolution, as long as A4.
        assert boxes == [[288, 216], [96, 144], [561.3, 842]]

    async def test_a_turned_jpeg_stays_as_it_is_and_is_shown_upright(self, desk: Desk) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        content = jpeg(COLOUR, exif=exif.tobytes())
        desk.add(content)
        [made] = await desk.assemble("pdf")
        assert images_of(made) == [(content, "/DCTDecode")]
        with pikepdf.open(made.path) as made_pdf:
            assert made_pdf.pages[0].obj["/Rotate"] == 90

    async def test_pages_are_divided_into_documents(self, desk: Desk) -> None:
        desk.add(jpeg(GREY))
        desk.add(tiff_g4(BILEVEL, BILEVEL, BILEVEL), F.TIFF_MULTI_G4)
        desk.add(jpeg(COLOUR))
        made = await desk.assemble("pdf", "<a:PagesPerDocument>2</a:PagesPerDocument>")
        assert [(one.pages, one.sources) for one in made] == [(2, (1, 2)), (2, (2,)), (1, (3,))]
        made = await desk.assemble("tiff", "<a:PagesPerDocument>2</a:PagesPerDocument>")
        assert [(one.pages, one.sources) for one in made] == [(2, (1, 2)), (2, (2,)), (1, (3,))]

    async def test_what_is_made_keeps_a_name_and_the_accepted_images_it_is_of(self, desk: Desk) -> None:
        first = Product(path=desk.folder / "x", format=F.JFIF, sources=(3, 4), name="Invoice 7")
        first.path.write_bytes(jpeg(GREY))
        desk.documents = as_documents([first])
        [made] = await desk.assemble("pdf")
        assert (made.name, made.sources) == ("Invoice 7", (3, 4))

    async def test_as_sent_hands_on_the_documents_themselves(self, desk: Desk) -> None:
        desk.add(jpeg(GREY))
        desk.add(b"no image at all", F.JBIG)
        made = await desk.assemble("as-sent")
        assert [(one.path, one.format, one.sources) for one in made] == [
            (one.path, one.format, (one.document_id,)) for one in desk.documents
        ]
        assert list(desk.bench.folder.iterdir()) == []

    async def test_many_documents_are_joined_in_steps(self, desk: Desk) -> None:
        one = pdf(jpeg(Image.new("L", (20, 20), 255)))
        for _ in range(230):
            desk.add(one, F.PDF_A)
        [made] = await desk.assemble("pdf")
        assert made.pages == 230
        assert [path.name for path in desk.bench.folder.iterdir()] == ["made-1.pdf"]


class TestPdf:
    async def test_title_and_time_are_those_of_the_job(self, desk: Desk) -> None:
        desk.add(jpeg(GREY))
        [made] = await desk.assemble("pdf", "<a:Title>Über &amp; Öl</a:Title>")
        with pikepdf.open(made.path) as made_pdf:
            assert str(made_pdf.docinfo["/Title"]) == "Über & Öl"
            assert str(made_pdf.docinfo["/CreationDate"]) == "D:20261121143005+00'00'"
            assert "/PostscanContent" in made_pdf.docinfo

    async def test_a_page_of_a_pdf_loses_what_it_could_do_by_itself(self, desk: Desk) -> None:
        with pikepdf.open(io.BytesIO(pdf(jpeg(GREY)))) as armed:
            armed.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")
            action = pikepdf.Dictionary(S=pikepdf.Name.Launch, F="cmd.exe")
            link = pikepdf.Dictionary(S=pikepdf.Name.URI, URI="https://example.com")
            rectangle = pikepdf.Array([0, 0, 10, 10])
            armed.pages[0].obj["/AA"] = pikepdf.Dictionary(O=action)
            armed.pages[0].obj["/Annots"] = pikepdf.Array(
                pikepdf.Dictionary(Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Link, Rect=rectangle, A=one)
                for one in (action, link)
            )
            out = io.BytesIO()
            armed.save(out)
        desk.add(out.getvalue(), F.PDF_A)
        [made] = await desk.assemble("pdf")
        with pikepdf.open(made.path) as made_pdf:
            assert "/OpenAction" not in made_pdf.Root
            assert "/AA" not in made_pdf.pages[0].obj
            assert [str(note.A.S) for note in made_pdf.pages[0].obj["/Annots"]] == ["/URI"]
            assert "/PostscanContent" not in made_pdf.docinfo

    @needs_qpdf
    async def test_every_input_makes_a_sound_pdf_a_2b(self, desk: Desk) -> None:
        desk.add(jpeg(COLOUR))
        desk.add(jpeg(GREY))
        desk.add(jpeg(COLOUR.convert("CMYK")))
        desk.add(jpeg(COLOUR, icc_profile=b"no profile" * 20))
        desk.add(png(COLOUR.convert("RGBA")), F.PNG)
        desk.add(png(COLOUR.convert("P")), F.PNG)
        desk.add(png(BILEVEL), F.PNG)
        desk.add(tiff_g4(BILEVEL, GREY), F.TIFF_MULTI_G4)
        desk.add(encoded(COLOUR, "BMP"), F.DIB)
        desk.add(encoded(COLOUR, "TIFF", compression="raw"), F.TIFF_SINGLE_UNCOMPRESSED)
        desk.add(tiff_jpeg(COLOUR), F.TIFF_SINGLE_JPEG)
        [made] = await desk.assemble("pdf-a")
        assert made.format is F.PDF_A
        check_with_qpdf(made)
        report = pdfa.validate_written(made.path, "2b")
        assert report.passed, report.summary()
        with pikepdf.open(made.path) as made_pdf:
            assert made_pdf.open_metadata().pdfa_status == "2B"
        assert desk.bench.warnings == []

    async def test_jpeg_2000_is_kept_in_a_pdf_a(self, desk: Desk) -> None:
        content = encoded(COLOUR, "JPEG2000")
        desk.add(content, F.JPEG2K)
        [made] = await desk.assemble("pdf-a")
        assert images_of(made) == [(content, "/JPXDecode")]
        report = pdfa.validate_written(made.path, "2b")
        assert {finding.message for finding in report.findings} == {"JPEG 2000 images are not supported"}

    async def test_a_pdf_whose_pages_are_no_pdf_a_is_not_called_one(self, desk: Desk) -> None:
        with pikepdf.new() as plain:
            plain.add_blank_page()
            font = pikepdf.Dictionary(
                Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica
            )
            plain.pages[0].obj["/Resources"] = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
            plain.pages[0].obj["/Contents"] = plain.make_stream(b"BT /F1 24 Tf 100 100 Td (hello) Tj ET")
            out = io.BytesIO()
            plain.save(out)
        desk.add(jpeg(GREY))
        desk.add(out.getvalue(), F.PDF_A)
        await desk.assemble("pdf")
        with pytest.raises(DeliveryError, match="document 2 is a PDF: nobody can tell whether"):
            await desk.assemble("pdf-a")


class TestTiff:
    async def test_pages_of_a_tiff_keep_pixels_resolution_and_coding(self, desk: Desk) -> None:
        content = jpeg(COLOUR)
        desk.add(content)
        desk.add(tiff_g4(BILEVEL), F.TIFF_SINGLE_G4)
        desk.add(png(GREY), F.PNG)
        desk.add(jpeg(GREY))
        desk.add(jpeg(COLOUR, progressive=True))
        [made] = await desk.assemble("tiff")
        assert made.format is DerivedFormat.TIFF
        before = [COLOUR_JPEG, BILEVEL, GREY, decoded(jpeg(GREY)), decoded(jpeg(COLOUR, progressive=True))]
        codings = ["jpeg", "group4", "tiff_lzw", "jpeg", "tiff_lzw"]
        with Image.open(made.path) as tiff:
            assert isinstance(tiff, TiffImagePlugin.TiffImageFile)
            assert tiff.n_frames == 5
            for number, (image, coding) in enumerate(zip(before, codings, strict=True)):
                tiff.seek(number)
                assert tiff.info["compression"] == coding
                assert tiff.info["dpi"] == (DPI, DPI)
                assert same_pixels(image, tiff.convert("RGB"))
        assert content in made.path.read_bytes()

    async def test_pages_of_a_pdf_are_drawn(self, desk: Desk) -> None:
        pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed")
        desk.add(pdf(jpeg(GREY)), F.PDF_A)
        [made] = await desk.assemble("tiff")
        with Image.open(made.path) as tiff:
            assert tiff.size == (1241, 1756)
            assert tiff.info["dpi"] == (300, 300)


COLOUR_JPEG = Image.open(io.BytesIO(jpeg(COLOUR)))
COLOUR_JPEG.load()


def decoded(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image.copy()


def tiff_jpeg(image: Image.Image) -> bytes:
    """Return a TIFF with the coding of Technical Note 2, in one strip, as devices write it."""
    return encoded(image.convert("YCbCr"), "TIFF", compression="jpeg", strip_size=1 << 31, quality=90)
