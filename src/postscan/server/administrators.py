"""Who may ask WS-DSC: members of directory groups, and holders of listed certificates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from postscan.core.errors import FaultKind, FaultParty, PostscanError
from postscan.core.log import get_logger
from postscan.directory.model import Directory, User, is_sid
from postscan.directory.spelling import folded
from postscan.dpws.service import Caller
from postscan.server.identity import AuthenticationFailed, Authenticator, Mode, listed_certificate

_log = get_logger("administrators")
_CERTIFICATE: Final = "certificate:sha256:"
_USER: Final = "user:"
DEFAULT_GROUP: Final = "Scan Administrators"


class NotAdministrator(PostscanError):
    """The caller may not administer this server (schema/dsc.xsd, FaultSubcodeValuesType)."""

    fault: ClassVar[FaultKind] = FaultKind(
        FaultParty.SENDER,
        "ClientErrorCurrentUserNotScanAdmin",
        "The caller is not an administrator of the scan server.",
    )
    advice = (
        "Show the certificate of a member of a group in [administrators] groups, or have yours put into"
        " [administrators] certificates."
    )
    exit_code = 4


@dataclass(frozen=True, slots=True)
class AdministratorPolicy:
    """Groups by name or SID, and SHA-256 hashes of certificates (hex).

    In unauthenticated mode a certificate stands for a device and not for an account: groups do not count.
    """

    groups: tuple[str, ...] = (DEFAULT_GROUP,)
    certificates: frozenset[str] = field(default_factory=frozenset)


class Administrators:
    """Decides who is one, anew for each call; remembers who was, for events that are sent later."""

    def __init__(
        self, policy: AdministratorPolicy, directory: Directory, authenticator: Authenticator
    ) -> None:
        self._policy = policy
        self._directory = directory
        self._authenticator = authenticator
        self._known: set[str] = set()

    async def admit(self, caller: Caller) -> str:
        """Return an administrator's identity: ``certificate:sha256:<hash>`` or ``user:<SID>``.

        :raises NotAdministrator: for everybody else.
        """
        digest = listed_certificate(caller.peer, self._policy.certificates, self._authenticator.now())
        if digest is not None:
            try:
                await self._authenticator.refuse_revoked(caller.peer)
            except AuthenticationFailed as error:
                raise NotAdministrator(str(error), detail=error.detail) from error
            owner = f"{_CERTIFICATE}{digest}"
        elif self._authenticator.mode is Mode.UNAUTHENTICATED:
            refused = caller.peer.refused
            raise NotAdministrator(
                f"{caller.peer.address} shows no administrator's certificate",
                detail=refused.flaw.value if refused is not None else None,
            )
        else:
            try:
                owner = await self._authenticator.owner(caller)
            except AuthenticationFailed as error:
                raise NotAdministrator(str(error), detail=error.detail) from error
            if not await self._still_is(owner):
                raise NotAdministrator(f"{owner} is in none of the administrators' groups")
        self._known.add(owner)
        return owner

    def may_know(self, owner: str) -> bool:
        """Tell whether events go to this identity, as last looked up."""
        return owner in self._known

    async def look_again(self, owners: Iterable[str] | None = None) -> None:
        """Look up anew who of ``owners`` (None: of those known) is an administrator.

        One who cannot be looked up just now stays what they were.
        """
        for owner in list(self._known if owners is None else owners):
            try:
                is_one = await self._still_is(owner)
            except PostscanError as error:
                _log.warning("an administrator cannot be looked up", owner=owner, why=str(error))
                continue
            if is_one:
                self._known.add(owner)
            elif owner in self._known:
                _log.info("no administrator any more", owner=owner)
                self._known.discard(owner)

    async def change(self, policy: AdministratorPolicy) -> None:
        """Put another policy into force."""
        self._policy = policy
        await self.look_again()

    async def _still_is(self, owner: str) -> bool:
        if owner.startswith(_CERTIFICATE):
            return owner.removeprefix(_CERTIFICATE) in self._policy.certificates
        if self._authenticator.mode is Mode.UNAUTHENTICATED or not owner.startswith(_USER):
            return False
        # As the directory has them now: whoever left the group may do nothing more.
        user = await self._directory.user_by_sid(owner.removeprefix(_USER))
        if user is None or not user.enabled:
            return False
        return any(_is_in(user, group) for group in self._policy.groups)


def _is_in(user: User, group: str) -> bool:
    """Tell whether a user is in the group of this name, or SID; a name never passes for a SID."""
    if is_sid(sid := group.upper()):
        return sid in user.groups
    wanted = folded(group)
    return any(folded(name) == wanted for name in user.groups if not is_sid(name))
