"""A real scan server in the test's own process, and devices that scan to it, over real sockets and TLS."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postscan.cli.directories import directory_of
from postscan.cli.filters import filters_of
from postscan.cli.installation import Installation, InstallationPlan, create_installation
from postscan.cli.reloading import SettingsFile
from postscan.cli.settings import load_settings
from postscan.cli.wiring import server_settings
from postscan.console.client import RepositoryClient
from postscan.contracts import dsp
from postscan.core.clock import Clock
from postscan.device.client import Patience, ScanServerClient, client_context
from postscan.device.imaging import ScannedImage
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import StoredProcess, User
from postscan.filters.contract import Filter
from postscan.server.app import ScanServer
from postscan.server.reload import AuthoritySource

# The smallest things that are what they say they are, as far as their first octets go.
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def jpeg(number: int = 0, size: int = 2_000) -> bytes:
    """Return octets that begin like a JPEG, different for each number."""
    body = (b"%08d" % number) * (size // 8 + 1)
    return (JPEG + body)[:size]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


LOOPBACK: dict[str, dict[str, Any]] = {
    "eventing": {"allow_loopback": True},
    "server": {"metrics_listen": "", "log_level": "ERROR"},
    "limits": {"min_free_bytes": 0},
}


def make_installation(folder: Path, **overrides: Mapping[str, Any]) -> Installation:
    """Make an installation that listens on loopback; ``overrides`` are settings by section."""
    merged = {section: dict(values) for section, values in LOOPBACK.items()}
    for section, values in overrides.items():
        merged.setdefault(section, {}).update(values)
    return create_installation(
        InstallationPlan(
            folder=folder,
            fqdn="localhost",
            listen=f"127.0.0.1:{free_port()}",
            domain="example.com",
            overrides=merged,
        )
    )


def change(config: Path, **values: object) -> None:
    """Give settings in a settings file other values, each by the key alone (of which there must be one)."""
    lines = config.read_text().splitlines()
    for key, value in values.items():
        (place,) = [n for n, line in enumerate(lines) if line.removeprefix("# ").startswith(f"{key} = ")]
        lines[place] = f"{key} = {json.dumps(value)}"
    config.write_text("\n".join(lines) + "\n")


@dataclass
class Site:
    """An installation and, when it runs, its server."""

    made: Installation
    server: ScanServer | None = None
    directory: EmbeddedDirectory = field(init=False)
    log_levels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = EmbeddedDirectory(self.made.directory, domain=None)

    @property
    def url(self) -> str:
        """The server's address."""
        return self.made.address

    def tls(self, user: str | None = "alice") -> ssl.SSLContext:
        """Return what ``user``'s device connects with; without certificate for None."""
        pki = self.made.pki
        if user is None:
            return client_context(pki / "ca.pem")
        own = pki / "users" / f"{user}.pem"
        return client_context(pki / "ca.pem", own, own.with_suffix(".key"))

    def device(self, user: str | None = "alice", patience: Patience | None = None) -> ScanServerClient:
        """Return the client of ``user``'s device."""
        return ScanServerClient(self.url, tls=self.tls(user), patience=patience or Patience(pauses=()))

    def console(self, user: str | None = "admin", patience: Patience | None = None) -> RepositoryClient:
        """Return the client of ``user``'s console."""
        return RepositoryClient(self.url, tls=self.tls(user), patience=patience or Patience(pauses=()))

    async def user(self, name: str = "alice") -> User:
        """Return a user of the directory."""
        user = await self.directory.user_by_name(name)
        assert user is not None
        return user

    async def process(self, name: str = "Scan to my folder") -> StoredProcess:
        """Return a scan process of the directory."""
        return next(p for p in await self.directory.processes() if p.display_name == name)

    def delivered(self) -> list[Path]:
        """Return every file that arrived, temporary ones included."""
        return sorted(p for p in (self.made.folder / "delivered").rglob("*") if p.is_file())

    def spooled(self) -> list[Path]:
        """Return every file in the spool."""
        return sorted(p for p in (self.made.folder / "data" / "spool").rglob("*") if p.is_file())

    async def spool_empty(self) -> None:
        """Wait until the spool holds nothing."""
        async with asyncio.timeout(10):
            while self.spooled():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    filters: Mapping[str, Filter] | None = None,
    clock: Clock | None = None,
    made: Installation | None = None,
    authorities: AuthoritySource | None = None,
    **overrides: Mapping[str, Any],
) -> AsyncIterator[Site]:
    """Run a scan server on loopback while the block runs."""
    site = Site(made or make_installation(folder, **overrides))
    loaded = load_settings(site.made.config, {})
    settings = loaded.settings
    source = SettingsFile(loaded, {}, site.log_levels.append)
    server = ScanServer(
        server_settings(settings),
        directory_of(loaded),
        filters_of(loaded, source.workers) if filters is None else filters,
        clock,
        settings_source=source,
        authorities=authorities,
        workers=source.workers,
    )
    await server.start()
    site.server = server
    try:
        yield site
    finally:
        await server.stop()


async def stream(pages: Sequence[ScannedImage]) -> AsyncIterator[ScannedImage]:
    """Return pages one by one, as a scanner does."""
    for page in pages:
        yield page


class Witness:
    """Remembers what a device session told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.troubles: list[str] = []
        self.token = ""
        self.accepted: list[int] = []
        self.statuses: list[dsp.JobStatus] = []

    def step(self, what: str) -> None:
        """Remember a phase."""
        self.steps.append(what)

    def trouble(self, what: str) -> None:
        """Remember what went wrong on the way."""
        self.troubles.append(what)

    def created(self, token: str) -> None:
        """Remember the token."""
        self.token = token

    def sent(self, page: ScannedImage, document_id: int) -> None:
        """Remember an accepted page."""
        self.accepted.append(document_id)

    def status(self, status: dsp.JobStatus) -> None:
        """Remember a status."""
        self.statuses.append(status)
