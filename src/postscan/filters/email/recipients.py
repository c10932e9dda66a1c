"""Whom a job's mail goes to, out of its instructions, and whether it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from postscan.contracts.emlf import EmailConfig
from postscan.contracts.psp import filter_config
from postscan.core.errors import InvalidArgument
from postscan.filters.contract import InstructionsError, JobFacts
from postscan.filters.email.addresses import AddressRefused, MailAddress, Mailbox, parse_address
from postscan.filters.email.settings import EmailSettings, ReplyTo

if TYPE_CHECKING:
    from lxml.etree import _Element

_TO_USER: Final = "emlf:SendToScanUser"
_ADDRESS: Final = "emlf:EmailAddress"
_SHOWN: Final = 5


def email_config(instructions: _Element) -> EmailConfig:
    """Return the EmailConfig that ``instructions`` are, or hold; raises InstructionsError."""
    try:
        if instructions.tag == EmailConfig.TAG:
            return EmailConfig.from_element(instructions)
        return filter_config(instructions, EmailConfig)
    except InvalidArgument as error:
        raise InstructionsError(f"e-mail instructions: {error}", detail=error.detail) from error


def recipients_of(config: EmailConfig, job: JobFacts, settings: EmailSettings) -> tuple[MailAddress, ...]:
    """Return the addresses of a job, each once: the user's own first, where it is asked for.

    :raises InstructionsError: nobody is named, the user has no address, or one of them may not be sent to.
    """
    found: dict[tuple[str, str], MailAddress] = {}
    for address in (*_of_the_user(config, job), *_of_the_process(config, settings)):
        found.setdefault((address.local.casefold(), address.domain), address)
    if not found:
        # The schema allows it, but the scan would vanish and the job be called a success.
        raise InstructionsError("e-mail instructions that name no recipient", detail="emlf:SendToAddresses")
    if len(found) > settings.max_recipients:
        raise InstructionsError(
            f"{len(found)} recipients, and a job may have {settings.max_recipients}",
            detail="emlf:SendToAddresses",
            advice="Send to a distribution list, or raise `max_recipients` of [email].",
        )
    return tuple(found.values())


def reply_to(job: JobFacts, settings: EmailSettings) -> Mailbox | None:
    """Return who answers to a job's mail go to, if anybody."""
    if isinstance(settings.reply_to, Mailbox):
        return settings.reply_to
    if settings.reply_to is ReplyTo.NONE or not job.user_mail:
        return None
    try:
        return Mailbox(parse_address(job.user_mail), job.user_display_name)
    except AddressRefused:
        # Nothing that the mail itself depends on.
        return None


def in_words(addresses: tuple[MailAddress, ...]) -> str:
    """Return addresses for people: all of a few, the first of many."""
    names = [str(address) for address in addresses]
    if len(names) <= _SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: _SHOWN - 1])} and {len(names) - _SHOWN + 1} more"


def _of_the_user(config: EmailConfig, job: JobFacts) -> list[MailAddress]:
    if not config.send_to_scan_user:
        return []
    if not job.user_mail:
        raise InstructionsError(
            f"the mail is to go to the user who scanned, and the directory has no mail address of"
            f" {job.user_name or 'that user'}",
            detail=_TO_USER,
            advice="Enter the user's mail address in the directory, or take SendToScanUser out of the scan"
            " process.",
        )
    try:
        return [parse_address(job.user_mail)]
    except AddressRefused as error:
        raise InstructionsError(
            f"the mail address of {job.user_name or 'the user'} in the directory is not sent to: {error}",
            detail=_TO_USER,
            advice="Correct the user's mail address in the directory.",
        ) from error


def _of_the_process(config: EmailConfig, settings: EmailSettings) -> list[MailAddress]:
    found = []
    for text in config.addresses:
        try:
            address = parse_address(text)
        except AddressRefused as error:
            raise InstructionsError(str(error), detail=_ADDRESS, advice="Correct the address.") from error
        if not settings.recipients.allows(address):
            raise InstructionsError(
                f"mail to {address} is not allowed: the settings allow the domains {settings.recipients}",
                detail=_ADDRESS,
                advice=f'Add "{address.domain}" to `recipients` of [email] if scans may go there.',
            )
        found.append(address)
    return found
