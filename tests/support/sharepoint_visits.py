"""Deliveries to the stubs of SharePoint Online: connections, libraries, documents."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from postscan.core.secret import Secret
from postscan.filters.entra.app import EntraApp
from postscan.filters.entra.tokens import EntraTokens
from postscan.filters.sharepoint.address import LibraryAddress, Origin, parse_library_address, parse_origin
from postscan.filters.sharepoint.bearer import BearerAuth
from postscan.filters.sharepoint.connection import HttpSite
from postscan.filters.sharepoint.graph import GraphLibrary
from postscan.filters.sharepoint.library import DocumentLibrary, Upload
from postscan.filters.sharepoint.rest import RestLibrary
from postscan.filters.sharepoint.rest_upload import UploadLimits
from support.delivery import MemoryLedger
from support.sharepoint_stub import CLIENT_ID, TENANT, SharePointStub

UNIT = 320 * 1024


@dataclass
class Visit:
    """What tests have in hand: the stub, tokens for it, a ledger, and documents in a folder."""

    stub: SharePointStub
    folder: Path
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def __post_init__(self) -> None:
        self.tls: ssl.SSLContext = self.stub.client_context()
        self.tokens = EntraTokens(self.app(), context=self.tls)

    def app(self, **changes: object) -> EntraApp:
        """Return the app that the stub's authority knows; ``changes`` are fields that differ."""
        usual: dict[str, object] = {
            "tenant": TENANT,
            "client_id": CLIENT_ID,
            "certificate": self.stub.certificate,
            "private_key": Secret(self.stub.private_key),
            "authority": f"localhost:{self.stub.authority_server.port}",
        }
        return EntraApp(**{**usual, **changes})  # type: ignore[arg-type] # fields by name

    def address(self, path: str = "/sites/team/Shared Documents") -> LibraryAddress:
        """Return the address of a library of the stub."""
        return parse_library_address(self.stub.sharepoint_server.origin + quote(path))

    @asynccontextmanager
    async def rest(
        self, path: str = "/sites/team/Shared Documents", *, limits: UploadLimits | None = None
    ) -> AsyncIterator[DocumentLibrary]:
        """Open a library by REST."""
        address = self.address(path)
        site = HttpSite(address.origin, BearerAuth(self.tokens, address.origin), tls=self.tls)
        library = RestLibrary(site, address, limits=limits)
        try:
            yield library
        finally:
            await library.close()

    @asynccontextmanager
    async def graph(
        self, path: str = "/sites/team/Shared Documents", *, upload_origins: tuple[Origin, ...] = ()
    ) -> AsyncIterator[DocumentLibrary]:
        """Open a library by Graph; fragments are of 1 MiB and a quarter."""
        origin = parse_origin(self.stub.graph_server.origin)
        library = GraphLibrary(
            HttpSite(origin, BearerAuth(self.tokens, origin), tls=self.tls),
            self.address(path),
            upload_site=lambda where: HttpSite(where, None, tls=self.tls),
            upload_origins=upload_origins,
            fragment=4 * UNIT,
        )
        try:
            yield library
        finally:
            await library.close()

    def upload(
        self, name: str = "Invoice.pdf", content: bytes = b"%PDF-1.7 " * 100, key: str = "1"
    ) -> Upload:
        """Write a document and return its upload."""
        path = self.folder / f"document-{key}"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        return Upload(name, path, len(content), digest, key, "application/pdf")

    def stored(self) -> Mapping[str, bytes]:
        """Return all files of the site, by their path below the library."""
        return self.stub.site.content()


@asynccontextmanager
async def visit(folder: Path) -> AsyncIterator[Visit]:
    """Start the stub, and have a visit to it."""
    documents = folder / "documents"
    documents.mkdir()
    async with SharePointStub(folder / "stub") as stub:
        yield Visit(stub, documents)
