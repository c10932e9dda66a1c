"""Upload sessions of Microsoft Graph: large documents in fragments, resumed after an interruption.

Source: "driveItem: createUploadSession". The URL of a session proves the right to write this one file, for
some days, by itself: it is sent no token, is called only where the settings let uploads go, and is never
logged. It is kept in the ledger meanwhile (and forgotten afterwards), as a session that is lost blocks the
name until it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from postscan.filters.contract import Notes
from postscan.filters.sharepoint.address import Origin
from postscan.filters.sharepoint.graph_drive import Graph, successful
from postscan.filters.sharepoint.http import Answer, FilePart, Site
from postscan.filters.sharepoint.library import LibraryError, Trouble, Upload
from postscan.filters.sharepoint.replies import Refused, json_object, text_of

UNIT: Final = 320 * 1024
"""Every fragment but the last is a multiple of so many octets."""
_FRAGMENT: Final = 32 * UNIT
_MOST_NOTE: Final = 4000
_MOST_DIGITS: Final = 20
# How often one attempt goes on by itself without a single octet more having arrived; the runner's own clock
# takes over then.
_IDLE_TRIES: Final = 2


class UploadHosts:
    """Connections to where sessions and downloads lead: only to origins that are allowed, without a token."""

    def __init__(self, open_site: Callable[[Origin], Site], allowed: frozenset[Origin]) -> None:
        self._open = open_site
        self._allowed = allowed
        self._sites: dict[Origin, Site] = {}

    def site_for(self, url: str, doing: str) -> tuple[Site, str]:
        """Return the connection for a URL, and what follows the host in it.

        :raises LibraryError: the URL is none, or leads where nothing is sent. It is not repeated in words.
        """
        try:
            parts = urlsplit(url)
            origin = Origin(parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or 443)
        except ValueError as error:
            raise LibraryError(
                f"{doing}: the service names an upload URL that is none", Trouble.UNREADABLE
            ) from error
        if origin.scheme != "https" or "@" in parts.netloc or origin not in self._allowed:
            raise LibraryError(
                f"{doing}: the service names {origin.host or 'nowhere'} to send it to, which is not allowed",
                Trouble.REDIRECTED,
                advice="If that host is your tenant's, name it in upload_hosts of this site; then retry.",
            )
        site = self._sites.get(origin)
        if site is None:
            site = self._sites[origin] = self._open(origin)
        return site, parts.path + (f"?{parts.query}" if parts.query else "")

    async def close(self) -> None:
        """Let go of the connections."""
        for site in self._sites.values():
            await site.close()


class SessionUpload:
    """The way of one document by a session; ``path`` is that of the item to be, in Graph."""

    def __init__(
        self,
        graph: Graph,
        hosts: UploadHosts,
        path: str,
        upload: Upload,
        notes: Notes,
        fragment: int | None = None,
    ) -> None:
        self._graph = graph
        self._hosts = hosts
        self._path = path
        self._upload = upload
        self._notes = notes
        self._fragment = fragment or _FRAGMENT
        self._key = f"upload:{upload.key}"
        self._doing = f"storing {upload.name}"

    async def store(self) -> Mapping[str, object]:
        """Store the document; return the item, an empty object when the session ended unheard.

        :raises Refused: with ``says_taken`` when the name was taken.
        """
        noted = await self._noted()
        if noted is not None:
            position = await self._position(noted)
            if position is not None:
                return await self._send(noted, position)
        url = await self._begin()
        return await self._send(url, 0)

    async def _begin(self) -> str:
        body = {"item": {"@microsoft.graph.conflictBehavior": "fail", "name": self._upload.name}}
        found = await self._graph.send("POST", f"{self._path}:/createUploadSession", self._doing, body)
        url = text_of(found, "uploadUrl") or ""
        self._hosts.site_for(url, self._doing)
        if len(url) + len(self._upload.name) < _MOST_NOTE:
            await self._notes.remember(self._key, f"{self._upload.name}\n{url}")
        return url

    async def _noted(self) -> str | None:
        """Return the URL of a session that was begun for this very name."""
        name, _, url = (await self._notes.remembered(self._key) or "").partition("\n")
        return url if url and name == self._upload.name else None

    async def _send(self, url: str, position: int) -> Mapping[str, object]:
        size = self._upload.size
        idle = 0
        while position < size:
            try:
                answer = await self._send_fragment(url, position)
            except LibraryError as error:
                idle += 1
                if error.trouble is not Trouble.AWAY or idle > _IDLE_TRIES:
                    raise
                answer = None
            if answer is not None and answer.status in (200, 201):
                await self._forget()
                return json_object(answer, self._doing)
            found = await self._position(url) if answer is None else self._next(answer, position)
            if found is None:
                await self._forget()
                return {}
            if found > position:
                idle = 0
            elif answer is not None:
                raise LibraryError(f"{self._doing}: the session does not get on", Trouble.AWAY)
            position = found
        # It has every octet, and made no file of them that it told us of: it is of no use any more.
        await self._forget()
        return {}

    async def _send_fragment(self, url: str, position: int) -> Answer:
        size = self._upload.size
        length = min(self._fragment, size - position)
        headers = {"Content-Range": f"bytes {position}-{position + length - 1}/{size}"}
        site, path = self._hosts.site_for(url, self._doing)
        part = FilePart(self._upload.path, length, position)
        answer = await self._request(site, "PUT", path, headers, part)
        if answer.status in (404, 416):
            # 416: these octets are there already. 404: the session is gone, maybe as the file is whole.
            raise LibraryError(f"{self._doing}: the session has to be asked", Trouble.AWAY)
        try:
            return successful(answer, self._doing)
        except Refused as error:
            if error.says_taken:
                await self._end(site, path)
            raise

    async def _position(self, url: str) -> int | None:
        """Ask which octet comes next; None when the session is gone."""
        site, path = self._hosts.site_for(url, self._doing)
        answer = await self._request(site, "GET", path, {"Accept": "application/json"}, None)
        if answer.status in (404, 410):
            return None
        return self._next(successful(answer, self._doing), 0)

    def _next(self, answer: Answer, position: int) -> int:
        ranges = json_object(answer, self._doing).get("nextExpectedRanges")
        first = ranges[0] if isinstance(ranges, list) and ranges else None
        start = first.partition("-")[0] if isinstance(first, str) else ""
        is_number = start.isascii() and start.isdigit() and len(start) < _MOST_DIGITS
        if not is_number or int(start) > self._upload.size:
            raise LibraryError(f"{self._doing}: the session tells no next octet", Trouble.UNREADABLE)
        return int(start)

    async def _request(
        self, site: Site, method: str, path: str, headers: Mapping[str, str], body: FilePart | None
    ) -> Answer:
        try:
            return await site.request(method, path, headers=headers, body=body)
        except LibraryError as error:
            if error.trouble not in (Trouble.WRONG_CREDENTIALS, Trouble.NO_WAY_TO_LOG_ON):
                raise
            # The URL itself is what proves us; it has ended before its time.
            await self._forget()
            raise LibraryError(f"{self._doing}: the upload session has ended", Trouble.AWAY) from error

    async def _end(self, site: Site, path: str) -> None:
        await site.request("DELETE", path)
        await self._forget()

    async def _forget(self) -> None:
        await self._notes.remember(self._key, "")
