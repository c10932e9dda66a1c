"""What differs between a scan process as a directory has it and as it shall be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postscan.contracts.psp_changes import ContentChange, content_changes
from postscan.contracts.psp_editing import characters_of
from postscan.directory.model import KnownNames, ProcessDraft, StoredProcess


@dataclass(frozen=True, slots=True)
class GrantChange:
    """Names that get the right to use a scan process, and those that lose it; sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


@dataclass(frozen=True, slots=True)
class ProcessDifference:
    """What would change if a scan process became what a draft says; false when nothing would.

    ``renamed`` is the old display name where that changes. ``rewritten`` means that the XML is written
    differently, ``content`` tells what it says differently: empty where only the writing differs.
    """

    renamed: str | None = None
    rewritten: bool = False
    content: tuple[ContentChange, ...] = ()
    users: GrantChange = GrantChange()
    groups: GrantChange = GrantChange()

    def __bool__(self) -> bool:
        return bool(self.renamed is not None or self.rewritten or self.users or self.groups)


def difference(stored: StoredProcess, draft: ProcessDraft, names: KnownNames) -> ProcessDifference:
    """Return what changing ``stored`` to ``draft`` would change.

    :param names: the spelling that the directory of ``stored`` has for names of either; what is not among
        them counts as it is written, in any case.
    """
    # A directory may hold characters, not octets; then it says them in UTF-8, without byte order mark.
    rewritten = characters_of(stored.xml) != characters_of(draft.xml)
    return ProcessDifference(
        renamed=stored.display_name if stored.display_name != draft.display_name else None,
        rewritten=rewritten,
        content=tuple(content_changes(stored.xml, draft.xml)) if rewritten else (),
        users=_grants(stored.users, draft.users, names.users),
        groups=_grants(stored.groups, draft.groups, names.groups),
    )


def same_name(name: str, spellings: Mapping[str, str]) -> str:
    """Return what a name is compared by: the directory's spelling of it, in small letters."""
    return spellings.get(name, name).casefold()


def _grants(before: Iterable[str], after: Iterable[str], spellings: Mapping[str, str]) -> GrantChange:
    old = {same_name(name, spellings): name for name in sorted(before)}
    new = {same_name(name, spellings): name for name in sorted(after)}
    return GrantChange(
        added=tuple(sorted(new[key] for key in new.keys() - old.keys())),
        removed=tuple(sorted(old[key] for key in old.keys() - new.keys())),
    )
