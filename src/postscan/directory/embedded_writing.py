"""Writes entries of the embedded directory: whole files, each exchanged at once, under one lock.

New entries never overwrite what is there; a change keeps whatever it is not told to change.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from postscan.directory.embedded_entries import FileProblems, ProcessFile, read_file, read_toml, toml_value
from postscan.directory.embedded_people import read_people
from postscan.directory.embedded_processes import version_of
from postscan.directory.embedded_toml import CannotChange, with_values
from postscan.directory.model import (
    DirectoryError,
    EntryChanged,
    EntryExists,
    EntryRefused,
    NoSuchEntry,
    ProcessDraft,
    StoredProcess,
    User,
)
from postscan.soap.xml import PROCESS_LIMITS

_NOT_IN_STEM = re.compile(r"[^a-z0-9]+")


def write_user(
    path: Path, user: User, *, domain: str | None = None, certificates: Iterable[str] = ()
) -> None:
    """Add a user at the end of ``users.toml``, making the file when there is none.

    :param domain: the users' domain; written into a new file.
    :param certificates: SHA-256 of certificates, in hex, that stand for the user.
    :raises EntryExists: a user has that SID, name or UPN already, or the file cannot be read.
    :raises ValueError: a value cannot be written as text.
    """
    values: dict[str, Any] = {"sid": user.sid, "name": user.name, "upn": user.upn}
    values["display_name"] = user.display_name
    if user.mail is not None:
        values["mail"] = user.mail
    if user.groups:
        values["groups"] = sorted(user.groups)
    if not user.enabled:
        values["enabled"] = False
    hashes = [f"sha256:{digest}" for digest in certificates]
    if hashes:
        values["certificates"] = hashes
    before = _users_before(path, user, domain)
    _replace(path, f"{before.rstrip()}\n\n[[user]]\n{_lines(values)}".lstrip("\n").encode())


def write_process(folder: Path, stem: str, process: ProcessDraft | StoredProcess) -> Path:
    """Write ``<stem>.xml`` and ``<stem>.toml`` into ``folder`` and return the path of the XML.

    :raises EntryExists: one of the files is there already.
    :raises ValueError: a value cannot be written as text.
    """
    values: dict[str, Any] = {"identifier": str(process.identifier), "display_name": process.display_name}
    values["users"] = sorted(process.users)
    values["groups"] = sorted(process.groups)
    toml = _lines(values).encode()
    xml_path, toml_path = folder / f"{stem}.xml", folder / f"{stem}.toml"
    if xml_path.exists() or toml_path.exists():
        raise EntryExists(f"{folder / stem}.xml or .toml exists already and was left as it is")
    _create(xml_path, process.xml)
    try:
        _create(toml_path, toml)
    except BaseException:
        xml_path.unlink()
        raise
    _sync(folder)
    return xml_path


def change_process(folder: Path, stem: str, seen: StoredProcess, draft: ProcessDraft) -> None:
    """Write what differs between ``seen`` and ``draft`` into the files of ``stem``.

    Each file is exchanged as a whole, the XML first; when the other cannot be written, the first is put back.

    :raises EntryChanged: the files are no longer what was seen.
    :raises NoSuchEntry: they are gone.
    :raises EntryRefused: the TOML is written in a way that cannot be changed in place.
    """
    values: dict[str, str | list[str]] = {}
    if draft.display_name != seen.display_name:
        values["display_name"] = draft.display_name
    if draft.users != seen.users:
        values["users"] = sorted(draft.users)
    if draft.groups != seen.groups:
        values["groups"] = sorted(draft.groups)
    xml_path, toml_path = folder / f"{stem}.xml", folder / f"{stem}.toml"
    with _only_writer(folder):
        text, before = _as_seen(xml_path, toml_path, seen)
        try:
            toml = with_values(text, values)
        except CannotChange as error:
            raise EntryRefused(f"{toml_path}: {error}; change it by hand") from error
        if draft.xml != before:
            _replace(xml_path, draft.xml)
        try:
            if values:
                _replace(toml_path, _mark_of(toml_path) + toml.encode())
        except BaseException:
            if draft.xml != before:
                _replace(xml_path, before)
            raise


def delete_process(folder: Path, stem: str, seen: StoredProcess) -> None:
    """Delete the files of ``stem``; raises EntryChanged and NoSuchEntry as change_process does."""
    xml_path, toml_path = folder / f"{stem}.xml", folder / f"{stem}.toml"
    with _only_writer(folder):
        _as_seen(xml_path, toml_path, seen)
        # The TOML first: XML alone is no process, so a crash between the two leaves none either.
        toml_path.unlink()
        xml_path.unlink()
        _sync(folder)


def free_stem(folder: Path, display_name: str, identifier: UUID) -> str:
    """Return a file name for a new process that no other has yet."""
    stem = stem_for(display_name)
    taken = any((folder / f"{stem}{suffix}").exists() for suffix in (".xml", ".toml"))
    return f"{stem}-{identifier}" if taken else stem


def stem_for(display_name: str) -> str:
    """Return a file name for a process: its name in small letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", display_name).encode("ascii", "ignore").decode().lower()
    return _NOT_IN_STEM.sub("-", plain).strip("-")[:80].rstrip("-") or "process"


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in values.items())


def _users_before(path: Path, user: User, domain: str | None) -> str:
    if not path.exists():
        header = "# Users and groups of the embedded directory.\n"
        return header + (f"domain = {toml_value(domain)}\n" if domain else "")
    try:
        people = read_people(path, domain)
    except FileProblems as error:
        raise EntryExists(f"{path} cannot be read and was left as it is: {error}") from error
    for name in (user.sid, user.name, user.upn):
        if people.knows_user(name):
            raise EntryExists(f"{path} has {name!r} already and was left as it is")
    return path.read_text(encoding="utf-8-sig")


def _as_seen(xml_path: Path, toml_path: Path, seen: StoredProcess) -> tuple[str, bytes]:
    """Return text of the TOML and octets of the XML, which are what ``seen`` was read from."""
    if not (xml_path.exists() and toml_path.exists()):
        raise NoSuchEntry(f"{xml_path} or its .toml is gone")
    try:
        entry, text = read_toml(toml_path, ProcessFile)
        xml = read_file(xml_path, PROCESS_LIMITS.max_bytes)
    except FileProblems as error:
        raise EntryChanged(f"the files cannot be read any more: {error}") from error
    if entry.identifier != seen.identifier or version_of(text, xml) != seen.version:
        raise EntryChanged(f"{toml_path} or {xml_path.name} was changed since it was read")
    return text, xml


def _mark_of(path: Path) -> bytes:
    """Return the byte order mark a file begins with, so that it keeps it."""
    return codecs.BOM_UTF8 if path.read_bytes().startswith(codecs.BOM_UTF8) else b""


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder against other writers of this program; raises DirectoryError while one is at work."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DirectoryError(f"{folder} is just being written to by another program") from error
        yield
    finally:
        os.close(descriptor)


def _create(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError as error:
        raise EntryExists(f"{path} exists already and was left as it is") from error
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: bytes) -> None:
    """Write the whole file beside the old one, then exchange them: a crash leaves one or the other."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _create(beside, content)
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make a folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
