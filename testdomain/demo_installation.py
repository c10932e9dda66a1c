"""What the demo works with: a scan server's installation joined to the test domain, and a device's folder."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postscan.cli.directories import directory_of
from postscan.cli.installation import InstallationPlan, create_installation
from postscan.cli.pki import create_file, issue_server, issue_user, write_pair
from postscan.cli.settings import load_settings
from postscan.core.secret import Secret
from postscan.device import pages
from postscan.directory.active.directory import ActiveDirectory
from postscan.directory.model import User
from testdomain.controller import Controller
from testdomain.facts import ADDRESS, ALICE, BOB, DNS_DOMAIN, SCAN_SERVER, SERVICE, Person
from testdomain.processes import SHARE

_PORT: Final = 5362


@dataclass(frozen=True, slots=True)
class Listed:
    """The display names of the scan processes a user may use, found in two ways."""

    by_rights: frozenset[str]
    as_listed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What :func:`install` made in ``folder``; ``users`` by sAMAccountName."""

    folder: Path
    users: dict[str, User] = field(default_factory=dict)

    @property
    def server(self) -> Path:
        """The scan server's installation."""
        return self.folder / "server"

    @property
    def device(self) -> Path:
        """The device's folder: its certificate, the domain's authority, and what its users typed."""
        return self.folder / "device"

    @property
    def ca(self) -> Path:
        """The domain's authority."""
        return self.device / "ca.pem"

    @property
    def delivered(self) -> Path:
        """Where the share of the test domain's scan processes is."""
        return self.server / "delivered"

    def certificate(self, person: Person) -> Path:
        """Return a user's certificate (PEM)."""
        return self.server / f"{person.name}.pem"

    def key(self, person: Person) -> Path:
        """Return the private key of a user's certificate (PEM)."""
        return self.server / f"{person.name}.key"

    def device_der(self) -> bytes:
        """Return the octets of the device's certificate."""
        text = (self.device / "device.pem").read_bytes()
        return x509.load_pem_x509_certificate(text).public_bytes(Encoding.DER)

    def sid(self, person: Person) -> str:
        """Return a user's security identifier."""
        return self.users[person.name].sid

    async def listed(self, person: Person) -> Listed:
        """Return what a user may use; to be run in the controller's namespace."""
        directory = self._directory()
        try:
            granted = await directory.processes_for(self.users[person.name])
            signed_in = await directory.signed_in(person.name, Secret(person.password))
            try:
                listed = await signed_in.processes()
            finally:
                await signed_in.close()
        finally:
            await directory.close()
        names = (frozenset(process.display_name for process in one) for one in (granted, listed))
        return Listed(*names)

    async def look_up(self, *people: Person) -> None:
        """Remember these people as the directory has them; to be run in the controller's namespace."""
        directory = self._directory()
        try:
            for person in people:
                user = await directory.user_by_name(person.name)
                if user is None:
                    raise LookupError(person.name)
                self.users[person.name] = user
        finally:
            await directory.close()

    def _directory(self) -> ActiveDirectory:
        # This process sees the resolver of the computer, not that of the controller's network.
        instead = {
            "POSTSCAN_SECRET_DIRECTORY_PASSWORD": SERVICE.password,
            "POSTSCAN_DIRECTORY__DNS_SERVERS": json.dumps([ADDRESS]),
        }
        directory = directory_of(load_settings(self.server / "server.toml", dict(os.environ) | instead))
        if not isinstance(directory, ActiveDirectory):
            raise TypeError(self.server)
        return directory


def install(folder: Path, controller: Controller) -> Demonstration:
    """Make an installation as `postscan init` does, with the settings that join it to the domain."""
    made = Demonstration(folder)
    domain = controller.domain
    create_installation(
        InstallationPlan(
            folder=made.server,
            fqdn=SCAN_SERVER,
            listen=f"{ADDRESS}:{_PORT}",
            domain=DNS_DOMAIN,
            overrides={
                "server": {"metrics_listen": ""},
                "directory": {
                    "kind": "active-directory",
                    "domain": DNS_DOMAIN,
                    "account": SERVICE.principal,
                    "ca": "domain-ca.pem",
                },
                # Users are believed by the authorities that the directory names, and no others.
                "tls": {"certificate": "scansrv.pem", "key": "scansrv.key", "client_ca": ""},
                "fileshare": {"roots": ["delivered"], "unc_map": {SHARE: "delivered"}},
            },
        )
    )
    shutil.copy(domain.ca, made.server / "domain-ca.pem")
    shutil.copy(domain.server_certificate, made.server)
    shutil.copy(domain.server_certificate.with_suffix(".key"), made.server)
    with controller.namespace.inside():
        asyncio.run(made.look_up(ALICE, BOB))
    authority = domain.authority()
    write_pair(issue_user(authority, made.users[BOB.name]), made.certificate(BOB), made.key(BOB))
    made.device.mkdir()
    shutil.copy(domain.ca, made.ca)
    for name in ("device", "other"):
        pair = issue_server(authority, f"{name}.{DNS_DOMAIN}")
        write_pair(pair, made.device / f"{name}.pem", made.device / f"{name}.key")
    for name, password in (("alice", ALICE.password), ("wrong", BOB.password)):
        create_file(made.device / f"{name}.password", password.encode(), mode=0o600)
    page = pages.as_g4(pages.text_page(1), "page").read()
    for place in (made.server, made.device):
        (place / "page.tif").write_bytes(page)
    return made
