"""Small images of every kind, made afresh by Pillow and img2pdf."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import img2pdf
import pytest
from PIL import Image, ImageDraw

from postscan.device.imaging.jpeg_2000 import with_resolution

SIZE = 240, 320
DPI = 200


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a colour ramp with a dark bar near the top, so that "up" can be told."""
    ramp = Image.linear_gradient("L").resize(size)
    image = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp.rotate(180)))
    image = Image.blend(image, Image.new("RGB", size, "white"), 0.5)
    ImageDraw.Draw(image).rectangle((20, 10, size[0] - 20, 60), fill=(10, 20, 30))
    if mode == "I;16":
        return image.convert("L").convert("I").point(lambda level: level * 257).convert("I;16")
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **{"dpi": (DPI, DPI)} | options)
    return out.getvalue()


def turned_jpeg() -> bytes:
    """Return a picture stored lying on its side, with the Exif note (6) to turn it clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = picture().transpose(Image.Transpose.ROTATE_90)
    return encoded(lying, "JPEG", exif=exif.tobytes(), quality=95)


def tiff(*pages: Image.Image, compression: str, **options: Any) -> bytes:
    return encoded(
        pages[0], "TIFF", save_all=True, append_images=pages[1:], compression=compression, **options
    )


def scanned_pdf() -> bytes:
    """Return a PDF of two pages, each one image, that does not claim to be PDF/A."""
    data = img2pdf.convert(
        [encoded(picture(), "JPEG"), encoded(picture("1"), "PNG")], engine=img2pdf.Engine.internal
    )
    assert isinstance(data, bytes)
    return data


def png_header(width: int, height: int) -> bytes:
    """Return a whole, tiny PNG that says it is of the given size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def tiff_of(width: int, height: int, pages: int, *, loop: bool = False) -> bytes:
    """Return a TIFF that says it has so many pages of such a size, over ten bytes of pixels."""
    data = b"II*\0" + struct.pack("<I", 18) + bytes(10)
    fields = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height), (279, 10))
    for number in range(pages):
        end = len(data) + 2 + 12 * len(fields) + 4
        following = (18 if loop else 0) if number == pages - 1 else end
        table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
        data += struct.pack("<H", len(fields)) + table + struct.pack("<I", following)
    return data


def write_samples(folder: Path) -> dict[str, Path]:
    """Write one file of each kind, under names that say nothing of it."""
    colour, grey, bilevel = picture(), picture("L"), picture("1")
    raw = {
        "jpeg": encoded(colour, "JPEG"),
        "jpeg grey": encoded(grey, "JPEG"),
        "jpeg cmyk": encoded(picture("CMYK"), "JPEG"),
        "jpeg turned": turned_jpeg(),
        "png": encoded(colour, "PNG"),
        "png bilevel": encoded(bilevel, "PNG"),
        "png transparent": encoded(picture("RGBA"), "PNG"),
        "png palette": encoded(picture("P"), "PNG"),
        "png 16 bit": encoded(picture("I;16"), "PNG"),
        "bmp": encoded(colour, "BMP"),
        "jpeg 2000": with_resolution(encoded(colour, "JPEG2000"), (DPI, DPI)),
        "tiff": tiff(colour, compression="raw"),
        "tiff g4": tiff(bilevel, compression="group4"),
        "tiff g3": tiff(bilevel, compression="group3"),
        "tiff g3 2d": tiff(bilevel, compression="group3", tiffinfo={292: 1}),
        "tiff jpeg": tiff(grey, compression="jpeg"),
        "tiff lzw": tiff(colour, compression="tiff_lzw"),
        "tiffs": tiff(colour, grey, compression="raw"),
        "tiffs g4": tiff(bilevel, bilevel, bilevel, compression="group4"),
        "tiffs g3": tiff(bilevel, bilevel, compression="group3"),
        "tiffs jpeg": tiff(colour, grey, compression="jpeg"),
        "tiffs packbits": tiff(bilevel, bilevel, compression="packbits"),
        "tiffs deflate": tiff(colour, bilevel, compression="tiff_adobe_deflate"),
        "big tiff": tiff(bilevel, compression="group4", big_tiff=True),
        "pdf": scanned_pdf(),
    }
    paths = {}
    for number, (name, data) in enumerate(raw.items()):
        paths[name] = folder / f"{number}.scan"
        paths[name].write_bytes(data)
    return paths


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def art() -> SimpleNamespace:
    """Hand out what draws and encodes the samples, for tests that want one of their own."""
    return SimpleNamespace(
        picture=picture,
        encoded=encoded,
        tiff=tiff,
        png_header=png_header,
        tiff_of=tiff_of,
        turned_jpeg=turned_jpeg,
        SIZE=SIZE,
        DPI=DPI,
    )
