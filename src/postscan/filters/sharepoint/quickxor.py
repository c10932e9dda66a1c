"""QuickXorHash, which SharePoint Online and OneDrive for Business tell of every file.

It is published as source text ("Code snippets: QuickXorHash algorithm"): a register of 160 bits, into which
every octet is XORed, each 11 bits further on, around and around; at the end the length is XORed into the
last 64 bits. It tells documents apart that differ by accident; it withstands nobody who wants two that are
equal.

After 160 octets the place in the register is the same again. So all octets whose number is equal modulo 160
can be XORed together first, which long integers do quickly.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

_BITS: Final = 160
_SHIFT: Final = 11
_CYCLE: Final = 160
_BLOCK: Final = _CYCLE * 2048


def quick_xor_hash(path: Path) -> str:
    """Return the hash of a file, in base64 as the server writes it; blocks while it reads."""
    folded = 0
    length = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            length += len(block)
            folded ^= _folded(block)
    return _finished(folded.to_bytes(_CYCLE, "little"), length)


def _folded(block: bytes) -> int:
    """XOR all pieces of 160 octets of a block (which begins at a multiple of 160) into one."""
    size = _CYCLE
    while size < len(block):
        size *= 2
    value = int.from_bytes(block, "little")
    while size > _CYCLE:
        size //= 2
        value = (value >> (8 * size)) ^ (value & ((1 << (8 * size)) - 1))
    return value


def _finished(columns: bytes, length: int) -> str:
    register = 0
    for position, octet in enumerate(columns):
        shift = position * _SHIFT % _BITS
        turned = octet << shift
        register ^= (turned & ((1 << _BITS) - 1)) | (turned >> _BITS)
    register ^= length << (_BITS - 64)
    return base64.b64encode(register.to_bytes(_BITS // 8, "little")).decode()
