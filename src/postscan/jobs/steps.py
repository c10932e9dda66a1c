"""Reads and writes of processing steps: what they made, how they ended, what they counted."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Row, delete, exists, insert, select
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.filters.contract import FileFormat
from postscan.jobs.model import ChangeKind, DeliveryState, JobChange, ProcessedDocument
from postscan.jobs.moves import changed, end_filter, require_processing, settle_delivery
from postscan.jobs.notes import add_warnings
from postscan.jobs.queries import job_by_serial
from postscan.jobs.schema import counted, counters, deliveries, ledger, products

_TOO_LATE = "documents that had been delivered before this step succeeded stay as they were delivered"


def products_of(connection: Connection, serial: int) -> list[ProcessedDocument]:
    """Return what a job's processing filters handed on, by filter and number."""
    query = (
        select(products).where(products.c.job_id == serial).order_by(products.c.position, products.c.number)
    )
    return [_product(row) for row in connection.execute(query)]


def _product(row: Row[tuple[object, ...]]) -> ProcessedDocument:
    return ProcessedDocument(
        filter_index=row.position,
        number=row.number,
        document_id=row.document_id,
        format=_format(row.format),
        size=row.size,
        sha256=row.sha256,
        name=row.name,
        sources=tuple(int(word) for word in row.sources.split()),
        pages=row.pages,
        file_name=row.file_name,
    )


def _format(word: str) -> FileFormat:
    try:
        return DerivedFormat(word)
    except ValueError:
        return DocumentFormat(word)


def finish_step(
    connection: Connection, serial: int, index: int, made: Sequence[ProcessedDocument]
) -> list[JobChange]:
    """Record what a processing filter made and that it has ended, all at once."""
    require_processing(connection, serial)
    mine = (products.c.job_id == serial) & (products.c.position == index)
    connection.execute(delete(products).where(mine))
    connection.execute(
        insert(products),
        [
            {
                "job_id": serial,
                "position": index,
                "number": one.number,
                "document_id": one.document_id,
                "format": one.format.value,
                "size": one.size,
                "sha256": one.sha256,
                "file_name": one.file_name,
                "name": one.name,
                "sources": " ".join(str(source) for source in one.sources),
                "pages": one.pages,
            }
            for one in made
        ],
    )
    delivered = exists().where(
        ledger.c.delivery_id == deliveries.c.id,
        deliveries.c.job_id == serial,
        ledger.c.delivered.is_not(None),
    )
    for place in job_by_serial(connection, serial).filters[index].deliveries:
        settle_delivery(connection, place.serial, DeliveryState.DELIVERED, None, None)
        if connection.scalar(select(delivered)):
            add_warnings(connection, place.serial, [_TOO_LATE])
    end_filter(connection, serial, index)
    return [changed(connection, serial, ChangeKind.FILTER)]


def next_number(connection: Connection, serial: int, name: str) -> int:
    """Return what a job got of the counter ``name``: the next number, or the one it has got already."""
    mine = (counted.c.job_id == serial) & (counted.c.name == name)
    known: int | None = connection.scalar(select(counted.c.number).where(mine))
    if known is not None:
        return known
    counting = sqlite_insert(counters).values(name=name, last=1)
    number: int = connection.execute(
        counting.on_conflict_do_update(index_elements=["name"], set_={"last": counters.c.last + 1}).returning(
            counters.c.last
        )
    ).scalar_one()
    connection.execute(insert(counted).values(job_id=serial, name=name, number=number))
    return number
