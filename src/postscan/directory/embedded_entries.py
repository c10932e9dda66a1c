"""The files of the embedded directory as they are written: TOML read into checked entries.

``users.toml``::

    domain = "example.com"            # the users' DNS domain; optional

    [[user]]
    sid = "S-1-5-21-1-2-3-1103"
    name = "alice"
    upn = "alice@example.com"         # optional where the domain is known
    display_name = "Alice Example"    # optional
    mail = "alice@example.com"        # optional
    groups = ["Accounting"]           # optional
    enabled = true                    # optional
    certificates = ["sha256:..."]     # optional: client certificates that stand for this user

    [[group]]                         # optional: a group of its own, with groups in it
    name = "Finance"
    sid = "S-1-5-21-1-2-3-1200"       # optional
    members = ["Accounting", "alice"] # names, user principal names or SIDs

``processes/<stem>.toml``, beside ``processes/<stem>.xml`` with the psp:PostScanProcess::

    identifier = "6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c11"
    display_name = "Invoices"
    users = ["alice"]                 # optional: names, user principal names or SIDs
    groups = ["Finance"]              # optional: names or SIDs; "Everyone" is every known user
"""

from __future__ import annotations

import re
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from postscan.directory.model import is_sid

MAX_TOML_BYTES: Final = 32 << 20
EVERYONE: Final = "Everyone"
_LINE = re.compile(r"\bline (\d+)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# [MS-ADTS] 3.1.1.8.1 and Windows' rules for logon names; "@" would make names and UPNs ambiguous.
_NO_LOGON_NAME = re.compile(r'["/\\\[\]:;|=,+*?<>@]')
_SHA256 = re.compile(r"[0-9a-f]{64}")

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file; ``line`` counts from 1, None where no line can be named."""

    path: Path
    message: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


class FileProblems(Exception):
    """A file that cannot be used; ``problems`` says why, at least one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


def _checked_text(text: str) -> str:
    if not text.strip() or text != text.strip():
        raise ValueError("is empty, or begins or ends with a space")
    if _UNPRINTABLE.search(text):
        raise ValueError("has an unprintable character")
    return text


def _checked_sid(text: str) -> str:
    if not is_sid(text):
        raise ValueError("is no security identifier; write one like S-1-5-21-1-2-3-1103")
    return text


def _checked_logon_name(text: str) -> str:
    if _NO_LOGON_NAME.search(text):
        raise ValueError("is no logon name: it has a character that none may have")
    return text


def _checked_upn(text: str) -> str:
    name, at, domain = text.rpartition("@")
    if not (name and at and domain) or "@" in name:
        raise ValueError("is no user principal name; write it like alice@example.com")
    return text


def _checked_fingerprint(text: str) -> str:
    algorithm, colon, digest = text.partition(":")
    digest = digest.replace(":", "").lower()
    if algorithm.lower() != "sha256" or not colon or not _SHA256.fullmatch(digest):
        raise ValueError("is no certificate hash; write sha256: and 64 hex digits")
    return digest


def _checked_group_name(text: str) -> str:
    if text.casefold() == EVERYONE.casefold():
        raise ValueError(f"{EVERYONE} always is every known user and cannot be defined")
    return text


def _read_guid(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return UUID(value.strip())
    except ValueError:
        raise ValueError("is no GUID; write one like 6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c11") from None


Text = Annotated[str, Field(max_length=255), AfterValidator(_checked_text)]
Sid = Annotated[str, AfterValidator(_checked_sid)]
LogonName = Annotated[Text, AfterValidator(_checked_logon_name)]
Upn = Annotated[Text, AfterValidator(_checked_upn)]
Fingerprint = Annotated[str, AfterValidator(_checked_fingerprint)]
GroupName = Annotated[Text, AfterValidator(_checked_group_name)]
Guid = Annotated[UUID, BeforeValidator(_read_guid)]


class Entry(BaseModel):
    """What all entries share: exact types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class UserEntry(Entry):
    """One ``[[user]]``."""

    sid: Sid
    name: LogonName
    upn: Upn | None = None
    display_name: Text | None = None
    mail: Text | None = None
    groups: list[Text] = []
    enabled: bool = True
    certificates: list[Fingerprint] = []


class GroupEntry(Entry):
    """One ``[[group]]``."""

    name: GroupName
    sid: Sid | None = None
    members: list[Text] = []


class UsersFile(Entry):
    """The whole ``users.toml``."""

    domain: Text | None = None
    user: list[UserEntry] = []
    group: list[GroupEntry] = []


class ProcessFile(Entry):
    """The TOML beside a scan process."""

    identifier: Guid
    display_name: Text
    users: list[Text] = []
    groups: list[Text] = []


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return a regular file's content.

    :raises FileProblems: it cannot be read, is larger than ``max_bytes``, or is no file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileProblems([Problem(path, "is no regular file")])
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FileProblems([Problem(path, f"cannot be read: {error.strerror}")]) from error
    if len(data) > max_bytes:
        raise FileProblems([Problem(path, f"is larger than {max_bytes} octets")])
    return data


def read_toml(path: Path, model: type[_M]) -> tuple[_M, str]:
    """Return a TOML file as ``model``, and its text.

    :raises FileProblems: it cannot be read, is no TOML, or does not fit the model; each problem has its line.
    """
    data = read_file(path, MAX_TOML_BYTES)
    try:
        # Windows' editors begin UTF-8 with a byte order mark.
        text = data.decode("utf-8-sig")
        if not text.strip():
            # What an editor leaves for a moment while it saves; it must not read as "nobody".
            raise FileProblems([Problem(path, "is empty")])
        tree = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileProblems([Problem(path, "is not UTF-8", line)]) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _LINE.search(str(error))
        raise FileProblems(
            [Problem(path, f"is no TOML: {error}", int(found[1]) if found else None)]
        ) from error
    try:
        return model.model_validate(tree), text
    except ValidationError as error:
        problems = [
            Problem(path, _message(details["loc"], details["msg"]), line_of(text, details["loc"]))
            for details in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise FileProblems(problems) from error


def line_of(text: str, location: tuple[int | str, ...]) -> int | None:
    """Return the line of a key in TOML as people write it.

    ``("user", 2, "sid")`` is sid of the third [[user]]. Where the key itself is not found, it is the line of
    its table; None where that is not found either.
    """
    lines = text.splitlines()
    start, end = 0, len(lines)
    names = list(location)
    found: int | None = None
    headers = [number for number, line in enumerate(lines) if line.lstrip().startswith("[")]
    if len(names) >= 2 and isinstance(names[1], int):
        table = re.compile(rf"\s*\[\[\s*[\"']?{re.escape(str(names[0]))}[\"']?\s*\]\]")
        tables = [number for number in headers if table.match(lines[number])]
        if names[1] >= len(tables):
            return None
        start = tables[names[1]]
        found = start + 1
        end = next((number for number in headers if number > start), end)
        names = names[2:]
    elif headers:
        end = headers[0]
    if names:
        key = re.compile(rf"\s*[\"']?{re.escape(str(names[0]))}[\"']?\s*=")
        for number in range(start, end):
            if key.match(lines[number]):
                return number + 1
    return found


def _message(location: tuple[int | str, ...], message: str) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{where}: {message.removeprefix('Value error, ')}"


def toml_string(text: str) -> str:
    """Write ``text`` as a basic string of TOML; raises ValueError for what UTF-8 cannot carry."""
    text.encode()
    escaped = "".join(
        f"\\{char}" if char in '"\\' else f"\\u{ord(char):04x}" if _UNPRINTABLE.match(char) else char
        for char in text
    )
    return f'"{escaped}"'


def toml_value(value: Any) -> str:
    """Write a string, a boolean or a collection of strings as a value of TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return toml_string(value)
    return "[" + ", ".join(toml_string(one) for one in value) + "]"
