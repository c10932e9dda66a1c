"""What goes wrong in Kerberos, in plain words; its packages (gssapi, krb5) are optional."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final

from spnego.exceptions import SpnegoError

from postscan.directory.ldap.model import CredentialsRefused, DirectoryAway, DirectoryUntrusted
from postscan.directory.model import DirectoryError

# The numbers of MIT Kerberos (krb5.h); those of RFC 4120, 7.5.9 come first, counted from the base.
_BASE: Final = -1765328384
_REFUSED: Final[Mapping[int, str]] = MappingProxyType(
    {
        _BASE + 1: "the account has expired",
        _BASE + 6: "there is no such account",
        _BASE + 12: "the account may not log on now, or not from here",
        _BASE + 18: "the account is disabled, locked or expired",
        _BASE + 23: "the account's password has expired, or must be changed first",
        _BASE + 24: "the account or its password is wrong",
        _BASE + 31: "the account or its password is wrong",
        _BASE + 32: "its Kerberos tickets have expired",
        -1765328174: "the account or its password is wrong",
        -1765328203: "the keytab does not hold its key",
        -1765328200: "the keytab cannot be read",
        -1765328243: "there are no Kerberos tickets",
        -1765328241: "there are no Kerberos tickets",
        -1765328189: "there are no Kerberos tickets",
    }
)
_KDC_AWAY: Final = frozenset({_BASE + 29, -1765328228, -1765328230, -1765328164})
_CLOCK_SKEW: Final = _BASE + 37
_WRONG_SERVICE: Final = frozenset({_BASE + 7, _BASE + 41})


def kerberos_is_installed() -> bool:
    """Tell whether the packages of the extra ``kerberos`` are there."""
    return find_spec("krb5") is not None and find_spec("gssapi") is not None


def negotiation_errors() -> tuple[type[Exception], ...]:
    """Return what pyspnego raises, and what the packages of Kerberos raise through it."""
    if not kerberos_is_installed():
        return (SpnegoError,)
    from gssapi.raw.misc import GSSError
    from krb5 import Krb5Error

    return (SpnegoError, GSSError, Krb5Error)


def negotiation_failure(error: Exception, who: str, host: str) -> DirectoryError:
    """Return the error that one of Kerberos or pyspnego stands for.

    :param who: the account, named in the message.
    :param host: the controller it wanted to log on at.
    """
    codes = set(_codes(error))
    for code in codes & _REFUSED.keys():
        return CredentialsRefused(f"{who}: {_REFUSED[code]}")
    if codes & _KDC_AWAY:
        return DirectoryAway(
            f"{who}: no key distribution centre can be reached",
            advice="Check the realm and its kdc in krb5.conf, and port 88 of the domain controllers.",
        )
    if _CLOCK_SKEW in codes:
        return DirectoryAway(
            f"{who}: the clocks of this computer and of the domain differ too much",
            advice="Let both take their time from the same source.",
        )
    if codes & _WRONG_SERVICE:
        return DirectoryUntrusted(
            f"the domain knows no LDAP service on {host}, or {host} does not have its key",
            advice="Name the controller by its full name, and set dns_canonicalize_hostname = false and"
            " rdns = false in krb5.conf.",
        )
    return DirectoryUntrusted(
        f"{who}: Kerberos or NTLM with {host} did not come about ({_words(error)})",
        advice="Check the mechanism and the account in [directory]; `klist` and krb5.conf for Kerberos.",
    )


def _codes(error: BaseException | None) -> Iterator[int]:
    """Return the numbers in an error, and in those it came from."""
    for _ in range(8):
        if error is None:
            return
        for name in ("err_code", "min_code"):
            code = getattr(error, name, None)
            if isinstance(code, int):
                yield code - 2**32 if code >= 2**31 else code  # GSS-API counts them unsigned
        error = getattr(error, "base_error", None) or error.__cause__


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
