"""What became of each message of a job, kept in the ledger's notes so that a crash repeats nothing.

Messages are numbered from 1 for good. A message's documents, and who of the recipients has it, are written
down as ranges of numbers: of document ids, and of places in the job's list of recipients.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from postscan.filters.contract import Notes, SpooledDocument

_COUNT: Final = "messages"
_WARNINGS: Final = "warnings"


@dataclass(slots=True)
class MessageState:
    """One message: what is in it, and who has it.

    :ivar part: which of ``parts`` messages it says it is.
    :ivar sent: the recipients the server took it for; ``refused`` those it refused for good.
    :ivar in_doubt: those it may have taken it for: its end was sent, and no answer is known.
    """

    number: int
    documents: tuple[int, ...]
    part: int
    parts: int
    sent: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    in_doubt: set[int] = field(default_factory=set)

    @property
    def is_untouched(self) -> bool:
        """Whether surely nobody has it."""
        return not self.sent and not self.in_doubt

    def text(self) -> str:
        """Return it as a note."""
        values = {
            "documents": ranges(self.documents),
            "part": self.part,
            "parts": self.parts,
            "sent": ranges(sorted(self.sent)),
            "refused": ranges(sorted(self.refused)),
            "in_doubt": ranges(sorted(self.in_doubt)),
        }
        return json.dumps({name: value for name, value in values.items() if value})

    @classmethod
    def read(cls, number: int, text: str) -> MessageState:
        """Read a note."""
        values = json.loads(text)
        return cls(
            number,
            numbers(values.get("documents", "")),
            int(values["part"]),
            int(values["parts"]),
            set(numbers(values.get("sent", ""))),
            set(numbers(values.get("refused", ""))),
            set(numbers(values.get("in_doubt", ""))),
        )


class Progress:
    """The messages of one job at one destination."""

    def __init__(self, notes: Notes, messages: list[MessageState], last: int) -> None:
        self._notes = notes
        self._last = last
        self._warnings: list[str] = []
        self.messages = messages

    @classmethod
    async def load(cls, notes: Notes) -> Progress:
        """Read what earlier attempts wrote down."""
        last = int(await notes.remembered(_COUNT) or 0)
        messages = []
        for number in range(1, last + 1):
            text = await notes.remembered(f"message.{number}")
            if text is not None and (message := MessageState.read(number, text)).documents:
                messages.append(message)
        progress = cls(notes, messages, last)
        for place in range(int(await notes.remembered(_WARNINGS) or 0)):
            progress._warnings.append(await notes.remembered(f"warning.{place}") or "")
        # Those of an earlier attempt are forgotten when the next one begins, and are no less true.
        for text in progress._warnings:
            await notes.warn(text)
        return progress

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self._last + 1

    async def save(self, message: MessageState) -> None:
        """Write down what became of a message."""
        await self._notes.remember(f"message.{message.number}", message.text())

    async def warn(self, text: str) -> None:
        """Have administrators told, in this attempt and in those that may follow."""
        if text not in self._warnings:
            await self._notes.remember(f"warning.{len(self._warnings)}", text)
            self._warnings.append(text)
            await self._notes.remember(_WARNINGS, str(len(self._warnings)))
        await self._notes.warn(text)

    async def add(self, groups: Sequence[Sequence[SpooledDocument]]) -> None:
        """Make a message of each group of documents."""
        if not groups:
            return
        for part, group in enumerate(groups, start=1):
            ids = tuple(document.document_id for document in group)
            message = MessageState(self._last + part, ids, part=part, parts=len(groups))
            await self.save(message)
            self.messages.append(message)
        # Last: until it is there, none of these messages is.
        self._last += len(groups)
        await self._notes.remember(_COUNT, str(self._last))

    async def drop(self, message: MessageState) -> None:
        """Take the documents out of a message that nobody has; its number is not used again."""
        message.documents = ()
        await self.save(message)
        self.messages.remove(message)


def ranges(values: Iterable[int]) -> str:
    """Write numbers as ``1-3,7``, in the order they come in."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def numbers(text: str) -> tuple[int, ...]:
    """Read what :func:`ranges` wrote."""
    found: list[int] = []
    for run in filter(None, text.split(",")):
        first, _, last = run.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)
