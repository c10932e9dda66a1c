"""SharePoint Online by Microsoft Graph, against the stub of it."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.filters.sharepoint.address import parse_origin
from postscan.filters.sharepoint.library import LibraryError, Likeness, NameTaken, StoredFile, Trouble
from postscan.filters.sharepoint.quickxor import quick_xor_hash
from support.sharepoint_state import quick_xor_reference
from support.sharepoint_visits import UNIT, Visit, visit

ALICE = "alice@example.com"
LIBRARY = ("sites", "team", "Shared Documents")
LARGE = os.urandom(5 * 1024 * 1024)
FRAGMENT = 4 * UNIT
NAMES = ["100% #1 'best' & more.pdf", "Rechnung Ä ö ß – 請求書.pdf", "a+b=c;d@e,f$g!.pdf", "%41 %2f.pdf"]
NAME_IDS = ["signs", "unicode", "marks", "looks-encoded"]


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Visit]:
    async with visit(tmp_path) as visitor:
        yield visitor


def graph_error(code: str, text: str = "said so") -> dict[str, object]:
    """Return an error of Graph."""
    return {"error": {"code": code, "message": text}}


class TestStoring:
    async def test_a_small_document_is_stored_whole(self, at: Visit) -> None:
        upload = at.upload()
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            assert await library.find(folder, upload.name) is None
            stored = await library.put(folder, upload, at.ledger)
            assert stored == await library.find(folder, upload.name)
            assert await library.compare(folder, stored, upload) is Likeness.SAME
        assert at.stored() == {f"{ALICE}/Invoice.pdf": upload.path.read_bytes()}
        assert at.stub.site.sessions == {}

    async def test_a_folder_that_is_there_is_used(self, at: Visit) -> None:
        async with at.graph() as library:
            first = await library.ensure_folder(ALICE)
            second = await library.ensure_folder(ALICE)
        assert (first.made, second.made) == (True, False)
        assert first.item == second.item

    async def test_a_folder_that_somebody_makes_meanwhile_is_used(self, at: Visit) -> None:
        at.stub.fail_next("GET", f"root:/{ALICE}", 404, graph_error("itemNotFound"))
        at.stub.site.make_folder((*LIBRARY, ALICE))
        async with at.graph() as library:
            assert not (await library.ensure_folder(ALICE)).made

    async def test_a_file_that_has_the_folders_name_is_no_folder(self, at: Visit) -> None:
        at.stub.site.store((*LIBRARY, ALICE), b"a file")
        async with at.graph() as library:
            with pytest.raises(LibraryError, match="is no folder"):
                await library.ensure_folder(ALICE)

    @pytest.mark.parametrize("path", ["/sites/team/Nothing", "/sites/other/Shared Documents"])
    async def test_a_library_that_is_not_there_is_not_made(self, at: Visit, path: str) -> None:
        async with at.graph(path) as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.NO_LIBRARY

    async def test_a_library_of_the_root_site_is_found(self, at: Visit) -> None:
        at.stub.site.add_library("Docs", web=())
        async with at.graph("/Docs") as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
            assert await library.find(folder, "Invoice.pdf") is not None

    async def test_a_folder_of_a_library_can_be_the_destination(self, at: Visit) -> None:
        at.stub.site.make_folder((*LIBRARY, "Scans 50%"))
        async with at.graph("/sites/team/Shared Documents/Scans 50%") as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
        assert list(at.stored()) == [f"Scans 50%/{ALICE}/Invoice.pdf"]

    async def test_a_library_of_a_site_below_is_found_among_many(self, at: Visit) -> None:
        web = ("sites", "team", "sub")
        for number in range(5):
            at.stub.site.add_library(*web, f"Scans {number}", web=web)
        at.stub.graph.page = 2
        async with at.graph("/sites/team/sub/Scans 4") as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
        assert list(at.stored()) == [f"{ALICE}/Invoice.pdf"]

    @pytest.mark.parametrize("size", [100, 5_000_000], ids=["small", "large"])
    async def test_a_name_that_is_taken_is_left_alone(self, at: Visit, size: int) -> None:
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
            with pytest.raises(NameTaken):
                await library.put(folder, at.upload(content=bytes(size)), at.ledger)
        assert at.stored()[f"{ALICE}/Invoice.pdf"].startswith(b"%PDF")

    async def test_a_name_taken_during_an_upload_is_left_alone(self, at: Visit) -> None:
        at.stub.cut_next("PUT", "upload")
        at.stub.fail_next("GET", "upload", 503)
        upload = at.upload(content=LARGE)
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError):
                await library.put(folder, upload, at.ledger)
            at.stub.site.store((*LIBRARY, ALICE, "Invoice.pdf"), b"somebody else's")
            with pytest.raises(NameTaken):
                await library.put(folder, upload, at.ledger)
            await library.put(folder, at.upload("Invoice (2).pdf", LARGE), at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": b"somebody else's", f"{ALICE}/Invoice (2).pdf": LARGE}
        assert at.stub.site.sessions == {}

    async def test_a_folder_takes_a_name_too(self, at: Visit) -> None:
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            at.stub.site.make_folder((*LIBRARY, ALICE, "Invoice.pdf"))
            found = await library.find(folder, "Invoice.pdf")
        assert found is not None
        assert found.size == -1

    @pytest.mark.parametrize("name", NAMES, ids=NAME_IDS)
    async def test_names_arrive_as_they_are(self, at: Visit, name: str) -> None:
        upload = at.upload(name)
        async with at.graph() as library:
            folder = await library.ensure_folder("o'brien 50% #1@example.com")
            stored = await library.put(folder, upload, at.ledger)
            assert await library.find(folder, name) == stored
            assert await library.set_columns(folder, stored, {"Title": name}) == []
        assert list(at.stored()) == [f"o'brien 50% #1@example.com/{name}"]

    @pytest.mark.parametrize("tells_hashes", [True, False], ids=["by-hash", "by-reading"])
    async def test_another_file_of_the_same_size_is_not_taken_for_ours(
        self, at: Visit, tells_hashes: bool
    ) -> None:
        at.stub.graph.tells_hashes = tells_hashes
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(content=b"abcd"), at.ledger)
            assert await library.compare(folder, stored, at.upload(content=b"abcd")) is Likeness.SAME
            assert await library.compare(folder, stored, at.upload(content=b"abce")) is Likeness.OTHER
            assert await library.compare(folder, stored, at.upload(content=b"abcde")) is Likeness.OTHER

    async def test_what_was_stored_can_be_removed_unless_it_changed(self, at: Visit) -> None:
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(), at.ledger)
            with pytest.raises(LibraryError):
                await library.remove(folder, StoredFile(stored.name, stored.size, tag='"{0},9"'))
            await library.remove_folder(folder)
            assert at.stored()
            await library.remove(folder, stored)
            await library.remove(folder, stored)
            await library.remove_folder(folder)
        assert at.stub.site.below(LIBRARY) == []


class TestSessions:
    async def test_a_large_document_travels_in_fragments(self, at: Visit) -> None:
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}
        assert stored.size == len(LARGE)
        lengths = [one.length for one in at.stub.seen if one.server == "sharepoint"]
        assert lengths == [FRAGMENT] * 4
        assert at.ledger.notes == {"upload:1": ""}

    @pytest.mark.parametrize("after_answering", [False, True], ids=["amid-it", "answer-lost"])
    async def test_a_cut_connection_costs_one_fragment_at_most(
        self, at: Visit, after_answering: bool
    ) -> None:
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            at.stub.cut_next("PUT", "upload", after_answering=after_answering)
            await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}
        sent = sum(one.length for one in at.stub.seen if one.server == "sharepoint")
        assert sent <= len(LARGE) + FRAGMENT

    async def test_an_upload_goes_on_after_a_restart(self, at: Visit) -> None:
        upload = at.upload(content=LARGE)
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            at.stub.fail_next("PUT", "upload", 503, {}, headers={"Retry-After": "7"})
            at.stub.faults[-1].part = "never"
            real = at.stub.graph.handle_upload
            count = 0

            async def busy_after_two(request):  # type: ignore[no-untyped-def] # a handler of aiohttp
                nonlocal count
                count += 1
                if count == 3:
                    at.stub.faults[-1].part = "upload"
                    return await at.stub.faults[-1].answer(request)
                return await real(request)

            at.stub.graph.handle_upload = busy_after_two  # type: ignore[method-assign] # for this test
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, upload, at.ledger)
            assert caught.value.retry_after == timedelta(seconds=7)
            at.stub.graph.handle_upload = real  # type: ignore[method-assign] # as it was
        at.stub.seen.clear()
        at.stub.faults.clear()
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            assert await library.find(folder, upload.name) is None
            await library.put(folder, upload, at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}
        assert not any("createUploadSession" in line for line in at.stub.lines())
        assert (
            sum(one.length for one in at.stub.seen if one.server == "sharepoint") == len(LARGE) - 2 * FRAGMENT
        )

    async def test_the_answer_to_the_last_fragment_may_be_lost(self, at: Visit) -> None:
        last = f"bytes {3 * FRAGMENT}-"
        real = at.stub.graph.handle_upload

        async def lose_last(request):  # type: ignore[no-untyped-def] # a handler of aiohttp
            answer = await real(request)
            if request.headers.get("Content-Range", "").startswith(last):
                request.transport.abort()
            return answer

        at.stub.graph.handle_upload = lose_last  # type: ignore[method-assign] # for this test
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert stored.size == len(LARGE)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}

    async def test_a_session_that_is_gone_begins_anew(self, at: Visit) -> None:
        upload = at.upload(content=LARGE)
        at.ledger.notes["upload:1"] = (
            f"{upload.name}\n{at.stub.sharepoint_server.origin}/_api/v2.0/upload?guid='x'"
        )
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, upload, at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}

    async def test_a_session_that_has_every_octet_and_no_file_is_not_taken_for_success(
        self, at: Visit
    ) -> None:
        upload = at.upload(content=LARGE)
        url = f"{at.stub.sharepoint_server.origin}/_api/v2.0/upload?guid='x'"
        at.ledger.notes["upload:1"] = f"{upload.name}\n{url}"
        at.stub.fail_next("GET", "upload", 200, {"nextExpectedRanges": [f"{len(LARGE)}-"]})
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError, match="ended too early") as caught:
                await library.put(folder, upload, at.ledger)
        assert caught.value.trouble is Trouble.AWAY
        assert at.ledger.notes == {"upload:1": ""}

    @pytest.mark.parametrize(
        "ranges",
        [[], ["x"], [7], "0-", None, ["99999999999-"], ["-5"], [f"{'9' * 5000}-"]],
        ids=["0", "x", "7", "s", "n", "9", "-", "5000 digits"],
    )
    async def test_a_session_that_tells_no_next_octet_is_told(self, at: Visit, ranges: object) -> None:
        at.stub.fail_next("PUT", "upload", 202, {"nextExpectedRanges": ranges})
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert caught.value.trouble is Trouble.UNREADABLE

    async def test_a_session_that_does_not_get_on_is_given_up(self, at: Visit) -> None:
        at.stub.fail_next("PUT", "upload", 202, {"nextExpectedRanges": ["0-"]}, times=99)
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError, match="does not get on") as caught:
                await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert caught.value.trouble is Trouble.AWAY

    async def test_a_connection_that_keeps_breaking_is_left_to_a_later_try(self, at: Visit) -> None:
        at.stub.cut_next("PUT", "upload", times=50)
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert caught.value.trouble is Trouble.AWAY
        assert at.ledger.notes["upload:1"].startswith("Invoice.pdf\nhttps://")

    async def test_the_url_of_a_session_gets_no_token(self, at: Visit) -> None:
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(content=LARGE), at.ledger)
        sent = [one for one in at.stub.seen if one.server == "sharepoint"]
        assert sent
        assert not any("Authorization" in one.headers for one in sent)

    async def test_a_session_may_lead_where_the_settings_let_it(self, at: Visit) -> None:
        at.stub.upload_origin = f"https://localhost:{at.stub.sharepoint_server.port}"
        allowed = (parse_origin(at.stub.upload_origin),)
        async with at.graph(upload_origins=allowed) as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}


class TestColumns:
    async def test_columns_that_the_library_has_are_filled(self, at: Visit) -> None:
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(), at.ledger)
            wish = {"Title": "Invoice 7", "ScanUser": "alice", "Nowhere": "x", "Created": "2026"}
            assert await library.set_columns(folder, stored, wish) == ["Nowhere", "Created"]
        (item,) = [one for one in at.stub.site.items.values() if one.content is not None]
        assert item.fields == {"Title": "Invoice 7", "ScanUser": "alice"}

    async def test_a_column_that_takes_no_such_value_is_named(self, at: Visit) -> None:
        at.stub.site.rejects.add("ScanUser")
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(), at.ledger)
            assert await library.set_columns(folder, stored, {"Title": "T", "ScanUser": "a"}) == ["ScanUser"]


class TestTroubles:
    @pytest.mark.parametrize(
        ("status", "code", "trouble"),
        [
            (507, "quotaLimitReached", Trouble.FULL),
            (403, "accessDenied", Trouble.DENIED),
            (423, "resourceLocked", Trouble.LOCKED),
            (413, "maxFileSizeExceeded", Trouble.TOO_LARGE),
            (429, "activityLimitReached", Trouble.THROTTLED),
            (503, "serviceNotAvailable", Trouble.THROTTLED),
            (509, "bandwidthLimitExceeded", Trouble.THROTTLED),
            (500, "generalException", Trouble.AWAY),
            (400, "invalidRequest", Trouble.REFUSED),
        ],
        ids=["507", "403", "423", "413", "429", "503", "509", "500", "400"],
    )
    async def test_what_the_service_says_is_told_apart(
        self, at: Visit, status: int, code: str, trouble: Trouble
    ) -> None:
        at.stub.fail_next("PUT", "/content", status, graph_error(code), headers={"Retry-After": "30"})
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(), at.ledger)
        assert caught.value.trouble is trouble
        assert "storing Invoice.pdf" in str(caught.value)
        if trouble is Trouble.THROTTLED:
            assert caught.value.retry_after == timedelta(seconds=30)

    @pytest.mark.parametrize("size", [200_000, 5_000_000], ids=["small", "large"])
    async def test_a_quota_that_is_reached_stores_nothing(self, at: Visit, size: int) -> None:
        at.stub.site.quota = 100_000
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(content=bytes(size)), at.ledger)
        assert caught.value.trouble is Trouble.FULL
        assert at.stored() == {}

    async def test_a_drive_without_an_id_is_told(self, at: Visit) -> None:
        at.stub.fail_next("GET", "/sites/", 200, {"webUrl": "https://localhost/sites/team"})
        async with at.graph() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.UNREADABLE


class TestQuickXorHash:
    # Published with the algorithm's implementations in use; the input is base64, too.
    VECTORS = (
        ("", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("Sg==", "SgAAAAAAAAAAAAAAAQAAAAAAAAA="),
        ("tbQ=", "taAFAAAAAAAAAAAAAgAAAAAAAAA="),
        ("J9iPGCbfZSTNyw==", "J8DGIzBggm+UgQTNUgYAAAAAAAA="),
        ("2fuxhBJXtpWFe8dOfdGeHw==", "O9tHLAghgSvYohKFyMMxnNCHaHg="),
    )

    @pytest.mark.parametrize(("content", "expected"), VECTORS, ids=["0", "1", "2", "10", "16"])
    def test_known_hashes_come_out(self, tmp_path: Path, content: str, expected: str) -> None:
        path = tmp_path / "file"
        path.write_bytes(base64.b64decode(content))
        assert quick_xor_hash(path) == expected

    @given(st.integers(0, 1000), st.binary(min_size=1, max_size=300))
    def test_it_is_the_sum_octet_by_octet(
        self, tmp_path_factory: pytest.TempPathFactory, times: int, content: bytes
    ) -> None:
        content = (content * times)[:2000]
        path = tmp_path_factory.getbasetemp() / "hashed"
        path.write_bytes(content)
        assert quick_xor_hash(path) == quick_xor_reference(content)

    @pytest.mark.parametrize("more", [-1, 0, 1, 161])
    def test_it_is_the_sum_beyond_what_is_read_at_once(self, tmp_path: Path, more: int) -> None:
        content = os.urandom(160 * 2048 + more)
        path = tmp_path / "file"
        path.write_bytes(content)
        assert quick_xor_hash(path) == quick_xor_reference(content)
