"""What a device says of itself and of its services: the answer to Get (dpws.md, 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from postscan.contracts.typenames import prefixes_for, read_type_names, tokens_of, write_type_names
from postscan.core.errors import ConfigurationError, InvalidArgument
from postscan.soap.names import LMS, PNPX, WSA, WSDP, WSX, XML, display_name, qname, split_qname
from postscan.soap.xml import WHITE_SPACE, element_text, xml_text

# DPWS 2006/02, appendix I: MAX_FIELD_SIZE in characters, MAX_URI_SIZE in octets. WSDAPI enforces both.
MAX_FIELD: Final = 256
MAX_URI_OCTETS: Final = 2_048

METADATA: Final = qname(WSX, "Metadata")
LARGE_METADATA: Final = qname(LMS, "LargeMetadataSupport")
_SECTION: Final = qname(WSX, "MetadataSection")
_HOST_RELATION: Final = f"{WSDP}/host"
_ADDRESS: Final = f"{qname(WSA, 'EndpointReference')}/{qname(WSA, 'Address')}"
_LANG: Final = qname(XML, "lang")
_CATEGORY: Final = qname(PNPX, "DeviceCategory")


@dataclass(frozen=True, slots=True)
class ThisDevice:
    """One device. ``friendly_names`` maps languages (``en``; empty when not told) to texts."""

    friendly_names: Mapping[str, str]
    firmware_version: str | None = None
    serial_number: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThisModel:
    """The kind of device. Manufacturers and names map languages (empty when not told) to texts.

    ``categories`` are Windows' kinds of devices (pnpx:DeviceCategory), which decide on the icon it shows.
    """

    manufacturers: Mapping[str, str]
    manufacturer_url: str | None = None
    model_names: Mapping[str, str]
    model_number: str | None = None
    model_url: str | None = None
    presentation_url: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostedService:
    """A service, or the device itself as a host: its addresses (at least one), Clark names, and a URI."""

    addresses: tuple[str, ...]
    types: tuple[str, ...]
    service_id: str


@dataclass(frozen=True, slots=True)
class Relationship:
    """A host, which many devices leave out, and what it hosts."""

    host: HostedService | None = None
    hosted: tuple[HostedService, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceMetadata:
    """All of it. What a peer did not send is there with nothing in it."""

    device: ThisDevice
    model: ThisModel
    relationship: Relationship = field(default_factory=Relationship)


def service_in(namespace: str, metadata: DeviceMetadata) -> HostedService | None:
    """Return the first hosted service with a type in ``namespace`` (spec README, trap 15)."""
    for service in metadata.relationship.hosted:
        if any(split_qname(name)[0] == namespace for name in service.types):
            return service
    return None


# Writing -----------------------------------------------------------------------------------------------


def write_metadata(metadata: DeviceMetadata) -> etree._Element:
    """Return wsx:Metadata with the sections ThisDevice, ThisModel and Relationship.

    Texts are cut at 256 characters.

    :raises ConfigurationError: a URI of more than 2,048 octets or with white space in it, a type that is
        no name, or a name, an address or a ServiceId is missing.
    """
    relation = metadata.relationship
    services = (*((relation.host,) if relation.host else ()), *relation.hosted)
    types = [name for service in services for name in service.types]
    device, model = metadata.device, metadata.model
    prefixes = {"wsx": WSX, "wsa": WSA, "wsdp": WSDP} | prefixes_for(types)
    root = etree.Element(METADATA, nsmap=prefixes | ({"pnpx": PNPX} if model.categories else {}))

    node = _section(root, "ThisDevice")
    _names(node, "FriendlyName", device.friendly_names)
    _text(node, "FirmwareVersion", device.firmware_version)
    _text(node, "SerialNumber", device.serial_number)

    node = _section(root, "ThisModel")
    _names(node, "Manufacturer", model.manufacturers)
    _uri(node, "ManufacturerUrl", model.manufacturer_url)
    _names(node, "ModelName", model.model_names)
    _text(node, "ModelNumber", model.model_number)
    _uri(node, "ModelUrl", model.model_url)
    _uri(node, "PresentationUrl", model.presentation_url)
    if model.categories:
        etree.SubElement(node, _CATEGORY).text = xml_text(" ".join(model.categories))[:MAX_FIELD]

    node = _section(root, "Relationship")
    node.set("Type", _HOST_RELATION)
    if relation.host is not None:
        _service(node, "Host", relation.host)
    for service in relation.hosted:
        _service(node, "Hosted", service)
    return root


def _section(root: etree._Element, local: str) -> etree._Element:
    section = etree.SubElement(root, _SECTION)
    section.set("Dialect", f"{WSDP}/{local}")
    return etree.SubElement(section, qname(WSDP, local))


def _names(parent: etree._Element, local: str, names: Mapping[str, str]) -> None:
    if not names:
        raise ConfigurationError(f"the metadata have no wsdp:{local}")
    for language, text in names.items():
        node = etree.SubElement(parent, qname(WSDP, local))
        node.text = xml_text(text)[:MAX_FIELD]
        if language:
            node.set(_LANG, language)


def _text(parent: etree._Element, local: str, text: str | None) -> None:
    if text is not None:
        etree.SubElement(parent, qname(WSDP, local)).text = xml_text(text)[:MAX_FIELD]


def _uri(parent: etree._Element, local: str, uri: str | None) -> None:
    if uri is not None:
        etree.SubElement(parent, qname(WSDP, local)).text = _checked_uri(uri, f"wsdp:{local}")


def _checked_uri(uri: str, name: str) -> str:
    broken = not uri or uri != xml_text(uri) or any(character.isspace() for character in uri)
    if broken or len(uri.encode()) > MAX_URI_OCTETS:
        raise ConfigurationError(f"{name} is not a URI of at most {MAX_URI_OCTETS} octets: {uri[:80]!r}")
    return uri


def _service(parent: etree._Element, local: str, service: HostedService) -> None:
    if not service.addresses:
        raise ConfigurationError(f"the service {service.service_id!r} has no address")
    node = etree.SubElement(parent, qname(WSDP, local))
    for address in service.addresses:
        reference = etree.SubElement(node, qname(WSA, "EndpointReference"))
        etree.SubElement(reference, qname(WSA, "Address")).text = _checked_uri(address, "wsa:Address")
    write_type_names(node, qname(WSDP, "Types"), service.types)
    _uri(node, "ServiceId", service.service_id)


def large_metadata_header() -> etree._Element:
    """Return the header by which whoever sends Get says it takes any length ([MS-DPWSSN]; dpws.md, 2.3)."""
    return etree.Element(LARGE_METADATA, nsmap={"lms": LMS})


# Reading -----------------------------------------------------------------------------------------------


def read_metadata(source: etree._Element) -> DeviceMetadata:
    """Read wsx:Metadata as peers really write it.

    Sections may stand in any order and be of unknown kinds, a section may be missing, and there may be
    several relationships, of which those that do not relate a host to its services are left out. So are
    types that cannot be resolved, and services without a usable address. Of several texts in one language
    the first counts.

    :raises InvalidArgument: ``source`` is not wsx:Metadata.
    """
    if source.tag != METADATA:
        raise InvalidArgument(
            f"{display_name(str(source.tag))} where metadata should be", detail="wsx:Metadata"
        )
    device = source.find(f"{_SECTION}/{qname(WSDP, 'ThisDevice')}")
    model = source.find(f"{_SECTION}/{qname(WSDP, 'ThisModel')}")
    relations = source.findall(f"{_SECTION}/{qname(WSDP, 'Relationship')}")
    return DeviceMetadata(
        device=ThisDevice(
            friendly_names=_read_names(device, "FriendlyName"),
            firmware_version=_read_text(device, "FirmwareVersion"),
            serial_number=_read_text(device, "SerialNumber"),
        ),
        model=ThisModel(
            manufacturers=_read_names(model, "Manufacturer"),
            manufacturer_url=_read_text(model, "ManufacturerUrl"),
            model_names=_read_names(model, "ModelName"),
            model_number=_read_text(model, "ModelNumber"),
            model_url=_read_text(model, "ModelUrl"),
            presentation_url=_read_text(model, "PresentationUrl"),
            categories=tokens_of(None if model is None else model.find(_CATEGORY)),
        ),
        relationship=_read_relationship(relations),
    )


def _read_names(parent: etree._Element | None, local: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in () if parent is None else parent.findall(qname(WSDP, local)):
        names.setdefault(node.get(_LANG, "").strip(WHITE_SPACE), element_text(node))
    return names


def _read_text(parent: etree._Element | None, local: str) -> str | None:
    node = None if parent is None else parent.find(qname(WSDP, local))
    return None if node is None else element_text(node) or None


def _read_relationship(relations: list[etree._Element]) -> Relationship:
    hosts: list[HostedService] = []
    hosted: list[HostedService] = []
    for relation in relations:
        if relation.get("Type", _HOST_RELATION).strip(WHITE_SPACE) != _HOST_RELATION:
            continue
        hosts += _read_services(relation, "Host")
        hosted += _read_services(relation, "Hosted")
    return Relationship(hosts[0] if hosts else None, tuple(hosted))


def _read_services(relation: etree._Element, local: str) -> list[HostedService]:
    services = []
    for node in relation.findall(qname(WSDP, local)):
        addresses = [element_text(address) for address in node.findall(_ADDRESS)]
        usable = tuple(a for a in addresses if a and len(a.encode()) <= MAX_URI_OCTETS)
        if usable:
            types = read_type_names(node.find(qname(WSDP, "Types"))).names
            services.append(HostedService(usable, types, _read_text(node, "ServiceId") or ""))
    return services
