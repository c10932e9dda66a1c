"""Messages as octets: by the rules, and read back by two readers as they were meant."""

from __future__ import annotations

import base64
import email
import email.header
import email.message
import email.policy
import email.utils
import hashlib
import re
import tempfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.filters.contract import DeliveryError, SpooledDocument
from postscan.filters.email.addresses import MailAddress, Mailbox, header_text
from postscan.filters.email.message import PART_OCTETS, Attachment, Envelope, MailMessage, Texts, message_id
from postscan.filters.email.splitting import encoded_size
from postscan.filters.naming import safe_component
from support.names import NASTY

ENVELOPE = Envelope(
    sender=Mailbox(MailAddress("scan", "example.com"), "Scanner"),
    reply_to=None,
    to=(MailAddress("alice", "example.com"),),
    date=datetime(2026, 11, 21, 14, 30, 5, tzinfo=UTC),
    message_id="job.1@example.com",
    job="job",
    part=1,
    parts=1,
)
ANY_TEXT = st.text(max_size=400) | NASTY


def octets_of(message: MailMessage) -> bytes:
    """Return a message, as it is sent."""
    return b"".join(message.chunks())


def assert_by_the_rules(octets: bytes) -> None:
    """Check what a strict server checks."""
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", octets)
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert octets.isascii()
    assert octets.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in octets
    assert not re.search(rb"(?m)^\.(?!\.)", octets)


def document(folder: Path, content: bytes, number: int = 1, *, pdf: bool = False) -> SpooledDocument:
    """Put a document into a folder."""
    path = folder / str(number)
    path.write_bytes(content)
    kind = DerivedFormat.PDF if pdf else DocumentFormat.TIFF_SINGLE_G4
    return SpooledDocument(number, number, kind, path, len(content), hashlib.sha256(content).hexdigest())


def read(octets: bytes) -> email.message.EmailMessage:
    """Read a message as today's reader of the standard library does."""
    return email.message_from_bytes(octets, policy=email.policy.default)


def read_as_of_old(octets: bytes) -> tuple[str, str, dict[str, bytes]]:
    """Read subject, text and attachments by the older reader, which shares no code for headers."""
    message = email.message_from_bytes(octets, policy=email.policy.compat32)
    subject = str(email.header.make_header(email.header.decode_header(message["Subject"] or "")))
    text, attachments = "", {}
    for part in message.walk():
        content = part.get_payload(decode=True)
        if part.get_content_disposition() == "attachment":
            name: Any = part.get_param("filename", header="content-disposition")
            assert isinstance(content, bytes)
            attachments[email.utils.collapse_rfc2231_value(name)] = content
        elif part.get_content_type() == "text/plain":
            assert isinstance(content, bytes)
            text = content.decode()
    return subject, text, attachments


@given(subject=ANY_TEXT, text=ANY_TEXT, html=st.none() | ANY_TEXT)
@example(subject="a\r\nBcc: eve@evil.example", text="x\r\n.\r\nMAIL FROM:<eve@evil.example>", html=None)
@example(subject="x" * 300, text=".\n..\n", html=".\r\n.")
@example(subject="=?utf-8?q?Bcc=3A?= é", text="\r\r\n\n", html="\x85\u2028")
def test_whatever_a_template_says_stays_in_its_place(subject: str, text: str, html: str | None) -> None:
    octets = octets_of(MailMessage(ENVELOPE, Texts(subject, text, html), []))
    assert_by_the_rules(octets)
    message = read(octets)
    assert message.keys() == [
        *("From", "To", "Subject", "Date", "Auto-Submitted", "MIME-Version", "Content-Type"),
        *("Message-ID", "X-Postscan-Job", "X-Postscan-Part"),
    ]
    assert message["To"] == "alice@example.com"
    assert not message.defects
    body = message.get_body(("plain",))
    assert body is not None
    # splitlines() would take more for line ends than mail knows.
    meant = re.sub("\r\n|\r", "\n", text).replace("\0", "").encode("utf-8", "replace").decode()
    assert body.get_content().replace("\r\n", "\n").rstrip("\n") == meant.rstrip("\n")
    assert (message.get_body(("html",)) is None) == (html is None)


@given(st.text(max_size=150) | NASTY)
def test_a_subject_arrives_as_it_was_written(subject: str) -> None:
    octets = octets_of(MailMessage(ENVELOPE, Texts(subject, "text"), []))
    wanted = header_text(subject, 200)
    assert read(octets)["Subject"].split() == wanted.split()


@given(name=st.text(min_size=1, max_size=300) | NASTY)
@example(name="Größe Ω – 日本語 🖨" * 20)
@example(name="a'b%20c;d=e, f")
@example(name="x" * 250)
@example(name="%41'' *0*=")
@settings(max_examples=300)
def test_a_name_that_is_safe_arrives_as_it_is(name: str) -> None:
    safe = safe_component(name, "Scan")
    with tempfile.TemporaryDirectory() as folder:
        one = document(Path(folder), b"content")
        message = MailMessage(ENVELOPE, Texts("s", "t"), [Attachment(one, safe)])
        octets = octets_of(message)
    assert_by_the_rules(octets)
    (part,) = read(octets).iter_attachments()
    assert part.get_filename() == safe
    assert part.get_payload(decode=True) == b"content"
    assert list(read_as_of_old(octets)[2]) == [safe]
    assert message.size == len(octets)
    assert len(octets) - len(octets_of(MailMessage(ENVELOPE, Texts("s", "t"), []))) <= (
        PART_OCTETS + encoded_size(7)
    )


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_files_arrive_octet_by_octet(contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        attachments = [
            Attachment(document(Path(folder), content, number, pdf=True), f"{number}.pdf")
            for number, content in enumerate(contents)
        ]
        message = MailMessage(ENVELOPE, Texts("s", "t", "<p>"), attachments)
        octets = octets_of(message)
    assert_by_the_rules(octets)
    assert message.size == len(octets)
    assert list(read_as_of_old(octets)[2].values()) == contents
    assert [part.get_content_type() for part in read(octets).iter_attachments()] == (
        ["application/pdf"] * len(contents)
    )


@pytest.mark.parametrize("size", [56, 57, 58, 57 * 4_096 - 1, 57 * 4_096, 57 * 4_096 + 1, 1_000_003])
def test_files_of_any_size_are_encoded_as_the_rules_want_it(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    message = MailMessage(ENVELOPE, Texts("s", "t"), [Attachment(document(tmp_path, content), "a.tif")])
    octets = octets_of(message)
    body = octets.rpartition(b"\r\n\r\n")[2].partition(b"--=_")[0]
    assert base64.b64decode(body, validate=False) == content
    assert {len(line) for line in body.split(b"\r\n")[:-2]} <= {76}
    assert len(body) == encoded_size(size)
    assert message.size == len(octets)


def test_both_readers_understand_the_same(tmp_path: Path) -> None:
    texts = Texts("Scan für Jürgen: Größe Ω 漢字 🖨, Teil 1", "Grüße\n.\nEnde", "<p>Grüße</p>")
    names = ["Rechnung – März 2026.tif", "漢字.tif"]
    attachments = [
        Attachment(document(tmp_path, name.encode() * 99, number), name) for number, name in enumerate(names)
    ]
    octets = octets_of(MailMessage(ENVELOPE, texts, attachments))
    subject, text, found = read_as_of_old(octets)
    message = read(octets)
    assert subject == message["Subject"] == texts.subject
    assert text.replace("\r\n", "\n").rstrip() == texts.text
    assert found == {name: name.encode() * 99 for name in names}
    assert [part.get_filename() for part in message.iter_attachments()] == names


@given(name=st.text(max_size=200) | NASTY, job=st.text(max_size=60) | NASTY)
@example(name="Eve\r\nBcc: eve@evil.example", job="x\r\nBcc: eve@evil.example")
@example(name='" <eve@evil.example>', job="")
@example(name="eve@evil.example, " + "a" * 180, job="")
@example(name="eve@evil.example, " + "a " * 90, job="")
@example(name=":" + "a" * 199, job="")
@example(name="Ω漢🖨" * 60, job="")
def test_a_name_or_token_injects_no_header(name: str, job: str) -> None:
    envelope = Envelope(
        sender=ENVELOPE.sender,
        reply_to=Mailbox(MailAddress("bob", "example.com"), name),
        to=ENVELOPE.to,
        date=ENVELOPE.date,
        message_id=message_id(job, "key", 1, "example.com"),
        job=job,
        part=1,
        parts=1,
    )
    octets = octets_of(MailMessage(envelope, Texts("s", "t"), []))
    assert_by_the_rules(octets)
    message = read(octets)
    assert len(message.keys()) == 11
    (answers,) = message["Reply-To"].addresses
    assert answers.addr_spec == "bob@example.com"
    # This reader keeps the spaces between encoded words, which RFC 2047 (6.2) says are not shown.
    assert answers.display_name.replace(" ", "") == header_text(name, 200).replace(" ", "")
    assert re.fullmatch(r"<[A-Za-z0-9.-]+@example\.com>", message["Message-ID"])


def test_letters_before_the_at_sign_are_written_as_utf8() -> None:
    envelope = Envelope(
        ENVELOPE.sender,
        None,
        (MailAddress("jürgen", "example.com"),),
        ENVELOPE.date,
        "1@a.example",
        "j",
        1,
        1,
    )
    message = MailMessage(envelope, Texts("s", "t"), [])
    assert message.needs_utf8
    assert "To: jürgen@example.com\r\n".encode() in octets_of(message)
    assert not MailMessage(ENVELOPE, Texts("s", "t"), []).needs_utf8


def test_a_message_id_is_the_same_each_time_and_another_for_each_message() -> None:
    ids = [message_id(job, key, n, "a.example") for job in ("j", "k") for key in ("x", "y") for n in (1, 2)]
    assert len(set(ids)) == 8
    assert ids[0] == message_id("j", "x", 1, "a.example")


def test_a_large_file_is_never_held_in_memory(tmp_path: Path) -> None:
    one = document(tmp_path, bytes(25_000_000))
    tracemalloc.start()
    try:
        message = MailMessage(ENVELOPE, Texts("s", "t"), [Attachment(one, "a.tif")])
        assert sum(map(len, message.chunks())) == message.size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_a_document_that_is_cut_short_is_told_of(tmp_path: Path) -> None:
    one = document(tmp_path, bytes(1_000))
    one.path.write_bytes(bytes(999))
    with pytest.raises(DeliveryError, match="not what was accepted"):
        octets_of(MailMessage(ENVELOPE, Texts("s", "t"), [Attachment(one, "a.tif")]))
