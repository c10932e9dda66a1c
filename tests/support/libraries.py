"""What deliveries to document libraries need: a running Apache, the filter, documents, a ledger."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.spf import SharePointConfig
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryLedger, DeliveryOrder, Destination, JobFacts, SpooledDocument
from postscan.filters.sharepoint.address import LibraryAddress, Origin, encoded, parse_origin
from postscan.filters.sharepoint.auth import BasicAuth, NtlmAuth
from postscan.filters.sharepoint.columns import COLUMN_FIELDS
from postscan.filters.sharepoint.connection import SHAREPOINT_HEADERS, HttpSite, SiteLimits
from postscan.filters.sharepoint.filter import SharePointFilter
from postscan.filters.sharepoint.http import HttpAuth
from postscan.filters.sharepoint.names import NameRules
from postscan.filters.sharepoint.visit import SharePointSite
from postscan.filters.sharepoint.webdav import WebdavLibrary
from postscan.filters.templates import Template
from support.delivery import JOB, NO_INSTRUCTIONS, MemoryLedger
from testservers.webserver import ACCOUNT, LIBRARY, NTLM_DOMAIN, PASSWORD, Logon, WebServer

AuthMaker = Callable[[Origin], HttpAuth | None]


def basic(origin: Origin) -> HttpAuth:
    """Log on by Basic with the right password."""
    return BasicAuth(origin, ACCOUNT, Secret(PASSWORD))


def ntlm(origin: Origin) -> HttpAuth:
    """Log on by NTLM with the right password."""
    return NtlmAuth(origin, f"{NTLM_DOMAIN}\\{ACCOUNT}", Secret(PASSWORD))


def nobody(origin: Origin) -> HttpAuth | None:
    """Do not log on."""
    return None


@dataclass
class LibrarySite:
    """The libraries of one origin, and all that is needed to deliver to them.

    ``ca`` is the authority of its certificate; ``spool`` is where documents are put.
    """

    origin: str
    ca: Path
    spool: Path
    auth: AuthMaker = basic
    limits: SiteLimits = field(default_factory=lambda: SiteLimits(connect_seconds=20, answer_seconds=60))
    columns: Mapping[str, str] = field(default_factory=dict)
    rules: NameRules = NameRules.STRICT
    job: JobFacts = JOB
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def filter(self) -> SharePointFilter:
        """Return the filter with this site alone."""
        columns = {name: Template.parse(text, COLUMN_FIELDS) for name, text in self.columns.items()}
        site = SharePointSite(self.open_library, rules=self.rules, columns=columns)
        return SharePointFilter({parse_origin(self.origin): site}, UTC)

    def open_library(self, address: LibraryAddress) -> WebdavLibrary:
        """Return the adapter of a library, with a connection of its own."""
        return WebdavLibrary(self.connection(encoded(*address.path) + "/"), address)

    def connection(self, log_on_path: str = "/") -> HttpSite:
        """Return a connection to the origin."""
        origin = parse_origin(self.origin)
        return HttpSite(
            origin,
            self.auth(origin),
            tls=ssl.create_default_context(cafile=self.ca) if origin.scheme == "https" else None,
            limits=self.limits,
            log_on_path=log_on_path,
            headers=SHAREPOINT_HEADERS,
        )

    def destination(self, path: str = LIBRARY) -> Destination:
        """Return the destination that a scan process with this path means."""
        instructions = SharePointConfig(urls=(self.origin + path,)).to_element()
        [found] = self.filter().destinations(instructions, self.job)
        return found

    def document(self, number: int = 1, content: bytes | None = None) -> SpooledDocument:
        """Put a document into the spool."""
        data = f"page {number} ".encode() * 1000 if content is None else content
        path = self.spool / str(number)
        path.write_bytes(data)
        return SpooledDocument(
            document_id=number,
            number=number,
            format=DocumentFormat.TIFF_SINGLE_G4,
            path=path,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    async def deliver(
        self, *documents: SpooledDocument, path: str = LIBRARY, ledger: DeliveryLedger | None = None
    ) -> None:
        """Deliver documents to a library."""
        order = DeliveryOrder(self.destination(path), self.job, NO_INSTRUCTIONS, documents)
        await self.filter().deliver(order, ledger or self.ledger)


def site_of(web: WebServer, ca: Path, spool: Path, logon: Logon, auth: AuthMaker) -> LibrarySite:
    """Return the site at the port of one way of logging on."""
    return LibrarySite(web.origin(logon), ca, spool, auth)
