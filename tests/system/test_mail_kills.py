"""kill -9 of a real server amid what it says to a mail server: no page is lost, none doubled unsaid."""

from __future__ import annotations

import asyncio
import email
import json
import os
import random
import re
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import pytest

from postscan.contracts.keywords import END_STATES, DocumentFormat, JobState
from postscan.soap.names import EMLF, FSF
from support.commands import postscan
from support.odd_mail import OddMailServer
from support.scanning import Site, jpeg, make_installation
from support.served import STUBBORN, Server

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
LATER = "450 4.2.0 Later"
PAGE = 20_000
# The server is killed at each so many-th word; POSTSCAN_MAIL_KILLS=1 is every one, and takes minutes.
EVERY = int(os.environ.get("POSTSCAN_MAIL_KILLS", "5"))


@dataclass
class WatchingMailServer(OddMailServer):
    """Knows who got what, and has something happen at one of the words that are exchanged.

    :ivar at: the number of the word, counted from 1; ``words`` is how many there were.
    :ivar got: the documents each recipient got, as often as they came.
    """

    at: int = 0
    happens: Callable[[], Awaitable[None]] | None = None
    words: int = 0
    doubtful: bool = False
    got: Counter[tuple[str, str]] = field(default_factory=Counter)
    _taken: list[str] = field(default_factory=list)
    _text: bytes = b""

    async def _message(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._text = await reader.readuntil(b"\r\n.\r\n")
        await self._answer(writer, "END", "END")

    async def _answer(self, writer: StreamWriter, line: str, verb: str, default: str = "") -> str:
        self.words += 1
        if verb == "MAIL":
            self._taken = []
        if verb == "END":
            self._deliver()
        if self.words == self.at and self.happens is not None:
            self.doubtful = verb == "END"
            await self.happens()
            raise ConnectionResetError
        said = await super()._answer(writer, line, verb, default)
        if verb == "RCPT" and said.startswith("250"):
            self._taken.append(line[len("RCPT TO:<") : -1])
        return said

    def _deliver(self) -> None:
        read: Message = email.message_from_bytes(self._text)
        names = [name for part in read.walk() if (name := part.get_filename())]
        self.got.update((who, name) for who in self._taken for name in names)


def make_site(folder: Path, port: int) -> Site:
    """Make an installation whose process sends mail to three people, a page in each message."""
    made = make_installation(
        folder,
        retry={"first_seconds": 1},
        email={
            "server": "127.0.0.1",
            "port": port,
            "security": "none",
            "sender": "scan@example.com",
            "max_message_bytes": 40_000,
            "timeout_seconds": 20,
        },
    )
    [process] = made.directory.glob("processes/scan-to-my-folder.xml")
    who = "".join(f"<e:EmailAddress>{one}</e:EmailAddress>" for one in (ALICE, BOB, CAROL))
    config = f"<e:EmailConfig xmlns:e='{EMLF}'><e:SendToAddresses>{who}</e:SendToAddresses></e:EmailConfig>"
    text = process.read_text().replace(f"Dialect>{FSF}<", f"Dialect>{EMLF}<")
    process.write_text(re.sub(r"<fsf:FileShareConfig.*</fsf:FileShareConfig>", config, text, flags=re.DOTALL))
    return Site(made)


async def scan(site: Site) -> str:
    """Scan two pages, and wait until the job has ended; return its token."""
    async with site.device("alice", STUBBORN) as device, asyncio.timeout(120):
        token = await device.create(await site.process(), (await site.user()).sid)
        for number in (1, 2):
            await device.send_image(token, number, DocumentFormat.JFIF, jpeg(number, PAGE))
        await device.end(token)
        while (status := await device.status(token)).state not in END_STATES:
            await asyncio.sleep(0.05)
    assert status.state is JobState.COMPLETED
    return token


async def told(site: Site, token: str) -> str:
    """Return all that `postscan jobs show` says of a job."""
    said = await asyncio.to_thread(
        postscan, "jobs", "show", token, "--json", "--config", str(site.made.config)
    )
    assert said.returncode == 0, said.stderr
    return json.dumps(json.loads(said.stdout))


@pytest.mark.kills
@pytest.mark.timeout(900)
async def test_a_kill_at_any_word_loses_no_page_and_doubles_none_unsaid(tmp_path: Path) -> None:
    async with WatchingMailServer() as mail:
        site = make_site(tmp_path / "site", mail.port)
        server = Server(site)
        await server.start()

        async def again() -> None:
            await server.kill()
            await server.start()

        try:
            at, total = random.SystemRandom().randrange(EVERY), EVERY
            while at <= total:
                # One of the recipients is put off at first, for each of the two messages, and one refused.
                mail.answers = {f"RCPT TO:<{BOB}": [LATER, LATER], f"RCPT TO:<{CAROL}": "550 5.1.1 No"}
                mail.got, mail.words, mail.at = Counter(), 0, at
                mail.happens, mail.doubtful = again, False
                token = await scan(site)
                said = await told(site, token)
                assert {who for who, _ in mail.got} == {ALICE, BOB}
                assert len({name for _, name in mail.got}) == 2
                assert len(mail.got) == 4
                twice = [one for one, times in mail.got.items() if times > 1]
                assert all(times <= 2 for times in mail.got.values())
                assert ("twice" in said) == mail.doubtful, f"word {at}: {said}"
                assert mail.doubtful or not twice
                assert f"{CAROL} got nothing" in said
                at, total = at + EVERY, max(total, mail.words)
        finally:
            await server.stop()
        assert total > 15
