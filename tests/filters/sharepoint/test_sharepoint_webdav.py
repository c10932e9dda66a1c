"""The WebDAV adapter and the filter above it, against a real Apache."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import BinaryIO

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError, Notes, ProbeOrder
from postscan.filters.sharepoint import connection
from postscan.filters.sharepoint.connection import SiteLimits
from postscan.filters.sharepoint.http import Answer
from postscan.filters.sharepoint.library import (
    Folder,
    LibraryError,
    StoredFile,
    Trouble,
    Upload,
    file_chunks,
    open_document,
)
from postscan.filters.sharepoint.webdav import WebdavLibrary
from support.delivery import NO_INSTRUCTIONS
from support.libraries import AuthMaker, LibrarySite, basic, nobody, ntlm
from testservers.webserver import BUSY_SECONDS, FULL_OCTETS, LIBRARY, Logon, WebServer

NAME = "alice@example.com/Invoice_2026-11-21_143005_alice_001.tif"
SECOND = "alice@example.com/Invoice_2026-11-21_143005_alice_001 (2).tif"
LARGE = 25 * 1024 * 1024


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something holds; the test's own time limit ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.01)


def methods(web: WebServer) -> list[str]:
    """Return the methods of the requests but those that look for something."""
    return [method for method, path, *_ in web.requests() if method != "PROPFIND" and path != "/ready"]


async def lock(site: LibrarySite, path: str) -> Answer:
    """Lock something as a program of Office does."""
    here = site.connection()
    body = (
        b'<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
        b"<D:locktype><D:write/></D:locktype></D:lockinfo>"
    )
    try:
        return await here.request("LOCK", path, headers={"Timeout": "Second-600"}, body=body)
    finally:
        await here.close()


async def test_documents_lie_in_the_users_folder_as_they_were_accepted(
    web: WebServer, library: LibrarySite
) -> None:
    await library.deliver(library.document(1), library.document(2, b"II*\0second"))

    assert web.stored() == {
        NAME: b"page 1 " * 1000,
        NAME.replace("001", "002"): b"II*\0second",
    }
    assert [(done.name, done.size) for done in library.ledger.done.values()] == [
        (NAME.partition("/")[2], 7000),
        (NAME.partition("/")[2].replace("001", "002"), 10),
    ]


async def test_a_folder_that_is_there_is_used(web: WebServer, library: LibrarySite) -> None:
    await library.deliver(library.document(1))
    await library.deliver(library.document(2))

    assert methods(web).count("MKCOL") == 1
    assert len(web.stored()) == 2


async def test_a_file_in_the_place_of_the_folder_is_told(web: WebServer, library: LibrarySite) -> None:
    (web.root / LIBRARY.strip("/") / "alice@example.com").write_bytes(b"a file")

    with pytest.raises(DeliveryError, match="a file has that name") as refused:
        await library.deliver(library.document())

    assert not refused.value.transient
    assert web.stored() == {"alice@example.com": b"a file"}


async def test_what_is_there_is_never_overwritten(web: WebServer, library: LibrarySite) -> None:
    await library.deliver(library.document())
    other = LibrarySite(library.origin, library.ca, library.spool)

    await other.deliver(other.document(1, b"another scan of the same second"))

    assert web.stored() == {NAME: b"page 1 " * 1000, SECOND: b"another scan of the same second"}


async def test_a_name_that_is_taken_at_the_last_moment_is_left_as_it_is(
    web: WebServer, library: LibrarySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = web.root / LIBRARY.strip("/") / NAME

    async def plan(document_id: int, name: str) -> None:
        library.ledger.planned[document_id] = name
        if not taken.exists():
            taken.write_bytes(b"somebody was faster")

    monkeypatch.setattr(library.ledger, "plan", plan)

    await library.deliver(library.document())

    assert web.stored() == {NAME: b"somebody was faster", SECOND: b"page 1 " * 1000}


async def test_names_keep_their_letters(web: WebServer, library: LibrarySite) -> None:
    library.job = replace(library.job, document_root_name="Grüße 100% #1 & 日本 'x' [a]", user_name="jürgen")

    await library.deliver(library.document())

    assert list(web.stored()) == [
        "jürgen@example.com/Grüße 100 1 日本 'x' [a]_2026-11-21_143005_jürgen_001.tif"
    ]


async def test_a_library_with_signs_in_its_name_is_found(web: WebServer, library: LibrarySite) -> None:
    (web.root / LIBRARY.strip("/") / "50% näher #1").mkdir()
    for path in (web.root / LIBRARY.strip("/")).iterdir():
        path.chmod(0o777)

    await library.deliver(library.document(), path=f"{LIBRARY}/50%25%20n%C3%A4her%20%231")

    assert list(web.stored()) == [f"50% näher #1/{NAME}"]


async def test_a_missing_library_is_not_made(web: WebServer, library: LibrarySite) -> None:
    with pytest.raises(DeliveryError, match="is not there") as refused:
        await library.deliver(library.document(), path="/sites/team/Nobody made this")

    assert refused.value.reason is FilterStateReason.INVALID_ARGS
    assert not refused.value.transient
    assert "address in the scan process" in refused.value.what_to_do


async def test_a_crash_before_the_upload_ends_in_one_file_under_the_planned_name(
    web: WebServer, library: LibrarySite
) -> None:
    library.ledger.planned[1] = SECOND.partition("/")[2]

    await library.deliver(library.document())

    assert web.stored() == {SECOND: b"page 1 " * 1000}


async def test_a_crash_after_the_upload_doubles_nothing(web: WebServer, library: LibrarySite) -> None:
    await library.deliver(library.document())
    library.ledger.done.clear()

    await library.deliver(library.document())

    assert web.stored() == {NAME: b"page 1 " * 1000}
    assert methods(web).count("PUT") == 1
    assert library.ledger.done[1].name == NAME.partition("/")[2]


async def test_what_a_broken_upload_left_is_replaced_by_the_whole(
    web: WebServer, library: LibrarySite
) -> None:
    await library.deliver(library.document())
    library.ledger.done.clear()
    half = web.root / LIBRARY.strip("/") / NAME
    half.write_bytes(half.read_bytes()[:3500])

    await library.deliver(library.document())

    assert web.stored() == {NAME: b"page 1 " * 1000}


@pytest.mark.parametrize(
    "content", [b"page 2 " * 1000, b"page 1 " * 1001, b"else"], ids=["same size", "longer", "shorter"]
)
async def test_somebody_elses_file_under_the_planned_name_is_left_as_it_is(
    web: WebServer, library: LibrarySite, content: bytes
) -> None:
    await library.deliver(library.document())
    library.ledger.done.clear()
    (web.root / LIBRARY.strip("/") / NAME).write_bytes(content)

    await library.deliver(library.document())

    assert web.stored() == {NAME: content, SECOND: b"page 1 " * 1000}


async def test_a_server_killed_amid_an_upload_gets_the_document_once(
    web: WebServer, library: LibrarySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = library.document(1, bytes(range(256)) * 4096 * 8)
    killed = asyncio.Event()

    def arriving() -> bool:
        found = (web.root / LIBRARY.strip("/") / "alice@example.com").glob("*davfs*")
        return any(path.stat().st_size > 0 for path in found)

    async def halting(file: BinaryIO, length: int) -> AsyncIterator[bytes]:
        async for chunk in file_chunks(file, length // 2):
            yield chunk
        if not killed.is_set():
            await eventually(arriving)
            web.kill()
            killed.set()
        async for chunk in file_chunks(file, length - length // 2):
            yield chunk

    monkeypatch.setattr(connection, "file_chunks", halting)
    with pytest.raises(DeliveryError, match=r"broke off|cannot be reached") as failed:
        await library.deliver(document)
    assert failed.value.transient
    with pytest.raises(DeliveryError, match=r"cannot be reached: Connection refused") as away:
        await library.deliver(document)
    assert away.value.transient
    web.start()

    await library.deliver(document)

    assert {name: len(content) for name, content in web.stored().items()} == {NAME: document.size}
    assert hashlib.sha256(web.stored()[NAME]).hexdigest() == document.sha256
    assert library.ledger.planned == {1: NAME.partition("/")[2]}


async def test_a_large_document_is_streamed(
    web: WebServer, library: LibrarySite, record_property: Callable[[str, object], None]
) -> None:
    document = library.document(1, b"0123456789abcdef" * (LARGE // 16))
    tracemalloc.start()
    try:
        await library.deliver(document)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(web.stored()[NAME]) == LARGE
    assert peak < 8 * 1024 * 1024
    record_property(
        "figures", f"WebDAV: 25 MiB delivered with {peak / 2**20:.1f} MiB of Python's memory at most"
    )


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize(("logon", "auth"), [(Logon.BASIC, basic), (Logon.NTLM, ntlm)], ids=["basic", "ntlm"])
async def test_a_busy_server_is_left_alone_for_as_long_as_it_says(
    web: WebServer, library: LibrarySite, status: int, auth: AuthMaker, logon: Logon
) -> None:
    library.origin, library.auth = web.origin(logon), auth
    web.answer_with(status)

    with pytest.raises(DeliveryError, match=f"HTTP {status}") as busy:
        await library.deliver(library.document())

    assert busy.value.transient
    assert busy.value.retry_after == timedelta(seconds=BUSY_SECONDS)
    web.answer_with(None)
    await library.deliver(library.document())
    assert list(web.stored()) == [NAME]


async def test_a_full_disk_is_told_and_tried_again(web: WebServer, library: LibrarySite) -> None:
    with pytest.raises(DeliveryError, match="no room left") as full:
        await library.deliver(
            library.document(1, b"x" * (2 * FULL_OCTETS)), path="/sites/full/Shared Documents"
        )

    assert full.value.reason is FilterStateReason.SHAREPOINT_OUT_OF_DISK_SPACE
    assert full.value.transient
    assert library.ledger.done == {}


async def test_a_document_larger_than_the_server_takes_holds_up_no_other(
    web: WebServer, library: LibrarySite
) -> None:
    documents = [library.document(1, b"x" * 300_000), library.document(2), library.document(3)]

    with pytest.raises(DeliveryError, match="HTTP 413") as refused:
        await library.deliver(*documents, path="/sites/small/Shared Documents")

    assert not refused.value.transient
    assert "largest upload" in refused.value.what_to_do
    assert sorted(library.ledger.done) == [2, 3]


async def test_a_locked_file_is_waited_for(web: WebServer, library: LibrarySite) -> None:
    await library.deliver(library.document(1))
    folder = f"{LIBRARY}/alice@example.com/".replace(" ", "%20")
    assert (await lock(library, folder)).status == 200

    with pytest.raises(DeliveryError, match="HTTP 423") as locked:
        await library.deliver(library.document(2))

    assert locked.value.transient
    assert list(web.stored()) == [NAME]


async def test_an_account_without_rights_is_told(web: WebServer, library: LibrarySite) -> None:
    folder = web.root / LIBRARY.strip("/") / "alice@example.com"
    folder.mkdir()
    folder.chmod(0o555)

    with pytest.raises(DeliveryError) as refused:
        await library.deliver(library.document())

    # mod_dav_fs says 500 for a folder it may not write to; SharePoint says 403.
    assert refused.value.reason in (
        FilterStateReason.SHAREPOINT_ACCESS_DENIED,
        FilterStateReason.UNKNOWN_ERROR,
    )
    assert web.stored() == {}


async def test_a_frozen_server_is_given_up(web: WebServer, library: LibrarySite) -> None:
    library.limits = SiteLimits(connect_seconds=1, answer_seconds=1)
    web.freeze()

    with pytest.raises(DeliveryError, match="did not answer in time") as away:
        await library.deliver(library.document())

    assert away.value.transient


async def test_columns_are_filled(web: WebServer, library: LibrarySite) -> None:
    library.columns = {"Title": "{document}", "Scan_x0020_User": "{person|nobody} of {process}"}

    await library.deliver(library.document())

    here = library.connection()
    try:
        path = f"{LIBRARY}/{NAME}".replace(" ", "%20")
        answer = await here.request("PROPFIND", path, headers={"Depth": "0"})
    finally:
        await here.close()
    assert b">Invoice</" in answer.body
    assert b">nobody of Invoices</" in answer.body
    assert library.ledger.warnings == []


async def test_an_image_that_changed_in_the_spool_is_not_sent(web: WebServer, library: LibrarySite) -> None:
    document = library.document()
    document.path.write_bytes(b"page 2 " * 1000)

    with pytest.raises(DeliveryError, match="not what was accepted"):
        await library.deliver(document)

    assert web.stored() == {}
    assert "PUT" not in methods(web)


async def test_a_link_in_the_place_of_an_image_is_not_followed(web: WebServer, library: LibrarySite) -> None:
    document = library.document()
    document.path.rename(document.path.with_name("elsewhere"))
    document.path.symlink_to(document.path.with_name("elsewhere"))

    with pytest.raises(DeliveryError, match="cannot be read from the spool"):
        await library.deliver(document)

    with pytest.raises(OSError, match="symbolic links"):
        open_document(document.path)


async def test_a_delivery_that_is_canceled_lets_go(web: WebServer, library: LibrarySite) -> None:
    web.freeze()
    delivery = asyncio.create_task(library.deliver(library.document()))
    await asyncio.sleep(0.05)

    delivery.cancel()

    with pytest.raises(asyncio.CancelledError):
        await delivery
    web.thaw()
    await library.deliver(library.document())
    assert list(web.stored()) == [NAME]


async def test_a_probe_leaves_nothing_and_says_what_it_proved(web: WebServer, library: LibrarySite) -> None:
    order = ProbeOrder(library.destination(), library.job, NO_INSTRUCTIONS)

    said = await library.filter().probe(order)

    assert web.stored() == {}
    assert list((web.root / LIBRARY.strip("/")).iterdir()) == []
    assert said[0] == f"{library.destination().label} can be reached, and the account can log on"
    assert said[1] == "the folder alice@example.com was made"
    assert said[-1] == "the folder alice@example.com was removed again"


async def test_a_probe_leaves_a_folder_that_was_there(web: WebServer, library: LibrarySite) -> None:
    await library.deliver(library.document())

    said = await library.filter().probe(ProbeOrder(library.destination(), library.job, NO_INSTRUCTIONS))

    assert "the folder alice@example.com is there" in said
    assert list(web.stored()) == [NAME]


async def test_a_probe_that_cannot_store_removes_the_folder_it_made(
    web: WebServer, library: LibrarySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> StoredFile:
        raise LibraryError("no room", Trouble.FULL)

    monkeypatch.setattr(WebdavLibrary, "put", full)

    with pytest.raises(DeliveryError, match="no room"):
        await library.filter().probe(ProbeOrder(library.destination(), library.job, NO_INSTRUCTIONS))

    assert list((web.root / LIBRARY.strip("/")).iterdir()) == []


async def test_a_probe_that_is_canceled_leaves_nothing(
    web: WebServer, library: LibrarySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = asyncio.Event()

    async def put_and_wait(
        adapter: WebdavLibrary, folder: Folder, upload: Upload, notes: Notes
    ) -> StoredFile:
        await put(adapter, folder, upload, notes)
        stored.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    put = WebdavLibrary.put
    monkeypatch.setattr(WebdavLibrary, "put", put_and_wait)
    order = ProbeOrder(library.destination(), library.job, NO_INSTRUCTIONS)
    probe = asyncio.create_task(library.filter().probe(order))
    await stored.wait()

    probe.cancel()

    with pytest.raises(asyncio.CancelledError):
        await probe
    assert list((web.root / LIBRARY.strip("/")).iterdir()) == []


async def test_without_tls_nobody_is_asked_where_the_settings_allow_it(
    web: WebServer, library: LibrarySite
) -> None:
    site = LibrarySite(web.origin(Logon.NOBODY), library.ca, library.spool, nobody)

    await site.deliver(site.document())

    assert list(web.stored()) == [NAME]
