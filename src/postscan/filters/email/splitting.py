"""Which documents go into which message, so that each message stays below the limit of the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from postscan.filters.contract import SpooledDocument

MAX_ATTACHMENTS: Final = 200
"""The most attachments of one message; the list of their ids fits into a note of the ledger."""
LINE_OCTETS: Final = 57
"""Octets of a file in one line of base64, which then has 76 characters (RFC 2045, 6.8)."""


@dataclass(frozen=True, slots=True)
class Split:
    """Groups of documents, one a message, in order; and those that are too large for any."""

    messages: tuple[tuple[SpooledDocument, ...], ...]
    too_large: tuple[SpooledDocument, ...]


def encoded_size(octets: int) -> int:
    """Return how many octets a file becomes in base64 with its line ends."""
    return 4 * -(-octets // 3) + 2 * -(-octets // LINE_OCTETS)


def split(documents: Sequence[SpooledDocument], limit: int, *, frame: int, part: int) -> Split:
    """Group documents in their order.

    :param limit: the most octets of a message as it is transferred; 0 for none.
    :param frame: the octets of a message without attachments, at most.
    :param part: what an attachment takes beside its base64 (header, boundary, name), at most.
    """
    messages: list[list[SpooledDocument]] = []
    too_large: list[SpooledDocument] = []
    room = 0
    for document in documents:
        size = part + encoded_size(document.size)
        if limit and frame + size > limit:
            too_large.append(document)
            continue
        if not messages or (limit and size > room) or len(messages[-1]) >= MAX_ATTACHMENTS:
            messages.append([])
            room = limit - frame
        messages[-1].append(document)
        room -= size
    return Split(tuple(map(tuple, messages)), tuple(too_large))
