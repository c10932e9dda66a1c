"""The few rules of DER that certificate extensions need (ITU-T X.690): definite lengths, short tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

OCTET_STRING: Final = 0x04
UTF8_STRING: Final = 0x0C
SEQUENCE: Final = 0x30
CONTEXT_0: Final = 0xA0


class DerError(ValueError):
    """Octets that are not the DER that was expected."""


def write(tag: int, content: bytes) -> bytes:
    """Return one value: tag, length, content."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each value in ``data``; raises DerError where it is malformed."""
    while data:
        if len(data) < 2:
            raise DerError("a value without length")
        tag, length, start = data[0], data[1], 2
        if tag & 0x1F == 0x1F:
            raise DerError("a long tag")
        if length & 0x80:
            start += length & 0x7F
            if not 1 <= length & 0x7F <= 4 or len(data) < start:
                raise DerError("an indefinite or overlong length")
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            raise DerError("a value that ends too early")
        yield tag, data[start : start + length]
        data = data[start + length :]


def only(data: bytes, tag: int) -> bytes:
    """Return the content of the one value ``data`` consists of; raises DerError if it is another."""
    found = list(values(data))
    if len(found) != 1 or found[0][0] != tag:
        raise DerError(f"not one value of tag {tag:#04x}")
    return found[0][1]
