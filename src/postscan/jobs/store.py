"""The job store: SQLAlchemy Core over SQLite in WAL mode, one writing thread, reads beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.pool import QueuePool

from postscan.core.errors import ConfigurationError
from postscan.jobs.committer import Committer, Operation
from postscan.jobs.disk import sync_folder
from postscan.jobs.errors import StorageUnavailable
from postscan.jobs.migrate import migrate
from postscan.jobs.spool import LocalSpool
from postscan.jobs.upload import ImageWriter

T = TypeVar("T")

_READERS = 2
_SYNCERS = 8
_BUSY_MILLISECONDS = 10_000
# Pages of the write-ahead log (1 MiB). A commit that makes the log longer takes twice as long as one that
# overwrites it (the file system has its new length to record), so the log is begun anew early on.
_LOG_PAGES = 256


class JobStore:
    """The rows, and the one way to write them. All methods belong to one event loop."""

    def __init__(self, where: str | Path) -> None:
        """Name the database, as a file or as ``sqlite:///FILE``; nothing is opened before ``open``.

        :raises ConfigurationError: the URL is of another kind, or names no file.
        """
        self.path = _file_of(where)
        self._committer: Committer | None = None
        self._writing: Engine | None = None
        self._reading: Engine | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._syncers: ThreadPoolExecutor | None = None
        self._spool: LocalSpool | None = None

    async def open(self, spool: LocalSpool) -> None:
        """Open or make the database, migrate it, and start the threads.

        :raises SchemaTooNew: a newer version of this program wrote it.
        :raises ConfigurationError: the file cannot be opened or is no database.
        """
        self._writing = _engine(self.path, "BEGIN IMMEDIATE", connections=1)
        self._reading = _engine(self.path, "BEGIN", connections=_READERS)
        try:
            await asyncio.to_thread(_migrated, self._writing, self.path)
        except BaseException:
            await self.close()
            raise
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="postscan-read")
        self._syncers = ThreadPoolExecutor(_SYNCERS, thread_name_prefix="postscan-sync")
        self._spool = spool
        self._committer = Committer(self._writing.connect, spool.sync_folders, asyncio.get_running_loop())
        self._committer.start()

    async def close(self) -> None:
        """Commit what waits and close everything; may be called twice."""
        if self._syncers is not None:
            await asyncio.to_thread(self._syncers.shutdown)
        if self._committer is not None:
            committer, self._committer = self._committer, None
            await asyncio.to_thread(committer.close)
            # What the thread has posted to the loop is passed on before anyone goes.
            await asyncio.sleep(0)
        if self._readers is not None:
            await asyncio.to_thread(self._readers.shutdown)
        self._syncers = self._readers = None
        for engine in (self._reading, self._writing):
            if engine is not None:
                engine.dispose()
        self._reading = self._writing = None

    def write(
        self, run: Callable[[Connection], T], applied: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        """Run ``run`` in the next group; the future resolves when it is durable.

        Cancelling whoever waits does not take the operation back. ``applied`` is called on the loop with the
        result, in the order of the commits.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._running().submit(Operation(run=run, future=future, applied=applied))
        return future

    def write_image(
        self,
        image: ImageWriter,
        final: Path,
        run: Callable[[Connection], T],
        applied: Callable[[T], None],
        keeps_file: Callable[[T], bool],
    ) -> asyncio.Future[T]:
        """Make an image durable under ``final``, then run ``run`` as ``write`` does."""
        committer, syncers = self._running(), self._syncers
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        operation = Operation(
            run=run, future=future, applied=applied, file=image, final=final, keeps_file=keeps_file
        )
        if image.buffered or syncers is None:
            committer.submit(operation)
        else:
            # A large file takes long to sync; small ones must not wait for it.
            syncers.submit(self._sync_then_submit, image, operation, committer)
        return future

    def _sync_then_submit(self, image: ImageWriter, operation: Operation[Any], committer: Committer) -> None:
        """Make one large image durable under its final name, then let its row be committed.

        Renamed first: the file system's journal then takes file and folder in one commit. A crash leaves an
        orphan at the most, which recovery removes.
        """
        final, spool = operation.final, self._spool
        assert final is not None  # noqa: S101 - write_image set it
        assert spool is not None  # noqa: S101 - open() set it
        try:
            image.stage(final)
            image.sync()
            spool.sync_folders({final.parent})
            operation.file_is_durable = True
        except Exception as error:  # the committing thread cleans up and tells whoever waits
            operation.error = error
        committer.submit(operation)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on a connection of its own; it sees everything that was acknowledged."""
        engine, readers = self._reading, self._readers
        if engine is None or readers is None:
            raise StorageUnavailable("the store is closed")

        def work() -> T:
            try:
                with engine.connect() as connection, connection.begin():
                    return query(connection)
            except DatabaseError as error:
                raise StorageUnavailable(f"the store: {error.orig}") from error

        return await asyncio.get_running_loop().run_in_executor(readers, work)

    def _running(self) -> Committer:
        if self._committer is None:
            raise StorageUnavailable("the store is closed")
        return self._committer


def _file_of(where: str | Path) -> Path:
    if isinstance(where, Path):
        return where
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise ConfigurationError("the job store's address is not a database URL") from error
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigurationError("the job store must be sqlite:///FILE")
    return Path(url.database)


def _migrated(engine: Engine, path: Path) -> None:
    try:
        fresh = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        with engine.connect() as connection:
            migrate(connection)
        path.chmod(0o600)
        if fresh:
            sync_folder(path.parent)
    except (DatabaseError, OSError) as error:
        raise ConfigurationError(f"cannot open the job store {path}: {error}") from error


def _engine(path: Path, begin: str, *, connections: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        # A connection is made in one thread and used in another, never in two at a time.
        connect_args={"check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # The driver begins transactions by its own rules unless it is told not to.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={_BUSY_MILLISECONDS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"wal_autocheckpoint={_LOG_PAGES}",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
