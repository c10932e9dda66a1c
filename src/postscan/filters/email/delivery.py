"""The messages of one job on their way: who gets which, and what could not be done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Final

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import Delivered, DeliveryError, DeliveryLedger, SpooledDocument
from postscan.filters.email.addresses import MailAddress
from postscan.filters.email.connection import MailConnection, needs_sign_in
from postscan.filters.email.making import MailJob, MessageMaker, choose_names
from postscan.filters.email.message import MailMessage
from postscan.filters.email.progress import MessageState, Progress
from postscan.filters.email.recipients import in_words
from postscan.filters.email.replies import Reply, busy, megabytes, not_signed_in, refused, too_large
from postscan.filters.email.settings import EmailSettings

_NO_UTF8: Final = Reply(553, "it takes no letters but ASCII before the @ (no SMTPUTF8)")
_SHOWN: Final = 5
_MAY_WANT_AN_ACCOUNT: Final = " (it may want an `account` of [email] to sign in first)"


class MailRun:
    """One attempt to send what a job's recipients have not got yet."""

    def __init__(
        self,
        settings: EmailSettings,
        job: MailJob,
        documents: Sequence[SpooledDocument],
        ledger: DeliveryLedger,
        connection: MailConnection,
    ) -> None:
        self._settings = settings
        self._job = job
        self._documents = documents
        self._ledger = ledger
        self._connection = connection
        self._later: dict[MailAddress, Reply] = {}
        self._failures: list[DeliveryError] = []

    async def run(self, done: set[int]) -> None:
        """Send what is missing; raises DeliveryError for what could not be sent.

        :param done: the ids of the documents that are delivered.
        """
        names = await choose_names(self._settings, self._job.facts, self._documents, self._ledger)
        maker = MessageMaker(self._settings, self._job, self._documents, names, self._connection)
        progress = await Progress.load(self._ledger)
        await self._tell_of_doubts(progress, maker)
        await self._plan(progress, maker, done)
        for message in progress.messages:
            if missing := [one for one in message.documents if one not in done]:
                await self._deliver(message, missing, progress, maker)
        self._raise_failures()

    async def _tell_of_doubts(self, progress: Progress, maker: MessageMaker) -> None:
        for message in progress.messages:
            if message.in_doubt:
                who = tuple(self._job.recipients[place] for place in sorted(message.in_doubt))
                await progress.warn(
                    f"{in_words(who)} may have got message {message.part} of {message.parts} twice: the end"
                    f" of it was sent, and what the mail server {self._settings.place} answered is not known."
                    f" Both have the Message-ID <{maker.id_of(message)}>"
                )
                message.in_doubt = set()
                await progress.save(message)

    async def _plan(self, progress: Progress, maker: MessageMaker, done: set[int]) -> None:
        """Make messages of the documents that are in none yet, or in one that has become too large."""
        for message in list(progress.messages):
            if message.is_untouched and maker.limit and maker.size_of(message) > maker.limit:
                await progress.drop(message)
        planned = {one for message in progress.messages for one in message.documents}
        missing = [one for one in self._documents if one.document_id not in done | planned]
        if not missing:
            return
        if maker.fits_one(missing, progress.next_number):
            await progress.add([missing])
            return
        groups, large = maker.groups(missing)
        await progress.add(groups)
        self._failures += [maker.too_large(document) for document in large]

    # ------------------------------------------------------------------ one message

    async def _deliver(
        self, message: MessageState, missing: Sequence[int], progress: Progress, maker: MessageMaker
    ) -> None:
        """Send one message to those who have not got it; what fails is kept for the end.

        :param missing: the ids of its documents that are not written down as delivered.
        """
        await asyncio.gather(*(self._ledger.plan(one, maker.names[one]) for one in missing))
        sending = _Sending(message, maker.make(message), progress)
        everybody = set(range(len(self._job.recipients)))
        try:
            while open_ := sorted(everybody - message.sent - message.refused):
                crowded = await self._transfer(sending, open_)
                # The server takes so many recipients at a time: the others get it at once (RFC 5321).
                if not crowded:
                    break
        except _MessageRefused as error:
            self._failures.append(error.failure)
            # It may have closed the connection as well; then this is not what went wrong.
            with suppress(DeliveryError):
                await self._connection.reset()
            return
        if not message.sent and message.refused == everybody:
            # A retry by the administrator, who has put it right, asks all of them again.
            message.refused = set()
            await progress.save(message)
            self._failures.append(self._nobody(sending.refusals))
            return
        await self._warn_of(sending)
        self._later |= sending.later
        if message.sent | message.refused == everybody:
            for one in missing:
                await self._ledger.delivered(Delivered(one, maker.names[one], maker.documents[one].size))

    async def _transfer(self, sending: _Sending, open_: Sequence[int]) -> bool:
        """Go through one mail transaction; tells whether some recipients were merely too many for it."""
        message, mail = sending.message, sending.mail
        reply = await self._connection.begin(
            self._settings.sender.address, size=mail.size, utf8=mail.needs_utf8
        )
        if not reply.is_good:
            raise self._refused_sender(message, mail, reply)
        try:
            taken, crowded = await self._tell_recipients(sending, open_)
        except DeliveryError:
            # Who was refused is not asked again: some servers hang up on too many refusals.
            await sending.progress.save(message)
            await self._warn_of(sending)
            raise
        if not taken:
            await sending.progress.save(message)
            await self._connection.reset()
            return False

        async def in_doubt() -> None:
            message.in_doubt = set(taken)
            await sending.progress.save(message)

        with closing(mail.chunks()) as chunks:
            reply = await self._connection.send(chunks, in_doubt)
        message.in_doubt = set()
        if reply.is_good:
            message.sent.update(taken)
        await sending.progress.save(message)
        if not reply.is_good:
            raise _MessageRefused(self._refused_message(message, mail, reply))
        return crowded

    async def _tell_recipients(self, sending: _Sending, open_: Sequence[int]) -> tuple[list[int], bool]:
        """Name the recipients; returns the places of those taken, and whether some were merely too many."""
        taken: list[int] = []
        crowded = False
        for place in open_:
            address = self._job.recipients[place]
            utf8_missing = address.needs_utf8 and not self._connection.takes_utf8
            reply = _NO_UTF8 if utf8_missing else await self._connection.recipient(address)
            sending.later.pop(address, None)
            too_many = bool(taken) and reply.is_about_too_many
            if reply.is_good:
                taken.append(place)
            elif reply.is_temporary or too_many:
                sending.later[address] = reply
                crowded = crowded or too_many
            elif needs_sign_in(reply):
                raise self._wants_account(reply)
            else:
                sending.message.refused.add(place)
                sending.refusals[address] = reply
        return taken, crowded

    async def _warn_of(self, sending: _Sending) -> None:
        for address, reply in sending.refusals.items():
            await sending.progress.warn(
                f"{address} got nothing: the mail server {self._settings.place} refuses it: {reply}"
            )

    # ------------------------------------------------------------------ what went wrong

    def _refused_sender(self, message: MessageState, mail: MailMessage, reply: Reply) -> Exception:
        place = self._settings.place
        if reply.is_about_size:
            return _MessageRefused(self._refused_message(message, mail, reply))
        if needs_sign_in(reply):
            return self._wants_account(reply)
        if reply.is_temporary:
            return busy(place, reply)
        return refused(place, f"mail from {self._settings.sender.address}", reply)

    def _refused_message(self, message: MessageState, mail: MailMessage, reply: Reply) -> DeliveryError:
        place = self._settings.place
        what = f"message {message.part} of {message.parts} to {self._job.destination.label}"
        if reply.is_about_size:
            said = f"the mail server {place} takes no message that large: {reply}"
            return too_large(place, f"{what} has {megabytes(mail.size)}", said)
        if reply.is_temporary:
            return busy(place, reply)
        return refused(place, what, reply)

    def _wants_account(self, reply: Reply) -> DeliveryError:
        return not_signed_in(
            self._settings.place,
            f"wants an account to sign in: {reply}",
            "Set `account` of [email], and enter its password with `postscan secrets set email.password`;"
            " the delivery is tried again by itself.",
        )

    def _nobody(self, refusals: Mapping[MailAddress, Reply]) -> DeliveryError:
        told = "; ".join([f"{address}: {reply}" for address, reply in refusals.items()][:_SHOWN])
        unknown = "" if self._connection.signed_in_by else _MAY_WANT_AN_ACCOUNT
        return DeliveryError(
            f"the mail server {self._settings.place} refuses every recipient" + (f": {told}" if told else ""),
            reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
            transient=False,
            advice="Correct the addresses in the scan process (or the user's, in the directory), or let the"
            f" mail server take them{unknown}; then retry the job.",
        )

    def _raise_failures(self) -> None:
        transient = [error for error in self._failures if error.transient]
        if transient:
            raise transient[0]
        if self._later:
            told = [f"{address}: {reply}" for address, reply in self._later.items()]
            raise DeliveryError(
                f"the mail server {self._settings.place} puts off {len(told)} of {len(self._job.recipients)}"
                f" recipients: {'; '.join(told[:_SHOWN])}",
                reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
                transient=True,
                advice="They are tried again by themselves; nobody gets the mail twice.",
            )
        if self._failures:
            first, *others = self._failures
            raise DeliveryError(
                f"{first}" + (f" (and {len(others)} more)" if others else ""),
                reason=first.reason,
                transient=False,
                advice=first.what_to_do,
            )


@dataclass(slots=True)
class _Sending:
    """A message on its way: who is put off for now, and who was refused, in this attempt."""

    message: MessageState
    mail: MailMessage
    progress: Progress
    later: dict[MailAddress, Reply] = field(default_factory=dict)
    refusals: dict[MailAddress, Reply] = field(default_factory=dict)


class _MessageRefused(Exception):
    """The server does not take this message; the next one may go all the same."""

    def __init__(self, failure: DeliveryError) -> None:
        super().__init__(str(failure))
        self.failure = failure
