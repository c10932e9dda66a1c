"""SharePoint Online out of a settings file as the manual has it, against the stubs under its own names."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postscan.cli.filters_sharepoint import sharepoint_filter, sharepoint_secret_uses
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.filters.contract import DeliveryError, DeliveryOrder, Destination, ProbeOrder, SpooledDocument
from support import issuing
from support.delivery import JOB, NO_INSTRUCTIONS, MemoryLedger
from support.sharepoint_stub import CLIENT_ID, ONLINE, TENANT, SharePointStub

LIBRARY = f"https://{ONLINE}/sites/team/Shared%20Documents"
LARGE = os.urandom(5 * 1024 * 1024)
APIS = ["rest", "graph"]


@pytest.fixture
async def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SharePointStub]:
    """Start the stubs, and let the names of the products lead to them."""
    resolve = socket.getaddrinfo
    async with SharePointStub(tmp_path / "stub") as running:
        ports = running.be_online()

        def lead(host: Any, port: Any, *args: Any, **more: Any) -> Any:
            if host in ports:
                return resolve("127.0.0.1", ports[host], *args, **more)
            return resolve(host, port, *args, **more)

        monkeypatch.setattr(socket, "getaddrinfo", lead)
        yield running


def installed(folder: Path, stub: SharePointStub, api: str, more: str = "") -> LoadedSettings:
    """Write an installation's files, and read its settings."""
    folder.mkdir(mode=0o700)
    (folder / "app.pem").write_text(stub.certificate)
    (folder / "app.key").write_text(stub.private_key)
    (folder / "app.key").chmod(0o600)
    text = f"""
[server]
fqdn = "scan.example.com"

[sharepoint.sites."https://{ONLINE}"]
api = "{api}"
auth = "entra"
tenant = "{TENANT}"
client_id = "{CLIENT_ID}"
certificate = "app.pem"
key = "app.key"
ca = "{stub.ca}"
columns = {{ Title = "{{document}}" }}
{more}
"""
    path = folder / "server.toml"
    path.write_text(text)
    return load_settings(path, {})


def order(folder: Path, *contents: bytes) -> DeliveryOrder:
    """Return the order to deliver documents to the library."""
    documents = []
    for number, content in enumerate(contents, 1):
        path = folder / f"document-{number}"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        documents.append(SpooledDocument(number, number, DocumentFormat.PDF_A, path, len(content), digest))
    return DeliveryOrder(Destination(LIBRARY, "the library"), JOB, NO_INSTRUCTIONS, documents)


@pytest.mark.parametrize("api", APIS)
async def test_documents_arrive_as_the_manual_says(stub: SharePointStub, tmp_path: Path, api: str) -> None:
    made = sharepoint_filter(installed(tmp_path / "installation", stub, api))
    assert made is not None
    await made.deliver(order(tmp_path, b"%PDF small", LARGE), MemoryLedger())
    assert list(stub.site.content().values()) == [b"%PDF small", LARGE]
    assert {one.headers["Host"] for one in stub.seen} <= {
        ONLINE,
        "graph.microsoft.com",
        "login.microsoftonline.com",
    }


@pytest.mark.parametrize("api", APIS)
async def test_many_deliveries_use_one_token(stub: SharePointStub, tmp_path: Path, api: str) -> None:
    made = sharepoint_filter(installed(tmp_path / "installation", stub, api))
    assert made is not None
    for _ in range(3):
        await made.deliver(order(tmp_path, b"%PDF small"), MemoryLedger())
    assert len(stub.authority.tokens) == 1
    assert len(stub.site.content()) == 3


@pytest.mark.parametrize("api", APIS)
async def test_a_probe_says_what_it_proved(stub: SharePointStub, tmp_path: Path, api: str) -> None:
    made = sharepoint_filter(installed(tmp_path / "installation", stub, api))
    assert made is not None
    said = await made.probe(ProbeOrder(Destination(LIBRARY, "the library"), JOB, NO_INSTRUCTIONS))
    print(*said, sep="\n")
    assert said
    assert stub.site.content() == {}


async def test_a_certificate_that_is_not_registered_is_told_with_what_to_do(
    stub: SharePointStub, tmp_path: Path
) -> None:
    stub.authority.certificate = issuing.self_signed(issuing.Wish("x", key=issuing.rsa_key())).certificate
    made = sharepoint_filter(installed(tmp_path / "installation", stub, "graph"))
    assert made is not None
    with pytest.raises(DeliveryError, match="AADSTS700027") as caught:
        await made.deliver(order(tmp_path, b"x"), MemoryLedger())
    assert caught.value.reason is FilterStateReason.SHAREPOINT_ACCESS_DENIED
    assert not caught.value.transient
    assert "Upload the certificate" in caught.value.what_to_do


@pytest.mark.parametrize(
    ("file", "content"),
    [("app.pem", "x"), ("app.key", "x"), ("app.pem", None), ("app.key", None)],
    ids=["no certificate", "no key", "certificate away", "key away"],
)
async def test_files_of_the_app_that_cannot_be_used_fail_the_delivery_with_words(
    stub: SharePointStub, tmp_path: Path, file: str, content: str | None
) -> None:
    loaded = installed(tmp_path / "installation", stub, "graph")
    path = tmp_path / "installation" / file
    path.unlink()
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    made = sharepoint_filter(loaded)
    assert made is not None
    with pytest.raises(DeliveryError) as caught:
        await made.deliver(order(tmp_path, b"x"), MemoryLedger())
    assert caught.value.reason is FilterStateReason.SHAREPOINT_ACCESS_DENIED
    assert caught.value.what_to_do
    assert stub.seen == []


def test_case_26_the_passphrase_is_bound_to_authority_tenant_and_app(
    stub: SharePointStub, tmp_path: Path
) -> None:
    loaded = installed(tmp_path / "installation", stub, "graph", "key_has_passphrase = true")
    (use,) = sharepoint_secret_uses(loaded.settings)
    assert use.name == f"sharepoint.{ONLINE}.passphrase"
    assert {"authority login.microsoftonline.com", f"tenant {TENANT}", f"app {CLIENT_ID}"} <= set(
        use.destination
    )
