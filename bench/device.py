"""Jobs to send images into: created and taken back through the project's own device client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.certificates import TlsClient
from bench.toolbox import BenchError
from postscan.core.errors import PostscanError
from postscan.device.client import ScanServerClient, client_context
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import StoredProcess, User

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs that wait for images: the address of WS-DSP, and their tokens."""

    service: str
    tokens: list[str]


class BenchDevice:
    """A DSM device at which the user ``name`` of an embedded directory signed in."""

    def __init__(
        self, address: str, *, directory: Path, domain: str, name: str, tls: TlsClient | None
    ) -> None:
        self._address = address
        self._tls = client_context(tls.ca, tls.certificate, tls.key) if tls else None
        self._directory = EmbeddedDirectory(directory, domain=domain)
        self._name = name

    def create_jobs(self, count: int) -> Jobs:
        """Find WS-DSP by Probe and Get, and create jobs; raises BenchError with the server's reason."""
        return _run(self._create(count))

    def cancel_jobs(self, jobs: Jobs) -> None:
        """Take jobs back, images and all; raises BenchError with the server's reason."""
        _run(self._cancel(jobs))

    async def _create(self, count: int) -> Jobs:
        user, process = await self._who_and_what()
        async with ScanServerClient(self._address, tls=self._tls) as client:
            service = await client.find()
            return Jobs(service, [await client.create(process, user.sid) for _ in range(count)])

    async def _cancel(self, jobs: Jobs) -> None:
        async with ScanServerClient(self._address, tls=self._tls) as client:
            for token in jobs.tokens:
                await client.cancel(token)

    async def _who_and_what(self) -> tuple[User, StoredProcess]:
        user = await self._directory.user_by_name(self._name)
        if user is None:
            raise BenchError(f"the directory knows no {self._name}")
        processes = await self._directory.processes_for(user)
        if not processes:
            raise BenchError(f"{self._name} may use no scan process")
        return user, processes[0]


def _run(work: Coroutine[None, None, _T]) -> _T:
    try:
        return asyncio.run(work)
    except PostscanError as error:
        raise BenchError(f"the scan server refused or failed: {error}") from error
