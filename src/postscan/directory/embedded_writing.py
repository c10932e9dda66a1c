"""Writes entries of the embedded directory; never changes or overwrites what is there."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from postscan.directory.embedded_entries import FileProblems, toml_value
from postscan.directory.embedded_people import read_people
from postscan.directory.model import EntryExists, User

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
    _replace(path, f"{before.rstrip()}\n\n[[user]]\n{_lines(values)}".lstrip("\n"))


def write_process(
    folder: Path,
    stem: str,
    identifier: UUID,
    display_name: str,
    xml: bytes,
    users: Iterable[str] = (),
    groups: Iterable[str] = (),
) -> Path:
    """Write ``<stem>.xml`` and ``<stem>.toml`` into ``folder`` and return the path of the XML.

    :raises EntryExists: one of the files is there already.
    :raises ValueError: a value cannot be written as text.
    """
    values: dict[str, Any] = {"identifier": str(identifier), "display_name": display_name}
    values["users"] = sorted(users)
    values["groups"] = sorted(groups)
    toml = _lines(values).encode()
    xml_path, toml_path = folder / f"{stem}.xml", folder / f"{stem}.toml"
    if xml_path.exists() or toml_path.exists():
        raise EntryExists(f"{folder / stem}.xml or .toml exists already and was left as it is")
    _create(xml_path, xml)
    try:
        _create(toml_path, toml)
    except BaseException:
        xml_path.unlink()
        raise
    return xml_path


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


def _create(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError as error:
        raise EntryExists(f"{path} exists already and was left as it is") from error
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    """Write the whole file beside the old one, then exchange them: a crash leaves one or the other."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _create(beside, text.encode())
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
