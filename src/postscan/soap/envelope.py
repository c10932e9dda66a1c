"""SOAP 1.2 envelopes with WS-Addressing 2004/08 headers, read and written.

Reading trims URIs (printed samples wrap them in line ends) and accepts any prefix; writing uses the prefixes
and the header order of Windows, since several firmwares read no others (dpws.md, 2.1).
"""

from __future__ import annotations

import copy
import html
import random
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from lxml import etree

from postscan.core.errors import InvalidArgument
from postscan.soap.addressing import (
    MAX_URI,
    AddressingHeaderRequired,
    EndpointReference,
    EnvelopeError,
    Headers,
    InvalidAddressingHeader,
    MustUnderstand,
    VersionMismatch,
    elements_in,
)
from postscan.soap.names import (
    ANONYMOUS,
    ANONYMOUS_2005,
    SOAP,
    WSA,
    WSD,
    WSDP,
    WSE,
    qname,
    split_qname,
)
from postscan.soap.xml import WHITE_SPACE, element_text, serialize

__all__ = [
    "LARGEST_ENVELOPE",
    "AddressingHeaderRequired",
    "EndpointReference",
    "Envelope",
    "EnvelopeError",
    "Headers",
    "InvalidAddressingHeader",
    "MustUnderstand",
    "VersionMismatch",
    "build_envelope",
    "fault_headers",
    "new_message_id",
    "read_envelope",
    "reply_headers",
    "require_request",
    "write_envelope",
    "write_reply",
]

# WSDAPI drops longer ones (dpws.md, 2.1), so we send none to a peer that has not said it takes them.
LARGEST_ENVELOPE: Final = 32_767

_ENVELOPE: Final = qname(SOAP, "Envelope")
_HEADER: Final = qname(SOAP, "Header")
_BODY: Final = qname(SOAP, "Body")
_ROLE: Final = qname(SOAP, "role")
_MUST_UNDERSTAND: Final = qname(SOAP, "mustUnderstand")
_OUR_ROLES: Final = frozenset({"", f"{SOAP}/role/next", f"{SOAP}/role/ultimateReceiver"})
_TRUTH: Final = {"1": True, "true": True, "0": False, "false": False}
_UNDERSTOOD_NAMESPACES: Final = frozenset({WSA, WSD, WSE, WSDP})
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_BLANK = re.compile(r"\s")
_URI_HEADERS: Final = frozenset({"To", "Action", "MessageID"})
_REFERENCE_HEADERS: Final = frozenset({"ReplyTo", "FaultTo", "From"})


@dataclass(frozen=True)
class Envelope:
    """A message; ``body`` is the one child element of soap:Body, None for an empty Body."""

    headers: Headers
    body: etree._Element | None


def read_envelope(root: etree._Element, *, understood: frozenset[str] = frozenset()) -> Envelope:
    """Read an envelope; its elements stay in the tree they are in.

    :param understood: Clark names of headers, beyond those of wsa, wsd, wse and wsdp, that the caller obeys.
    :raises VersionMismatch: an envelope of another version of SOAP.
    :raises EnvelopeError: not an envelope, or one with a wrong number of Headers or Bodies, or with more
        than one element in its Body.
    :raises MustUnderstand: a header for us that must be understood and is not.
    :raises AddressingHeaderRequired: no wsa:Action, or an empty one.
    :raises InvalidAddressingHeader: a header of WS-Addressing that is doubled, malformed or over-long.
    """
    header, body = _parts(root)
    blocks = [] if header is None else [block for block in elements_in(header) if _is_for_us(block)]
    ignored = tuple(
        str(block.tag)
        for block in blocks
        if split_qname(str(block.tag))[0] not in _UNDERSTOOD_NAMESPACES
        and block.tag not in understood
        and _boolean_attribute(block)
    )
    if ignored:
        raise MustUnderstand(ignored)
    content = list(elements_in(body))
    if len(content) > 1:
        raise EnvelopeError("more than one element in soap:Body", detail="soap:Body")
    return Envelope(_read_headers(blocks), content[0] if content else None)


def require_request(envelope: Envelope) -> None:
    """Check that a message can be answered on its own connection, and nowhere else (abuse case 16).

    :raises AddressingHeaderRequired: no wsa:MessageID, so no answer could name what it answers.
    :raises InvalidAddressingHeader: ReplyTo or FaultTo is not anonymous (dpws.md, 2.1: R0031).
    """
    headers = envelope.headers
    if headers.message_id is None:
        raise AddressingHeaderRequired("a request without MessageID", detail="wsa:MessageID")
    for name, endpoint in (("wsa:ReplyTo", headers.reply_to), ("wsa:FaultTo", headers.fault_to)):
        # KDE's discovery client writes the anonymous address of 2005/08 into 2004/08 headers.
        if endpoint is not None and endpoint.address not in (ANONYMOUS, ANONYMOUS_2005):
            raise InvalidAddressingHeader(f"{name} is {endpoint.address!r}, not anonymous", detail=name)


def fault_headers(root: etree._Element) -> Headers | None:
    """Return what a fault needs of a message that :func:`read_envelope` refused; None when there is nothing.

    Only a message id is taken over, and only a sound one: a fault has to name the message it answers
    (dpws.md, 2.1: R0019), but must never fail itself.
    """
    found = root.findall(f"{_HEADER}/{qname(WSA, 'MessageID')}")
    if root.tag != _ENVELOPE or len(found) != 1 or len(found[0]):
        return None
    message_id = element_text(found[0])
    if not message_id or len(message_id) > MAX_URI or _BLANK.search(message_id):
        return None
    return Headers(action="", message_id=message_id)


def build_envelope(
    headers: Headers, body: etree._Element | None, *, extra_headers: Sequence[etree._Element] = ()
) -> etree._Element:
    """Return a new envelope with copies of what is given.

    Headers come as Windows orders them: To, Action, MessageID, RelatesTo, ReplyTo, From, FaultTo, then
    ``headers.others`` and ``extra_headers``. The prefixes of all copies are declared on the envelope.
    """
    blocks = (*headers.others, *extra_headers)
    endpoints = (("ReplyTo", headers.reply_to), ("From", headers.source), ("FaultTo", headers.fault_to))
    pieces = [parameter for _, endpoint in endpoints if endpoint for parameter in endpoint.parameters]
    pieces += [*blocks] if body is None else [*blocks, body]
    root = etree.Element(_ENVELOPE, nsmap=_common_prefixes(pieces))
    header = etree.SubElement(root, _HEADER)
    for local, value in (
        ("To", headers.to),
        ("Action", headers.action),
        ("MessageID", headers.message_id),
        ("RelatesTo", headers.relates_to),
    ):
        if value is not None:
            etree.SubElement(header, qname(WSA, local)).text = value
    for local, endpoint in endpoints:
        if endpoint is not None:
            endpoint.to_element(header, qname(WSA, local))
    header.extend(_copy_without_tail(block) for block in blocks)
    holder = etree.SubElement(root, _BODY)
    if body is not None:
        holder.append(_copy_without_tail(body))
    return root


def write_envelope(
    headers: Headers, body: etree._Element | None, *, extra_headers: Sequence[etree._Element] = ()
) -> bytes:
    """Return :func:`build_envelope`'s envelope as octets, prolog and all on one line."""
    return serialize(build_envelope(headers, body, extra_headers=extra_headers))


def write_reply(request: Headers, action: str, body: etree._Element | None) -> bytes:
    """Return the answer to ``request`` as octets, as :func:`write_envelope` would write it.

    Answers whose body holds nothing (that to SendImage above all) differ in their two message ids alone:
    what stands around those is made once.
    """
    headers = reply_headers(request, action)
    ids = headers.message_id, headers.relates_to
    usual = headers.to == ANONYMOUS and not headers.others and None not in ids
    if not usual or body is None or len(body) or body.text or body.attrib:
        return write_envelope(headers, body)
    before, between, behind = _around_ids(action, str(body.tag), tuple(body.nsmap.items()))
    return b"".join((before, _escaped(ids[0]), between, _escaped(ids[1]), behind))


@lru_cache(maxsize=64)
def _around_ids(action: str, tag: str, prefixes: tuple[tuple[str | None, str], ...]) -> tuple[bytes, ...]:
    """Return what stands before, between and behind the two message ids of an answer without content."""
    ids = ("urn:postscan:message-id", "urn:postscan:relates-to")
    headers = Headers(action=action, to=ANONYMOUS, message_id=ids[0], relates_to=ids[1])
    whole = write_envelope(headers, etree.Element(tag, nsmap=dict(prefixes)))
    before, _, rest = whole.partition(ids[0].encode())
    between, _, behind = rest.partition(ids[1].encode())
    return before, between, behind


def _escaped(text: str | None) -> bytes:
    return html.escape(text or "", quote=False).replace("\r", "&#13;").encode()


def new_message_id() -> str:
    """Return a fresh message id."""
    # Not from the system's random numbers: an id is no secret, and one is made for every answer.
    return f"urn:uuid:{uuid.UUID(int=random.getrandbits(128), version=4)}"


def reply_headers(request: Headers, action: str) -> Headers:
    """Return the headers of the answer to ``request``: ReplyTo's parameters come back as headers."""
    endpoint = request.reply_to
    return Headers(
        action=action,
        to=ANONYMOUS if endpoint is None else endpoint.address,
        message_id=new_message_id(),
        relates_to=request.message_id,
        others=() if endpoint is None else endpoint.parameters,
    )


def _parts(root: etree._Element) -> tuple[etree._Element | None, etree._Element]:
    namespace, local = split_qname(str(root.tag))
    if local != "Envelope":
        raise EnvelopeError(f"the root is {root.tag!s}")
    if namespace != SOAP:
        raise VersionMismatch(f"an envelope in the namespace {namespace!r}")
    children = list(elements_in(root))
    tags = [child.tag for child in children]
    if tags == [_BODY]:
        return None, children[0]
    if tags == [_HEADER, _BODY]:
        return children[0], children[1]
    raise EnvelopeError(f"an envelope that holds {len(tags)} elements other than one Header and one Body")


def _is_for_us(block: etree._Element) -> bool:
    return block.get(_ROLE, "").strip(WHITE_SPACE) in _OUR_ROLES


def _boolean_attribute(block: etree._Element) -> bool:
    value = block.get(_MUST_UNDERSTAND, "false").strip(WHITE_SPACE)
    if value not in _TRUTH:
        raise EnvelopeError(f"mustUnderstand is {value!r}", detail="soap:mustUnderstand")
    return _TRUTH[value]


def _read_headers(blocks: list[etree._Element]) -> Headers:
    uris: dict[str, str] = {}
    endpoints: dict[str, EndpointReference] = {}
    seen: set[str] = set()
    others: list[etree._Element] = []
    for block in blocks:
        namespace, local = split_qname(str(block.tag))
        name = f"wsa:{local}"
        if namespace == WSA and local == "RelatesTo":
            # May stand several times, one for each kind of relationship; replies leave the kind out.
            if "RelationshipType" not in block.attrib or _is_reply(block):
                uris.setdefault(local, _uri(block, name))
        elif namespace == WSA and local in _URI_HEADERS | _REFERENCE_HEADERS:
            if local in seen:
                raise InvalidAddressingHeader(f"{name} stands twice", detail=name)
            seen.add(local)
            if local in _URI_HEADERS:
                uris[local] = _uri(block, name)
            else:
                endpoints[local] = _endpoint(block, name)
        else:
            others.append(block)
    action = uris.get("Action")
    if not action:
        raise AddressingHeaderRequired("a message without Action", detail="wsa:Action")
    if _ABSOLUTE_URI.fullmatch(action) is None:
        raise InvalidAddressingHeader("wsa:Action is no absolute URI", detail="wsa:Action")
    return Headers(
        action=action,
        to=uris.get("To") or None,
        message_id=uris.get("MessageID") or None,
        reply_to=endpoints.get("ReplyTo"),
        fault_to=endpoints.get("FaultTo"),
        source=endpoints.get("From"),
        relates_to=uris.get("RelatesTo") or None,
        others=tuple(others),
    )


def _is_reply(block: etree._Element) -> bool:
    # Samsung writes RelationshipType="wsa:Reply", which is what leaving it out means.
    return block.get("RelationshipType", "").strip(WHITE_SPACE).rpartition(":")[2] == "Reply"


def _uri(block: etree._Element, name: str) -> str:
    value = element_text(block)
    # What stands in To refuses no message that reached the right address (dpws.md, 1.2).
    broken = name != "wsa:To" and _BLANK.search(value)
    if len(block) or len(value) > MAX_URI or broken:
        raise InvalidAddressingHeader(f"{name} is no URI of at most {MAX_URI} characters", detail=name)
    return value


def _endpoint(block: etree._Element, name: str) -> EndpointReference:
    try:
        return EndpointReference.from_element(block)
    except InvalidArgument as error:
        raise InvalidAddressingHeader(f"{name}: {error}", detail=name) from error


def _copy_without_tail(element: etree._Element) -> etree._Element:
    twin = copy.deepcopy(element)
    twin.tail = None
    return twin


def _common_prefixes(pieces: Sequence[etree._Element]) -> dict[str, str]:
    """Return the prefixes to declare on the envelope.

    Where the envelope knows a namespace, lxml drops a copied element's own declaration of it, and with it
    the prefix that a qualified name in a value may need; so the envelope declares every prefix itself. A
    prefix that two pieces use for two namespaces stays where it is.
    """
    prefixes = {"soap": SOAP, "wsa": WSA}
    for piece in pieces:
        for prefix, uri in piece.nsmap.items():
            if prefix:
                prefixes.setdefault(prefix, uri)
        for _, declared in etree.iterwalk(piece, events=("start-ns",)):
            if isinstance(declared, tuple) and declared[0]:
                prefixes.setdefault(*declared)
    return prefixes
