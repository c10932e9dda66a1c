"""Events to send, and what a sink got of them."""

from __future__ import annotations

from lxml import etree

from postscan.contracts import dsp
from postscan.contracts.keywords import JobState
from postscan.soap.envelope import Envelope
from postscan.soap.names import DSP, qname


def status_event(number: int = 1) -> etree._Element:
    """Return a status event that can be told from others by its number."""
    status = dsp.JobStatus(
        job_token=f"token-{number}",
        state=JobState.CREATING,
        filters=(dsp.FilterStatus(dialect="urn:f", state="Pending"),),
        images_received=number,
    )
    return dsp.PostScanJobStatusEvent(status=status).to_element()


def number_of(message: Envelope) -> int:
    """Return the number of a status event."""
    assert message.body is not None
    return int(next(message.body.iter(qname(DSP, "ImagesReceived"))).text or "")
