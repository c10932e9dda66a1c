"""Microsoft Graph over a Site in memory, as far as documents are taken to a library; and upload sessions."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from support.sharepoint_state import (
    Conflict,
    Full,
    GraphSession,
    Item,
    Missing,
    Site,
    Stale,
    quick_xor_reference,
)

UNIT = 320 * 1024
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_ITEM = re.compile(r"/v1\.0/drives/([^/]+)/root(?::(/.*?)(?::(?=/|$)(/.*)?)?|(/.*)?)$")
_BY_ID = re.compile(r"/v1\.0/drives/[^/]+/items/([^/:]+)(/.*)?")
_CONFLICT = "@microsoft.graph.conflictBehavior"


class GraphError(Exception):
    """An error as Graph tells it."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


@dataclass
class GraphService:
    """The service. ``host`` is that of the site; ``upload_origin`` says where sessions lead.

    ``tells_hashes`` is false for files whose hash is not known yet. ``page`` libraries are told at a time.
    """

    site: Site
    host: str
    upload_origin: Callable[[], str]
    tells_hashes: bool = True
    page: int = 100

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request below ``/v1.0``."""
        try:
            return await self._handle(request)
        except GraphError as error:
            return _error(error)
        except Missing:
            return _error(GraphError(404, "itemNotFound", "The resource could not be found."))
        except Conflict:
            text = "The specified item name already exists."
            return _error(GraphError(409, "nameAlreadyExists", text))
        except Full:
            return _error(GraphError(507, "quotaLimitReached", "Insufficient Space Available"))
        except Stale:
            return _error(GraphError(412, "notAllowed", "ETag does not match current item's value"))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = request.rel_url.raw_path
        if raw.startswith("/v1.0/sites/"):
            return self._sites(request, raw.removeprefix("/v1.0/sites/"))
        if re.fullmatch(r"/v1\.0/drives/[^/]+/list/columns", raw):
            rows = [{"name": name, "readOnly": not free} for name, free in self.site.columns.items()]
            return _json({"value": rows})
        by_id = _BY_ID.fullmatch(raw)
        if by_id is not None:
            return await self._item(request, self._path_of(by_id[1]), by_id[2] or "")
        found = _ITEM.fullmatch(raw)
        if found is None:
            raise GraphError(400, "BadRequest", f"Resource not found for the segment {raw}.")
        library = self._library(unquote(found[1]))
        below = tuple(unquote(segment) for segment in (found[2] or "").split("/") if segment)
        return await self._item(request, (*library, *below), (found[3] or found[4] or "").rstrip("/"))

    def _sites(self, request: web.Request, below: str) -> web.Response:
        if below.endswith("/drives"):
            web_path = tuple(unquote(below.removesuffix("/drives")).split(",")[1:])
            libraries = sorted(one for one in self.site.libraries if self.site.web_of(one) == web_path)
            start = int(request.query.get("$skiptoken", "0"))
            page: dict[str, Any] = {
                "value": [self._drive(one) for one in libraries[start : start + self.page]]
            }
            if start + self.page < len(libraries):
                page["@odata.nextLink"] = (
                    f"{request.url.origin()}{request.path}?$skiptoken={start + self.page}"
                )
            return _json(page)
        host, _, path = below.partition(":")
        web_path = tuple(unquote(segment) for segment in path.split("/") if segment)
        if host != self.host or (web_path and web_path not in self.site.webs):
            raise GraphError(404, "itemNotFound", "Requested site could not be found")
        return _json({"id": ",".join((host, *web_path)), "webUrl": self._url(web_path)})

    def _drive(self, library: tuple[str, ...]) -> dict[str, Any]:
        return {
            "id": "b!" + "".join(library).encode().hex(),
            "name": library[-1],
            "webUrl": self._url(library),
        }

    def _path_of(self, item_id: str) -> tuple[str, ...]:
        return next((item.path for item in self.site.items.values() if item.item_id == item_id), ())

    def _library(self, drive_id: str) -> tuple[str, ...]:
        for library in self.site.libraries:
            if self._drive(library)["id"] == drive_id:
                return library
        raise Missing

    def _url(self, path: tuple[str, ...]) -> str:
        return f"https://{self.host}/" + "/".join(segment.replace(" ", "%20") for segment in path)

    async def _item(self, request: web.Request, path: tuple[str, ...], what: str) -> web.StreamResponse:
        doing = (request.method, what)
        if doing == ("GET", ""):
            found = self.site.find(path)
            if found is None:
                raise Missing
            return _json(self._item_json(found))
        if doing == ("DELETE", ""):
            self.site.remove(path, request.headers.get("If-Match", "*"))
            return web.Response(status=204)
        if doing == ("PUT", "/content"):
            # Without the parameter it would replace, which the product must never ask for.
            if request.query.get(_CONFLICT, "replace") == "replace":
                return _json(
                    self._item_json(self.site.store(path, await request.read(), overwrite=True)), 201
                )
            return _json(self._item_json(self.site.store(path, await request.read())), 201)
        if doing == ("POST", "/children"):
            return self._child(path, json.loads(await request.read()))
        if doing == ("POST", "/createUploadSession"):
            return self._session(path, json.loads(await request.read() or b"{}"))
        if request.method == "PATCH" and what.lstrip("/") == "listItem/fields":
            return self._fields(self.site.file(path), json.loads(await request.read()))
        raise GraphError(400, "BadRequest", f"Resource not found for the segment {what}.")

    def _child(self, path: tuple[str, ...], body: Mapping[str, Any]) -> web.Response:
        self.site.folder(path)
        target = (*path, str(body["name"]))
        existing = self.site.find(target)
        if existing is not None and body.get(_CONFLICT) == "rename":
            target = (*path, f"{body['name']} 1")
        return _json(self._item_json(self.site.make_folder(target)), 201)

    def _session(self, path: tuple[str, ...], body: Mapping[str, Any]) -> web.Response:
        self.site.folder(path[:-1])
        conflict = body.get("item", {}).get(_CONFLICT, "replace")
        if conflict == "fail" and self.site.find(path) is not None:
            raise Conflict
        session = secrets.token_urlsafe(24)
        self.site.sessions[session] = GraphSession(path, conflict)
        url = f"{self.upload_origin()}/_api/v2.0/upload?guid='{session}'&tempauth={session[::-1]}"
        return _json(
            {"uploadUrl": url, "expirationDateTime": "2026-12-01T00:00:00Z", "nextExpectedRanges": ["0-"]}
        )

    def _fields(self, item: Item, body: dict[str, Any]) -> web.Response:
        body.pop("@odata.type", None)
        for name, value in body.items():
            if name in self.site.rejects or not self.site.columns.get(name):
                raise GraphError(400, "invalidRequest", f"Field '{name}' is not recognized")
            item.fields[name] = value
        return _json(item.fields)

    async def handle_upload(self, request: web.Request) -> web.StreamResponse:
        """Answer one request to the URL of a session, which is no part of Graph."""
        if "Authorization" in request.headers:
            # What it says to a token: the URL has one of its own.
            return _error(GraphError(401, "unauthenticated", "Both tempauth and Authorization"))
        key = request.query.get("guid", "").strip("'")
        session = self.site.sessions.get(key)
        if session is None or request.query.get("tempauth") != key[::-1]:
            return _error(GraphError(404, "itemNotFound", "The upload session was not found"))
        if request.method == "DELETE":
            del self.site.sessions[key]
            return web.Response(status=204)
        if request.method == "GET":
            return _json({"nextExpectedRanges": [f"{len(session.content)}-"]})
        try:
            return await self._fragment(request, key, session)
        except GraphError as error:
            return _error(error)
        except Conflict:
            return _error(GraphError(409, "nameAlreadyExists", "The specified item name already exists."))
        except Full:
            return _error(GraphError(507, "quotaLimitReached", "Insufficient Space Available"))

    async def _fragment(self, request: web.Request, key: str, session: GraphSession) -> web.Response:
        found = _RANGE.fullmatch(request.headers.get("Content-Range", ""))
        if found is None:
            raise GraphError(400, "invalidRequest", "no Content-Range")
        first, last, size = map(int, found.groups())
        if session.size not in (None, size):
            raise GraphError(400, "invalidRequest", "another size than before")
        session.size = size
        if first != len(session.content):
            raise GraphError(
                416,
                "invalidRange",
                "The uploaded fragment overlaps with data that has already been received.",
            )
        content = await request.read()
        if len(content) != last - first + 1 or last >= size:
            raise GraphError(
                400, "invalidRequest", "Declared fragment length does not match the provided number of bytes"
            )
        if last + 1 < size and len(content) % UNIT:
            raise GraphError(400, "invalidRequest", "a fragment that is no multiple of 320 KiB")
        session.content += content
        if last + 1 < size:
            return _json(
                {"expirationDateTime": "2026-12-01T00:00:00Z", "nextExpectedRanges": [f"{last + 1}-"]}, 202
            )
        item = self.site.store(session.path, bytes(session.content), overwrite=session.conflict != "fail")
        del self.site.sessions[key]
        return _json(self._item_json(item), 201)

    def _item_json(self, item: Item) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": item.item_id,
            "name": item.name,
            "eTag": item.tag,
            "webUrl": self._url(item.path),
        }
        if item.content is None:
            return {**shown, "size": 0, "folder": {"childCount": len(self.site.below(item.path))}}
        shown["size"] = len(item.content)
        hashes = {"hashes": {"quickXorHash": quick_xor_reference(item.content)}} if self.tells_hashes else {}
        shown["@microsoft.graph.downloadUrl"] = (
            f"{self.upload_origin()}/_layouts/15/download.aspx?UniqueId={item.item_id}"
        )
        return {**shown, "file": hashes}


def _json(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


def _error(error: GraphError) -> web.Response:
    return _json(
        {"error": {"code": error.code, "message": str(error), "innerError": {"request-id": "1"}}},
        error.status,
    )
