r"""The connections of one delivery: from a target to an open folder, across DFS links where there are such.

Each delivery has connections of its own, so nothing of one reaches another, and ending them ends whatever
the delivery waits for. A path of a DFS root may lead to other servers ([MS-DFSC] 3.1.4.1): it is followed to
those of the list alone, each with its own account and protection, and to no more than a few.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from smbprotocol.connection import Capabilities
from smbprotocol.exceptions import SMBResponseException
from smbprotocol.ioctl import CtlCode, IOCTLFlags, SMB2IOCTLRequest, SMB2IOCTLResponse
from smbprotocol.open import CreateDisposition, CreateOptions, DirectoryAccessMask, ImpersonationLevel, Open
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from postscan.contracts.keywords import FilterStateReason
from postscan.core.errors import PostscanError
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError, InstructionsError
from postscan.filters.smb.folder import SmbFolder
from postscan.filters.smb.logon import LogonGuard, log_on
from postscan.filters.smb.referral import Referral, parse_referral
from postscan.filters.smb.servers import SmbServer, SmbServers, SmbTarget
from postscan.filters.smb.transport import SafeConnection
from postscan.filters.smb.troubles import (
    BAD_NETWORK_NAME,
    PATH_NOT_COVERED,
    Place,
    operation_errors,
    status_of,
    trouble,
)
from postscan.filters.unc import unc_path

_MOST_LINKS: Final = 8
_NO_FILE: Final = b"\xff" * 16
_MOST_REFERRAL_OCTETS: Final = 56 * 1024
_ALL_SHARING: Final = 0x7


@dataclass(slots=True)
class _Link:
    """A connection with somebody logged on, and the shares that are connected."""

    connection: SafeConnection
    session: Session
    trees: dict[str, TreeConnect] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenedTarget:
    """A folder that was reached, and where it really is."""

    folder: SmbFolder
    target: SmbTarget


class SmbSession:
    """Connections of one delivery to the servers of the list; closes them with its context.

    Its calls block, but for ``abort``. All raise DeliveryError.

    :param label: what people call the destination.
    """

    def __init__(self, servers: SmbServers, guard: LogonGuard, label: str) -> None:
        self._servers = servers
        self._guard = guard
        self._label = label
        self._links: dict[str, _Link] = {}
        self._made: list[SafeConnection] = []
        self._lock = threading.Lock()
        self._aborted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def abort(self) -> None:
        """End all connections at once, from any thread: whoever waits for a server gets an error."""
        with self._lock:
            self._aborted = True
            for connection in self._made:
                connection.abort()

    def close(self) -> None:
        """End all connections, and free what they hold."""
        self.abort()
        for connection in self._made:
            connection.close()

    @property
    def protection(self) -> str:
        """What protects what is sent, in a word."""
        encrypted = [bool(link.session.encrypt_data) for link in self._links.values()]
        return "encrypted" if encrypted and all(encrypted) else "signed"

    def place(self, server: SmbServer, doing: str) -> Place:
        """Return what a failure now would be about."""
        return Place(self._label, server, doing)

    def open_target(
        self, target: SmbTarget, wanted: str | None = None, *, strictly: bool = False
    ) -> OpenedTarget:
        """Reach the folder that a target names; it is not made.

        :param wanted: which of a DFS link's targets to prefer, by key.
        :param strictly: take no other than that.
        """
        here = target
        for _ in range(_MOST_LINKS):
            place = self.place(here.server, f"to open {here.key}")
            try:
                found = self._enter(here)
            except operation_errors() as error:
                raise trouble(error, place) from error
            if isinstance(found, SmbFolder):
                return OpenedTarget(found, here)
            here = self._choose(here, found, wanted if strictly else None, prefer=wanted)
        raise self._nowhere(target, "leads from link to link without end")

    def _enter(self, target: SmbTarget) -> SmbFolder | Referral:
        """Open a folder, or say where else it is."""
        link = self._link_to(target.server)
        path = "\\".join((target.server.host, target.share, *target.folders))
        try:
            tree = self._tree(link, target.server, target.share)
        except SMBResponseException as error:
            # A domain's DFS root is no share of the server that knows of it.
            if status_of(error) != BAD_NETWORK_NAME or not _knows_dfs(link.connection):
                raise
            try:
                return self._referral(link, target.server, path)
            except SMBResponseException:
                raise error from None
        inside = "\\".join(target.folders)
        if tree.is_dfs_share:
            try:
                _look_at(tree, path)
            except SMBResponseException as error:
                if status_of(error) != PATH_NOT_COVERED:
                    raise
                return self._referral(link, target.server, path)
            # The way is known now; from here on paths are those of the share itself ([MS-SMB2] 3.3.5.9).
            tree.is_dfs_share = False
        folder = SmbFolder(tree, inside)
        folder.check()
        return folder

    def _link_to(self, server: SmbServer) -> _Link:
        found = self._links.get(server.host)
        if found is not None and found.connection.is_open:
            return found
        password = self._password(server)
        connection = SafeConnection(
            server.connect_to or server.host, server.port, server.connect_seconds, server.answer_seconds
        )
        with self._lock:
            self._made.append(connection)
            if self._aborted:
                connection.abort()
        connection.open()
        with self._guard.attempt(server, password):
            try:
                session = log_on(connection, server, password)
            except operation_errors() as error:
                raise trouble(error, self.place(server, "to log on")) from error
        made = self._links[server.host] = _Link(connection, session)
        return made

    def _password(self, server: SmbServer) -> Secret | None:
        try:
            if server.keytab is not None:
                # Kerberos itself says no more than that the logon failed.
                with server.keytab.open("rb"):
                    return None
            return server.password() if server.password is not None else None
        except OSError as error:
            words, advice = (
                f"the keytab {server.keytab} cannot be read: {error.strerror}",
                "Let the account the server runs as read it, or correct the path in the settings.",
            )
        except PostscanError as error:
            words, advice = str(error), error.what_to_do
        raise DeliveryError(
            f"{self._label}: {words}",
            reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED,
            # The administrator can mend it.
            transient=True,
            advice=advice,
        )

    def _tree(self, link: _Link, server: SmbServer, share: str) -> TreeConnect:
        tree = link.trees.get(share.casefold())
        if tree is None:
            tree = TreeConnect(link.session, unc_path((server.host, share)))
            tree.connect(require_secure_negotiate=True)
            link.trees[share.casefold()] = tree
        return tree

    def _referral(self, link: _Link, server: SmbServer, path: str) -> Referral:
        r"""Ask where ``host\share\folder`` leads ([MS-DFSC] 2.2.2)."""
        tree = self._tree(link, server, "IPC$")
        asked = SMB2IOCTLRequest()
        asked["ctl_code"] = CtlCode.FSCTL_DFS_GET_REFERRALS
        asked["file_id"] = _NO_FILE
        asked["max_output_response"] = _MOST_REFERRAL_OCTETS
        asked["flags"] = IOCTLFlags.SMB2_0_IOCTL_IS_FSCTL
        asked["buffer"] = (4).to_bytes(2, "little") + f"\\{path}\0".encode("utf-16-le")
        sent = link.connection.send(asked, link.session.session_id, tree.tree_connect_id)
        answer = SMB2IOCTLResponse()
        answer.unpack(link.connection.receive(sent)["data"].get_value())
        return parse_referral(answer["buffer"].get_value())

    def _choose(
        self, here: SmbTarget, referral: Referral, only: str | None, *, prefer: str | None
    ) -> SmbTarget:
        """Return where a link leads: a server of the list that can be reached."""
        path = "\\" + "\\".join((here.server.host, here.share, *here.folders))
        rest = [part for part in referral.rest_of(path).split("\\") if part]
        allowed: list[SmbTarget] = []
        for text in referral.targets:
            try:
                allowed.append(self._servers.target_of_path("\\\\" + "\\".join([text.strip("\\"), *rest])))
            except InstructionsError:
                continue
        if not allowed:
            why = f"leads to {referral.in_words}, which the settings do not allow"
            raise self._nowhere(here, why)
        if only is not None:
            allowed = [one for one in allowed if one.key == only] or allowed
        allowed.sort(key=lambda one: one.key != prefer)
        failure: DeliveryError | None = None
        for one in allowed:
            if one.key == here.key:
                continue
            try:
                self._link_to(one.server)
            except DeliveryError as error:
                failure = failure or error
            except operation_errors() as error:
                failure = failure or trouble(error, self.place(one.server, f"to open {one.key}"))
            else:
                return one
        raise failure or self._nowhere(here, "leads to itself")

    def _nowhere(self, target: SmbTarget, why: str) -> DeliveryError:
        return DeliveryError(
            f"{self._label}: the DFS path {target.key} {why}",
            reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED,
            transient=False,
            advice="Add the server it leads to, by the name in the referral, to the settings"
            " (fileshare.servers), or correct the link; then retry the job.",
        )


def _knows_dfs(connection: SafeConnection) -> bool:
    return bool(connection.server_capabilities.has_flag(Capabilities.SMB2_GLOBAL_CAP_DFS))


def _look_at(tree: TreeConnect, path: str) -> None:
    opened = Open(tree, path)
    opened.create(
        ImpersonationLevel.Impersonation,
        DirectoryAccessMask.FILE_READ_ATTRIBUTES,
        0,
        _ALL_SHARING,
        CreateDisposition.FILE_OPEN,
        CreateOptions.FILE_DIRECTORY_FILE,
    )
    opened.close()
