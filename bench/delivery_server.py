"""What large jobs cost a real server: its memory, and how fast it answers others meanwhile.

`postscan serve` runs as it does for everybody; jobs come in over HTTP, are put together or read in workers,
and are delivered to a folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median, quantiles
from typing import Final, TypeVar
from uuid import uuid4

from lxml import etree

from bench.delivery_pages import MEMORY_GOAL, bilevel_page, colour_page
from bench.processes import ServerProcess
from bench.servers import PostscanInstallation, environment, postscan_command
from bench.toolbox import OUT, BenchError, emptied
from postscan.contracts.assemble import AssembleConfig
from postscan.contracts.keywords import END_STATES, DocumentFormat, JobState
from postscan.contracts.ocr import OcrConfig
from postscan.contracts.psp import FilterToProcess, write_process
from postscan.core.errors import PostscanError
from postscan.device.client import ScanServerClient
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import ProcessDraft, StoredProcess
from postscan.soap.names import ASSEMBLE, OCR, PSP, qname

__all__ = ["MEMORY_GOAL", "AnswerFigure", "ServerFigure", "measure"]

_T = TypeVar("_T")
_SETTINGS: Final = {
    "POSTSCAN_SERVER__METRICS_LISTEN": "",
    "POSTSCAN_TLS__ENABLED": "false",
    "POSTSCAN_SERVER__MODE": "unauthenticated",
    "POSTSCAN_DEVICES__ALLOW": '["127.0.0.1"]',
    # A job of 500 such pages is larger than the reserve of a small disk would allow.
    "POSTSCAN_LIMITS__MIN_FREE_BYTES": "0",
    "POSTSCAN_LIMITS__MAX_OPEN_JOBS_PER_OWNER": "1000",
}
_LONGEST_SECONDS: Final = 1_800.0


@dataclass(frozen=True, slots=True)
class ServerFigure:
    """One job, scanned, put together and delivered.

    ``server`` is the peak of the server's own resident memory, in octets, ``idle`` what it had taken before;
    ``megabytes`` is what was sent (10^6 octets); ``seconds`` run from Create until all was delivered.
    """

    what: str
    pages: int
    megabytes: float
    idle: int
    server: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AnswerFigure:
    """How long CreatePostScanJob takes, in milliseconds, beside ``jobs`` that wait for OCR or are read.

    ``creates`` were timed.
    """

    jobs: int
    creates: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def measure(work: Path, *, quick: bool) -> tuple[list[ServerFigure], list[AnswerFigure]]:
    """Measure in the folder ``work``.

    :raises BenchError: something is missing, or went wrong.
    """
    pages = 50 if quick else 500
    memory = [_memory(work, what, output, pages) for what, output in (("one PDF", "pdf"), ("as sent", None))]
    return memory, _answers(work, 50, 5.0 if quick else 30.0)


class _Server:
    """A server with a scan process that delivers to a folder after one more step."""

    def __init__(self, work: Path, step: FilterToProcess | None) -> None:
        emptied(work)
        self._work = work
        self._made = PostscanInstallation(work)
        self._directory = EmbeddedDirectory(self._made.folder / "directory", domain=self._made.DOMAIN)
        self.sid, self.process = _run(self._prepared(step))
        self._process: ServerProcess | None = None
        self.address = ""

    def __enter__(self) -> _Server:
        command = [*postscan_command(), "serve", "--json"]
        command += ["--config", str(self._made.folder / "server.toml")]
        process = ServerProcess(command, output=self._work / "output", env=environment(_SETTINGS))
        self._process = process
        self.address = json.loads(process.wait_for_line('"ready"'))["address"]
        return self

    def __exit__(self, *_unused: object) -> None:
        assert self._process is not None
        self._process.stop(60.0)
        shutil.rmtree(self._work, ignore_errors=True)

    def peak_memory(self) -> int:
        """Return the peak of the server's own process, without workers."""
        assert self._process is not None
        self._process.check_alive()
        return self._process.own_peak_memory()

    async def scan(self, device: ScanServerClient, page: bytes, kind: DocumentFormat, pages: int) -> str:
        """Scan a job of so many pages and return its token."""
        token = await device.create(self.process, self.sid)
        for number in range(1, pages + 1):
            await device.send_image(token, number, kind, page)
        await device.end(token)
        return token

    async def ended(self, device: ScanServerClient, token: str) -> None:
        """Wait until a job has ended; raises BenchError when it delivered nothing."""
        async with asyncio.timeout(_LONGEST_SECONDS):
            while True:
                state = (await device.status(token)).state
                if state in END_STATES:
                    break
                await asyncio.sleep(0.1)
        if state != JobState.COMPLETED:
            raise BenchError(f"a job ended as {state}")

    async def _prepared(self, step: FilterToProcess | None) -> tuple[str, StoredProcess]:
        user = await self._directory.user_by_name(self._made.USER)
        if user is None:
            raise BenchError(f"the directory knows no {self._made.USER}")
        stored = await self._directory.processes_for(user)
        plain = next(one for one in stored if len(one.process.instructions.filters) == 1).process
        steps = (step,) if step is not None else ()
        filters = (*steps, *plain.instructions.filters)
        process = replace(plain, instructions=replace(plain.instructions, filters=filters))
        draft = ProcessDraft(uuid4(), "Bench", write_process(process), groups=frozenset({"Everyone"}))
        return user.sid, await self._directory.create_process(draft)


def _memory(work: Path, what: str, output: str | None, pages: int) -> ServerFigure:
    """Take one large job through a server of its own."""
    page = colour_page()
    step = _step(ASSEMBLE, AssembleConfig(output=output).to_element()) if output is not None else None
    with _Server(work / "server", step) as server:
        idle = server.peak_memory()
        began = time.monotonic()

        async def scan() -> None:
            async with ScanServerClient(server.address) as device:
                token = await server.scan(device, page, DocumentFormat.JFIF, pages)
                await server.ended(device, token)

        _run(scan())
        seconds = time.monotonic() - began
        return ServerFigure(what, pages, pages * len(page) / 1e6, idle, server.peak_memory(), seconds)


def _answers(work: Path, jobs: int, seconds: float) -> list[AnswerFigure]:
    """Time Create for so long on an idle server, and then on one with so many jobs to read."""
    page = bilevel_page()
    with _Server(work / "server", _step(OCR, OcrConfig().to_element())) as server:

        async def both() -> list[AnswerFigure]:
            async with ScanServerClient(server.address) as device:
                idle = await _creates(server, device, seconds)
                tokens = [
                    await server.scan(device, page, DocumentFormat.TIFF_SINGLE_G4, 1) for _ in range(jobs)
                ]
                busy = await _creates(server, device, seconds)
                await server.ended(device, tokens[0])
                if (await device.status(tokens[-1])).state in END_STATES:
                    raise BenchError("the jobs were read before the time was over")
                return [_figure(0, idle), _figure(jobs, busy)]

        return _run(both())


async def _creates(server: _Server, device: ScanServerClient, seconds: float) -> list[float]:
    """Create jobs and take them back for so long; return how long each Create took, in seconds."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        token = await device.create(server.process, server.sid)
        took.append(time.monotonic() - began)
        await device.cancel(token)
        await asyncio.sleep(0.05)
    return took


def _figure(jobs: int, took: Sequence[float]) -> AnswerFigure:
    all_ms = [1000 * one for one in took]
    p99 = quantiles(all_ms, n=100, method="inclusive")[98]
    return AnswerFigure(jobs, len(took), median(all_ms), p99, max(all_ms))


def _step(dialect: str, config: etree._Element) -> FilterToProcess:
    instructions = etree.Element(qname(PSP, "Instructions"), nsmap={"psp": PSP})
    instructions.append(config)
    return FilterToProcess(dialect=dialect, instructions=instructions)


def _run(work: Coroutine[None, None, _T]) -> _T:
    try:
        return asyncio.run(work)
    except PostscanError as error:
        raise BenchError(f"the scan server refused or failed: {error}") from error


def main(arguments: Sequence[str]) -> None:
    """Measure, and print what came of it as lines of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.delivery_server", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small job and few of them")
    parser.add_argument("--work", type=Path, default=OUT / "delivery-server", metavar="FOLDER")
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    memory, answers = measure(given.work.resolve(), quick=given.quick)
    for figure in (*map(asdict, memory), *map(asdict, answers)):
        print(json.dumps(figure))


if __name__ == "__main__":
    main(sys.argv[1:])
