"""Pages as nobody scans them, and as somebody may send them all the same: made sound, or refused in words."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

import pikepdf
import pytest
from PIL import Image

from postscan.contracts.keywords import DocumentFormat
from postscan.filters.assemble import AssembleSettings
from postscan.filters.contract import DeliveryError, WorkLimits
from support.processing import encoded, jpeg, page, pdf, png, tiff_g4

from .conftest import Desk

F = DocumentFormat
GREY = page("A page")
SMALL = Image.new("L", (64, 96), 200)


def _chunked(image: Image.Image, name: bytes, content: bytes) -> bytes:
    """Return a PNG with one more chunk behind its header."""
    made = png(image)
    crc = struct.pack(">I", zlib.crc32(name + content))
    return made[:33] + struct.pack(">I", len(content)) + name + content + crc + made[33:]


def _tiled(image: Image.Image) -> bytes:
    """Return a TIFF of one tile, which scanners do not make."""
    width, height = 64, 96
    pixels = image.resize((width, height)).tobytes()
    fields = (
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1),
        (322, 4, width), (323, 4, height), (324, 4, 8), (325, 4, len(pixels)),
    )  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in fields)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(pixels))
        + pixels
        + struct.pack("<H", len(fields))
        + table
        + bytes(4)
    )


def _strips(rows: int) -> bytes:
    """Return a TIFF with a strip for each row."""
    data = b"II*\0" + struct.pack("<I", 8 + rows) + bytes(range(256)) * (rows // 256 + 1)
    data = data[: 8 + rows]
    beside = len(data) + 2 + 12 * 9 + 4
    fields = (
        (256, 4, 1, 1), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, rows, beside), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, rows, beside + 4 * rows),
    )  # fmt: skip
    table = b"".join(struct.pack("<HHII", *one) for one in fields)
    offsets = b"".join(struct.pack("<I", 8 + row) for row in range(rows))
    return data + struct.pack("<H", len(fields)) + table + bytes(4) + offsets + struct.pack("<I", 1) * rows


def _bytes(pdf_file: pikepdf.Pdf) -> bytes:
    out = io.BytesIO()
    pdf_file.save(out)
    return out.getvalue()


def _content(one: pikepdf.Object) -> bytes:
    if not isinstance(one, pikepdf.Stream):
        return b""
    return one.read_raw_bytes() if one.get("/Subtype") == "/Image" else one.read_bytes()


@pytest.mark.parametrize("output", ["pdf", "pdf-a", "tiff"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (_strips(65_535), F.TIFF_SINGLE_UNCOMPRESSED),
        (_tiled(GREY), F.TIFF_SINGLE_UNCOMPRESSED),
        (encoded(GREY.convert("I;16"), "TIFF"), F.TIFF_SINGLE_UNCOMPRESSED),
        (png(SMALL.convert("I;16")), F.PNG),
        (png(SMALL.convert("LA")), F.PNG),
        (jpeg(GREY.convert("CMYK")), F.JFIF),
        (jpeg(GREY, dpi=(1, 1)), F.JFIF),
        (jpeg(GREY, dpi=(65_535, 1)), F.JFIF),
        (encoded(GREY, "TIFF", dpi=(1e9, 1e9)), F.TIFF_SINGLE_UNCOMPRESSED),
        (png(Image.new("1", (1, 1))), F.PNG),
        (png(Image.new("1", (20_000, 1))), F.PNG),
        (_chunked(SMALL, b"tEXt", b"a\0" + b"x" * (4 << 20)), F.PNG),
        (_chunked(SMALL, b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20))), F.PNG),
        (_chunked(SMALL, b"iCCP", b"a\0\0" + zlib.compress(bytes(200 << 20))), F.PNG),
        (_chunked(SMALL, b"pHYs", struct.pack(">IIB", 0, 0xFFFFFFFF, 1)), F.PNG),
    ],
    ids=[
        "65535 strips", "tile", "grey of 16 bit", "png of 16 bit", "alpha", "for printing", "1 dpi",
        "65535 by 1 dpi", "a thousand million dpi", "one dot", "a line", "text of 4 MB",
        "text that unpacks to 200 MB", "profile that unpacks to 200 MB", "no dots by many",
    ],
)  # fmt: skip
async def test_an_odd_page_becomes_a_sound_one_or_is_refused_by_name(
    desk: Desk, output: str, content: bytes, kind: DocumentFormat
) -> None:
    desk.settings = AssembleSettings(limits=WorkLimits(seconds=100, memory_bytes=768 * 1024**2))
    desk.add(content, kind)
    [made] = await desk.assemble(output, "<a:Unsupported>as-sent</a:Unsupported>")
    if made.path == desk.documents[0].path:
        # Refused, which concerns this document alone.
        [warning] = desk.bench.warnings
        assert warning.startswith("document 1 ")
        return
    assert made.pages == 1
    if output == "tiff":
        with Image.open(made.path) as image:
            image.load()
    else:
        with pikepdf.open(made.path) as opened:
            [only] = opened.pages
            sides = [float(side) for side in only.mediabox]
            assert all(0 <= side <= 14_400 for side in sides)
            [image] = only.get_images().values()
            assert image.read_raw_bytes()
            assert opened.get_warnings() == []


async def test_the_same_pages_make_the_same_octets_each_time(desk: Desk) -> None:
    for content, kind in ((jpeg(GREY), F.JFIF), (jpeg(GREY), F.JFIF), (tiff_g4(GREY), F.TIFF_SINGLE_G4)):
        desk.add(content, kind)
    hashes = set()
    for _ in range(2):
        [made] = await desk.assemble("pdf-a")
        hashes.add(hashlib.sha256(made.path.read_bytes()).hexdigest())
        made.path.unlink()
    assert len(hashes) == 1


async def test_one_thousand_documents_come_in_order(desk: Desk) -> None:
    for number in range(1_000):
        desk.add(png(Image.new("1", (8 + number, 8))), F.PNG)
    [made] = await desk.assemble("tiff")
    with Image.open(made.path) as image:
        widths = []
        for number in range(1_000):
            image.seek(number)
            widths.append(image.size[0])
    assert widths == [8 + number for number in range(1_000)]


async def test_case_30_a_pdf_of_very_many_empty_pages_is_refused(desk: Desk) -> None:
    made = pikepdf.new()
    for _ in range(20_000):
        made.add_blank_page(page_size=(10, 10))
    desk.add(_bytes(made), F.PDF_A)
    with pytest.raises(DeliveryError, match="more than 2,000 pages"):
        await desk.assemble("pdf")


async def test_case_32_what_hangs_on_a_pdf_that_was_sent_is_not_delivered(desk: Desk) -> None:
    with pikepdf.open(io.BytesIO(pdf(jpeg(GREY)))) as armed:
        attached = pikepdf.AttachedFileSpec(armed, b"MZ this program", filename="invoice.exe")
        armed.attachments["invoice.exe"] = attached
        script = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")
        armed.Root.Names["/JavaScript"] = pikepdf.Dictionary(Names=pikepdf.Array(["a", script]))
        armed.Root.OpenAction = script
        sheet = armed.pages[0].obj
        sheet["/AF"] = pikepdf.Array([attached.obj])
        sheet["/AA"] = pikepdf.Dictionary(O=script)
        box = pikepdf.Array([0, 0, 10, 10])
        notes = [
            pikepdf.Dictionary(Subtype=pikepdf.Name.FileAttachment, Rect=box, FS=attached.obj),
            pikepdf.Dictionary(Subtype=pikepdf.Name.Widget, Rect=box, AA=pikepdf.Dictionary(K=script)),
            pikepdf.Dictionary(Subtype=pikepdf.Name.Link, Rect=box, AF=pikepdf.Array([attached.obj])),
            pikepdf.Dictionary(
                Subtype=pikepdf.Name.Link,
                Rect=box,
                A=pikepdf.Dictionary(S=pikepdf.Name.SubmitForm, F="http://x"),
            ),
            pikepdf.Dictionary(
                Subtype=pikepdf.Name.Link,
                Rect=box,
                A=pikepdf.Dictionary(S=pikepdf.Name.URI, URI="https://x", Next=script),
            ),
        ]
        sheet["/Annots"] = pikepdf.Array([armed.make_indirect(note) for note in notes])
        armed.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array([sheet["/Annots"][1]]))
        desk.add(_bytes(armed), F.PDF_A)
    [made] = await desk.assemble("pdf")
    with pikepdf.open(made.path) as opened:
        assert len(opened.attachments) == 0
        whole = b"".join(one.unparse() + _content(one) for one in opened.objects)
    for sign in (
        b"JavaScript",
        b"app.alert",
        b"MZ this program",
        b"invoice.exe",
        b"SubmitForm",
        b"/AF",
        b"/AA",
    ):
        assert sign not in whole
