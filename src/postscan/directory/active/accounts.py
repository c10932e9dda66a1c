"""Accounts that rights can be given to, as editing scan processes needs to know them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Account:
    """A user or a group; ``name`` is the one spelling that this directory uses for it."""

    sid: str
    name: str
    is_group: bool


@dataclass(frozen=True, slots=True)
class Named:
    """The accounts found by name; names that are nobody's, or several accounts', are missing."""

    users: Mapping[str, Account]
    groups: Mapping[str, Account]


class Accounts(Protocol):
    """Translates between accounts and their SIDs. Both methods may raise DirectoryError."""

    async def with_sids(self, sids: Collection[str]) -> Mapping[str, Account]:
        """Return the accounts with these SIDs; a SID that is nobody's is missing."""

    async def named(self, users: Collection[str], groups: Collection[str]) -> Named:
        """Return the accounts with these names, user principal names or SIDs, by what was given."""
