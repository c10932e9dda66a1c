"""Microsoft Graph: requests to it, and which drive a document library is.

Sources: "Get a site resource by path", "List drives in a site", "Address driveItem resources in a drive by
path".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from postscan.filters.sharepoint.address import LibraryAddress, encoded
from postscan.filters.sharepoint.http import Answer, FilePart, Site
from postscan.filters.sharepoint.library import LibraryError, Trouble
from postscan.filters.sharepoint.replies import USER_AGENT, failure, json_object, objects_of, text_of

_HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "Accept-Language": "en-US",
    "User-Agent": USER_AGENT,
}
_JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
_VERSION: Final = "/v1.0"
_GRANT: Final = (
    "Let the app write to this site: consent to its permission, and with Sites.Selected grant it the role"
    " write on the site (docs/sharepoint.md); then retry the job."
)
_MOST_PAGES: Final = 50


@dataclass(frozen=True, slots=True)
class Drive:
    """A document library: its id, and the segments of the folder in it that is meant; none for its root."""

    drive_id: str
    folder: tuple[str, ...]


class Graph:
    """Requests to Graph; ``site`` is the connection to its host, which logs on by itself."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def get(self, path: str, doing: str) -> Mapping[str, object]:
        """Return the object at ``path``, which is encoded and follows the version; raises LibraryError."""
        answer = await self._site.request("GET", _VERSION + path, headers=_HEADERS)
        return json_object(successful(answer, doing), doing)

    async def send(
        self, method: str, path: str, doing: str, value: object, *, headers: Mapping[str, str] | None = None
    ) -> Mapping[str, object]:
        """Send an object and return the one that is answered, an empty one where none is."""
        body = b"" if value is None else json.dumps(value, ensure_ascii=True).encode()
        everything = {**_HEADERS, **(_JSON if body else {}), **(headers or {})}
        answer = successful(
            await self._site.request(method, _VERSION + path, headers=everything, body=body), doing
        )
        return json_object(answer, doing) if answer.body else {}

    async def send_file(self, path: str, doing: str, part: FilePart, media_type: str) -> Mapping[str, object]:
        """PUT octets of a file and return the object that is answered."""
        headers = {**_HEADERS, "Content-Type": media_type}
        answer = await self._site.request("PUT", _VERSION + path, headers=headers, body=part)
        return json_object(successful(answer, doing), doing)

    async def drive_of(self, address: LibraryAddress) -> Drive:
        """Find the drive that an address leads into.

        The address alone does not tell where the site ends: sites below it are tried while no library fits.
        """
        for length in range(len(address.site_path), len(address.path)):
            site_path = address.path[:length]
            drive = await self._drive_in(address, site_path)
            if drive is not None:
                return drive
        raise LibraryError(f"{address}: no library of the site has this address", Trouble.NO_LIBRARY)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._site.close()

    async def _drive_in(self, address: LibraryAddress, site_path: tuple[str, ...]) -> Drive | None:
        is_guess = site_path != address.site_path
        below = f":{encoded(*site_path)}" if site_path else ""
        try:
            site = await self.get(
                f"/sites/{address.origin.host}{below}?$select=id,webUrl", f"looking for the site of {address}"
            )
        except LibraryError as error:
            if is_guess and error.trouble in (Trouble.NO_LIBRARY, Trouble.DENIED):
                return None
            raise
        site_id = _identifier(site, "the site")
        best: Drive | None = None
        path: str | None = f"/sites/{site_id}/drives?$select=id,name,webUrl"
        for _ in range(_MOST_PAGES):
            if path is None:
                break
            page = await self.get(path, f"looking for the libraries of {address}")
            for found in objects_of(page.get("value")):
                drive = drive_for(found, address)
                if drive is not None and (best is None or len(drive.folder) < len(best.folder)):
                    best = drive
            path = next_page(page)
        return best


def successful(answer: Answer, doing: str) -> Answer:
    """Return an answer that is a success; raises LibraryError for any other."""
    if 200 <= answer.status < 300:
        return answer
    raise failure(answer, doing, if_denied=_GRANT)


def item_path(drive: Drive, *below: str) -> str:
    """Return the path of what lies below the folder that is meant: ``/drives/{id}/root:/a/b``."""
    segments = (*drive.folder, *below)
    root = f"/drives/{drive.drive_id}/root"
    return f"{root}:{encoded(*segments)}" if segments else root


def _identifier(found: Mapping[str, object], what: str) -> str:
    value = text_of(found, "id")
    if not value:
        raise LibraryError(f"looking for {what}: the answer has no id", Trouble.UNREADABLE)
    # It goes into paths; commas (host,guid,guid) and an exclamation mark (b!…) belong to it.
    return quote(value, safe=",!-_.~")


def identifier(found: Mapping[str, object], what: str) -> str:
    """Return the id of an object as it stands in paths; raises LibraryError when there is none."""
    return _identifier(found, what)


def drive_for(found: Mapping[str, object], address: LibraryAddress) -> Drive | None:
    """Return the drive when the address is its root or lies below it."""
    try:
        parts = urlsplit(text_of(found, "webUrl") or "")
    except ValueError:
        return None
    root = tuple(unquote(segment) for segment in parts.path.split("/") if segment)
    same = [one.casefold() for one in root] == [one.casefold() for one in address.path[: len(root)]]
    if not root or not same or (parts.hostname or "").lower() != address.origin.host:
        return None
    return Drive(_identifier(found, "the library"), address.path[len(root) :])


def next_page(page: Mapping[str, object]) -> str | None:
    """Return the path of the page after this one, None when there is none."""
    link = text_of(page, "@odata.nextLink")
    if not link:
        return None
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    # Only what follows the host counts: the next page is asked for where the first one was.
    if not parts.path.startswith(f"{_VERSION}/"):
        return None
    return parts.path.removeprefix(_VERSION) + (f"?{parts.query}" if parts.query else "")
