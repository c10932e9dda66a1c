"""Writes an MTOM message: the frame that every peer examined reads (dpws.md, 4.3).

Only the frame is made here; the attachment's octets go between :meth:`MtomWriter.head` and
:meth:`MtomWriter.tail` by whatever way the sender has, so nothing large is held.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from postscan.soap.mime import MimeError, is_boundary

ROOT_CONTENT_ID: Final = "soap@dsm"
_PLAIN_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]+")
_CONTENT_ID = re.compile(r"[\x21-\x3b\x3d\x3f-\x7e]{1,255}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,255}")


def new_content_id() -> str:
    """Return a fresh content id, without angle brackets, that needs no percent-coding in a ``cid:``."""
    return f"{uuid.uuid4()}@dsm"


class MtomWriter:
    """Frames one envelope and one attachment; raises MimeError for a boundary or header it cannot write."""

    def __init__(self, *, boundary: str | None = None) -> None:
        # Lower case and without "+ / = :": .NET Micro Framework lower-cases the whole value (dpws.md, 4.2).
        self._boundary = str(uuid.uuid4()) if boundary is None else boundary
        if not is_boundary(self._boundary) or _PLAIN_BOUNDARY.fullmatch(self._boundary) is None:
            raise MimeError(f"{boundary!r} cannot be a boundary")

    @property
    def boundary(self) -> str:
        """The boundary, without the two hyphens."""
        return self._boundary

    @property
    def content_type(self) -> str:
        """The value of the message's Content-Type header, on one line."""
        return (
            f'multipart/related; type="application/xop+xml"; boundary="{self._boundary}"; '
            f'start="<{ROOT_CONTENT_ID}>"; start-info="application/soap+xml"'
        )

    def head(self, envelope: bytes, content_id: str, content_type: str) -> bytes:
        """Return everything up to the first octet of the attachment.

        ``content_id`` is without angle brackets; the envelope's xop:Include names it as ``cid:`` + id.
        """
        if _CONTENT_ID.fullmatch(content_id) is None or content_id == ROOT_CONTENT_ID:
            raise MimeError(f"{content_id!r} cannot be a content id")
        if _HEADER_VALUE.fullmatch(content_type) is None:
            raise MimeError(f"{content_type!r} cannot be a content type")
        root = (
            f"--{self._boundary}\r\n"
            'Content-Type: application/xop+xml; charset=utf-8; type="application/soap+xml"\r\n'
            "Content-Transfer-Encoding: binary\r\n"
            f"Content-ID: <{ROOT_CONTENT_ID}>\r\n\r\n"
        )
        attachment = (
            f"\r\n--{self._boundary}\r\n"
            f"Content-Type: {content_type}\r\n"
            "Content-Transfer-Encoding: binary\r\n"
            f"Content-ID: <{content_id}>\r\n\r\n"
        )
        return b"".join((root.encode("ascii"), envelope, attachment.encode("ascii")))

    def tail(self) -> bytes:
        """Return everything after the last octet of the attachment."""
        return f"\r\n--{self._boundary}--\r\n".encode("ascii")

    def inline_length(
        self, envelope: bytes, content_id: str, content_type: str, attachment_length: int
    ) -> int:
        """Return the length in octets of the whole message, for its Content-Length header."""
        return len(self.head(envelope, content_id, content_type)) + attachment_length + len(self.tail())
