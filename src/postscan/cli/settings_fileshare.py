"""The settings of the file-share filter: folders of this machine, mounted shares, and file servers."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from postscan.cli.settings_base import Contradiction, HostName, Section, parse_host_name, setting

_UNC_ROOT = re.compile(r"\\\\[^\\/:*?\"<>|]+\\[^\\/:*?\"<>|]+(\\[^\\/:*?\"<>|]+)*")
_SHARE = re.compile(r"[^\x00-\x1f\\/:*?\"<>|]{1,80}")
_NUMBERS = re.compile(r"[0-9a-fx.:]*[0-9.:][0-9a-fx.:]*")


def _checked_mode(text: str) -> str:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError('is no permission mode; write it in octal, like "0750"')
    return text


def _checked_unc(text: str) -> str:
    if not _UNC_ROOT.fullmatch(text):
        raise ValueError(r"is no UNC root; write it like '\\files.example.com\scans' in single quotes")
    return text


def _checked_zone(text: str) -> str:
    try:
        return text and str(zoneinfo.ZoneInfo(text))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("is no time zone; write one like Europe/Berlin or UTC") from error


def _checked_share(text: str) -> str:
    if not _SHARE.fullmatch(text):
        raise ValueError("is no name of a share; write one like scans, without server and backslashes")
    return text


def _checked_server(text: str) -> str:
    name = parse_host_name(text)
    if _NUMBERS.fullmatch(name):
        raise ValueError(
            "is an address; name the server as scan processes do, like files.example.com (connect_to may hold"
            " the address)"
        )
    return name


FolderMode = Annotated[str, AfterValidator(_checked_mode)]
TimeZone = Annotated[str, AfterValidator(_checked_zone)]
UncRoot = Annotated[str, AfterValidator(_checked_unc)]
ShareName = Annotated[str, AfterValidator(_checked_share)]
ServerName = Annotated[str, AfterValidator(_checked_server)]


class SmbServerSettings(Section):
    """A file server that is written to over SMB (see docs/file-share.md)."""

    auth: Literal["kerberos", "ntlm"] = setting(
        "kerberos",
        "How the account proves itself. kerberos: with the password, the keytab, or the tickets this process"
        " has; needs postscan[kerberos]. ntlm: with the password; only for servers that are in no domain.",
    )
    account: str = setting(
        "",
        "The account to write with, like svc-scan. Empty, with kerberos: whose keys or ticket there are.",
    )
    domain: str = setting(
        "", "The account's domain (ntlm) or realm (kerberos), unless account says it itself."
    )
    password_file: Literal[""] | Path = setting(
        "",
        "A file with the account's password, which others cannot read (0600 or 0400). Empty: the systemd"
        " credential fileshare.HOST.password, or else POSTSCAN_SECRET_FILESHARE_HOST_PASSWORD, or else what"
        " `postscan secrets set fileshare.HOST.password` has kept.",
    )
    keytab: Literal[""] | Path = setting(
        "", "The account's Kerberos keys, in place of a password, like /etc/krb5.keytab."
    )
    tickets: bool = setting(
        False, "Use the Kerberos tickets this process has (KRB5CCNAME), in place of password and keytab."
    )
    shares: list[ShareName] = setting(
        [], "The shares that may be written to. None: all, but those whose names end in $."
    )
    encryption: Literal["offered", "required"] = setting(
        "offered",
        "offered: what is sent is encrypted where the server can, else signed. required: a server that cannot"
        " encrypt is not written to.",
    )
    port: Annotated[int, Field(ge=1, le=65535)] = setting(445, "The port the server listens at.", least=1)
    connect_to: Literal[""] | HostName = setting(
        "",
        "The host to connect to, where it is another than the name in scan processes: for a DFS root of a"
        " domain one of its servers (Kerberos then proves that name), or an address.",
    )
    connect_seconds: int = setting(
        10, "A server that is not connected after this is away.", unit="seconds", least=1
    )
    answer_seconds: int = setting(
        60, "A server that does not answer a request for this long is away.", unit="seconds", least=1
    )

    @property
    def has_password(self) -> bool:
        """Whether a password is used."""
        return self.auth == "ntlm" or not (self.keytab or self.tickets)

    def contradictions(self) -> Iterator[Contradiction]:
        """Tell which values of this server do not fit together."""
        if self.has_password and not self.account:
            yield Contradiction(
                "account", "is missing: a password needs one", 'write account = "svc-scan", or give a keytab'
            )
        for key, given in (("keytab", self.keytab), ("tickets", self.tickets)):
            if given and self.auth == "ntlm":
                yield Contradiction(
                    key, 'is for Kerberos, and auth is "ntlm"', f'write auth = "kerberos", or take {key} out'
                )
        if self.keytab and self.tickets:
            yield Contradiction(
                "tickets", "stands beside keytab, and only one can count", "take out one of them"
            )
        if self.password_file and not self.has_password:
            yield Contradiction(
                "password_file",
                "stands beside keytab or tickets, and only one can count",
                "take out one of them",
            )
        if self.domain and not self.account:
            yield Contradiction("account", "is missing, and a domain is given", "write whose domain it is")
        if self.domain and ("@" in self.account or "\\" in self.account):
            yield Contradiction(
                "domain", f"stands beside account = {self.account!r}, which names one", "take out one of them"
            )
        if "\\" in self.account and self.auth == "kerberos":
            yield Contradiction(
                "account",
                f"is {self.account}, and Kerberos knows accounts as name@REALM",
                'write it like account = "svc-scan@EXAMPLE.COM"',
            )


class FileShareSettings(Section):
    """Where the file-share filter may write."""

    roots: list[Path] = setting(
        [], "Folders in and under which file: targets of scan processes may lie. Nothing else is written to."
    )
    folder_mode: FolderMode = setting("0750", "Permissions of a user's new folder (user@domain), in octal.")
    time_zone: TimeZone = setting(
        "", "The zone of date and time in file names, like Europe/Berlin. Empty: this machine's."
    )
    unc_map: dict[UncRoot, Path] = setting(
        {},
        r"Where a UNC root of scan processes is mounted here; a line '\\server\share' = '/mnt/share' each."
        r" These come before servers.",
    )
    servers: dict[ServerName, SmbServerSettings] = setting(
        {},
        "The file servers that are written to over the network, by the host names that scan processes and DFS"
        " links name them by. No other is ever connected to.",
        example="files.example.com",
    )
