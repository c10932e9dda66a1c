"""What the tests of file servers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.smb import SmbSite
from testservers.fileserver import FileServer, missing


@pytest.fixture
def _samba() -> None:
    """Skip where no file server can be run."""
    if lacking := missing():
        pytest.skip(f"no file server: {'; '.join(lacking)}")


@pytest.fixture
def file_server(_samba: None, tmp_path: Path) -> Iterator[FileServer]:
    """Run a Samba of the test's own."""
    with FileServer(tmp_path / "fileserver") as server:
        yield server


@pytest.fixture
def smb(file_server: FileServer, tmp_path: Path) -> SmbSite:
    """Return a filter that delivers to a Samba of the test's own."""
    return SmbSite(file_server, tmp_path / "spool")
