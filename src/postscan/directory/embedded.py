"""The embedded directory: users and scan processes in files of one folder (see embedded_entries).

Files are looked at again when they are older than a second in memory, and read again when they changed. A
wrong file never takes the others down: a scan process that cannot be read is left out, users stay as they
were last read. What is wrong is logged once and listed by :meth:`EmbeddedDirectory.problems`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, ParamSpec
from uuid import UUID

from cryptography import x509

from postscan.core.clock import Clock, SystemClock
from postscan.core.log import get_logger
from postscan.directory import embedded_writing
from postscan.directory.certificates import CertificateRefused, subject_of
from postscan.directory.drafts import read_draft
from postscan.directory.embedded_entries import FileProblems, Problem
from postscan.directory.embedded_people import People, read_people
from postscan.directory.embedded_processes import ProcessFolder, Signature, signature_of
from postscan.directory.model import (
    DirectoryError,
    EntryChanged,
    EntryExists,
    EntryRefused,
    KnownNames,
    NoSuchEntry,
    ProcessDraft,
    StoredProcess,
    User,
)

__all__ = ["EmbeddedDirectory", "Problem"]

LOOK_AGAIN_SECONDS: Final = 1.0
_P = ParamSpec("_P")
_log = get_logger("directory")


class EmbeddedDirectory:
    """Implements Directory and ProcessEditor (:mod:`postscan.directory.model`) over a folder.

    :param folder: holds ``users.toml`` and ``processes/``.
    :param domain: the users' DNS domain where ``users.toml`` names none.
    """

    def __init__(self, folder: Path, *, domain: str | None = None, clock: Clock | None = None) -> None:
        self._users_path = folder / "users.toml"
        self._processes_path = folder / "processes"
        self._domain = domain
        self._clock = clock or SystemClock()
        self._folder = ProcessFolder(self._processes_path)
        self._looking = asyncio.Lock()
        # problems() may look from another thread than the event loop's helpers.
        self._reading = threading.Lock()
        self._looked: float | None = None
        self._users_signature: Signature | None = None
        self._people: People | None = None
        self._people_problems: list[Problem] = []
        self._processes: Mapping[UUID, StoredProcess] | None = None
        self._problems: list[Problem] = []

    async def user_by_sid(self, sid: str) -> User | None:
        """Return the user with this security identifier."""
        return (await self._current_people()).by_sid.get(sid.casefold())

    async def user_by_name(self, name: str) -> User | None:
        """Return the user with this logon name or user principal name, in any case."""
        return (await self._current_people()).by_name.get(name.casefold())

    async def user_for_certificate(self, certificate: x509.Certificate) -> User | None:
        """Return the one account a client certificate maps to, or None when there is none or several."""
        people = await self._current_people()
        try:
            subject = subject_of(certificate)
        except CertificateRefused as error:
            _log.warning("client certificate refused", error=str(error))
            return None
        return people.user_of(subject)

    async def process(self, identifier: UUID) -> StoredProcess | None:
        """Return the scan process with this identifier, whoever may use it."""
        return (await self._current_processes()).get(identifier)

    async def processes(self) -> list[StoredProcess]:
        """Return every scan process, by display name."""
        found = (await self._current_processes()).values()
        return sorted(found, key=lambda process: (process.display_name.casefold(), process.identifier))

    async def processes_for(self, user: User) -> list[StoredProcess]:
        """Return the scan processes ``user`` may use, by display name."""
        return [process for process in await self.processes() if process.granted_to(user)]

    async def ping(self) -> None:
        """Find out whether the files can be read."""
        await self._current_people()
        await self._current_processes()

    def problems(self) -> list[Problem]:
        """Return what is wrong with the files, as of the last look (looks now if there was none)."""
        if self._looked is None:
            self._look()
        return list(self._problems)

    async def close(self) -> None:
        """Do nothing: files are open only while they are read."""

    def knows_group(self, name: str) -> bool:
        """Tell whether a group has this name or SID, as of the last look (looks now if there was none)."""
        if self._looked is None:
            self._look()
        return self._people is not None and self._people.knows_group(name)

    def write_user(self, user: User) -> None:
        """Add a user to ``users.toml``; raises EntryExists when there is one with that SID or name."""
        embedded_writing.write_user(self._users_path, user, domain=self._domain)
        self._looked = None

    def write_process(self, process: StoredProcess, stem: str | None = None) -> Path:
        """Add a scan process and return the path of its XML.

        :param stem: the files' name without extension; made from the display name when None.
        :raises EntryExists: the files are there already.
        """
        chosen = stem or embedded_writing.stem_for(process.display_name)
        path = embedded_writing.write_process(self._processes_path, chosen, process)
        self._looked = None
        return path

    async def known_names(self, users: Collection[str], groups: Collection[str]) -> KnownNames:
        """Return those of the names that are somebody's here, each as users.toml spells it."""
        return (await self._current_people()).spelled(users, groups)

    async def create_process(self, draft: ProcessDraft) -> StoredProcess:
        """Add a scan process (see :class:`postscan.directory.model.ProcessEditor`)."""
        read_draft(draft)
        await self._check_names(draft.users, draft.groups)
        await self._look_anew()
        if self._folder.stem_of(draft.identifier) is not None:
            raise EntryExists(f"there is a scan process {draft.identifier} already; it was left as it is")
        await self._write(self._create_files, draft)
        return await self._written(draft.identifier)

    async def change_process(self, seen: StoredProcess, draft: ProcessDraft) -> StoredProcess:
        """Change a scan process (see :class:`postscan.directory.model.ProcessEditor`)."""
        read_draft(draft)
        await self._check_names(draft.users - seen.users, draft.groups - seen.groups)
        stem = await self._stem_of(seen, draft.identifier)
        await self._write(embedded_writing.change_process, self._processes_path, stem, seen, draft)
        return await self._written(seen.identifier)

    async def delete_process(self, seen: StoredProcess) -> None:
        """Delete a scan process (see :class:`postscan.directory.model.ProcessEditor`)."""
        stem = await self._stem_of(seen, seen.identifier)
        await self._write(embedded_writing.delete_process, self._processes_path, stem, seen)

    def _create_files(self, draft: ProcessDraft) -> None:
        stem = embedded_writing.free_stem(self._processes_path, draft.display_name, draft.identifier)
        embedded_writing.write_process(self._processes_path, stem, draft)

    async def _write(self, write: Callable[_P, None], *args: _P.args, **more: _P.kwargs) -> None:
        try:
            await asyncio.to_thread(write, *args, **more)
        except OSError as error:
            raise DirectoryError(f"{self._processes_path} cannot be written: {error.strerror}") from error
        finally:
            self._looked = None

    async def _check_names(self, users: Collection[str], groups: Collection[str]) -> None:
        known = await self.known_names(users, groups)
        unknown = sorted(set(users) - set(known.users)) + sorted(set(groups) - set(known.groups))
        if unknown:
            raise EntryRefused(f"in no entry of {self._users_path.name}: {', '.join(map(repr, unknown))}")

    async def _stem_of(self, seen: StoredProcess, identifier: UUID) -> str:
        if identifier != seen.identifier:
            raise EntryRefused("a scan process keeps its identifier; create another one instead")
        await self._look_anew()
        stem = self._folder.stem_of(identifier)
        if stem is None:
            raise NoSuchEntry(f"there is no scan process {identifier} any more")
        return stem

    async def _look_anew(self) -> None:
        self._looked = None
        await self._current_processes()

    async def _written(self, identifier: UUID) -> StoredProcess:
        await self._look_anew()
        found = await self.process(identifier)
        if found is None:
            raise EntryChanged(f"scan process {identifier} was written, and changed again at once")
        return found

    async def _current_people(self) -> People:
        await self._look_if_due()
        if self._people is None:
            why = self._people_problems[0] if self._people_problems else self._users_path
            raise DirectoryError(f"the users cannot be read: {why}")
        return self._people

    async def _current_processes(self) -> Mapping[UUID, StoredProcess]:
        await self._look_if_due()
        if self._processes is None:
            why = next((p for p in self._problems if p.path == self._processes_path), self._processes_path)
            raise DirectoryError(f"the scan processes cannot be read: {why}")
        return self._processes

    async def _look_if_due(self) -> None:
        if not self._due():
            return
        async with self._looking:
            if self._due():
                await asyncio.to_thread(self._look)

    def _due(self) -> bool:
        return self._looked is None or self._clock.monotonic() - self._looked >= LOOK_AGAIN_SECONDS

    def _look(self) -> None:
        """Read what changed; keeps what it has where files cannot be read."""
        with self._reading:
            looked = self._clock.monotonic()
            self._look_at_users()
            problems = list(self._people_problems)
            try:
                self._folder.refresh()
            except FileProblems as error:
                problems += error.problems
            else:
                self._processes, found = self._folder.contents(self._people)
                problems += found
            for problem in problems:
                if problem not in self._problems:
                    _log.error("directory file is wrong", problem=str(problem))
            self._problems = problems
            self._looked = looked

    def _look_at_users(self) -> None:
        try:
            signature = signature_of(self._users_path)
        except OSError as error:
            self._people_problems = [Problem(self._users_path, f"cannot be read: {error.strerror}")]
            self._users_signature = None
            return
        if signature is not None and signature == self._users_signature:
            return
        try:
            self._people = read_people(self._users_path, self._domain)
            self._people_problems = list(self._people.problems)
        except FileProblems as error:
            self._people_problems = error.problems
        self._users_signature = signature
