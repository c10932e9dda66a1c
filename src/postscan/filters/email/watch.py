"""A mail server that is away holds up one delivery at a time, and not all that there are.

Each delivery that waits for a mute server takes one of the places that deliveries to other destinations need
(R-7). So once it was found to be away, one of them at a time finds out whether it is back, and the others
fail at once; when it is, all go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError


class ServerWatch:
    """What is known of whether the mail server can be reached; belongs to one event loop."""

    def __init__(self) -> None:
        self._away: DeliveryError | None = None
        self._being_tried = False

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Surround the making of a connection; raises what was found before while another finds out anew."""
        if self._away is None:
            with self._noting():
                yield
            return
        if self._being_tried:
            raise DeliveryError(
                f"{self._away} (found a moment ago)",
                reason=self._away.reason,
                transient=True,
                advice=self._away.what_to_do,
            )
        self._being_tried = True
        try:
            with self._noting():
                yield
        finally:
            self._being_tried = False

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except DeliveryError as error:
            # Any other failure comes from a server that is there.
            self._away = error if error.reason is FilterStateReason.INVALID_SMTP_SERVER else None
            raise
        self._away = None
