"""The messages of WS-Eventing: requests to a source, its answers, and the end of a subscription."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from lxml import etree

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from postscan.contracts import wse
from postscan.dpws.frames import Frame, parameters_as_octets
from postscan.soap.envelope import LARGEST_ENVELOPE, EndpointReference, read_envelope
from postscan.soap.xml import parse, serialize

_NOW: Final = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def run(data: bytes) -> None:
    """Read an eventing message; what can be read can be written and read again."""
    body = read_envelope(parse(data)).body
    if body is None:
        return
    match body.tag:
        case wse.Subscribe.TAG:
            _subscribe(body)
        case wse.Renew.TAG:
            _expires(wse.Renew.from_element(body).expires)
        case wse.SubscribeResponse.TAG:
            wse.SubscribeResponse.from_element(body, now=_NOW).to_element()
        case wse.RenewResponse.TAG:
            wse.RenewResponse.from_element(body, now=_NOW).to_element()
        case wse.GetStatusResponse.TAG:
            wse.GetStatusResponse.from_element(body, now=_NOW).to_element()
        case wse.SubscriptionEnd.TAG:
            wse.SubscriptionEnd.from_element(body).to_element()
        case _:
            pass


def _subscribe(body: etree._Element) -> None:
    asked = wse.Subscribe.from_element(body)
    again = wse.Subscribe.from_element(parse(serialize(asked.to_element())))
    must(_plain(again) == _plain(asked), f"{asked!r} came back as {again!r}")
    _check_event(asked.notify_to)
    wse.action_matches(asked.filter_actions, "urn:some/event")
    _expires(asked.expires)


def _check_event(sink: EndpointReference) -> None:
    """Address an event to a sink: whatever it wants to have sent along, the message stays one."""
    parameters = parameters_as_octets(sink.parameters)
    # The policy for sinks lets no other address through (dpws.notify_policy).
    address = sink.address if sink.address.isascii() and sink.address.isprintable() else "urn:sink"
    event = Frame("urn:event", etree.Element("{urn:vendor}Event")).addressed(address, parameters)
    must(len(event) <= LARGEST_ENVELOPE, f"an event of {len(event)} octets")
    headers = read_envelope(parse(event), understood=frozenset(str(p.tag) for p in sink.parameters)).headers
    must((headers.action, headers.to) == ("urn:event", address), "the event goes elsewhere")


def _plain(asked: wse.Subscribe) -> object:
    def address(endpoint: EndpointReference | None) -> str | None:
        return None if endpoint is None else endpoint.address

    ends = (address(asked.notify_to), address(asked.end_to))
    return (*ends, asked.mode, asked.filter_dialect, asked.filter_actions)


def _expires(expires: wse.Expires | None) -> None:
    if expires is not None:
        expires.seconds_from(_NOW)
        wse.Expires.parse(str(expires))


def seeds() -> list[bytes]:
    """Return one of each message."""
    return [*samples.subscriptions(), *samples.subscription_answers()]


TARGET = Target(
    "eventing",
    run,
    seeds,
    mutate_xml,
    words=(b"Expires", b"PT1H", b"Delivery", b"Mode", b"Dialect", b"EndTo"),
)
