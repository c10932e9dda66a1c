"""Values that nobody may see: passwords and the like, on their way to the one call that needs them."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, Self

HIDDEN: Final = "…"


class Secret:
    """A password or the like. Only :meth:`reveal` gives it away; text, logs and JSON show an ellipsis.

    It cannot be pickled, so that it reaches no other process, cache or file by the way.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one call that needs it."""
        return self._value

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __format__(self, specification: str) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        # In constant time: how long it takes tells nothing of where two secrets differ.
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._octets(), other._octets())

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def _octets(self) -> bytes:
        # What came from the environment may hold octets that are no UTF-8.
        return self._value.encode("utf-8", errors="surrogateescape")
