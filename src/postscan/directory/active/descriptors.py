"""Security descriptors of scan processes: who may use one, and how reading is granted and taken away; no I/O.

To use a scan process is to read it: its name, identifier and XML, and the class by which it is found. Each
of these attributes is checked as [MS-ADTS] 5.1.3.3.3 describes it: entries count in the order in which they
stand, the first that speaks of the attribute (by its own GUID, its property set's, the class's, or of all)
and of somebody in the token decides. The owner has no right to read properties by owning ([MS-ADTS]
5.1.3.3.1). Where directories differ, or an entry has a condition (a callback) that cannot be judged here, it
denies and never allows; so do entries for the owner (OWNER RIGHTS), which Samba overlooks.

Reading is granted by entries that give no more than that to speak of. Whoever may change the rights (full
control, as Domain Admins have it) administers the process; such entries are not taken for grants, nor are
those that the container hands down, and neither is ever changed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from typing import Final
from uuid import UUID

from postscan.directory.model import AUTHENTICATED_USERS, EVERYONE


class Right(IntFlag):
    """Rights on objects of a directory ([MS-ADTS] 5.1.3.2)."""

    CREATE_CHILD = 0x1
    DELETE_CHILD = 0x2
    LIST_CONTENTS = 0x4
    WRITE_VALIDATED = 0x8
    READ_PROPERTY = 0x10
    WRITE_PROPERTY = 0x20
    DELETE_TREE = 0x40
    LIST_OBJECT = 0x80
    CONTROL_ACCESS = 0x100
    DELETE = 0x10000
    READ_CONTROL = 0x20000
    WRITE_DACL = 0x40000
    WRITE_OWNER = 0x80000
    GENERIC_ALL = 0x10000000
    GENERIC_EXECUTE = 0x20000000
    GENERIC_WRITE = 0x40000000
    GENERIC_READ = 0x80000000


class AceKind(IntEnum):
    """The kinds of entries that allow or deny ([MS-DTYP] 2.4.4.1)."""

    ALLOW = 0x00
    DENY = 0x01
    ALLOW_OBJECT = 0x05
    DENY_OBJECT = 0x06
    ALLOW_CALLBACK = 0x09
    DENY_CALLBACK = 0x0A
    ALLOW_CALLBACK_OBJECT = 0x0B
    DENY_CALLBACK_OBJECT = 0x0C


class AceFlag(IntFlag):
    """How an entry is handed down ([MS-DTYP] 2.4.4.1)."""

    OBJECT_INHERIT = 0x01
    CONTAINER_INHERIT = 0x02
    NO_PROPAGATE = 0x04
    INHERIT_ONLY = 0x08
    INHERITED = 0x10


READING: Final = Right.READ_PROPERTY | Right.LIST_CONTENTS | Right.LIST_OBJECT | Right.READ_CONTROL
_STANDARD: Final = Right.DELETE | Right.READ_CONTROL | Right.WRITE_DACL | Right.WRITE_OWNER
FULL_CONTROL: Final = Right(0x1FF) | _STANDARD
_ADMINISTERING: Final = Right.WRITE_DACL | Right.WRITE_OWNER

PROCESS_CLASS: Final = UUID("1f7c257c-b8a3-4525-82f8-11ccc7bee36e")
_PUBLIC_INFORMATION: Final = UUID("e48d0154-bcf8-11d1-8702-00c04fb96050")
_GENERAL_INFORMATION: Final = UUID("59ba2f42-79a2-11d0-9020-00c04fc2d3cf")
# What has to be readable, each as the GUIDs of attribute, property set and class ([MS-ADA1] to [MS-ADA3]).
NEEDED: Final[tuple[frozenset[UUID], ...]] = (
    frozenset(
        {UUID("bf9679e5-0de6-11d0-a285-00aa003049e2"), _PUBLIC_INFORMATION, PROCESS_CLASS}
    ),  # objectClass
    frozenset(
        {UUID("bf967953-0de6-11d0-a285-00aa003049e2"), _GENERAL_INFORMATION, PROCESS_CLASS}
    ),  # displayName
    frozenset({UUID("51583ce9-94fa-4b12-b990-304c35b18595"), PROCESS_CLASS}),  # msImaging-PSPIdentifier
    frozenset({UUID("7b6760ae-d6ed-44a6-b6be-9de62c09ec67"), PROCESS_CLASS}),  # msImaging-PSPString
)

SYSTEM: Final = "S-1-5-18"
# Whoever asks a directory does so over the network.
NETWORK: Final = "S-1-5-2"
OWNER_RIGHTS: Final = "S-1-3-4"
_DOMAIN_ADMINS: Final = "-512"
_DOMAIN_USERS: Final = "-513"
# Users, and Pre-Windows 2000 Compatible Access, which may have everybody in it.
_ALL_OF_THEM: Final = frozenset({EVERYONE, AUTHENTICATED_USERS, NETWORK, "S-1-5-32-545", "S-1-5-32-554"})


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry of an access control list.

    ``sid`` is None in an entry of a kind that is not known; ``rest`` holds its octets then, and else what
    follows the SID (a condition). ``object_type`` is what it speaks of, None for everything.
    """

    kind: int
    flags: int
    mask: int
    sid: str | None
    object_type: UUID | None = None
    inherited_object_type: UUID | None = None
    rest: bytes = b""

    @property
    def rights(self) -> int:
        """The mask with generic rights replaced by those they stand for ([MS-ADTS] 5.1.3.2)."""
        mapped = self.mask & 0x0FFFFFFF
        if self.mask & Right.GENERIC_ALL:
            mapped |= FULL_CONTROL
        if self.mask & Right.GENERIC_READ:
            mapped |= READING
        if self.mask & Right.GENERIC_WRITE:
            mapped |= Right.READ_CONTROL | Right.WRITE_VALIDATED | Right.WRITE_PROPERTY
        if self.mask & Right.GENERIC_EXECUTE:
            mapped |= Right.READ_CONTROL | Right.LIST_CONTENTS
        return mapped

    @property
    def is_inherited(self) -> bool:
        """Whether the container has handed it down: it is changed there, not here."""
        return bool(self.flags & AceFlag.INHERITED)

    @property
    def allows(self) -> bool:
        """Whether it allows without a condition."""
        return self.kind in (AceKind.ALLOW, AceKind.ALLOW_OBJECT)

    @property
    def denies(self) -> bool:
        """Whether it denies, with or without a condition."""
        return self.kind in (
            AceKind.DENY,
            AceKind.DENY_OBJECT,
            AceKind.DENY_CALLBACK,
            AceKind.DENY_CALLBACK_OBJECT,
        )

    @property
    def is_about_reading(self) -> bool:
        """Whether it says something of reading what has to be readable of the object it stands on."""
        in_force = self.sid is not None and not self.flags & AceFlag.INHERIT_ONLY
        concerned = self.object_type is None or any(self.object_type in names for names in NEEDED)
        return in_force and concerned and bool(self.rights & Right.READ_PROPERTY)


@dataclass(frozen=True, slots=True)
class SecurityDescriptor:
    """Owner, group and who may do what; ``dacl`` is None where there is no list, so that everybody may.

    ``control`` are the bits of [MS-DTYP] 2.4.6 that tell whether the list is protected from inheritance. It
    is an access rule (:class:`postscan.directory.model.AccessRule`).
    """

    owner: str | None
    group: str | None
    dacl: tuple[Ace, ...] | None
    control: int = 0

    def allows(self, token: frozenset[str]) -> bool:
        """Tell whether somebody with these SIDs may use the scan process."""
        sids = token | {NETWORK}
        if self.owner in token:
            sids |= {OWNER_RIGHTS}
        return self._may_read(sids)

    @property
    def grants(self) -> frozenset[str]:
        """The SIDs that reading is granted to: those of the process's users and groups.

        What everybody is given counts as granted, however it comes about.
        """
        if self.dacl is None:
            return frozenset({EVERYONE})
        granting = [ace for ace in self.dacl if _is_grant(ace)]
        return frozenset(
            sid
            for sid in {ace.sid for ace in granting if ace.sid is not None}
            if all(_may_read([ace for ace in granting if ace.sid == sid], names) for names in NEEDED)
        )

    @property
    def only_grants(self) -> bool:
        """Whether :attr:`grants` says all there is to say of who may use the process.

        False where reading is denied to somebody, or granted in part, or on a condition.
        """
        return all(
            not ace.is_about_reading
            or (ace.allows and (ace.object_type is None or ace.is_inherited))
            or _administers(ace)
            for ace in self.dacl or ()
        )

    def with_grants(self, granted: Iterable[str], revoked: Collection[str]) -> SecurityDescriptor:
        """Return it with reading granted to some SIDs and taken from others; all else stays as it is.

        What the container hands down cannot be taken away here, nor does a grant lift what denies: ask
        :attr:`grants` and :meth:`allows` of what comes back.
        """
        kept = [changed for ace in self.dacl or () if (changed := _without_grant(ace, revoked)) is not None]
        new = [Ace(AceKind.ALLOW, 0, READING, sid) for sid in sorted(granted)]
        # Entries of the object's own stand before inherited ones ([MS-DTYP] 2.4.5, canonical order).
        at = next((index for index, ace in enumerate(kept) if ace.is_inherited), len(kept))
        return replace(self, dacl=(*kept[:at], *new, *kept[at:]))

    def hands_down(self, rights: int, token: frozenset[str]) -> bool:
        """Tell whether what is made below inherits entries that allow all of ``rights`` to this token."""
        allowed = 0
        for ace in self.dacl or ():
            reaches = ace.flags & AceFlag.CONTAINER_INHERIT and ace.object_type is None
            if reaches and ace.sid in token and ace.inherited_object_type in (None, PROCESS_CLASS):
                allowed |= ace.rights if ace.allows else 0
        return rights & ~allowed == 0

    def _may_read(self, sids: frozenset[str]) -> bool:
        if self.dacl is None:
            return True
        speaking = [ace for ace in self.dacl if ace.sid in sids and ace.is_about_reading]
        return all(_may_read(speaking, names) for names in NEEDED)


def is_everybody(sid: str) -> bool:
    """Tell whether a SID stands for everybody who has logged on, or for nearly everybody."""
    return sid in _ALL_OF_THEM or (sid.startswith("S-1-5-21-") and sid.endswith(_DOMAIN_USERS))


def new_descriptor(granted: Iterable[str], domain: str, writer: str | None) -> SecurityDescriptor:
    """Return the descriptor of a new scan process, without owner and group, which the directory sets.

    Full control is Domain Admins' and SYSTEM's, as in the class's default, and that of ``writer`` so that the
    account can go on editing what it made; reading is granted to ``granted``. The list is not protected:
    rights delegated on the container (to a service account, to those who administer scanning) reach it.

    :param domain: the SID of the domain.
    :param writer: the SID of an account that has no such rights already, or None.
    """
    maintainers = [f"{domain}{_DOMAIN_ADMINS}", SYSTEM, *([writer] if writer else [])]
    full = tuple(Ace(AceKind.ALLOW, 0, FULL_CONTROL, sid) for sid in maintainers)
    return SecurityDescriptor(None, None, full).with_grants(granted, ())


def _may_read(aces: Iterable[Ace], names: frozenset[UUID]) -> bool:
    """Tell what the first of the entries says that speaks of an attribute by one of its names."""
    for ace in aces:
        if ace.object_type is not None and ace.object_type not in names:
            continue
        if ace.denies or (ace.allows and ace.sid != OWNER_RIGHTS):
            return ace.allows
    return False


def _is_grant(ace: Ace) -> bool:
    if not ace.allows or not ace.is_about_reading:
        return False
    return is_everybody(ace.sid or "") or not (ace.is_inherited or _administers(ace))


def _administers(ace: Ace) -> bool:
    return ace.allows and bool(ace.rights & _ADMINISTERING)


def _without_grant(ace: Ace, revoked: Collection[str]) -> Ace | None:
    if ace.sid not in revoked or ace.is_inherited or not _is_grant(ace):
        return ace
    rights = ace.rights & ~Right.READ_PROPERTY
    return replace(ace, mask=rights) if rights & ~READING else None
