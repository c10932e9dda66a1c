"""The workers of a running server take the limits of settings that are read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from postscan.cli.live_workers import LiveWorkers
from postscan.cli.reloading import SettingsFile
from postscan.cli.settings import load_settings
from postscan.filters.contract import JsonValue, WorkLimits

SERVER = '[server]\nfqdn = "scan.example.com"\n[processing]\n'


class Pool:
    """Workers that answer with their name, when they are let."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.go_on = asyncio.Event()

    async def run(
        self,
        task: str,
        arguments: Mapping[str, JsonValue],
        *,
        folder: Path,
        limits: WorkLimits | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> JsonValue:
        await self.go_on.wait()
        return self.name


async def test_work_that_began_ends_where_it_began(tmp_path: Path) -> None:
    first, second = Pool("first"), Pool("second")
    workers = LiveWorkers(first)
    began = asyncio.create_task(workers.run("a:b", {}, folder=tmp_path))
    await asyncio.sleep(0)
    workers.pool = second
    second.go_on.set()
    assert await workers.run("a:b", {}, folder=tmp_path) == "second"
    first.go_on.set()
    assert await began == "first"


def test_a_reload_replaces_the_pool_once_all_is_in_force(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(SERVER + "seconds = 60\n")
    source = SettingsFile(load_settings(path, {}), {}, lambda _level: None)
    before = source.workers.pool
    path.write_text(SERVER + "seconds = 61\n")
    new = source()
    assert new.applied == ("processing.seconds",)
    assert source.workers.pool is before
    new.commit()
    assert source.workers.pool is not before
