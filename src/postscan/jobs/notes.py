"""What a filter writes down for itself, and the warnings it gives, kept in the job store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from postscan.core.log import get_logger
from postscan.jobs.asking import kept_text
from postscan.jobs.model import ChangeKind, JobChange
from postscan.jobs.moves import changed
from postscan.jobs.queries import warnings_from_text, warnings_to_text
from postscan.jobs.schema import deliveries, notes
from postscan.jobs.store import JobStore

MAX_NOTE: Final = 4_000
MAX_WARNINGS: Final = 100

_log = get_logger("jobs")


def notes_of(connection: Connection, delivery: int) -> dict[str, str]:
    """Return what was written down for one destination."""
    rows = connection.execute(select(notes.c.key, notes.c.value).where(notes.c.delivery_id == delivery))
    return {row.key: row.value for row in rows}


def remember(connection: Connection, delivery: int, key: str, value: str) -> None:
    """Keep a note, in place of the one with the same key."""
    statement = sqlite_insert(notes).values(delivery_id=delivery, key=key, value=value)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["delivery_id", "key"], set_={"value": value})
    )


def add_warnings(connection: Connection, delivery: int, texts: Sequence[str]) -> tuple[str, ...]:
    """Add warnings to those of a destination, each text once and up to 100; return what it has now."""
    row = connection.execute(select(deliveries.c.warnings).where(deliveries.c.id == delivery)).one()
    before = warnings_from_text(row.warnings)
    now = tuple(dict.fromkeys((*before, *(kept_text(text) for text in texts))))[:MAX_WARNINGS]
    if now != before:
        connection.execute(
            update(deliveries).where(deliveries.c.id == delivery).values(warnings=warnings_to_text(now))
        )
    return now


def warn(connection: Connection, serial: int, delivery: int, text: str) -> list[JobChange]:
    """Add a warning to those of a destination; no change when it was given before."""
    row = connection.execute(select(deliveries.c.warnings).where(deliveries.c.id == delivery)).one()
    if add_warnings(connection, delivery, [text]) == warnings_from_text(row.warnings):
        return []
    return [changed(connection, serial, ChangeKind.DELIVERY)]


def forget_warnings(connection: Connection, delivery: int) -> None:
    """Forget the warnings of a destination whose work begins anew."""
    connection.execute(update(deliveries).where(deliveries.c.id == delivery).values(warnings=None))


class StoredNotes:
    """The notes of one destination of a job during one attempt; a ``contract.Notes``."""

    def __init__(
        self,
        store: JobStore,
        serial: int,
        delivery: int,
        kept: dict[str, str],
        applied: Callable[[Sequence[JobChange]], None],
    ) -> None:
        self._store = store
        self._serial = serial
        self._delivery = delivery
        self._kept = kept
        self._applied = applied

    async def remember(self, key: str, value: str) -> None:
        """Keep ``value`` durably under ``key``, in place of what was there.

        :raises ValueError: one of them has more than 4,000 characters.
        """
        if len(key) > MAX_NOTE or len(value) > MAX_NOTE:
            raise ValueError(f"a note has at most {MAX_NOTE} characters")
        await self._store.write(partial(remember, delivery=self._delivery, key=key, value=value))
        self._kept[key] = value

    async def remembered(self, key: str) -> str | None:
        """Return what was kept under ``key``, None when nothing was."""
        return self._kept.get(key)

    async def warn(self, text: str) -> None:
        """Have administrators told of ``text``, of which 500 characters are kept; the same text once."""
        changes = await self._store.write(
            partial(warn, serial=self._serial, delivery=self._delivery, text=text), self._applied
        )
        if changes:
            _log.warning("a filter warns", token=changes[-1].job.token, warning=text)
