"""The memory of a password that was refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final

from postscan.core.clock import Clock, SystemClock
from postscan.core.errors import PostscanError
from postscan.core.secret import Secret
from postscan.filters.sharepoint.library import LibraryError, Trouble
from postscan.filters.turns import Turns

_WRONG_SECONDS: Final = 600.0
_OF_THE_SITE: Final = frozenset({Trouble.AWAY, Trouble.THROTTLED, Trouble.UNTRUSTED})


class RefusedPassword:
    """Remembers a password that a site refused, so that not every job that waits tries it again.

    Directories lock an account after a few wrong passwords, and then whatever else uses it stops as well. So
    one delivery at a time shows the password, and the others wait until it is known to be right. Those that
    find it refused are not failed for good: 401 may also mean that the account may not read one library.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._refused: Secret | None = None
        self._until = 0.0
        self._turns = Turns(_is_of_the_site)

    def refuse(self, password: Secret) -> None:
        """Take note that a password was refused."""
        self._refused, self._until = password, self._clock.monotonic() + _WRONG_SECONDS

    @asynccontextmanager
    async def turn(self, account: str, password: Secret) -> AsyncIterator[None]:
        """Surround a logon by this password.

        :raises LibraryError: it was refused a short while ago, or the site was found away meanwhile.
        """
        async with self._turns.turn(partial(self._check, account, password)):
            yield

    def _check(self, account: str, password: Secret) -> None:
        left = self._until - self._clock.monotonic()
        if password == self._refused and left > 0:
            raise LibraryError(
                f"the account {account} or its password is wrong: it was refused before, and is not tried"
                f" again for {max(1, round(left / 60))} min, or until the settings are reloaded",
                Trouble.NOT_TRIED,
                retry_after=timedelta(seconds=left),
            )


def _is_of_the_site(error: PostscanError) -> bool:
    return isinstance(error, LibraryError) and error.trouble in _OF_THE_SITE
