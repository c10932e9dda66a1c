"""Checks what [directory] names without asking anybody: files, keys, secrets, and how it is protected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from postscan.cli.certificate_checks import check_authorities
from postscan.cli.directories import password_use
from postscan.cli.findings import Finding, problem, warning
from postscan.cli.process_checks import ProcessChecker
from postscan.cli.secret_file import SecretRefused, read_private
from postscan.cli.settings_directory import EMBEDDED_KEYS, DirectorySettings
from postscan.core.errors import ConfigurationError
from postscan.directory.embedded import EmbeddedDirectory

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings

_MAX_KEYTAB = 1024 * 1024


def check_directory(loaded: LoadedSettings) -> Iterator[Finding]:
    """Check the directory's settings and the files they name; asks no controller."""
    if loaded.settings.directory.is_active:
        yield from _check_active(loaded)
    else:
        yield from _check_embedded(loaded)
        yield from _check_idle_keys(loaded)


def in_words(loaded: LoadedSettings) -> str:
    """Say in one line which directory would be asked, and how."""
    settings, directory = loaded.settings, loaded.settings.directory
    if not directory.is_active:
        return f"embedded, in {directory.folder}"
    where = ", ".join(directory.controllers) or "controllers that DNS names"
    if directory.dns_servers:
        where += f" (asking {', '.join(directory.dns_servers)})"
    how = {
        "ldaps": "LDAPS (port 636)",
        "starttls": "StartTLS (port 389)",
        "sealed": "port 389, signed and encrypted by the bind",
        "plain": "port 389 in clear text",
    }[directory.transport]
    return f"Active Directory {settings.directory_domain}: {where}, by {how}, as {_account(loaded)}"


def _account(loaded: LoadedSettings) -> str:
    directory = loaded.settings.directory
    by = {"password": "a simple bind", "kerberos": "Kerberos", "ntlm": "NTLM"}.get(
        directory.bind, "Kerberos or NTLM"
    )
    if directory.keytab:
        return f"{directory.account} by {by}, with the keytab {directory.keytab}"
    use = password_use(loaded.settings)
    if use is None:
        return f"whoever this process has Kerberos tickets of, by {by}"
    try:
        found = loaded.secrets.find(use)
    except SecretRefused:
        return f"{directory.account} by {by}, with a password that cannot be used"
    nothing = "no password yet" if directory.bind in ("password", "ntlm") else "the process's tickets"
    source = f"the password of {found.origin}" if found is not None else nothing
    return f"{directory.account} by {by}, with {source}"


def _check_embedded(loaded: LoadedSettings) -> Iterator[Finding]:
    settings = loaded.settings
    folder, key = settings.directory.folder, "directory.folder"
    if not folder.is_dir():
        yield problem(key, f"there is no folder {folder}", "name the directory's folder")
        return
    invalid = set()
    try:
        checker = ProcessChecker(loaded)
    except ConfigurationError:
        return  # what is wrong with the filters is told for them
    for stored in sorted((folder / "processes").glob("*.xml")):
        for wrong in checker.report(stored.read_bytes()).problems:
            invalid.add(stored)
            yield problem(key, f"{stored}:{wrong.line}: {wrong.message}", wrong.advice)
    for found in EmbeddedDirectory(folder, domain=settings.directory_domain).problems():
        if found.path not in invalid:
            yield problem(key, str(found), "correct the file; until then the entry is left out")


def _check_idle_keys(loaded: LoadedSettings) -> Iterator[Finding]:
    idle = [
        key
        for key in DirectorySettings.model_fields
        if key not in EMBEDDED_KEYS and loaded.origins[f"directory.{key}"] != "default"
    ]
    if idle:
        yield warning(
            "directory.kind",
            f"is embedded, for which {', '.join(idle)} mean nothing",
            'write kind = "active-directory", or take them out',
        )


def _check_active(loaded: LoadedSettings) -> Iterator[Finding]:
    directory = loaded.settings.directory
    yield from _check_secrets(loaded)
    if directory.keytab:
        yield from _check_keytab(Path(directory.keytab))
    if directory.ca:
        yield from check_authorities(Path(directory.ca), "directory.ca")
    yield from _check_protection(directory)
    if directory.cache_seconds > 300:
        yield warning(
            "directory.cache_seconds",
            f"is {directory.cache_seconds}: so long after a right was taken away it can still be used",
            "set it to a few seconds; the directory is asked little even so",
        )


def _check_secrets(loaded: LoadedSettings) -> Iterator[Finding]:
    use, key = password_use(loaded.settings), "directory.password_file"
    if use is None:
        return
    try:
        found = loaded.secrets.find(use)
    except SecretRefused as error:
        yield problem(key, str(error), error.what_to_do)
        return
    if found is None and loaded.settings.directory.bind in ("kerberos", "negotiate"):
        yield warning(
            key,
            f"there is neither a keytab nor a password for {loaded.settings.directory.account}: the"
            " Kerberos tickets of the server's process count, which somebody has to renew",
            "name a keytab",
        )
    elif found is None:
        yield problem(
            key,
            f"there is no password for {loaded.settings.directory.account}",
            f"`postscan secrets set {use.name}`, or name a file with it (0600)",
        )


def _check_keytab(keytab: Path) -> Iterator[Finding]:
    try:
        # A keytab of the machine is often given to the server by its group.
        content = read_private(keytab, group_may_read=True, max_octets=_MAX_KEYTAB)
    except SecretRefused as error:
        yield problem("directory.keytab", str(error), error.what_to_do)
        return
    if not content.startswith(b"\x05\x02"):
        yield problem(
            "directory.keytab",
            f"{keytab} is no keytab",
            "make one with `samba-tool domain exportkeytab` or ktpass",
        )


def _check_protection(directory: DirectorySettings) -> Iterator[Finding]:
    from postscan.directory.ldap.kerberos import kerberos_is_installed

    if directory.bind == "kerberos" and not kerberos_is_installed():
        yield problem(
            "directory.bind",
            "is kerberos, and Kerberos is not installed here",
            'pip install "postscan[kerberos]", or bind = "password" over LDAPS',
        )
    if directory.bind == "negotiate" and not kerberos_is_installed():
        yield warning(
            "directory.bind",
            "is negotiate, and Kerberos is not installed here: NTLM alone is left",
            'pip install "postscan[kerberos]"',
        )
    if directory.transport == "plain":
        yield warning(
            "directory.transport",
            "is plain: the password and all about people travel in clear text, and any machine in between"
            " can answer as it likes",
            'set transport = "ldaps" outside of a laboratory',
        )
    elif directory.insecure_plain_bind:
        yield warning(
            "directory.insecure_plain_bind",
            f"is true, and transport is {directory.transport}, which does not need it",
            "take it out",
        )
    if directory.bind == "ntlm":
        yield warning(
            "directory.bind",
            "is ntlm, which many domains switch off",
            'set bind = "kerberos" where you can',
        )
