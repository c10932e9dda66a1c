"""What every reader of certificates and their like has to reckon with."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

MALFORMED: Final[tuple[type[Exception], ...]] = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What ``cryptography`` raises, when it first reads a part, for one that breaks the letter of X.509.

Most of them are no ValueError. A certificate that a trusted authority signed can be one of those.
"""

MALFORMED_OR_MISSING: Final[tuple[type[Exception], ...]] = (*MALFORMED, x509.ExtensionNotFound)
"""What looking for one extension raises: there is none, or it cannot be read."""
