"""What devices say of themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from postscan.contracts import metadata as md
from postscan.core.errors import ConfigurationError, InvalidArgument
from postscan.soap.names import DSC, DSP, WSA, WSCN, WSDP, WSX, XML, qname
from postscan.soap.xml import parse, serialize

PUB = "http://schemas.microsoft.com/windows/pub/2005/07"
PNPX = "http://schemas.microsoft.com/windows/pnpx/2005/10"
WSDSP = qname(DSP, "DistributedScanProcessingServiceType")
BDSRR = qname(DSC, "RepositoryConfigurationServiceType")
SERVER = "https://scan.example:5362/ScanServer"

OURS = md.DeviceMetadata(
    md.ThisDevice({"en": "Scan server", "de": "Scanserver"}, "1.2", "4711"),
    md.ThisModel(
        manufacturers={"en": "Postscan"},
        manufacturer_url="https://postscan.example/",
        model_names={"": "Postscan scan server"},
        model_number="1",
        model_url="https://postscan.example/model",
        presentation_url="https://scan.example/",
        categories=("Computers", "Scanners"),
    ),
    md.Relationship(
        md.HostedService((SERVER,), (qname(WSDP, "Device"),), "uri:host"),
        (
            md.HostedService((f"{SERVER}/2",), (BDSRR,), "uri:dsc"),
            md.HostedService((f"{SERVER}/1", f"{SERVER}/1b"), (WSDSP, "{urn:vendor}Type"), "uri:dsp"),
        ),
    ),
)


def section(local: str, content: str, attributes: str = "") -> str:
    return (
        f'<x:MetadataSection Dialect="{WSDP}/{local}"><p:{local} {attributes}>{content}</p:{local}>'
        "</x:MetadataSection>"
    )


def read(*sections: str) -> md.DeviceMetadata:
    text = (
        f'<x:Metadata xmlns:x="{WSX}" xmlns:p="{WSDP}" xmlns:a="{WSA}" xmlns:pnpx="{PNPX}" xmlns:pub="{PUB}" '
        f'xmlns:scan="{WSCN}">{"".join(sections)}</x:Metadata>'
    )
    return md.read_metadata(parse(text.encode()))


def endpoint(address: str) -> str:
    return f"<a:EndpointReference><a:Address>{address}</a:Address></a:EndpointReference>"


RELATION = f'Type="{WSDP}/host"'
SERVICE = "<p:Types>scan:ScannerServiceType</p:Types><p:ServiceId>uri:1</p:ServiceId>"
HOSTED = f"<p:Hosted>{endpoint('http://192.0.2.4:8018/wsd')}{SERVICE}</p:Hosted>"


# Writing ---------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back_as_the_same() -> None:
    assert md.read_metadata(parse(serialize(md.write_metadata(OURS)))) == OURS


def test_sections_come_in_the_order_of_windows() -> None:
    assert [part.get("Dialect") for part in md.write_metadata(OURS)] == [
        f"{WSDP}/ThisDevice",
        f"{WSDP}/ThisModel",
        f"{WSDP}/Relationship",
    ]


def test_names_carry_their_language_where_there_is_one() -> None:
    root = md.write_metadata(OURS)
    languages = [
        node.get(qname(XML, "lang"))
        for node in root.iter(qname(WSDP, "FriendlyName"), qname(WSDP, "ModelName"))
    ]
    assert languages == ["en", "de", None]


def test_types_are_written_with_our_prefixes() -> None:
    texts = [node.text for node in md.write_metadata(OURS).iter(qname(WSDP, "Types"))]
    assert texts == [
        "wsdp:Device",
        "dsc:RepositoryConfigurationServiceType",
        "dsp:DistributedScanProcessingServiceType t0:Type",
    ]


def test_what_is_not_known_is_left_out() -> None:
    bare = md.DeviceMetadata(
        md.ThisDevice({"en": "A"}), md.ThisModel(manufacturers={"en": "B"}, model_names={"en": "C"})
    )
    root = md.write_metadata(bare)
    assert [
        etree.QName(node).localname
        for node in root.iter()
        if node.tag not in (md.METADATA, qname(WSX, "MetadataSection"))
    ] == [
        "ThisDevice",
        "FriendlyName",
        "ThisModel",
        "Manufacturer",
        "ModelName",
        "Relationship",
    ]


@given(st.text(min_size=1, max_size=600))
def test_texts_are_cut_to_what_windows_takes(text: str) -> None:
    device = md.ThisDevice({"en": text}, text, text)
    written = md.write_metadata(replace(OURS, device=device))
    for local in ("FriendlyName", "FirmwareVersion", "SerialNumber"):
        assert len(written.findtext(f".//{qname(WSDP, local)}") or "") == min(len(text), 256)


@pytest.mark.parametrize(
    "uri", ["", "https://x/" + "ä" * 1_100, "https://x/a b", "https://x/\x01", "https://x/\ud800"]
)
def test_a_uri_is_never_cut_but_refused(uri: str) -> None:
    for broken in (
        replace(OURS, model=replace(OURS.model, presentation_url=uri)),
        replace(OURS, relationship=md.Relationship(None, (md.HostedService((uri,), (WSDSP,), "uri:1"),))),
        replace(OURS, relationship=md.Relationship(md.HostedService((SERVER,), (WSDSP,), uri))),
    ):
        with pytest.raises(ConfigurationError):
            md.write_metadata(broken)


def test_a_uri_of_the_full_length_is_written_whole() -> None:
    uri = "https://x/" + "a" * (2_048 - 10)
    written = md.write_metadata(replace(OURS, model=replace(OURS.model, model_url=uri)))
    assert written.findtext(f".//{qname(WSDP, 'ModelUrl')}") == uri


@pytest.mark.parametrize(
    "broken",
    [
        replace(OURS, device=md.ThisDevice({})),
        replace(OURS, model=replace(OURS.model, manufacturers={})),
        replace(OURS, relationship=md.Relationship(None, (md.HostedService((), (WSDSP,), "uri:1"),))),
        replace(
            OURS, relationship=md.Relationship(None, (md.HostedService((SERVER,), ("{urn:x}a b",), "uri:1"),))
        ),
    ],
    ids=["no name", "no manufacturer", "no address", "no type name"],
)
def test_incomplete_metadata_are_not_written(broken: md.DeviceMetadata) -> None:
    with pytest.raises(ConfigurationError):
        md.write_metadata(broken)


# Reading ---------------------------------------------------------------------------------------------------


def test_a_windows_host_without_services_is_read() -> None:
    found = read(
        section(
            "ThisDevice",
            "<p:FriendlyName>Device Host</p:FriendlyName><p:FirmwareVersion>1.0"
            "</p:FirmwareVersion><p:SerialNumber>20050718</p:SerialNumber>",
        ),
        section(
            "ThisModel",
            "<p:Manufacturer>Microsoft Corporation</p:Manufacturer><p:ModelName>Publication"
            "</p:ModelName><pnpx:DeviceCategory>Computers</pnpx:DeviceCategory>",
        ),
        section(
            "Relationship",
            f"<p:Host>{endpoint('urn:uuid:1')}<p:Types>pub:Computer</p:Types>"
            "<p:ServiceId>urn:uuid:2</p:ServiceId><pub:Computer>PC/Workgroup:WG</pub:Computer></p:Host>",
            RELATION,
        ),
    )
    assert found.device == md.ThisDevice({"": "Device Host"}, "1.0", "20050718")
    assert found.model == md.ThisModel(
        manufacturers={"": "Microsoft Corporation"},
        model_names={"": "Publication"},
        categories=("Computers",),
    )
    assert found.relationship == md.Relationship(
        md.HostedService(("urn:uuid:1",), (qname(PUB, "Computer"),), "urn:uuid:2")
    )


def test_a_samsung_without_host_is_read() -> None:
    found = read(section("Relationship", HOSTED, RELATION))
    assert found.relationship.host is None
    assert found.relationship.hosted == (
        md.HostedService(("http://192.0.2.4:8018/wsd",), (qname(WSCN, "ScannerServiceType"),), "uri:1"),
    )


def test_a_kyocera_with_two_endpoints_for_a_service_is_read() -> None:
    first, second = "http://192.0.2.2:5358/WSDScanner", "http://[fe80::1]:5358/WSDScanner"
    endpoints = endpoint(f"\n {first}\n") + endpoint(second)
    (service,) = read(
        section("Relationship", f"<p:Hosted>{endpoints}{SERVICE}</p:Hosted>", RELATION)
    ).relationship.hosted
    assert service.addresses == (first, second)


def test_sections_are_read_in_any_order_among_unknown_ones() -> None:
    found = read(
        section("Relationship", HOSTED, RELATION),
        '<x:MetadataSection Dialect="http://schemas.xmlsoap.org/wsdl/"><x:Location>http://x/'
        "</x:Location></x:MetadataSection>",
        section(
            "ThisDevice",
            '<p:SerialNumber>1</p:SerialNumber><p:FriendlyName xml:lang="en-US">M2020</p:FriendlyName>',
        ),
    )
    assert found.device == md.ThisDevice({"en-US": "M2020"}, None, "1")
    assert len(found.relationship.hosted) == 1


def test_several_relationships_are_read_as_one() -> None:
    host = f"<p:Host>{endpoint('urn:uuid:1')}<p:ServiceId>urn:h</p:ServiceId></p:Host>"
    found = read(section("Relationship", HOSTED, RELATION), section("Relationship", host + HOSTED, RELATION))
    assert found.relationship.host == md.HostedService(("urn:uuid:1",), (), "urn:h")
    assert len(found.relationship.hosted) == 2


def test_a_relationship_of_another_kind_is_left_out() -> None:
    assert read(section("Relationship", HOSTED, 'Type="urn:friends"')).relationship == md.Relationship()


def test_types_that_cannot_be_resolved_are_left_out() -> None:
    content = HOSTED.replace("scan:ScannerServiceType", "nobody:Type scan:ScannerServiceType nobody:Other")
    (service,) = read(section("Relationship", content, RELATION)).relationship.hosted
    assert service.types == (qname(WSCN, "ScannerServiceType"),)


@pytest.mark.parametrize("endpoints", ["", endpoint(""), endpoint("http://x/" + "a" * 2_048)])
def test_a_service_without_usable_address_is_left_out(endpoints: str) -> None:
    content = f"<p:Hosted>{endpoints}{SERVICE}</p:Hosted>"
    assert read(section("Relationship", content, RELATION)).relationship.hosted == ()


def test_of_two_names_in_one_language_the_first_counts() -> None:
    found = read(
        section("ThisDevice", "<p:FriendlyName>A</p:FriendlyName><p:FriendlyName>B</p:FriendlyName>")
    )
    assert found.device.friendly_names == {"": "A"}


def test_empty_metadata_say_nothing() -> None:
    assert read() == md.DeviceMetadata(md.ThisDevice({}), md.ThisModel(manufacturers={}, model_names={}))


def test_something_else_is_not_read_as_metadata() -> None:
    with pytest.raises(InvalidArgument) as caught:
        md.read_metadata(etree.Element(qname(WSX, "GetMetadata")))
    assert caught.value.detail == "wsx:Metadata"


# Finding ---------------------------------------------------------------------------------------------------


def test_a_service_is_found_by_the_namespace_of_its_type() -> None:
    found = md.service_in(DSP, OURS)
    assert found is not None
    assert found.service_id == "uri:dsp"


def test_a_namespace_that_nobody_serves_is_not_found() -> None:
    assert md.service_in(WSCN, OURS) is None


def test_the_host_is_not_taken_for_a_service() -> None:
    assert md.service_in(WSDP, OURS) is None
