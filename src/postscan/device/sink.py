"""The device's event sink: takes the two events of WS-DSP."""

from __future__ import annotations

from lxml import etree

from postscan.contracts import dsp
from postscan.dpws import sink
from postscan.dpws.sink import SubscriptionEnded, address_towards

__all__ = ["Event", "EventSink", "SubscriptionEnded", "address_towards"]

Event = dsp.PostScanJobStatusEvent | dsp.PostScanJobEndStateEvent


class EventSink(sink.EventSink[Event]):
    """Receives the events of one device session."""

    def __init__(self) -> None:
        super().__init__(_event_of)


def _event_of(body: etree._Element) -> Event | None:
    if body.tag == dsp.PostScanJobStatusEvent.TAG:
        return dsp.PostScanJobStatusEvent.from_element(body)
    if body.tag == dsp.PostScanJobEndStateEvent.TAG:
        return dsp.PostScanJobEndStateEvent.from_element(body)
    return None
