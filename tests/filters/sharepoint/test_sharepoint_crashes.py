"""Whatever stops a delivery, wherever: the next try ends with each document there once (R-2, R-3)."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from postscan.filters.contract import Delivered
from postscan.filters.sharepoint.address import LibraryAddress
from postscan.filters.sharepoint.webdav import WebdavLibrary
from support.delivery import MemoryLedger
from support.libraries import LibrarySite
from testservers.webserver import LIBRARY, WebServer

_T = TypeVar("_T")
CALLS = ("ensure_folder", "find", "compare", "put", "set_columns", "remove")
DOCUMENTS = {
    "alice@example.com/Invoice_2026-11-21_143005_alice_001.tif": b"page 1 " * 1000,
    "alice@example.com/Invoice_2026-11-21_143005_alice_002.tif": b"page 2 " * 1000,
}


class Crash(BaseException):
    """The machine is gone; nothing of ours runs any more."""


@dataclass
class Fate:
    """Lets the call number ``at`` be the last: before it was done, or when it was done and nobody knows."""

    at: int
    afterwards: bool
    calls: list[str] = field(default_factory=list)

    async def meet(self, name: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """Do a call, unless the crash comes before it."""
        self.calls.append(name)
        doomed = len(self.calls) == self.at
        if doomed and not self.afterwards:
            raise Crash
        result = await call()
        if doomed:
            raise Crash
        return result


class DoomedLibrary:
    """A library whose every call may be the last."""

    def __init__(self, library: WebdavLibrary, fate: Fate) -> None:
        self._library = library
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._library, name)
        if name not in CALLS:
            return method
        return lambda *given: self._fate.meet(name, lambda: method(*given))


class DoomedLedger(MemoryLedger):
    """A ledger that survives what its user does not."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self.fate = fate

    async def plan(self, document_id: int, name: str) -> None:
        """Remember a planned name, unless it crashes before."""
        await self.fate.meet("plan", lambda: MemoryLedger.plan(self, document_id, name))

    async def delivered(self, delivery: Delivered) -> None:
        """Remember a delivery, unless it crashes before."""
        await self.fate.meet("delivered", lambda: MemoryLedger.delivered(self, delivery))


def doom(site: LibrarySite, fate: Fate) -> DoomedLedger:
    """Let a site's deliveries crash when it is time."""

    def opening(address: LibraryAddress) -> Any:
        return DoomedLibrary(LibrarySite.open_library(site, address), fate)

    site.open_library = opening  # type: ignore[method-assign] # for this one site
    return DoomedLedger(fate)


async def crashes_and_goes_on(web: WebServer, site: LibrarySite, at: int, *, afterwards: bool) -> list[str]:
    """Deliver with one crash and once more; return the calls made until the crash."""
    fate = Fate(at, afterwards)
    ledger = doom(site, fate)
    documents = [site.document(1), site.document(2)]
    try:
        await site.deliver(*documents, ledger=ledger)
    except Crash:
        calls, fate.at = list(fate.calls), 0
        await site.deliver(*documents, ledger=ledger)
    else:
        calls = fate.calls
    assert web.stored() == DOCUMENTS, f"after a crash at {calls}"
    assert sorted(ledger.done) == [1, 2]
    assert [done.size for done in ledger.done.values()] == [7000, 7000]
    return calls


@pytest.mark.parametrize("afterwards", [False, True], ids=["before a call", "after a call"])
async def test_a_crash_anywhere_leaves_each_document_there_once(
    web: WebServer, library: LibrarySite, afterwards: bool
) -> None:
    library.columns = {"Title": "{document}"}
    places = 0
    while True:
        calls = await crashes_and_goes_on(web, library, places + 1, afterwards=afterwards)
        shutil.rmtree(web.root / LIBRARY.strip("/") / "alice@example.com")
        if len(calls) <= places:
            break
        places += 1

    assert calls == ["ensure_folder"] + ["find", "plan", "put", "set_columns", "delivered"] * 2
    assert places == len(calls)


async def test_a_second_crash_while_the_first_is_made_good_changes_nothing(
    web: WebServer, library: LibrarySite
) -> None:
    """A server that keeps what came of a broken upload, and a crash at each step of replacing that."""
    for at in range(1, 12):
        fate = Fate(at, afterwards=True)
        ledger = doom(library, fate)
        documents = [library.document(1), library.document(2)]
        ledger.planned[1] = next(iter(DOCUMENTS)).partition("/")[2]
        folder = web.root / LIBRARY.strip("/") / "alice@example.com"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        (folder / ledger.planned[1]).write_bytes(b"page 1 " * 300)
        while True:
            try:
                await library.deliver(*documents, ledger=ledger)
                break
            except Crash:
                fate.at = 0

        assert web.stored() == DOCUMENTS
        shutil.rmtree(folder)
