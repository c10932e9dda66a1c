"""Installations whose directory is the test domain, for tests that have the fixture ``domain``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from postscan.cli import main
from postscan.cli.directories import directory_of
from postscan.cli.installation import Installation
from postscan.cli.pki import KeyPair, issue_user, write_pair
from postscan.cli.reloading import SettingsFile
from postscan.cli.settings import load_settings
from postscan.cli.wiring import scan_server
from postscan.server.app import ScanServer
from support.commands import PROGRAM, line_with
from support.domain import Domain
from support.scanning import free_port, make_installation
from testdomain.facts import CONTROLLER, DNS_DOMAIN, SCAN_SERVER, SERVICE, Person

SHARE = r"\\scansrv.dsm.test\scans"
# A device that may vouch for users; the password is checked by the device itself.
VOUCHING = {"server": {"mode": "unauthenticated"}, "devices": {"allow": ["10.53.0.0/24", "127.0.0.0/8"]}}


def make_office(
    domain: Domain,
    folder: Path,
    *,
    account: Person = SERVICE,
    directory: Mapping[str, Any] | None = None,
    **overrides: Mapping[str, Any],
) -> Installation:
    """Make an installation that asks the test domain with ``account``; its password is in a file.

    :param directory: further settings of [directory]; None for a value takes it out.
    """
    settings = {
        "kind": "active-directory",
        "domain": DNS_DOMAIN,
        "controllers": [CONTROLLER],
        "account": account.name,
        "password_file": "password",
        "ca": str(domain.ca),
        **(directory or {}),
    }
    merged: dict[str, dict[str, Any]] = {name: dict(values) for name, values in overrides.items()}
    merged["directory"] = {key: value for key, value in settings.items() if value is not None}
    # Under its name it is reached at the address of its controller, whose namespace it shares.
    where = {"fqdn": SCAN_SERVER, "listen": f"0.0.0.0:{free_port()}"}
    merged["server"] = {**where, **merged.get("server", {})}
    merged["fileshare"] = {"unc_map": {SHARE: "delivered"}, **merged.get("fileshare", {})}
    made = make_installation(folder, **merged)
    # Scan processes of the domain name another server than the installation was made for.
    for ours in (made.pki / "server.pem", made.pki / "server.key"):
        ours.write_bytes(domain.folder.server_certificate.with_suffix(ours.suffix).read_bytes())
    password = made.folder / "password"
    password.touch(0o600)
    password.write_text(account.password)
    return made


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any]:
    """Run a command with ``--json``; return its exit status and what it said (None when nothing)."""
    code = main([*map(str, words), "--json"])
    said = capsys.readouterr().out
    return code, json.loads(said) if said else None


def address_of(made: Installation) -> str:
    """Return the address of an office's server, as scan processes name it."""
    port = load_settings(made.config, {}).settings.server.listen_address[1]
    return f"https://{SCAN_SERVER}:{port}/ScanServer"


async def certify(
    domain: Domain, made: Installation, person: Person, authority: KeyPair | None = None
) -> Path:
    """Issue a person's certificate, by the domain's authority unless another is given; return its PEM."""
    directory = directory_of(load_settings(made.config, {}))
    try:
        user = await directory.user_by_name(person.principal)
    finally:
        await directory.close()
    assert user is not None
    pair = issue_user(authority or domain.authority(), user)
    certificate = made.folder / f"{person.name}.pem"
    write_pair(pair, certificate, certificate.with_suffix(".key"))
    return certificate


@asynccontextmanager
async def serving(made: Installation) -> AsyncIterator[ScanServer]:
    """Run an office's server while the block runs, wired as `postscan serve` does."""
    loaded = load_settings(made.config, {})
    server = scan_server(loaded, SettingsFile(loaded, {}, lambda _level: None))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextmanager
def serving_apart(domain: Domain, made: Installation) -> Iterator[None]:
    """Run the server as a process of its own in the domain's network."""
    server = domain.popen(
        [*PROGRAM, "serve", "--json", "--config", made.config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        line_with(server, '"ready"')
        yield
    finally:
        server.kill()
        server.communicate()
