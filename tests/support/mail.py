"""What mail tests need: a job and its documents, a filter for a mail server, and instructions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from lxml import etree

from postscan.contracts.emlf import EmailConfig
from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryOrder, Destination, JobFacts, ProbeOrder, SpooledDocument
from postscan.filters.email.addresses import DomainPolicy, MailAddress, Mailbox
from postscan.filters.email.filter import EmailFilter
from postscan.filters.email.settings import EmailSettings
from support.delivery import JOB, MemoryLedger
from testservers.mailserver import ACCOUNT, DOMAIN, PASSWORD, MailServer

SCANNER = Mailbox(MailAddress("scan", DOMAIN), "Scanner")
ALICE, BOB, CAROL = (f"{name}@{DOMAIN}" for name in ("alice", "bob", "carol"))


@dataclass(frozen=True)
class Authority:
    """PEM files: an authority, a server's certificate of it for localhost, and its key."""

    ca: Path
    certificate: Path
    key: Path


def settings_of(server: MailServer, authority: Authority, **changes: Any) -> EmailSettings:
    """Return settings for a running mail server."""
    values: dict[str, Any] = {
        "server": server.host,
        "port": server.port,
        "sender": SCANNER,
        "recipients": DomainPolicy.of([DOMAIN]),
        "ca": authority.ca,
        "account": ACCOUNT,
        "password": lambda: Secret(PASSWORD),
        "zone": UTC,
        "timeout_seconds": 30.0,
        "local_name": "localhost",
    }
    return EmailSettings(**(values | changes))


def instructions(
    *addresses: str, user: bool = False, subject: str | None = None, body: str | None = None
) -> etree._Element:
    """Return e-mail instructions."""
    return EmailConfig(send_to_scan_user=user, addresses=addresses, subject=subject, body=body).to_element()


@dataclass
class MailSite:
    """A job, its spool and its ledger, and the filter that sends its mail."""

    folder: Path
    settings: EmailSettings
    job: JobFacts = JOB
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    filter: EmailFilter = field(init=False)

    def __post_init__(self) -> None:
        self.spool.mkdir(parents=True, exist_ok=True)
        self.filter = EmailFilter(self.settings)

    @property
    def spool(self) -> Path:
        """The folder of accepted images."""
        return self.folder / "spool"

    def change(self, **changes: Any) -> None:
        """Go on with other settings, as after a reload."""
        self.settings = replace(self.settings, **changes)
        self.filter = EmailFilter(self.settings)

    def document(
        self, number: int = 1, content: bytes | None = None, *, name: str | None = None, pdf: bool = False
    ) -> SpooledDocument:
        """Put a document into the spool."""
        data = f"page {number} ".encode() * 500 if content is None else content
        path = self.spool / str(number)
        path.write_bytes(data)
        kind = DerivedFormat.PDF if pdf else DocumentFormat.TIFF_SINGLE_G4
        return SpooledDocument(
            number, number, kind, path, len(data), hashlib.sha256(data).hexdigest(), name=name
        )

    def destination(self, wanted: etree._Element) -> Destination:
        """Return the destination of the job."""
        (found,) = self.filter.destinations(wanted, self.job)
        return found

    async def deliver(self, wanted: etree._Element, *documents: SpooledDocument) -> None:
        """Deliver documents."""
        order = DeliveryOrder(self.destination(wanted), self.job, wanted, documents)
        await self.filter.deliver(order, self.ledger)

    async def probe(self, wanted: etree._Element) -> list[str]:
        """Prove the destination."""
        return await self.filter.probe(ProbeOrder(self.destination(wanted), self.job, wanted))


def attachments(message: EmailMessage) -> dict[str, bytes]:
    """Return what is attached to a message, by name."""
    found: dict[str, bytes] = {}
    for part in message.iter_attachments():
        name, content = part.get_filename(), part.get_payload(decode=True)
        assert isinstance(name, str)
        assert isinstance(content, bytes)
        assert name not in found
        found[name] = content
    return found


def text_of(message: EmailMessage, kind: str = "plain") -> str:
    """Return the text of a message."""
    body = message.get_body((kind,))
    assert isinstance(body, EmailMessage)
    text = body.get_content()
    assert isinstance(text, str)
    return text


def all_attachments(messages: Sequence[EmailMessage]) -> Mapping[str, bytes]:
    """Return what is attached to several messages together, none of it twice."""
    found: dict[str, bytes] = {}
    for message in messages:
        for name, content in attachments(message).items():
            assert name not in found
            found[name] = content
    return found
