"""Mail of a job at a real mail server."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError
from postscan.filters.email.settings import ReplyTo
from support.delivery import JOB
from support.mail import ALICE, BOB, CAROL, MailSite, all_attachments, attachments, instructions, text_of
from testservers.mailserver import MailServer


class TestOneMessage:
    async def test_every_document_arrives_as_it_was_scanned(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        documents = [mail.document(number, bytes(range(256)) * number * 300) for number in (1, 2, 3)]
        await mail.deliver(instructions(ALICE), *documents)
        postfix.wait_until_empty()
        (message,) = postfix.arrived(ALICE)
        assert list(attachments(message).values()) == [one.path.read_bytes() for one in documents]
        assert list(attachments(message)) == [
            f"Invoice_2026-11-21_143005_alice_{number:03}.tif" for number in (1, 2, 3)
        ]
        assert {part.get_content_type() for part in message.iter_attachments()} == {"image/tiff"}

    async def test_what_is_delivered_is_written_down(self, mail: MailSite) -> None:
        document = mail.document()
        await mail.deliver(instructions(ALICE), document)
        done = mail.ledger.done[1]
        assert (done.name, done.size) == ("Invoice_2026-11-21_143005_alice_001.tif", document.size)
        assert mail.ledger.planned == {1: done.name}

    async def test_its_headers_say_whose_it_is(self, mail: MailSite, postfix: MailServer) -> None:
        await mail.deliver(instructions(ALICE, BOB), mail.document())
        postfix.wait_until_empty()
        (message,) = postfix.arrived(BOB)
        assert message["From"] == "Scanner <scan@example.com>"
        assert message["To"] == f"{ALICE}, {BOB}"
        assert message["Reply-To"] == ALICE
        assert message["Subject"] == "Invoice (Invoices, 2026-11-21 14:30)"
        assert message["Date"].datetime == datetime(2026, 11, 21, 14, 30, 5, tzinfo=UTC)
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["X-Postscan-Job"] == JOB.token
        assert re.fullmatch(rf"<{JOB.token}\.[0-9a-f]{{12}}\.1@example\.com>", message["Message-ID"])
        assert "Invoice_2026-11-21_143005_alice_001.tif" in text_of(message)
        assert "Invoice_2026-11-21_143005_alice_001.tif" in text_of(message, "html")
        assert message["Return-Path"] == "<scan@example.com>"

    async def test_answers_can_go_to_nobody(self, mail: MailSite, postfix: MailServer) -> None:
        mail.change(reply_to=ReplyTo.NONE)
        await mail.deliver(instructions(ALICE), mail.document())
        postfix.wait_until_empty()
        assert postfix.arrived(ALICE)[0]["Reply-To"] is None

    async def test_letters_of_any_script_arrive(self, mail: MailSite, postfix: MailServer) -> None:
        name = "Lieferschein Größe Ω – 日本語 " + "lang " * 30
        wanted = instructions(ALICE, subject="Scan für {user}: Ünïcode 漢字 🖨", body="Grüße,\n{files}\n")
        await mail.deliver(wanted, mail.document(name=name.strip()))
        postfix.wait_until_empty()
        (message,) = postfix.arrived(ALICE)
        assert message["Subject"] == "Scan für alice: Ünïcode 漢字 🖨"
        (found,) = attachments(message)
        assert found == mail.ledger.done[1].name
        assert found.startswith("Lieferschein Größe Ω – 日本語 lang")
        assert text_of(message).splitlines() == ["Grüße,", found]
        assert message.get_body(("html",)) is None

    async def test_an_address_of_other_letters_is_sent_to(self, mail: MailSite, postfix: MailServer) -> None:
        await mail.deliver(instructions("jürgen@example.com", BOB), mail.document())
        postfix.wait_until_empty()
        assert len(postfix.arrived("jürgen@example.com")) == 1
        assert "jürgen@example.com" in postfix.octets(BOB)[0].decode()

    async def test_documents_of_one_name_are_told_apart(self, mail: MailSite, postfix: MailServer) -> None:
        await mail.deliver(
            instructions(ALICE), *(mail.document(number, name="Receipt", pdf=True) for number in (1, 2, 3))
        )
        postfix.wait_until_empty()
        assert len(attachments(postfix.arrived(ALICE)[0])) == 3

    async def test_no_line_is_longer_than_the_rules_allow(self, mail: MailSite, postfix: MailServer) -> None:
        await mail.deliver(instructions(ALICE, body="x" * 5_000), mail.document(1, bytes(100_000)))
        postfix.wait_until_empty()
        assert max(map(len, postfix.octets(ALICE)[0].splitlines())) <= 998


class TestManyMessages:
    async def test_more_than_fits_is_split_into_numbered_messages(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        mail.change(max_message_bytes=500_000)
        documents = [mail.document(number, bytes([number]) * 150_000) for number in range(1, 8)]
        await mail.deliver(instructions(ALICE), *documents)
        postfix.wait_until_empty()
        messages = sorted(postfix.arrived(ALICE), key=lambda one: str(one["X-Postscan-Part"]))
        assert [one["X-Postscan-Part"] for one in messages] == ["1/4", "2/4", "3/4", "4/4"]
        assert messages[1]["Subject"].endswith(" (2/4)")
        assert len({one["Message-ID"] for one in messages}) == 4
        assert list(all_attachments(messages).values()) == [one.path.read_bytes() for one in documents]
        assert all(len(octets) < 501_000 for octets in postfix.octets(ALICE))

    async def test_the_limit_of_the_server_counts(self, mail: MailSite, postfix: MailServer) -> None:
        postfix.limit_messages(300_000)
        documents = [mail.document(number, bytes([number]) * 100_000) for number in (1, 2, 3)]
        await mail.deliver(instructions(ALICE), *documents)
        postfix.wait_until_empty()
        assert len(postfix.arrived(ALICE)) == 2

    async def test_a_document_beyond_the_limit_fails_and_the_others_go(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        postfix.limit_messages(300_000)
        documents = [mail.document(1), mail.document(2, bytes(400_000)), mail.document(3)]
        with pytest.raises(DeliveryError) as caught:
            await mail.deliver(instructions(ALICE), *documents)
        assert not caught.value.transient
        assert caught.value.reason is FilterStateReason.UNABLE_TO_SEND_EMAIL
        assert "alice_002.tif has 400.0 KB" in str(caught.value)
        assert "allows 300.0 KB" in str(caught.value)
        postfix.wait_until_empty()
        (message,) = postfix.arrived(ALICE)
        assert [name[-7:-4] for name in attachments(message)] == ["001", "003"]
        assert set(mail.ledger.done) == {1, 3}

    async def test_with_a_raised_limit_a_retry_sends_only_what_was_missing(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        postfix.limit_messages(300_000)
        documents = [mail.document(1), mail.document(2, bytes(400_000))]
        with pytest.raises(DeliveryError):
            await mail.deliver(instructions(ALICE), *documents)
        postfix.limit_messages(1_000_000)
        await mail.deliver(instructions(ALICE), *documents)
        postfix.wait_until_empty()
        assert len(all_attachments(postfix.arrived(ALICE))) == 2
        assert len({one["Message-ID"] for one in postfix.arrived(ALICE)}) == 2

    async def test_a_message_refused_for_its_size_is_split_after_the_limit_was_lowered(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        documents = [mail.document(number, bytes([number]) * 150_000) for number in (1, 2, 3)]
        postfix.answer_recipients({ALICE: "450 4.2.0 Later"})
        with pytest.raises(DeliveryError):
            await mail.deliver(instructions(ALICE), *documents)
        postfix.answer_recipients({})
        postfix.limit_messages(300_000)
        await mail.deliver(instructions(ALICE), *documents)
        postfix.wait_until_empty()
        assert len(all_attachments(postfix.arrived(ALICE))) == 3


class TestSomeRecipients:
    async def test_one_who_is_refused_is_warned_of_and_the_others_have_it(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        await mail.deliver(instructions(ALICE, "nobody@example.com", BOB), mail.document())
        postfix.wait_until_empty()
        assert len(postfix.arrived(ALICE)) == len(postfix.arrived(BOB)) == 1
        (warning,) = mail.ledger.warnings
        assert warning.startswith("nobody@example.com got nothing: the mail server localhost:")
        assert "User unknown" in warning
        assert set(mail.ledger.done) == {1}

    async def test_one_who_is_put_off_gets_it_later_and_nobody_twice(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        postfix.answer_recipients({BOB: "450 4.2.0 Greylisted, come back"})
        document = mail.document()
        with pytest.raises(
            DeliveryError, match=r"puts off 1 of 3 recipients: bob@example.com: 450 "
        ) as caught:
            await mail.deliver(instructions(ALICE, BOB, CAROL), document)
        assert caught.value.transient
        assert mail.ledger.done == {}
        postfix.answer_recipients({})
        await mail.deliver(instructions(ALICE, BOB, CAROL), document)
        postfix.wait_until_empty()
        assert [len(postfix.arrived(who)) for who in (ALICE, BOB, CAROL)] == [1, 1, 1]
        assert postfix.arrived(ALICE)[0]["Message-ID"] == postfix.arrived(BOB)[0]["Message-ID"]
        assert set(mail.ledger.done) == {1}

    async def test_one_over_quota_is_put_off_by_452_and_refused_by_552(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        postfix.answer_recipients({BOB: "452 4.2.2 Over quota", CAROL: "552 5.2.2 Over quota"})
        with pytest.raises(DeliveryError, match=r"bob@example.com: 452") as caught:
            await mail.deliver(instructions(ALICE, BOB, CAROL), mail.document())
        assert caught.value.transient
        assert [warning[:30] for warning in mail.ledger.warnings] == ["carol@example.com got nothing:"]

    async def test_when_all_are_refused_it_fails_and_a_retry_asks_all_again(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        postfix.answer_recipients({ALICE: "550 5.7.1 Not for you", BOB: "550 5.1.1 Unknown"})
        document = mail.document()
        with pytest.raises(DeliveryError, match=r"refuses every recipient: alice@example.com: 550") as caught:
            await mail.deliver(instructions(ALICE, BOB), document)
        assert not caught.value.transient
        assert caught.value.reason is FilterStateReason.UNABLE_TO_SEND_EMAIL
        postfix.answer_recipients({})
        await mail.deliver(instructions(ALICE, BOB), document)
        postfix.wait_until_empty()
        assert [len(postfix.arrived(who)) for who in (ALICE, BOB)] == [1, 1]

    async def test_of_more_than_the_server_takes_at_once_all_get_it(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        # Postfix takes 50 recipients a message here and says 452 4.5.3 to the next one.
        people = [f"alice+{number}@example.com" for number in range(60)]
        mail.change(max_recipients=100)
        await mail.deliver(instructions(*people), mail.document())
        postfix.wait_until_empty()
        got = [str(message["Delivered-To"]) for message in postfix.arrived(ALICE)]
        assert sorted(got) == sorted(people)

    async def test_a_server_that_hangs_up_on_many_refusals_is_asked_the_rest_later(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        # Postfix ends a session after twenty errors.
        strangers = [f"nobody{number}@example.com" for number in range(25)]
        wanted, document = instructions(*strangers, ALICE), mail.document()
        with pytest.raises(DeliveryError, match=r"421|closed the connection") as caught:
            await mail.deliver(wanted, document)
        assert caught.value.transient
        await mail.deliver(wanted, document)
        postfix.wait_until_empty()
        assert len(postfix.arrived(ALICE)) == 1
        assert len(mail.ledger.warnings) == 25

    async def test_what_is_there_already_is_not_sent_again(self, mail: MailSite, postfix: MailServer) -> None:
        document = mail.document()
        for _ in range(3):
            await mail.deliver(instructions(ALICE), document)
        postfix.wait_until_empty()
        assert len(postfix.arrived(ALICE)) == 1


async def test_many_jobs_at_a_time_all_arrive(mail: MailSite, postfix: MailServer) -> None:
    sites = [MailSite(mail.folder / str(number), mail.settings) for number in range(12)]
    await asyncio.gather(*(site.deliver(instructions(ALICE), site.document()) for site in sites))
    postfix.wait_until_empty()
    assert len(postfix.arrived(ALICE)) == 12
