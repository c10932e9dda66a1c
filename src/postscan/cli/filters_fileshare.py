"""The file-share filter, made from [fileshare] of the settings."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from postscan.cli.findings import Finding, problem, warning
from postscan.cli.secret_store import SecretUse
from postscan.cli.secret_uses import secret_of
from postscan.cli.toml_text import dotted
from postscan.filters.fileshare import FileShareFilter, FileShareSettings
from postscan.filters.smb.servers import Encryption, Logon, SmbServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postscan.cli.settings import LoadedSettings
    from postscan.cli.settings_fileshare import SmbServerSettings
    from postscan.cli.settings_model import Settings


def file_share_settings(loaded: LoadedSettings) -> FileShareSettings:
    """Return what the file-share filter is told; no secret is read.

    :raises ConfigurationError: the settings of a server do not fit together.
    """
    share = loaded.settings.fileshare
    return FileShareSettings(
        roots=tuple(share.roots),
        unc_map=dict(share.unc_map),
        servers=tuple(_server(loaded, host, said) for host, said in share.servers.items()),
        zone=ZoneInfo(share.time_zone) if share.time_zone else None,
        folder_mode=int(share.folder_mode, 8),
    )


def file_share_filter(loaded: LoadedSettings) -> FileShareFilter:
    """Return the file-share filter, which is always there."""
    return FileShareFilter(file_share_settings(loaded))


def file_share_secret_uses(settings: Settings) -> list[SecretUse]:
    """Return the passwords that the servers of the settings need."""
    servers = settings.fileshare.servers
    return [_password_use(host, said) for host, said in servers.items() if said.has_password]


def check_file_share(loaded: LoadedSettings) -> Iterator[Finding]:
    """Tell what is missing or risky in the settings of the file servers."""
    for host, said in loaded.settings.fileshare.servers.items():
        key = dotted("fileshare", "servers", host)
        if said.keytab and not _is_readable(Path(said.keytab)):
            yield problem(
                f"{key}.keytab",
                f"{said.keytab} cannot be read",
                "Let the account the server runs as read it, or correct the path.",
            )
        if said.auth == "ntlm":
            yield warning(
                f"{key}.auth",
                "is ntlm: whoever poses as the server is given what a weak password can be guessed from",
                'Write auth = "kerberos" if the server is in a domain; else see that the password is long.',
            )


def _server(loaded: LoadedSettings, host: str, said: SmbServerSettings) -> SmbServer:
    use = _password_use(host, said)
    return SmbServer(
        host=host,
        logon=Logon(said.auth),
        account=_account(said),
        password=partial(secret_of, loaded, use) if said.has_password else None,
        keytab=Path(said.keytab) if said.keytab else None,
        port=said.port,
        connect_to=said.connect_to,
        encryption=Encryption(said.encryption),
        shares=tuple(said.shares),
        connect_seconds=said.connect_seconds,
        answer_seconds=said.answer_seconds,
    )


def _account(said: SmbServerSettings) -> str:
    if not said.domain:
        return said.account
    # A realm is told apart by case, the names of Active Directory are not (RFC 4120, 6.1).
    return (
        f"{said.account}@{said.domain.upper()}"
        if said.auth == "kerberos"
        else f"{said.domain}\\{said.account}"
    )


def _password_use(host: str, said: SmbServerSettings) -> SecretUse:
    # The name of a secret has no two hyphens in a row, as some host names have (xn--...).
    return SecretUse(
        f"fileshare.{re.sub('-+', '-', host)}.password",
        (
            f"file server {host}",
            f"connected to at {said.connect_to or host}:{said.port}",
            f"by {said.auth}",
        ),
        said.password_file or None,
    )


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False
