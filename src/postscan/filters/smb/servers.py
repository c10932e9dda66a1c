r"""The file servers that may be written to, and what a UNC path means by that list (abuse case 27).

A scan process names a server; the list here says whether there is such a server for us, and with which
account and protection it is talked to. Nothing else is ever connected to: neither what a scan process names
nor what a DFS referral leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.unc import folded, is_address, refusal, unc_path, unc_segments

_HIDDEN: Final = "$"


class Logon(StrEnum):
    """How an account proves itself to a file server."""

    KERBEROS = "kerberos"
    NTLM = "ntlm"


class Encryption(StrEnum):
    """Whether what is sent is encrypted; it is signed always."""

    OFFERED = "offered"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class SmbServer:
    r"""One file server, and how it is talked to.

    ``host`` is the name in UNC paths. ``account`` is a principal (``scan@EXAMPLE.COM``) for Kerberos, for
    NTLM a name, ``DOMAIN\name`` or ``name@domain``; ``password`` returns the password as it is now, None
    where there is a ``keytab`` or the process's own Kerberos tickets are to be used. ``connect_to`` is the
    host to connect to where that is another one than ``host`` (a domain's DFS root: one of its servers);
    Kerberos then proves that name, unless it is an address. ``shares`` lists the shares that may be written
    to, all but hidden ones (``C$``) when it is empty. A server that is not connected after
    ``connect_seconds``, or does not answer a request within ``answer_seconds``, is away.

    :raises ConfigurationError: the values do not fit together.
    """

    host: str
    logon: Logon = Logon.KERBEROS
    account: str = ""
    password: Callable[[], Secret] | None = field(default=None, repr=False, compare=False)
    keytab: Path | None = None
    port: int = 445
    connect_to: str = ""
    encryption: Encryption = Encryption.OFFERED
    shares: tuple[str, ...] = ()
    connect_seconds: int = 10
    answer_seconds: int = 60

    def __post_init__(self) -> None:
        if is_address(self.host):
            raise ConfigurationError(
                f"the file server {self.host} is named by an address",
                advice="Name it as scan processes do, by its host name; connect_to may hold the address.",
            )
        if self.logon is Logon.NTLM and not (self.account and self.password):
            raise ConfigurationError(
                f"NTLM on the file server {self.host} needs an account and its password",
                advice="Give both; an anonymous or guest session is never used.",
            )
        if self.logon is Logon.KERBEROS and not _kerberos_is_installed():
            raise ConfigurationError(
                f"Kerberos, to log on to the file server {self.host}, is not installed",
                advice='Install it with: pip install "postscan[kerberos]"; or set auth = "ntlm" for it.',
            )

    @property
    def service_host(self) -> str:
        """The host whose service principal Kerberos asks for (``cifs/<host>``)."""
        return self.connect_to if self.connect_to and not is_address(self.connect_to) else self.host

    @property
    def who(self) -> str:
        """Who logs on, for messages."""
        if self.account:
            return self.account
        return f"the first principal of {self.keytab}" if self.keytab else "the default Kerberos tickets"

    def allows(self, share: str) -> bool:
        """Tell whether a share may be written to."""
        if self.shares:
            return share.casefold() in folded(self.shares)
        return not share.endswith(_HIDDEN)


@dataclass(frozen=True, slots=True)
class SmbTarget:
    """A folder on a file server: its ``server``, the ``share``, and the ``folders`` in it.

    ``key`` is one spelling for all spellings of it.
    """

    server: SmbServer
    share: str
    folders: tuple[str, ...]

    @property
    def key(self) -> str:
        """The UNC path; whether letters matter below the share is the server's business."""
        return unc_path((self.server.host.casefold(), self.share.casefold(), *self.folders))


class SmbServers:
    """Finds the server of a UNC path in the administrator's list.

    :raises ConfigurationError: a host stands there twice.
    """

    def __init__(self, servers: Iterable[SmbServer]) -> None:
        self._servers: dict[str, SmbServer] = {}
        for server in servers:
            if self._servers.setdefault(server.host.casefold(), server) is not server:
                raise ConfigurationError(f"the file server {server.host} is listed twice")

    def __iter__(self) -> Iterator[SmbServer]:
        return iter(self._servers.values())

    def target_of(self, segments: Sequence[str]) -> SmbTarget:
        """Return what server, share and folders mean here.

        :raises InstructionsError: the server is not on the list, or the share not one of its.
        """
        host, share, *folders = segments
        server = None if is_address(host) else self._servers.get(host.casefold())
        if server is None:
            raise refusal(
                f"{unc_path(segments)!r} is mapped to no folder, and {host} is no file server of the list",
                advice=f'Add the server to the settings ([fileshare.servers."{host.lower()}"]), or mount the'
                " share and map its UNC root to the mounted folder (fileshare.unc_map).",
            )
        if not server.allows(share):
            raise refusal(
                f"{unc_path(segments)!r} is in a share of {server.host} that may not be written to",
                advice=f"Add {share!r} to the shares of {server.host} in the settings, or correct the scan"
                " process.",
            )
        return SmbTarget(server, share, tuple(folders))

    def target_of_path(self, text: str) -> SmbTarget:
        """Return what a UNC path means here, such as one in a DFS referral; raises InstructionsError."""
        return self.target_of(unc_segments(text))


def _kerberos_is_installed() -> bool:
    # Imported where it is needed: it brings the libraries of Kerberos along.
    from postscan.directory.ldap.kerberos import kerberos_is_installed

    return kerberos_is_installed()
