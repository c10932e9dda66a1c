"""A running Apache for the tests of WebDAV, one a worker; each test finds it well and its library empty."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from postscan.cli.pki import create_ca, issue_server, write_pair
from support.libraries import LibrarySite, basic, site_of
from testservers.webserver import LIBRARY, Logon, WebServer, missing, web_server


@pytest.fixture(scope="session")
def web_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority, ca.pem, and the certificate of localhost, server.pem and .key."""
    folder = tmp_path_factory.mktemp("web-pki")
    authority = create_ca("Web CA")
    write_pair(authority, folder / "ca.pem", folder / "ca.key")
    write_pair(
        issue_server(authority, "localhost", ["127.0.0.1"]), folder / "server.pem", folder / "server.key"
    )
    return folder


@pytest.fixture(scope="session")
def web_shared(web_pki: Path) -> Iterator[WebServer]:
    """Run one web server for all tests of this worker."""
    if lacking := missing():
        pytest.skip(f"no web server: {lacking}")
    with web_server(certificate=web_pki / "server.pem", key=web_pki / "server.key") as server:
        yield server


@pytest.fixture
def web(web_shared: WebServer) -> Iterator[WebServer]:
    """Return a web server that is well, with an empty library; a test may kill it."""
    for library in (LIBRARY, "/sites/small/Shared Documents"):
        for path in (web_shared.root / library.strip("/")).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    web_shared.unlock()
    web_shared.answer_with(None)
    web_shared.start()
    (web_shared.folder / "access.log").write_bytes(b"")
    try:
        yield web_shared
    finally:
        web_shared.thaw()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return an empty folder for documents."""
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


@pytest.fixture
def library(web: WebServer, web_pki: Path, spool: Path) -> LibrarySite:
    """Return the site that knows an account by Basic."""
    return site_of(web, web_pki / "ca.pem", spool, Logon.BASIC, basic)
