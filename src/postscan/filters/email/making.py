"""Messages made of a job's documents: what they are called, which go together, and what each message says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import (
    DeliveryError,
    DeliveryLedger,
    Destination,
    JobFacts,
    SpooledDocument,
)
from postscan.filters.email.addresses import MailAddress
from postscan.filters.email.connection import MailConnection
from postscan.filters.email.message import (
    PART_OCTETS,
    Attachment,
    Envelope,
    MailMessage,
    message_id,
)
from postscan.filters.email.progress import MessageState
from postscan.filters.email.recipients import reply_to
from postscan.filters.email.replies import megabytes, too_large
from postscan.filters.email.settings import EmailSettings
from postscan.filters.email.splitting import MAX_ATTACHMENTS, encoded_size, split
from postscan.filters.email.wording import Part, Wording
from postscan.filters.naming import document_name

# Room for what a message says of its number, which is not known before all are planned.
_SLACK: Final = 200
_MAX_NAMES: Final = 10_000


@dataclass(frozen=True, slots=True)
class MailJob:
    """A job as the filter understands it."""

    facts: JobFacts
    recipients: tuple[MailAddress, ...]
    wording: Wording
    destination: Destination


class MessageMaker:
    """Makes the messages of one job for one connection to the mail server.

    :ivar documents: those of the job, by id; ``names`` is what each of them is called.
    """

    def __init__(
        self,
        settings: EmailSettings,
        job: MailJob,
        documents: Sequence[SpooledDocument],
        names: dict[int, str],
        connection: MailConnection,
    ) -> None:
        self._settings = settings
        self._job = job
        self._connection = connection
        self._made: dict[int, MailMessage] = {}
        self.documents = {document.document_id: document for document in documents}
        self.names = names

    def fits_one(self, documents: Sequence[SpooledDocument], number: int) -> bool:
        """Tell whether one message can have all of them, as most jobs' can; it is kept to be sent then."""
        limit = self.limit
        if len(documents) > MAX_ATTACHMENTS:
            return False
        if limit and sum(encoded_size(document.size) for document in documents) > limit:
            return False
        mail = self._built(MessageState(number, tuple(one.document_id for one in documents), 1, 1))
        if limit and mail.size > limit:
            return False
        self._made[number] = mail
        return True

    def groups(
        self, documents: Sequence[SpooledDocument]
    ) -> tuple[list[tuple[SpooledDocument, ...]], list[SpooledDocument]]:
        """Return documents in groups, one a message, and those that are too large for any."""
        limit = self.limit
        frame = self._built(MessageState(0, (), 1, 1)).size + _SLACK
        found = split(documents, limit, frame=frame, part=PART_OCTETS)
        groups, large = [], list(found.too_large)
        waiting = list(reversed(found.messages))
        while waiting:
            group = waiting.pop()
            # Texts that list the attachments many times over may be longer than was reckoned with.
            ids = tuple(document.document_id for document in group)
            size = self._built(MessageState(0, ids, 1, 1)).size + _SLACK
            if not limit or size <= limit:
                groups.append(group)
            elif len(group) == 1:
                large += group
            else:
                middle = len(group) // 2
                waiting += [group[middle:], group[:middle]]
        return groups, large

    @property
    def limit(self) -> int:
        """The most octets of a message; 0 for no limit."""
        limits = [self._settings.max_message_bytes, self._connection.size_limit or 0]
        return min(filter(None, limits), default=0)

    def make(self, message: MessageState) -> MailMessage:
        """Return a message as it is sent; raises DeliveryError when it cannot be written."""
        made = self._made.pop(message.number, None)
        return self._built(message) if made is None else made

    def size_of(self, message: MessageState) -> int:
        """Return how many octets a message has as it is transferred."""
        return self._built(message).size

    def _built(self, message: MessageState) -> MailMessage:
        job, settings = self._job, self._settings
        names = [self.names[one] for one in message.documents]
        part = Part(names, message.part, message.parts)
        answers = reply_to(job.facts, settings)
        if answers is not None and answers.address.needs_utf8 and not self._connection.takes_utf8:
            answers = None
        envelope = Envelope(
            settings.sender,
            answers,
            tuple(one for one in job.recipients if self._connection.takes_utf8 or not one.needs_utf8),
            job.facts.created.astimezone(settings.zone),
            self.id_of(message),
            job.facts.token,
            message.part,
            message.parts,
        )
        attachments = [
            Attachment(self.documents[one], name) for one, name in zip(message.documents, names, strict=True)
        ]
        try:
            return MailMessage(envelope, job.wording.texts(job.facts, part, settings.zone), attachments)
        except ValueError as error:
            raise DeliveryError(
                f"message {message.part} of {message.parts} cannot be written: {error}",
                reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
                transient=False,
                advice="Correct the templates of [email] or the texts of the process, then retry the job.",
            ) from error

    def id_of(self, message: MessageState) -> str:
        """Return a message's Message-ID, without angle brackets."""
        return message_id(
            self._job.facts.token,
            self._job.destination.key,
            message.number,
            self._settings.sender.address.domain,
        )

    def too_large(self, document: SpooledDocument) -> DeliveryError:
        """Return the failure of a document that no message can have."""
        theirs = self._connection.size_limit
        whose = f"the mail server {self._settings.place}" if theirs == self.limit else "`max_message_bytes`"
        return too_large(
            self._settings.place,
            f"{self.names[document.document_id]} has {megabytes(document.size)},"
            f" {megabytes(encoded_size(document.size))} in a message",
            f"{whose} allows {megabytes(self.limit)}",
        )


async def choose_names(
    settings: EmailSettings, job: JobFacts, documents: Sequence[SpooledDocument], ledger: DeliveryLedger
) -> dict[int, str]:
    """Return what each document is called: differently in one job, and the same whenever it is asked."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    attempts: dict[str, int] = {}
    for document in documents:
        name = await ledger.planned_name(document.document_id)
        if name is None:
            call = partial(document_name, job, document, zone=settings.zone)
            first = name = call()
            while name.casefold() in taken and attempts.get(first, 0) < _MAX_NAMES:
                attempts[first] = attempts.get(first, 0) + 1
                name = call(attempt=attempts[first])
        names[document.document_id] = name
        taken.add(name.casefold())
    return names
