"""SCRAM, by which an account proves itself without saying its password, and the server proves itself back.

RFC 5802 (the exchange, SCRAM-SHA-1) and RFC 7677 (SCRAM-SHA-256), without channel binding: the connection is
protected by TLS with a certificate that was checked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from typing import Final

from postscan.core.secret import Secret

LEAST_ITERATIONS: Final = 4_096
"""RFC 7677, 4; fewer would let whoever got hold of the exchange guess the password."""
MOST_ITERATIONS: Final = 1_000_000
"""More would let a server keep our processors busy."""
_HEADER: Final = "n,,"
_FIRST: Final = re.compile(r"r=([!-+\--~]{1,1024}),s=([A-Za-z0-9+/=]{1,1024}),i=([1-9][0-9]{0,8})(?:,.*)?")
_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class ScramError(Exception):
    """The server does not keep to the exchange, or does not know the password itself."""


class ScramClient:
    """One exchange: :meth:`first`, then :meth:`final` with the server's answer, then :meth:`check`.

    :param digest: ``sha256`` or ``sha1``.
    :param nonce: printable ASCII without commas; made by the system's random numbers when empty.
    :raises ScramError: name or password hold characters that SCRAM has no form for.
    """

    def __init__(self, account: str, password: Secret, digest: str, *, nonce: str = "") -> None:
        self._digest = digest
        self._password = password
        self._nonce = nonce or secrets.token_urlsafe(24)
        name = saslprep(account).replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={self._nonce}"
        self._signature = b""

    def first(self) -> bytes:
        """Return the first message."""
        return (_HEADER + self._bare).encode()

    def final(self, server_first: bytes) -> bytes:
        """Return the answer to the server's first message. Takes a while: not for the event loop.

        :raises ScramError: it is not what such a message has to be.
        """
        text = _text(server_first)
        found = _FIRST.fullmatch(text)
        if found is None:
            raise ScramError("its first message is none of SCRAM")
        nonce, rounds = found[1], int(found[3])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ScramError("it answers with another nonce")
        if not LEAST_ITERATIONS <= rounds <= MOST_ITERATIONS:
            raise ScramError(f"it wants {rounds} iterations")
        try:
            salt = base64.b64decode(found[2], validate=True)
        except binascii.Error as error:
            raise ScramError("its salt is no base64") from error
        salted = hashlib.pbkdf2_hmac(self._digest, saslprep(self._password.reveal()).encode(), salt, rounds)
        bound = f"c={base64.b64encode(_HEADER.encode()).decode()},r={nonce}"
        whole = f"{self._bare},{text},{bound}".encode()
        key = self._hmac(salted, b"Client Key")
        proof = self._hmac(hashlib.new(self._digest, key).digest(), whole)
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), whole)
        shown = bytes(one ^ other for one, other in zip(key, proof, strict=True))
        return f"{bound},p={base64.b64encode(shown).decode()}".encode()

    def check(self, server_final: bytes) -> None:
        """Have the server prove that it knows the password; raises ScramError."""
        text = _text(server_final)
        expected = "v=" + base64.b64encode(self._signature).decode()
        if not self._signature or not hmac.compare_digest(text.partition(",")[0], expected):
            raise ScramError("it does not prove that it knows the password")

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self._digest).digest()


def saslprep(text: str) -> str:
    """Return a name or password in its one form (RFC 4013); raises ScramError when it has none."""
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(prohibited(char) for char in prepared for prohibited in _PROHIBITED) or not prepared:
        raise ScramError("name or password hold a character that SCRAM does not allow")
    right_to_left = [stringprep.in_table_d1(char) for char in prepared]
    if any(right_to_left) and (
        any(stringprep.in_table_d2(char) for char in prepared) or not (right_to_left[0] and right_to_left[-1])
    ):
        raise ScramError("name or password mix directions of writing in a way that SCRAM does not allow")
    return prepared


def _text(message: bytes) -> str:
    try:
        return message.decode("ascii")
    except UnicodeDecodeError as error:
        raise ScramError("its message is no ASCII") from error
