"""Abuse case 37 by way of REST, Graph and tokens: documents and tokens go nowhere but where they belong.

A canary listens; whatever a server says, nobody may call it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from postscan.filters.entra.failures import TokenError, TokenTrouble
from postscan.filters.sharepoint.address import parse_origin
from postscan.filters.sharepoint.bearer import BearerAuth
from postscan.filters.sharepoint.connection import HttpSite
from postscan.filters.sharepoint.library import LibraryError, Trouble
from support.sharepoint_stub import Fault, Seen, Server
from support.sharepoint_visits import Visit, visit

ALICE = "alice@example.com"
LARGE = os.urandom(5 * 1024 * 1024)


STRANGE_URLS = {
    "other": "{canary}/upload",
    "user": "https://user@{site}/upload",
    "clear": "http://{site}/upload",
    "longer": "https://{site}.example.com/upload",
    "metadata": "https://169.254.169.254/latest",
    "ftp": "ftp://{site}/upload",
    "relative": "//{canary_host}/upload",
    "broken": "https://[::1/upload",
    "port": "https://localhost:99999/upload",
    "path": "upload",
}


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Visit]:
    async with visit(tmp_path) as visitor:
        yield visitor


@pytest.fixture
async def canary(at: Visit) -> AsyncIterator[Server]:
    """Listen with a certificate that is trusted; nobody may call."""
    heard: list[Seen] = []

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "x"})

    context = at.stub.sharepoint_server.context
    async with Server("canary", answer, heard, [], context) as server:
        yield server
    assert heard == []


def answer_with(value: object, status: int = 200, **headers: str) -> Fault:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response(value, status=status, headers=headers)

    return Fault("", "", answer, times=99)


def redirect(at: Visit, method: str, part: str, target: str, status: int) -> None:
    fault = answer_with({}, status, Location=target)
    at.stub.faults.append(Fault(method, part, fault.answer, 99))


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_case_37_rest_follows_no_redirect(self, at: Visit, canary: Server, status: int) -> None:
        redirect(at, "POST", "/_api/", f"{canary.origin}/_api/contextinfo", status)
        async with at.rest() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.REDIRECTED

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_case_37_graph_follows_no_redirect(self, at: Visit, canary: Server, status: int) -> None:
        redirect(at, "GET", "/v1.0/", f"{canary.origin}/v1.0/sites", status)
        async with at.graph() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.REDIRECTED

    @pytest.mark.parametrize(("method", "part"), [("GET", "openid"), ("POST", "token")])
    async def test_case_37_the_authority_leads_nowhere_else(
        self, at: Visit, canary: Server, method: str, part: str
    ) -> None:
        redirect(at, method, part, f"{canary.origin}/token", 307)
        with pytest.raises(TokenError) as caught:
            await at.tokens.token("https://graph.example.com")
        assert caught.value.trouble in (TokenTrouble.REDIRECTED, TokenTrouble.UNREADABLE)

    async def test_case_37_the_authority_names_no_other_place_for_the_assertion(
        self, at: Visit, canary: Server
    ) -> None:
        at.stub.authority.redirect_token_to = f"{canary.origin}/{'1' * 8}/token"
        with pytest.raises(TokenError, match="is not the authority of the settings") as caught:
            await at.tokens.token("https://graph.example.com")
        assert caught.value.trouble is TokenTrouble.REDIRECTED

    async def test_case_37_a_fragment_is_sent_nowhere_else(self, at: Visit, canary: Server) -> None:
        redirect(at, "PUT", "upload", f"{canary.origin}/up", 307)
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert caught.value.trouble is Trouble.REDIRECTED


class TestAddressesInAnswers:
    @pytest.mark.parametrize("from_ledger", [False, True], ids=["told", "noted"])
    @pytest.mark.parametrize("url", [*STRANGE_URLS.values()], ids=[*STRANGE_URLS])
    async def test_case_37_a_session_leads_only_where_it_may(
        self, at: Visit, canary: Server, url: str, from_ledger: bool
    ) -> None:
        where = url.format(
            canary=canary.origin,
            canary_host=canary.origin.removeprefix("https://"),
            site=at.stub.sharepoint_server.origin.removeprefix("https://"),
        )
        fault = answer_with({"uploadUrl": where, "nextExpectedRanges": ["0-"]})
        if from_ledger:
            at.ledger.notes["upload:1"] = f"Invoice.pdf\n{where}"
        else:
            at.stub.faults.append(Fault("POST", "createUploadSession", fault.answer, 1))
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            with pytest.raises(LibraryError) as caught:
                await library.put(folder, at.upload(content=LARGE), at.ledger)
        assert caught.value.trouble in (Trouble.REDIRECTED, Trouble.UNREADABLE)
        assert at.stored() == {}

    async def test_case_37_a_file_is_read_back_only_where_it_may_be(self, at: Visit, canary: Server) -> None:
        item = {"id": "1", "size": 4, "file": {}, "@microsoft.graph.downloadUrl": f"{canary.origin}/x"}
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload(content=b"abcd"), at.ledger)
            at.stub.faults.append(Fault("GET", "root:", answer_with(item).answer))
            with pytest.raises(LibraryError) as caught:
                await library.compare(folder, stored, at.upload(content=b"abcd"))
        assert caught.value.trouble is Trouble.REDIRECTED

    async def test_case_37_the_next_page_is_asked_for_where_the_first_was(
        self, at: Visit, canary: Server
    ) -> None:
        page = {"value": [], "@odata.nextLink": f"{canary.origin}/v1.0/sites/x/drives"}
        at.stub.faults.append(Fault("GET", "/drives", answer_with(page).answer, 1))
        async with at.graph() as library:
            with pytest.raises(LibraryError):
                await library.ensure_folder(ALICE)

    async def test_case_37_pages_that_never_end_are_given_up(self, at: Visit) -> None:
        page = {"value": [], "@odata.nextLink": f"{at.stub.graph_server.origin}/v1.0/sites/x/drives"}
        at.stub.faults.append(Fault("GET", "/drives", answer_with(page).answer, 10_000))
        async with at.graph() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.NO_LIBRARY

    async def test_case_37_a_web_on_another_host_changes_nothing(self, at: Visit, canary: Server) -> None:
        digest = "0xAB,now"
        at.stub.rest.digests.add(digest)
        told = {
            "FormDigestValue": digest,
            "FormDigestTimeoutSeconds": 1800,
            "WebFullUrl": f"{canary.origin}/evil",
        }
        at.stub.faults.append(Fault("POST", "contextinfo", answer_with({"d": told}).answer))
        async with at.rest() as library:
            folder = await library.ensure_folder(ALICE)
            await library.put(folder, at.upload(), at.ledger)
        assert len(at.stored()) == 1

    async def test_case_37_a_library_on_another_host_is_not_ours(self, at: Visit, canary: Server) -> None:
        drives = {
            "value": [{"id": "b!x", "webUrl": "https://other.example.com/sites/team/Shared%20Documents"}]
        }
        at.stub.faults.append(Fault("GET", "/drives", answer_with(drives).answer, 99))
        async with at.graph() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.NO_LIBRARY


class TestTokens:
    async def test_case_37_a_token_is_not_wired_to_another_host(self, at: Visit, canary: Server) -> None:
        auth = BearerAuth(at.tokens, at.address().origin)
        with pytest.raises(ValueError, match=r"origin|another"):
            HttpSite(parse_origin(canary.origin), auth, tls=at.tls)

    async def test_case_37_each_host_gets_the_token_that_was_made_for_it(self, at: Visit) -> None:
        async with at.rest() as library:
            await library.ensure_folder(ALICE)
        async with at.graph() as library:
            await library.ensure_folder("bob@example.com")
        origins = {"sharepoint": at.stub.sharepoint_server.origin, "graph": at.stub.graph_server.origin}
        sent = [
            (
                origins[one.server],
                at.stub.authority.tokens[one.headers["Authorization"].removeprefix("Bearer ")],
            )
            for one in at.stub.seen
            if one.server in origins
        ]
        assert sent
        assert all(origin == resource for origin, resource in sent)
