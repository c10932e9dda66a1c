"""The first segments of a JPEG file, which tell JFIF from Exif."""

from __future__ import annotations

import struct

from PIL import Image

_SOI, _APP0, _APP1 = b"\xff\xd8", b"\xff\xe0", b"\xff\xe1"
_EXIF = b"Exif\0\0"


def exif_of(size: tuple[int, int], dpi: tuple[float, float] | None) -> bytes:
    """Return an Exif segment's content for an upright sRGB picture, with what Exif 2.3, 4.6.8 requires."""
    tags = Image.Exif()
    across, down = dpi or (72.0, 72.0)
    tags[0x0112] = 1  # Orientation: upright
    tags[0x011A], tags[0x011B] = across, down
    tags[0x0128] = 2  # ResolutionUnit: inch
    tags[0x0213] = 1  # YCbCrPositioning: centred, as JFIF has it
    tags.get_ifd(0x8769).update(
        {
            0x9000: b"0230",  # ExifVersion
            0x9101: b"\1\2\3\0",  # ComponentsConfiguration: Y Cb Cr
            0xA000: b"0100",  # FlashpixVersion
            0xA001: 1,  # ColorSpace: sRGB
            0xA002: size[0],
            0xA003: size[1],
        }
    )
    content = tags.tobytes()
    return content if content.startswith(_EXIF) else _EXIF + content


def as_exif(jfif: bytes, exif: bytes) -> bytes:
    """Return the JFIF file as an Exif one: APP1 in place of APP0, as Exif 2.3, 4.5.4 wants it."""
    start = 2
    if jfif[2:4] == _APP0:
        start += 2 + struct.unpack_from(">H", jfif, 4)[0]
    return _SOI + _APP1 + struct.pack(">H", len(exif) + 2) + exif + jfif[start:]
