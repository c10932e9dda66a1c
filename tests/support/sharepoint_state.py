"""What a SharePoint site holds, behind the stubs of its REST service and of Microsoft Graph."""

from __future__ import annotations

import base64
import functools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

SITE = ("sites", "team")
LIBRARY = (*SITE, "Shared Documents")


class Conflict(Exception):
    """Something of this name is there already."""


class Missing(Exception):
    """There is nothing of this name."""


class Full(Exception):
    """The quota is reached."""


class Stale(Exception):
    """It is not as it was (If-Match)."""


@dataclass
class Item:
    """A file (``content`` is its octets) or a folder (None)."""

    path: tuple[str, ...]
    content: bytes | None
    item_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    versions: int = 1
    fields: dict[str, str] = field(default_factory=dict)
    checked_out: bool = False

    @property
    def name(self) -> str:
        """The last segment."""
        return self.path[-1]

    @property
    def tag(self) -> str:
        """The ETag."""
        return f'"{{{self.item_id.upper()}}},{self.versions}"'


@dataclass
class RestUpload:
    """An upload in chunks by REST, of one file."""

    path: tuple[str, ...]
    content: bytearray = field(default_factory=bytearray)


@dataclass
class GraphSession:
    """An upload session of Graph; ``expected`` octets have arrived, ``size`` is known from the first on."""

    path: tuple[str, ...]
    conflict: str
    content: bytearray = field(default_factory=bytearray)
    size: int | None = None


@dataclass
class Site:
    """A site with one library (and webs below it), as both services show it.

    ``columns`` are those of the library and whether they can be written; ``rejects`` are columns that do not
    take what they are given. ``quota`` is in octets, of all files.
    With ``requires_title`` a file is checked in only once it has one.
    """

    items: dict[str, Item] = field(default_factory=dict)
    columns: dict[str, bool] = field(
        default_factory=lambda: {"Title": True, "ScanUser": True, "Created": False}
    )
    rejects: set[str] = field(default_factory=set)
    webs: set[tuple[str, ...]] = field(default_factory=lambda: {SITE})
    libraries: set[tuple[str, ...]] = field(default_factory=lambda: {LIBRARY})
    quota: int | None = None
    requires_check_out: bool = False
    requires_title: bool = False
    uploads: dict[str, RestUpload] = field(default_factory=dict)
    sessions: dict[str, GraphSession] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for library in self.libraries:
            self._add(Item(library, None))

    def add_library(self, *path: str, web: tuple[str, ...] | None = None) -> None:
        """Add a library, of a web of its own if one is named."""
        if web is not None:
            self.webs.add(web)
        self.libraries.add(path)
        self._add(Item(path, None))

    def find(self, path: tuple[str, ...]) -> Item | None:
        """Return what has this path; names are compared without case."""
        return self.items.get(_key(path))

    def folder(self, path: tuple[str, ...]) -> Item:
        """Return a folder; raises Missing."""
        found = self.find(path)
        if found is None or found.content is not None:
            raise Missing
        return found

    def file(self, path: tuple[str, ...]) -> Item:
        """Return a file; raises Missing."""
        found = self.find(path)
        if found is None or found.content is None:
            raise Missing
        return found

    def make_folder(self, path: tuple[str, ...]) -> Item:
        """Make a folder; raises Missing, Conflict."""
        self.folder(path[:-1])
        if self.find(path) is not None:
            raise Conflict
        return self._add(Item(path, None))

    def store(self, path: tuple[str, ...], content: bytes, *, overwrite: bool = False) -> Item:
        """Store a file; raises Missing, Conflict, Full."""
        self.folder(path[:-1])
        found = self.find(path)
        if found is not None and (not overwrite or found.content is None):
            raise Conflict
        if self.quota is not None and self.used() + len(content) > self.quota:
            raise Full
        if found is not None:
            found.content, found.versions = content, found.versions + 1
            return found
        return self._add(Item(path, content, checked_out=self.requires_check_out))

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Give a file another path; raises Missing, Conflict."""
        item = self.file(source)
        self.folder(target[:-1])
        if self.find(target) is not None:
            raise Conflict
        del self.items[_key(source)]
        item.path = target
        self._add(item)

    def remove(self, path: tuple[str, ...], tag: str = "*") -> None:
        """Remove a file or a folder with all that is in it; raises Missing, Stale."""
        found = self.find(path)
        if found is None:
            raise Missing
        if tag not in ("*", found.tag):
            raise Stale
        for one in [found, *self.below(path)]:
            del self.items[_key(one.path)]

    def below(self, path: tuple[str, ...]) -> list[Item]:
        """Return everything below a folder."""
        return [
            item
            for item in self.items.values()
            if _key(item.path[: len(path)]) == _key(path) and item.path != path
        ]

    def used(self) -> int:
        """Return the octets of all files."""
        return sum(len(item.content or b"") for item in self.items.values())

    def web_of(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return the deepest web that a path is in."""
        above = [web for web in self.webs if _key(path[: len(web)]) == _key(web)]
        return max(above, key=len, default=())

    def content(self) -> dict[str, bytes]:
        """Return all files: path below the library, and octets."""
        return dict(self._content())

    def _content(self) -> Iterator[tuple[str, bytes]]:
        for item in self.items.values():
            if item.content is not None:
                library = max((one for one in self.libraries if item.path[: len(one)] == one), key=len)
                yield "/".join(item.path[len(library) :]), item.content

    def _add(self, item: Item) -> Item:
        self.items[_key(item.path)] = item
        return item


@functools.lru_cache(maxsize=16)
def quick_xor_reference(content: bytes) -> str:
    """Return the QuickXorHash of octets, written down octet by octet as its description has it."""
    register = 0
    for number, octet in enumerate(content):
        turned = octet << (number * 11 % 160)
        register ^= (turned % (1 << 160)) | (turned >> 160)
    register ^= len(content) << 96
    return base64.b64encode(register.to_bytes(20, "little")).decode()


def _key(path: tuple[str, ...]) -> str:
    return "/".join(path).casefold()
