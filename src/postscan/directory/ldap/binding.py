"""Credentials as values, and the SASL negotiation (GSS-SPNEGO) with Kerberos or NTLM; no I/O of LDAP.

Kerberos does ask its key distribution centre while :meth:`Negotiation.step` runs, so that is called in a
thread of its own.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from spnego import ContextReq
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from postscan.core.certificates import MALFORMED
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.directory.ldap.kerberos import kerberos_is_installed, negotiation_errors, negotiation_failure
from postscan.directory.ldap.model import CredentialsRefused, DirectoryAway, DirectoryUntrusted

# On its DEBUG level it writes every token, from which an NTLM password can be guessed.
logging.getLogger("spnego").setLevel(logging.INFO)

# What pyspnego raises, besides its own, for octets that are no token.
_MALFORMED: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error)

SASL_MECHANISM: Final = "GSS-SPNEGO"
_SEALED: Final = ContextReq.integrity | ContextReq.confidentiality
_IN_ORDER: Final = ContextReq.replay_detect | ContextReq.sequence_detect
# RFC 5929, 4.1: a certificate signed with one of these is hashed with SHA-256 all the same.
_WEAK_HASHES: Final = (hashes.MD5, hashes.SHA1)


class Mechanism(StrEnum):
    """What SASL negotiates: one of the two, or Kerberos and NTLM only where that cannot be had."""

    KERBEROS = "kerberos"
    NTLM = "ntlm"
    NEGOTIATE = "negotiate"


@dataclass(frozen=True, slots=True)
class SimplePassword:
    r"""A simple bind: ``account`` is a UPN, ``DOMAIN\name`` or a distinguished name.

    ``source`` returns the password as it is now, where it may change while a client lives.

    :raises CredentialsRefused: without account or password. A bind without password succeeds anonymously
        (RFC 4513, 5.1.2) and would prove nothing.
    """

    account: str
    password: Secret
    source: Callable[[], Secret] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.account, self.password)


@dataclass(frozen=True, slots=True)
class Sasl:
    r"""A SASL bind: by account and password, by keytab, or by the process's own Kerberos tickets.

    ``account`` is a principal or UPN (``alice@DSM.TEST``), for NTLM also ``DOMAIN\name``. With ``keytab``
    it may be empty: the first principal in the file is taken. With neither password nor keytab the default
    credential cache counts, and ``account``, where it is given, chooses in it. ``source`` returns the
    password as it is now, where it may change while a client lives.

    :raises CredentialsRefused: for an empty account or password.
    :raises ConfigurationError: where the mechanism cannot do it this way.
    """

    mechanism: Mechanism
    account: str = ""
    password: Secret | None = None
    keytab: Path | None = None
    source: Callable[[], Secret] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.password is not None:
            if self.keytab is not None:
                raise ConfigurationError("a bind takes a password or a keytab, not both")
            _check(self.account, self.password)
        elif self.mechanism is Mechanism.NTLM:
            raise ConfigurationError("NTLM needs an account and its password")
        if "\0" in self.account:
            raise CredentialsRefused("an account's name cannot hold NUL")


Credentials: TypeAlias = SimplePassword | Sasl


def as_now(credentials: Credentials) -> Credentials:
    """Return credentials with the password that their source has now; raises what the source raises."""
    return credentials if credentials.source is None else replace(credentials, password=credentials.source())


def in_words(credentials: Credentials) -> str:
    """Return who logs on, for messages; never anything secret."""
    if credentials.account:
        return credentials.account
    if isinstance(credentials, Sasl) and credentials.keytab is not None:
        return f"the first principal of {credentials.keytab}"
    return "the default Kerberos tickets"


def channel_binding(certificate: bytes) -> bytes:
    """Return what ties a bind to the TLS connection it is made on (tls-server-end-point, RFC 5929, 4.1).

    :param certificate: the server's, as DER.
    """
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except MALFORMED:
        # Of a kind that the logon has no need to know; a controller that hashes otherwise refuses it.
        algorithm = None
    if algorithm is None or isinstance(algorithm, _WEAK_HASHES):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return b"tls-server-end-point:" + digest.finalize()


class Negotiation:
    """One SASL negotiation, and what protects the connection after it where no TLS does.

    :param host: the controller's full name, which becomes its service principal ``ldap/host``.
    :param binding: what :func:`channel_binding` returned, where the connection is protected by TLS.
        None asks for signing and sealing instead, and takes nothing less.
    """

    def __init__(self, credentials: Sasl, host: str, binding: bytes | None) -> None:
        if credentials.mechanism is Mechanism.KERBEROS or credentials.password is None:
            _require_kerberos()
        if credentials.keytab is not None:
            _require_readable(credentials.keytab)
        self._credentials = credentials
        self._host = host
        self._binding = binding
        self._context: spnego.ContextProxy | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be said."""
        return self._context is not None and self._context.complete

    @property
    def mechanism(self) -> str:
        """What was chosen: ``kerberos`` or ``ntlm``."""
        return (self._context.negotiated_protocol if self._context else None) or "nothing yet"

    @property
    def seals(self) -> bool:
        """Whether what follows the bind has to be wrapped."""
        return self._binding is None

    def step(self, token: bytes | None = None) -> bytes | None:
        """Return what is to be sent next; blocks, as Kerberos may ask for tickets.

        :raises CredentialsRefused: the key distribution centre does not take the account or password.
        :raises DirectoryUntrusted: the controller's answer proves nothing.
        :raises DirectoryAway: the key distribution centre cannot be reached.
        """
        try:
            if self._context is None:
                self._context = self._new_context()
            return self._context.step(token)
        except negotiation_errors() as error:
            raise negotiation_failure(error, in_words(self._credentials), self._host) from error
        except _MALFORMED as error:
            raise DirectoryUntrusted(f"{self._host} answers the logon with what is no answer") from error

    def check(self) -> None:
        """Refuse a connection that is not protected as it was asked for.

        :raises DirectoryUntrusted: signing or sealing was not agreed.
        """
        if self._context is None or not self._context.complete:
            raise DirectoryUntrusted(f"{self._host} accepts a logon that was not finished")
        if self.seals and self._context.context_attr & _SEALED != _SEALED:
            raise DirectoryUntrusted(
                f"{self._host} does not sign and seal what it sends",
                advice="Use LDAPS or StartTLS, or have the controller allow sealing.",
            )

    def wrap(self, octets: bytes) -> bytes:
        """Seal what is to be sent."""
        try:
            wrapped = self._established().wrap(octets, encrypt=True)
        except SpnegoError as error:  # Kerberos tickets expire
            raise DirectoryAway(f"what was agreed with {self._host} is over") from error
        if not wrapped.encrypted:
            raise DirectoryUntrusted(f"what is to be sent to {self._host} could not be sealed")
        return wrapped.data

    def unwrap(self, octets: bytes) -> bytes:
        """Open what came sealed.

        :raises DirectoryUntrusted: it was changed on the way, or is not sealed.
        """
        try:
            opened = self._established().unwrap(octets)
        except (SpnegoError, *_MALFORMED) as error:
            raise DirectoryUntrusted(f"what came from {self._host} was changed on the way") from error
        if not opened.encrypted:
            raise DirectoryUntrusted(f"what came from {self._host} is not sealed")
        return opened.data

    def _established(self) -> spnego.ContextProxy:
        if self._context is None:
            raise DirectoryUntrusted(f"nothing was agreed with {self._host}")
        return self._context

    def _new_context(self) -> spnego.ContextProxy:
        wanted = self._credentials
        mine: spnego.Credential
        if wanted.password is not None:
            # As a value: a text that looks like an NTLM hash would be taken for one.
            mine = spnego.Password(wanted.account, wanted.password.reveal())
        elif wanted.keytab is not None:
            mine = spnego.KerberosKeytab(f"FILE:{wanted.keytab}", wanted.account or None)
        else:
            mine = spnego.CredentialCache(wanted.account or None)
        # Under TLS Active Directory refuses to sign and seal once more, and NTLM signs to keep the order.
        protection = _SEALED | _IN_ORDER if self.seals else ContextReq.no_integrity
        return spnego.client(
            mine,
            hostname=self._host,
            service="ldap",
            channel_bindings=None
            if self._binding is None
            else GssChannelBindings(application_data=self._binding),
            context_req=ContextReq.mutual_auth | protection,
            protocol=wanted.mechanism.value,
        )


def _check(account: str, password: Secret) -> None:
    if not account or not password.reveal():
        raise CredentialsRefused("an account and its password are needed; neither may be empty")
    for text in (account, password.reveal()):
        if "\0" in text or not _is_utf8(text):
            raise CredentialsRefused("an account or its password holds what no text can")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_readable(keytab: Path) -> None:
    # Kerberos itself says no more than that the logon failed.
    try:
        with keytab.open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"the keytab {keytab} cannot be read: {error.strerror}") from error


def _require_kerberos() -> None:
    if not kerberos_is_installed():
        raise ConfigurationError(
            "Kerberos is not installed",
            advice='Install it with: pip install "postscan[kerberos]" (docs/active-directory.md says what'
            " it needs), or use a password over LDAPS.",
        )
