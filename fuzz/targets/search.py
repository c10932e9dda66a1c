"""The searching side of discovery: whatever is heard raises nothing, and fills no memory."""

from __future__ import annotations

from typing import Final

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from fuzz.targets.responder import LINK, NEIGHBOUR
from postscan.contracts import wsd
from postscan.dpws.discovery.findings import Findings, Gone, Question, Sighting
from postscan.dpws.discovery.messages import read_datagram
from postscan.soap.envelope import read_envelope
from postscan.soap.xml import parse

_MOST_ADDRESSES: Final = 8


def run(data: bytes) -> None:
    """Hear a message twice: as it is, and as the answer to what was asked."""
    findings = Findings(wsd.Probe())
    asked = read_envelope(parse(findings.question())).headers.message_id or ""
    answers = (data, data.replace(samples.ANSWERED.encode(), asked.encode()))
    for heard in answers:
        for news in findings.hear(heard, NEIGHBOUR, LINK):
            must(isinstance(news, Sighting | Gone | Question), "news of no kind")
            if isinstance(news, Sighting):
                must(len(news.xaddrs) <= _MOST_ADDRESSES, f"{len(news.xaddrs)} addresses of one device")
                must(
                    all(x.startswith(("http://", "https://")) for x in map(str.lower, news.xaddrs)), "no http"
                )
            elif isinstance(news, Question):
                must(read_datagram(news.data) is not None, "a question that nobody can read")


def seeds() -> list[bytes]:
    """Return announcements and answers."""
    return samples.sightings()


TARGET = Target(
    "search", run, seeds, mutate_xml, words=(b"XAddrs", b"https://", b"InstanceId", b"MessageNumber")
)
