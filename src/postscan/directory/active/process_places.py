"""Where scan processes stand: by name they are found at once, by identifier only by looking at all of them.

msImaging-PSPIdentifier is not indexed ([MS-ADA2] 2.525: searchFlags 0), so that a controller reads every scan
process for each search by identifier: half a second for ten thousand. What was found before is therefore
remembered, and read by its name the next time; what has to be searched for is searched for together; and when
many different ones are asked for, all names are learned at once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from itertools import islice
from typing import Final
from uuid import UUID

from postscan.directory.ldap.model import Entry
from postscan.directory.model import DirectoryError

# So many identifiers are searched for at once.
_TOGETHER: Final = 50
_REMEMBERED: Final = 20_000
# After so many searches all names are learned, which takes a controller as long as some five searches; after
# twice as many again, and so on: whoever asks for identifiers that do not exist gains little.
_BEFORE_LEARNING: Final = 4


@dataclass(slots=True)
class _Question:
    """A search by identifier that somebody waits for."""

    answer: list[Entry] | DirectoryError | None = None


class ProcessPlaces:
    """Remembers distinguished names, and searches for what it does not know, one search at a time.

    So whoever asks for identifiers that do not exist, however often, keeps a controller busy with one search.

    :param search: returns the objects that have one of these identifiers, by identifier.
    :param survey: returns the names of the objects that count for all identifiers.
    """

    def __init__(
        self,
        search: Callable[[Collection[UUID]], Awaitable[dict[UUID, list[Entry]]]],
        survey: Callable[[], Awaitable[dict[UUID, str]]],
    ) -> None:
        self._search = search
        self._survey = survey
        self._searches = 0
        self._before_learning = _BEFORE_LEARNING
        self._names: OrderedDict[UUID, str] = OrderedDict()
        self._waiting: dict[UUID, _Question] = {}
        self._turn = asyncio.Lock()

    def remember(self, identifier: UUID, dn: str) -> None:
        """Remember which object has this identifier; it is only a hint, whoever reads it has to look."""
        self._names[identifier] = dn
        self._names.move_to_end(identifier)
        while len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)

    def name_of(self, identifier: UUID) -> str | None:
        """Return the distinguished name of the object that had this identifier when it was last seen."""
        return self._names.get(identifier)

    def forget(self, identifier: UUID) -> None:
        """Forget where the object with this identifier was."""
        self._names.pop(identifier, None)

    async def search(self, identifier: UUID) -> list[Entry] | None:
        """Search for the objects with this identifier; those who wait meanwhile are answered together.

        The search begins after the call, so that what was written before is found. None when, instead, all
        names were learned, and this one's is known now.
        """
        question = self._waiting.setdefault(identifier, _Question())
        try:
            async with self._turn:
                answer = question.answer
                if answer is None:
                    await self._learn_if_due()
                    if identifier in self._names:
                        return None
                    answer = await self._ask(identifier, question)
        finally:
            if self._waiting.get(identifier) is question:
                del self._waiting[identifier]
        if isinstance(answer, DirectoryError):
            raise answer
        return answer

    async def _learn_if_due(self) -> None:
        if self._searches >= self._before_learning:
            self._searches = 0
            self._before_learning *= 2
            for identifier, dn in (await self._survey()).items():
                self.remember(identifier, dn)

    async def _ask(self, identifier: UUID, question: _Question) -> list[Entry] | DirectoryError:
        others = (one for one in self._waiting if one != identifier)
        batch = {identifier: question} | {
            one: self._waiting.pop(one) for one in list(islice(others, _TOGETHER - 1))
        }
        # Whoever asks from now on may mean what is written just now: the next search answers them.
        self._waiting.pop(identifier, None)
        self._searches += 1
        try:
            found = await self._search(list(batch))
        except DirectoryError as error:
            for asked in batch.values():
                asked.answer = error
            return error
        for one, asked in batch.items():
            asked.answer = found.get(one, [])
        return found.get(identifier, [])
