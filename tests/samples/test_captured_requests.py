"""Captured requests, octet for octet but for their path, sent to a running server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from postscan.contracts import wsd
from postscan.contracts.metadata import read_metadata
from postscan.soap.names import WSDP, WXF, qname
from support.samples import FOLDER, MISSING, sample_files
from support.scanning import Site, running
from support.wire import Answer, wire

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not sample_files(), reason=MISSING),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Run a scan server while the module's tests do."""
    async with running(tmp_path_factory.mktemp("samples") / "site") as site:
        yield site


def matches_in(answer: Answer) -> tuple[wsd.ProbeMatch, ...]:
    body = answer.envelope.body
    assert body is not None
    return wsd.ProbeMatches.from_element(body).matches


def is_ours(answer: Answer, site: Site) -> None:
    (match,) = matches_in(answer)
    assert match.xaddrs == (site.url,)
    assert qname(WSDP, "Device") in match.types


def is_nobody(answer: Answer, site: Site) -> None:
    assert matches_in(answer) == ()


def is_our_metadata(answer: Answer, site: Site) -> None:
    envelope = answer.envelope
    assert envelope.headers.action == f"{WXF}/GetResponse"
    assert envelope.body is not None
    host = read_metadata(envelope.body).relationship.host
    assert host is not None
    assert host.addresses == (site.url,)


def is_no_operation_of_ours(answer: Answer, site: Site) -> None:
    assert (answer.status, answer.subcode) == (400, "ActionNotSupported")


Check = Callable[[Answer, Site], None]
REQUESTS: dict[str, tuple[str | None, Check]] = {
    "real/11-airscan-directed-probe-http-to-canon.http": (None, is_ours),
    "peers/19-gsoap-probe-unbound-type-prefix.http": (None, is_nobody),
    "peers/08-wsdd-0.9-get-request.http": ("/ScanServer", is_our_metadata),
    "msdocs/07-wsdapi-get-wire.http": ("/ScanServer/", is_our_metadata),
    "peers/10-airscan-0.99.27-getscannerelements-configuration.http": (
        "/ScanServer",
        is_no_operation_of_ours,
    ),
    "peers/11-airscan-0.99.27-getscannerelements-status.http": ("/ScanServer", is_no_operation_of_ours),
    "peers/12-airscan-0.99.27-createscanjob.http": ("/ScanServer", is_no_operation_of_ours),
    "peers/13-airscan-0.99.27-retrieveimage.http": ("/ScanServer", is_no_operation_of_ours),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_running_server_answers_a_captured_request(site: Site, name: str) -> None:
    path, check = REQUESTS[name]
    data = (FOLDER / "samples" / name).read_bytes()
    if b"\r\n" not in data:  # stored with other line ends than the wire has
        head, _, body = data.partition(b"\n\n")
        data = head.replace(b"562", b"%d" % len(body)).replace(b"\n", b"\r\n") + b"\r\n\r\n" + body
    if path is not None:
        method, _, rest = data.partition(b" ")
        data = method + b" " + path.encode() + b" " + rest.partition(b" ")[2]
    async with wire(site, user=None) as peer:
        await peer.say(data)
        check(await peer.answer(), site)
