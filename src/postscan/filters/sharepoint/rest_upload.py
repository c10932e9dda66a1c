"""Large documents by REST: in chunks, under a temporary name, then moved to the final one.

SharePoint takes at most 250 MB in one request (262,144,000 octets), and what was cut off is lost. So a
large document travels by ``StartUpload``, ``ContinueUpload`` and ``FinishUpload`` (MS-CSOMSPT
3.2.5.64.2.1; SharePoint 2016 and later), which need a file to begin with. That file would
stand empty under the final name until the end; so it has a temporary name, ``postscan-<id>.<extension>``,
and is moved once it is whole. ``MoveTo`` without flags replaces nothing.

What is needed to go on after an interruption is noted: the id of the upload, and how many octets were
taken. The server does not tell; where it disagrees, the upload begins anew.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from postscan.filters.contract import Notes
from postscan.filters.sharepoint.http import FilePart
from postscan.filters.sharepoint.library import LibraryError, NameTaken, Trouble, Upload
from postscan.filters.sharepoint.replies import Refused, size_of
from postscan.filters.sharepoint.rest_calls import Calls
from postscan.filters.sharepoint.rest_web import RestWeb

_FIELDS: Final = "Name,Exists,Length,ETag,UniqueId,CheckOutType"
_CLEANING: Final = "removing what is left of an upload"
_DELETE: Final[Mapping[str, str]] = {"X-HTTP-Method": "DELETE", "If-Match": "*"}
_OCTETS: Final[Mapping[str, str]] = {"Content-Type": "application/octet-stream"}
# What time heals: the upload is kept for the next try. After anything else it is begun anew, once.
_HEALS: Final = frozenset({Trouble.AWAY, Trouble.THROTTLED, Trouble.FULL, Trouble.UNTRUSTED, Trouble.LOCKED})


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """In octets: what travels in one request (at most 262,144,000), and how much in a chunk beyond that."""

    one_request: int = 32 * 1024 * 1024
    chunk: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _State:
    """An upload that was begun: its id, the octets that were taken, and whether the file is whole."""

    upload_id: str
    taken: int = 0
    whole: bool = False

    def text(self) -> str:
        return json.dumps([self.upload_id, self.taken, self.whole])

    @classmethod
    def parse(cls, text: str | None, size: int) -> _State | None:
        """Return what was noted, None when it is nothing that makes sense."""
        try:
            upload_id, taken, whole = json.loads(text or "")
            state = cls(str(uuid.UUID(upload_id)), taken, whole)
        except (ValueError, TypeError, AttributeError):
            return None
        right = type(taken) is int and 0 <= taken < size and type(whole) is bool
        return state if right else None


class ChunkedUpload:
    """The way of one document in chunks; ``path`` is the final one, server-relative."""

    def __init__(
        self, web: RestWeb, calls: Calls, path: str, upload: Upload, notes: Notes, limits: UploadLimits
    ) -> None:
        self._web = web
        self._calls = calls
        self._path = path
        self._upload = upload
        self._notes = notes
        self._limits = limits
        self._key = f"upload:{upload.key}"
        self._doing = f"storing {upload.name}"

    async def store(self) -> Mapping[str, object]:
        """Store the document, going on where an earlier try stopped; return the file's properties.

        :raises NameTaken: the final name was taken; the document waits under its temporary name.
        :raises UnknownCall: the server has no uploads in chunks.
        """
        state = _State.parse(await self._notes.remembered(self._key), self._upload.size)
        if state is not None:
            try:
                return await self._finish(state)
            except NameTaken:
                raise
            except LibraryError as error:
                if error.trouble in _HEALS and not _is_confused(error):
                    raise
                await self._give_up(state)
        state = _State(str(uuid.uuid4()))
        await self._begin(state)
        try:
            return await self._finish(state)
        except NameTaken:
            raise
        except LibraryError as error:
            if error.trouble not in _HEALS:
                await self._give_up(state)
            raise

    async def _begin(self, state: _State) -> None:
        await self._notes.remember(self._key, state.text())
        folder, _, name = self._temporary(state).rpartition("/")
        # It may replace: the name is that of this upload alone, and a repetition must not fail.
        call = self._calls.add_file.replace("overwrite=false", "overwrite=true")
        await self._web.post(call, self._doing, headers=_OCTETS, f=folder, n=name)

    async def _finish(self, state: _State) -> Mapping[str, object]:
        if not state.whole:
            state = await self._send(state)
        await self._move(state)
        found = await self._web.get(self._calls.file, self._doing, select=_FIELDS, f=self._path)
        await self._notes.remember(self._key, "")
        return found

    async def _send(self, state: _State) -> _State:
        size = self._upload.size
        taken = state.taken
        while taken < size:
            length = min(self._limits.chunk, size - taken)
            last = taken + length == size
            found = await self._web.post(
                f"{self._calls.file}/{_step(state.upload_id, taken, last=last)}",
                self._doing,
                body=FilePart(self._upload.path, length, taken),
                headers=_OCTETS,
                f=self._temporary(state),
            )
            taken += length
            if not last:
                self._compare_totals(found, taken)
                await self._notes.remember(self._key, _State(state.upload_id, taken).text())
        whole = _State(state.upload_id, size - 1, whole=True)
        await self._notes.remember(self._key, whole.text())
        return whole

    def _compare_totals(self, found: Mapping[str, object], taken: int) -> None:
        told = next(
            (size_of(found, name) for name in ("StartUpload", "ContinueUpload") if name in found), None
        )
        if told is not None and told != taken:
            raise LibraryError(
                f"{self._doing}: the server says it has {told} octets of {taken} sent", Trouble.UNREADABLE
            )

    async def _move(self, state: _State) -> None:
        try:
            await self._web.post(
                f"{self._calls.file}/{self._calls.move}",
                self._doing,
                f=self._temporary(state),
                n=self._path,
            )
        except Refused as error:
            if error.says_taken:
                raise NameTaken(self._upload.name) from error
            raise

    async def _give_up(self, state: _State) -> None:
        """Remove what an upload left that cannot go on; what cannot be removed is left."""
        file, path = self._calls.file, self._temporary(state)
        await self._try(
            self._web.post(f"{file}/CancelUpload(uploadId=guid'{state.upload_id}')", _CLEANING, f=path)
        )
        await self._try(self._web.post(file, _CLEANING, headers=_DELETE, f=path))
        await self._notes.remember(self._key, "")

    async def _try(self, cleaning: Awaitable[object]) -> None:
        try:
            await cleaning
        except LibraryError as error:
            if error.trouble in _HEALS and not _is_confused(error):
                raise

    def _temporary(self, state: _State) -> str:
        folder = PurePosixPath(self._path).parent
        return f"{folder}/postscan-{state.upload_id}{PurePosixPath(self._path).suffix}"


def _step(upload_id: str, taken: int, *, last: bool) -> str:
    if not taken:
        return f"StartUpload(uploadId=guid'{upload_id}')"
    return f"{'FinishUpload' if last else 'ContinueUpload'}(uploadId=guid'{upload_id}',fileOffset={taken})"


def _is_confused(error: LibraryError) -> bool:
    # What the service says of an upload that it forgot (SPBITSSessionNotFoundException), or that is further
    # than we know, as the answer to a chunk was lost: an error of its own, which would come every time.
    return isinstance(error, Refused) and error.status == 500
