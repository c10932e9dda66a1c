"""The published e-mail filter: the documents of a job, attached to messages to all its recipients.

SMTP has no way to ask what became of a message, so the order of steps keeps the time short in which nobody
can know, and says so where it came to that. For each message:

1. what is in it is written into the ledger (progress.py), and stays so: its number is in its Message-ID,
   which is the same whenever the message is sent;
2. the recipients are told to the server; who is refused for good is written down, who is put off is tried
   again later, alone;
3. the message is sent, all but the line that ends it; then "in doubt" is written down, with the recipients
   the server took; then that line is sent;
4. with the server's answer it is written down that they have it, or that nobody has.

A crash before 3 repeats a message that nobody got. A crash, or a connection that ends, between 3 and 4 leaves
the doubt in the ledger: the message is sent again, since a scan that is lost is worse than one that comes
twice, and a warning tells who may have it twice, and by which Message-ID that shows.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, Final

from postscan.contracts.keywords import FilterStateReason
from postscan.core.clock import Clock, SystemClock
from postscan.core.errors import ConfigurationError
from postscan.filters.contract import (
    DeliveryError,
    DeliveryLedger,
    DeliveryOrder,
    Destination,
    InstructionsError,
    JobFacts,
    ProbeOrder,
)
from postscan.filters.email.connection import MailConnection, connected
from postscan.filters.email.delivery import MailRun
from postscan.filters.email.hourly import HourlyRecipients
from postscan.filters.email.making import MailJob
from postscan.filters.email.recipients import email_config, in_words, recipients_of
from postscan.filters.email.replies import Reply, megabytes, refused, untrusted
from postscan.filters.email.settings import AuthMethod, EmailSettings, Security
from postscan.filters.email.signing_in import RefusalGuard
from postscan.filters.email.watch import ServerWatch
from postscan.filters.email.wording import Wording
from postscan.soap.names import EMLF

if TYPE_CHECKING:
    from lxml.etree import _Element

_UNTRUSTED_ADVICE: Final = "Correct `ca` of [email]; the delivery is tried again by itself."


class EmailFilter:
    """Sends mail; the dialect is the published namespace of e-mail instructions.

    :raises ConfigurationError: a template cannot be used, or the settings would show a password to anybody.
    """

    dialect: ClassVar[str] = EMLF

    def __init__(self, settings: EmailSettings, clock: Clock | None = None) -> None:
        signs_in = bool(settings.account) and settings.auth is not AuthMethod.NONE
        if signs_in and settings.security is Security.NONE and not settings.insecure:
            raise ConfigurationError(
                "the mail account's password would be sent in clear text",
                advice='Set security = "starttls" or "tls" under [email].',
            )
        self._settings = settings
        self._wording = Wording.of(settings.templates)
        self._hourly = HourlyRecipients(settings.max_recipients_per_hour)
        self._guard = RefusalGuard(clock or SystemClock())
        self._watch = ServerWatch()
        self._slots = asyncio.Semaphore(settings.connections)
        self._context: tuple[tuple[int, ...] | None, ssl.SSLContext] | None = None

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return one destination: all recipients of the job together.

        :raises InstructionsError: nobody is named, an address is none or not allowed, the user has none, has
            sent to too many within the hour, or a text of the scan process is no template.
        """
        wanted = self._job(instructions, job)
        user = job.user_upn or f"{job.user_name}@{job.user_domain}"
        # By destination as well: a process may have several filters of this kind.
        counted = f"{job.token} {wanted.destination.key}"
        if not self._hourly.admit(user, counted, job.created, len(wanted.recipients)):
            most = self._settings.max_recipients_per_hour
            raise InstructionsError(
                f"{job.user_name} has sent mail to {most} recipients within an hour, and that is the most",
                detail="emlf:SendToAddresses",
                advice="Wait a while, or raise `max_recipients_per_hour` of [email].",
            )
        return [wanted.destination]

    async def deliver(self, order: DeliveryOrder, ledger: DeliveryLedger) -> None:
        """Send every document not yet delivered (see the module); raises DeliveryError."""
        done = await ledger.already_delivered()
        if all(document.document_id in done for document in order.documents):
            return
        wanted = self._job_of(order)
        async with self._connection() as connection:
            await MailRun(self._settings, wanted, order.documents, ledger, connection).run(set(done))

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Do all that a delivery does but send a message; raises DeliveryError."""
        wanted = self._job_of(order)
        settings = self._settings
        async with self._connection() as connection:
            found = [_connected_words(settings, connection)]
            if connection.signed_in_by is not None:
                found.append(f"{settings.account} signed in by {connection.signed_in_by.upper()}")
            utf8 = connection.takes_utf8 and any(one.needs_utf8 for one in wanted.recipients)
            reply = await connection.begin(settings.sender.address, utf8=utf8)
            if not reply.is_good:
                raise refused(settings.place, f"mail from {settings.sender.address}", reply)
            found.append(f"mail from {settings.sender.address} is taken")
            await self._probe_recipients(wanted, connection)
            found += [f"mail to {address} is taken" for address in wanted.recipients]
            await connection.reset()
            found.append(_size_words(settings, connection))
        return found

    async def _probe_recipients(self, wanted: MailJob, connection: MailConnection) -> None:
        failures: list[tuple[str, Reply]] = []
        for address in wanted.recipients:
            if address.needs_utf8 and not connection.takes_utf8:
                failures.append((str(address), Reply(553, "it takes no letters but ASCII before the @")))
                continue
            reply = await connection.recipient(address)
            if not reply.is_good:
                failures.append((str(address), reply))
        if not failures:
            return
        told = "; ".join(f"{address}: {reply}" for address, reply in failures)
        if all(reply.is_temporary for _, reply in failures):
            does, advice = "puts off", "It may take such mail later; see its own log if it never does."
        else:
            does, advice = "refuses", "Correct the addresses, or let the mail server take them."
        raise DeliveryError(
            f"the mail server {self._settings.place} {does} {told}",
            reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
            transient=does == "puts off",
            advice=advice,
        )

    def _job(self, instructions: _Element, job: JobFacts) -> MailJob:
        config = email_config(instructions)
        recipients = recipients_of(config, job, self._settings)
        wording = self._wording.with_instructions(config.subject, config.body)
        identity = "\n".join(map(str, (*recipients, config.subject, config.body)))
        key = f"mail:{hashlib.sha256(identity.encode('utf-8', 'replace')).hexdigest()}"
        return MailJob(job, recipients, wording, Destination(key, in_words(recipients)))

    def _job_of(self, order: DeliveryOrder | ProbeOrder) -> MailJob:
        try:
            wanted = self._job(order.instructions, order.job)
        except InstructionsError as error:
            # It was allowed when the job was created: settings or directory have changed since.
            raise DeliveryError(
                f"mail to {order.destination.label} may no longer be sent: {error}",
                reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
                transient=False,
                advice=error.what_to_do,
            ) from error
        if wanted.destination.key != order.destination.key:
            raise DeliveryError(
                f"the recipients are {wanted.destination.label} now, and were {order.destination.label}",
                reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
                transient=False,
                advice="Scan again.",
            )
        return wanted

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[MailConnection]:
        settings = self._settings
        async with self._slots, AsyncExitStack() as stack:
            with self._watch.connecting():
                context = None if settings.security is Security.NONE else await self._trust()
                connection = await stack.enter_async_context(connected(settings, context, self._guard))
            yield connection

    async def _trust(self) -> ssl.SSLContext:
        """Return which certificates are believed: as the file of authorities is now."""
        settings = self._settings
        try:
            status = settings.ca.stat() if settings.ca else None
            seen = status and (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._context is None or seen != self._context[0]:
                self._context = seen, await asyncio.to_thread(_context, settings)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it holds no certificates"
            failure = untrusted(settings.place, f"the authorities in {settings.ca} cannot be read: {why}")
            failure.what_to_do = _UNTRUSTED_ADVICE
            raise failure from error
        return self._context[1]


def _context(settings: EmailSettings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.ca)


def _connected_words(settings: EmailSettings, connection: MailConnection) -> str:
    version = connection.tls_version
    how = f"with {version}, and its certificate is trusted" if version else "WITHOUT TLS"
    return f"the mail server {settings.place} is reached {how}"


def _size_words(settings: EmailSettings, connection: MailConnection) -> str:
    ours, theirs = settings.max_message_bytes, connection.size_limit
    told = "does not say how much it takes" if theirs is None else f"takes {megabytes(theirs)}"
    least = ours if theirs is None else min(ours, theirs)
    return f"messages may have up to {megabytes(least)} (the server {told})"
