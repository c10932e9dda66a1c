"""Subscriptions as rows of the job store: kept for event sources, whose business their content is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from postscan.jobs.schema import subscriptions
from postscan.jobs.store import JobStore

# SQLite takes so many values in one statement at the least.
_MOST_VALUES = 500


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """One subscription of the event source ``service``.

    It ends at ``until`` by the wall clock, and at the latest ``seconds_left`` after it was written;
    ``confirmed`` is the greatest ``Job.ending`` that its subscriber is known to have heard of.
    """

    identifier: str
    service: str
    content: bytes
    until: datetime
    seconds_left: float
    confirmed: int


class SubscriptionRows:
    """Reads and writes the rows of one service; what is written shares the commits of everything else."""

    def __init__(self, store: JobStore, service: str) -> None:
        self._store = store
        self._service = service

    async def load(self) -> list[SubscriptionRow]:
        """Return every row. :raises StorageUnavailable: the store is closed or broken."""
        query = select(subscriptions).where(subscriptions.c.service == self._service)

        def read(connection: Connection) -> list[SubscriptionRow]:
            return [SubscriptionRow(**row) for row in connection.execute(query).mappings()]

        return await self._store.read(read)

    def save(self, row: SubscriptionRow) -> asyncio.Future[None]:
        """Insert or replace a row; durable when the future resolves. Raises as ``load``."""
        values = {
            "identifier": row.identifier,
            "service": self._service,
            "content": row.content,
            "until": row.until,
            "seconds_left": row.seconds_left,
            "confirmed": row.confirmed,
        }
        changed = {name: value for name, value in values.items() if name != "identifier"}
        statement = insert(subscriptions).values(values)
        statement = statement.on_conflict_do_update(index_elements=["identifier"], set_=changed)
        return self._store.write(lambda connection: _nothing(connection.execute(statement)))

    def remove(self, identifiers: Sequence[str]) -> asyncio.Future[None]:
        """Delete rows, those that are there; durable when the future resolves. Raises as ``load``."""

        def run(connection: Connection) -> None:
            for at in range(0, len(identifiers), _MOST_VALUES):
                some = identifiers[at : at + _MOST_VALUES]
                connection.execute(delete(subscriptions).where(subscriptions.c.identifier.in_(some)))

        return self._store.write(run)

    def confirm(self, marks: Mapping[str, int]) -> asyncio.Future[None]:
        """Set ``confirmed`` of rows by identifier, those that are there. Raises as ``load``."""
        statement = (
            update(subscriptions)
            .where(subscriptions.c.identifier == bindparam("which"))
            .values(confirmed=bindparam("mark"))
        )
        values = [{"which": identifier, "mark": mark} for identifier, mark in marks.items()]
        return self._store.write(lambda connection: _nothing(connection.execute(statement, values)))


def _nothing(_: object) -> None:
    """Keep what is of no use from the caller: a result may not outlive its connection."""
