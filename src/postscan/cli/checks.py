"""Checks an installation before it serves: files, keys, certificates, directory, folders."""

from __future__ import annotations

import ipaddress
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

import postscan
from postscan.cli.certificate_checks import check_authorities, check_dates, read_certificates, read_file
from postscan.cli.directory_findings import check_directory
from postscan.cli.filters import check_filters
from postscan.cli.findings import Finding, problem, warning
from postscan.cli.settings import LoadedSettings, Settings
from postscan.core.errors import ConfigurationError
from postscan.directory.embedded import EmbeddedDirectory
from postscan.filters.mounts import missing_mount
from postscan.server.revocation.files import read_file as read_file_of_lists


def check_installation(loaded: LoadedSettings) -> list[Finding]:
    """Check everything the settings name; an empty list means all is in order."""
    settings = loaded.settings
    return [
        *_check_certificate(settings),
        *_check_keys(settings),
        *_check_client_ca(settings),
        *_check_sink_ca(settings),
        *_check_revocation(settings),
        *check_directory(loaded),
        *check_data_folder(settings),
        *_check_file_shares(settings),
        *check_filters(loaded),
        *_check_administrators(settings),
        *_check_consistency(settings),
    ]


def _check_certificate(settings: Settings) -> Iterator[Finding]:
    if not settings.tls.enabled:
        yield warning(
            "tls.enabled",
            "pages and names travel in clear text",
            "set enabled = true outside of a laboratory",
        )
        return
    path, key = settings.tls.certificate, "tls.certificate"
    found = read_certificates(path, key)
    if isinstance(found, Finding):
        yield found
        return
    certificate = found[0]
    yield from check_dates(certificate, path, key)
    fqdn = settings.server.fqdn
    if not _covers(certificate, fqdn):
        yield problem(
            key,
            f"{path} is not valid for {fqdn}: its names are {', '.join(_names(certificate)) or 'none'}",
            "have a certificate issued whose subjectAltName holds server.fqdn, or correct server.fqdn",
        )
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        purposes = None
    if purposes is not None and ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        yield problem(
            key, f"{path} is not for a server", "have one issued with extended key usage serverAuth"
        )
    private = read_file(settings.tls.key, "tls.key")
    if isinstance(private, Finding):
        yield private
        return
    try:
        loaded = load_pem_private_key(private, None)
    except (ValueError, TypeError):
        yield problem(
            "tls.key",
            f"{settings.tls.key} holds no private key that can be read without a password",
            "write the key there as PEM, without encryption, mode 0600",
        )
        return
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if loaded.public_key().public_bytes(*spki) != certificate.public_key().public_bytes(*spki):
        yield problem(
            "tls.key",
            f"{settings.tls.key} is not the key of {path}",
            "put the certificate and the key that were made together beside each other",
        )


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses)]


def _covers(certificate: x509.Certificate, fqdn: str) -> bool:
    names = [name.lower() for name in _names(certificate)]
    if fqdn.lower() in names:
        return True
    try:
        ipaddress.ip_address(fqdn)
    except ValueError:
        # RFC 6125, 6.4.3: a wildcard stands for one whole left-most label.
        return f"*.{fqdn.lower().partition('.')[2]}" in names
    return False


def _check_keys(settings: Settings) -> Iterator[Finding]:
    folder = settings.tls.key.parent
    keys = {settings.tls.key, *(folder.rglob("*.key") if folder.is_dir() else ())}
    for path in sorted(keys):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        if mode & 0o077:
            yield problem(
                "tls.key",
                f"{path} can be read by others (mode {stat.S_IMODE(mode):04o})",
                f"chmod 600 {path}, and have a new one issued if others used this machine",
            )


def _check_client_ca(settings: Settings) -> Iterator[Finding]:
    if settings.server.mode == "authenticated" and settings.tls.enabled and settings.tls.client_ca:
        yield from check_authorities(Path(settings.tls.client_ca), "tls.client_ca")


def _check_revocation(settings: Settings) -> Iterator[Finding]:
    key = "revocation.crl_files"
    for path in settings.revocation.crl_files:
        try:
            read_file_of_lists(path)
        except ConfigurationError as error:
            yield problem(key, str(error), error.what_to_do)
    if settings.revocation.fetch_from_loopback:
        yield warning(
            "revocation.fetch_from_loopback",
            "is true: certificates can make the server ask addresses of this machine",
            "set it to false outside of a laboratory",
        )


def _check_sink_ca(settings: Settings) -> Iterator[Finding]:
    if settings.eventing.sink_ca:
        yield from check_authorities(settings.eventing.sink_ca, "eventing.sink_ca")


def check_data_folder(settings: Settings) -> Iterator[Finding]:
    """Check that the data folder is there, writable, private and in a sensible place (abuse case 29)."""
    folder, key = settings.server.data, "server.data"
    if not folder.is_dir():
        yield problem(key, f"there is no folder {folder}", f"mkdir -m 700 {folder}")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o002:
        yield problem(key, f"anyone may write to {folder} (mode {mode:04o})", f"chmod 700 {folder}")
    elif mode & 0o077:
        yield warning(key, f"others may look into {folder} (mode {mode:04o})", f"chmod 700 {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        yield problem(key, f"{folder} is not writable", "give it to the account the server runs as")
    real = folder.resolve()
    for code in {Path(postscan.__file__).resolve().parent, Path(sys.prefix).resolve() / "lib"}:
        if real.is_relative_to(code):
            yield problem(key, f"{folder} lies among program files ({code})", "choose another folder")
    free = shutil.disk_usage(folder).free
    if free < settings.limits.min_free_bytes:
        yield problem(
            key,
            f"{free} bytes are free at {folder}; below limits.min_free_bytes"
            f" ({settings.limits.min_free_bytes}) no job begins",
            "make room, or lower limits.min_free_bytes",
        )


def _check_file_shares(settings: Settings) -> Iterator[Finding]:
    shares = [("fileshare.roots", path) for path in settings.fileshare.roots]
    shares += [("fileshare.unc_map", path) for path in settings.fileshare.unc_map.values()]
    data = settings.server.data.resolve()
    for key, path in shares:
        if not path.is_dir():
            yield problem(key, f"there is no folder {path}", "make or mount it, or take it out")
            continue
        if not os.access(path, os.W_OK | os.X_OK):
            yield problem(key, f"{path} is not writable", "let the account the server runs as write there")
        real = path.resolve()
        away = missing_mount(real)
        if away is not None:
            yield problem(key, f"nothing is mounted at {away}", f"mount {away}")
        if data.is_relative_to(real) or real.is_relative_to(data):
            yield problem(
                key, f"{path} and the data folder lie in each other", "keep deliveries and server.data apart"
            )


def _check_administrators(settings: Settings) -> Iterator[Finding]:
    allowed = settings.administrators
    if allowed.certificates:
        return
    if settings.server.mode == "unauthenticated":
        yield warning(
            "administrators.certificates",
            "nobody may administer this server over the network: in unauthenticated mode no group counts",
            "list the SHA-256 fingerprint of an administrator's certificate",
        )
        return
    if settings.directory.is_active:
        return  # `postscan directory check` asks the domain
    directory = EmbeddedDirectory(settings.directory.folder, domain=settings.directory_domain)
    if not any(directory.knows_group(group) for group in allowed.groups):
        names = ", ".join(allowed.groups) or "none is named"
        yield warning(
            "administrators.groups",
            f"nobody may administer this server over the network: no user is in these groups ({names})",
            "put a user into one of them in users.toml, or list a certificate in administrators.certificates",
        )


def _check_consistency(settings: Settings) -> Iterator[Finding]:
    if settings.server.mode == "unauthenticated" and not settings.devices.allow:
        yield problem(
            "devices.allow",
            "in unauthenticated mode with no device allowed, every job is refused",
            "list the devices' addresses, networks or certificate fingerprints",
        )
    if settings.server.mode == "authenticated" and not settings.tls.enabled:
        yield problem(
            "server.mode",
            "without TLS there are no client certificates, so nobody can be authenticated",
            "set tls.enabled = true",
        )
    if settings.limits.max_job_bytes < settings.limits.max_image_bytes:
        yield warning(
            "limits.max_job_bytes",
            "an image of the largest size would not fit into a job",
            "set max_job_bytes to at least max_image_bytes",
        )
