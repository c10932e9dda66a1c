"""What a processing filter works with: a folder, workers, notes, counters, progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from postscan.filters.contract import JsonValue, Workers, WorkFailed, WorkLimits
from postscan.jobs.model import JobChange
from postscan.jobs.notes import StoredNotes
from postscan.jobs.steps import next_number
from postscan.jobs.store import JobStore

_LONGEST_COUNTER: Final = 200


class StoreBench(StoredNotes):
    """The workbench of one filter of a job during one try; a ``contract.Workbench``."""

    def __init__(
        self,
        store: JobStore,
        serial: int,
        delivery: int,
        kept: dict[str, str],
        applied: Callable[[Sequence[JobChange]], None],
        *,
        folder: Path,
        workers: Workers,
        tell: Callable[[int, int], None],
    ) -> None:
        """Put the workbench together; ``tell`` is told of progress: (done, total)."""
        super().__init__(store, serial, delivery, kept, applied)
        self._folder = folder
        self._workers = workers
        self._tell = tell

    @property
    def folder(self) -> Path:
        """The folder that products are written to."""
        return self._folder

    @property
    def workers(self) -> Workers:
        """Where whatever decodes images runs."""
        return self._workers

    async def count(self, name: str) -> int:
        """Return the next number, from 1, of the counter ``name`` of this server; the same for this job.

        :raises ValueError: the name has more than 200 characters.
        """
        if len(name) > _LONGEST_COUNTER:
            raise ValueError(f"a counter's name has at most {_LONGEST_COUNTER} characters")
        return await self._store.write(partial(next_number, serial=self._serial, name=name))

    def progress(self, done: int, total: int) -> None:
        """Tell how far the work is."""
        self._tell(done, total)


class NoWorkers:
    """Stands in where a server was put together without workers: nothing is decoded there."""

    async def run(
        self,
        task: str,
        arguments: Mapping[str, JsonValue],
        *,
        folder: Path,
        limits: WorkLimits | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> JsonValue:
        """Refuse the work.

        :raises WorkFailed: always.
        """
        raise WorkFailed(
            f"this server has nobody who could run {task}", advice="Give the job engine workers."
        )
