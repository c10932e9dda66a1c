"""How fast pages are put together and read, beside img2pdf and ocrmypdf alone, and what memory that takes.

Pages are A4 at 300 dots per inch, with text on them and the noise of a scanner. Ours includes starting the
worker process, reading its answer, and, for PDF/A, the check of what was made.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from lxml import etree

from bench.processes import peak_memory
from bench.toolbox import OUT, BenchError, emptied, settle
from postscan.contracts.assemble import AssembleConfig
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.ocr import OcrConfig
from postscan.filters.assemble import AssembleFilter
from postscan.filters.contract import JobFacts, ProcessingFilter, ProcessingOrder, Product, SpooledDocument
from postscan.filters.ocr import OcrFilter, OcrSettings
from postscan.filters.workers import WorkerPool, WorkerSettings

if TYPE_CHECKING:
    from PIL import Image

_A4: Final = (2480, 3508)
_DPI: Final = (300, 300)
_WORDS: Final = "Invoice 4711 of the twenty-first of November, payable within thirty days. "
_JOB: Final = JobFacts(
    token="bench",  # noqa: S106 - the id of a job, no secret
    process_name="Bench",
    user_name="alice",
    user_domain="example.com",
    user_upn="alice@example.com",
    user_mail=None,
    document_root_name="Scan",
    created=datetime(2026, 11, 21, tzinfo=UTC),
)
MEMORY_GOAL: Final = 200_000_000
"""Octets: what the server itself may take at most for a job of 500 pages."""


@dataclass(frozen=True, slots=True)
class PageFigure:
    """One line of the table: what was done with how many pages, ours and theirs in pages a second.

    ``rounds`` are (ours, theirs), one pair a round; ``theirs`` is the program alone.
    """

    what: str
    pages: int
    theirs: str
    rounds: tuple[tuple[float, float], ...]

    @property
    def ours_per_second(self) -> float:
        """The median of ours, in pages a second."""
        return median(ours for ours, _theirs in self.rounds)

    @property
    def theirs_per_second(self) -> float:
        """The median of theirs, in pages a second."""
        return median(theirs for _ours, theirs in self.rounds)

    @property
    def ratio(self) -> float:
        """The median of ours by theirs."""
        return median(ours / theirs for ours, theirs in self.rounds)


@dataclass(frozen=True, slots=True)
class MemoryFigure:
    """Peaks of resident memory, in octets: of the server's process, and of the largest one of a worker."""

    what: str
    pages: int
    server: int
    worker: int
    seconds: float


class _Bench:
    """A workbench that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # No nicer than what it is compared with.
        self.workers = WorkerPool(WorkerSettings(nice=0))
        self.counts: Counter[str] = Counter()

    async def remember(self, key: str, value: str) -> None:
        """Keep nothing."""

    async def remembered(self, key: str) -> str | None:
        """Know of nothing."""
        return None

    async def warn(self, text: str) -> None:
        """Take a warning for a failure: nothing may go wrong here."""
        raise BenchError(text)

    async def count(self, name: str) -> int:
        """Return the next number."""
        self.counts[name] += 1
        return self.counts[name]

    def progress(self, done: int, total: int) -> None:
        """Tell nobody."""


def colour_page() -> bytes:
    """Return a page as a JPEG of some 2 MB."""
    return _jpeg(_page().convert("RGB"), 80)


def grey_page() -> bytes:
    """Return a page as a grey JPEG."""
    return _jpeg(_page(), 75)


def bilevel_page() -> bytes:
    """Return a page as Group 4."""
    out = io.BytesIO()
    plain = _page(noise=False).point(lambda level: 255 * (level > 128)).convert("1")
    plain.save(out, "TIFF", compression="group4", strip_size=1 << 31, dpi=_DPI)
    return out.getvalue()


def measure(work: Path, *, quick: bool) -> tuple[list[PageFigure], list[MemoryFigure]]:
    """Measure everything in the folder ``work``.

    :raises BenchError: a program is missing, or something went wrong.
    """
    rounds = 1 if quick else 3
    speeds = [
        _assembly(work, "one PDF of colour JPEGs", colour_page(), DocumentFormat.JFIF, "pdf", 100, rounds),
        _assembly(
            work, "one PDF of Group 4", bilevel_page(), DocumentFormat.TIFF_SINGLE_G4, "pdf", 100, rounds
        ),
        _assembly(
            work, "one PDF/A-2b of colour JPEGs", colour_page(), DocumentFormat.JFIF, "pdf-a", 100, rounds
        ),
    ]
    pages = 4 if quick else 12
    for what, output in (("searchable PDF", "pdf"), ("searchable PDF/A-2b", "pdf-a")):
        speeds.append(_reading(work, what, output, pages, rounds))
    count = 100 if quick else 500
    memory = [
        _memory(work, what, output, count) for what, output in (("one PDF", "pdf"), ("one PDF/A-2b", "pdf-a"))
    ]
    return speeds, memory


def _assembly(
    work: Path, what: str, content: bytes, kind: DocumentFormat, output: str, pages: int, rounds: int
) -> PageFigure:
    documents = _spooled(work / "spool", content, kind, pages)
    step = AssembleFilter()
    instructions = AssembleConfig(output=output).to_element()
    program = _program("img2pdf")
    command = [
        program,
        "--engine=internal",
        *(str(one.path) for one in documents),
        "-o",
        str(work / "theirs.pdf"),
    ]
    return PageFigure(what, pages, "img2pdf", _rounds(work, step, instructions, documents, [command], rounds))


def _reading(work: Path, what: str, output: str, pages: int, rounds: int) -> PageFigure:
    jobs = len(os.sched_getaffinity(0))
    documents = _spooled(work / "spool", grey_page(), DocumentFormat.JFIF, pages)
    joined = work / "joined.pdf"
    subprocess.run(
        [_program("img2pdf"), *(str(one.path) for one in documents), "-o", str(joined)], check=True
    )
    [document] = _spooled(work / "joined", joined.read_bytes(), DocumentFormat.PDF_A, 1)
    step = OcrFilter(OcrSettings(jobs=jobs, device_pdf=True))
    instructions = OcrConfig(output_type=output).to_element()
    # PDF/A by its own means: what it wants Ghostscript for is not what ours does.
    kind = (
        ["--output-type", "pdf"]
        if output == "pdf"
        else ["--output-type", "pdfa-2", "--pdfa-backend", "internal"]
    )
    command = [_program("ocrmypdf"), "-q", *kind, "-O0", "--skip-text", "--jobs", str(jobs)]
    command += [str(document.path), str(work / "theirs.pdf")]
    found = _rounds(work, step, instructions, [document], [command], rounds)
    return PageFigure(
        what, pages, "ocrmypdf", tuple((ours * pages, theirs * pages) for ours, theirs in found)
    )


def _rounds(
    work: Path,
    step: ProcessingFilter,
    instructions: etree._Element,
    documents: Sequence[SpooledDocument],
    commands: Sequence[Sequence[str]],
    rounds: int,
) -> tuple[tuple[float, float], ...]:
    """Return documents a second, ours and theirs, one pair a round; the one that begins takes turns."""
    found = []
    for number in range(rounds):
        turns: list[tuple[int, Callable[[], Any]]] = [
            (0, lambda: _process(work, step, instructions, documents)),
            (1, lambda: [subprocess.run(command, check=True) for command in commands]),
        ]
        speeds = [0.0, 0.0]
        for place, run in turns if number % 2 == 0 else turns[::-1]:
            settle(work)
            began = time.monotonic()
            run()
            speeds[place] = len(documents) / (time.monotonic() - began)
        found.append((speeds[0], speeds[1]))
    return tuple(found)


def _process(
    work: Path, step: ProcessingFilter, instructions: etree._Element, documents: Sequence[SpooledDocument]
) -> Sequence[Product]:
    folder = work / "bench"
    emptied(folder)
    return asyncio.run(step.process(ProcessingOrder(_JOB, instructions, documents), _Bench(folder)))


def _memory(work: Path, what: str, output: str, pages: int) -> MemoryFigure:
    """Put a job of so many pages together in a process of its own, which then tells what it took."""
    _spooled(work / "spool", colour_page(), DocumentFormat.JFIF, pages)
    command = [sys.executable, "-m", "bench.delivery_pages", "--memory-of", output, "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{what} of {pages} pages failed: {done.stderr.strip()[-500:]}")
    said = json.loads(done.stdout)
    return MemoryFigure(what, pages, said["server"], said["worker"], said["seconds"])


def _tell_memory(work: Path, output: str) -> None:
    paths = sorted((work / "spool").iterdir(), key=lambda path: int(path.name))
    documents = [_document(path, DocumentFormat.JFIF) for path in paths]
    watch = _Watch()
    watch.start()
    began = time.monotonic()
    _process(work, AssembleFilter(), AssembleConfig(output=output).to_element(), documents)
    watch.over.set()
    watch.join()
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - began,
                "server": peak_memory(os.getpid()),
                "worker": watch.peak,
            }
        )
    )


class _Watch(threading.Thread):
    """Looks at the processes below this one for the largest peak of resident memory among them, in octets.

    Workers are killed when they have answered, so that nothing tells of it afterwards.
    """

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.peak = 0

    def run(self) -> None:
        """Look every few milliseconds."""
        while not self.over.wait(0.01):
            for pid in _below(os.getpid()):
                try:
                    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
                except OSError:
                    continue
                peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
                self.peak = max([self.peak, *(int(peak) * 1024 for peak in peaks)])


def _below(pid: int) -> list[int]:
    try:
        listed = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    children = [int(child) for text in listed for child in text.split()]
    return children + [below for child in children for below in _below(child)]


def _spooled(folder: Path, content: bytes, kind: DocumentFormat, count: int) -> list[SpooledDocument]:
    emptied(folder)
    for number in range(1, count + 1):
        (folder / str(number)).write_bytes(content)
    return [_document(folder / str(number), kind) for number in range(1, count + 1)]


def _document(path: Path, kind: DocumentFormat) -> SpooledDocument:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    number = int(path.name)
    return SpooledDocument(
        document_id=number,
        number=number,
        format=kind,
        path=path,
        size=path.stat().st_size,
        sha256=digest,
        sources=(number,),
    )


def _page(*, noise: bool = True) -> Image.Image:
    # Loaded here: the process whose memory is measured has no decoder, as the server has none.
    from PIL import Image, ImageChops, ImageDraw, ImageFont

    image = Image.new("L", _A4, 250)
    pen = ImageDraw.Draw(image)
    for row in range(48):
        pen.text((250, 250 + 62 * row), f"{row + 1} {_WORDS}", fill=20, font=ImageFont.load_default(44))
    if not noise:
        return image
    return ImageChops.add(image, Image.effect_noise(_A4, 12), scale=1.0, offset=-128)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, dpi=_DPI)
    return out.getvalue()


def _program(name: str) -> str:
    """Return a program of this environment, or else of the system."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise BenchError(f"{name} is missing: pip install 'postscan[ocr]'")
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure, and print what came of it as lines of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.delivery_pages", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--memory-of", choices=("pdf", "pdf-a"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, default=OUT / f"pages-{os.getpid()}", metavar="FOLDER")
    given = parser.parse_args(arguments)
    if given.memory_of:
        _tell_memory(given.work, given.memory_of)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    try:
        speeds, memory = measure(given.work, quick=given.quick)
        for speed in speeds:
            print(
                f"{speed.what}, {speed.pages} pages: ours {speed.ours_per_second:.1f}/s, {speed.theirs} alone"
                f" {speed.theirs_per_second:.1f}/s, ratio {speed.ratio:.2f}"
            )
        for figure in memory:
            print(json.dumps(asdict(figure)))
    finally:
        shutil.rmtree(given.work, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
