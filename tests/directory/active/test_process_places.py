"""Where scan processes stand: names are remembered, and searches by identifier go together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from uuid import UUID

import pytest

from postscan.directory.active import process_places
from postscan.directory.active.process_places import ProcessPlaces
from postscan.directory.ldap.model import DirectoryAway, Entry

IDS = [UUID(int=number) for number in range(1, 200)]


class Controller:
    """Answers searches when it is told to; notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[UUID]] = []
        self.gate = asyncio.Event()
        self.error: DirectoryAway | None = None
        self.surveys = 0
        self.places = ProcessPlaces(self.search, self.survey)

    async def search(self, identifiers: Collection[UUID]) -> dict[UUID, list[Entry]]:
        self.asked.append(list(identifiers))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {one: [Entry(f"CN={one}", {})] for one in identifiers if one.int % 2}

    async def survey(self) -> dict[UUID, str]:
        self.surveys += 1
        return {one: f"CN={one}" for one in IDS if one.int % 2}

    async def begun(self, searches: int) -> None:
        """Wait until so many searches have begun."""
        while len(self.asked) < searches:
            await asyncio.sleep(0)


@pytest.fixture
def controller() -> Controller:
    return Controller()


async def test_an_identifier_is_searched_for(controller: Controller) -> None:
    controller.gate.set()
    found = await controller.places.search(IDS[0])
    assert [entry.dn for entry in found or ()] == [f"CN={IDS[0]}"]
    assert await controller.places.search(IDS[1]) == []


async def test_what_waits_for_a_search_is_searched_for_together(controller: Controller) -> None:
    first = asyncio.create_task(controller.places.search(IDS[0]))
    await controller.begun(1)
    others = [asyncio.create_task(controller.places.search(one)) for one in IDS[1:120]]
    while len(controller.places._waiting) < len(others):
        await asyncio.sleep(0)
    controller.gate.set()
    assert len(await first or ()) == 1
    assert [len(found or ()) for found in await asyncio.gather(*others)] == [
        one.int % 2 for one in IDS[1:120]
    ]
    assert [len(asked) for asked in controller.asked] == [1, 50, 50, 19]


async def test_a_question_that_comes_after_a_search_began_is_not_answered_by_it(
    controller: Controller,
) -> None:
    early = asyncio.create_task(controller.places.search(IDS[0]))
    await controller.begun(1)
    late = asyncio.create_task(controller.places.search(IDS[0]))
    controller.gate.set()
    await asyncio.gather(early, late)
    assert controller.asked == [[IDS[0]], [IDS[0]]]


async def test_an_error_is_everybody_s_who_waited_for_that_search(controller: Controller) -> None:
    first = asyncio.create_task(controller.places.search(IDS[0]))
    await controller.begun(1)
    others = [asyncio.create_task(controller.places.search(one)) for one in IDS[1:3]]
    while len(controller.places._waiting) < len(others):
        await asyncio.sleep(0)
    controller.error = DirectoryAway("gone")
    controller.gate.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert all(isinstance(answer, DirectoryAway) for answer in answers)
    assert len(controller.asked) == 2
    controller.error = None
    assert len(await controller.places.search(IDS[0]) or ()) == 1


async def test_whoever_goes_away_in_the_middle_leaves_the_others_answered(controller: Controller) -> None:
    first = asyncio.create_task(controller.places.search(IDS[0]))
    await controller.begun(1)
    others = [asyncio.create_task(controller.places.search(one)) for one in IDS[1:4]]
    while len(controller.places._waiting) < len(others):
        await asyncio.sleep(0)
    first.cancel()
    await controller.begun(2)
    others[0].cancel()
    controller.gate.set()
    assert [len(found or ()) for found in await asyncio.gather(*others[1:])] == [1, 0]
    with pytest.raises(asyncio.CancelledError):
        await others[0]
    assert not controller.places._waiting


def test_names_are_remembered_within_bounds(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_places, "_REMEMBERED", 3)
    for one in IDS[:4]:
        controller.places.remember(one, f"CN={one}")
    assert controller.places.name_of(IDS[0]) is None
    assert controller.places.name_of(IDS[3]) == f"CN={IDS[3]}"
    controller.places.forget(IDS[3])
    assert controller.places.name_of(IDS[3]) is None


async def test_after_some_searches_all_names_are_learned(controller: Controller) -> None:
    controller.gate.set()
    for one in IDS[:4]:
        assert await controller.places.search(one) is not None
    assert controller.surveys == 0
    assert await controller.places.search(IDS[4]) is None
    assert controller.places.name_of(IDS[6]) == f"CN={IDS[6]}"
    assert len(controller.asked) == 4


async def test_what_is_not_among_them_is_searched_for(controller: Controller) -> None:
    controller.gate.set()
    for one in IDS[:4]:
        await controller.places.search(one)
    assert await controller.places.search(IDS[5]) == []
    assert controller.surveys == 1


async def test_names_are_learned_ever_more_rarely(controller: Controller) -> None:
    controller.gate.set()
    for _ in range(4 + 8 + 16 + 1):
        await controller.places.search(IDS[1])
    assert controller.surveys == 3


async def test_an_error_of_learning_is_told_and_the_next_one_searches(controller: Controller) -> None:
    controller.gate.set()
    for one in IDS[:4]:
        await controller.places.search(one)

    async def fails() -> dict[UUID, str]:
        raise DirectoryAway("gone")

    controller.places._survey = fails
    with pytest.raises(DirectoryAway):
        await controller.places.search(IDS[4])
    assert await controller.places.search(IDS[4]) is not None
