"""Makes an installation: keys, certificates, a directory with sample users and processes, settings."""

from __future__ import annotations

import ipaddress
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postscan.cli.exit_codes import ExitCode
from postscan.cli.pki import (
    KeyAlgorithm,
    KeyPair,
    create_ca,
    create_file,
    issue_server,
    issue_user,
    write_pair,
)
from postscan.cli.samples import sample_processes
from postscan.cli.settings_model import domain_of, parse_listen
from postscan.cli.settings_text import server_toml
from postscan.core.errors import PostscanError
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import StoredProcess, User
from postscan.server.administrators import DEFAULT_GROUP

# [MS-ADTS] 3.1.1.1.9.3.2 gives out relative identifiers from 1000 on; 1103 is where new domains' users begin.
_FIRST_USER_RID = 1103
SAMPLE_GROUP = "Accounting"
ADMINISTRATOR = "admin"
_NOTES = {
    "eventing.allow_loopback": "Set by init where the server listens on this machine alone; take it out"
    " before devices on the network use the server.",
}


class InstallationRefused(PostscanError):
    """Something is in the way of a new installation; nothing was written."""

    advice = "Name a folder that is empty or not there yet."
    exit_code = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class InstallationPlan:
    """What to make: where, under which name and address, for whom.

    ``users`` are logon names; the first becomes a member of the sample group. ``admin`` is made besides, who
    may administer the server; if it is among them, it is that user. ``overrides`` are further settings by
    section and key, written into server.toml.
    """

    folder: Path
    fqdn: str
    listen: str
    users: Sequence[str] = ("alice", "bob")
    domain: str = ""
    keys: KeyAlgorithm = KeyAlgorithm.EC
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Installation:
    """What was made; paths are absolute."""

    folder: Path
    address: str
    files: tuple[Path, ...]
    users: tuple[User, ...]
    processes: tuple[StoredProcess, ...]

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "server.toml"

    @property
    def pki(self) -> Path:
        """The folder of keys and certificates."""
        return self.folder / "pki"

    @property
    def directory(self) -> Path:
        """The embedded directory's folder."""
        return self.folder / "directory"


def create_installation(plan: InstallationPlan) -> Installation:
    """Make a complete installation, or nothing.

    :raises InstallationRefused: the folder holds something already; nothing was written.
    """
    folder = plan.folder.absolute()
    _refuse_what_exists(folder)
    domain = plan.domain or domain_of(plan.fqdn)
    users = _users(plan.users, domain)
    processes = sample_processes(folder / "delivered", plan.fqdn, SAMPLE_GROUP)
    with _all_or_nothing(folder):
        (folder / "delivered").mkdir(mode=0o750)
        for name in ("invoices", "archive", "mirror"):
            (folder / "delivered" / name).mkdir(mode=0o750)
        (folder / "data").mkdir(mode=0o700)
        _write_pki(folder / "pki", plan, users)
        _write_directory(folder / "directory", domain, users, processes)
        # Last: a folder with a server.toml is complete.
        create_file(folder / "server.toml", server_toml(_settings(plan, domain), _NOTES).encode())
    return Installation(
        folder=folder,
        address=f"https://{_in_url(plan.fqdn)}:{parse_listen(plan.listen)[1]}/ScanServer",
        files=tuple(sorted(path for path in folder.rglob("*") if path.is_file())),
        users=users,
        processes=processes,
    )


def _refuse_what_exists(folder: Path) -> None:
    if folder.is_dir():
        there = sorted(path.name for path in folder.iterdir())
        if there:
            shown = ", ".join(there[:10]) + (", ..." if len(there) > 10 else "")
            raise InstallationRefused(f"{folder} is not empty, nothing was written; it holds: {shown}")
    elif folder.exists() or folder.is_symlink():
        raise InstallationRefused(f"{folder} exists and is not a folder; nothing was written")


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    """Take away what was made when the block fails; the folder was empty or absent before."""
    existed = folder.exists()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for name in ("server.toml", "pki", "directory", "data", "delivered"):
            made = folder / name
            if made.is_dir():
                shutil.rmtree(made, ignore_errors=True)
            else:
                made.unlink(missing_ok=True)
        if not existed:
            folder.rmdir()
        raise


def _users(names: Sequence[str], domain: str) -> tuple[User, ...]:
    domain_sid = "-".join(str(secrets.randbits(32)) for _ in range(3))
    groups: dict[str, set[str]] = {
        name: {SAMPLE_GROUP} if index == 0 else set() for index, name in enumerate(names)
    }
    administrator = next((name for name in names if name.casefold() == ADMINISTRATOR), ADMINISTRATOR)
    groups.setdefault(administrator, set()).add(DEFAULT_GROUP)
    return tuple(
        User(
            sid=f"S-1-5-21-{domain_sid}-{_FIRST_USER_RID + index}",
            name=name,
            domain=domain,
            upn=f"{name}@{domain}",
            display_name=name[:1].upper() + name[1:],
            mail=f"{name}@{domain}",
            groups=frozenset(member_of),
        )
        for index, (name, member_of) in enumerate(groups.items())
    )


def _write_pki(folder: Path, plan: InstallationPlan, users: Sequence[User]) -> None:
    (folder / "users").mkdir(mode=0o755, parents=True)
    ca = create_ca(f"Postscan authority of {plan.fqdn}", algorithm=plan.keys)
    write_pair(ca, folder / "ca.pem", folder / "ca.key")
    server: KeyPair = issue_server(ca, plan.fqdn, addresses_in(plan.listen), algorithm=plan.keys)
    write_pair(server, folder / "server.pem", folder / "server.key")
    for user in users:
        pair = issue_user(ca, user, algorithm=plan.keys)
        write_pair(pair, folder / "users" / f"{user.name}.pem", folder / "users" / f"{user.name}.key")


def _write_directory(
    folder: Path, domain: str, users: Sequence[User], processes: Sequence[StoredProcess]
) -> None:
    (folder / "processes").mkdir(mode=0o755, parents=True)
    directory = EmbeddedDirectory(folder, domain=domain)
    for user in users:
        directory.write_user(user)
    for process in processes:
        directory.write_process(process)


def _settings(plan: InstallationPlan, domain: str) -> dict[str, dict[str, Any]]:
    from postscan.cli.samples import archive_unc

    values: dict[str, dict[str, Any]] = {
        "server": {"fqdn": plan.fqdn, "listen": plan.listen},
        "directory": {"domain": domain},
        "fileshare": {"roots": ["delivered"], "unc_map": {archive_unc(plan.fqdn): "delivered/mirror"}},
    }
    if _is_loopback(plan.fqdn) or _is_loopback(parse_listen(plan.listen)[0]):
        # Nobody but this machine can reach such a server, so that it notifies nobody else.
        values["eventing"] = {"allow_loopback": True}
    for section, keys in plan.overrides.items():
        values.setdefault(section, {}).update(keys)
    return values


def addresses_in(listen: str) -> list[str]:
    """Return the one address the server listens at, unless that is every address, or a name."""
    host, _port = parse_listen(listen)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []
    return [] if address.is_unspecified else [host]


def _is_loopback(text: str) -> bool:
    if text == "localhost":
        return True
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
