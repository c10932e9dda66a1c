"""Pages of words, scanned over real sockets and read by Tesseract: what arrives, and who is told what."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.contracts.keywords import DocumentFormat, FilterState
from postscan.contracts.psp import FilterToProcess
from postscan.device.imaging import ScannedImage
from postscan.device.session import Outcome, ScanSession
from postscan.filters.ocr_tools import look
from support.processing import page, tiff_g4
from support.scanning import Site, Witness, make_installation, running, stream
from support.steps import add_steps, assemble, names, ocr

NAME = "Scan to searchable"
WORDS = ("Frankfurt invoice", "Hamburg delivery", "Leipzig reminder")
_GIVES_UP = """#!/bin/sh
case "$*" in
*--version* | *--list-langs* | *--print-parameters*) exec {genuine} "$@" ;;
esac
{otherwise}
"""

pytestmark = pytest.mark.skipif(
    bool(look().missing(["eng"], rotate=False, clean=False)) or shutil.which("pdftotext") is None,
    reason="needs OCRmyPDF, Tesseract with English (Debian: tesseract-ocr) and pdftotext (poppler-utils)",
)


@asynccontextmanager
async def searching(folder: Path, *steps: FilterToProcess, **processing: int) -> AsyncIterator[Site]:
    """Run a server with a process of these steps; ``processing`` are settings."""
    made = make_installation(folder, processing=processing)
    await add_steps(Site(made), NAME, *steps)
    async with running(folder, made=made) as site:
        yield site


async def scan(site: Site, *pages: bytes) -> Outcome:
    images = [ScannedImage(one, DocumentFormat.TIFF_SINGLE_G4) for one in pages]
    async with site.device() as device:
        session = ScanSession(device, await site.user(), Witness(), sink_address="127.0.0.1")
        return await session.run(await site.process(NAME), stream(images), wait_seconds=120)


def text_of(path: Path) -> list[str]:
    """Return the words of each page."""
    said = subprocess.run(["pdftotext", path, "-"], capture_output=True, check=True, text=True).stdout
    return [" ".join(one.split()) for one in said.split("\f")][:-1]


def use_tesseract(monkeypatch: pytest.MonkeyPatch, folder: Path, otherwise: str) -> None:
    """Put a Tesseract into PATH that is there, and does something else when it is to read."""
    folder.mkdir()
    program = folder / "tesseract"
    program.write_text(_GIVES_UP.format(genuine=shutil.which("tesseract"), otherwise=otherwise))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


async def test_pages_arrive_as_one_searchable_file_of_the_name_that_was_made(tmp_path: Path) -> None:
    steps = (assemble("pdf-a"), ocr(), names("{root} of {user} in one"))
    async with searching(tmp_path / "site", *steps) as site:
        outcome = await scan(site, *(tiff_g4(page(words)) for words in WORDS))
        assert outcome.delivered
        assert outcome.reasons == ("PostScanJobCompletedSuccessfully",)
        (file,) = site.delivered()
        assert file.name.endswith("of alice in one.pdf")
        assert text_of(file) == list(WORDS)
        await site.spool_empty()


@pytest.mark.parametrize(
    "otherwise",
    [
        "exit 1",
        "kill -9 $$",
        "head -c 100000 /dev/urandom; exit 3",
        "echo 'read_params_file: cannot open' >&2; exit 1",
    ],
    ids=["refuses", "is killed", "writes rubbish", "misses a file"],
)
async def test_where_tesseract_fails_the_images_arrive_and_everybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], otherwise: str
) -> None:
    use_tesseract(monkeypatch, tmp_path / "tools", otherwise)
    scanned = tiff_g4(page(WORDS[0]))
    async with searching(tmp_path / "site", ocr()) as site:
        outcome = await scan(site, scanned)
        assert outcome.delivered
        assert outcome.reasons == ("PostScanJobCompletedWithWarnings",)
        assert [f.state for f in outcome.filters] == [
            FilterState.COMPLETED_WITH_WARNINGS,
            FilterState.COMPLETED_SUCCESSFULLY,
        ]
        async with site.device() as device:
            status = await device.status(outcome.token)
        assert (status.state, status.reasons) == ("Completed", ("PostScanJobCompletedWithWarnings",))
        (file,) = site.delivered()
        assert file.read_bytes() == scanned
        capsys.readouterr()
        asked = ["jobs", "show", outcome.token, "--config", str(site.made.config)]
        assert await asyncio.to_thread(main, asked) == ExitCode.OK
        shown = capsys.readouterr().out
        assert "document 1 cannot be made searchable" in shown
        assert "it is delivered as it was" in shown
        assert await asyncio.to_thread(main, [*asked, "--json"]) == ExitCode.OK
        assert "it is delivered as it was" in json.dumps(json.loads(capsys.readouterr().out))


async def test_a_page_that_tesseract_hangs_on_arrives_without_words_and_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tesseract(monkeypatch, tmp_path / "tools", "exec sleep 10000")
    async with searching(tmp_path / "site", ocr(), ocr_page_seconds=1) as site:
        outcome = await scan(site, tiff_g4(page(WORDS[0])))
        assert outcome.delivered
        assert outcome.reasons == ("PostScanJobCompletedWithWarnings",)
        (file,) = site.delivered()
        assert file.suffix == ".pdf"
        assert text_of(file) == [""]
