"""Logging on by HTTP: Basic (RFC 7617), NTLM (MS-NTHT) and Kerberos (RFC 4559)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import spnego
from spnego import ContextReq, NegotiateOptions
from spnego.channel_bindings import GssChannelBindings

from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.directory.ldap.binding import channel_binding
from postscan.directory.ldap.kerberos import kerberos_is_installed, negotiation_errors, negotiation_failure
from postscan.directory.ldap.model import CredentialsRefused, DirectoryAway
from postscan.filters.sharepoint.address import Origin
from postscan.filters.sharepoint.http import Answer, SmallRequests
from postscan.filters.sharepoint.library import LibraryError, Trouble
from postscan.filters.sharepoint.refused_password import RefusedPassword

# On its DEBUG level it writes every token, from which an NTLM password can be guessed.
logging.getLogger("spnego").setLevel(logging.INFO)

_NEGOTIATE: Final = "Negotiate"
_NTLM: Final = "NTLM"
_ROUNDS: Final = 4
_MALFORMED: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error)


class BasicAuth:
    """An account and its password in every request, which only TLS protects.

    :raises ConfigurationError: without TLS, or with a colon in the account, which cannot be told then.
    """

    def __init__(
        self, origin: Origin, account: str, password: Secret, refused: RefusedPassword | None = None
    ) -> None:
        if origin.scheme != "https":
            raise ConfigurationError(f"{origin} has no TLS, and Basic sends the password as it is")
        if ":" in account:
            raise ConfigurationError("an account that logs on by Basic cannot have a colon in its name")
        self.origin = origin
        self._account = account
        self._password = password
        self._refused = refused or RefusedPassword()

    async def log_on(self, connection: SmallRequests) -> None:
        """Prove the password on a small request, so that no document is sent with a wrong one."""
        async with self._refused.turn(self._account, self._password):
            answer = await connection.ask(await self.headers())
            if answer.status == 401:
                if answer.challenges and "basic" not in answer.schemes:
                    raise _no_way("basic", answer)
                self._refused.refuse(self._password)
                raise _wrong(self._account)

    async def headers(self) -> Mapping[str, str]:
        """Return the credentials."""
        text = f"{self._account}:{self._password.reveal()}"
        return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}

    async def renew(self, answer: Answer) -> bool:
        """Tell that nothing can help: a wrong password tried again locks the account."""
        return False


class NegotiatedAuth:
    """What Kerberos and NTLM have in common: tokens in several rounds, bound to the TLS connection."""

    def __init__(self, origin: Origin, account: str) -> None:
        self.origin = origin
        self._account = account

    def _bindings(self, answer: Answer) -> GssChannelBindings | None:
        """Return what ties the logon to this TLS connection, so that nobody in between can use it."""
        if answer.certificate is None:
            return None
        return GssChannelBindings(application_data=channel_binding(answer.certificate))

    async def _step(self, context: spnego.ContextProxy, token: bytes | None) -> bytes | None:
        try:
            # Kerberos asks its key distribution centre meanwhile.
            return await asyncio.to_thread(context.step, token)
        except negotiation_errors() as error:
            self._give_up(error)
        except _MALFORMED as error:
            raise LibraryError(
                f"{self.origin} answers the logon with what is no answer", Trouble.UNREADABLE
            ) from error

    def _give_up(self, error: Exception) -> NoReturn:
        """Raise what an error of Kerberos or NTLM means."""
        who = self._account or "the default Kerberos tickets"
        failure = negotiation_failure(error, who, self.origin.host)
        if isinstance(failure, CredentialsRefused):
            raise LibraryError(str(failure), Trouble.WRONG_CREDENTIALS) from error
        if isinstance(failure, DirectoryAway):
            raise LibraryError(f"{failure}. {failure.what_to_do}", Trouble.AWAY) from error
        words = " ".join(str(error).split())[:300]
        raise LibraryError(
            f"{who}: no logon at {self.origin} comes about; it needs the service principal"
            f" HTTP/{self.origin.host} ({words})",
            Trouble.NO_WAY_TO_LOG_ON,
        ) from error


class NtlmAuth(NegotiatedAuth):
    r"""NTLMv2 by account (``DOMAIN\name`` or a UPN) and password; proves a connection once."""

    def __init__(
        self, origin: Origin, account: str, password: Secret, refused: RefusedPassword | None = None
    ) -> None:
        super().__init__(origin, account)
        self._password = password
        self._refused = refused or RefusedPassword()

    async def log_on(self, connection: SmallRequests) -> None:
        """Prove the connection in three small requests."""
        async with self._refused.turn(self._account, self._password):
            await self._prove(connection)

    async def _prove(self, connection: SmallRequests) -> None:
        answer = await connection.ask({})
        offered = answer.schemes
        if answer.status == 401 and not offered & {"ntlm", "negotiate"}:
            raise _no_way("ntlm", answer)
        scheme = _NEGOTIATE if "negotiate" in offered and "ntlm" not in offered else _NTLM
        context = spnego.client(
            spnego.Password(self._account, self._password.reveal()),
            hostname=self.origin.host,
            service="HTTP",
            channel_bindings=self._bindings(answer),
            context_req=ContextReq.integrity,
            protocol="ntlm",
            options=NegotiateOptions.use_ntlm,
        )
        token = await self._step(context, None)
        for _ in range(_ROUNDS):
            if token is None:
                break
            answer = await connection.ask({"Authorization": f"{scheme} {base64.b64encode(token).decode()}"})
            token = None
            if answer.status == 401 and not context.complete:
                said = _token_of(answer, scheme)
                token = None if said is None else await self._step(context, said)
        if answer.status == 401:
            self._refused.refuse(self._password)
            raise _wrong(self._account)

    async def headers(self) -> Mapping[str, str]:
        """Return nothing: the connection is proven."""
        return {}

    async def renew(self, answer: Answer) -> bool:
        """Tell that nothing can help: a wrong password tried again locks the account."""
        return False


class KerberosAuth(NegotiatedAuth):
    """Kerberos by password, keytab, or the tickets this process has.

    Windows proves a connection by it, others each request: which of both, the first two requests show.

    :param account: a principal or UPN; empty for the first of the keytab, or the default tickets.
    :raises ConfigurationError: the packages of the extra ``kerberos`` are missing.
    """

    def __init__(
        self,
        origin: Origin,
        account: str,
        *,
        password: Secret | None = None,
        keytab: Path | None = None,
        refused: RefusedPassword | None = None,
    ) -> None:
        super().__init__(origin, account)
        if not kerberos_is_installed():
            raise ConfigurationError(
                "Kerberos needs packages that are not installed", advice='Install "postscan[kerberos]".'
            )
        self._password = password
        self._refused = refused or RefusedPassword()
        self._keytab = keytab
        self._binding: GssChannelBindings | None = None
        self._each_request = True

    async def log_on(self, connection: SmallRequests) -> None:
        """Prove who we are, and who the server is, and find out for how long that holds."""
        answer = await connection.ask({})
        self._binding = self._bindings(answer)
        anybody = answer.status != 401
        if not anybody and "negotiate" not in answer.schemes:
            raise _no_way("kerberos", answer)
        context, token = await self._first_token()
        for _ in range(_ROUNDS):
            if token is None:
                break
            answer = await connection.ask({"Authorization": _header(token)})
            said = _token_of(answer, _NEGOTIATE)
            token = None if said is None or context.complete else await self._step(context, said)
            if answer.status != 401:
                break
        if answer.status == 401:
            raise LibraryError(
                f"{self.origin} does not take the Kerberos ticket of {self._account or 'this process'},"
                " or does not let it read there",
                Trouble.WRONG_CREDENTIALS,
            )
        # Where anybody may read, only the token says that it is us who write.
        self._each_request = anybody or (await connection.ask({})).status == 401

    async def headers(self) -> Mapping[str, str]:
        """Return a fresh token where each request has to be proven."""
        if not self._each_request:
            return {}
        _, token = await self._first_token()
        return {} if token is None else {"Authorization": _header(token)}

    async def renew(self, answer: Answer) -> bool:
        """Tell that trying again does not help: each token was a new one."""
        return False

    async def _first_token(self) -> tuple[spnego.ContextProxy, bytes | None]:
        if self._password is None:
            return await self._begun()
        async with self._refused.turn(self._account, self._password):
            try:
                return await self._begun()
            except LibraryError as error:
                if error.trouble is Trouble.WRONG_CREDENTIALS:
                    self._refused.refuse(self._password)
                raise

    async def _begun(self) -> tuple[spnego.ContextProxy, bytes | None]:
        context = await asyncio.to_thread(self._context)
        return context, await self._step(context, None)

    def _context(self) -> spnego.ContextProxy:
        """Return a new context; blocks, as it may ask the key distribution centre for a ticket."""
        mine: spnego.Credential
        if self._password is not None:
            # As a value: a text that looks like an NTLM hash would be taken for one.
            mine = spnego.Password(self._account, self._password.reveal())
        elif self._keytab is not None:
            mine = spnego.KerberosKeytab(f"FILE:{self._keytab}", self._account or None)
        else:
            mine = spnego.CredentialCache(self._account or None)
        try:
            return spnego.client(
                mine,
                hostname=self.origin.host,
                service="HTTP",
                channel_bindings=self._binding,
                context_req=ContextReq.mutual_auth | ContextReq.no_integrity,
                protocol="kerberos",
            )
        except negotiation_errors() as error:
            self._give_up(error)


def _header(token: bytes) -> str:
    return f"{_NEGOTIATE} {base64.b64encode(token).decode()}"


def _token_of(answer: Answer, scheme: str) -> bytes | None:
    for value in answer.challenges:
        named, _, token = value.partition(" ")
        if named.lower() == scheme.lower() and token.strip():
            try:
                return base64.b64decode(token.strip(), validate=True)
            except (binascii.Error, ValueError) as error:
                raise LibraryError(
                    "the server answers the logon with what is no answer", Trouble.UNREADABLE
                ) from error
    return None


def _wrong(account: str) -> LibraryError:
    # SharePoint says 401 as well to whoever it knows and does not let read.
    return LibraryError(
        f"the account {account} or its password is wrong, or it may not even read there",
        Trouble.WRONG_CREDENTIALS,
    )


def _no_way(wanted: str, answer: Answer) -> LibraryError:
    offers = ", ".join(sorted(answer.schemes)) or "nothing"
    return LibraryError(
        f"the server does not take {wanted}; it offers: {offers[:200]}", Trouble.NO_WAY_TO_LOG_ON
    )
