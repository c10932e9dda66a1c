"""The memory of a password that was refused."""

from __future__ import annotations

from typing import Final

from postscan.core.clock import Clock, SystemClock
from postscan.core.secret import Secret
from postscan.filters.sharepoint.library import LibraryError, Trouble

_WRONG_SECONDS: Final = 600.0


class RefusedPassword:
    """Remembers a password that a site refused, so that not every job that waits tries it again.

    Directories lock an account after a few wrong passwords, and then whatever else uses it stops as well.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._refused: Secret | None = None
        self._until = 0.0

    def refuse(self, password: Secret) -> None:
        """Take note that a password was refused."""
        self._refused, self._until = password, self._clock.monotonic() + _WRONG_SECONDS

    def check(self, account: str, password: Secret) -> None:
        """Stop before a password that was refused is tried again too soon.

        :raises LibraryError: it was.
        """
        left = self._until - self._clock.monotonic()
        if password == self._refused and left > 0:
            raise LibraryError(
                f"the account {account} or its password is wrong: it was refused before, and is not tried"
                f" again for {max(1, round(left / 60))} min, or until the settings are reloaded",
                Trouble.WRONG_CREDENTIALS,
            )
