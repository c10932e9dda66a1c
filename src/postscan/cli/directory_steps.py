"""A walk of steps, each of which says in words what it found; steps whose ground is missing are not tried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from postscan.core.errors import PostscanError


class Outcome(StrEnum):
    """How a step ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Told:
    """What a step found: how it ended, in words, and what to do; further ``details``, one a line."""

    outcome: Outcome
    said: str
    advice: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a walk, and the error that failed it, if one did."""

    name: str
    told: Told
    error: PostscanError | None = None


def fine(said: str, *details: str) -> Told:
    """Say that all is as it should be."""
    return Told(Outcome.OK, said, details=details)


def doubtful(said: str, advice: str, *details: str) -> Told:
    """Say that something works and should be looked at."""
    return Told(Outcome.WARNING, said, advice, details)


def wrong(said: str, advice: str, *details: str) -> Told:
    """Say that something does not work."""
    return Told(Outcome.FAILED, said, advice, details)


def left_out(why: str, advice: str = "") -> Told:
    """Say that there was nothing to try."""
    return Told(Outcome.NOT_TRIED, why, advice)


class Walk:
    """Takes steps one after the other, and tells each when it is done.

    :param tell: is given every step.
    """

    def __init__(self, tell: Callable[[Step], None]) -> None:
        self.steps: list[Step] = []
        self._tell = tell

    async def take(self, name: str, work: Callable[[], Awaitable[Told]], needs: Sequence[str] = ()) -> bool:
        """Take a step, unless one that it needs failed or was not tried; tell whether it went well.

        An error of ours is the step's failure; any other is a fault of the program and not caught.
        """
        lacking = next((need for need in needs if not self.went_well(need)), None)
        failure: PostscanError | None = None
        if lacking is not None:
            told = left_out(f"{lacking} comes first")
        else:
            try:
                told = await work()
            except PostscanError as error:
                told, failure = wrong(str(error), error.what_to_do), error
        step = Step(name, told, failure)
        self.steps.append(step)
        self._tell(step)
        return self.went_well(name)

    def went_well(self, name: str) -> bool:
        """Tell whether a step was taken and found nothing that does not work."""
        return any(
            step.name == name and step.told.outcome in (Outcome.OK, Outcome.WARNING) for step in self.steps
        )

    def count(self, outcome: Outcome) -> int:
        """Return how many steps ended so."""
        return sum(step.told.outcome is outcome for step in self.steps)
