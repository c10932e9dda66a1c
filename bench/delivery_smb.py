"""How fast documents get to a file server: the filter, beside `smbclient put` and a plain copy on this disk.

One Samba on loopback, in a folder of the same disk. Each round delivers a job of several documents by each
way, over one connection; the filter's are on the server's disk when it says so (it has each flushed twice),
as the plain copies are, while `smbclient` asks for no such thing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from postscan.contracts.keywords import DocumentFormat
from postscan.core.secret import Secret
from postscan.filters.contract import Delivered, DeliveryOrder, Destination, JobFacts, SpooledDocument
from postscan.filters.fileshare import FileShareFilter, FileShareSettings
from postscan.filters.smb.servers import Logon, SmbServer
from postscan.soap.xml import parse
from testservers import fileserver
from testservers.fileserver import SCANNER, FileServer, Share

SIZES: Final = (25 << 20, 600_000)
SIGNED: Final = "signed"
ENCRYPTED: Final = "encrypted"
FILTER: Final = "postscan"
SMBCLIENT: Final = "smbclient put"
COPY: Final = "copy and fsync"
_HOST: Final = "localhost"
_SECONDS: Final = 600
_NO_INSTRUCTIONS: Final = parse(b"<Instructions/>")
_JOB: Final = JobFacts(
    token="bench",  # noqa: S106 - the name of a job, no secret
    process_name="bench",
    user_name="alice",
    user_domain="example.com",
    user_upn="alice@example.com",
    user_mail=None,
    document_root_name="Scan",
    created=datetime(2026, 1, 1, tzinfo=UTC),
)


@dataclass(frozen=True, slots=True)
class SmbRow:
    """How fast documents of one ``size`` (octets) got there by one ``way``, in the middle of some rounds.

    ``protection`` is signed or encrypted, empty for the plain copy, which has no network.
    """

    way: str
    protection: str
    size: int
    documents: int
    megabytes_per_second: float


def missing() -> list[str]:
    """Return what this machine lacks, in words; empty when nothing is missing."""
    found = fileserver.missing()
    return found if shutil.which("smbclient") else [*found, "smbclient (Debian package smbclient)"]


def measure(
    folder: Path, *, rounds: int = 5, octets: int = 100 << 20, sizes: Sequence[int] = SIZES
) -> list[SmbRow]:
    """Measure all ways with all sizes.

    :param folder: an empty folder on the disk to measure with.
    :param rounds: how often; the ways take turns.
    :param octets: about how much each way delivers in a round, at most 100 documents.
    """
    rows: list[SmbRow] = []
    for protection in (SIGNED, ENCRYPTED):
        options = {"server smb encrypt": "off" if protection == SIGNED else "required"}
        shares = [Share("scans", {"read only": "no"})]
        with FileServer(folder / protection, shares=shares, options=options) as server:
            for size in sizes:
                documents = _documents(folder / "spool", size, max(1, min(100, octets // size)))
                ways: dict[str, Callable[[], float]] = {
                    FILTER: partial(_by_filter, server, documents),
                    SMBCLIENT: partial(_by_smbclient, server, documents, protection),
                }
                if protection == SIGNED:
                    ways[COPY] = partial(_by_copy, folder / "copies", documents)
                rows += _rows(ways, documents, protection, rounds)
    return rows


def _rows(
    ways: dict[str, Callable[[], float]],
    documents: Sequence[SpooledDocument],
    protection: str,
    rounds: int,
) -> Iterator[SmbRow]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, measured in ways.items():
            seconds = measured()
            if number:  # the first round warms up
                times[way].append(seconds)
    size = documents[0].size
    for way, found in times.items():
        speed = size * len(documents) / median(found) / 1e6
        yield SmbRow(way, "" if way == COPY else protection, size, len(documents), speed)


def _documents(folder: Path, size: int, count: int) -> list[SpooledDocument]:
    folder.mkdir(exist_ok=True)
    octets = os.urandom(size)
    path = folder / f"{size}"
    path.write_bytes(octets)
    first = SpooledDocument(
        document_id=1,
        number=1,
        format=DocumentFormat.TIFF_SINGLE_G4,
        path=path,
        size=size,
        sha256=hashlib.sha256(octets).hexdigest(),
    )
    return [replace(first, document_id=number, number=number) for number in range(1, count + 1)]


def _by_filter(server: FileServer, documents: Sequence[SpooledDocument]) -> float:
    known = SmbServer(_HOST, Logon.NTLM, SCANNER.name, lambda: Secret(SCANNER.password), port=server.port)
    made = FileShareFilter(FileShareSettings(servers=(known,), zone=UTC))
    order = DeliveryOrder(Destination(rf"\\{_HOST}\scans", "bench"), _JOB, _NO_INSTRUCTIONS, documents)
    with _emptied(server.folder("scans")):
        begin = time.perf_counter()
        asyncio.run(made.deliver(order, _Ledger()))
        return time.perf_counter() - begin


def _by_smbclient(server: FileServer, documents: Sequence[SpooledDocument], protection: str) -> float:
    commands = "; ".join(f"put {one.path} {one.number}.tif" for one in documents)
    command = ["smbclient", f"//{server.address}/scans", "-s", "/dev/null", "-p", str(server.port)]
    command += [f"--client-protection={'sign' if protection == SIGNED else 'encrypt'}", "-c", commands]
    environment = os.environ | {"USER": SCANNER.name, "PASSWD": SCANNER.password}
    with _emptied(server.folder("scans")) as folder:
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=_SECONDS)
        seconds = time.perf_counter() - begin
        if len(list(folder.iterdir())) != len(documents):
            raise RuntimeError("smbclient did not put everything")
    return seconds


def _by_copy(folder: Path, documents: Sequence[SpooledDocument]) -> float:
    folder.mkdir(exist_ok=True)
    with _emptied(folder):
        begin = time.perf_counter()
        for one in documents:
            with one.path.open("rb") as source, (folder / f"{one.number}.tif").open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
        return time.perf_counter() - begin


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    try:
        yield folder
    finally:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class _Ledger:
    """A ledger that costs nothing: what a real one costs is measured with the jobs."""

    async def planned_name(self, document_id: int) -> str | None:
        return None

    async def plan(self, document_id: int, name: str) -> None: ...

    async def delivered(self, delivery: Delivered) -> None: ...

    async def already_delivered(self) -> dict[int, Delivered]:
        return {}

    async def remember(self, key: str, value: str) -> None: ...

    async def remembered(self, key: str) -> str | None:
        return None

    async def warn(self, text: str) -> None: ...
