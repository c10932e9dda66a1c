"""SharePoint's REST service over a Site in memory, as far as documents are taken to a library."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import web

from support.sharepoint_calls import BadCall, Call, read_calls
from support.sharepoint_state import Conflict, Full, Item, Missing, RestUpload, Site, Stale

VERBOSE = "application/json;odata=verbose"
MOST_OCTETS = 262_144_000


class SpError(Exception):
    """An error as the service tells it."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


def error_response(error: SpError) -> web.Response:
    """Return an error in OData verbose."""
    message = {"lang": "en-US", "value": str(error)}
    body = json.dumps({"error": {"code": error.code, "message": message}})
    return web.Response(status=error.status, body=body.encode(), content_type="application/json")


NOT_FOUND = ("-2147024894, System.IO.FileNotFoundException", "File Not Found.")
TAKEN = "-2130575257, Microsoft.SharePoint.SPException"
UNKNOWN = "-1, Microsoft.SharePoint.Client.ResourceNotFoundException"
STALE_DIGEST = "-2130575251, Microsoft.SharePoint.SPException"


@dataclass
class RestService:
    """The service: ``version`` is the year of the product, which decides what calls it knows.

    ``digests`` are those that are valid; a test may clear them.
    """

    site: Site
    version: int = 2019
    digests: set[str] = field(default_factory=set)
    most_octets: int = MOST_OCTETS

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request below ``/_api/``."""
        try:
            return await self._handle(request)
        except SpError as error:
            return error_response(error)
        except BadCall as error:
            return error_response(
                SpError(400, "-1, Microsoft.SharePoint.Client.InvalidClientQueryException", str(error))
            )
        except Missing:
            return error_response(SpError(404, *NOT_FOUND))
        except Conflict:
            return error_response(
                SpError(
                    400,
                    TAKEN,
                    "A file or folder with the name already exists. It was last modified by alice.",
                )
            )
        except Full:
            text = (
                "Your changes could not be saved because this Web site has exceeded the storage quota limit."
            )
            return error_response(SpError(500, "-2130575312, Microsoft.SharePoint.SPException", text))
        except Stale:
            return error_response(
                SpError(
                    412,
                    "-1, Microsoft.SharePoint.Client.ClientServiceException",
                    "The request ETag value does not match.",
                )
            )

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = request.rel_url.raw_path
        above, _, below = raw.partition("/_api/")
        web_path = tuple(unquote(segment) for segment in above.split("/") if segment)
        if web_path and web_path not in self.site.webs:
            return web.Response(status=404, text="404 FILE NOT FOUND")
        calls, _ = read_calls(below, request.rel_url.raw_query_string)
        is_content = calls[-1].name == "$value"
        if not is_content and request.headers.get("Accept", "").replace(" ", "") != VERBOSE:
            raise SpError(406, "-1, Microsoft.SharePoint.Client.ClientServiceException", "not odata=verbose")
        if request.method == "POST" and request.content_length is None:
            raise SpError(411, "-1", "Length Required")
        if calls[0].name == "contextinfo":
            return self._context_info(request, web_path)
        if calls[0].name == "sp.web.getweburlfrompageurl":
            path = urlsplit(calls[0].value("")).path
            found = self.site.web_of(tuple(unquote(one) for one in path.split("/") if one))
            return _json({"GetWebUrlFromPageUrl": str(request.url.origin()) + "/" + "/".join(found)})
        if calls[0].name != "web":
            raise SpError(404, UNKNOWN, f"Cannot find resource for the request {calls[0].name}.")
        if request.method == "POST" and request.headers.get("X-RequestDigest", "") not in self.digests:
            raise SpError(403, STALE_DIGEST, "The security validation for this page is invalid. Click Back.")
        return await self._call(request, calls[1:], web_path)

    def _context_info(self, request: web.Request, web_path: tuple[str, ...]) -> web.Response:
        digest = f"0x{secrets.token_hex(32).upper()},21 Nov 2026 01:00:00 -0000"
        self.digests.add(digest)
        url = str(request.url.origin()) + "/" + "/".join(web_path)
        value = {"FormDigestTimeoutSeconds": 1800, "FormDigestValue": digest, "WebFullUrl": url}
        return _json({"GetContextWebInformation": value})

    async def _call(
        self, request: web.Request, calls: list[Call], web_path: tuple[str, ...]
    ) -> web.StreamResponse:
        first, rest = calls[0], calls[1:]
        path = self._path_of(first, web_path)
        if "folder" in first.name:
            return await self._folder(request, path, rest)
        return await self._file(request, path, rest)

    def _path_of(self, call: Call, web_path: tuple[str, ...]) -> tuple[str, ...]:
        if call.name == "getfilebyid":
            wanted = call.value("")
            return next((item.path for item in self.site.items.values() if item.item_id == wanted), ())
        by_path = ("getfolderbyserverrelativepath", "getfilebyserverrelativepath")
        by_url = ("getfolderbyserverrelativeurl", "getfilebyserverrelativeurl")
        if call.name in by_path and self.version >= 2019:
            text = call.value("decodedurl")
        elif call.name in by_url:
            # These take what has a per cent sign for encoded, and a number sign for the end.
            text = unquote(call.value("", "serverrelativeurl").partition("#")[0])
        else:
            raise SpError(404, UNKNOWN, f"Cannot find resource for the request {call.name}.")
        path = tuple(segment for segment in text.split("/") if segment)
        path = path if text.startswith("/") else (*web_path, *path)
        if self.site.web_of(path) != web_path:
            raise SpError(
                400,
                "-2147024809, System.ArgumentException",
                "Server relative urls must start with SPWeb.ServerRelativeUrl",
            )
        return path

    async def _folder(
        self, request: web.Request, path: tuple[str, ...], rest: list[Call]
    ) -> web.StreamResponse:
        if not rest:
            self.site.folder(path)
            if request.method == "POST":
                self.site.remove(path, _deletes(request))
                return web.Response(status=200)
            count = len([item for item in self.site.below(path) if len(item.path) == len(path) + 1])
            return _json({"Exists": True, "Name": path[-1], "ItemCount": count})
        kind, action = rest[0].name, rest[1]
        _require(request, "POST")
        name = self._new_name(action)
        if kind == "folders":
            self.site.folder(path)
            target = (*path, name)
            existing = self.site.find(target)
            if existing is None or action.parameters.get("overwrite") == "false":
                existing = existing if existing is not None and existing.content is None else None
                return _json(_file_json(existing or self.site.make_folder(target)))
            return _json(_file_json(existing))
        content = await request.read()
        if len(content) > self.most_octets:
            text = (
                "The request message is too big. The server does not allow messages larger than"
                f" {self.most_octets} bytes."
            )
            raise SpError(400, "-1, Microsoft.SharePoint.Client.InvalidClientQueryException", text)
        overwrite = action.parameters.get("overwrite", "false") == "true"
        return _json(_file_json(self.site.store((*path, name), content, overwrite=overwrite)))

    def _new_name(self, action: Call) -> str:
        if action.name == "addusingpath" and self.version >= 2019:
            return action.value("decodedurl")
        if action.name == "add":
            return unquote(action.value("url", "").partition("#")[0])
        raise SpError(404, UNKNOWN, f"Cannot find resource for the request {action.name}.")

    async def _file(
        self, request: web.Request, path: tuple[str, ...], rest: list[Call]
    ) -> web.StreamResponse:
        item = self.site.file(path)
        name = rest[0].name if rest else ""
        if not name and request.method == "POST":
            self.site.remove(path, _deletes(request))
            return web.Response(status=200)
        if not name:
            return _json(_file_json(item))
        if name == "$value":
            return web.Response(body=item.content)
        if name == "listitemallfields":
            return await self._fields(request, item, [one.name for one in rest[1:]])
        _require(request, "POST")
        if name in ("startupload", "continueupload", "finishupload", "cancelupload"):
            return await self._chunk(request, item, rest[0])
        if name == "checkin":
            if self.site.requires_title and not item.fields.get("Title"):
                raise SpError(
                    400, "-2130575329, Microsoft.SharePoint.SPException", "fill out required properties"
                )
            item.checked_out = False
            return _json({"CheckIn": None})
        target = self._target(rest[0])
        self.site.move(path, tuple(segment for segment in target.split("/") if segment))
        return _json({"MoveTo": None})

    def _target(self, call: Call) -> str:
        if call.name == "movetousingpath" and self.version >= 2019 and call.value("moveoperations") == "0":
            return call.value("decodedurl")
        if call.name == "moveto" and call.value("flags") == "0":
            return unquote(call.value("newurl"))
        raise SpError(404, UNKNOWN, f"Cannot find resource for the request {call.name}.")

    async def _chunk(self, request: web.Request, item: Item, call: Call) -> web.Response:
        if self.version < 2016:
            raise SpError(404, UNKNOWN, f"Cannot find resource for the request {call.name}.")
        upload_id = call.value("uploadid").lower()
        content = await request.read()
        if call.name == "startupload":
            self.site.uploads[upload_id] = RestUpload(item.path, bytearray(content))
            return _json({"StartUpload": str(len(content))})
        upload = self.site.uploads.get(upload_id)
        if upload is None or upload.path != item.path:
            code = "-2146232832, Microsoft.SharePoint.Utilities.SPBITSSessionNotFoundException"
            raise SpError(500, code, "Error in the application.")
        if call.name == "cancelupload":
            del self.site.uploads[upload_id]
            return _json({"CancelUpload": None})
        if int(call.value("fileoffset")) != len(upload.content):
            raise SpError(
                500, "-2147024809, System.ArgumentException", "The offset is not what was expected."
            )
        upload.content += content
        if call.name == "continueupload":
            return _json({"ContinueUpload": str(len(upload.content))})
        del self.site.uploads[upload_id]
        return _json(_file_json(self.site.store(item.path, bytes(upload.content), overwrite=True)))

    async def _fields(self, request: web.Request, item: Item, below: list[str]) -> web.Response:
        kind = {"type": "SP.Data.Shared_x0020_DocumentsItem"}
        if below == ["parentlist", "fields"]:
            rows = [
                {"InternalName": name, "ReadOnlyField": not free} for name, free in self.site.columns.items()
            ]
            return _json({"results": rows})
        if below == ["parentlist"]:
            return _json({"ListItemEntityTypeFullName": kind["type"], "Id": "1"})
        if not below and request.method == "GET":
            return _json({"__metadata": kind, "Id": 7, **item.fields})
        body = json.loads(await request.read())
        if request.headers.get("Content-Type") != VERBOSE:
            raise SpError(
                400, "-1, Microsoft.SharePoint.Client.InvalidClientQueryException", "no type of the body"
            )
        if below == ["validateupdatelistitem"] and self.version >= 2016:
            return _json(
                {"ValidateUpdateListItem": {"results": [self._set(item, one) for one in body["formValues"]]}}
            )
        if below or request.headers.get("X-HTTP-Method") != "MERGE" or request.headers.get("If-Match") != "*":
            raise SpError(404, UNKNOWN, "Cannot find resource for the request.")
        if body.pop("__metadata") != kind:
            raise SpError(
                400,
                "-1, Microsoft.SharePoint.Client.InvalidClientQueryException",
                "An entry without a type name",
            )
        for name, value in body.items():
            if not self.site.columns.get(name):
                raise SpError(
                    400,
                    "-1, Microsoft.SharePoint.Client.InvalidClientQueryException",
                    f"The property '{name}' does not exist",
                )
            item.fields[name] = value
        item.versions += 1
        return web.Response(status=204)  # type: ignore[return-value] # an answer without a body

    def _set(self, item: Item, wish: Mapping[str, Any]) -> dict[str, Any]:
        name = wish["FieldName"]
        wrong = name in self.site.rejects or not self.site.columns.get(name)
        if not wrong:
            item.fields[name] = wish["FieldValue"]
        return {"FieldName": name, "HasException": wrong, "ErrorMessage": "Invalid." if wrong else None}


def _file_json(item: Item) -> dict[str, Any]:
    return {
        "__metadata": {"type": "SP.File" if item.content is not None else "SP.Folder"},
        "Name": item.name,
        "Exists": True,
        "Length": str(len(item.content or b"")),
        "ETag": item.tag,
        "UniqueId": item.item_id,
        "CheckOutType": 0 if item.checked_out else 2,
        "ServerRelativeUrl": "/" + "/".join(item.path),
    }


def _json(value: Mapping[str, Any]) -> web.Response:
    return web.Response(
        body=json.dumps({"d": value}).encode(), headers={"Content-Type": f"{VERBOSE};charset=utf-8"}
    )


def _require(request: web.Request, method: str) -> None:
    if request.method != method:
        raise SpError(
            405, "-1, Microsoft.SharePoint.Client.ClientServiceException", "The HTTP method cannot be used"
        )


def _deletes(request: web.Request) -> str:
    """Return the tag that a removal is for."""
    if request.headers.get("X-HTTP-Method") != "DELETE" or "If-Match" not in request.headers:
        raise SpError(400, "-1, Microsoft.SharePoint.Client.InvalidClientQueryException", "no removal")
    return request.headers["If-Match"]
