"""What a device answers to Probe and Resolve, whichever way they came (dpws.md, 1.2 and 1.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

from postscan.contracts import wsd

# The action of each request of discovery, and the body element that goes with it.
REQUESTS: Final[Mapping[str, str]] = {
    wsd.PROBE_ACTION: wsd.Probe.TAG,
    wsd.RESOLVE_ACTION: wsd.Resolve.TAG,
}


@dataclass(frozen=True, slots=True)
class Target:
    """The device that is looked for: endpoint address, types (Clark names), scopes, metadata version."""

    address: str
    types: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    metadata_version: int = 1

    def match(self, xaddrs: tuple[str, ...]) -> wsd.ProbeMatch:
        """Return the device as a match that is reached at ``xaddrs``."""
        return wsd.ProbeMatch(
            endpoint=wsd.EndpointReference(self.address),
            types=self.types,
            scopes=self.scopes,
            xaddrs=xaddrs,
            metadata_version=self.metadata_version,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its action and body. ``matched`` is false for one that says "not me"."""

    action: str
    body: etree._Element
    matched: bool


def answer_to(body: etree._Element, target: Target, xaddrs: tuple[str, ...]) -> Answer:
    """Return the answer to a Probe or Resolve (the body element of either).

    :raises MatchingRuleNotSupported: scopes to be compared by a rule that is not known here.
    :raises InvalidArgument: a Resolve without endpoint.
    """
    if body.tag == wsd.Probe.TAG:
        probe = wsd.Probe.from_element(body)
        matched = wsd.matches(probe, types=frozenset(target.types), scopes=target.scopes)
        matches = wsd.ProbeMatches((target.match(xaddrs),) if matched else ())
        return Answer(wsd.PROBE_MATCHES_ACTION, matches.to_element(), matched)
    wanted = wsd.Resolve.from_element(body).endpoint.address
    # The address stands for the device with a slash at its end and without (spec README, trap 16).
    matched = wanted.rstrip("/") == target.address.rstrip("/")
    resolved = wsd.ResolveMatches(target.match(xaddrs) if matched else None)
    return Answer(wsd.RESOLVE_MATCHES_ACTION, resolved.to_element(), matched)
