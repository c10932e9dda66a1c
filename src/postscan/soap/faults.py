"""SOAP 1.2 faults: made from our errors, written, and read from whatever peers send (dpws.md, 2.1 and 3.7).

What leaves is fixed text, the name or value the peer itself sent, and a correlation id that ties the fault
to our log; nothing else of an error is written (abuse case 42).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from postscan.core.errors import FaultParty, PostscanError
from postscan.soap.envelope import Envelope, Headers, MustUnderstand, reply_headers, write_envelope
from postscan.soap.names import (
    DISCOVERY_FAULT_ACTION,
    DPWS_FAULT_ACTION,
    FAULT_ACTION,
    PREFIX_OF,
    SOAP,
    WSD,
    WSDP,
    XML,
    qname,
    split_qname,
)
from postscan.soap.xml import WHITE_SPACE, element_text, xml_text

CORRELATION: Final = "urn:postscan:correlation"
CORRELATION_ID: Final = qname(CORRELATION, "CorrelationId")
MAX_DETAIL: Final = 1_024

_FAULT: Final = qname(SOAP, "Fault")
_LANG: Final = qname(XML, "lang")
_ACTION_OF_SUBCODE: Final = {WSDP: DPWS_FAULT_ACTION, WSD: DISCOVERY_FAULT_ACTION}
# A prefix declared nowhere else; only for subcodes in namespaces we have no prefix for.
_FOREIGN_PREFIX: Final = "sub"


@dataclass(frozen=True)
class SoapFault:
    """One fault.

    ``subcode`` is a Clark name (a bare name where a peer's prefix could not be resolved), ``detail`` is a
    text, or an element: a child of soap:Detail when written, the whole soap:Detail when read.
    ``not_understood`` holds Clark names of headers, ``correlation_id`` the id under which the sender of the
    fault logged it, when it is one of ours.
    """

    party: FaultParty
    subcode: str | None
    reason: str
    detail: etree._Element | str | None = None
    action: str = FAULT_ACTION
    not_understood: tuple[str, ...] = ()
    correlation_id: str | None = None


def fault_of(error: PostscanError, service_namespace: str) -> SoapFault:
    """Return the fault for an error; a bare subcode is put into ``service_namespace``."""
    kind = error.fault
    subcode = kind.subcode
    if subcode is not None and not split_qname(subcode)[0]:
        subcode = qname(service_namespace, subcode)
    namespace = split_qname(subcode)[0] if subcode else ""
    return SoapFault(
        party=kind.party,
        subcode=subcode,
        reason=kind.reason,
        detail=_named(error),
        action=_ACTION_OF_SUBCODE.get(namespace, FAULT_ACTION),
        not_understood=error.headers if isinstance(error, MustUnderstand) else (),
    )


def _named(error: PostscanError) -> etree._Element | str | None:
    """Return an error's detail, inside the element it is to stand in if there is one."""
    if error.detail is None or error.detail_name is None:
        return error.detail
    namespace = split_qname(error.detail_name)[0]
    node = etree.Element(error.detail_name, nsmap={PREFIX_OF.get(namespace, "d"): namespace})
    node.text = xml_text(error.detail)[:MAX_DETAIL]
    return node


def write_fault(fault: SoapFault, relates_to: Headers | None, *, correlation_id: str | None = None) -> bytes:
    """Return the whole message that answers ``relates_to`` (None when that could not be read) by a fault.

    ``correlation_id`` becomes an attribute of soap:Detail, in a namespace of our own: node-soap cannot read
    a Detail that holds a text and an element.
    """
    request = Headers(action=fault.action) if relates_to is None else relates_to
    headers = reply_headers(replace(request, reply_to=request.fault_to or request.reply_to), fault.action)
    body = fault_element(fault, correlation_id or fault.correlation_id)
    return write_envelope(headers, body, extra_headers=_soap_headers(fault))


def read_fault(envelope: Envelope) -> SoapFault | None:
    """Return the fault that the envelope carries, None when its Body holds something else.

    Peers leave out the Subcode, send codes that SOAP 1.2 does not know and details of their own; nothing
    of that raises. An unknown code counts as the receiver's.
    """
    body = envelope.body
    if body is None or body.tag != _FAULT:
        return None
    code = _child(body, "Code")
    subcode = None if code is None else _child(code, "Subcode")
    detail = _child(body, "Detail")
    return SoapFault(
        party=_party(code),
        subcode=_value(subcode),
        reason=_reason(body),
        detail=_read_detail(detail),
        action=envelope.headers.action,
        correlation_id=None if detail is None else detail.get(CORRELATION_ID) or None,
    )


def http_status_of(fault: SoapFault) -> int:
    """Return the HTTP status that goes with a fault (SOAP 1.2 Part 2, table 20): 400 for Sender, else 500."""
    return 400 if fault.party is FaultParty.SENDER else 500


def fault_element(fault: SoapFault, correlation_id: str | None = None) -> etree._Element:
    """Return the soap:Fault alone, for messages that are not answers over HTTP."""
    prefixes = {"soap": SOAP}
    subcode = None
    if fault.subcode is not None:
        namespace, local = split_qname(fault.subcode)
        prefix = PREFIX_OF.get(namespace, _FOREIGN_PREFIX)
        subcode = f"{prefix}:{local}" if namespace else local
        if namespace:
            prefixes[prefix] = namespace
    node = etree.Element(_FAULT, nsmap=prefixes)
    code = etree.SubElement(node, qname(SOAP, "Code"))
    etree.SubElement(code, qname(SOAP, "Value")).text = f"soap:{fault.party.value}"
    if subcode is not None:
        holder = etree.SubElement(code, qname(SOAP, "Subcode"))
        etree.SubElement(holder, qname(SOAP, "Value")).text = subcode
    reason = etree.SubElement(etree.SubElement(node, qname(SOAP, "Reason")), qname(SOAP, "Text"))
    reason.set(_LANG, "en")
    reason.text = xml_text(fault.reason)
    if fault.detail is not None or correlation_id is not None:
        declared = {"ps": CORRELATION} if correlation_id is not None else None
        detail = etree.SubElement(node, qname(SOAP, "Detail"), nsmap=declared)
        if isinstance(fault.detail, str):
            detail.text = xml_text(fault.detail)[:MAX_DETAIL]
        elif fault.detail is not None:
            detail.append(copy.deepcopy(fault.detail))
        if correlation_id is not None:
            detail.set(CORRELATION_ID, xml_text(correlation_id))
    return node


def _soap_headers(fault: SoapFault) -> list[etree._Element]:
    """Return the header blocks that two of the fault codes ask for (SOAP 1.2 Part 1, 5.4.7 and 5.4.8)."""
    if fault.party is FaultParty.VERSION_MISMATCH:
        upgrade = etree.Element(qname(SOAP, "Upgrade"), nsmap={"soap": SOAP})
        etree.SubElement(upgrade, qname(SOAP, "SupportedEnvelope"), qname="soap:Envelope")
        return [upgrade]
    blocks = []
    for number, header in enumerate(fault.not_understood):
        namespace, local = split_qname(header)
        prefix = f"h{number}"
        prefixes = {"soap": SOAP} | ({prefix: namespace} if namespace else {})
        name = f"{prefix}:{local}" if namespace else local
        blocks.append(etree.Element(qname(SOAP, "NotUnderstood"), {"qname": name}, nsmap=prefixes))
    return blocks


def _child(parent: etree._Element, local: str) -> etree._Element | None:
    return parent.find(qname(SOAP, local))


def _value(holder: etree._Element | None) -> str | None:
    """Return the qualified name in the holder's Value as a Clark name, bare where its prefix is unknown."""
    value = None if holder is None else _child(holder, "Value")
    text = "" if value is None else element_text(value)
    if value is None or not text:
        return None
    prefix, colon, local = text.rpartition(":")
    namespace = value.nsmap.get(prefix if colon else None)
    return qname(namespace, local) if namespace else local


def _party(code: etree._Element | None) -> FaultParty:
    local = split_qname(_value(code) or "")[1]
    if local == "DataEncodingUnknown":
        return FaultParty.SENDER
    try:
        return FaultParty(local)
    except ValueError:
        return FaultParty.RECEIVER


def _reason(body: etree._Element) -> str:
    texts = body.findall(f"{qname(SOAP, 'Reason')}/{qname(SOAP, 'Text')}")
    english = [text for text in texts if text.get(_LANG, "").lower().startswith("en")]
    return element_text((english or texts)[0]) if texts else ""


def _read_detail(detail: etree._Element | None) -> etree._Element | str | None:
    if detail is None:
        return None
    if len(detail):
        return detail
    return (detail.text or "").strip(WHITE_SPACE) or None
