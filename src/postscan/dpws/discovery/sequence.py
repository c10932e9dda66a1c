"""One count of messages for all sockets of a device, UDP and HTTP (dpws.md, 1.7)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from uuid import uuid4

from postscan.contracts import wsd

_LARGEST: Final = 2**32 - 1
_SEQUENCES: Final = 4_096


class MessageCounter:
    """Numbers the messages of one start of a device.

    Peers ignore what comes with a lower number than they saw, so a number is taken when a message is first
    sent, not when it is made.
    """

    def __init__(self, instance_id: int, sequence_id: str | None = None) -> None:
        self._instance_id = instance_id
        self._sequence_id = sequence_id or f"urn:uuid:{uuid4()}"
        self._number = 0

    def next(self) -> wsd.AppSequence:
        """Return the header of the message that is sent now."""
        self._number = min(self._number + 1, _LARGEST)
        return wsd.AppSequence(self._instance_id, self._number, self._sequence_id)

    def longest(self) -> wsd.AppSequence:
        """Return a header as long as any will be, to measure messages with."""
        return wsd.AppSequence(self._instance_id, _LARGEST, self._sequence_id)


class SequenceBook:
    """What was last heard of each endpoint; tells news from echoes (dpws.md, 1.7).

    Holds at most 4,096 endpoints; the one not heard of for longest is forgotten first.
    """

    def __init__(self) -> None:
        self._heard: OrderedDict[str, wsd.AppSequence] = OrderedDict()

    def is_news(self, endpoint: str, sequence: wsd.AppSequence | None) -> bool:
        """Note a message; False for one that is older than, or the same as, one that was noted before.

        A message without AppSequence counts as news: devices leave it out, though they must not.
        """
        if sequence is None:
            return True
        known = self._heard.get(endpoint)
        if known is not None:
            self._heard.move_to_end(endpoint)
            if sequence.instance_id < known.instance_id:
                return False
            same = (sequence.instance_id, sequence.sequence_id) == (known.instance_id, known.sequence_id)
            if same and sequence.message_number <= known.message_number:
                return False
        self._heard[endpoint] = sequence
        if len(self._heard) > _SEQUENCES:
            self._heard.popitem(last=False)
        return True
