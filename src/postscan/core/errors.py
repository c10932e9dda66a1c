"""The one base class of all errors, and what every error knows about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class FaultParty(StrEnum):
    """Who has to act: the SOAP 1.2 fault codes (SOAP 1.2 Part 1, 5.4.6)."""

    SENDER = "Sender"
    RECEIVER = "Receiver"
    MUST_UNDERSTAND = "MustUnderstand"
    VERSION_MISMATCH = "VersionMismatch"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """The fixed part of a SOAP fault.

    ``subcode`` is a Clark name (``{namespace}Local``), a bare local name when the subcode lies in the
    namespace of whichever service answers (``InvalidArgs`` is dsp:InvalidArgs on WS-DSP and
    dsc:InvalidArgs on WS-DSC), or None for a fault without subcode.
    """

    party: FaultParty
    subcode: str | None
    reason: str


INTERNAL_ERROR = FaultKind(
    FaultParty.RECEIVER, "ServerErrorInternalError", "The service had an unexpected error."
)
TEMPORARY_ERROR = FaultKind(
    FaultParty.RECEIVER, "ServerErrorTemporaryError", "The service had an unexpected error."
)
INVALID_ARGS = FaultKind(FaultParty.SENDER, "InvalidArgs", "At least one input argument is invalid.")
OPERATION_FAILED = FaultKind(
    FaultParty.RECEIVER, "OperationFailed", "The service cannot perform the requested operation."
)


class PostscanError(Exception):
    """Base of every error this project raises on purpose.

    ``str(error)`` is for logs and the command line and may name internals. What leaves on the wire is only
    the fixed ``fault`` and ``detail`` (abuse case 42), so ``detail`` holds nothing but the name or value
    the peer itself sent, or fixed URIs that tell what is supported. ``detail_name`` is the Clark name of
    the element that ``detail`` stands in inside soap:Detail; None puts it there as plain text.
    """

    fault: ClassVar[FaultKind] = INTERNAL_ERROR
    detail_name: ClassVar[str | None] = None
    retry_helps: ClassVar[bool] = False
    advice: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, detail: str | None = None, advice: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail
        self.what_to_do = advice if advice is not None else self.advice


class ConfigurationError(PostscanError):
    """The settings, or files they name, are wrong."""

    advice = "Correct the settings; `postscan config check` shows every value and where it came from."
    exit_code = 3


class InvalidArgument(PostscanError):
    """A message carries an argument that is missing, malformed or not allowed (dsp:InvalidArgs)."""

    fault = INVALID_ARGS
    advice = "Correct the argument that the fault's Detail names."
