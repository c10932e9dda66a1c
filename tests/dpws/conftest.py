"""One scan server for the tests of a module."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.scanning import Site, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Run a scan server while the module's tests do."""
    looks = {
        "friendly_name": "Scan server of the test",
        "manufacturer": "Somebody",
        "manufacturer_url": "https://somebody.example/",
        "model_number": "7",
        "extra_types": ["{urn:vendor}OtherType"],
    }
    async with running(tmp_path_factory.mktemp("dpws") / "site", server=looks) as site:
        yield site
