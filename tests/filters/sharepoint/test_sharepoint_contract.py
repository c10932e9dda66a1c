"""The stubs of REST and Graph are checked with an independent client, and our requests beside its.

Office365-REST-Python-Client does what a delivery does; what it asked is printed (pytest -s), and compared in
shape with what our adapters ask where both do the same.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import requests
from office365.graph_client import GraphClient
from office365.sharepoint.client_context import ClientContext
from requests.adapters import HTTPAdapter

from postscan.filters.sharepoint.rest_upload import UploadLimits
from support.sharepoint_calls import read_calls
from support.sharepoint_stub import Seen
from support.sharepoint_visits import UNIT, Visit, visit

ALICE = "alice@example.com"
BOB = "bob@example.com"
LIBRARY = "/sites/team/Shared Documents"
LARGE = os.urandom(5 * 1024 * 1024)
CHUNK = 2 * 1024 * 1024


@pytest.fixture
async def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Visit]:
    """Start the stub; the other client trusts it, and its connections, which it leaves open, are closed."""
    opened: list[requests.Session] = []
    make = requests.Session.__init__

    def remember(session: requests.Session) -> None:
        make(session)
        opened.append(session)

    monkeypatch.setattr(requests.Session, "__init__", remember)
    async with visit(tmp_path) as visitor:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(visitor.stub.ca))
        yield visitor
        for session in opened:
            session.close()


class Independent:
    """The other client, for the stub."""

    def __init__(self, at: Visit) -> None:
        self._at = at

    def rest(self) -> ClientContext:
        """Return a client of the REST service, which has a token for the stub."""
        origin = self._at.stub.sharepoint_server.origin
        return ClientContext(f"{origin}/sites/team").with_access_token(self._token("other-rest", origin))

    def graph(self) -> GraphClient:
        """Return a client of Graph, whose requests to Microsoft's host go to the stub."""
        origin = self._at.stub.graph_server.origin
        client = GraphClient(self._token("other-graph", origin))
        session = requests.Session()
        session.mount("https://graph.microsoft.com", Detour(origin))
        client.pending_request().with_transport(session=session)
        return client

    def _token(self, token: str, origin: str) -> Callable[[], Any]:
        self._at.stub.authority.tokens[token] = origin
        return lambda: {"token_type": "Bearer", "access_token": token, "expires_in": 3600}


class Detour(HTTPAdapter):
    """Sends what is meant for Microsoft's host to another one."""

    def __init__(self, origin: str) -> None:
        super().__init__()
        self._origin = origin

    def send(self, request: Any, *args: Any, **more: Any) -> Any:
        """Send a request."""
        request.url = request.url.replace("https://graph.microsoft.com", self._origin)
        return super().send(request, *args, **more)


def exchanged(at: Visit, title: str) -> list[Seen]:
    """Print what was asked since the last time, and return it."""
    seen = [one for one in at.stub.seen if one.server != "authority"]
    at.stub.seen.clear()
    print(f"\n{title}")
    for one in seen:
        print(f"  {one.server:10} {one.line}  ({one.length} octets)")
    return seen


def rest_shapes(seen: Iterable[Seen]) -> set[str]:
    """Return each request of REST as calls and names of parameters, and what else decides."""
    shapes = {_rest_shape(one) for one in seen if "/_api/" in one.path}
    # Once it knows a file's id, the other client addresses it by that; what it asks is the same.
    return {shape.replace("getfilebyid()", "getfilebyserverrelativepath(decodedurl)") for shape in shapes}


def _rest_shape(one: Seen) -> str:
    path, _, query = one.path.partition("?")
    calls, _ = read_calls(path.partition("/_api/")[2], query)
    shown = "/".join(
        call.name + (f"({','.join(sorted(call.parameters))})" if call.parameters else "") for call in calls
    )
    tunnel = one.headers.get("X-HTTP-Method", "")
    digest = "digest" if one.method == "POST" and "X-RequestDigest" in one.headers else ""
    return " ".join(part for part in (one.method, tunnel, shown, digest, one.headers["Accept"]) if part)


def graph_shapes(seen: Iterable[Seen]) -> set[str]:
    """Return each request of Graph, without the names and ids of people and files."""
    shown = set()
    for one in seen:
        if one.server != "graph":
            continue
        path = one.path.partition("?")[0]
        for name in (ALICE, BOB, "small.pdf", "large.pdf"):
            path = path.replace(name, "X").replace(name.replace("@", "%40"), "X")
        path = re.sub(r"/items/[^/]+", "/items/I", path).removesuffix(":/")
        shown.add(f"{one.method} {path}")
    return shown


class TestRest:
    async def test_an_independent_client_finds_the_stub_to_be_sharepoint(
        self, at: Visit, tmp_path: Path
    ) -> None:
        at.stub.site.columns["Title"] = True

        def use() -> None:
            context = Independent(at).rest()
            library = context.web.get_folder_by_server_relative_path(LIBRARY)
            library.folders.add_using_path(BOB, False).execute_query()
            folder = context.web.get_folder_by_server_relative_path(f"{LIBRARY}/{BOB}")
            folder.get().execute_query()
            folder.upload_file("small.pdf", b"%PDF small").execute_query()
            folder.files.create_upload_session(
                io.BytesIO(LARGE), CHUNK, file_name="large.pdf"
            ).execute_query()
            file = context.web.get_file_by_server_relative_path(f"{LIBRARY}/{BOB}/small.pdf")
            file.get().execute_query()
            assert file.length == len(b"%PDF small")
            item = file.list_item_all_fields
            item.set_property("Title", "small one")
            item.update()
            context.execute_query()
            assert file.get_content().execute_query().value == b"%PDF small"

        await asyncio.to_thread(use)
        exchanged(at, "Office365-REST-Python-Client to the REST stub:")
        assert at.stored() == {f"{BOB}/small.pdf": b"%PDF small", f"{BOB}/large.pdf": LARGE}
        (item,) = [one for one in at.stub.site.items.values() if one.name == "small.pdf"]
        assert item.fields == {"Title": "small one"}

    async def test_our_requests_have_the_shape_of_those_of_an_independent_client(self, at: Visit) -> None:
        def use() -> None:
            context = Independent(at).rest()
            library = context.web.get_folder_by_server_relative_path(LIBRARY)
            library.folders.add_using_path(BOB, False).execute_query()
            folder = context.web.get_folder_by_server_relative_path(f"{LIBRARY}/{BOB}")
            folder.get().execute_query()
            folder.files.create_upload_session(
                io.BytesIO(LARGE), CHUNK, file_name="large.pdf"
            ).execute_query()
            file = context.web.get_file_by_server_relative_path(f"{LIBRARY}/{BOB}/large.pdf")
            file.get().execute_query()
            item = file.list_item_all_fields
            item.validate_update_list_item({"Title": "x"}, True).execute_query()
            file.delete_object().execute_query()

        await asyncio.to_thread(use)
        theirs = exchanged(at, "Office365-REST-Python-Client:")
        async with at.rest(limits=UploadLimits(one_request=CHUNK, chunk=CHUNK)) as library:
            folder = await library.ensure_folder(ALICE)
            await library.find(folder, "large.pdf")
            stored = await library.put(folder, at.upload("large.pdf", LARGE), at.ledger)
            await library.set_columns(folder, stored, {"Title": "x"})
            await library.remove(folder, stored)
        ours = exchanged(at, "Ours:")
        folder = "web/getfolderbyserverrelativepath(decodedurl)"
        file, accept = "web/getfilebyserverrelativepath(decodedurl)", "application/json;odata=verbose"
        common = {
            f"POST contextinfo {accept}",
            f"POST {folder}/folders/addusingpath(decodedurl,overwrite) digest {accept}",
            f"GET {folder} {accept}",
            f"GET {file} {accept}",
            f"POST {file}/listitemallfields/validateupdatelistitem digest {accept}",
            f"POST DELETE {file} digest {accept}",
        }
        assert common <= rest_shapes(ours)
        assert common <= rest_shapes(theirs)
        steps = (
            "startupload(uploadid)",
            "continueupload(fileoffset,uploadid)",
            "finishupload(fileoffset,uploadid)",
        )
        for step in steps:
            assert f"POST {file}/{step} digest {accept}" in rest_shapes(ours)
            assert f"POST {file}/{step} digest {accept}" in rest_shapes(theirs)
        assert _form_values(ours) == _form_values(theirs)


def _form_values(seen: Iterable[Seen]) -> list[dict[str, Any]]:
    """Return the first value of each form, and what is said besides of the update."""
    bodies = [json.loads(one.body) for one in seen if "validateupdatelistitem" in one.path.lower()]
    return [{"values": body["formValues"], "new": body["bNewDocumentUpdate"]} for body in bodies]


class TestGraph:
    async def test_an_independent_client_finds_the_stub_to_be_graph(self, at: Visit, tmp_path: Path) -> None:
        large = tmp_path / "large.pdf"
        large.write_bytes(LARGE)
        drive = at.stub.graph._drive(("sites", "team", "Shared Documents"))["id"]

        def use() -> None:
            client = Independent(at).graph()
            site = client.sites.get_by_url("https://localhost/sites/team").execute_query()
            drives = client.sites[site.id].drives.get().execute_query()
            assert [one.id for one in drives] == [drive]
            root = client.drives[drive].root
            root.create_folder(BOB).execute_query()
            folder = root.get_by_path(BOB)
            folder.upload("small.pdf", b"%PDF small").execute_query()
            folder.resumable_upload(str(large), chunk_size=4 * UNIT).execute_query()
            item = root.get_by_path(f"{BOB}/small.pdf").get().execute_query()
            assert item.get_property("size") == len(b"%PDF small")
            columns = client.drives[drive].list.columns.get().execute_query()
            assert "Title" in [one.name for one in columns]
            fields = item.list_item.fields
            fields.set_property("Title", "small one")
            fields.update().execute_query()

        await asyncio.to_thread(use)
        theirs = exchanged(at, "Office365-REST-Python-Client to the Graph stub:")
        assert at.stored() == {f"{BOB}/small.pdf": b"%PDF small", f"{BOB}/large.pdf": LARGE}
        async with at.graph() as library:
            folder = await library.ensure_folder(ALICE)
            stored = await library.put(folder, at.upload("small.pdf"), at.ledger)
            await library.put(folder, at.upload("large.pdf", LARGE, key="2"), at.ledger)
            await library.find(folder, "small.pdf")
            assert await library.set_columns(folder, stored, {"Title": "T"}) == []
        ours = exchanged(at, "Ours:")
        top = f"/v1.0/drives/{drive}/root"
        common = {
            "GET /v1.0/sites/localhost:/sites/team",
            "GET /v1.0/sites/localhost,sites,team/drives",
            f"POST {top}/children",
            f"PUT {top}:/X/X:/content",
            f"POST {top}:/X/X:/createUploadSession",
            f"GET {top}:/X/X",
            f"GET /v1.0/drives/{drive}/list/columns",
            f"PATCH /v1.0/drives/{drive}/items/I/listItem/fields",
        }
        assert common <= graph_shapes(ours)
        assert common <= graph_shapes(theirs)
        assert _ranges(ours) == _ranges(theirs)


def _ranges(seen: Iterable[Seen]) -> list[tuple[str, str]]:
    return [
        (one.headers["Content-Range"], one.headers["Content-Length"])
        for one in seen
        if one.server == "sharepoint" and one.method == "PUT"
    ]
