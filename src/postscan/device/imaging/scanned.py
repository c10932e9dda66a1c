"""One document on its way to the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from postscan.contracts.keywords import DocumentFormat


@dataclass(frozen=True, slots=True)
class ScannedImage:
    """One document to send: its bytes (or the file that holds them) and the Format keyword that means them.

    ``pages`` counts its pages; ``name`` is what to call it in messages to people.
    """

    data: bytes | Path
    format: DocumentFormat
    pages: int = 1
    name: str = "image"

    @property
    def size(self) -> int:
        """The length in bytes."""
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size

    def read(self) -> bytes:
        """Return all bytes."""
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()

    def write_to(self, stream: BinaryIO) -> None:
        """Write all bytes to ``stream``, a megabyte at a time."""
        if isinstance(self.data, bytes):
            stream.write(self.data)
            return
        with self.data.open("rb") as source:
            while block := source.read(1 << 20):
                stream.write(block)
