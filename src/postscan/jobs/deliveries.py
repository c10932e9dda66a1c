"""Writes of filters and their deliveries to the job store, to be run in a transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from postscan.contracts.keywords import (
    FilterState,
    FilterStateReason,
)
from postscan.filters.contract import Delivered
from postscan.jobs.asking import kept_text
from postscan.jobs.model import (
    ChangeKind,
    DeliveryState,
    JobChange,
)
from postscan.jobs.moves import (
    changed,
    end_filter,
    move_filter,
    require_processing,
    settle_delivery,
)
from postscan.jobs.queries import job_by_serial
from postscan.jobs.schema import deliveries, ledger
from postscan.jobs.states import FilterEvent


def begin_filter(connection: Connection, serial: int, index: int) -> list[JobChange]:
    """Take a filter to Processing; no change when it is there already."""
    require_processing(connection, serial)
    run = job_by_serial(connection, serial).filters[index]
    if run.state is FilterState.PROCESSING:
        return []
    move_filter(connection, serial, run, FilterEvent.START, ())
    return [changed(connection, serial, ChangeKind.FILTER)]


def finish_filter(connection: Connection, serial: int, index: int) -> list[JobChange]:
    """Take a filter whose destinations are all settled to the end they give it."""
    require_processing(connection, serial)
    end_filter(connection, serial, index)
    return [changed(connection, serial, ChangeKind.FILTER)]


def fail_filter(
    connection: Connection, serial: int, index: int, reason: FilterStateReason, error: str, advice: str
) -> list[JobChange]:
    """Fail a filter as a whole, with every destination of it that is not settled."""
    require_processing(connection, serial)
    run = job_by_serial(connection, serial).filters[index]
    for place in run.deliveries:
        if not place.settled:
            settle_delivery(connection, place.serial, DeliveryState.FAILED, reason, error, advice=advice)
    move_filter(connection, serial, run, FilterEvent.FAIL, (reason,))
    return [changed(connection, serial, ChangeKind.FILTER)]


def postpone_delivery(
    connection: Connection,
    serial: int,
    delivery: int,
    attempts: int,
    next_attempt: datetime,
    pause: float,
    reason: FilterStateReason,
    error: str,
    advice: str,
) -> list[JobChange]:
    """Record a failed attempt and when the next one is due: in ``pause`` seconds."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery)
        .values(
            state=DeliveryState.WAITING.value,
            attempts=attempts,
            next_attempt=next_attempt,
            pause=pause,
            reason=reason.value,
            last_error=kept_text(error),
            advice=kept_text(advice) or None,
        )
    )
    return [changed(connection, serial, ChangeKind.DELIVERY)]


def fail_delivery(
    connection: Connection,
    serial: int,
    delivery: int,
    attempts: int,
    reason: FilterStateReason,
    error: str,
    advice: str,
) -> list[JobChange]:
    """Record that a destination refused for good, or was given up."""
    settle_delivery(
        connection, delivery, DeliveryState.FAILED, reason, error, advice=advice, attempts=attempts
    )
    return [changed(connection, serial, ChangeKind.DELIVERY)]


def finish_delivery(connection: Connection, serial: int, delivery: int) -> list[JobChange]:
    """Record that a destination confirmed everything."""
    settle_delivery(connection, delivery, DeliveryState.DELIVERED, None, None)
    return [changed(connection, serial, ChangeKind.DELIVERY)]


def plan_document(connection: Connection, delivery: int, document_id: int, name: str) -> None:
    """Record the name a document is about to get at a destination."""
    statement = sqlite_insert(ledger).values(delivery_id=delivery, document_id=document_id, name=name)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["delivery_id", "document_id"],
            set_={"name": name},
            where=ledger.c.delivered.is_(None),
        )
    )


def record_delivered(connection: Connection, delivery: int, there: Delivered, now: datetime) -> None:
    """Record that a document is at a destination."""
    values = {"name": there.name, "size": there.size, "delivered": now}
    statement = sqlite_insert(ledger).values(delivery_id=delivery, document_id=there.document_id, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["delivery_id", "document_id"], set_=values)
    )
