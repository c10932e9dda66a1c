"""Looks again and again whether the directory answers, and asks it for the authorities it names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.directory.model import Directory, DirectoryError
from postscan.server.enterprise import EnterpriseAuthorities

LOOK_SECONDS: Final = 30.0
RENEW_SECONDS: Final = 3_600.0
# How long a start, or a reload, waits for the authorities of the directory before it goes on without.
WAIT_SECONDS: Final = 15.0
_log = get_logger("directory")


class DirectoryUpkeep:
    """The regular work with a directory that may be away; jobs that were accepted do not wait for it.

    :param authorities: what of the directory is to be kept fresh; None for nothing.
    :param renewed: puts the authorities into force when they are others; may raise PostscanError.
    """

    def __init__(
        self,
        directory: Directory,
        authorities: EnterpriseAuthorities | None,
        renewed: Callable[[], Awaitable[bool]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._authorities = authorities
        self._renewed = renewed
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._since_renewal = 0.0
        # Whether TLS goes by what was read last.
        self._in_force = False
        self.trouble: str | None = None

    async def begin(self) -> None:
        """Ask for the authorities before the server listens, if the directory answers soon."""
        if self._authorities is None:
            return
        try:
            await self._refresh(self._authorities)
        except PostscanError as error:
            self._note(str(error), error.what_to_do)
        else:
            self._in_force = True

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """End looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def look(self) -> None:
        """Look once; what is wrong is logged when it is news, and kept in ``trouble``."""
        try:
            await self._directory.ping()
        except PostscanError as error:
            self._note(str(error), error.what_to_do)
            return
        self._note(None)
        if self._authorities is not None and (not self._in_force or self._since_renewal >= RENEW_SECONDS):
            self._in_force = False
            await self.read_authorities()
            await self._renewed()
            self._in_force = self._authorities.was_read

    async def read_authorities(self) -> None:
        """Ask for the authorities now, without putting them into force; errors are logged."""
        if self._authorities is None:
            return
        try:
            await self._refresh(self._authorities)
        except PostscanError as error:
            _log.warning("authorities of the directory not renewed", why=str(error), advice=error.what_to_do)
        else:
            self._since_renewal = 0.0

    @staticmethod
    async def _refresh(authorities: EnterpriseAuthorities) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await authorities.refresh()
        except TimeoutError as error:
            raise DirectoryError(f"it does not tell its authorities within {WAIT_SECONDS:g} s") from error

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # whatever it is, looking must go on
                _log.error("looking after the directory failed; it will be tried again", error=str(error))
            await self._sleep(LOOK_SECONDS)
            self._since_renewal += LOOK_SECONDS

    def _note(self, trouble: str | None, advice: str = "") -> None:
        if trouble is not None and self.trouble is None:
            _log.error(
                "the directory does not answer: no job begins, accepted ones go on",
                why=trouble,
                advice=advice,
            )
        elif trouble is None and self.trouble is not None:
            _log.info("the directory answers again")
        self.trouble = trouble
