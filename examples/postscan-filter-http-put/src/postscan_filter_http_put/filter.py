"""The filter: reads its instructions, names its destinations, delivers, and proves a destination."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import quote, urlsplit

from lxml import etree

from postscan.core.errors import ConfigurationError
from postscan.filters.contract import (
    Delivered,
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    FilterEnvironment,
    InstructionsError,
    JobFacts,
    ProbeOrder,
    SpooledDocument,
)
from postscan.filters.naming import document_name, safe_component
from postscan_filter_http_put.web import WebFolder, WebSettings

if TYPE_CHECKING:
    from lxml.etree import _Element

DIALECT: Final = "urn:example:filter:http-put"
_CONFIG: Final = f"{{{DIALECT}}}HttpPutConfig"
_FOLDER: Final = f"{{{DIALECT}}}Folder"
_CHUNK: Final = 256 * 1024


def make(environment: FilterEnvironment) -> HttpPutFilter:
    """Make the filter from ``[filters.http-put]``. :raises ConfigurationError: the settings do not fit."""
    settings = dict(environment.settings)
    folders = settings.pop("folders", [])
    if not isinstance(folders, list) or not folders or not all(_is_folder(one) for one in folders):
        raise ConfigurationError(
            "folders names no folder of a web server",
            advice='write folders = ["https://files.example.com/scans"]: in and under these it may write',
        )
    web = WebSettings.read(settings, environment.secret)
    return HttpPutFilter(tuple(one.rstrip("/") for one in folders), web, environment)


def _is_folder(url: object) -> bool:
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    inside = not any(segment in (".", "..") or "%" in segment for segment in parts.path.split("/"))
    return parts.scheme == "https" and bool(parts.hostname) and plain and inside


class HttpPutFilter:
    """Puts each document of a job onto web servers; it is a DeliveryFilter and a ProbedFilter."""

    dialect: ClassVar[str] = DIALECT

    def __init__(self, allowed: Sequence[str], web: WebSettings, environment: FilterEnvironment) -> None:
        self._allowed = allowed
        self._web = web
        self._zone = environment.zone

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return one destination a folder, each once. The schema has been checked before."""
        folders = [(element.text or "").strip().rstrip("/") for element in instructions.iter(_FOLDER)]
        for folder in folders:
            # A scan process is written by others than the settings: it may choose, not widen.
            if not _is_folder(folder) or not any(_is_within(folder, root) for root in self._allowed):
                raise InstructionsError(
                    f"{folder} is not in a folder that [filters.http-put] allows",
                    detail="Folder",
                    advice="Correct the scan process, or add the folder to folders under [filters.http-put].",
                )
        return [Destination(key=folder, label=folder) for folder in dict.fromkeys(folders)]

    def configuration(self) -> _Element:
        """Tell administrators which folders are allowed."""
        config = etree.Element(_CONFIG, nsmap={None: DIALECT})
        for folder in self._allowed:
            etree.SubElement(config, _FOLDER).text = folder
        return config

    async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        """Put every document that is not there yet."""
        done = await ledger.already_delivered()
        waiting = [document for document in order.documents if document.document_id not in done]
        if not waiting:
            return
        taken = {delivery.name for delivery in done.values()}
        folder = f"{order.destination.key}/{safe_component(order.job.token, 'job')}"
        async with WebFolder(self._web, order.destination.key) as web:
            for document in waiting:
                name = await self._name(order.job, document, ledger, taken)
                await web.put(_address(folder, name), _chunks(document.path), document.size)
                # Only now: what is recorded as delivered is never looked at again.
                await ledger.delivered(Delivered(document.document_id, name, document.size))

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Put a small file and take it away again."""
        address = _address(order.destination.key, f"postscan-probe-{secrets.token_hex(8)}.txt")
        async with WebFolder(self._web, order.destination.key) as web:
            try:
                await web.put(address, _text(b"A test of the scan server.\n"), 27)
            finally:
                await asyncio.shield(web.remove(address))
        return [f"a small file was put into {order.destination.label}", "and removed again"]

    async def _name(
        self, job: JobFacts, document: SpooledDocument, ledger: DeliveryLedger, taken: set[str]
    ) -> str:
        """Return the document's name: the one planned before a crash, or the first that is free."""
        name = await ledger.planned_name(document.document_id)
        attempt = 0
        while name is None:
            candidate = document_name(job, document, attempt=attempt, zone=self._zone)
            attempt += 1
            if candidate not in taken:
                name = candidate
                # Before anything is sent: after a crash the same document gets the same name.
                await ledger.plan(document.document_id, name)
        taken.add(name)
        return name


def _is_within(folder: str, root: str) -> bool:
    return folder == root or folder.startswith(f"{root}/")


def _address(folder: str, name: str) -> str:
    return f"{folder}/{quote(name, safe='')}"


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    """Read a file piece by piece, in threads: a document may be larger than the memory."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


async def _text(octets: bytes) -> AsyncIterator[bytes]:
    yield octets
