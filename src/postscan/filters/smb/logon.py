"""Logging on to a file server, with an eye on accounts that get locked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import spnego
from smbprotocol.exceptions import SMBException
from smbprotocol.session import Session

from postscan.core.clock import Clock, SystemClock
from postscan.core.secret import Secret
from postscan.filters.smb.servers import Encryption, SmbServer
from postscan.filters.smb.transport import SafeConnection
from postscan.filters.smb.troubles import LogonRefused

# Domains lock an account, for all who use it, after as few as five attempts in half an hour.
_REFUSED_SECONDS: Final = (60.0, 240.0, 960.0, 1_800.0)


def log_on(connection: SafeConnection, server: SmbServer, password: Secret | None) -> Session:
    """Log on; the session signs, and encrypts when the server can (or the settings say so).

    :raises SMBException: the server refuses, or takes us for a guest; troubles.operation_errors lists what
        else may be raised.
    """
    encrypts = bool(connection.supports_encryption)
    if server.encryption == Encryption.REQUIRED and not encrypts:
        raise SMBException("encryption is required")
    session = Session(
        connection,
        username=_credential(server, password),
        require_encryption=encrypts,
        auth_protocol=server.logon.value,
        hostname_override=server.service_host,
    )
    session.connect()
    return session


def _credential(server: SmbServer, password: Secret | None) -> spnego.Credential:
    if password is not None:
        # As a value: a text that looks like an NTLM hash would be taken for one.
        return spnego.Password(server.account, password.reveal())
    if server.keytab is not None:
        return spnego.KerberosKeytab(f"FILE:{server.keytab}", server.account or None)
    return spnego.CredentialCache(server.account or None)


@dataclass(slots=True)
class _Record:
    """What is known of one server's account."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    good: Secret | None = None
    refused: Secret | None = None
    error: LogonRefused | None = None
    times: int = 0
    when: float = 0.0


class LogonGuard:
    """Keeps a wrong password from being tried by every delivery, until it locks the account.

    A password that was refused is not tried again for a minute, then for ever longer; another one is tried at
    once. While a password is not known to be right, one logon at a time is tried with it.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._records: dict[str, _Record] = {}
        self._lock = threading.Lock()

    @contextmanager
    def attempt(self, server: SmbServer, password: Secret | None) -> Iterator[None]:
        """Watch over one attempt to log on; raises LogonRefused when it should not be made."""
        if password is None:
            yield
            return
        with self._lock:
            record = self._records.setdefault(server.host, _Record())
        if record.good == password:
            try:
                yield
            except LogonRefused:
                record.good = None
                raise
            return
        with record.lock:
            if record.good != password:
                self._refuse_if_known(record, password)
            try:
                yield
            except LogonRefused as error:
                if error.counted:
                    record.times = record.times + 1 if record.refused == password else 1
                    record.refused, record.error, record.when = password, error, self._clock.monotonic()
                raise
            record.good, record.refused, record.error, record.times = password, None, None, 0

    def _refuse_if_known(self, record: _Record, password: Secret) -> None:
        if record.error is None or record.refused != password:
            return
        pause = _REFUSED_SECONDS[min(record.times, len(_REFUSED_SECONDS)) - 1]
        left = record.when + pause - self._clock.monotonic()
        if left > 0:
            raise record.error.with_traceback(None)
