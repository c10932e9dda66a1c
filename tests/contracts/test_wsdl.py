"""The WSDL of a service says what the service answers, and holds all a toolkit needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from postscan.contracts import wsdl
from postscan.core.errors import ConfigurationError
from postscan.soap.names import DSC, DSP, PSP, WSA, WSCN, WSDL, WSE, XOP, qname
from postscan.soap.xml import parse, serialize

PORT_TYPE = qname(DSP, "DistributedScanProcessingServiceType")
ADDRESS = "https://scan.example:5362/ScanServer/1?a=1&b=2"
CONTRACT = wsdl.ServiceContract(
    PORT_TYPE,
    tuple(
        wsdl.Exchange(
            qname(DSP, f"{name}Request"),
            f"{DSP}/{name}",
            qname(DSP, f"{name}Response"),
            f"{DSP}/{name}Answer",
        )
        for name in ("CreatePostScanJob", "SendImage")
    ),
    (f"{DSP}/PostScanJobStatusEvent",),
)


def written(contract: wsdl.ServiceContract = CONTRACT) -> etree._Element:
    # As a peer gets it: written, sent and read.
    return parse(serialize(wsdl.write_wsdl(contract, ADDRESS)))


def resolved(node: etree._Element, attribute: str) -> str:
    prefix, _, local = node.get(attribute, "").partition(":")
    return qname(node.nsmap[prefix], local)


def texts(root: etree._Element, path: str, attribute: str) -> list[str]:
    return [node.get(attribute, "") for node in root.findall(path, {"w": WSDL, "s": wsdl.SOAP12})]


def test_every_name_refers_to_what_is_there() -> None:
    root = written()
    namespace = root.get("targetNamespace")
    named = {
        kind: {qname(namespace or "", node.get("name", "")) for node in root.findall(qname(WSDL, kind))}
        for kind in ("message", "portType", "binding")
    }
    elements = {
        qname(schema.get("targetNamespace", ""), element.get("name", ""))
        for schema in root.iter(qname(wsdl.XS, "schema"))
        for element in schema.findall(qname(wsdl.XS, "element"))
    }
    for node in root.iter(qname(WSDL, "part")):
        assert resolved(node, "element") in elements
    for node in root.iter(qname(WSDL, "input"), qname(WSDL, "output")):
        if node.get("message") is not None:
            assert resolved(node, "message") in named["message"]
    assert {resolved(node, "type") for node in root.iter(qname(WSDL, "binding"))} == named["portType"]
    assert {resolved(node, "binding") for node in root.iter(qname(WSDL, "port"))} == named["binding"]
    assert named["portType"] == {PORT_TYPE}


def test_the_binding_has_the_operations_of_the_port_type() -> None:
    root = written()
    names = ["CreatePostScanJob", "SendImage", "PostScanJobStatusEvent"]
    assert texts(root, "w:portType/w:operation", "name") == names
    assert texts(root, "w:binding/w:operation", "name") == names
    assert texts(root, "w:binding/w:operation/s:operation", "soapAction") == [f"{DSP}/{n}" for n in names]
    (binding,) = root.findall(f"{{*}}binding/{qname(wsdl.SOAP12, 'binding')}")
    assert (binding.get("style"), binding.get("transport")) == ("document", wsdl.HTTP_TRANSPORT)


def test_messages_carry_the_actions_they_are_sent_with() -> None:
    operations = written().findall(f"{{*}}portType/{qname(WSDL, 'operation')}")
    actions = [[child.get(qname(WSA, "Action")) for child in operation] for operation in operations]
    assert actions == [
        [f"{DSP}/CreatePostScanJob", f"{DSP}/CreatePostScanJobAnswer"],
        [f"{DSP}/SendImage", f"{DSP}/SendImageAnswer"],
        [f"{DSP}/PostScanJobStatusEvent"],
    ]


def test_an_event_is_an_operation_with_an_output_alone() -> None:
    root = written()
    assert root.find(qname(WSDL, "portType")).get(qname(WSE, "EventSource")) == "true"  # type: ignore[union-attr] # it is there
    for place in ("portType", "binding"):
        event = root.findall(f"{{*}}{place}/{qname(WSDL, 'operation')}")[-1]
        directions = [
            etree.QName(node).localname for node in event if node.tag != qname(wsdl.SOAP12, "operation")
        ]
        assert directions == ["output"]


def test_a_service_without_events_is_no_event_source() -> None:
    port_type = written(wsdl.ServiceContract(PORT_TYPE, CONTRACT.exchanges)).find(qname(WSDL, "portType"))
    assert port_type is not None
    assert qname(WSE, "EventSource") not in port_type.attrib


def test_the_address_is_the_services_own() -> None:
    assert texts(written(), "w:service/w:port/s:address", "location") == [ADDRESS]


def test_the_schemas_inside_import_nothing_that_is_not_inside() -> None:
    root = written()
    there = texts(root, "w:types/{*}schema", "targetNamespace")
    assert there == [DSP, PSP, WSCN]
    for node in root.iter(qname(wsdl.XS, "import")):
        assert node.get("namespace") in there
        assert node.get("schemaLocation") is None


def test_an_image_is_base64_to_toolkits() -> None:
    (image,) = [node for node in written().iter(qname(wsdl.XS, "element")) if node.get("name") == "ImageData"]
    assert resolved(image, "type") == qname(wsdl.XS, "base64Binary")
    assert image.get(qname(wsdl.XMIME, "expectedContentTypes")) == "*/*"
    assert XOP not in serialize(written()).decode()


def test_published_schemas_compile_and_say_the_same_of_messages(tmp_path: Path) -> None:
    for name in wsdl.schema_names(DSP):
        (tmp_path / f"{name}.xsd").write_bytes(serialize(wsdl.write_schema(name, "{}.xsd".format)))
    schema = etree.XMLSchema(etree.parse(tmp_path / "dsp.xsd"))
    image = "<d:ImageData>{}</d:ImageData>"
    message = (
        f'<d:SendImageRequest xmlns:d="{DSP}"><d:JobToken>t</d:JobToken><d:DocumentDescription>'
        f"<d:DocumentId>1</d:DocumentId><d:Format>jfif</d:Format></d:DocumentDescription>{image}</d:SendImageRequest>"
    )
    assert schema.validate(parse(message.format("QUJD").encode()))
    assert not schema.validate(parse(message.format("not base64!").encode()))
    assert not schema.validate(parse(message.replace(image, "").encode()))


@pytest.mark.parametrize("namespace", [DSC, DSP])
def test_a_known_namespace_has_a_schema(namespace: str) -> None:
    first, *_ = wsdl.schema_names(namespace)
    assert wsdl.write_schema(first, None).get("targetNamespace") == namespace


def test_a_namespace_without_schema_is_a_mistake_of_ours() -> None:
    with pytest.raises(ConfigurationError):
        wsdl.schema_names("urn:unknown")
