"""A filter in memory that does what a test tells it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import (
    PROCESSING,
    Delivered,
    DeliveryError,
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    InstructionsError,
    JobFacts,
    ProcessingOrder,
    Product,
    SpooledDocument,
    Workbench,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

DIALECT = "urn:test:recording"
JOINING = "urn:test:joining"

Process = Callable[[ProcessingOrder, Workbench], Awaitable[Sequence[Product]]]


def instructions(*places: str) -> bytes:
    """Return instructions that name destinations."""
    return b"<Instructions>" + b"".join(b"<To>%s</To>" % p.encode() for p in places) + b"</Instructions>"


class RecordingFilter:
    """Delivers into ``arrived``: (token, destination) -> document id -> the octets, in the order they came.

    Switches, by destination: ``failing`` how often an attempt fails for a time (-1: always), ``denying``
    refuses for good, ``raising`` how often a defect shows, ``forgetful`` returns without delivering, and
    ``block()`` lets it wait before each document arrives.
    """

    dialect = DIALECT

    def __init__(self, dialect: str = DIALECT) -> None:
        self.dialect = dialect  # type: ignore[misc]  # a test may run two under two names
        self.arrived: dict[tuple[str, str], dict[int, bytes]] = {}
        self.attempts: Counter[str] = Counter()
        self.writes: Counter[tuple[str, str, int]] = Counter()
        self.order: list[str] = []
        self.failing: dict[str, int] = {}
        self.denying: set[str] = set()
        self.raising: dict[str, int] = {}
        self.forgetful: set[str] = set()
        self.blocked: dict[str, asyncio.Event] = {}
        self.waiting: dict[str, asyncio.Event] = {}
        self.most_at_once: Counter[str] = Counter()
        self._here: Counter[str] = Counter()

    def block(self, place: str) -> asyncio.Event:
        """Let deliveries to ``place`` wait; ``waiting[place]`` is set when one does."""
        self.blocked[place] = asyncio.Event()
        self.waiting[place] = asyncio.Event()
        return self.blocked[place]

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        if instructions.find("Broken") is not None:
            raise InstructionsError("broken", detail="Broken")
        return [Destination(key=e.text or "", label=e.text or "") for e in instructions.findall("To")]

    async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        place, job, documents = order.destination.key, order.job, order.documents
        self.attempts[place] += 1
        self.order.append(place)
        self._here[place] += 1
        self.most_at_once[place] = max(self.most_at_once[place], self._here[place])
        try:
            await self._deliver(place, job, documents, ledger)
        finally:
            self._here[place] -= 1

    async def _deliver(
        self, place: str, job: JobFacts, documents: Sequence[SpooledDocument], ledger: DeliveryLedger
    ) -> None:
        if self.failing.get(place, 0):
            self.failing[place] -= 1
            raise DeliveryError(
                "share away", reason=FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE, transient=True
            )
        if place in self.denying:
            raise DeliveryError("denied", reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED, transient=False)
        if self.raising.get(place, 0):
            self.raising[place] -= 1
            raise ZeroDivisionError("a defect")
        if place in self.forgetful:
            return
        there = await ledger.already_delivered()
        for document in documents:
            if document.document_id in there:
                continue
            name = await ledger.planned_name(document.document_id) or f"page {document.number}"
            await ledger.plan(document.document_id, name)
            if place in self.blocked:
                self.waiting[place].set()
                await self.blocked[place].wait()
            folder = self.arrived.setdefault((job.token, place), {})
            folder[document.document_id] = document.path.read_bytes()
            self.writes[job.token, place, document.document_id] += 1
            await ledger.delivered(Delivered(document.document_id, name, document.size))


def product(document: SpooledDocument, name: str | None = None) -> Product:
    """Return a product that hands a document on as it is."""
    return Product(document.path, document.format, document.sources, name, document.pages)


class JoiningFilter:
    """A processing filter that makes one document: its ``mark``, then the octets of what it got, in order.

    ``seen`` has what it got at each try: token -> a list of (document_id, number, octets, name, sources).
    Switches: ``failing`` raises these errors, one a try; ``warnings`` are given at each try; ``block()`` lets
    it wait once its file is written; ``process`` does something else instead.
    """

    dialect = JOINING

    def __init__(self, dialect: str = JOINING, *, mark: bytes = b"", process: Process | None = None) -> None:
        self.dialect = dialect  # type: ignore[misc]  # a test may run two under two names
        self.mark = mark
        self.seen: dict[str, list[list[tuple[int, int, bytes, str | None, tuple[int, ...]]]]] = {}
        self.failing: list[Exception] = []
        self.warnings: list[str] = []
        self.waiting = asyncio.Event()
        self._process = process or self.join
        self._go_on: asyncio.Event | None = None

    def block(self) -> asyncio.Event:
        """Let it wait once its file is written; ``waiting`` is set then."""
        self.waiting = asyncio.Event()
        self._go_on = asyncio.Event()
        return self._go_on

    def tries(self, token: str) -> int:
        return len(self.seen.get(token, []))

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        if instructions.find("Broken") is not None:
            raise InstructionsError("broken", detail="Broken")
        return [PROCESSING]

    async def process(self, order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
        self.seen.setdefault(order.job.token, []).append(
            [(d.document_id, d.number, d.path.read_bytes(), d.name, d.sources) for d in order.documents]
        )
        for text in self.warnings:
            await bench.warn(text)
        if self.failing:
            raise self.failing.pop(0)
        return await self._process(order, bench)

    async def join(self, order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
        path = bench.folder / "joined"
        path.write_bytes(self.mark + b"".join(document.path.read_bytes() for document in order.documents))
        bench.progress(len(order.documents), len(order.documents))
        if self._go_on is not None:
            self.waiting.set()
            await self._go_on.wait()
        sources = tuple(source for document in order.documents for source in document.sources)
        return [Product(path, DerivedFormat.PDF, sources, pages=len(sources))]
