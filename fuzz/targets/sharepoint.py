"""What SharePoint's REST service and Microsoft Graph answer: objects, errors, addresses in them."""

from __future__ import annotations

import json

from fuzz.mutation import mutate_octets
from fuzz.target import Target, must
from postscan.core.errors import PostscanError
from postscan.filters.sharepoint.address import parse_library_address
from postscan.filters.sharepoint.graph_drive import drive_for, next_page
from postscan.filters.sharepoint.http import Answer
from postscan.filters.sharepoint.replies import failure, json_object, objects_of, size_of, text_of
from postscan.filters.sharepoint.rest_web import unwrapped, web_path_of

_ADDRESS = parse_library_address("https://sp.example.com/sites/team/Documents")
_STATUSES = (400, 401, 403, 404, 409, 412, 413, 423, 429, 500, 503, 507, 509)


def run(data: bytes) -> None:
    """Read an answer as a refusal of every kind, and as what was asked for."""
    for status in _STATUSES:
        words = str(failure(Answer(status, {"retry-after": data[:16].decode("latin-1")}, data), "doing it"))
        must(words.isprintable() and len(words) < 500, f"the words {words!r}")
        must("eyJ" not in words, f"what looks like a token in {words!r}")
    answer = Answer(200, {}, data)
    unwrapped(answer, "doing it")
    found = json_object(answer, "doing it")
    size = size_of(found, "Length")
    must(size is None or size >= 0, f"a size of {size}")
    web_path_of(text_of(found, "WebFullUrl"))
    path = next_page(found)
    must(path is None or path.startswith("/"), f"the next page {path!r}")
    for one in objects_of(found.get("value")):
        try:
            drive = drive_for(one, _ADDRESS)
        except PostscanError:
            continue
        must(drive is None or "/" not in drive.drive_id, f"the drive {drive!r}")


def seeds() -> list[bytes]:
    """Return answers of each kind."""
    message = {"lang": "en-US", "value": "The file is locked by eyJhbGciOi.x.y"}
    drives = [{"id": "b!1,2", "webUrl": "https://sp.example.com/sites/team"}]
    link = "https://graph.microsoft.com/v1.0/sites/a/drives?$skiptoken=1"
    values: list[object] = [
        {"error": {"code": "-2147018894, Microsoft.SharePoint.SPFileLockException", "message": message}},
        {"odata.error": {"code": "-1, X", "message": message}},
        {"error": {"code": "quotaLimitReached", "message": "full"}},
        {"d": {"FormDigestValue": "0x1", "Length": "12"}, "WebFullUrl": "https://sp.example.com/a%20b"},
        {"value": drives, "@odata.nextLink": link, "Length": 3},
    ]
    return [json.dumps(value).encode() for value in values]


TARGET = Target(
    "sharepoint",
    run,
    seeds,
    mutate_octets,
    words=(b'"error"', b'"code"', b'"message"', b'"value"', b"Exception", b"eyJ", b"webUrl", b"https://"),
)
