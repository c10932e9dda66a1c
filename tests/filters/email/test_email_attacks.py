"""What a reviewer tried against the e-mail filter: to lock its account, to hang it, and to send elsewhere."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest

from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.email.addresses import AddressRefused, parse_address
from postscan.filters.email.settings import Security
from support.delivery import MemoryLedger
from support.mail import ALICE, MailSite, instructions
from support.odd_mail import MUTE, OddMailServer, odd_site
from testservers.mailserver import MailServer


@dataclass
class EndlessMailServer(OddMailServer):
    """Begins an answer in one phase, and never comes to its end."""

    phase: str = ""
    piece: bytes = b""
    pause: float = 0.0

    async def _answer(self, writer: asyncio.StreamWriter, line: str, verb: str, default: str = "") -> str:
        while verb == self.phase:
            if writer.transport.is_closing():
                raise ConnectionResetError
            writer.write(self.piece)
            await writer.drain()
            await asyncio.sleep(self.pause)
        return await super()._answer(writer, line, verb, default)


WRONG = {"account": "scan", "insecure": True, "password": lambda: Secret("Wr0ng")}


async def outcomes(site: MailSite, jobs: int) -> list[BaseException | None]:
    """Deliver many jobs at the same time, and return how each ended."""

    async def one(number: int) -> None:
        site.ledger = MemoryLedger()
        await site.deliver(instructions(ALICE), site.document(number))

    return list(await asyncio.gather(*(one(number) for number in range(1, jobs + 1)), return_exceptions=True))


class TestLocking:
    @pytest.mark.parametrize("way", ["PLAIN", "LOGIN"])
    async def test_a_wrong_password_is_tried_once_however_many_jobs_wait(
        self, tmp_path: Path, way: str
    ) -> None:
        no = ["334 UGFzcw==", "535 5.7.8 no"]
        refuse = {"AUTH PLAIN": "535 5.7.8 no", "AUTH LOGIN": "334 VXNlcg==", "LINE": no}
        async with OddMailServer(refuse, extensions=(f"AUTH {way}",)) as server:
            ended = await outcomes(odd_site(tmp_path, server, connections=20, **WRONG), 50)
        assert all(isinstance(one, DeliveryError) and one.transient for one in ended)
        assert len([line for line in server.commands if line.startswith("AUTH")]) == 1

    async def test_jobs_that_wait_for_a_server_that_went_mute_amid_a_sign_in_wait_once(
        self, tmp_path: Path
    ) -> None:
        async with OddMailServer({"AUTH": MUTE}) as server:
            site = odd_site(tmp_path, server, connections=20, **{**WRONG, "timeout_seconds": 2.0})
            ended = await outcomes(site, 20)
        assert all(isinstance(one, DeliveryError) and one.transient for one in ended)
        assert len([line for line in server.commands if line.startswith("AUTH")]) == 1


class TestHostileServer:
    @pytest.mark.parametrize("phase", ["GREETING", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "END"])
    async def test_421_in_any_phase_is_tried_again_and_leaves_no_doubt(
        self, tmp_path: Path, phase: str
    ) -> None:
        answers: dict[str, str | list[str]] = {phase: ["421 4.3.2 Going down"]}
        async with OddMailServer(answers) as server:
            site = odd_site(tmp_path, server, **WRONG)
            with pytest.raises(DeliveryError) as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert caught.value.transient
            assert "421" in str(caught.value)
            assert server.messages == []
            await site.deliver(instructions(ALICE), site.document())
        assert len(server.messages) == 1
        assert site.ledger.warnings == []

    @pytest.mark.parametrize("phase", ["GREETING", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "END", "QUIT"])
    @pytest.mark.parametrize("endless", [b"250-x\r\n", b"x", b"\r\n", b"250-" + b"x" * 900 + b"\r\n"])
    async def test_an_answer_without_end_takes_no_memory(
        self, tmp_path: Path, phase: str, endless: bytes
    ) -> None:
        async with EndlessMailServer(phase=phase, piece=endless * (65_536 // len(endless))) as server:
            site = odd_site(tmp_path, server, **{**WRONG, "timeout_seconds": 5.0})
            tracemalloc.start()
            ended = await outcomes(site, 1)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert phase == "QUIT" or isinstance(ended[0], DeliveryError)
        assert phase != "QUIT" or ended == [None]
        assert peak < 20 << 20

    @pytest.mark.parametrize("phase", ["GREETING", "EHLO", "AUTH", "MAIL", "DATA"])
    async def test_an_answer_of_one_octet_at_a_time_is_given_up(self, tmp_path: Path, phase: str) -> None:
        async with EndlessMailServer(phase=phase, piece=b"2", pause=0.05) as server:
            site = odd_site(tmp_path, server, **{**WRONG, "timeout_seconds": 1.0})
            ended = await asyncio.wait_for(outcomes(site, 1), 120)
        assert isinstance(ended[0], DeliveryError)
        assert ended[0].transient


@pytest.mark.parametrize(
    "text",
    [
        "victim%evil.example@example.com",
        "evil.example!victim@example.com",
        "|/bin/sh@example.com",
        "/etc/passwd@example.com",
        "-oQ/tmp@example.com",
        "a@b@example.com",
        "a@example.org,b@example.com",
        "a@example.com, b@example.com",
        "@relay.example.org:victim@example.com",
        '"victim@evil.example"@example.com',
        "alice(comment)@example.com",
        "alice@example.com.",
        "alice@[127.0.0.1]",
        "alice@127.0.0.1",
        "alice@0x7f.1",
        f"{'a' * 300}@example.com",
    ],
)
def test_what_a_mail_server_may_read_as_another_address_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        parse_address(text)


class TestAdvice:
    async def test_tls_at_a_port_without_it_leads_to_port_and_security(
        self, mail: MailSite, postfix: MailServer
    ) -> None:
        mail.change(security=Security.TLS, port=postfix.port)
        with pytest.raises(DeliveryError, match="does not speak TLS") as caught:
            await mail.deliver(instructions(ALICE), mail.document())
        assert "Check `port` and `security` of [email]" in caught.value.what_to_do

    async def test_who_is_refused_without_an_account_is_told_of_accounts(self, mail: MailSite) -> None:
        mail.change(account="")
        with pytest.raises(DeliveryError, match="refuses every recipient") as caught:
            await mail.deliver(instructions(ALICE), mail.document())
        assert "`account` of [email]" in caught.value.what_to_do
