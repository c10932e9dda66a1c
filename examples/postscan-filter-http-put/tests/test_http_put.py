"""The filter against a real web server, with every step at which it may die."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from lxml import etree
from postscan_filter_http_put import KIND
from postscan_filter_http_put.filter import DIALECT, HttpPutFilter, make

from postscan.cli.pki import create_ca, issue_server, write_pair
from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.checked import InstructionsSchema
from postscan.filters.contract import (
    Delivered,
    DeliveryError,
    DeliveryFilter,
    DeliveryOrder,
    Destination,
    FilterEnvironment,
    InstructionsError,
    JobFacts,
    ProbedFilter,
    ProbeOrder,
    SpooledDocument,
)

TOKEN = "a-canary-3f"
JOB = JobFacts(
    token="6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c11",
    process_name="Invoices",
    user_name="alice",
    user_domain="example.com",
    user_upn="alice@example.com",
    user_mail=None,
    document_root_name="Invoice",
    created=datetime(2026, 11, 21, 14, 30, 5, tzinfo=UTC),
)


class Died(BaseException):
    """The server died here."""


class Ledger:
    """A ledger that forgets nothing, and dies before or after the step it is told."""

    def __init__(self) -> None:
        self.planned: dict[int, str] = {}
        self.done: dict[int, Delivered] = {}
        self.steps = 0
        self.dies_at = -1

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Died

    async def planned_name(self, document_id: int) -> str | None:
        return self.planned.get(document_id)

    async def plan(self, document_id: int, name: str) -> None:
        self._step()
        self.planned[document_id] = name
        self._step()

    async def delivered(self, delivery: Delivered) -> None:
        self._step()
        self.done[delivery.document_id] = delivery
        self._step()

    async def already_delivered(self) -> dict[int, Delivered]:
        return dict(self.done)

    async def remember(self, key: str, value: str) -> None:
        raise AssertionError("this filter keeps no notes")

    async def remembered(self, key: str) -> str | None:
        raise AssertionError("this filter keeps no notes")

    async def warn(self, text: str) -> None:
        raise AssertionError("this filter keeps no notes")


@dataclass
class Server:
    """A web server that stores what is put there."""

    port: int = 0
    status: int = 201
    headers: dict[str, str] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The folder that the filter may write to."""
        return f"https://localhost:{self.port}/scans"

    async def handle(self, request: web.Request) -> web.Response:
        """Store or remove a file."""
        self.tokens.add(request.headers.get("Authorization", ""))
        octets = await request.read()
        if self.status < 300 and request.method == "PUT":
            self.stored[request.path] = octets
        elif self.status < 300:
            self.stored.pop(request.path, None)
        removed = self.status < 300 and request.method == "DELETE"
        return web.Response(status=204 if removed else self.status, headers=self.headers)

    def filter(self, **settings: object) -> HttpPutFilter:
        """Make the filter as the server would."""
        return make(FilterEnvironment({**self.settings, **settings}, lambda _name: Secret(TOKEN), UTC))


@pytest.fixture(name="server")
async def _server(tmp_path: Path) -> AsyncIterator[Server]:
    ca = create_ca("Test")
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem())
    write_pair(issue_server(ca, "localhost"), tmp_path / "web.pem", tmp_path / "web.key")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "web.pem", tmp_path / "web.key")
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    server.port = runner.addresses[0][1]
    server.settings = {"folders": [server.folder], "ca": str(tmp_path / "ca.pem")}
    yield server
    await runner.cleanup()


@pytest.fixture(name="documents")
def _documents(tmp_path: Path) -> list[SpooledDocument]:
    found = []
    for number in (1, 2):
        octets = f"page {number}".encode() * 100_000
        path = tmp_path / f"{number}.img"
        path.write_bytes(octets)
        digest = hashlib.sha256(octets).hexdigest()
        found.append(SpooledDocument(number, number, DocumentFormat.JFIF, path, len(octets), digest))
    return found


def instructions(*folders: str) -> etree._Element:
    listed = "".join(f"<Folder>{folder}</Folder>" for folder in folders)
    return etree.fromstring(
        f'<Instructions><HttpPutConfig xmlns="{DIALECT}">{listed}</HttpPutConfig></Instructions>'
    )


def order(server: Server, documents: list[SpooledDocument]) -> DeliveryOrder:
    return DeliveryOrder(Destination(server.folder, server.folder), JOB, instructions(), documents)


def test_it_is_what_the_server_looks_for() -> None:
    assert isinstance(HttpPutFilter, DeliveryFilter)
    assert isinstance(HttpPutFilter, ProbedFilter)
    assert KIND.schema is not None
    schema = InstructionsSchema(KIND.schema, KIND.dialect)
    assert schema.violations(instructions("https://files.example.com/scans")) == []
    assert schema.violations(instructions())[0].detail == "Folder"


async def test_documents_arrive_whole_with_the_token(
    server: Server, documents: list[SpooledDocument]
) -> None:
    await server.filter().deliver(order(server, documents), Ledger())
    assert list(server.stored.values()) == [document.path.read_bytes() for document in documents]
    assert server.tokens == {f"Bearer {TOKEN}"}


async def test_whenever_it_dies_everything_is_there_once_in_the_end(
    server: Server, documents: list[SpooledDocument]
) -> None:
    whole = Ledger()
    await server.filter().deliver(order(server, documents), whole)
    expected = dict(server.stored)
    for step in range(1, whole.steps + 1):
        server.stored.clear()
        ledger = Ledger()
        ledger.dies_at = step
        with pytest.raises(Died):
            await server.filter().deliver(order(server, documents), ledger)
        ledger.dies_at = -1
        await server.filter().deliver(order(server, documents), ledger)
        assert server.stored == expected
        assert sorted(ledger.done) == [1, 2]


async def test_a_probe_leaves_nothing_behind(server: Server) -> None:
    probe = ProbeOrder(Destination(server.folder, server.folder), JOB, instructions())
    assert await server.filter().probe(probe)
    assert server.stored == {}
    server.status = 403
    with pytest.raises(DeliveryError, match="answered 403"):
        await server.filter().probe(probe)


@pytest.mark.parametrize(
    ("status", "transient", "reason"),
    [
        (302, False, FilterStateReason.UNKNOWN_ERROR),
        (401, True, FilterStateReason.UNKNOWN_ERROR),
        (404, False, FilterStateReason.UNKNOWN_ERROR),
        (500, True, FilterStateReason.UNKNOWN_ERROR),
        (507, True, FilterStateReason.OUT_OF_DISK_SPACE),
    ],
)
async def test_a_refusal_says_whether_time_can_heal_it(
    server: Server, documents: list[SpooledDocument], status: int, transient: bool, reason: FilterStateReason
) -> None:
    server.status = status
    server.headers = {"Location": "https://127.0.0.1:1/elsewhere"}
    with pytest.raises(DeliveryError) as caught:
        await server.filter().deliver(order(server, documents), Ledger())
    assert (caught.value.transient, caught.value.reason) == (transient, reason)
    assert caught.value.what_to_do
    assert TOKEN not in str(caught.value) + caught.value.what_to_do


async def test_it_waits_as_long_as_it_is_told(server: Server, documents: list[SpooledDocument]) -> None:
    server.status, server.headers = 503, {"Retry-After": "120"}
    with pytest.raises(DeliveryError) as caught:
        await server.filter().deliver(order(server, documents), Ledger())
    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 120


async def test_a_server_that_is_not_trusted_gets_no_token(
    server: Server, documents: list[SpooledDocument]
) -> None:
    with pytest.raises(DeliveryError, match="is not trusted"):
        await server.filter(ca="").deliver(order(server, documents), Ledger())
    assert server.tokens == set()


def test_each_folder_is_one_destination(server: Server) -> None:
    found = server.filter().destinations(
        instructions(server.folder, f"{server.folder}/a/", f"{server.folder}/a"), JOB
    )
    assert [place.key for place in found] == [server.folder, f"{server.folder}/a"]


@pytest.mark.parametrize(
    "outside",
    [
        "https://localhost.example.org/scans",
        "http://localhost:{port}/scans",
        "https://localhost:{port}/scans-of-others",
        "https://localhost:{port}/scans/../private",
        "https://localhost:{port}/scans/%2e%2e/private",
        "https://localhost:{port}/scans?x",
        "https://me:secret@localhost:{port}/scans",
        "https://localhost:{port}/scans\\..\\x",
        "file:///etc",
        "https://[localhost:{port}/scans",
        "",
    ],
)
def test_a_folder_outside_of_the_allowed_is_refused(server: Server, outside: str) -> None:
    with pytest.raises(InstructionsError):
        server.filter().destinations(instructions(outside.format(port=server.port)), JOB)


@pytest.mark.parametrize(
    "settings",
    [
        {"folders": []},
        {"folders": ["http://files.example.com"]},
        {"folders": "https://files.example.com"},
        {"folder": ["https://files.example.com"]},
        {"ca": "relative.pem"},
        {"timeout_seconds": 0},
    ],
)
def test_settings_that_do_not_fit_are_refused_in_words(server: Server, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        server.filter(**settings)
    assert caught.value.what_to_do
