"""What a WebDAV server says of files and folders, and the addresses of document libraries."""

from __future__ import annotations

from contextlib import suppress

from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from postscan.core.errors import PostscanError
from postscan.filters.sharepoint.address import parse_library_address
from postscan.filters.sharepoint.multistatus import read_acceptance, read_count, read_failure, read_resource

_FOLDER = b"""<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:"><D:response><D:href>/sites/team/Docs/alice@example.com/</D:href>
<D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype><D:getetag>"1000-5f"</D:getetag></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat><D:propstat><D:prop><D:getcontentlength/></D:prop>
<D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response></D:multistatus>"""
_FILE = b"""<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:Repl="http://schemas.microsoft.com/repl/"><D:response>
<D:href>https://sp.example.com/sites/team/Docs/a%20b.pdf</D:href><D:propstat>
<D:status>HTTP/1.1 200 OK</D:status><D:prop><D:resourcetype/><D:getcontentlength>7000</D:getcontentlength>
<D:getetag>"{0A8DC46D-3E2B-4B5D-A0F4-6E5B1F0C9D21},1"</D:getetag></D:prop></D:propstat></D:response>
</D:multistatus>"""
_LOCKED = b"""<?xml version="1.0"?><multistatus xmlns="DAV:"><response><href>/a</href>
<status>HTTP/1.1 424 Failed Dependency</status></response><response><href>/b</href>
<status>HTTP/1.1 423 Locked</status></response></multistatus>"""


def run(data: bytes) -> None:
    """Read an answer in every way, then as an address."""
    _address(data)
    for read in (read_count, read_failure, read_acceptance):
        with suppress(PostscanError):
            must(read(data) >= (400 if read is read_failure else 0), "a number that is none")
    found = read_resource(data)
    if found is not None:
        must(found.is_folder == (found.length is None), "a folder with a length, or a file without")
        must(found.tag is None or found.tag.isprintable(), "a tag that no header can hold")


def _address(data: bytes) -> None:
    text = data[:2048].decode("utf-8", "replace")
    for address in (text, f"https://sp.example.com/{text}"):
        try:
            parsed = parse_library_address(address, default_library="Documents")
        except PostscanError:
            continue
        must(not {".", "..", ""} & set(parsed.path), "a path that leads elsewhere")


def seeds() -> list[bytes]:
    """Return answers for a folder, a file, and a failure."""
    return [_FOLDER, _FILE, _LOCKED]


TARGET = Target(
    "webdav",
    run,
    seeds,
    mutate_xml,
    words=(b"resourcetype", b"collection", b"getcontentlength", b"getetag", b"HTTP/1.1 404 ", b"propstat"),
)
