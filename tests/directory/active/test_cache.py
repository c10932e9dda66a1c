"""Answers are remembered for as long as they may be, asked for once at a time, and never past an error."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.directory.active.cache import Cache, CacheCounts
from postscan.directory.model import DirectoryError
from support.clock import FakeClock


class Source:
    """What is asked: counts how often, and answers what it is told to."""

    def __init__(self, answer: str | None = "answer") -> None:
        self.asked = 0
        self.answer = answer
        self.fails = False

    async def ask(self) -> str | None:
        self.asked += 1
        answer = self.answer
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("away")
        return answer


class SlowSource(Source):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.was_asked = asyncio.Event()

    async def ask(self) -> str | None:
        self.asked += 1
        answer = self.answer
        self.was_asked.set()
        await self.may_answer.wait()
        return answer


def cache(clock: FakeClock, *, entries: int = 10) -> Cache[str, str]:
    return Cache(seconds=10, missing_seconds=2, entries=entries, clock=clock)


async def test_an_answer_holds_until_its_time_is_over() -> None:
    clock, source = FakeClock(), Source()
    answers = cache(clock)
    await answers.get("a", source.ask)
    clock.advance(9.9)
    await answers.get("a", source.ask)
    assert source.asked == 1
    clock.advance(0.1)
    await answers.get("a", source.ask)
    assert source.asked == 2


async def test_that_there_is_none_holds_for_a_shorter_time() -> None:
    clock, source = FakeClock(), Source(None)
    answers = cache(clock)
    assert await answers.get("a", source.ask) is None
    clock.advance(1.9)
    await answers.get("a", source.ask)
    assert source.asked == 1
    clock.advance(0.1)
    await answers.get("a", source.ask)
    assert source.asked == 2


async def test_an_error_reaches_the_asker_and_is_not_remembered() -> None:
    source = Source()
    answers = cache(FakeClock())
    source.fails = True
    with pytest.raises(OSError, match="away"):
        await answers.get("a", source.ask)
    source.fails = False
    assert await answers.get("a", source.ask) == "answer"


async def test_an_old_answer_is_not_given_out_because_the_source_is_away() -> None:
    clock, source = FakeClock(), Source()
    answers = cache(clock)
    await answers.get("a", source.ask)
    clock.advance(10)
    source.fails = True
    with pytest.raises(OSError, match="away"):
        await answers.get("a", source.ask)


async def test_those_who_ask_at_once_are_answered_by_one_question() -> None:
    source = SlowSource()
    answers = cache(FakeClock())
    askers = [asyncio.ensure_future(answers.get("a", source.ask)) for _ in range(20)]
    await source.was_asked.wait()
    source.may_answer.set()
    assert await asyncio.gather(*askers) == ["answer"] * 20
    assert source.asked == 1
    assert (answers.counts.misses, answers.counts.joined) == (1, 19)


async def test_an_asker_who_goes_away_does_not_disturb_the_others() -> None:
    source = SlowSource()
    answers = cache(FakeClock())
    first = asyncio.ensure_future(answers.get("a", source.ask))
    await source.was_asked.wait()
    second = asyncio.ensure_future(answers.get("a", source.ask))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.may_answer.set()
    assert await second == "answer"


async def test_what_was_asked_for_before_a_change_is_not_remembered_after_it() -> None:
    source = SlowSource()
    answers = cache(FakeClock())
    before = asyncio.ensure_future(answers.get("a", source.ask))
    await source.was_asked.wait()
    source.answer = "changed"
    answers.forget()
    after = asyncio.ensure_future(answers.get("a", source.ask))
    source.may_answer.set()
    assert await before == "answer"
    assert await after == "changed"
    assert await answers.get("a", source.ask) == "changed"


async def test_the_age_of_an_answer_counts_from_the_question() -> None:
    clock, source = FakeClock(), SlowSource()
    answers = cache(clock)
    asker = asyncio.ensure_future(answers.get("a", source.ask))
    await source.was_asked.wait()
    clock.advance(10)
    source.may_answer.set()
    await asker
    await answers.get("a", source.ask)
    assert source.asked == 2


async def test_a_question_that_hangs_for_too_long_is_asked_again() -> None:
    clock, source = FakeClock(), SlowSource()
    answers = cache(clock)
    hanging = asyncio.ensure_future(answers.get("a", source.ask))
    await source.was_asked.wait()
    clock.advance(10)
    again = asyncio.ensure_future(answers.get("a", source.ask))
    await asyncio.sleep(0)
    source.may_answer.set()
    await asyncio.gather(hanging, again)
    assert source.asked == 2


async def test_closing_ends_what_is_being_asked() -> None:
    source = SlowSource()
    answers = cache(FakeClock())
    asker = asyncio.ensure_future(answers.get("a", source.ask))
    await source.was_asked.wait()
    await answers.close()
    with pytest.raises(DirectoryError, match="closed"):
        await asker


async def test_what_was_not_used_for_longest_gives_way() -> None:
    answers = cache(FakeClock(), entries=2)
    sources = {key: Source(key) for key in "abc"}
    for key in "abac":
        await answers.get(key, sources[key].ask)
    await answers.get("a", sources["a"].ask)
    await answers.get("b", sources["b"].ask)
    assert [sources[key].asked for key in "abc"] == [1, 2, 1]


@given(st.lists(st.integers(0, 100), max_size=200))
def test_never_more_is_kept_than_allowed(keys: list[int]) -> None:
    answers: Cache[int, int] = Cache(seconds=10, missing_seconds=2, entries=5, clock=FakeClock())
    for key in keys:
        answers.learn(key, key, 1000)
    assert sum(answers.known(key)[0] for key in range(101)) == min(5, len(set(keys)))


def test_the_hit_rate_counts_joined_questions_as_hits() -> None:
    assert CacheCounts(hits=6, joined=2, misses=2).hit_rate == 0.8
    assert CacheCounts().hit_rate == 0
