"""SharePoint's REST service, against the stub of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from postscan.filters.sharepoint.library import LibraryError, Likeness, NameTaken, StoredFile, Trouble
from postscan.filters.sharepoint.rest_upload import UploadLimits
from support.sharepoint_rest_stub import NOT_FOUND
from support.sharepoint_visits import Visit, visit

ALICE = "alice@example.com"
CHUNKS = UploadLimits(one_request=100_000, chunk=40_000)
LARGE = os.urandom(150_000)
NAMES = ["100% #1 'best' & more.pdf", "Rechnung Ä ö ß – 請求書.pdf", "a+b=c;d@e,f$g!.pdf", "%41 %2f.pdf"]
NAME_IDS = ["signs", "unicode", "marks", "looks-encoded"]


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Visit]:
    async with visit(tmp_path) as visitor:
        yield visitor


def sp_error(exception: str, text: str = "", number: int = -1) -> dict[str, object]:
    """Return an error of SharePoint in OData verbose."""
    return {"error": {"code": f"{number}, {exception}", "message": {"lang": "en-US", "value": text}}}


class TestStoring:
    async def test_a_small_document_is_stored_whole(self, at: Visit) -> None:
        upload = at.upload()
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            assert await library.find(folder, upload.name) is None
            stored = await library.put(folder, upload, at.ledger)
            assert stored == await library.find(folder, upload.name)
            assert await library.compare(folder, stored, upload) is Likeness.SAME
        assert stored.size == upload.size
        assert at.stored() == {f"{ALICE}/Invoice.pdf": upload.path.read_bytes()}

    async def test_a_folder_that_is_there_is_used(self, at: Visit) -> None:
        async with at.rest() as library:
            first = await library.ensure_folder(ALICE)
            second = await library.ensure_folder(ALICE)
        assert (first.made, second.made) == (True, False)

    async def test_a_library_that_is_not_there_is_not_made(self, at: Visit) -> None:
        async with at.rest("/sites/team/Nothing") as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.NO_LIBRARY

    async def test_a_library_of_the_root_site_is_found(self, at: Visit) -> None:
        at.stub.site.add_library("Docs", web=())
        async with at.rest("/Docs") as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
            assert await library.find(folder, "Invoice.pdf") is not None

    async def test_a_name_that_is_taken_is_left_alone(self, at: Visit) -> None:
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
            with pytest.raises(NameTaken):
                await library.put(folder, at.upload(content=b"another"), at.ledger)
        assert at.stored()[f"{ALICE}/Invoice.pdf"].startswith(b"%PDF")

    async def test_a_folder_takes_a_name_too(self, at: Visit) -> None:
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            at.stub.site.make_folder(("sites", "team", "Shared Documents", ALICE, "Invoice.pdf"))
            found = await library.find(folder, "Invoice.pdf")
        assert found == StoredFile("Invoice.pdf", -1)

    @pytest.mark.parametrize("name", NAMES, ids=NAME_IDS)
    async def test_names_arrive_as_they_are(self, at: Visit, name: str) -> None:
        upload = at.upload(name)
        async with at.rest() as library:
            folder = await library.ensure_folder("o'brien 50% #1@example.com")
            stored = await library.put(folder, upload, at.ledger)
            assert await library.find(folder, name) == stored
            assert await library.compare(folder, stored, upload) is Likeness.SAME
            assert await library.set_columns(folder, stored, {"Title": name}) == []
        assert list(at.stored()) == [f"o'brien 50% #1@example.com/{name}"]

    async def test_another_file_of_the_same_size_is_not_taken_for_ours(self, at: Visit) -> None:
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(content=b"abcd"), at.ledger)
            assert await library.compare(folder, stored, at.upload(content=b"abce")) is Likeness.OTHER
            assert await library.compare(folder, stored, at.upload(content=b"abcde")) is Likeness.OTHER

    async def test_the_web_below_a_site_is_found(self, at: Visit) -> None:
        web = ("sites", "team", "sub")
        at.stub.site.add_library(*web, "Scans", web=web)
        async with at.rest("/sites/team/sub/Scans") as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
        assert "POST /sites/team/sub/_api/contextinfo" in at.stub.lines("sharepoint")

    async def test_a_file_that_a_library_checks_out_is_checked_in(self, at: Visit) -> None:
        at.stub.site.requires_check_out = True
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
        (item,) = [one for one in at.stub.site.items.values() if one.content is not None]
        assert not item.checked_out

    async def test_a_file_that_lacks_required_columns_is_checked_in_once_it_has_them(self, at: Visit) -> None:
        at.stub.site.requires_check_out = at.stub.site.requires_title = True
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(), at.ledger)
            (item,) = [one for one in at.stub.site.items.values() if one.content is not None]
            assert item.checked_out
            assert "others do not see" in at.ledger.warnings[0]
            await library.set_columns(folder, stored, {"Title": "T"})
        assert not item.checked_out

    async def test_a_file_left_checked_out_by_a_crash_is_checked_in(self, at: Visit) -> None:
        at.stub.site.requires_check_out = True
        at.stub.cut_next("POST", "CheckIn")
        upload = at.upload()
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError):
                await library.put(folder, upload, at.ledger)
            stored = await library.find(folder, upload.name)
            assert stored is not None
            assert await library.compare(folder, stored, upload) is Likeness.SAME
        (item,) = [one for one in at.stub.site.items.values() if one.content is not None]
        assert not item.checked_out

    async def test_a_library_that_writes_into_files_is_believed(self, at: Visit) -> None:
        grown = {"d": {"Name": "Invoice.pdf", "Length": "5000", "ETag": "1", "CheckOutType": 2}}
        at.stub.fail_next("POST", "/Files/", 200, grown)
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            assert (await library.put(folder, at.upload(), at.ledger)).size == 5000

    async def test_a_server_that_took_less_than_it_got_is_not_tried_again(self, at: Visit) -> None:
        torn = {"d": {"Name": "Invoice.pdf", "Length": "5", "ETag": "1", "CheckOutType": 2}}
        at.stub.fail_next("POST", "/Files/", 200, torn)
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError, match="took 5 octets of 900") as caught:
                await library.put(folder, at.upload(), at.ledger)
        assert caught.value.trouble is Trouble.REFUSED

    async def test_what_was_stored_can_be_removed_unless_it_changed(self, at: Visit) -> None:
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(), at.ledger)
            with pytest.raises(LibraryError):
                await library.remove(folder, StoredFile(stored.name, stored.size, tag='"{0},9"'))
            await library.remove_folder(folder)
            assert at.stored()
            await library.remove(folder, stored)
            await library.remove(folder, stored)
            await library.remove_folder(folder)
        assert at.stored() == {}
        assert at.stub.site.below(("sites", "team", "Shared Documents")) == []


class TestLarge:
    async def test_a_large_document_travels_in_chunks(self, at: Visit) -> None:
        upload = at.upload(content=LARGE)
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, upload, at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}
        assert stored.size == len(LARGE)
        steps = [
            part
            for line in at.stub.lines()
            for part in ("StartUpload", "ContinueUpload", "FinishUpload")
            if part in line
        ]
        assert steps == ["StartUpload", "ContinueUpload", "ContinueUpload", "FinishUpload"]
        assert at.ledger.notes == {"upload:1": ""}

    async def test_an_upload_goes_on_where_the_connection_was_cut(self, at: Visit) -> None:
        upload = at.upload(content=LARGE)
        at.stub.cut_next("POST", "fileOffset=80000")
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, upload, at.ledger)
        assert caught.value.trouble is Trouble.AWAY
        at.stub.seen.clear()
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            assert await library.find(folder, upload.name) is None
            await library.put(folder, upload, at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}
        assert not any("StartUpload" in line for line in at.stub.lines())
        assert sum(one.length for one in at.stub.seen) == len(LARGE) - 80_000

    @pytest.mark.parametrize("part", ["StartUpload", "fileOffset=40000", "FinishUpload", "MoveTo"])
    async def test_an_answer_that_was_lost_does_no_harm(self, at: Visit, part: str) -> None:
        upload = at.upload(content=LARGE)
        at.stub.cut_next("POST", part, after_answering=True)
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError):
                await library.put(folder, upload, at.ledger)
            found = await library.find(folder, upload.name)
            if found is None:
                found = await library.put(folder, upload, at.ledger)
            assert await library.compare(folder, found, upload) is Likeness.SAME
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}

    async def test_an_upload_that_the_server_forgot_begins_anew(self, at: Visit) -> None:
        upload = at.upload(content=LARGE)
        at.stub.cut_next("POST", "fileOffset=80000")
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError):
                await library.put(folder, upload, at.ledger)
            at.stub.site.uploads.clear()
            await library.put(folder, upload, at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}

    async def test_a_name_taken_at_the_end_costs_no_second_upload(self, at: Visit) -> None:
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(key="0"), at.ledger)
            with pytest.raises(NameTaken):
                await library.put(folder, at.upload(content=LARGE), at.ledger)
            at.stub.seen.clear()
            await library.put(folder, at.upload("Invoice (2).pdf", LARGE), at.ledger)
        assert set(at.stored()) == {f"{ALICE}/Invoice.pdf", f"{ALICE}/Invoice (2).pdf"}
        assert sum(one.length for one in at.stub.seen) == 0

    async def test_a_refused_upload_leaves_nothing_behind(self, at: Visit) -> None:
        body = sp_error("Microsoft.SharePoint.SPException", "The file type is blocked by the administrator")
        at.stub.fail_next("POST", "FinishUpload", 400, body)
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert caught.value.trouble is Trouble.REFUSED_NAME
        assert at.stored() == {}
        assert at.ledger.notes == {"upload:1": ""}

    @pytest.mark.parametrize("note", ["[]", '["x", 1, false]', '{"a": 1}', "null", "☃", '["é", true, 1]'])
    async def test_a_note_that_makes_no_sense_is_ignored(self, at: Visit, note: str) -> None:
        at.ledger.notes["upload:1"] = note
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert at.stored() == {f"{ALICE}/Invoice.pdf": LARGE}


class TestVersions:
    @pytest.mark.parametrize("version", [2013, 2016])
    async def test_servers_without_decoded_paths_are_asked_by_the_older_calls(
        self, at: Visit, version: int
    ) -> None:
        at.stub.rest.version = version
        upload = at.upload("Rechnung Ä 'b'.pdf", LARGE)
        async with at.rest(limits=CHUNKS) as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, upload, at.ledger)
            assert await library.compare(folder, stored, upload) is Likeness.SAME
            assert await library.set_columns(folder, stored, {"Title": "T"}) == []
        assert at.stored() == {f"{ALICE}/Rechnung Ä 'b'.pdf": LARGE}

    async def test_a_name_that_an_old_server_would_misread_is_refused(self, at: Visit) -> None:
        at.stub.rest.version = 2016
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload("100%.pdf"), at.ledger)
        assert caught.value.trouble is Trouble.REFUSED_NAME
        assert at.stored() == {}


class TestColumns:
    async def test_columns_that_the_library_has_are_filled(self, at: Visit) -> None:
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(), at.ledger)
            wish = {"Title": "Invoice 7", "ScanUser": "alice", "Nowhere": "x", "Created": "2026"}
            assert await library.set_columns(folder, stored, wish) == ["Nowhere", "Created"]
        (item,) = [one for one in at.stub.site.items.values() if one.content is not None]
        assert item.fields == {"Title": "Invoice 7", "ScanUser": "alice"}
        assert item.versions == 1

    async def test_a_column_that_takes_no_such_value_is_named(self, at: Visit) -> None:
        at.stub.site.rejects.add("ScanUser")
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(), at.ledger)
            assert await library.set_columns(folder, stored, {"Title": "T", "ScanUser": "a"}) == ["ScanUser"]

    async def test_columns_that_cannot_be_asked_for_are_all_named(self, at: Visit) -> None:
        at.stub.fail_next("GET", "ParentList/Fields", 403)
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(), at.ledger)
            assert await library.set_columns(folder, stored, {"Title": "T"}) == ["Title"]


class TestDigest:
    async def test_a_digest_that_has_ended_is_renewed(self, at: Visit) -> None:
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            at.stub.rest.digests.clear()
            await library.put(folder, at.upload(), at.ledger)
        assert len(at.stored()) == 1

    async def test_a_digest_that_is_never_taken_is_an_error(self, at: Visit) -> None:
        body = sp_error(
            "Microsoft.SharePoint.SPException", "The security validation for this page is invalid"
        )
        at.stub.fail_next("POST", "AddUsingPath", 403, body, times=9)
        async with at.rest() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.DENIED
        assert sum("AddUsingPath" in line for line in at.stub.lines()) == 2


class TestTroubles:
    @pytest.mark.parametrize(
        ("status", "exception", "text", "trouble"),
        [
            (423, "Microsoft.SharePoint.SPFileLockException", "The file is locked by bob", Trouble.LOCKED),
            (400, "Microsoft.SharePoint.SPException", "The file is checked out for editing", Trouble.LOCKED),
            (500, "Microsoft.SharePoint.SPException", "exceeded its storage quota", Trouble.FULL),
            (507, "Microsoft.SharePoint.SPException", "", Trouble.FULL),
            (403, "System.UnauthorizedAccessException", "Access denied.", Trouble.DENIED),
            (500, "Microsoft.SharePoint.SPQueryThrottledException", "list view threshold", Trouble.REFUSED),
            (400, "Microsoft.SharePoint.SPException", "blocked by the administrator", Trouble.REFUSED_NAME),
            (500, "System.IO.PathTooLongException", "The file name is too long", Trouble.REFUSED_NAME),
            (413, "-", "", Trouble.TOO_LARGE),
            (
                400,
                "Microsoft.SharePoint.Client.InvalidClientQueryException",
                "The request message is too big.",
                Trouble.TOO_LARGE,
            ),
            (409, "Microsoft.SharePoint.SPException", "Save conflict", Trouble.LOCKED),
            (404, NOT_FOUND[0], "File Not Found.", Trouble.NO_LIBRARY),
            (500, "-", "", Trouble.AWAY),
            (503, "-", "", Trouble.AWAY),
        ],
        ids=[
            "lock",
            "checkout",
            "quota",
            "507",
            "denied",
            "threshold",
            "type",
            "path",
            "413",
            "too big",
            "409",
            "404",
            "500",
            "503",
        ],
    )
    async def test_what_the_server_says_is_told_apart(
        self, at: Visit, status: int, exception: str, text: str, trouble: Trouble
    ) -> None:
        at.stub.fail_next("POST", "/Files/AddUsingPath", status, sp_error(exception, text))
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(), at.ledger)
        assert caught.value.trouble is trouble
        assert "storing Invoice.pdf" in str(caught.value)
        assert text in str(caught.value)

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_server_that_throttles_says_for_how_long(self, at: Visit, status: int) -> None:
        at.stub.fail_next("POST", "/Files/", status, {}, headers={"Retry-After": "120"})
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(), at.ledger)
            assert caught.value.trouble is Trouble.THROTTLED
            assert caught.value.retry_after == timedelta(seconds=120)
            await library.put(folder, at.upload(), at.ledger)
        assert len(at.stored()) == 1

    async def test_a_quota_that_is_reached_stores_nothing(self, at: Visit) -> None:
        at.stub.site.quota = 100
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(), at.ledger)
        assert caught.value.trouble is Trouble.FULL
        assert at.stored() == {}

    async def test_an_answer_that_is_no_json_is_told(self, at: Visit) -> None:
        at.stub.fail_next("POST", "contextinfo", 200, "text")
        async with at.rest() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.UNREADABLE

    async def test_a_cut_amid_a_small_document_leaves_nothing(self, at: Visit) -> None:
        at.stub.cut_next("POST", "/Files/")
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(), at.ledger)
        assert caught.value.trouble is Trouble.AWAY
        assert at.stored() == {}
