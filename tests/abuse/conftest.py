"""One scan server for the tests of a module that leave no trace in it; the others start their own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.scanning import Site, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Run a scan server while the module's tests do."""
    folder = tmp_path_factory.mktemp("abuse") / "site"
    async with running(folder, limits={"max_open_jobs_per_owner": 10_000, "max_open_jobs": 10_000}) as site:
        yield site
