"""The workshop every test of the job engine works in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from postscan.core.log import configure_logging
from postscan.filters.contract import Filter
from postscan.jobs.settings import JobSettings
from support.chains import Chain
from support.filters import JoiningFilter, RecordingFilter
from support.jobs import Workshop

Make = Callable[..., Awaitable[Workshop]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Return a function that opens a workshop with other settings or filters."""
    configure_logging(level="CRITICAL")
    made: list[Workshop] = []

    async def build(*filters: Filter, **settings: Any) -> Workshop:
        shop = Workshop(
            tmp_path / f"data{len(made)}", JobSettings(**{"min_free_bytes": 0} | settings), *filters
        )
        made.append(shop)
        await shop.start()
        return shop

    yield build
    for shop in made:
        await shop.close()


@pytest.fixture
async def shop(make: Make) -> Workshop:
    """Return a workshop with the default settings."""
    return await make()


@pytest.fixture
async def chain(make: Make) -> Chain:
    """Return a workshop whose jobs are joined and then delivered."""
    joining, recording = JoiningFilter(), RecordingFilter()
    return Chain(await make(joining, recording), joining, recording)
