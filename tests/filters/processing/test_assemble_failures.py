"""Assemble: what is refused, in which words, and what becomes of it; image bombs (abuse case 30)."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from postscan.contracts.assemble import AssembleConfig
from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.contracts.schemas import validate
from postscan.core.errors import InvalidArgument
from postscan.filters.assemble import AssembleFilter, AssembleSettings
from postscan.filters.contract import PROCESSING, DeliveryError, InstructionsError, ProbeOrder, WorkLimits
from postscan.filters.pages import jpeg as jpeg_markers
from postscan.soap.names import ASSEMBLE
from postscan.soap.xml import parse
from support.delivery import JOB
from support.processing import encoded, jpeg, page, pdf, png, tiff_g4

from .conftest import Desk

F = DocumentFormat
GREY = page("A page")
XPS = b"PK\x03\x04" + bytes(60)
JBIG = bytes([0, 0, 1, 0]) + struct.pack(">III", 100, 100, 100) + bytes([8, 0, 3, 0x48]) + bytes(40)


def png_of(width: int, height: int, body: bytes = b"\0") -> bytes:
    """Return a whole, small PNG that says it is of this size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff_of(width: int, height: int, pages: int, *, loop: bool = False) -> bytes:
    """Return a TIFF that says it has so many pages of such a size, over ten octets of pixels."""
    fields = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height), (279, 10))
    data = b"II*\0" + struct.pack("<I", 18) + bytes(10)
    for number in range(pages):
        end = len(data) + 2 + 12 * len(fields) + 4
        following = (18 if loop else 0) if number == pages - 1 else end
        table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
        data += struct.pack("<H", len(fields)) + table + struct.pack("<I", following)
    return data


class TestBombs:
    @pytest.mark.parametrize("output", ["pdf", "pdf-a", "tiff"])
    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (png_of(60_000, 60_000), F.PNG),
            (png_of(14_143, 14_143), F.PNG),
            (tiff_of(60_000, 60_000, 1), F.TIFF_SINGLE_UNCOMPRESSED),
        ],
        ids=["png of gigapixels", "png a little too large", "tiff of gigapixels"],
    )
    async def test_case_30_a_page_of_too_many_pixels_is_not_decoded(
        self, desk: Desk, content: bytes, kind: F, output: str
    ) -> None:
        desk.add(jpeg(GREY))
        desk.add(content, kind)
        with pytest.raises(
            DeliveryError, match=r"document 2 has a page.* larger than 200 megapixels"
        ) as caught:
            await desk.assemble(output)
        assert not caught.value.transient

    async def test_case_30_a_jpeg_that_says_it_is_huge_is_not_decoded(self, desk: Desk) -> None:
        content = bytearray(jpeg(GREY))
        place = content.index(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
        desk.add(bytes(content))
        with pytest.raises(DeliveryError, match="document 1 has a page that is larger"):
            await desk.assemble("pdf")

    @pytest.mark.parametrize("output", ["pdf", "tiff"])
    async def test_case_30_tiff_directories_in_a_loop_end(self, desk: Desk, output: str) -> None:
        desk.add(tiff_of(5, 2, 3, loop=True), F.TIFF_MULTI_UNCOMPRESSED)
        [made] = await desk.assemble(output)
        assert made.pages == 3

    async def test_case_30_a_page_that_unpacks_to_more_than_it_says_fills_no_memory(self, desk: Desk) -> None:
        desk.add(png_of(100, 100, bytes(300_000_000)), F.PNG)
        desk.settings = AssembleSettings(limits=WorkLimits(memory_bytes=512 * 1024**2))
        # It has alpha and is decoded: as many pixels as it says, the rest is left alone.
        [made] = await desk.assemble("pdf")
        assert made.pages == 1

    async def test_case_30_what_is_no_allowed_image_is_opened_by_no_decoder(self, desk: Desk) -> None:
        desk.add(b"GIF89a" + bytes(100), F.PNG)
        with pytest.raises(DeliveryError, match="document 1 is no image of a known kind"):
            await desk.assemble("pdf")

    @pytest.mark.parametrize("output", ["pdf", "tiff"])
    async def test_case_30_no_more_pages_are_put_together_than_allowed(self, desk: Desk, output: str) -> None:
        tiny = tiff_g4(*[Image.new("1", (8, 8), 1)] * 21)
        desk.settings = AssembleSettings(max_pages=40)
        desk.add(tiny, F.TIFF_MULTI_G4)
        desk.add(tiny, F.TIFF_MULTI_G4)
        with pytest.raises(DeliveryError, match="there are more than 40 pages") as caught:
            await desk.assemble(output, "<a:Unsupported>as-sent</a:Unsupported>")
        assert "processing.pages" in caught.value.what_to_do

    async def test_case_30_2_001_pages_are_too_many(self, desk: Desk) -> None:
        desk.add(tiff_of(1, 1, 2001), F.TIFF_MULTI_UNCOMPRESSED)
        with pytest.raises(DeliveryError, match="there are more than 2,000 pages"):
            await desk.assemble("pdf")

    async def test_case_30_2_000_pages_are_put_together(self, desk: Desk) -> None:
        desk.add(tiff_of(5, 2, 2000), F.TIFF_MULTI_UNCOMPRESSED)
        [made] = await desk.assemble("pdf")
        assert made.pages == 2000

    def test_case_30_the_server_itself_loads_no_decoder(self) -> None:
        program = (
            "import sys, postscan.filters.assemble, postscan.filters.ocr, postscan.cli.filters_processing;"
            "print({'PIL', 'pikepdf', 'img2pdf', 'ocrmypdf', 'pypdfium2'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "kind", "words"),
        [
            (jpeg(GREY)[:3000], F.JFIF, "damaged or cut short"),
            (png(GREY)[:2000], F.PNG, "damaged or cut short"),
            (tiff_g4(GREY)[:100], F.TIFF_SINGLE_G4, "damaged or cut short"),
            (encoded(GREY, "TIFF", compression="raw")[:5000], F.TIFF_SINGLE_UNCOMPRESSED, "damaged or cut"),
            (encoded(GREY, "JPEG2000")[:900], F.JPEG2K, "damaged or cut short"),
            (pdf(jpeg(GREY))[:400], F.PDF_A, "damaged or cut short|holds no page"),
            (JBIG, F.JBIG, "is JBIG, whose pages cannot be taken out"),
            (XPS, F.XPS, "is XPS, whose pages cannot be taken out"),
            (b"", F.JFIF, "is no image of a known kind"),
        ],
        ids=["jpeg", "png", "g4", "tiff", "jpeg 2000", "pdf", "jbig", "xps", "empty"],
    )
    async def test_a_document_that_cannot_be_put_in_is_named(
        self, desk: Desk, content: bytes, kind: F, words: str
    ) -> None:
        desk.add(jpeg(GREY))
        desk.add(content, kind)
        with pytest.raises(DeliveryError, match=f"document 2 .*({words})") as caught:
            await desk.assemble("pdf")
        assert caught.value.reason is FilterStateReason.UNKNOWN_ERROR
        assert not caught.value.transient
        assert caught.value.what_to_do

    @pytest.mark.parametrize("output", ["pdf", "pdf-a", "tiff"])
    async def test_such_a_document_can_be_handed_on_as_it_was_sent(self, desk: Desk, output: str) -> None:
        desk.add(jpeg(GREY))
        desk.add(JBIG, F.JBIG)
        desk.add(jpeg(GREY)[:3000])
        desk.add(png(GREY), F.PNG)
        joined, *others = await desk.assemble(output, "<a:Unsupported>as-sent</a:Unsupported>")
        assert (joined.pages, joined.sources) == (2, (1, 4))
        assert [(one.path, one.sources) for one in others] == [
            (desk.documents[1].path, (2,)),
            (desk.documents[2].path, (3,)),
        ]
        assert [text[:10] for text in desk.bench.warnings] == ["document 2", "document 3"]

    async def test_when_nothing_can_be_put_together_all_goes_on_as_it_was_sent(self, desk: Desk) -> None:
        desk.add(JBIG, F.JBIG)
        [made] = await desk.assemble("pdf", "<a:Unsupported>as-sent</a:Unsupported>")
        assert made.path == desk.documents[0].path

    async def test_pages_of_a_document_that_breaks_midway_are_not_left_in(self, desk: Desk) -> None:
        whole = tiff_of(5, 2, 150)
        last = whole.rindex(struct.pack("<HHII", 273, 4, 1, 8))
        desk.add(jpeg(GREY))
        # The pixels of its last page are not there, and parts of its first ones are written by then.
        desk.add(
            whole[:last] + struct.pack("<HHII", 273, 4, 1, 10**6) + whole[last + 12 :],
            F.TIFF_MULTI_UNCOMPRESSED,
        )
        joined, other = await desk.assemble("pdf", "<a:Unsupported>as-sent</a:Unsupported>")
        assert (joined.sources, joined.pages) == ((1,), 1)
        assert other.path == desk.documents[1].path
        with pikepdf.open(joined.path) as made_pdf:
            assert len(made_pdf.pages) == 1

    async def test_a_protected_pdf_is_refused(self, desk: Desk, tmp_path: Path) -> None:
        with pikepdf.new() as locked:
            locked.add_blank_page()
            locked.save(tmp_path / "locked", encryption=pikepdf.Encryption(user="u", owner="o"))
        desk.add((tmp_path / "locked").read_bytes(), F.PDF_A)
        with pytest.raises(DeliveryError, match="document 1 is protected by a password"):
            await desk.assemble("pdf")

    async def test_a_full_disk_heals(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.add(jpeg(GREY))
        monkeypatch.setattr("postscan.filters.assemble._TASK", "support.tasks:fill")
        with pytest.raises(DeliveryError) as caught:
            await desk.assemble("pdf")
        assert (caught.value.reason, caught.value.transient) == (FilterStateReason.OUT_OF_DISK_SPACE, True)

    async def test_a_worker_that_the_system_kills_is_tried_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.add(jpeg(GREY))
        monkeypatch.setattr("postscan.filters.assemble._TASK", "support.tasks:be_killed")
        work = asyncio.ensure_future(desk.assemble("pdf"))
        async with asyncio.timeout(60):
            while not desk.bench.told:
                await asyncio.sleep(0.02)
        pids = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and os.path.lexists(entry / "cwd") and _is_at(entry, desk.bench.folder)
        ]
        os.kill(max(pids), signal.SIGKILL)
        with pytest.raises(DeliveryError, match="SIGKILL") as caught:
            await work
        assert (caught.value.reason, caught.value.transient) == (FilterStateReason.SERVER_OUT_OF_MEMORY, True)

    async def test_a_limit_is_no_reason_to_try_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.add(jpeg(GREY))
        desk.settings = AssembleSettings(limits=WorkLimits(seconds=1))
        monkeypatch.setattr("postscan.filters.assemble._TASK", "support.tasks:idle")
        with pytest.raises(DeliveryError, match="longer than 1 s") as caught:
            await desk.assemble("pdf")
        assert not caught.value.transient
        assert "[processing]" in caught.value.what_to_do

    async def test_a_file_that_gets_too_large_is_a_limit(self, desk: Desk) -> None:
        for _ in range(5):
            desk.add(pdf(jpeg(page("A page", mode="RGB"))), F.PDF_A)
        desk.settings = AssembleSettings(limits=WorkLimits(file_bytes=40_000))
        with pytest.raises(DeliveryError, match="wrote a file of more than"):
            await desk.assemble("pdf")

    async def test_what_a_worker_says_is_not_believed(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.add(jpeg(GREY))
        monkeypatch.setattr("postscan.filters.assemble._TASK", "support.tasks:echo")
        with pytest.raises(DeliveryError, match="not understood"):
            await desk.assemble("pdf")


class TestInstructions:
    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            ("", "assemble:Output"),
            ("<a:Output>docx</a:Output>", "assemble:Output"),
            (
                "<a:Output>pdf</a:Output><a:PagesPerDocument>0</a:PagesPerDocument>",
                "assemble:PagesPerDocument",
            ),
            (
                "<a:Output>as-sent</a:Output><a:PagesPerDocument>2</a:PagesPerDocument>",
                "assemble:PagesPerDocument",
            ),
        ],
    )
    def test_instructions_that_make_no_sense_are_refused_by_name(self, body: str, detail: str) -> None:
        with pytest.raises(InstructionsError) as caught:
            AssembleFilter().destinations(instructions(body), JOB)
        assert caught.value.detail == detail

    def test_there_is_one_destination(self) -> None:
        wrapped = parse(
            f'<Instructions><a:AssembleConfig xmlns:a="{ASSEMBLE}"><a:Output>pdf</a:Output>'
            "</a:AssembleConfig></Instructions>".encode()
        )
        assert AssembleFilter().destinations(wrapped, JOB) == [PROCESSING]

    def test_the_schema_takes_what_is_written_and_refuses_the_rest(self) -> None:
        config = AssembleConfig(output="tiff", pages_per_document=3, title="T", unsupported="as-sent")
        validate(config.to_element())
        assert AssembleConfig.from_element(config.to_element()) == config
        with pytest.raises(InvalidArgument):
            validate(instructions("<a:Output>pdf</a:Output><a:PagesPerDocument>2001</a:PagesPerDocument>"))

    @pytest.mark.parametrize("output", ["pdf", "pdf-a", "tiff", "as-sent"])
    async def test_a_probe_puts_a_page_together(self, output: str) -> None:
        asked = ProbeOrder(PROCESSING, JOB, instructions(f"<a:Output>{output}</a:Output>"))
        [said] = await AssembleFilter().probe(asked)
        assert said.startswith("pages are handed on" if output == "as-sent" else "a worker process made a")


class TestJpegMarkers:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=200), st.integers(0, 2000))
    def test_any_octets_are_read_or_refused(self, noise: bytes, place: int) -> None:
        whole = jpeg(Image.new("RGB", (16, 16)))
        for data in (noise, b"\xff\xd8" + noise, whole[:place] + noise + whole[place + len(noise) :]):
            frame = jpeg_markers.read_frame(data)
            assert frame is None or frame.components


def instructions(body: str):  # type: ignore[no-untyped-def]  # lxml's element class is private
    return parse(f'<a:AssembleConfig xmlns:a="{ASSEMBLE}">{body}</a:AssembleConfig>'.encode())


def _is_at(entry: Path, folder: Path) -> bool:
    try:
        return (entry / "cwd").readlink() == folder
    except OSError:
        return False
