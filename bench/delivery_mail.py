"""How many mails a second get to a mail server: the filter, beside Python's smtplib sending the same.

One Postfix on loopback, in a folder of the same disk; each mail is submitted over a connection of its own,
with STARTTLS, a checked certificate and AUTH, as jobs are. The ways take turns, one at a time and several
together; smtplib sends from threads. Also measured: what a mail of 25 MB adds to the memory of a process.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from statistics import median
from typing import Final

from bench.certificates import make_certificates
from bench.toolbox import OUT, BenchError, emptied
from postscan.contracts.emlf import EmailConfig
from postscan.contracts.formats import DerivedFormat
from postscan.core.secret import Secret
from postscan.filters.contract import Delivered, DeliveryOrder, JobFacts, SpooledDocument
from postscan.filters.email.addresses import DomainPolicy, parse_mailbox
from postscan.filters.email.filter import EmailFilter
from postscan.filters.email.settings import AuthMethod, EmailSettings
from testservers.mailserver import ACCOUNT, DOMAIN, PASSWORD, MailServer

SIZES: Final = (50_000, 600_000)
AT_A_TIME: Final = (1, 8)
FILTER: Final = "postscan"
SMTPLIB: Final = "smtplib"
_NAME: Final = "bench"
_LARGE: Final = 25_000_000
_TO: Final = f"alice@{DOMAIN}"
_JOB: Final = JobFacts(
    token=_NAME,
    process_name=_NAME,
    user_name="alice",
    user_domain=DOMAIN,
    user_upn=_TO,
    user_mail=_TO,
    document_root_name="Scan",
    created=datetime(2026, 1, 1, tzinfo=UTC),
)


@dataclass(frozen=True, slots=True)
class MailRow:
    """Mails with one attachment of ``size`` octets, so many ``at_a_time``, by one ``way``.

    ``mails_per_second`` is the middle of some rounds of ``mails`` each.
    """

    way: str
    size: int
    at_a_time: int
    mails: int
    mails_per_second: float


@dataclass(frozen=True, slots=True)
class MailMemory:
    """What sending one mail with an attachment of ``size`` octets adds to the peak memory of a process."""

    way: str
    size: int
    octets: int


def missing() -> str | None:
    """Return what this machine lacks, in words; None when nothing is missing."""
    from testservers.mailserver import missing as lacking

    return lacking()


def measure(
    folder: Path, *, rounds: int = 5, mails: int = 80, sizes: Sequence[int] = SIZES
) -> tuple[list[MailRow], list[MailMemory]]:
    """Measure both ways with all sizes, one and several at a time, and the memory of a large mail.

    :param folder: an empty folder on the disk to measure with, which other accounts can pass through.
    :param rounds: how often; the ways take turns, after one round to warm up.
    :param mails: how many each way sends in a round.
    :raises BenchError: the mail server is missing.
    """
    if (lacks := missing()) is not None:
        raise BenchError(f"missing {lacks}")
    server_files, client = make_certificates(folder / "pki")
    rows: list[MailRow] = []
    with MailServer(
        folder / "mail",
        certificate=server_files.certificate,
        key=server_files.key,
        message_size_limit=0,
        one_session=False,
    ) as server:
        for size in sizes:
            document = _document(folder, size)
            for at_a_time in AT_A_TIME:
                ways = _ways(server, client.ca, document, mails, at_a_time)
                rows += _rows(ways, server, size, at_a_time, mails, rounds)
        large = _document(folder, _LARGE)
        memory = [_memory(way, server, client.ca, large) for way in (FILTER, SMTPLIB)]
    return rows, memory


def _ways(
    server: MailServer, ca: Path, document: SpooledDocument, mails: int, at_a_time: int
) -> dict[str, Callable[[], None]]:
    return {
        FILTER: lambda: asyncio.run(_by_filter(server.port, ca, document, mails, at_a_time)),
        SMTPLIB: lambda: _by_smtplib(server.port, ca, document, mails, at_a_time),
    }


def _rows(
    ways: dict[str, Callable[[], None]],
    server: MailServer,
    size: int,
    at_a_time: int,
    mails: int,
    rounds: int,
) -> list[MailRow]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, send in ways.items():
            began = time.perf_counter()
            send()
            if number:  # the first round warms up
                times[way].append(time.perf_counter() - began)
            # What one way left in the queue is not work of the next.
            server.wait_until_empty()
    return [MailRow(way, size, at_a_time, mails, mails / median(found)) for way, found in times.items()]


async def _by_filter(port: int, ca: Path, document: SpooledDocument, mails: int, at_a_time: int) -> None:
    made = EmailFilter(
        EmailSettings(
            server="localhost",
            port=port,
            sender=parse_mailbox(ACCOUNT),
            recipients=DomainPolicy.of([DOMAIN]),
            ca=ca,
            # What smtplib can do, too; SCRAM would cost both sides some milliseconds more.
            auth=AuthMethod.PLAIN,
            account=ACCOUNT,
            password=lambda: Secret(PASSWORD),
            zone=UTC,
            max_message_bytes=0,
            max_recipients_per_hour=1_000_000,
            connections=at_a_time,
            local_name="localhost",
        )
    )
    instructions = EmailConfig(addresses=(_TO,)).to_element()

    async def send(number: int) -> None:
        job = replace(_JOB, token=f"bench-{number}")
        (place,) = made.destinations(instructions, job)
        await made.deliver(DeliveryOrder(place, job, instructions, [document]), _Ledger())

    waiting = iter(range(mails))

    async def some() -> None:
        for number in waiting:
            await send(number)

    await asyncio.gather(*(some() for _ in range(at_a_time)))


def _by_smtplib(port: int, ca: Path, document: SpooledDocument, mails: int, at_a_time: int) -> None:
    context = ssl.create_default_context(cafile=ca)

    def send(number: int) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = ACCOUNT, _TO, f"Scan {number}"
        message["Message-ID"] = f"<bench-{number}@{DOMAIN}>"
        message.set_content("Your scan.", cte="base64")
        message.add_alternative("<p>Your scan.</p>", subtype="html", cte="base64")
        message.add_attachment(
            document.path.read_bytes(), maintype="application", subtype="pdf", filename="Scan.pdf"
        )
        with smtplib.SMTP("localhost", port, local_hostname="localhost", timeout=60) as smtp:
            smtp.starttls(context=context)
            smtp.login(ACCOUNT, PASSWORD)
            smtp.send_message(message)

    with ThreadPoolExecutor(at_a_time) as threads:
        list(threads.map(send, range(mails)))


def _memory(way: str, server: MailServer, ca: Path, document: SpooledDocument) -> MailMemory:
    """Send one mail in a process of its own, after a small one, and see how its peak memory grows."""
    small = _document(document.path.parent, 1_000)
    arguments = [str(server.port), str(ca), str(small.path), str(document.path)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.delivery_mail", "--memory", way, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    server.wait_until_empty()
    return MailMemory(way, document.size, int(done.stdout))


def _tell_memory(way: str, port: int, ca: Path, small: Path, large: Path) -> None:
    peaks = []
    for path in (small, large):
        document = _described(path)
        if way == FILTER:
            asyncio.run(_by_filter(port, ca, document, 1, 1))
        else:
            _by_smtplib(port, ca, document, 1, 1)
        peaks.append(_peak())
    sys.stdout.write(f"{peaks[1] - peaks[0]}\n")


def _peak() -> int:
    """Return this process's own peak of memory so far; getrusage() would count its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024


def _document(folder: Path, size: int) -> SpooledDocument:
    path = folder / f"document-{size}"
    path.write_bytes(os.urandom(size))
    return _described(path)


def _described(path: Path) -> SpooledDocument:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SpooledDocument(1, 1, DerivedFormat.PDF, path, path.stat().st_size, digest)


class _Ledger:
    """Remembers nothing durably: the store is measured elsewhere."""

    def __init__(self) -> None:
        self._notes: dict[str, str] = {}

    async def planned_name(self, document_id: int) -> str | None:
        return None

    async def plan(self, document_id: int, name: str) -> None:
        pass

    async def delivered(self, delivery: Delivered) -> None:
        pass

    async def already_delivered(self) -> dict[int, Delivered]:
        return {}

    async def remember(self, key: str, value: str) -> None:
        self._notes[key] = value

    async def remembered(self, key: str) -> str | None:
        return self._notes.get(key)

    async def warn(self, text: str) -> None:
        raise BenchError(text)


def main(arguments: Sequence[str]) -> None:
    """Measure mail alone, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.delivery_mail")
    parser.add_argument("--quick", action="store_true", help="one short round: a look, no figures")
    parser.add_argument("--memory", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory:
        way, port, ca, small, large = options.memory
        _tell_memory(way, int(port), Path(ca), Path(small), Path(large))
        return
    work = OUT / "work" / "mail"
    emptied(work)
    rounds, mails = (1, 8) if options.quick else (5, 80)
    rows, memory = measure(work, rounds=rounds, mails=mails)
    told = {"rows": [asdict(row) for row in rows], "memory": [asdict(one) for one in memory]}
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
