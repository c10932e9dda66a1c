"""Messages as they go over the wire: headers and texts in memory, attachments read as they are sent.

Everything is made by the standard library's policies for SMTP, one line end everywhere, and every body is
base64 (abuse case 35): no text of anybody, in whatever it holds, can look like the end of a message. Names of
attachments are written by RFC 2231. The headers follow RFC 5322 and RFC 3834 (Auto-Submitted).
"""

from __future__ import annotations

import binascii
import hashlib
import os
import re
import stat
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from io import BufferedReader
from pathlib import Path
from typing import Final, TypeAlias

from postscan.contracts.formats import media_type_of
from postscan.filters.contract import SpooledDocument
from postscan.filters.email.addresses import MAX_NAME, MailAddress, Mailbox, header_text
from postscan.filters.email.splitting import LINE_OCTETS, encoded_size
from postscan.filters.failures import spool_failure

JOB_HEADER: Final = "X-Postscan-Job"
PART_HEADER: Final = "X-Postscan-Part"
MAX_SUBJECT: Final = 200
PART_OCTETS: Final = 1_600
"""What an attachment takes beside its base64, at most: a name of 255 octets by RFC 2231, type, boundary."""
# What is read, encoded and handed to the connection at a time: bounds the memory a message takes.
_READ: Final = LINE_OCTETS * 4_096
_LINE: Final = 76
_WORD_OCTETS: Final = 45
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9]+( [A-Za-z0-9]+)*", re.ASCII)
_UNCLEAN: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0|[^\r\n]{999}")
_Rules: TypeAlias = "policy.EmailPolicy[EmailMessage]"
_DOT: Final = re.compile(rb"(?m)^\.")
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Texts:
    """What a message says; ``html`` is None where it says it in plain text alone."""

    subject: str
    text: str
    html: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands on a message, and is the same each time it is made.

    ``message_id`` is without angle brackets; ``part`` counts from 1 to ``parts``.
    """

    sender: Mailbox
    reply_to: Mailbox | None
    to: tuple[MailAddress, ...]
    date: datetime
    message_id: str
    job: str
    part: int
    parts: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document and what it is called in a message."""

    document: SpooledDocument
    name: str


def message_id(job: str, destination: str, number: int, domain: str) -> str:
    """Return the Message-ID of a job's message, without angle brackets; the same after a crash."""
    token = job if _ID.fullmatch(job) else hashlib.sha256(job.encode("utf-8", "replace")).hexdigest()[:32]
    tag = hashlib.sha256(destination.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{token}.{tag}.{number}@{domain}"


class MailMessage:
    """One message, ready to be sent as often as it takes.

    :param attachments: whose names are unique among them and safe (filters.naming).
    :raises ValueError: something in the texts cannot be written by the rules of mail.
    """

    def __init__(self, envelope: Envelope, texts: Texts, attachments: Sequence[Attachment]) -> None:
        self.message_id = envelope.message_id
        self.needs_utf8 = any(address.needs_utf8 for address in _addresses(envelope))
        boundary = "=_" + hashlib.sha256(envelope.message_id.encode()).hexdigest()[:32]
        rules = policy.SMTPUTF8 if self.needs_utf8 else policy.SMTP
        self._head = _clean(
            _headers(envelope, texts.subject, boundary, rules) + _body(texts, boundary, rules)
        )
        self._parts = [(_clean(_part_head(one, boundary)), one.document) for one in attachments]
        self._tail = f"--{boundary}--\r\n".encode()

    @property
    def size(self) -> int:
        """How many octets it has as it is transferred (RFC 1870)."""
        parts = sum(len(head) + encoded_size(document.size) for head, document in self._parts)
        return len(self._head) + parts + len(self._tail)

    def chunks(self) -> Generator[bytes, None, None]:
        """Return its octets, piece by piece, with lines that begin with a dot doubled (RFC 5321, 4.5.2).

        Reads files: not for the event loop. No piece is large.

        :raises DeliveryError: a document is missing, or is not what was accepted.
        """
        yield _DOT.sub(b"..", self._head)
        for head, document in self._parts:
            yield head
            yield from _base64(document)
        yield self._tail


def _addresses(envelope: Envelope) -> list[MailAddress]:
    boxes = [envelope.sender, *([envelope.reply_to] if envelope.reply_to else [])]
    return [*(box.address for box in boxes), *envelope.to]


def _headers(envelope: Envelope, subject: str, boundary: str, rules: _Rules) -> bytes:
    message = EmailMessage(policy=rules)
    message["To"] = tuple(address.header() for address in envelope.to)
    message["Subject"] = header_text(subject, MAX_SUBJECT)
    message["Date"] = envelope.date
    message["Auto-Submitted"] = "auto-generated"
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = f'multipart/mixed; boundary="{boundary}"'
    written = _mailbox("From", envelope.sender)
    if envelope.reply_to is not None:
        written += _mailbox("Reply-To", envelope.reply_to)
    written += b"".join(rules.fold_binary(name, value) for name, value in message.raw_items())
    # These are ASCII without spaces, and folding would only spoil long ones.
    ours = (
        f"Message-ID: <{envelope.message_id}>\r\n"
        f"{JOB_HEADER}: {header_text(envelope.job, 100).encode('ascii', 'replace').decode()}\r\n"
        f"{PART_HEADER}: {envelope.part}/{envelope.parts}\r\n"
    )
    return written + ours.encode() + b"\r\n"


def _mailbox(header: str, mailbox: Mailbox) -> bytes:
    """Return a header with a name and an address.

    Not by the standard library: where it folds, it takes the quotes from around a name (in Python 3.11), and
    what is in the name becomes addresses. A name of more than plain words is encoded (RFC 2047) as a whole.
    """
    name = header_text(mailbox.name, MAX_NAME)
    if not name:
        return f"{header}: {mailbox.address}\r\n".encode()
    if _PLAIN_NAME.fullmatch(name):
        return f"{header}: {name} <{mailbox.address}>\r\n".encode()
    return "\r\n ".join([f"{header}:", *_encoded_words(name), f"<{mailbox.address}>\r\n"]).encode()


def _encoded_words(text: str) -> Iterator[str]:
    """Return a text as encoded words of at most 75 characters, each of whole characters (RFC 2047, 5)."""
    octets = b""
    for character in (*text, ""):
        more = character.encode("utf-8", "replace")
        if octets and (not more or len(octets) + len(more) > _WORD_OCTETS):
            yield f"=?utf-8?b?{binascii.b2a_base64(octets, newline=False).decode()}?="
            octets = b""
        octets += more


def _body(texts: Texts, boundary: str, rules: _Rules) -> bytes:
    body = EmailMessage(policy=rules)
    body.set_content(_lines(texts.text), charset="utf-8", cte="base64")
    if texts.html is not None:
        body.add_alternative(_lines(texts.html), subtype="html", charset="utf-8", cte="base64")
        body.set_boundary(f"{boundary}_texts")
    for part in body.walk():
        del part["MIME-Version"]
    octets = body.as_bytes()
    return f"--{boundary}\r\n".encode() + octets + (b"" if octets.endswith(b"\r\n") else b"\r\n")


def _lines(text: str) -> str:
    r"""Return a text with ``\n`` as its only line end, without what Unicode has no character for."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return text.encode("utf-8", "replace").decode()


def _part_head(attachment: Attachment, boundary: str) -> bytes:
    part = EmailMessage(policy=policy.SMTP)
    part["Content-Type"] = media_type_of(attachment.document.format)
    part["Content-Transfer-Encoding"] = "base64"
    part["Content-Disposition"] = "attachment"
    part.set_param("filename", attachment.name, header="Content-Disposition", replace=True)
    written = b"".join(policy.SMTP.fold_binary(name, value) for name, value in part.raw_items())
    return f"--{boundary}\r\n".encode() + written + b"\r\n"


def _clean(octets: bytes) -> bytes:
    """Return ``octets``; raises ValueError when they hold what no line of a message may (abuse case 35)."""
    if (found := _UNCLEAN.search(octets)) is not None:
        raise ValueError(f"a line of the message is not fit to be sent, at octet {found.start()}")
    return octets


def _base64(document: SpooledDocument) -> Iterator[bytes]:
    digest = hashlib.sha256()
    size = 0
    with _open(document.path) as file:
        while octets := file.read(_READ):
            digest.update(octets)
            size += len(octets)
            encoded = binascii.b2a_base64(octets, newline=False)
            lines = [encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE)]
            lines.append(b"")
            yield b"\r\n".join(lines)
    if size != document.size or digest.hexdigest() != document.sha256:
        raise spool_failure(f"document {document.document_id} in the spool is not what was accepted")


def _open(path: Path) -> BufferedReader:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise spool_failure(f"a document is missing from the spool: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise spool_failure("what stands in a document's place in the spool is no file")
    return os.fdopen(descriptor, "rb")
