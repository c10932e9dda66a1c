"""The workers of a running server, which a reload gives other settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postscan.filters.contract import JsonValue, Workers, WorkLimits


class LiveWorkers:
    """Hands work to a pool that can be replaced; work that has begun ends where it began.

    :param pool: the first.
    """

    def __init__(self, pool: Workers) -> None:
        self.pool = pool

    async def run(
        self,
        task: str,
        arguments: Mapping[str, JsonValue],
        *,
        folder: Path,
        limits: WorkLimits | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> JsonValue:
        """Run a task in the pool that is in force now (see ``contract.Workers.run``)."""
        return await self.pool.run(task, arguments, folder=folder, limits=limits, on_progress=on_progress)
