"""The resolution box of a JPEG 2000 file, which Pillow reads but does not write (ISO 15444-1, I.5.3.7)."""

from __future__ import annotations

import struct


def with_resolution(data: bytes, dpi: tuple[float, float]) -> bytes:
    """Return the JP2 file with a capture resolution of ``dpi`` (horizontal, vertical) in its header box."""
    offset = 0
    while offset + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, offset)
        if name == b"jp2h":
            end = offset + length
            box = _resolution_box(dpi)
            header = struct.pack(">I4s", length + len(box), name)
            return data[:offset] + header + data[offset + 8 : end] + box + data[end:]
        if length < 8:
            break
        offset += length
    return data


def _resolution_box(dpi: tuple[float, float]) -> bytes:
    # Vertical before horizontal; each a fraction times a power of ten, in dots per metre: 300 dpi is
    # exactly 300 / 254 * 10^4.
    across, down = (min(65_535, max(1, round(value))) for value in dpi)
    capture = struct.pack(">I4sHHHHbb", 18, b"resc", down, 254, across, 254, 4, 4)
    return struct.pack(">I4s", 8 + len(capture), b"res ") + capture
