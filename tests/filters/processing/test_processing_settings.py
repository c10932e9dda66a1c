"""The settings of processing: what they mean to workers and filters, and which do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from postscan.cli.filters_processing import assemble_filter, check_processing, ocr_filter, workers_of
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.cli.settings_text import server_toml
from postscan.core.errors import ConfigurationError
from postscan.filters.contract import PROCESSING, InstructionsError, ProbeOrder
from postscan.filters.ocr_tools import OcrTools
from postscan.soap.names import ASSEMBLE, OCR
from postscan.soap.xml import parse
from support.delivery import JOB


def loaded(folder: Path, **processing: object) -> LoadedSettings:
    path = folder / "server.toml"
    path.write_text(
        server_toml({"server": {"fqdn": "scan.example.com"}, "processing": processing}), encoding="utf-8"
    )
    return load_settings(path, {})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("ocr_languages", [], "reads nothing without one"),
        ("ocr_languages", ["../eng"], "is no language of Tesseract"),
        ("memory", 300, "needs 1525 MiB"),
        ("workers", -1, "greater than or equal to 0"),
    ],
    ids=["no language", "path", "too little memory", "negative"],
)
def test_values_that_make_no_sense_are_refused(tmp_path: Path, key: str, value: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        loaded(tmp_path, **{key: value})


async def test_what_the_settings_say_reaches_a_worker(tmp_path: Path) -> None:
    said = loaded(tmp_path, workers=1, megapixels=1, memory=512, seconds=50)
    instructions = parse(
        f'<a:AssembleConfig xmlns:a="{ASSEMBLE}"><a:Output>pdf</a:Output></a:AssembleConfig>'.encode()
    )
    step = assemble_filter(said, workers_of(said))
    [words] = await step.probe(ProbeOrder(PROCESSING, JOB, instructions))
    assert words.startswith("a worker process made a PDF")


def test_the_language_of_the_settings_has_to_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = OcrTools(ocrmypdf=True, tesseract=True, languages=frozenset({"eng"}))
    monkeypatch.setattr("postscan.cli.filters_processing.look", lambda: there)
    said = loaded(tmp_path, ocr_languages=["fra"])
    [found] = check_processing(said)
    assert "Tesseract has no language fra" in found.message
    assert not list(check_processing(loaded(tmp_path)))
    instructions = parse(f'<a:OcrConfig xmlns:a="{OCR}"/>'.encode())
    with pytest.raises(InstructionsError, match="OCR is not possible here"):
        ocr_filter(said).destinations(instructions, JOB)


def test_where_ocrmypdf_is_not_installed_nobody_is_bothered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postscan.cli.filters_processing.look", OcrTools)
    assert not list(check_processing(loaded(tmp_path)))
