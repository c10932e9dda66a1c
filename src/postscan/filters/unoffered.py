"""The stand-in for a filter that this server knows and does not offer, so that it can say why."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from postscan.filters.contract import Destination, InstructionsError, JobFacts

if TYPE_CHECKING:
    from lxml.etree import _Element


class UnofferedFilter:
    """Refuses every instruction; made by ``unoffered``.

    :ivar why: a sentence for people.
    :ivar advice: what an administrator does.
    """

    dialect: ClassVar[str]

    def __init__(self, why: str, advice: str) -> None:
        self.why = why
        self.advice = advice

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Refuse them. :raises InstructionsError: always."""
        raise InstructionsError(self.why, detail=self.dialect, advice=self.advice)


def unoffered(dialect: str, why: str, advice: str) -> UnofferedFilter:
    """Return the stand-in for a filter.

    :param why: why it is not offered, a sentence for people.
    :param advice: what an administrator does to have it.
    """
    # The dialect belongs to the class of a filter (contract.Filter).
    made: type[UnofferedFilter] = type("Unoffered", (UnofferedFilter,), {"dialect": dialect})
    return made(why, advice)
