"""Answers that hold what was asked for by name, and stay below the size that peers accept (trap 3 and 17)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from postscan.contracts.binding import Bound
from postscan.core.errors import InvalidArgument
from postscan.core.log import get_logger
from postscan.soap.xml import serialize

_log = get_logger("server")
_MOST_NAMES: Final = 32
# WSDAPI drops envelopes of more than 32,767 octets; the rest is for the envelope itself.
ROOM: Final = 28_000
_E = TypeVar("_E", bound=Bound)


async def answers_by_name(
    names: Sequence[str],
    element: Callable[[str], Awaitable[_E]],
    unknown: Callable[[str], _E],
    *,
    detail: str,
) -> tuple[_E, ...]:
    """Return one answer a name, in order.

    One that would make the whole larger than peers accept (the documents of a job of hundreds of pages)
    comes as ``unknown`` ones do, so that the others arrive.

    :param detail: the element of the request that a fault names.
    :raises InvalidArgument: too many names, or names too long.
    """
    if len(names) > _MOST_NAMES:
        raise InvalidArgument(f"{len(names)} elements", detail=detail)
    answers = []
    room = ROOM
    for name in names:
        answer = await element(name)
        if size_of(answer) > room:
            _log.warning("an element is too large to be told", element=name)
            answer = unknown(name)
        room -= size_of(answer)
        answers.append(answer)
    if room < 0:
        raise InvalidArgument("names too long to be answered", detail=detail)
    return tuple(answers)


def size_of(value: Bound) -> int:
    """Return the octets of a value as it is written."""
    return len(serialize(value.to_element()))
