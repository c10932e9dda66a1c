"""WS-Addressing 2004/08 as values, and what can be wrong with an envelope and its headers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from lxml import etree

from postscan.core.errors import FaultKind, FaultParty, InvalidArgument, PostscanError
from postscan.soap.names import SOAP, WSA, display_name, qname, split_qname
from postscan.soap.xml import detached_copy, element_text

# DPWS 2006/02, appendix I: MAX_URI_SIZE.
MAX_URI: Final = 2_048
# They come back in every answer and event, which must stay small (dpws.md, 2.1).
MAX_PARAMETERS_BYTES: Final = 4_096


class EnvelopeError(PostscanError):
    """The message is XML but not a well-made SOAP 1.2 envelope."""

    fault = FaultKind(FaultParty.SENDER, None, "The message is not a SOAP 1.2 envelope.")
    advice = "Send a soap:Envelope of SOAP 1.2 with at most one Header and exactly one Body."


class VersionMismatch(PostscanError):
    """The envelope is of another version of SOAP (SOAP 1.2 Part 1, 5.4.7)."""

    fault = FaultKind(FaultParty.VERSION_MISMATCH, None, "Only SOAP 1.2 envelopes are understood.")
    advice = f"Send the envelope in the namespace {SOAP}."


class MustUnderstand(PostscanError):
    """Header blocks that must be understood are not; ``headers`` holds their Clark names (Part 1, 5.4.8)."""

    fault = FaultKind(FaultParty.MUST_UNDERSTAND, None, "A header that must be understood is not.")
    advice = "Leave out the header that the fault's Detail names, or its mustUnderstand attribute."

    def __init__(self, headers: tuple[str, ...]) -> None:
        names = " ".join(display_name(header) for header in headers)
        super().__init__(f"headers not understood: {' '.join(headers)}", detail=names)
        self.headers = headers


class AddressingHeaderRequired(PostscanError):
    """A WS-Addressing header that the message needs is not there."""

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSA, "MessageInformationHeaderRequired"),
        "A required addressing header is missing.",
    )
    advice = "Add the header that the fault's Detail names."


class InvalidAddressingHeader(PostscanError):
    """A WS-Addressing header is there and cannot be used."""

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSA, "InvalidMessageInformationHeader"),
        "An addressing header is not valid, so the message cannot be processed.",
    )
    advice = "Correct the header that the fault's Detail names; ReplyTo and FaultTo must be anonymous."


@dataclass(frozen=True)
class EndpointReference:
    """Where to send something, and the elements to send along as headers.

    ``parameters`` are copies of the children of both ReferenceProperties and ReferenceParameters: 2004/08
    has the two, and a sender treats them alike.
    """

    address: str
    parameters: tuple[etree._Element, ...] = ()

    @classmethod
    def from_element(cls, source: etree._Element) -> Self:
        """Read an element of the type wsa:EndpointReferenceType.

        :raises InvalidArgument: no Address or several, or one that is empty or over 2,048 characters;
            parameters of more than 4,096 octets, or some that would pose as addressing or SOAP headers.
        """
        addresses = source.findall(qname(WSA, "Address"))
        address = element_text(addresses[0]) if len(addresses) == 1 else ""
        if not address or len(address) > MAX_URI or len(addresses[0]):
            raise InvalidArgument(f"{source.tag!s} has no usable address", detail="wsa:Address")
        holders = [qname(WSA, "ReferenceProperties"), qname(WSA, "ReferenceParameters")]
        parameters = tuple(
            detached_copy(parameter)
            for holder in source
            if holder.tag in holders
            for parameter in elements_in(holder)
        )
        if sum(len(etree.tostring(parameter)) for parameter in parameters) > MAX_PARAMETERS_BYTES:
            raise InvalidArgument(
                f"{source.tag!s} has too large parameters", detail="wsa:ReferenceParameters"
            )
        if any(split_qname(str(parameter.tag))[0] in (WSA, SOAP) for parameter in parameters):
            raise InvalidArgument(f"{source.tag!s} carries headers", detail="wsa:ReferenceParameters")
        return cls(address, parameters)

    def to_element(self, parent: etree._Element, tag: str) -> etree._Element:
        """Write the reference as a child of ``parent`` with the Clark name ``tag``."""
        node = etree.SubElement(parent, tag)
        etree.SubElement(node, qname(WSA, "Address")).text = self.address
        if self.parameters:
            holder = etree.SubElement(node, qname(WSA, "ReferenceParameters"))
            holder.extend(copy.deepcopy(parameter) for parameter in self.parameters)
        return node


@dataclass(frozen=True)
class Headers:
    """The header blocks of one message; ``others`` are those outside WS-Addressing, in their order.

    ``source`` is wsa:From, ``relates_to`` the message id that a reply answers.
    """

    action: str
    to: str | None = None
    message_id: str | None = None
    reply_to: EndpointReference | None = None
    fault_to: EndpointReference | None = None
    source: EndpointReference | None = None
    relates_to: str | None = None
    others: tuple[etree._Element, ...] = ()


def elements_in(parent: etree._Element) -> Iterator[etree._Element]:
    """Yield the child elements; trees from elsewhere than our parser may hold comments between them."""
    return (child for child in parent if isinstance(child.tag, str))
