"""The faults of WS-Eventing 2004/08 and of its DPWS profile (dpws.md, 3.7)."""

from __future__ import annotations

from typing import Final

from postscan.core.errors import FaultKind, FaultParty, PostscanError
from postscan.soap.names import WSDP, WSE, qname

PUSH: Final = f"{WSE}/DeliveryModes/Push"
ACTION_DIALECT: Final = f"{WSDP}/Action"


class InvalidMessage(PostscanError):
    """An eventing message is malformed, or speaks of a subscription that does not exist."""

    fault = FaultKind(
        FaultParty.SENDER, qname(WSE, "InvalidMessage"), "The eventing message cannot be processed."
    )
    advice = "Correct the element that the fault's Detail names; an unknown wse:Identifier has expired."


class DeliveryModeRequestedUnavailable(PostscanError):
    """A subscriber wants events in another way than by Push; ``detail`` is the mode that works."""

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSE, "DeliveryModeRequestedUnavailable"),
        "The requested delivery mode is not supported.",
    )
    advice = f"Leave the mode out, or ask for {PUSH}."
    detail_name = qname(WSE, "SupportedDeliveryMode")

    def __init__(self, message: str) -> None:
        super().__init__(message, detail=PUSH)


class InvalidExpirationTime(PostscanError):
    """A subscriber asks for a time that is past, zero, negative or no time at all."""

    fault = FaultKind(
        FaultParty.SENDER, qname(WSE, "InvalidExpirationTime"), "The requested expiration time is not valid."
    )
    advice = "Ask for a duration greater than zero, such as PT1H, or leave wse:Expires out."


class UnsupportedExpirationType(PostscanError):
    """A subscriber gives a point in time where only a duration will do, or the reverse."""

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSE, "UnsupportedExpirationType"),
        "This kind of expiration time is not supported.",
    )
    advice = "Give wse:Expires as a duration, such as PT1H."


class FilteringRequestedUnavailable(PostscanError):
    """A subscriber wants a filter of an unknown dialect; ``detail`` is the dialect that works."""

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSE, "FilteringRequestedUnavailable"),
        "The dialect of the requested filter is not supported.",
    )
    advice = f"Filter by the dialect {ACTION_DIALECT}, or not at all."
    detail_name = qname(WSE, "SupportedDialect")

    def __init__(self, message: str) -> None:
        super().__init__(message, detail=ACTION_DIALECT)


class FilterActionNotSupported(PostscanError):
    """A filter by action names no event that this service raises."""

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSDP, "FilterActionNotSupported"),
        "None of the actions in the filter is an event of this service.",
    )
    advice = "List the actions of events that the service documents."


class EventSourceUnableToProcess(PostscanError):
    """The event source takes no more subscriptions for the moment."""

    fault = FaultKind(
        FaultParty.RECEIVER,
        qname(WSE, "EventSourceUnableToProcess"),
        "The event source cannot take the subscription.",
    )
    retry_helps = True
    advice = "End subscriptions that are no longer needed, or wait for old ones to expire."


class UnableToRenew(PostscanError):
    """A subscription cannot be renewed, mostly because it is over."""

    fault = FaultKind(FaultParty.RECEIVER, qname(WSE, "UnableToRenew"), "The subscription cannot be renewed.")
    advice = "Subscribe again."
