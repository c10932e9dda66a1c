"""WS-Eventing 2004/08 with the DPWS profile, as values (dpws.md, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final, Self

from lxml import etree

from postscan.contracts.expiry import Expires, parse_duration, write_duration
from postscan.contracts.typenames import tokens_of
from postscan.contracts.uris import is_uri_prefix
from postscan.contracts.wse_faults import (
    ACTION_DIALECT,
    PUSH,
    DeliveryModeRequestedUnavailable,
    EventSourceUnableToProcess,
    FilterActionNotSupported,
    FilteringRequestedUnavailable,
    InvalidExpirationTime,
    InvalidMessage,
    UnableToRenew,
    UnsupportedExpirationType,
)
from postscan.core.clock import SystemClock
from postscan.core.errors import InvalidArgument
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import WSA, WSE, XML, qname
from postscan.soap.xml import WHITE_SPACE, element_text, xml_text

__all__ = [
    "ACTION_DIALECT",
    "DELIVERY_FAILURE",
    "GET_STATUS_ACTION",
    "GET_STATUS_RESPONSE_ACTION",
    "PUSH",
    "RENEW_ACTION",
    "RENEW_RESPONSE_ACTION",
    "SOURCE_CANCELLING",
    "SOURCE_SHUTTING_DOWN",
    "SUBSCRIBE_ACTION",
    "SUBSCRIBE_RESPONSE_ACTION",
    "SUBSCRIPTION_END_ACTION",
    "UNSUBSCRIBE_ACTION",
    "UNSUBSCRIBE_RESPONSE_ACTION",
    "DeliveryModeRequestedUnavailable",
    "EndpointReference",
    "EventSourceUnableToProcess",
    "Expires",
    "FilterActionNotSupported",
    "FilteringRequestedUnavailable",
    "GetStatus",
    "GetStatusResponse",
    "InvalidExpirationTime",
    "InvalidMessage",
    "Renew",
    "RenewResponse",
    "Subscribe",
    "SubscribeResponse",
    "SubscriptionEnd",
    "UnableToRenew",
    "Unsubscribe",
    "UnsupportedExpirationType",
    "action_matches",
    "parse_duration",
    "write_duration",
]

SUBSCRIBE_ACTION: Final = f"{WSE}/Subscribe"
SUBSCRIBE_RESPONSE_ACTION: Final = f"{WSE}/SubscribeResponse"
RENEW_ACTION: Final = f"{WSE}/Renew"
RENEW_RESPONSE_ACTION: Final = f"{WSE}/RenewResponse"
GET_STATUS_ACTION: Final = f"{WSE}/GetStatus"
GET_STATUS_RESPONSE_ACTION: Final = f"{WSE}/GetStatusResponse"
UNSUBSCRIBE_ACTION: Final = f"{WSE}/Unsubscribe"
UNSUBSCRIBE_RESPONSE_ACTION: Final = f"{WSE}/UnsubscribeResponse"
SUBSCRIPTION_END_ACTION: Final = f"{WSE}/SubscriptionEnd"

DELIVERY_FAILURE: Final = f"{WSE}/DeliveryFailure"
SOURCE_SHUTTING_DOWN: Final = f"{WSE}/SourceShuttingDown"
SOURCE_CANCELLING: Final = f"{WSE}/SourceCancelling"

_MANAGER: Final = qname(WSE, "SubscriptionManager")
_EXPIRES: Final = qname(WSE, "Expires")
_END_TO: Final = qname(WSE, "EndTo")
_DELIVERY: Final = qname(WSE, "Delivery")
_NOTIFY_TO: Final = qname(WSE, "NotifyTo")
_FILTER: Final = qname(WSE, "Filter")
_STATUS: Final = qname(WSE, "Status")
_CODE: Final = qname(WSE, "Code")
_REASON: Final = qname(WSE, "Reason")
_LANG: Final = qname(XML, "lang")
# The published schema doubles the l, prose and JMEDS do not (dpws.md, 0.3).
_STATUSES: Final = {
    "DeliveryFailure": DELIVERY_FAILURE,
    "SourceShuttingDown": SOURCE_SHUTTING_DOWN,
    "SourceCancelling": SOURCE_CANCELLING,
    "SourceCanceling": SOURCE_CANCELLING,
}


def action_matches(filter_actions: Sequence[str], action: str) -> bool:
    """Whether a filter of the dialect Action lets an event through.

    It does when one of its URIs is, by whole segments, a prefix of the event's action (RFC 2396 rule;
    dpws.md, 3.2). An empty filter lets nothing through.
    """
    return any(is_uri_prefix(wanted, action) for wanted in filter_actions)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Asks for events.

    ``mode`` None means Push and ``expires`` None that the source may choose. ``filter_dialect`` and
    ``filter_actions`` (URIs) are None and empty where all events are wanted; the actions mean something only
    in the dialect Action. Elements after the filter are another contract's.
    """

    TAG: ClassVar[str] = qname(WSE, "Subscribe")

    notify_to: EndpointReference
    end_to: EndpointReference | None = None
    mode: str | None = None
    expires: Expires | None = None
    filter_dialect: str | None = None
    filter_actions: tuple[str, ...] = ()

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read a Subscribe.

        :raises InvalidMessage: an endpoint is missing or unusable.
        :raises DeliveryModeRequestedUnavailable: no NotifyTo, because the mode is one that has none.
        :raises InvalidExpirationTime: Expires is neither a duration nor a point in time.
        """
        delivery = source.find(_DELIVERY)
        if delivery is None:
            raise InvalidMessage("a Subscribe without Delivery", detail="wse:Delivery")
        mode = delivery.get("Mode", "").strip(WHITE_SPACE) or None
        notify_to = _endpoint(delivery, _NOTIFY_TO, "wse:NotifyTo")
        if notify_to is None:
            if mode not in (None, PUSH):
                raise DeliveryModeRequestedUnavailable(f"mode {mode}")
            raise InvalidMessage("a Subscribe without NotifyTo", detail="wse:NotifyTo")
        chosen = source.find(_FILTER)
        dialect = None if chosen is None else chosen.get("Dialect", "").strip(WHITE_SPACE)
        return cls(
            notify_to=notify_to,
            end_to=_endpoint(source, _END_TO, "wse:EndTo"),
            mode=mode,
            expires=_read_expires(source),
            filter_dialect=dialect or None,
            filter_actions=tokens_of(chosen),
        )

    def to_element(self) -> etree._Element:
        """Write the Subscribe."""
        node = _new(self.TAG)
        if self.end_to is not None:
            self.end_to.to_element(node, _END_TO)
        delivery = etree.SubElement(node, _DELIVERY)
        if self.mode is not None:
            delivery.set("Mode", self.mode)
        self.notify_to.to_element(delivery, _NOTIFY_TO)
        if self.expires is not None:
            etree.SubElement(node, _EXPIRES).text = str(self.expires)
        if self.filter_dialect is not None or self.filter_actions:
            chosen = etree.SubElement(node, _FILTER)
            chosen.text = " ".join(self.filter_actions)
            if self.filter_dialect is not None:
                chosen.set("Dialect", self.filter_dialect)
        return node


@dataclass(frozen=True, slots=True)
class SubscribeResponse:
    """A subscription was made: where it is managed, and how long it lasts from now."""

    TAG: ClassVar[str] = qname(WSE, "SubscribeResponse")

    manager: EndpointReference
    expires: timedelta

    @classmethod
    def from_element(cls, source: etree._Element, *, now: datetime | None = None) -> Self:
        """Read the answer; ``now`` (the clock's when None) turns a point in time into a duration.

        :raises InvalidMessage: manager or Expires is missing, or the manager unusable.
        :raises InvalidExpirationTime: Expires is neither a duration nor a point in time.
        """
        manager = _endpoint(source, _MANAGER, "wse:SubscriptionManager")
        expires = _read_remaining(source, now)
        if manager is None:
            raise InvalidMessage("an answer without manager", detail="wse:SubscriptionManager")
        if expires is None:
            raise InvalidMessage("an answer without Expires", detail="wse:Expires")
        return cls(manager, expires)

    def to_element(self) -> etree._Element:
        """Write the answer."""
        node = _new(self.TAG)
        self.manager.to_element(node, _MANAGER)
        etree.SubElement(node, _EXPIRES).text = write_duration(self.expires)
        return node


@dataclass(frozen=True, slots=True)
class Renew:
    """Asks for more time, as much as the source likes to give when ``expires`` is None."""

    TAG: ClassVar[str] = qname(WSE, "Renew")

    expires: Expires | None = None

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read a Renew; raises InvalidExpirationTime."""
        return cls(_read_expires(source))

    def to_element(self) -> etree._Element:
        """Write the Renew."""
        node = _new(self.TAG)
        if self.expires is not None:
            etree.SubElement(node, _EXPIRES).text = str(self.expires)
        return node


@dataclass(frozen=True, slots=True)
class _TimeLeft:
    """How long a subscription still lasts from now; None where the source does not say, or never ends it."""

    TAG: ClassVar[str]

    expires: timedelta | None = None

    @classmethod
    def from_element(cls, source: etree._Element, *, now: datetime | None = None) -> Self:
        """Read the answer; ``now`` (the clock's when None) turns a point in time into a duration.

        :raises InvalidExpirationTime: Expires is neither a duration nor a point in time.
        """
        return cls(_read_remaining(source, now))

    def to_element(self) -> etree._Element:
        """Write the answer."""
        node = _new(self.TAG)
        if self.expires is not None:
            etree.SubElement(node, _EXPIRES).text = write_duration(self.expires)
        return node


@dataclass(frozen=True, slots=True)
class RenewResponse(_TimeLeft):
    """The time a renewal gave."""

    TAG: ClassVar[str] = qname(WSE, "RenewResponse")


@dataclass(frozen=True, slots=True)
class GetStatusResponse(_TimeLeft):
    """The time that is left."""

    TAG: ClassVar[str] = qname(WSE, "GetStatusResponse")


@dataclass(frozen=True, slots=True)
class GetStatus:
    """Asks how long a subscription still lasts; which one, a header says."""

    TAG: ClassVar[str] = qname(WSE, "GetStatus")

    def to_element(self) -> etree._Element:
        """Write the GetStatus."""
        return _new(self.TAG)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Ends a subscription; which one, a header says. The answer has an empty Body."""

    TAG: ClassVar[str] = qname(WSE, "Unsubscribe")

    def to_element(self) -> etree._Element:
        """Write the Unsubscribe."""
        return _new(self.TAG)


@dataclass(frozen=True, slots=True)
class SubscriptionEnd:
    """The source ends a subscription before its time.

    ``status`` is a URI: DELIVERY_FAILURE, SOURCE_SHUTTING_DOWN or SOURCE_CANCELLING; when read it may be
    any text of the peer's, or None. ``reason`` is for people, in English where there is a choice.
    """

    TAG: ClassVar[str] = qname(WSE, "SubscriptionEnd")

    manager: EndpointReference
    status: str | None
    reason: str | None = None

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read the message in any of the forms of dpws.md, 3.6; raises InvalidMessage without manager."""
        manager = _endpoint(source, _MANAGER, "wse:SubscriptionManager")
        if manager is None:
            raise InvalidMessage("a SubscriptionEnd without manager", detail="wse:SubscriptionManager")
        node = source.find(_STATUS)
        if node is None:
            node = source.find(_CODE)
        reasons = source.findall(_REASON)
        english = [reason for reason in reasons if reason.get(_LANG, "").lower().startswith("en")]
        return cls(
            manager=manager,
            status=None if node is None else _read_status(node),
            reason=(element_text((english or reasons)[0]) or None) if reasons else None,
        )

    def to_element(self) -> etree._Element:
        """Write the message."""
        node = _new(self.TAG)
        self.manager.to_element(node, _MANAGER)
        if self.status is not None:
            etree.SubElement(node, _STATUS).text = self.status
        if self.reason is not None:
            reason = etree.SubElement(node, _REASON)
            reason.set(_LANG, "en")
            reason.text = xml_text(self.reason)
        return node


def _new(tag: str) -> etree._Element:
    return etree.Element(tag, nsmap={"wse": WSE, "wsa": WSA})


def _endpoint(source: etree._Element, tag: str, name: str) -> EndpointReference | None:
    node = source.find(tag)
    if node is None:
        return None
    try:
        return EndpointReference.from_element(node)
    except InvalidArgument as error:
        raise InvalidMessage(f"{name}: {error}", detail=name) from error


def _read_expires(source: etree._Element) -> Expires | None:
    node = source.find(_EXPIRES)
    return None if node is None else Expires.parse(element_text(node))


def _read_remaining(source: etree._Element, now: datetime | None) -> timedelta | None:
    expires = _read_expires(source)
    if expires is None or expires.duration is not None:
        return None if expires is None else expires.duration
    return timedelta(seconds=expires.seconds_from(now or SystemClock().now()))


def _read_status(node: etree._Element) -> str | None:
    text = element_text(node)
    if text.startswith(f"{WSE}/"):
        local = text.removeprefix(f"{WSE}/")
    else:
        prefix, colon, local = text.rpartition(":")
        # A prefix that is declared nowhere is taken for theirs: they mean it well.
        if node.nsmap.get(prefix if colon else None, WSE) != WSE:
            return text
    return _STATUSES.get(local, text or None)
