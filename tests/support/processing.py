"""What processing filters need: a workbench in memory with real workers, and pages with words on them."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import img2pdf
from PIL import Image, ImageDraw, ImageFont

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.filters.contract import Product, SpooledDocument, Workers
from postscan.filters.workers import WorkerPool, WorkerSettings

DPI = 200
A6 = (827, 1170)
"""A page of A6 at 200 dpi, in pixels: small enough for tests, large enough for OCR."""


@dataclass
class MemoryBench:
    """A workbench: a real folder and real workers; everything else in memory, for a test to look at."""

    folder: Path
    workers: Workers = field(
        default_factory=lambda: WorkerPool(WorkerSettings(at_once=2, packages=("support",)))
    )
    notes: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    counted: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    async def remember(self, key: str, value: str) -> None:
        """Remember a note."""
        assert len(key) <= 4000
        assert len(value) <= 4000
        self.notes[key] = value

    async def remembered(self, key: str) -> str | None:
        """Return a note."""
        return self.notes.get(key)

    async def warn(self, text: str) -> None:
        """Remember a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    async def count(self, name: str) -> int:
        """Return the next number of a counter; the same whenever this job asks again."""
        if name not in self.counted:
            self.counters[name] += 1
            self.counted[name] = self.counters[name]
        return self.counted[name]

    def progress(self, done: int, total: int) -> None:
        """Remember how far the work is."""
        self.told.append((done, total))

    def next_job(self, folder: Path) -> MemoryBench:
        """Return the workbench of another job of the same server: same counters, nothing else."""
        return MemoryBench(folder, workers=self.workers, counters=self.counters)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that OCRmyPDF brings along, which has umlauts, or else Pillow's own, without."""
    spec = importlib.util.find_spec("ocrmypdf")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / "data" / "NotoSans-Regular.ttf"
        if path.exists():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)


def page(words: str, *, size: tuple[int, int] = A6, mode: str = "L", text_size: int = 44) -> Image.Image:
    """Draw a page with words on it, a line each, black on white, large enough for OCR."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.multiline_text(
        (size[0] // 12, size[1] // 12),
        words,
        fill=(12, 12, 40),
        font=font(text_size),
        spacing=text_size // 2,
    )
    return image.convert(mode, dither=Image.Dither.NONE) if mode != "RGB" else image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image as a file of Pillow's format ``kind``, with its resolution."""
    out = io.BytesIO()
    image.save(out, kind, **{"dpi": (DPI, DPI)} | options)
    return out.getvalue()


def tiff_g4(*images: Image.Image) -> bytes:
    """Return images as one TIFF file of Group 4 pages, each in one strip as devices write them."""
    bilevel = [image.convert("1", dither=Image.Dither.NONE) for image in images]
    options: dict[str, Any] = {"compression": "group4", "strip_size": 1 << 31}
    return encoded(bilevel[0], "TIFF", save_all=True, append_images=bilevel[1:], **options)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    """Return an image as a JFIF file."""
    return encoded(image, "JPEG", **{"quality": 85} | options)


def png(image: Image.Image, **options: Any) -> bytes:
    """Return an image as a PNG file."""
    return encoded(image, "PNG", **options)


def pdf(*images: bytes) -> bytes:
    """Return a PDF with each of the image files on a page of its own."""
    made = img2pdf.convert(list(images), engine=img2pdf.Engine.internal)
    assert isinstance(made, bytes)
    return made


def document(
    folder: Path,
    document_id: int,
    content: bytes,
    kind: DocumentFormat | DerivedFormat,
    *,
    number: int | None = None,
    pages: int | None = None,
) -> SpooledDocument:
    """Put an accepted image into ``folder`` and return it as the spool would hand it over."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / str(document_id)
    path.write_bytes(content)
    return SpooledDocument(
        document_id=document_id,
        number=number or document_id,
        format=kind,
        path=path,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        sources=(document_id,),
        pages=pages,
    )


def as_documents(products: Sequence[Product], *, first_id: int = 1001) -> list[SpooledDocument]:
    """Return products as the documents that the filter after it gets, as the job would number them."""
    made = []
    for number, product in enumerate(products, 1):
        content = product.path.read_bytes()
        made.append(
            SpooledDocument(
                document_id=first_id + number - 1,
                number=number,
                format=product.format,
                path=product.path,
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                name=product.name,
                sources=product.sources,
                pages=product.pages,
            )
        )
    return made
