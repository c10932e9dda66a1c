"""The delivery ledger over the job store: what is about to be at a destination, and what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from postscan.core.clock import Clock
from postscan.filters.contract import Delivered
from postscan.jobs.deliveries import plan_document, record_delivered
from postscan.jobs.model import Delivery, Job, JobChange
from postscan.jobs.notes import StoredNotes, notes_of
from postscan.jobs.queries import ledger_of
from postscan.jobs.store import JobStore


class StoreLedger(StoredNotes):
    """The ledger of one destination during one attempt; a ``DeliveryLedger``.

    It also knows whether a document is half-way (planned in this attempt, not yet confirmed), so that an
    attempt can be stopped between two documents.
    """

    def __init__(
        self,
        store: JobStore,
        clock: Clock,
        job: Job,
        place: Delivery,
        applied: Callable[[Sequence[JobChange]], None],
        *,
        planned: dict[int, str],
        there: dict[int, Delivered],
        notes: dict[str, str],
    ) -> None:
        super().__init__(store, job.serial, place.serial, notes, applied)
        self._clock = clock
        self._planned = planned
        self._there = there
        self._half_way: set[int] = set()
        self._to_stop: asyncio.Task[Any] | None = None

    @classmethod
    async def open(
        cls,
        store: JobStore,
        clock: Clock,
        job: Job,
        place: Delivery,
        applied: Callable[[Sequence[JobChange]], None],
    ) -> StoreLedger:
        """Read what earlier attempts wrote; ``applied`` is told of changes that the filter makes."""

        def everything(connection: Connection) -> tuple[dict[int, str], dict[int, Delivered], dict[str, str]]:
            return *ledger_of(connection, place.serial), notes_of(connection, place.serial)

        planned, there, notes = await store.read(everything)
        return cls(store, clock, job, place, applied, planned=planned, there=there, notes=notes)

    async def planned_name(self, document_id: int) -> str | None:
        """Return the name planned before a crash for this document at this destination, if any."""
        return self._planned.get(document_id)

    async def plan(self, document_id: int, name: str) -> None:
        """Record durably that the document is about to appear under ``name``."""
        self._half_way.add(document_id)
        await self._store.write(
            partial(plan_document, delivery=self._delivery, document_id=document_id, name=name)
        )
        self._planned[document_id] = name

    async def delivered(self, delivery: Delivered) -> None:
        """Record durably that the document is there."""
        now = self._clock.now()
        await self._store.write(partial(record_delivered, delivery=self._delivery, there=delivery, now=now))
        self._there[delivery.document_id] = delivery
        self._half_way.discard(delivery.document_id)
        if self._to_stop is not None and not self._half_way:
            self._to_stop.cancel()

    async def already_delivered(self) -> dict[int, Delivered]:
        """Return what is there already, by document id."""
        return dict(self._there)

    def stop_between_documents(self, attempt: asyncio.Task[Any]) -> None:
        """Cancel the attempt now, or as soon as the document that is half-way has arrived."""
        if self._half_way:
            self._to_stop = attempt
        else:
            attempt.cancel()
