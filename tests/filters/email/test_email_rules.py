"""Whom a job may send to, what goes into which message, what messages say, and what is remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.contracts.emlf import EmailConfig
from postscan.contracts.formats import DerivedFormat
from postscan.contracts.schemas import validate
from postscan.core.errors import ConfigurationError, InvalidArgument
from postscan.filters.contract import FileFormat, InstructionsError, JobFacts, SpooledDocument
from postscan.filters.email.addresses import DomainPolicy
from postscan.filters.email.filter import EmailFilter
from postscan.filters.email.hourly import HourlyRecipients
from postscan.filters.email.progress import MessageState, Progress, numbers, ranges
from postscan.filters.email.settings import EmailSettings
from postscan.filters.email.splitting import MAX_ATTACHMENTS, encoded_size, split
from postscan.filters.email.wording import Part, Wording
from postscan.soap.xml import parse
from support.delivery import JOB, MemoryLedger
from support.mail import ALICE, BOB, SCANNER, instructions

SETTINGS = EmailSettings(
    server="mail.example.com", sender=SCANNER, recipients=DomainPolicy.of(["example.com"]), zone=UTC
)
PDF: FileFormat = DerivedFormat.PDF


def labels(*addresses: str, job: JobFacts = JOB, user: bool = False, **changes: object) -> list[str]:
    """Return the labels of the destinations."""
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]  # by name, as each test needs
    return [one.label for one in EmailFilter(settings).destinations(instructions(*addresses, user=user), job)]


class TestRecipients:
    def test_all_are_one_destination(self) -> None:
        assert labels(ALICE, BOB) == ["alice@example.com, bob@example.com"]

    def test_of_many_the_first_are_named(self) -> None:
        assert labels(*(f"a{n}@example.com" for n in range(9)))[0].endswith("a3@example.com and 5 more")

    def test_the_user_is_one_of_them_where_it_is_asked_for(self) -> None:
        assert labels(BOB, user=True) == ["alice@example.com, bob@example.com"]
        assert labels(ALICE, "ALICE@EXAMPLE.COM", user=True) == ["alice@example.com"]

    def test_the_users_own_address_may_be_anywhere(self) -> None:
        job = replace(JOB, user_mail="alice@elsewhere.example")
        assert labels(user=True, job=job) == ["alice@elsewhere.example"]

    def test_a_user_without_address_is_told_of(self) -> None:
        with pytest.raises(InstructionsError, match="no mail address of alice") as caught:
            labels(user=True, job=replace(JOB, user_mail=None))
        assert caught.value.detail == "emlf:SendToScanUser"
        assert "directory" in caught.value.what_to_do

    def test_an_address_of_the_directory_that_is_none_is_told_of(self) -> None:
        with pytest.raises(InstructionsError, match="of alice in the directory is not sent to"):
            labels(user=True, job=replace(JOB, user_mail="alice@example.com\r\nRCPT TO:<eve@evil.example>"))

    def test_nobody_is_told_of(self) -> None:
        with pytest.raises(InstructionsError, match="name no recipient"):
            labels()

    def test_a_domain_outside_is_refused_with_what_to_write(self) -> None:
        with pytest.raises(InstructionsError, match="allow the domains example") as caught:
            labels(ALICE, "eve@evil.example")
        assert (
            caught.value.what_to_do == 'Add "evil.example" to `recipients` of [email] if scans may go there.'
        )
        assert caught.value.detail == "emlf:EmailAddress"

    def test_too_many_are_refused(self) -> None:
        with pytest.raises(InstructionsError, match="3 recipients, and a job may have 2"):
            labels(*(f"a{n}@example.com" for n in range(3)), max_recipients=2)

    def test_instructions_of_another_filter_are_refused(self) -> None:
        with pytest.raises(InstructionsError):
            EmailFilter(SETTINGS).destinations(parse(b"<Instructions/>"), JOB)


class TestHour:
    def test_a_user_who_sends_to_too_many_is_stopped_and_others_are_not(self) -> None:
        sender = EmailFilter(replace(SETTINGS, max_recipients_per_hour=5))
        wanted = instructions(ALICE, BOB)
        for number in range(2):
            sender.destinations(wanted, replace(JOB, token=str(number)))
        with pytest.raises(InstructionsError, match="alice has sent mail to 5 recipients within an hour"):
            sender.destinations(wanted, replace(JOB, token="3", created=JOB.created + timedelta(minutes=5)))
        sender.destinations(wanted, replace(JOB, token="4", user_upn="bob@example.com"))
        sender.destinations(wanted, replace(JOB, token="5", created=JOB.created + timedelta(minutes=61)))

    @given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 4)), max_size=30), st.randoms())
    def test_a_job_that_was_let_in_is_let_in_again_after_a_restart(
        self, jobs: list[tuple[int, int]], random: object
    ) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        before = HourlyRecipients(10)
        accepted = [
            (str(number), start + timedelta(minutes=minute), count)
            for number, (minute, count) in enumerate(sorted(jobs))
            if before.admit("alice", str(number), start + timedelta(minutes=minute), count)
        ]
        assert all(before.admit("alice", *job) for job in accepted)
        random.shuffle(accepted)  # type: ignore[attr-defined]  # a random.Random of hypothesis
        after = HourlyRecipients(10)
        assert all(after.admit("alice", *job) for job in accepted)

    @given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 4)), max_size=40))
    def test_never_more_than_allowed_pass_within_an_hour(self, jobs: list[tuple[int, int]]) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        hourly = HourlyRecipients(10)
        passed = [
            (minute, count)
            for number, (minute, count) in enumerate(sorted(jobs))
            if hourly.admit("alice", f"{number:03}", start + timedelta(minutes=minute), count)
        ]
        for end, _ in passed:
            assert sum(count for minute, count in passed if end - 60 <= minute <= end) <= 10


def spooled(*sizes: int) -> list[SpooledDocument]:
    """Return documents of these sizes, which nobody reads."""
    return [
        SpooledDocument(number, number, PDF, Path("/nowhere"), size, "")
        for number, size in enumerate(sizes, start=1)
    ]


class TestSplitting:
    @given(st.lists(st.integers(0, 5_000), max_size=60), st.integers(300, 9_000))
    def test_each_message_fits_and_nothing_is_lost_or_moved(self, sizes: list[int], limit: int) -> None:
        documents = spooled(*sizes)
        found = split(documents, limit, frame=100, part=50)
        for group in found.messages:
            assert group
            assert 100 + sum(50 + encoded_size(one.size) for one in group) <= limit
        for one in found.too_large:
            assert 150 + encoded_size(one.size) > limit
        kept = [one for group in found.messages for one in group]
        assert kept == [one for one in documents if one not in found.too_large]

    def test_without_a_limit_all_goes_into_one(self) -> None:
        assert len(split(spooled(*[10**9] * 5), 0, frame=100, part=50).messages) == 1

    def test_a_message_has_so_many_attachments_and_no_more(self) -> None:
        found = split(spooled(*[1] * (2 * MAX_ATTACHMENTS + 1)), 0, frame=0, part=0)
        assert [len(group) for group in found.messages] == [MAX_ATTACHMENTS, MAX_ATTACHMENTS, 1]


class TestProgress:
    @given(st.lists(st.integers(0, 2**34), max_size=MAX_ATTACHMENTS))
    def test_numbers_are_read_as_they_were_written(self, values: list[int]) -> None:
        assert numbers(ranges(values)) == tuple(values)

    @given(st.lists(st.integers(2**33, 2**34), min_size=MAX_ATTACHMENTS, max_size=MAX_ATTACHMENTS))
    def test_a_note_fits_the_ledger(self, values: list[int]) -> None:
        people = set(range(0, 1_000, 7))
        message = MessageState(1, tuple(values), 1, 99, set(people), set(), set())
        assert len(message.text()) <= 4_000

    async def test_messages_are_found_again_and_numbers_never_used_twice(self) -> None:
        ledger = MemoryLedger()
        progress = await Progress.load(ledger)
        await progress.add([spooled(1, 2), spooled(3)])
        progress.messages[0].sent = {0, 2}
        await progress.save(progress.messages[0])
        await progress.drop(progress.messages[1])
        await progress.warn("something")
        again = await Progress.load(ledger)
        assert [(one.number, one.sent, one.part, one.parts) for one in again.messages] == [(1, {0, 2}, 1, 2)]
        await again.add([spooled(9)])
        assert [one.number for one in again.messages] == [1, 3]

    async def test_what_was_warned_of_is_told_again_at_the_next_attempt(self) -> None:
        ledger = MemoryLedger()
        progress = await Progress.load(ledger)
        await progress.warn("one")
        await progress.warn("two")
        ledger.warnings.clear()
        again = await Progress.load(ledger)
        await again.warn("two")
        assert ledger.warnings == ["one", "two"]


class TestWording:
    def test_what_is_built_in_tells_who_scanned_what(self) -> None:
        job = replace(JOB, user_display_name="Alice <Example> & Co", document_root_name="Invoice {x}")
        texts = Wording.of(None).texts(job, Part(["a & b.tif", "c.tif"], 1, 1), UTC)
        assert texts.subject == "Invoice {x} (Invoices, 2026-11-21 14:30)"
        assert "Alice <Example> & Co scanned this on 2026-11-21 at 14:30" in texts.text
        assert "Attached (2):\n\na & b.tif\nc.tif\n" in texts.text
        assert texts.html is not None
        assert "Alice &lt;Example&gt; &amp; Co scanned this" in texts.html
        assert "<pre>a &amp; b.tif\nc.tif</pre>" in texts.html

    @given(st.text(max_size=100))
    def test_no_value_becomes_markup(self, text: str) -> None:
        job = replace(JOB, user_display_name=text, process_name=text, document_root_name=text)
        plain = Wording.of(None).texts(JOB, Part([]), UTC).html
        found = Wording.of(None).texts(job, Part([]), UTC).html
        assert plain is not None
        assert found is not None
        assert [found.count(char) for char in "<>\"'"] == [plain.count(char) for char in "<>\"'"]

    def test_a_folder_replaces_what_is_built_in(self, tmp_path: Path) -> None:
        (tmp_path / "subject.txt").write_text("Scan {part} von {parts}\n")
        (tmp_path / "body.txt").write_text("Hallo {name}\n")
        texts = Wording.of(tmp_path).texts(JOB, Part(["a.tif"], 2, 3), UTC)
        assert (texts.subject, texts.text, texts.html) == ("Scan 2 von 3", "Hallo alice", None)
        (tmp_path / "body.html").write_text("<b>{name}</b>")
        assert Wording.of(tmp_path).texts(JOB, Part([]), UTC).html == "<b>alice</b>"

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("subject.txt", b"{pages}", "there is no field {pages}"),
            ("body.txt", b"one\ntwo {", "line 2"),
            ("body.html", b"\xff", "no UTF-8"),
            ("body.txt", b"x" * 30_000, "20000 are allowed"),
        ],
        ids=["unknown-field", "open-brace", "no-utf8", "too-long"],
    )
    def test_a_wrong_template_is_told_of_with_its_file(
        self, tmp_path: Path, name: str, content: bytes, words: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            Wording.of(tmp_path)
        assert str(tmp_path / name) in str(caught.value)
        assert words in str(caught.value)

    def test_a_folder_that_is_not_there_is_told_of(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="does not exist"):
            Wording.of(tmp_path / "nowhere")

    def test_texts_of_a_process_that_are_no_templates_are_refused(self) -> None:
        for wanted in (instructions(ALICE, subject="{files}"), instructions(ALICE, body="{")):
            with pytest.raises(InstructionsError) as caught:
                EmailFilter(SETTINGS).destinations(wanted, JOB)
            assert caught.value.detail in ("px:Subject", "px:Body")


class TestInstructions:
    def test_texts_of_a_process_are_valid_and_read_as_they_were_written(self) -> None:
        wanted = EmailConfig(addresses=(ALICE,), subject="Scan of {user}", body="Hello\n{files}")
        element = wanted.to_element()
        validate(element)
        assert EmailConfig.from_element(element) == wanted

    def test_a_subject_beyond_its_length_is_refused(self) -> None:
        with pytest.raises(InvalidArgument):
            validate(EmailConfig(addresses=(ALICE,), subject="x" * 1_001).to_element())
