"""Mail servers that are away, slow, odd or killed, and what becomes of a job meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError
from support.delivery import MemoryLedger
from support.mail import ALICE, BOB, MailSite, attachments, instructions
from support.odd_mail import DROP, MUTE, OddMailServer, odd_site
from testservers.mailserver import MailServer


@contextmanager
def listening(backlog: int = 5) -> Iterator[int]:
    """Listen at a port where nobody ever says anything."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(backlog)
        yield one.getsockname()[1]


class TestAway:
    async def test_a_closed_port_is_told_of(self, mail: MailSite) -> None:
        with listening() as port:
            pass
        mail.change(port=port)
        with pytest.raises(DeliveryError, match=f"localhost:{port} cannot be reached: .*refused") as caught:
            await mail.deliver(instructions(ALICE), mail.document())
        assert caught.value.transient
        assert caught.value.reason is FilterStateReason.INVALID_SMTP_SERVER

    async def test_a_name_that_dns_does_not_know_is_told_of(self, mail: MailSite) -> None:
        mail.change(server="mail.invalid")
        with pytest.raises(DeliveryError, match=r"mail\.invalid:\d+ cannot be reached") as caught:
            await mail.deliver(instructions(ALICE), mail.document())
        assert caught.value.transient

    async def test_a_mute_server_is_given_up_on(self, mail: MailSite) -> None:
        with listening() as port:
            mail.change(port=port, timeout_seconds=0.2)
            with pytest.raises(DeliveryError, match=r"does not answer within 0\.2 seconds") as caught:
                await mail.deliver(instructions(ALICE), mail.document())
            assert caught.value.transient

    async def test_a_frozen_server_is_given_up_on_and_used_again(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        mail.change(timeout_seconds=1.0)
        postfix.freeze()
        with pytest.raises(DeliveryError, match="does not answer within 1 seconds"):
            await mail.deliver(instructions(ALICE), mail.document())
        postfix.thaw()
        mail.change(timeout_seconds=30.0)
        await mail.deliver(instructions(ALICE), mail.document())
        postfix.wait_until_empty()
        assert len(postfix.arrived(ALICE)) == 1

    async def test_of_many_deliveries_one_at_a_time_waits_for_a_server_that_is_away(
        self, tmp_path: Path
    ) -> None:
        async with OddMailServer({"GREETING": [DROP, MUTE]}) as server:
            site = odd_site(tmp_path, server, timeout_seconds=60.0)
            document, wanted = site.document(), instructions(ALICE)
            with pytest.raises(DeliveryError):
                await site.deliver(wanted, document)
            waiting = asyncio.create_task(site.deliver(wanted, document))
            while len(server.sessions) < 1:
                await asyncio.sleep(0.01)
            for _ in range(20):
                with pytest.raises(DeliveryError, match="found a moment ago") as caught:
                    await site.deliver(wanted, document)
                assert caught.value.transient
            waiting.cancel()
            await asyncio.wait([waiting])
            await site.deliver(wanted, document)
            site.ledger = MemoryLedger()
            await site.deliver(wanted, document)
            assert len(server.messages) == 2

    @pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA"])
    @pytest.mark.parametrize("answer", [MUTE, DROP])
    async def test_silence_or_an_end_anywhere_leaves_no_doubt(
        self, tmp_path: Path, verb: str, answer: str
    ) -> None:
        async with OddMailServer({verb: [answer]}) as server:
            site = odd_site(tmp_path, server, timeout_seconds=0.3 if answer == MUTE else 20.0)
            with pytest.raises(DeliveryError) as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert caught.value.transient
            site.change(timeout_seconds=20.0)
            await site.deliver(instructions(ALICE), site.document())
            assert len(server.messages) == 1
            assert site.ledger.warnings == []

    async def test_a_server_that_speaks_no_smtp_is_told_of(self, tmp_path: Path) -> None:
        async with OddMailServer({"GREETING": "HTTP/1.1 400 Bad Request"}) as server:
            site = odd_site(tmp_path, server)
            with pytest.raises(DeliveryError, match="none of SMTP") as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert caught.value.reason is FilterStateReason.INVALID_SMTP_SERVER

    async def test_what_a_server_says_is_told_without_tricks_and_at_no_length(self, tmp_path: Path) -> None:
        async with OddMailServer({"RCPT": "550 \x1b[31m\x07 no\u202e " + "x" * 5_000}) as server:
            site = odd_site(tmp_path, server)
            with pytest.raises(DeliveryError) as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 500

    async def test_a_server_that_says_421_is_asked_again(self, tmp_path: Path) -> None:
        async with OddMailServer({"MAIL": ["421 4.3.2 Shutting down"]}) as server:
            site = odd_site(tmp_path, server)
            with pytest.raises(DeliveryError, match="421") as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert caught.value.transient
            await site.deliver(instructions(ALICE), site.document())


class TestRefusals:
    @pytest.mark.parametrize(
        ("answers", "transient", "words"),
        [
            ({"MAIL": "550 5.7.60 Not yours"}, False, "refuses mail from scan@example.com: 550"),
            ({"MAIL": "452 4.3.1 Insufficient storage"}, True, "takes no message now: 452"),
            ({"MAIL": "530 5.7.0 Authentication required"}, True, "wants an account"),
            ({"MAIL": "552 5.3.4 Too big"}, False, "takes no message that large: 552"),
            ({"DATA": "554 5.5.1 No"}, False, "refuses message 1 of 1 to alice@example.com: 554"),
            ({"END": "554 5.7.1 Looks like spam"}, False, "refuses message 1 of 1"),
            ({"END": "552 5.3.4 Too big"}, False, "takes no message that large: 552"),
            ({"END": "552 5.2.2 Over quota"}, False, "refuses message 1 of 1"),
            ({"END": "421 4.3.2 Shutting down"}, True, "takes no message now: 421"),
            ({"END": "451 4.7.1 Greylisted"}, True, "takes no message now: 451"),
            ({"END": "452 4.3.1 Insufficient storage"}, True, "takes no message now: 452"),
        ],
        ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else None,
    )
    async def test_each_is_told_apart(
        self, tmp_path: Path, answers: dict[str, str], transient: bool, words: str
    ) -> None:
        async with OddMailServer(answers) as server:
            site = odd_site(tmp_path, server)
            with pytest.raises(DeliveryError) as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert words in str(caught.value)
            assert caught.value.transient is transient
            assert caught.value.what_to_do
            assert site.ledger.done == {}
            with pytest.raises(DeliveryError):
                await site.deliver(instructions(ALICE), site.document())
            assert site.ledger.warnings == []

    async def test_a_message_that_is_refused_does_not_keep_the_next_ones(self, tmp_path: Path) -> None:
        async with OddMailServer({"END": ["554 5.7.1 Not this one"]}) as server:
            site = odd_site(tmp_path, server, max_message_bytes=20_000)
            with pytest.raises(DeliveryError, match="message 1 of 3"):
                await site.deliver(instructions(ALICE), *(site.document(n, bytes(9_000)) for n in (1, 2, 3)))
            assert len(server.messages) == 2
            assert set(site.ledger.done) == {2, 3}

    async def test_a_server_without_smtputf8_is_not_told_of_other_letters(self, tmp_path: Path) -> None:
        async with OddMailServer(extensions=("SIZE 1000000",)) as server:
            site = odd_site(tmp_path, server)
            await site.deliver(instructions("jürgen@example.com", ALICE), site.document())
            assert all(command.isascii() for command in server.commands)
            assert server.messages[0].split(b"\r\n\r\n")[0].isascii()
            assert b"rgen@" not in server.messages[0]
            (warning,) = site.ledger.warnings
            assert warning.startswith("jürgen@example.com got nothing")
            assert "SMTPUTF8" in warning

    async def test_recipients_beyond_the_servers_number_get_it_in_the_next_message(
        self, tmp_path: Path
    ) -> None:
        answers = {"RCPT": ["250 Ok", "452 4.5.3 Too many", "250 Ok"]}
        async with OddMailServer(answers) as server:
            site = odd_site(tmp_path, server)
            await site.deliver(instructions(ALICE, BOB), site.document())
            assert len(server.messages) == 2
            assert site.ledger.warnings == []


class TestDoubt:
    @pytest.mark.parametrize("answer", [MUTE, DROP])
    async def test_an_answer_that_never_comes_is_warned_of_and_the_message_sent_again(
        self, tmp_path: Path, answer: str
    ) -> None:
        async with OddMailServer({"END": [answer]}) as server:
            site = odd_site(tmp_path, server, end_seconds=0.3)
            with pytest.raises(DeliveryError) as caught:
                await site.deliver(instructions(ALICE, BOB), site.document())
            assert caught.value.transient
            site.change(end_seconds=30.0)
            await site.deliver(instructions(ALICE, BOB), site.document())
            (warning,) = site.ledger.warnings
            assert warning.startswith(f"{ALICE}, {BOB} may have got message 1 of 1 twice")
            message_id = warning.rpartition("<")[2].rstrip(">")
            assert message_id.encode() in server.messages[0]

    async def test_a_crash_before_the_answer_is_recorded_leaves_the_same_message_id(
        self, tmp_path: Path
    ) -> None:
        class Crash(Exception):
            pass

        class CrashingLedger(MemoryLedger):
            """Dies when it is told that the recipients have it."""

            async def remember(self, key: str, value: str) -> None:
                if '"sent"' in value:
                    raise Crash
                await super().remember(key, value)

        async with OddMailServer() as server:
            site = odd_site(tmp_path, server)
            site.ledger = CrashingLedger()
            with pytest.raises(Crash):
                await site.deliver(instructions(ALICE), site.document())
            notes, planned = dict(site.ledger.notes), dict(site.ledger.planned)
            site.ledger = MemoryLedger()
            site.ledger.notes, site.ledger.planned = notes, planned
            await site.deliver(instructions(ALICE), site.document())
            first, second = server.messages
            assert first == second
            assert len(site.ledger.warnings) == 1

    @pytest.mark.parametrize("writes", range(8))
    async def test_a_crash_at_any_write_loses_nothing_and_doubles_nothing_unsaid(
        self, tmp_path: Path, writes: int
    ) -> None:
        class Crash(Exception):
            pass

        class CrashingLedger(MemoryLedger):
            """Dies at one of its writes."""

            left = writes

            def _write(self) -> None:
                if self.left == 0:
                    raise Crash
                self.left -= 1

            async def plan(self, document_id: int, name: str) -> None:
                self._write()
                await super().plan(document_id, name)

            async def remember(self, key: str, value: str) -> None:
                self._write()
                await super().remember(key, value)

            async def delivered(self, delivery: Any) -> None:
                self._write()
                await super().delivered(delivery)

        async with OddMailServer() as server:
            site = odd_site(tmp_path, server)
            ledger = CrashingLedger()
            site.ledger = ledger
            documents = [site.document(1), site.document(2)]
            try:
                await site.deliver(instructions(ALICE), *documents)
            except Crash:
                ledger.left = -1
                await site.deliver(instructions(ALICE), *documents)
            assert set(ledger.done) == {1, 2}
            assert len(server.messages) == 1 + len(ledger.warnings)
            assert len(set(server.messages)) == 1

    async def test_a_canceled_delivery_ends_the_connection_before_the_message_counts(
        self, tmp_path: Path
    ) -> None:
        async with OddMailServer({"DATA": [MUTE]}) as server:
            site = odd_site(tmp_path, server)
            delivery = asyncio.create_task(site.deliver(instructions(ALICE), site.document()))
            while "DATA" not in server.commands:
                await asyncio.sleep(0.01)
            delivery.cancel()
            with pytest.raises(asyncio.CancelledError):
                await delivery
            await site.deliver(instructions(ALICE), site.document())
            assert len(server.messages) == 1
            assert site.ledger.warnings == []


class TestKilled:
    async def test_a_server_killed_amid_a_message_gets_it_once_when_it_is_back(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        document = mail.document(1, bytes(range(256)) * 60_000)
        delivery = asyncio.create_task(mail.deliver(instructions(ALICE), document))
        incoming = postfix.folder / "queue/incoming"
        while not any(incoming.glob("*")) and not delivery.done():
            await asyncio.sleep(0.001)
        assert not delivery.done()
        postfix.kill()
        with pytest.raises(DeliveryError, match=r"closed the connection|cannot be reached") as caught:
            await delivery
        assert caught.value.transient
        with pytest.raises(DeliveryError, match="cannot be reached"):
            await mail.deliver(instructions(ALICE), document)
        postfix.start()
        await mail.deliver(instructions(ALICE), document)
        postfix.wait_until_empty()
        (message,) = postfix.arrived(ALICE)
        assert list(attachments(message).values()) == [document.path.read_bytes()]
        assert mail.ledger.warnings == []

    async def test_an_image_that_changed_in_the_spool_is_sent_to_nobody(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        document = mail.document(1, b"the scan" * 1_000)
        document.path.write_bytes(b"another!" * 1_000)
        with pytest.raises(DeliveryError, match="not what was accepted") as caught:
            await mail.deliver(instructions(ALICE), document)
        assert not caught.value.transient
        document.path.unlink()
        document.path.symlink_to("/etc/hostname")
        with pytest.raises(DeliveryError, match="missing from the spool"):
            await mail.deliver(instructions(ALICE), document)
        postfix.wait_until_empty()
        assert postfix.arrived(ALICE) == []


class TestProbe:
    async def test_a_probe_says_what_it_proved_and_sends_nothing(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        found = await mail.probe(instructions(ALICE, BOB))
        assert found == [
            f"the mail server {mail.settings.place} is reached with TLSv1.3, and its certificate is trusted",
            "scan@example.com signed in by SCRAM-SHA-256",
            "mail from scan@example.com is taken",
            "mail to alice@example.com is taken",
            "mail to bob@example.com is taken",
            "messages may have up to 25.0 MB (the server takes 30.0 MB)",
        ]
        postfix.wait_until_empty()
        assert postfix.arrived(ALICE) == []

    async def test_a_probe_tells_of_each_recipient_that_is_refused(self, mail: MailSite) -> None:
        with pytest.raises(DeliveryError, match=r"refuses one@example\.com: 550 .*; two@example\.com: 550"):
            await mail.probe(instructions(ALICE, "one@example.com", "two@example.com"))

    async def test_a_probe_tells_those_that_are_put_off_apart(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        postfix.answer_recipients({BOB: "450 4.2.0 Greylisted"})
        with pytest.raises(DeliveryError, match=r"puts off bob@example\.com: 450") as caught:
            await mail.probe(instructions(ALICE, BOB))
        assert caught.value.transient
