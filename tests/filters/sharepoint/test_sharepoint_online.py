"""The SharePoint filter as a whole over REST and Graph: wherever it breaks, each document is there once."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import pytest
from aiohttp import web

from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.filters.contract import DeliveryError, DeliveryOrder, Destination, ProbeOrder, SpooledDocument
from postscan.filters.sharepoint.address import LibraryAddress, parse_origin
from postscan.filters.sharepoint.bearer import BearerAuth
from postscan.filters.sharepoint.columns import COLUMN_FIELDS
from postscan.filters.sharepoint.connection import HttpSite
from postscan.filters.sharepoint.filter import SharePointFilter
from postscan.filters.sharepoint.graph import GraphLibrary
from postscan.filters.sharepoint.library import DocumentLibrary
from postscan.filters.sharepoint.names import NameRules
from postscan.filters.sharepoint.rest import RestLibrary
from postscan.filters.sharepoint.rest_upload import UploadLimits
from postscan.filters.sharepoint.visit import SharePointSite
from postscan.filters.templates import Template
from support.delivery import JOB, NO_INSTRUCTIONS, MemoryLedger
from support.sharepoint_stub import Fault
from support.sharepoint_visits import UNIT, Visit, visit

SMALL = b"%PDF small"
LARGE = os.urandom(4 * 1024 * 1024 + 100)
APIS = ["rest", "graph"]


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Visit]:
    async with visit(tmp_path) as visitor:
        yield visitor


class Delivery:
    """Deliveries by the filter, of one small and one large document."""

    def __init__(self, at: Visit, api: str) -> None:
        self.at = at
        self._api = api
        columns = {"Title": Template.parse("{document}", COLUMN_FIELDS)}
        site = SharePointSite(open_library=self._open, rules=NameRules.MODERN, columns=columns)
        self.filter = SharePointFilter({at.address().origin: site}, UTC)
        self.documents = [self._document(1, SMALL), self._document(2, LARGE)]

    def order(self, user: str = "alice") -> DeliveryOrder:
        """Return the order for the documents of a user."""
        address = str(self.at.address())
        job = dataclasses.replace(JOB, user_name=user)
        return DeliveryOrder(
            Destination(address, f"the library {address}"), job, NO_INSTRUCTIONS, self.documents
        )

    def _open(self, address: LibraryAddress) -> DocumentLibrary:
        at = self.at
        if self._api == "rest":
            site = HttpSite(address.origin, BearerAuth(at.tokens, address.origin), tls=at.tls)
            return RestLibrary(site, address, limits=UploadLimits(one_request=100_000, chunk=2_000_000))
        origin = parse_origin(at.stub.graph_server.origin)
        return GraphLibrary(
            HttpSite(origin, BearerAuth(at.tokens, origin), tls=at.tls),
            address,
            upload_site=lambda where: HttpSite(where, None, tls=at.tls),
            fragment=8 * UNIT,
        )

    def _document(self, number: int, content: bytes) -> SpooledDocument:
        path = self.at.folder / f"spooled-{number}"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        return SpooledDocument(number, number, DocumentFormat.PDF_A, path, len(content), digest)


@pytest.mark.parametrize("api", APIS)
class TestDelivery:
    async def test_documents_arrive_with_names_and_columns(self, at: Visit, api: str) -> None:
        delivery, ledger = Delivery(at, api), MemoryLedger()
        await delivery.filter.deliver(delivery.order(), ledger)
        names = [f"alice@example.com/Invoice_2026-11-21_143005_alice_00{number}.pdf" for number in (1, 2)]
        assert at.stored() == {names[0]: SMALL, names[1]: LARGE}
        files = [one for one in at.stub.site.items.values() if one.content is not None]
        assert all("Title" in one.fields for one in files)
        assert [one.size for one in ledger.done.values()] == [len(SMALL), len(LARGE)]
        assert ledger.warnings == []

    @pytest.mark.parametrize("after_answering", [False, True], ids=["amid-it", "answer-lost"])
    async def test_wherever_a_connection_breaks_each_document_is_there_once(
        self, at: Visit, api: str, after_answering: bool
    ) -> None:
        delivery = Delivery(at, api)
        await delivery.filter.deliver(delivery.order("first"), MemoryLedger())
        requests = [one for one in at.stub.seen if one.server != "authority"]
        for number in range(len(requests)):
            user, ledger = f"user{number}", MemoryLedger()
            self._break(at, number, after_answering=after_answering)
            for _ in range(4):
                try:
                    await delivery.filter.deliver(delivery.order(user), ledger)
                except DeliveryError as error:
                    if not error.transient:
                        raise
                else:
                    break
            at.stub.faults.clear()
            assert self.broken == number + 1
            mine = {name: content for name, content in at.stored().items() if name.startswith(f"{user}@")}
            assert sorted(mine.values(), key=len) == [SMALL, LARGE], (
                number,
                requests[number].line,
                list(mine),
            )
            assert [one.size for one in ledger.done.values()] == [len(SMALL), len(LARGE)]

    broken = 0

    def _break(self, at: Visit, number: int, *, after_answering: bool) -> None:
        """Break one connection: that of the request with this number from now on."""
        left = number
        at.stub.cut_next("", "", after_answering=after_answering)
        cut = at.stub.faults.pop().answer

        async def answer(request: web.Request) -> web.StreamResponse:
            nonlocal left
            server = next(
                one
                for one in (at.stub.sharepoint_server, at.stub.graph_server, at.stub.authority_server)
                if request.url.port == one.port
            )
            left -= server is not at.stub.authority_server
            if left == -1 and server is not at.stub.authority_server:
                self.broken += 1
                left -= 1
                return await cut(request)
            return await server.answer(request)

        methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
        at.stub.faults.extend(Fault(method, "", answer, 10_000) for method in methods)

    async def test_a_delivery_that_is_canceled_amid_an_upload_can_go_on(self, at: Visit, api: str) -> None:
        delivery, ledger = Delivery(at, api), MemoryLedger()
        reached = asyncio.Event()

        async def hang(request: web.Request) -> web.StreamResponse:
            await request.read()
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError

        at.stub.faults.append(Fault("POST" if api == "rest" else "PUT", "pload", hang))
        task = asyncio.create_task(delivery.filter.deliver(delivery.order(), ledger))
        await asyncio.wait_for(reached.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await delivery.filter.deliver(delivery.order(), ledger)
        assert sorted(at.stored().values(), key=len) == [SMALL, LARGE]

    async def test_throttling_is_passed_on(self, at: Visit, api: str) -> None:
        part = "/_api/web" if api == "rest" else "/v1.0/drives"
        at.stub.fail_next("POST", part, 429, {}, headers={"Retry-After": "90"})
        delivery, ledger = Delivery(at, api), MemoryLedger()
        with pytest.raises(DeliveryError) as caught:
            await delivery.filter.deliver(delivery.order(), ledger)
        assert caught.value.transient
        assert caught.value.retry_after is not None
        assert caught.value.retry_after.total_seconds() == 90
        await delivery.filter.deliver(delivery.order(), ledger)
        assert len(at.stored()) == 2

    async def test_an_app_without_a_right_is_told_so(self, at: Visit, api: str) -> None:
        part = "/_api/" if api == "rest" else "/v1.0/"
        body = {"error": {"code": "accessDenied", "message": "Access denied"}}
        for method in ("GET", "POST"):
            at.stub.fail_next(method, part, 403, body, times=9)
        delivery = Delivery(at, api)
        with pytest.raises(DeliveryError) as caught:
            await delivery.filter.deliver(delivery.order(), MemoryLedger())
        assert caught.value.reason is FilterStateReason.SHAREPOINT_ACCESS_DENIED
        assert not caught.value.transient

    async def test_a_probe_proves_the_library_and_leaves_nothing(self, at: Visit, api: str) -> None:
        delivery = Delivery(at, api)
        order = delivery.order()
        said = await delivery.filter.probe(ProbeOrder(order.destination, order.job, NO_INSTRUCTIONS))
        assert len(said) >= 2
        assert at.stub.site.below(("sites", "team", "Shared Documents")) == []
