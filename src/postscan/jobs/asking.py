"""Asks filters, which anybody may have written, so that no answer of theirs ends more than their own work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from postscan.contracts.keywords import FilterStateReason
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.filters.contract import DeliveryError, Destination, Filter, InstructionsError, JobFacts
from postscan.jobs.errors import BrokenContract

if TYPE_CHECKING:
    from lxml.etree import _Element

MAX_ERROR_TEXT: Final = 500
# What ends an event loop that it is raised in. A server hears of signals otherwise.
_ENDINGS: Final = (SystemExit, KeyboardInterrupt)
T = TypeVar("T")

_log = get_logger("jobs")


def destinations_of(
    found: Filter, dialect: str, instructions: _Element, facts: JobFacts
) -> tuple[Destination, ...]:
    """Return the destinations that a filter reads from its instructions.

    :raises PostscanError: it cannot work with them, or failed to read them, in whatever way.
    """
    try:
        places = tuple(found.destinations(instructions, facts))
        for place in places:
            if not isinstance(place, Destination):
                raise TypeError(f"{type(place).__name__} is no destination")
            place.key.encode()
            place.label.encode()
    except PostscanError:
        raise
    # It awaits nothing, so that a cancellation is none of ours; and no filter ends the server.
    except (Exception, asyncio.CancelledError, *_ENDINGS) as error:
        _log.error("a filter failed to read its instructions", filter=dialect, exc_info=error)
        raise InstructionsError(
            f"the filter failed to read its instructions: {type(error).__name__}", detail=dialect
        ) from error
    return places


async def contained(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await what a filter does; one that would end the program fails instead.

    :raises BrokenContract: it wanted to end the program. What else it raises goes through.
    """
    try:
        return await call()
    except _ENDINGS as error:
        raise BrokenContract("the filter wanted to end the program") from error


def is_in_order(error: DeliveryError) -> bool:
    """Tell whether an error says what its class promises; a filter may have put anything into it."""
    return (
        isinstance(error.reason, FilterStateReason)
        and isinstance(error.what_to_do, str)
        and isinstance(error.retry_after, timedelta | None)
    )


def words_of(error: BaseException) -> str:
    """Return what an error says; some cannot even say that."""
    try:
        return str(error)
    except Exception:
        _log.warning("an error cannot be told", kind=type(error).__name__)
        return type(error).__name__


def kept_text(text: str) -> str:
    """Return as much of a text for people as is kept; what is no Unicode (half a surrogate) is a ``?``."""
    return text[:MAX_ERROR_TEXT].encode(errors="replace").decode()
