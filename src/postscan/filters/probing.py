"""What proving a folder without a job needs: a small document, and the words for what was proven."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.filters.contract import DeliveryError, SpooledDocument

_OCTETS: Final = 4_096


@contextmanager
def probe_document() -> Iterator[SpooledDocument]:
    """Make a small document of random octets while the block runs; its ``name`` is a whole file name."""
    with tempfile.TemporaryDirectory(prefix="postscan-probe-") as folder:
        octets = secrets.token_bytes(_OCTETS)
        path = Path(folder) / "probe"
        path.write_bytes(octets)
        yield SpooledDocument(
            document_id=0,
            number=1,
            format=DocumentFormat.TIFF_SINGLE_G4,
            path=path,
            size=len(octets),
            sha256=hashlib.sha256(octets).hexdigest(),
            name=f"postscan-probe-{secrets.token_hex(8)}.tmp",
        )


def probe_report(folder: str, label: str, *, made: bool, whole: bool) -> list[str]:
    """Return what was proven, in words.

    :param made: whether the user's folder was made for the probe, and removed again.
    :param whole: whether the file was given its name and read back as it was written.
    :raises DeliveryError: it was not.
    """
    if not whole:
        raise DeliveryError(
            f"{label} does not give back what was written to it",
            reason=FilterStateReason.UNKNOWN_ERROR,
            transient=True,
            advice="See what the log of that server or file system says.",
        )
    there = "was made, and removed again" if made else "is there"
    return [
        f"the user's folder {folder} {there}",
        "a file was written, renamed, read back as it was written, and removed again",
    ]
