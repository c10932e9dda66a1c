"""One-way messages made once for many receivers: only To, MessageID and reference parameters differ."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final

from lxml import etree

from postscan.soap.envelope import Headers, new_message_id, write_envelope

_TO: Final = "urn:postscan:to"
_MESSAGE_ID: Final = "urn:postscan:message-id"
_HEADER_ENDS: Final = b"</soap:Header>"


class Frame:
    """An envelope without its addressee (dpws.md, 3.5)."""

    __slots__ = ("_before", "_behind", "_between", "_end", "action")

    def __init__(self, action: str, body: etree._Element) -> None:
        """Write the envelope; ``body`` is not needed any more afterwards."""
        self.action = action
        whole = write_envelope(Headers(action=action, to=_TO, message_id=_MESSAGE_ID), body)
        self._before, _, rest = whole.partition(_TO.encode())
        self._between, _, rest = rest.partition(_MESSAGE_ID.encode())
        # The first one: what stands before it is ours.
        self._behind, _, end = rest.partition(_HEADER_ENDS)
        self._end = _HEADER_ENDS + end

    def addressed(self, to: str, parameters: bytes) -> bytes:
        """Return the message to ``to``, with a fresh MessageID and ``parameters`` as headers."""
        receiver = html.escape(to, quote=False).encode()
        return b"".join(
            (
                self._before,
                receiver,
                self._between,
                new_message_id().encode(),
                self._behind,
                parameters,
                self._end,
            )
        )


def parameters_as_octets(parameters: Sequence[etree._Element]) -> bytes:
    """Write reference parameters one after the other, each with the declarations it needs."""
    return b"".join(etree.tostring(one, encoding="unicode", with_tail=False).encode() for one in parameters)
