"""OCR: documents become searchable, and never get lost when they cannot."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from pikepdf import pdfa
from PIL import Image

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.contracts.ocr import OcrConfig
from postscan.contracts.schemas import validate
from postscan.core.errors import InvalidArgument
from postscan.filters.contract import (
    PROCESSING,
    DeliveryError,
    InstructionsError,
    ProbeOrder,
    Product,
    WorkLimits,
)
from postscan.filters.ocr import OcrFilter, OcrSettings
from postscan.filters.ocr_tools import OcrTools, look
from postscan.soap.names import OCR
from postscan.soap.xml import parse
from support.delivery import JOB
from support.processing import as_documents, encoded, jpeg, page, pdf, png, tiff_g4

from .conftest import Desk

F = DocumentFormat
ENGLISH = page("The quick brown fox\njumps over the lazy dog", mode="RGB")
GERMAN = page("Größere Übungen für\nschöne Straßen", mode="L")
PLAIN = "<a:OutputType>pdf</a:OutputType>"
FAIL = "<a:OnFailure>Fail</a:OnFailure>"


def missing() -> str:
    there = look()
    wanted = there.missing(["eng", "deu"], rotate=True, clean=False)
    if shutil.which("pdftotext") is None:
        wanted.append("pdftotext is missing (Debian: poppler-utils)")
    return "; ".join(wanted)


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing")


def languages(*names: str) -> str:
    return f"<a:Languages>{''.join(f'<a:Language>{name}</a:Language>' for name in names)}</a:Languages>"


def text_of(product: Product) -> list[str]:
    """Return the words of each page, as poppler finds them."""
    done = subprocess.run(
        ["pdftotext", "-layout", str(product.path), "-"], capture_output=True, text=True, check=True
    )
    return [" ".join(one.split()) for one in done.stdout.split("\f")[:-1]]


def instructions(body: str) -> Any:
    return parse(f'<a:OcrConfig xmlns:a="{OCR}">{body}</a:OcrConfig>'.encode())


def processes_at(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


class TestSearchable:
    @pytest.mark.parametrize(
        ("output", "made"), [("pdf", DerivedFormat.PDF), ("pdf-a", F.PDF_A)], ids=["pdf", "pdf-a"]
    )
    async def test_words_of_images_are_found(
        self, desk: Desk, output: str, made: DocumentFormat | DerivedFormat
    ) -> None:
        desk.add(jpeg(ENGLISH))
        desk.add(tiff_g4(GERMAN, ENGLISH), F.TIFF_MULTI_G4)
        english, german = await desk.ocr(f"{languages('eng', 'deu')}<a:OutputType>{output}</a:OutputType>")
        assert text_of(english) == ["The quick brown fox jumps over the lazy dog"]
        assert text_of(german)[0] == "Größere Übungen für schöne Straßen"
        assert "lazy dog" in text_of(german)[1]
        assert (english.format, english.pages, english.sources) == (made, 1, (1,))
        assert (german.format, german.pages, german.sources) == (made, 2, (2,))
        assert desk.bench.told[-1] == (3, 3)
        assert desk.bench.warnings == []
        if output == "pdf-a":
            for product in (english, german):
                report = pdfa.validate_written(product.path, "2b")
                assert report.passed, report.summary()

    async def test_the_image_stays_octet_for_octet(self, desk: Desk) -> None:
        content = jpeg(ENGLISH)
        desk.add(content)
        [made] = await desk.ocr()
        with pikepdf.open(made.path) as made_pdf:
            [image] = made_pdf.pages[0].get_images().values()
            assert bytes(image.read_raw_bytes()) == content

    @pytest.mark.parametrize("output", ["pdf", "pdf-a"])
    async def test_what_assemble_made_is_read(self, desk: Desk, output: str) -> None:
        desk.add(jpeg(ENGLISH))
        desk.add(png(GERMAN), F.PNG)
        joined = await desk.assemble(output)
        desk.documents = as_documents(joined)
        [made] = await desk.ocr(languages("deu", "eng"))
        english, german = text_of(made)
        assert "brown fox" in english
        assert "schöne Straßen" in german
        assert (made.sources, made.pages, made.format) == ((1, 2), 2, F.PDF_A)
        assert desk.bench.told[-1] == (2, 2)

    async def test_jpeg_2000_can_be_read_too(self, desk: Desk) -> None:
        desk.add(encoded(ENGLISH, "JPEG2000"), F.JPEG2K)
        [made] = await desk.ocr()
        assert "brown fox" in text_of(made)[0]

    async def test_a_page_upside_down_is_turned(self, desk: Desk) -> None:
        # Tesseract wants some text before it says which side is up.
        words = "\n".join(
            ["Many lines of text stand here", "so that one can tell the", "upper side of it"] * 4
        )
        upright = page(words, mode="L")
        desk.add(jpeg(upright.transpose(Image.Transpose.ROTATE_180)))
        [made] = await desk.ocr(f"<a:Rotate>true</a:Rotate>{PLAIN}")
        with pikepdf.open(made.path) as made_pdf:
            assert made_pdf.pages[0].obj.get("/Rotate", 0) == 180
        assert "lines of text" in text_of(made)[0]

    async def test_a_skewed_page_is_straightened(self, desk: Desk) -> None:
        desk.add(jpeg(page("Many words that stand askew\n" * 8).rotate(3, fillcolor=255)))
        [made] = await desk.ocr("<a:Deskew>true</a:Deskew>")
        assert "stand askew" in text_of(made)[0]
        assert desk.bench.warnings == []

    async def test_a_page_without_words_is_delivered(self, desk: Desk) -> None:
        desk.add(jpeg(Image.new("L", (400, 600), 255)))
        [made] = await desk.ocr()
        assert text_of(made) == [""]
        assert made.format is F.PDF_A

    async def test_the_settings_name_the_language_where_instructions_do_not(self, desk: Desk) -> None:
        desk.add(jpeg(GERMAN))
        [made] = await desk.ocr(reader=OcrFilter(OcrSettings(languages=("deu",))))
        assert text_of(made) == ["Größere Übungen für schöne Straßen"]

    async def test_pages_of_one_document_are_read_at_the_same_time_where_the_settings_say_so(
        self, desk: Desk
    ) -> None:
        desk.add(tiff_g4(ENGLISH, GERMAN), F.TIFF_MULTI_G4)
        [made] = await desk.ocr(languages("eng", "deu"), OcrFilter(OcrSettings(jobs=2)))
        assert len(text_of(made)) == 2

    async def test_a_probe_reads_a_page(self) -> None:
        said = await OcrFilter().probe(ProbeOrder(PROCESSING, JOB, instructions("")))
        assert said[0] == "OCRmyPDF and Tesseract are there, with eng"
        assert said[1].startswith("a worker process made a page searchable")


class TestNeverLost:
    async def test_a_broken_page_is_delivered_as_it_was(self, desk: Desk) -> None:
        desk.add(jpeg(ENGLISH))
        desk.add(jpeg(ENGLISH)[:4000])
        read, original = await desk.ocr()
        assert "brown fox" in text_of(read)[0]
        assert (original.path, original.format) == (desk.documents[1].path, F.JFIF)
        [warning] = desk.bench.warnings
        assert "document 2 cannot be made searchable: it is damaged or cut short" in warning
        assert "it is delivered as it was" in warning

    async def test_instructions_can_want_the_job_to_fail(self, desk: Desk) -> None:
        desk.add(jpeg(ENGLISH)[:4000])
        with pytest.raises(DeliveryError, match=r"document 1 .* it is damaged") as caught:
            await desk.ocr(FAIL)
        assert not caught.value.transient

    @pytest.mark.parametrize(
        ("limits", "words"),
        [
            (WorkLimits(memory_bytes=120 * 1024**2), "memory|ended|failed|cannot"),
            (WorkLimits(file_bytes=20_000), "wrote a file|failed|cannot"),
        ],
        ids=["memory", "file size"],
    )
    async def test_work_that_takes_too_much_costs_the_text_alone(
        self, desk: Desk, limits: WorkLimits, words: str
    ) -> None:
        desk.add(jpeg(ENGLISH))
        [made] = await desk.ocr(reader=OcrFilter(OcrSettings(limits=limits, page_seconds=1)))
        assert made.path == desk.documents[0].path
        [warning] = desk.bench.warnings
        assert any(word in warning for word in words.split("|")), warning

    async def test_work_that_takes_too_long_costs_the_text_alone(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.add(jpeg(ENGLISH))
        monkeypatch.setattr("postscan.filters.ocr._READ", "support.tasks:idle")
        [made] = await desk.ocr(reader=OcrFilter(OcrSettings(limits=WorkLimits(seconds=2), page_seconds=1)))
        assert made.path == desk.documents[0].path
        assert "took longer than" in desk.bench.warnings[0]

    async def test_pages_that_take_too_long_are_told_of(self, desk: Desk) -> None:
        line = "many words fill this page from edge to edge " * 2
        desk.add(jpeg(page(f"{line}\n" * 70, size=(2480, 3508))))
        [made] = await desk.ocr(reader=OcrFilter(OcrSettings(page_seconds=1)))
        assert made.format is F.PDF_A
        assert desk.bench.warnings == [
            "1 of 1 pages of document 1 took longer to read than 1 s each, and have no text"
        ]

    async def test_a_worker_killed_midway_costs_the_text_alone(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.add(jpeg(ENGLISH))
        monkeypatch.setattr("postscan.filters.ocr._READ", "support.tasks:be_killed")
        work = asyncio.ensure_future(desk.ocr())
        await self._until(desk.bench.folder / "pid")
        os.kill(max(processes_at(desk.bench.folder)), signal.SIGKILL)
        [made] = await work
        assert made.path == desk.documents[0].path
        assert "SIGKILL" in desk.bench.warnings[0]

    async def test_a_worker_killed_midway_is_tried_again_where_the_job_would_fail(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.add(jpeg(ENGLISH))
        monkeypatch.setattr("postscan.filters.ocr._READ", "support.tasks:be_killed")
        work = asyncio.ensure_future(desk.ocr(FAIL))
        await self._until(desk.bench.folder / "pid")
        os.kill(max(processes_at(desk.bench.folder)), signal.SIGKILL)
        with pytest.raises(DeliveryError) as caught:
            await work
        assert (caught.value.reason, caught.value.transient) == (FilterStateReason.SERVER_OUT_OF_MEMORY, True)

    async def test_a_full_disk_is_waited_for_in_any_case(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.add(jpeg(ENGLISH))
        monkeypatch.setattr("postscan.filters.ocr._READ", "support.tasks:fill")
        with pytest.raises(DeliveryError) as caught:
            await desk.ocr()
        assert (caught.value.reason, caught.value.transient) == (FilterStateReason.OUT_OF_DISK_SPACE, True)

    async def test_tesseract_that_is_gone_meanwhile_costs_the_text_alone(self, desk: Desk) -> None:
        desk.add(jpeg(ENGLISH))
        gone = OcrFilter(tools=lambda: OcrTools(ocrmypdf=True))
        [made] = await desk.ocr(reader=gone)
        assert made.path == desk.documents[0].path
        assert "Tesseract is not installed" in desk.bench.warnings[0]
        with pytest.raises(DeliveryError, match="Tesseract is not installed") as caught:
            await desk.ocr(FAIL, gone)
        assert caught.value.transient

    async def test_a_document_that_has_no_pages_is_delivered_as_it_was(self, desk: Desk) -> None:
        desk.add(b"PK\x03\x04" + bytes(60), F.XPS)
        [made] = await desk.ocr()
        assert made.path == desk.documents[0].path

    async def test_canceling_ends_all_that_runs(self, desk: Desk) -> None:
        for _ in range(3):
            desk.add(tiff_g4(*[ENGLISH] * 5), F.TIFF_MULTI_G4)
        work = asyncio.ensure_future(desk.ocr())
        async with asyncio.timeout(60):
            while not desk.bench.told:
                await asyncio.sleep(0.02)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert processes_at(desk.bench.folder) == []

    async def _until(self, path: Path) -> None:
        async with asyncio.timeout(60):
            while not path.exists():
                await asyncio.sleep(0.02)


class TestDeviceMadePdf:
    async def test_case_32_a_pdf_of_a_device_is_not_opened_by_default(self, desk: Desk) -> None:
        desk.add(pdf(jpeg(ENGLISH)), F.PDF_A)
        [made] = await desk.ocr()
        assert made.path == desk.documents[0].path
        assert "a PDF that a device made" in desk.bench.warnings[0]
        assert "processing.ocr_device_pdf" in desk.bench.warnings[0]

    async def test_case_32_not_when_it_says_that_we_made_it(self, desk: Desk) -> None:
        with pikepdf.open(io.BytesIO(pdf(jpeg(ENGLISH)))) as forged:
            forged.docinfo["/PostscanContent"] = "images"
            out = io.BytesIO()
            forged.save(out)
        desk.add(out.getvalue(), F.PDF_A)
        [made] = await desk.ocr()
        assert made.path == desk.documents[0].path

    async def test_case_32_not_inside_of_what_assemble_made(self, desk: Desk) -> None:
        desk.add(jpeg(ENGLISH))
        desk.add(pdf(jpeg(ENGLISH)), F.PDF_A)
        desk.documents = as_documents(await desk.assemble("pdf"))
        [made] = await desk.ocr()
        assert made.path == desk.documents[0].path
        with pytest.raises(DeliveryError, match="a PDF that a device made"):
            await desk.ocr(FAIL)

    async def test_the_settings_can_allow_it(self, desk: Desk) -> None:
        desk.add(pdf(jpeg(ENGLISH)), F.PDF_A)
        [made] = await desk.ocr(reader=OcrFilter(OcrSettings(device_pdf=True)))
        assert "brown fox" in text_of(made)[0]

    async def test_pages_that_have_text_keep_it(self, desk: Desk) -> None:
        desk.add(jpeg(ENGLISH))
        desk.documents = as_documents(await desk.ocr())
        [made] = await desk.ocr(reader=OcrFilter(OcrSettings(device_pdf=True)))
        assert text_of(made) == ["The quick brown fox jumps over the lazy dog"]


class TestInstructions:
    @pytest.mark.parametrize(
        ("tools", "body", "words"),
        [
            (OcrTools(), "", "OCRmyPDF is not installed"),
            (OcrTools(ocrmypdf=True), "", "Tesseract is not installed"),
            (
                OcrTools(ocrmypdf=True, tesseract=True, languages=frozenset({"eng"})),
                languages("eng", "fra"),
                "no language fra .*tesseract-ocr-fra.*it has eng",
            ),
            (
                OcrTools(ocrmypdf=True, tesseract=True, languages=frozenset({"eng"})),
                "<a:Rotate>true</a:Rotate>",
                "which side is up",
            ),
            (
                OcrTools(ocrmypdf=True, tesseract=True, languages=frozenset({"eng"})),
                "<a:Clean>true</a:Clean>",
                "unpaper",
            ),
        ],
        ids=["ocrmypdf", "tesseract", "language", "orientation", "unpaper"],
    )
    def test_a_job_that_wants_what_is_not_installed_does_not_begin(
        self, tools: OcrTools, body: str, words: str
    ) -> None:
        with pytest.raises(InstructionsError, match=words):
            OcrFilter(tools=lambda: tools).destinations(instructions(body), JOB)

    def test_what_was_installed_meanwhile_is_found(self) -> None:
        found: list[OcrTools] = [OcrTools(), OcrTools(), look()]
        step = OcrFilter(tools=lambda: found.pop(0))
        with pytest.raises(InstructionsError):
            step.destinations(instructions(""), JOB)
        assert step.destinations(instructions(""), JOB) == [PROCESSING]

    @pytest.mark.parametrize("body", ["<a:OutputType>docx</a:OutputType>", "<a:OnFailure>Hope</a:OnFailure>"])
    def test_instructions_that_make_no_sense_are_refused(self, body: str) -> None:
        with pytest.raises(InstructionsError):
            OcrFilter().destinations(instructions(body), JOB)

    def test_the_schema_takes_what_is_written_and_refuses_the_rest(self) -> None:
        config = OcrConfig(
            languages=("deu", "chi_sim"), deskew=True, rotate=True, output_type="pdf", on_failure="Fail"
        )
        validate(config.to_element())
        assert OcrConfig.from_element(config.to_element()) == config
        for wrong in ("<a:Languages/>", languages("e"), languages("--help"), languages("../x")):
            with pytest.raises(InvalidArgument):
                validate(instructions(wrong))
