"""WS-Discovery 2005/04 as values, and the rules by which a Probe matches (dpws.md, 1.5 and 1.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from lxml import etree

from postscan.contracts.typenames import (
    TypeNames,
    prefixes_for,
    read_type_names,
    tokens_of,
    write_type_names,
)
from postscan.contracts.uris import is_same_uuid, is_uri_prefix
from postscan.core.errors import FaultKind, FaultParty, InvalidArgument, PostscanError
from postscan.soap.envelope import EndpointReference
from postscan.soap.names import DISCOVERY_TO, WSA, WSD, display_name, qname
from postscan.soap.xml import WHITE_SPACE, element_text

__all__ = [
    "BYE_ACTION",
    "DISCOVERY_TO",
    "HELLO_ACTION",
    "PROBE_ACTION",
    "PROBE_MATCHES_ACTION",
    "RESOLVE_ACTION",
    "RESOLVE_MATCHES_ACTION",
    "RFC2396",
    "STRCMP0",
    "UUID",
    "AppSequence",
    "Bye",
    "EndpointReference",
    "Hello",
    "MatchingRuleNotSupported",
    "Probe",
    "ProbeMatch",
    "ProbeMatches",
    "Resolve",
    "ResolveMatches",
    "matches",
]

HELLO_ACTION: Final = f"{WSD}/Hello"
BYE_ACTION: Final = f"{WSD}/Bye"
PROBE_ACTION: Final = f"{WSD}/Probe"
PROBE_MATCHES_ACTION: Final = f"{WSD}/ProbeMatches"
RESOLVE_ACTION: Final = f"{WSD}/Resolve"
RESOLVE_MATCHES_ACTION: Final = f"{WSD}/ResolveMatches"

RFC2396: Final = f"{WSD}/rfc2396"
UUID: Final = f"{WSD}/uuid"
STRCMP0: Final = f"{WSD}/strcmp0"

_ENDPOINT: Final = qname(WSA, "EndpointReference")
_TYPES: Final = qname(WSD, "Types")
_SCOPES: Final = qname(WSD, "Scopes")
_XADDRS: Final = qname(WSD, "XAddrs")
_VERSION: Final = qname(WSD, "MetadataVersion")
_PROBE_MATCH: Final = qname(WSD, "ProbeMatch")
_RESOLVE_MATCH: Final = qname(WSD, "ResolveMatch")
_MAX_UNSIGNED: Final = 2**32 - 1
_UNSIGNED = re.compile(r"\+?0*([0-9]{1,10})", re.ASCII)

_RULES: Final[dict[str, Callable[[str, str], bool]]] = {
    RFC2396: is_uri_prefix,
    UUID: is_same_uuid,
    STRCMP0: str.__eq__,
}


class MatchingRuleNotSupported(PostscanError):
    """A Probe asks for a rule of comparing scopes that is not known here (dpws.md, 1.6).

    Multicast, such a Probe is not answered at all. ``detail`` lists the rules that are known.
    """

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSD, "MatchingRuleNotSupported"),
        "The matching rule of the scopes is not supported.",
    )
    advice = "Compare scopes by one of the rules that the fault's Detail names, or leave MatchBy out."
    detail_name = qname(WSD, "SupportedMatchingRules")

    def __init__(self, rule: str) -> None:
        super().__init__(f"scopes to be matched by {rule!r}", detail=" ".join(_RULES))


@dataclass(frozen=True, slots=True)
class Probe:
    """A search.

    ``types`` are Clark names; ``unresolved_types`` tells that more were asked for, by unknown prefixes or
    under impossible names. ``scopes`` are URIs, ``match_by`` the URI of the rule that compares them, None for
    rfc2396.
    """

    TAG: ClassVar[str] = qname(WSD, "Probe")

    types: tuple[str, ...] = ()
    unresolved_types: bool = False
    scopes: tuple[str, ...] = ()
    match_by: str | None = None

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read a Probe; whatever stands in it, it is readable."""
        types = read_type_names(source.find(_TYPES))
        scopes = source.find(_SCOPES)
        rule = None if scopes is None else scopes.get("MatchBy", "").strip(WHITE_SPACE)
        return cls(types.names, types.unresolved, tokens_of(scopes), rule or None)

    def to_element(self) -> etree._Element:
        """Write the Probe; types that could not be resolved are not written again."""
        node = etree.Element(self.TAG, nsmap={"wsd": WSD} | prefixes_for(self.types))
        if self.types:
            write_type_names(node, _TYPES, self.types)
        if self.scopes or self.match_by:
            scopes = etree.SubElement(node, _SCOPES)
            scopes.text = " ".join(self.scopes)
            if self.match_by:
                scopes.set("MatchBy", self.match_by)
        return node


def matches(probe: Probe, *, types: frozenset[str], scopes: Sequence[str]) -> bool:
    """Whether a device of these types (Clark names) and scopes (URIs) is what the Probe searches.

    All types asked for must be there, and each scope asked for must match one of the device's; a Probe
    that names neither matches everything, one with types that could not be resolved nothing.

    :raises MatchingRuleNotSupported: the rule for scopes is not known here (ldap, none, a stranger).
    """
    rule = _RULES.get(probe.match_by or RFC2396)
    if rule is None:
        raise MatchingRuleNotSupported(probe.match_by or "")
    if probe.unresolved_types or not types.issuperset(probe.types):
        return False
    return all(any(rule(wanted, given) for given in scopes) for wanted in probe.scopes)


@dataclass(frozen=True, slots=True)
class _Device:
    """What announcements and answers say of a device.

    ``types`` are Clark names; ``scopes`` and ``xaddrs`` URIs as the peer wrote them, which may be unusable;
    ``metadata_version`` is an unsigned 32-bit number that grows with the metadata.
    """

    TAG: ClassVar[str]

    endpoint: EndpointReference
    types: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    xaddrs: tuple[str, ...] = ()
    metadata_version: int = 1

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read the element; raises InvalidArgument without endpoint or metadata version."""
        # Types that cannot be resolved are those of nobody, so they are left out.
        types: TypeNames = read_type_names(source.find(_TYPES))
        version = source.find(_VERSION)
        return cls(
            endpoint=_endpoint(source),
            types=types.names,
            scopes=tokens_of(source.find(_SCOPES)),
            xaddrs=tokens_of(source.find(_XADDRS)),
            metadata_version=_unsigned(
                None if version is None else element_text(version), "wsd:MetadataVersion"
            ),
        )

    def to_element(self) -> etree._Element:
        """Write the element."""
        node = etree.Element(self.TAG, nsmap=_prefixes(self.types))
        self._fill(node, addresses_required=False)
        return node

    def _fill(self, node: etree._Element, *, addresses_required: bool) -> None:
        self.endpoint.to_element(node, _ENDPOINT)
        if self.types:
            write_type_names(node, _TYPES, self.types)
        if self.scopes:
            etree.SubElement(node, _SCOPES).text = " ".join(self.scopes)
        if self.xaddrs or addresses_required:
            etree.SubElement(node, _XADDRS).text = " ".join(self.xaddrs)
        etree.SubElement(node, _VERSION).text = str(self.metadata_version)


@dataclass(frozen=True, slots=True)
class Hello(_Device):
    """A device announces itself, with addresses or without (dpws.md, 1.5)."""

    TAG: ClassVar[str] = qname(WSD, "Hello")


@dataclass(frozen=True, slots=True)
class ProbeMatch(_Device):
    """One device in an answer to a Probe or, under the name ResolveMatch, to a Resolve."""

    TAG: ClassVar[str] = _PROBE_MATCH


@dataclass(frozen=True, slots=True)
class ProbeMatches:
    """The answer to a Probe; over HTTP it holds one match or, as "no", none (dpws.md, 1.2)."""

    TAG: ClassVar[str] = qname(WSD, "ProbeMatches")

    matches: tuple[ProbeMatch, ...] = ()

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read the answer; raises InvalidArgument for a match without endpoint or metadata version."""
        return cls(tuple(ProbeMatch.from_element(match) for match in source.findall(_PROBE_MATCH)))

    def to_element(self) -> etree._Element:
        """Write the answer."""
        types = tuple(name for match in self.matches for name in match.types)
        node = etree.Element(self.TAG, nsmap=_prefixes(types))
        for match in self.matches:
            match._fill(etree.SubElement(node, _PROBE_MATCH), addresses_required=False)
        return node


@dataclass(frozen=True, slots=True)
class Resolve:
    """Asks for the addresses of one endpoint."""

    TAG: ClassVar[str] = qname(WSD, "Resolve")

    endpoint: EndpointReference

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read a Resolve; raises InvalidArgument without endpoint."""
        return cls(_endpoint(source))

    def to_element(self) -> etree._Element:
        """Write the Resolve."""
        node = etree.Element(self.TAG, nsmap=_prefixes())
        self.endpoint.to_element(node, _ENDPOINT)
        return node


@dataclass(frozen=True, slots=True)
class ResolveMatches:
    """The answer to a Resolve; ``match`` is None when the endpoint is someone else's."""

    TAG: ClassVar[str] = qname(WSD, "ResolveMatches")

    match: ProbeMatch | None = None

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read the answer; raises InvalidArgument for a match without endpoint or metadata version."""
        match = source.find(_RESOLVE_MATCH)
        return cls(None if match is None else ProbeMatch.from_element(match))

    def to_element(self) -> etree._Element:
        """Write the answer; XAddrs is there even when it is empty, as the schema wants it."""
        node = etree.Element(self.TAG, nsmap=_prefixes(() if self.match is None else self.match.types))
        if self.match is not None:
            self.match._fill(etree.SubElement(node, _RESOLVE_MATCH), addresses_required=True)
        return node


@dataclass(frozen=True, slots=True)
class Bye:
    """A device takes its leave; only its endpoint counts."""

    TAG: ClassVar[str] = qname(WSD, "Bye")

    endpoint: EndpointReference

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read a Bye; raises InvalidArgument without endpoint."""
        return cls(_endpoint(source))

    def to_element(self) -> etree._Element:
        """Write the Bye."""
        node = etree.Element(self.TAG, nsmap=_prefixes())
        self.endpoint.to_element(node, _ENDPOINT)
        return node


@dataclass(frozen=True, slots=True)
class AppSequence:
    """The header that orders the messages of one device.

    ``instance_id`` grows with every start, ``message_number`` with every message, over all sockets
    (dpws.md, 1.7); both are unsigned 32-bit numbers. ``sequence_id`` is a URI.
    """

    TAG: ClassVar[str] = qname(WSD, "AppSequence")

    instance_id: int
    message_number: int
    sequence_id: str | None = None

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read the header; raises InvalidArgument without either number."""
        sequence = source.get("SequenceId", "").strip(WHITE_SPACE)
        return cls(
            instance_id=_unsigned(source.get("InstanceId"), "wsd:AppSequence/@InstanceId"),
            message_number=_unsigned(source.get("MessageNumber"), "wsd:AppSequence/@MessageNumber"),
            sequence_id=sequence or None,
        )

    def to_element(self) -> etree._Element:
        """Write the header."""
        node = etree.Element(self.TAG, nsmap={"wsd": WSD})
        node.set("InstanceId", str(self.instance_id))
        if self.sequence_id is not None:
            node.set("SequenceId", self.sequence_id)
        node.set("MessageNumber", str(self.message_number))
        return node


def _prefixes(types: Sequence[str] = ()) -> dict[str, str]:
    return {"wsd": WSD, "wsa": WSA} | prefixes_for(types)


def _endpoint(source: etree._Element) -> EndpointReference:
    node = source.find(_ENDPOINT)
    if node is None:
        raise InvalidArgument(
            f"{display_name(str(source.tag))} names no endpoint", detail="wsa:EndpointReference"
        )
    return EndpointReference.from_element(node)


def _unsigned(text: str | None, name: str) -> int:
    found = _UNSIGNED.fullmatch((text or "").strip(WHITE_SPACE))
    if found is None or int(found.group(1)) > _MAX_UNSIGNED:
        raise InvalidArgument(f"{name} is not an unsigned 32-bit number", detail=name)
    return int(found.group(1))
