"""WSDL 1.1 of a hosted service, with the schemas of its messages (ms-bdsrr.md, 6.1; dpws.md, 2.4).

One document that needs no other: SOAP 1.2, document/literal, events as operations that have an output alone.
Written from what the service really answers, so that the two cannot drift apart.

The schemas are those messages are validated with, save for one thing: where a message may hold an image as
xop:Include or as base64, toolkits are told xs:base64Binary, which is what both stand for (XOP, 1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

from lxml import etree

from postscan.core.errors import ConfigurationError
from postscan.soap.names import PREFIX_OF, WSA, WSDL, WSDP, WSE, XOP, qname, split_qname
from postscan.soap.xml import detached_copy, parse

SOAP12: Final = "http://schemas.xmlsoap.org/wsdl/soap12/"
XS: Final = "http://www.w3.org/2001/XMLSchema"
XMIME: Final = "http://www.w3.org/2005/05/xmlmime"
HTTP_TRANSPORT: Final = "http://schemas.xmlsoap.org/soap/http"
_WSP: Final = "http://schemas.xmlsoap.org/ws/2004/09/policy"
_WSU: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_POLICY: Final = "ServicePolicy"
_DRIVER: Final = "postscan"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer: Clark names of the body elements, and the two wsa:Actions."""

    request: str
    action: str
    response: str
    response_action: str


@dataclass(frozen=True, slots=True)
class ServiceContract:
    """What a service answers and tells: its port type (a Clark name), exchanges, and actions of its events.

    An event's body element is named by the last segment of its action (spec README, Constants).
    """

    port_type: str
    exchanges: tuple[Exchange, ...]
    events: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """The namespace of the port type, which is the target namespace of the WSDL."""
        return split_qname(self.port_type)[0]


# Schemas -----------------------------------------------------------------------------------------------


def schema_names(namespace: str) -> tuple[str, ...]:
    """Return the names (``dsp``) of a namespace's schema and of all it imports, itself first.

    :raises ConfigurationError: there is no schema for the namespace.
    """
    first = _names_by_namespace().get(namespace)
    if first is None:
        raise ConfigurationError(f"there is no schema for {namespace}")
    found = [first]
    for name in found:
        found += [other for other, _ in _imports(_stored_schema(name)) if other not in found]
    return tuple(found)


def write_schema(name: str, location: Callable[[str], str] | None) -> etree._Element:
    """Return one schema, by its name, for publication.

    :param location: gives the address of a schema that is imported; None leaves addresses out, for schemas
        that stand in one document.
    """
    schema = detached_copy(_stored_schema(name))
    for other, node in _imports(schema):
        del node.attrib["schemaLocation"]
        if location is not None:
            node.set("schemaLocation", location(other))
    _tell_images_as_base64(schema)
    return schema


@lru_cache(maxsize=32)
def _stored_schema(name: str) -> etree._Element:
    root = parse((resources.files(__package__) / "schema" / f"{name}.xsd").read_bytes())
    for node in root.iter():
        # What remains of white space between elements only makes the document longer.
        node.text = node.text if node.text and node.text.strip() else None
        node.tail = None
    return root


@lru_cache(maxsize=1)
def _names_by_namespace() -> dict[str, str]:
    return {node.get("namespace", ""): name for name, node in _imports(_stored_schema(_DRIVER))}


def _imports(schema: etree._Element) -> Iterator[tuple[str, etree._Element]]:
    for node in schema.findall(qname(XS, "import")):
        location = node.get("schemaLocation")
        if location is not None:
            yield location.removesuffix(".xsd"), node


def _tell_images_as_base64(schema: etree._Element) -> None:
    """Replace each type that holds base64 or an xop:Include, and nothing else, by xs:base64Binary."""
    for holder in schema.findall(qname(XS, "complexType")):
        wildcards = holder.iter(qname(XS, "any"))
        if not any(XOP in wildcard.get("namespace", "").split() for wildcard in wildcards):
            continue
        for element in schema.iter(qname(XS, "element")):
            if element.get("type", "").rpartition(":")[2] == holder.get("name"):
                element.set("type", "xs:base64Binary")
                element.set(qname(XMIME, "expectedContentTypes"), "*/*")
        schema.remove(holder)


# The service -------------------------------------------------------------------------------------------


def write_wsdl(contract: ServiceContract, address: str) -> etree._Element:
    """Return wsdl:definitions of the service at ``address``, its schemas included.

    :raises ConfigurationError: there is no schema for the service's namespace.
    """
    namespace, port_type = split_qname(contract.port_type)
    stem = port_type.removesuffix("ServiceType")
    prefix = PREFIX_OF.get(namespace, "tns")
    root = etree.Element(
        qname(WSDL, "definitions"),
        attrib={"targetNamespace": namespace, "name": f"{stem}Service"},
        nsmap={"wsdl": WSDL, "wsoap12": SOAP12, "wsp": _WSP, "wsu": _WSU, "wsa": WSA, "wse": WSE}
        | {"wsdp": WSDP, "xs": XS, prefix: namespace},
    )
    policy = etree.SubElement(root, qname(_WSP, "Policy"), attrib={qname(_WSU, "Id"): _POLICY})
    etree.SubElement(policy, qname(WSDP, "Profile"))
    types = etree.SubElement(root, qname(WSDL, "types"))
    types.extend(write_schema(name, None) for name in schema_names(namespace))
    names = _Names(prefix, namespace)
    _write_messages(root, contract, names)
    _write_port_type(root, contract, names, port_type)
    _write_binding(root, contract, names, f"{stem}ServiceBinding", port_type)
    service = etree.SubElement(root, qname(WSDL, "service"), name=f"{stem}Service")
    port = etree.SubElement(
        service, qname(WSDL, "port"), name=f"{stem}Port", binding=f"{prefix}:{stem}ServiceBinding"
    )
    etree.SubElement(port, qname(SOAP12, "address"), location=address)
    return root


@dataclass(frozen=True, slots=True)
class _Names:
    """How the names of one WSDL are written."""

    prefix: str
    namespace: str

    def message(self, element: str) -> str:
        """Return the name of the message whose body is ``element``."""
        return f"{split_qname(element)[1]}Msg"

    def reference(self, local: str) -> str:
        """Return a qualified name in the target namespace."""
        return f"{self.prefix}:{local}"

    def event(self, action: str) -> str:
        """Return the body element of an event."""
        return qname(self.namespace, _last(action))


def _last(action: str) -> str:
    return action.rpartition("/")[2]


def _write_messages(root: etree._Element, contract: ServiceContract, names: _Names) -> None:
    bodies = [body for exchange in contract.exchanges for body in (exchange.request, exchange.response)]
    for body in (*bodies, *map(names.event, contract.events)):
        message = etree.SubElement(root, qname(WSDL, "message"), name=names.message(body))
        element = names.reference(split_qname(body)[1])
        etree.SubElement(message, qname(WSDL, "part"), name="body", element=element)


def _write_port_type(root: etree._Element, contract: ServiceContract, names: _Names, local: str) -> None:
    port_type = etree.SubElement(root, qname(WSDL, "portType"), name=local)
    if contract.events:
        port_type.set(qname(WSE, "EventSource"), "true")

    def say(operation: etree._Element, direction: str, body: str, action: str) -> None:
        node = etree.SubElement(operation, qname(WSDL, direction))
        node.set("message", names.reference(names.message(body)))
        node.set(qname(WSA, "Action"), action)

    for exchange in contract.exchanges:
        operation = etree.SubElement(port_type, qname(WSDL, "operation"), name=_last(exchange.action))
        say(operation, "input", exchange.request, exchange.action)
        say(operation, "output", exchange.response, exchange.response_action)
    for action in contract.events:
        operation = etree.SubElement(port_type, qname(WSDL, "operation"), name=_last(action))
        say(operation, "output", names.event(action), action)


def _write_binding(
    root: etree._Element, contract: ServiceContract, names: _Names, local: str, port_type: str
) -> None:
    binding = etree.SubElement(root, qname(WSDL, "binding"), name=local, type=names.reference(port_type))
    etree.SubElement(binding, qname(_WSP, "PolicyReference"), URI=f"#{_POLICY}")
    etree.SubElement(binding, qname(SOAP12, "binding"), style="document", transport=HTTP_TRANSPORT)
    exchanges = [(exchange.action, ("input", "output")) for exchange in contract.exchanges]
    for action, directions in (*exchanges, *((action, ("output",)) for action in contract.events)):
        operation = etree.SubElement(binding, qname(WSDL, "operation"), name=_last(action))
        # The action travels in wsa:Action; WSDAPI sends no parameter of that name (dpws.md, 2.1).
        etree.SubElement(operation, qname(SOAP12, "operation"), soapAction=action, soapActionRequired="false")
        for direction in directions:
            node = etree.SubElement(operation, qname(WSDL, direction))
            etree.SubElement(node, qname(SOAP12, "body"), use="literal")
