"""One scan server for the tests of a module, and a scan order for its peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from postscan.soap.xml import detached_copy
from support.netns import network
from support.netservers import serving
from support.peers import Apart, Order
from support.scanning import Site, jpeg, running

PROCESS = "Scan to my folder"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Run a scan server while the module's tests do."""
    folder = tmp_path_factory.mktemp("interop") / "site"
    async with running(folder, administrators={"groups": ["Accounting"]}) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def order(site: Site, tmp_path: Path) -> Order:
    """Return an order of two pages for alice."""
    assert site.server is not None
    return await _order(site, site.server.services, tmp_path)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """Run a scan server on one machine; the peers of the module's tests run on another."""
    with network("server", "peer") as net:
        served = serving(net, "server", tmp_path_factory.mktemp("apart") / "site")
        yield Apart(net, Site(served.made), served.services)


@pytest_asyncio.fixture(loop_scope="module")
async def order_apart(apart: Apart, tmp_path: Path) -> Order:
    """Return an order of two pages for alice, for a peer on a machine of its own."""
    return await _order(apart.site, apart.services, tmp_path)


async def _order(site: Site, services: Mapping[str, str], folder: Path) -> Order:
    pages = tuple(folder / f"page-{number}.jpg" for number in (1, 2))
    for number, page in enumerate(pages, start=1):
        page.write_bytes(jpeg(number, 40_000 * number))
    process = await site.process(PROCESS)
    own = site.made.pki / "users" / "alice.pem"
    return Order(
        services=services,
        ca=site.made.pki / "ca.pem",
        certificate=own,
        key=own.with_suffix(".key"),
        user=(await site.user()).sid,
        process=str(process.identifier),
        # A copy, because zeep takes elements out of what it is given.
        instructions=detached_copy(process.process.instructions_element),
        pages=pages,
    )
