"""What deliveries need: a job, documents in a spool, a ledger in memory, a share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postscan.contracts.keywords import DocumentFormat
from postscan.filters import publish
from postscan.filters.contract import (
    Delivered,
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    JobFacts,
    SpooledDocument,
)
from postscan.filters.fileshare import FileShareFilter, FileShareSettings
from postscan.soap.xml import parse

# What a filter that reads all it needs from the destination is given.
NO_INSTRUCTIONS = parse(b"<Instructions/>")
JOB = JobFacts(
    token="6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c11",
    process_name="Invoices",
    user_name="alice",
    user_domain="example.com",
    user_upn="alice@example.com",
    user_mail="alice@example.com",
    document_root_name="Invoice",
    created=datetime(2026, 11, 21, 14, 30, 5, tzinfo=UTC),
)


def replace_calls(monkeypatch: pytest.MonkeyPatch, **calls: Callable[..., Any]) -> None:
    """Let the publishing of files use other calls of the operating system; nothing else notices."""
    everything = {name: getattr(os, name) for name in dir(os)}
    monkeypatch.setattr(publish, "os", SimpleNamespace(**{**everything, **calls}))


class MemoryLedger:
    """A ledger that survives whatever a test lets happen to the filter."""

    def __init__(self) -> None:
        self.planned: dict[int, str] = {}
        self.done: dict[int, Delivered] = {}
        self.notes: dict[str, str] = {}
        self.warnings: list[str] = []

    async def planned_name(self, document_id: int) -> str | None:
        """Return the name planned last."""
        return self.planned.get(document_id)

    async def plan(self, document_id: int, name: str) -> None:
        """Remember a planned name."""
        self.planned[document_id] = name

    async def delivered(self, delivery: Delivered) -> None:
        """Remember a delivery."""
        self.done[delivery.document_id] = delivery

    async def already_delivered(self) -> dict[int, Delivered]:
        """Return all deliveries."""
        return dict(self.done)

    async def remember(self, key: str, value: str) -> None:
        """Remember a note."""
        self.notes[key] = value

    async def remembered(self, key: str) -> str | None:
        """Return a note."""
        return self.notes.get(key)

    async def warn(self, text: str) -> None:
        """Remember a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)


@dataclass
class ShareSite:
    """A share in a temporary folder, and all that is needed to deliver to it."""

    folder: Path
    job: JobFacts = JOB
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    filter: FileShareFilter = field(init=False)

    def __post_init__(self) -> None:
        self.share.mkdir(parents=True)
        self.spool.mkdir()
        self.filter = FileShareFilter(FileShareSettings(roots=(self.share,), zone=UTC, threads=4))

    @property
    def share(self) -> Path:
        """The target folder."""
        return self.folder / "share"

    @property
    def spool(self) -> Path:
        """The folder of accepted images."""
        return self.folder / "spool"

    @property
    def alices(self) -> Path:
        """The user's folder on the share."""
        return self.share / "alice@example.com"

    @property
    def destination(self) -> Destination:
        """The share as destination."""
        return Destination(key=self.share.as_uri(), label="the share")

    def document(self, number: int = 1, content: bytes | None = None) -> SpooledDocument:
        """Put a document into the spool."""
        data = f"page {number} ".encode() * 1000 if content is None else content
        path = self.spool / str(number)
        path.write_bytes(data)
        return SpooledDocument(
            document_id=number,
            number=number,
            format=DocumentFormat.TIFF_SINGLE_G4,
            path=path,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    async def deliver(self, *documents: SpooledDocument) -> None:
        """Deliver documents to the share."""
        await self.deliver_to(self.destination, *documents)

    async def deliver_to(
        self,
        destination: Destination,
        *documents: SpooledDocument,
        job: JobFacts | None = None,
        ledger: DeliveryLedger | None = None,
    ) -> None:
        """Deliver documents to one destination, of another job or with another ledger where told."""
        order = DeliveryOrder(destination, job or self.job, NO_INSTRUCTIONS, documents)
        await self.filter.deliver(order, ledger or self.ledger)

    def content(self) -> dict[str, bytes]:
        """Return every file on the share, temporary ones included."""
        files = sorted(path for path in self.share.rglob("*") if path.is_file())
        return {str(path.relative_to(self.share)): path.read_bytes() for path in files}
