"""What the tests of file servers share: a Samba for those of one file, put back in order before each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.smb import SmbSite
from testservers.fileserver import FileServer, missing


@pytest.fixture(scope="module")
def _samba() -> None:
    """Skip where no file server can be run."""
    if lacking := missing():
        pytest.skip(f"no file server: {'; '.join(lacking)}")


@pytest.fixture(scope="module")
def _shared_server(_samba: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    with FileServer(tmp_path_factory.mktemp("fileserver")) as server:
        yield server


@pytest.fixture
def file_server(_shared_server: FileServer) -> FileServer:
    """Return a Samba that runs, with empty shares that may be written to, whatever the test before did."""
    _shared_server.thaw()
    _shared_server.start()
    for share in _shared_server.shares:
        folder = _shared_server.folder(share.name)
        for left in folder.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()
        folder.chmod(0o777)
    return _shared_server


@pytest.fixture
def smb(file_server: FileServer, tmp_path: Path) -> SmbSite:
    """Return a filter that delivers to that Samba."""
    return SmbSite(file_server, tmp_path / "spool")
