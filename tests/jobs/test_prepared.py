from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, create_engine, select, update
from sqlalchemy.dialects.sqlite import insert

from postscan.jobs.prepared import Prepared
from postscan.jobs.schema import UtcDateTime

_things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("moment", UtcDateTime),
)
_INSERT = Prepared(insert(_things).on_conflict_do_nothing())
_ADD = Prepared(
    update(_things)
    .where(_things.c.id == bindparam("which"), _things.c.number < 100)
    .values(number=_things.c.number + bindparam("more"))
    .returning(_things.c.number)
)
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    _things.metadata.create_all(engine)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def test_values_are_stored_as_the_column_types_say(connection):
    _INSERT.run(connection, id=1, number=5, moment=NOON)
    assert connection.execute(select(_things)).all() == [(1, 5, NOON.astimezone(UTC))]


def test_a_row_that_is_there_already_counts_as_none(connection):
    assert _INSERT.run(connection, id=1, number=5, moment=None).rowcount == 1
    assert _INSERT.run(connection, id=1, number=6, moment=None).rowcount == 0


def test_literals_of_the_statement_are_bound_as_well(connection):
    _INSERT.run(connection, id=1, number=99, moment=None)
    assert _ADD.run(connection, which=1, more=1).fetchall() == [(100,)]
    assert _ADD.run(connection, which=1, more=1).fetchall() == []


def test_what_the_database_refuses_is_the_drivers_error(connection):
    with pytest.raises(sqlite3.IntegrityError):
        _INSERT.run(connection, id=1, number=None, moment=None)
