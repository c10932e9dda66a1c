"""Logging on in turns, so that a wrong password is not shown by many deliveries at the same moment.

Directories lock an account after a few wrong passwords. Who waits for a turn while the one before finds the
server away fails the same way without a try, so that deliveries do not wait one by one for who is mute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from postscan.core.errors import PostscanError


class Turns:
    """The turns at one account; belongs to one event loop.

    :param concerns_all: tells of a failure whether those who waited meanwhile would have had it, too.
    """

    def __init__(self, concerns_all: Callable[[PostscanError], bool]) -> None:
        self._concerns_all = concerns_all
        self._one_at_a_time = asyncio.Lock()
        self._failures = 0
        self._last: PostscanError | None = None

    @asynccontextmanager
    async def turn(self, check: Callable[[], None] | None = None) -> AsyncIterator[None]:
        """Surround one try.

        :param check: called first when it is one's turn; raises when there is to be no try.
        :raises PostscanError: what ended the try before, while this one waited.
        """
        before = self._failures
        async with self._one_at_a_time:
            if check is not None:
                check()
            if self._last is not None and self._failures != before:
                raise self._last.with_traceback(None)
            try:
                yield
            except PostscanError as error:
                if self._concerns_all(error):
                    self._failures += 1
                    self._last = error
                raise
