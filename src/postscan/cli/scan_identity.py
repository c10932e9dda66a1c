"""Who scans, and what for: a user by name, certificate or password, and one of their scan processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from postscan.cli.exit_codes import ExitCode
from postscan.cli.process_text import matching
from postscan.core.errors import ConfigurationError, PostscanError

if TYPE_CHECKING:
    from cryptography import x509

    from postscan.cli.settings import LoadedSettings
    from postscan.core.secret import Secret
    from postscan.directory.active.authorities import Authorities
    from postscan.directory.active.directory import ActiveDirectory
    from postscan.directory.active.published import PublishedHash
    from postscan.directory.embedded import EmbeddedDirectory
    from postscan.directory.model import Directory, StoredProcess, User
    from postscan.dpws.certificate_pin import CertificatePin


class NotAllowed(PostscanError):
    """What was asked for is not among what this user may use."""

    exit_code = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is to scan with what, as the command line says it; ``certificate`` counts without ``user``."""

    process: str
    user: str | None = None
    password: Secret | None = None
    certificate: Path | None = None


@dataclass(frozen=True, slots=True)
class WalkUp:
    """A user at the device, and the scan process they chose.

    ``pin`` is the scan server's certificate where the directory publishes it; ``roots`` are authorities of
    the directory.
    """

    user: User
    process: StoredProcess
    pin: CertificatePin | None = None
    roots: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """Which directory to ask: an embedded one's ``folder``, that of ``loaded``, or the ``domain`` alone.

    ``ca`` holds the authorities of the domain's controllers, for ``domain``.
    """

    loaded: LoadedSettings | None = None
    folder: Path | None = None
    domain: str | None = None
    ca: Path | None = None


class _Domain(Protocol):
    """What a device asks of an Active Directory beside people and scan processes."""

    async def published_hash(self, host: str) -> PublishedHash | None: ...

    async def authorities(self) -> Authorities: ...


async def walk_up(source: DirectorySource, asked: Asked) -> WalkUp:
    """Look up the user and the scan process.

    :raises NotAllowed: there is no such user, certificate's account, or scan process for them.
    :raises CredentialsRefused: the directory does not take name and password.
    :raises ConfigurationError: no directory is named, or it knows no passwords.
    """
    if asked.password is not None:
        return await _by_password(source, asked, asked.password)
    from postscan.directory.embedded import EmbeddedDirectory

    async with _opened(source) as directory:
        user = await (
            _certified(directory, asked.certificate)
            if asked.user is None and asked.certificate is not None
            else _named(directory, asked.user or "")
        )
        process = _chosen(user, await directory.processes_for(user), asked.process, _problems(directory))
        if isinstance(directory, EmbeddedDirectory):
            return WalkUp(user, process)
        return await _with_trust(directory, user, process)


async def _by_password(source: DirectorySource, asked: Asked, password: Secret) -> WalkUp:
    from postscan.cli.directories import sign_in_to
    from postscan.directory.ldap.model import DirectoryAway, DirectoryUntrusted

    if asked.user is None:
        raise ConfigurationError("a password proves a user who is named", advice="Add --user NAME.")
    try:
        found = await sign_in_to(source.loaded, source.domain, source.ca, asked.user, password)
    except DirectoryUntrusted as error:
        advice = "Name the authority that issued the certificates of the domain's controllers: --ca FILE."
        raise DirectoryUntrusted(str(error), advice=_advice(source, error, advice)) from error
    except DirectoryAway as error:
        advice = "Check --domain, and that this machine can resolve and reach the domain's controllers."
        raise DirectoryAway(str(error), advice=_advice(source, error, advice)) from error
    async with found as signed_in:
        process = _chosen(signed_in.user, await signed_in.processes(), asked.process, "")
        return await _with_trust(signed_in, signed_in.user, process)


def _advice(source: DirectorySource, error: PostscanError, without_settings: str) -> str:
    """Return what to do about a domain: with --domain there are no settings to correct."""
    return error.what_to_do if source.domain is None else without_settings


async def _with_trust(domain: _Domain, user: User, process: StoredProcess) -> WalkUp:
    from postscan.dpws.certificate_pin import CertificatePin

    published = await domain.published_hash(process.process.scan_repository.strip())
    pin = CertificatePin(published.digest, published.algorithm) if published is not None else None
    return WalkUp(user, process, pin, (await domain.authorities()).roots)


@asynccontextmanager
async def _opened(source: DirectorySource) -> AsyncIterator[EmbeddedDirectory | ActiveDirectory]:
    from postscan.cli.directories import directory_of
    from postscan.directory.embedded import EmbeddedDirectory

    loaded = source.loaded
    directory: EmbeddedDirectory | ActiveDirectory
    if source.folder is not None:
        domain = loaded.settings.directory_domain if loaded is not None else None
        directory = EmbeddedDirectory(source.folder, domain=domain)
    elif loaded is not None:
        directory = directory_of(loaded)
    else:
        raise ConfigurationError(
            "no directory to look up the user and the scan process",
            advice="Name it with --directory DIR, or the server's settings with --config FILE; or the domain"
            " to sign in to with --domain DOMAIN and a password.",
        )
    try:
        yield directory
    finally:
        await directory.close()


async def _named(directory: Directory, name: str) -> User:
    user = await directory.user_by_name(name)
    if user is None:
        raise NotAllowed(
            f"the directory knows no user {name!r}",
            advice="Write the logon name or user principal name that the directory has."
            + _problems(directory),
        )
    return user


async def _certified(directory: EmbeddedDirectory | ActiveDirectory, path: Path) -> User:
    from cryptography import x509

    from postscan.directory.embedded import EmbeddedDirectory

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is no certificate that can be read", advice="Name the user's certificate, a PEM file."
        ) from error
    if isinstance(directory, EmbeddedDirectory):
        user = await directory.user_for_certificate(certificate)
    else:
        user = await directory.certificate_owner(certificate)
    if user is None:
        raise NotAllowed(
            f"the certificate {path} belongs to no account of the directory",
            advice="Name the user with --user as well, or have the certificate mapped to the account.",
        )
    return user


def _chosen(user: User, granted: Sequence[StoredProcess], wanted: str, problems: str) -> StoredProcess:
    if not user.enabled:
        raise NotAllowed(
            f"the account of {user.upn} is disabled, locked or expired",
            advice="An administrator of the directory can put that right.",
        )
    found = matching(granted, wanted)
    if len(found) == 1:
        return found[0]
    if found:
        raise NotAllowed(
            f"{user.upn} has {len(found)} scan processes that are named {wanted!r}",
            advice=f"Give an identifier: {', '.join(str(process.identifier) for process in found)}.",
        )
    names = ", ".join(f"“{p.display_name}”" for p in granted) or "none"
    raise NotAllowed(
        f"{user.upn} has no scan process {wanted!r}", advice=f"Those this user may use: {names}.{problems}"
    )


def _problems(directory: Directory) -> str:
    found = directory.problems()
    return f" Besides, the directory has wrong entries: {found[0]}" if found else ""
