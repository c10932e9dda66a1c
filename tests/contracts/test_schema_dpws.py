"""The schemas of SOAP, addressing, discovery, metadata and eventing: what real peers send, and what we do.

They are loaded without the driver, so that a fault in another schema is not taken for one here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from importlib import resources

import pytest
from lxml import etree

from postscan.contracts import metadata, wsd, wse
from postscan.core.errors import FaultParty
from postscan.soap.names import DSP, SOAP, WSA, WSCN, WSD, WSDP, WSE, WSX, WXF, qname
from postscan.soap.xml import parse

NAMESPACES = {"soap": SOAP, "wsa": WSA, "wsd": WSD, "wsdp": WSDP, "wse": WSE, "wsx": WSX}
DECLARATIONS = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
Check = Callable[[etree._Element], str]


@pytest.fixture(scope="module")
def check() -> Check:
    """Return a function that says what is wrong with an element, nothing if nothing is."""
    with resources.as_file(resources.files("postscan.contracts") / "schema") as folder:
        driver = etree.Element("{http://www.w3.org/2001/XMLSchema}schema")
        for name, uri in NAMESPACES.items():
            location = (folder / f"{name}.xsd").as_uri()
            etree.SubElement(
                driver, "{http://www.w3.org/2001/XMLSchema}import", namespace=uri, schemaLocation=location
            )
        schema = etree.XMLSchema(driver)

    def violations(element: etree._Element) -> str:
        return "" if schema.validate(element) else schema.error_log[0].message

    return violations


def element(text: str) -> etree._Element:
    return parse(re.sub(r"^<[\w:]+", rf"\g<0> {DECLARATIONS}", text).encode())


def envelope(headers: str, body: str) -> etree._Element:
    return parse(
        f"<soap:Envelope {DECLARATIONS}><soap:Header>{headers}</soap:Header><soap:Body>{body}</soap:Body>"
        "</soap:Envelope>".encode()
    )


ENDPOINT = "<wsa:EndpointReference><wsa:Address>urn:uuid:1</wsa:Address></wsa:EndpointReference>"


# What real peers send --------------------------------------------------------------------------------------

REAL = {
    "a Get of Windows, whose body is empty": envelope(
        f"<wsa:To>urn:uuid:1</wsa:To><wsa:Action>{WXF}/Get</wsa:Action><wsa:MessageID>urn:uuid:2"
        "</wsa:MessageID>"
        "<wsa:ReplyTo><wsa:Address>urn:a</wsa:Address></wsa:ReplyTo><wsa:From><wsa:Address>urn:b"
        "</wsa:Address></wsa:From>",
        "",
    ),
    "URIs that are wrapped in line ends": envelope(
        f"<wsa:To>\n  urn:uuid:1\n</wsa:To><wsa:Action>\n  {WXF}/Get\n</wsa:Action>"
        '<wsd:AppSequence InstanceId="2" SequenceId="urn:uuid:9"\n MessageNumber="16">\n</wsd:AppSequence>',
        "",
    ),
    "a To that is no URI": envelope("<wsa:To>Destination Address</wsa:To>", ""),
    "headers to be understood, as gSOAP marks them": envelope(
        f'<wsa:Action soap:mustUnderstand="true" soap:role="{SOAP}/role/next" soap:relay="0">urn:a'
        "</wsa:Action>"
        '<wsa:ReplyTo soap:mustUnderstand="1"><wsa:Address>urn:b</wsa:Address></wsa:ReplyTo>',
        "<wsd:Probe><wsd:Types>nowhere:Device</wsd:Types></wsd:Probe>",
    ),
    "headers and extensions nobody knows": envelope(
        '<v:Own xmlns:v="urn:v" v:a="1"><v:More/></v:Own>', '<v:Own xmlns:v="urn:v"/>'
    ),
    "a Probe of KDE": element(f'<wsd:Probe><wsd:Types xmlns:p="{WSDP}">p:Device</wsd:Types></wsd:Probe>'),
    "a Probe for everything": element("<wsd:Probe/>"),
    "a Hello of pywsdiscovery": element(
        f'<wsd:Hello>{ENDPOINT}<wsd:Types xmlns:l="http">l:schemas.xmlsoap.org/ws/2006/02/devprof</wsd:Types>'
        "<wsd:XAddrs>192.0.2.1:5357</wsd:XAddrs><wsd:MetadataVersion>1</wsd:MetadataVersion></wsd:Hello>"
    ),
    "a Bye": element(f"<wsd:Bye>{ENDPOINT}</wsd:Bye>"),
    "a match of an ONVIF camera": element(
        "<wsd:ProbeMatches><wsd:ProbeMatch><wsa:EndpointReference><wsa:Address>urn:uuid:1</wsa:Address>"
        "<wsa:ReferenceProperties/><wsa:ReferenceParameters/><wsa:PortType>ttl</wsa:PortType>"
        "</wsa:EndpointReference>"
        "<wsd:Scopes>onvif://x/a onvif://x/b</wsd:Scopes><wsd:XAddrs>http://192.0.2.3:80/o</wsd:XAddrs>"
        "<wsd:MetadataVersion>1</wsd:MetadataVersion></wsd:ProbeMatch></wsd:ProbeMatches>"
    ),
    "a body of a Kyocera that preserves its space": parse(
        f'<E:Envelope xmlns:E="{SOAP}" xmlns:discovery="{WSD}"><E:Body xml:space="preserve">'
        "<discovery:ProbeMatches/>"
        "</E:Body></E:Envelope>".encode()
    ),
    "a relationship type of a Samsung": element(
        '<wsa:RelatesTo RelationshipType="nowhere:Reply">urn:uuid:1</wsa:RelatesTo>'
    ),
    "a service of a Kyocera with two endpoints": element(
        f'<wsdp:Relationship Type="{WSDP}/host"><wsdp:Hosted>{ENDPOINT}{ENDPOINT}'
        "<wsdp:Types>nowhere:Type</wsdp:Types>"
        '<wsdp:ServiceId>uri:1</wsdp:ServiceId><v:HardwareId xmlns:v="urn:v">VEN_1'
        "</v:HardwareId></wsdp:Hosted>"
        "</wsdp:Relationship>"
    ),
    "a fault of a Ricoh with an undeclared prefix": element(
        "<soap:Fault><soap:Code><soap:Value>soap:Receiver</soap:Value><soap:Subcode>"
        "<soap:Value>nowhere:OperationFailed"
        '</soap:Value></soap:Subcode></soap:Code><soap:Reason><soap:Text xml:lang="en">No'
        "</soap:Text></soap:Reason></soap:Fault>"
    ),
    "a fault with all there can be": element(
        "<soap:Fault><soap:Code><soap:Value>soap:Sender</soap:Value><soap:Subcode>"
        "<soap:Value>wsa:A</soap:Value><soap:Subcode>"
        "<soap:Value>wsa:B</soap:Value></soap:Subcode></soap:Subcode></soap:Code><soap:Reason>"
        "<soap:Text>A</soap:Text>"
        "<soap:Text>B</soap:Text></soap:Reason><soap:Node>urn:n</soap:Node><soap:Role>urn:r</soap:Role>"
        "<soap:Detail>text <wsa:To>urn:a</wsa:To></soap:Detail></soap:Fault>"
    ),
    "a header that was not understood": element('<soap:NotUnderstood qname="wsa:To"/>'),
    "an offer of another version": element(
        '<soap:Upgrade><soap:SupportedEnvelope qname="soap:Envelope"/></soap:Upgrade>'
    ),
    "a Subscribe with an extension of WS-Scan": element(
        '<wse:Subscribe><wse:Delivery Mode="urn:m"><wse:NotifyTo><wsa:Address>urn:a'
        "</wsa:Address></wse:NotifyTo></wse:Delivery>"
        '<wse:Expires>\n PT1H </wse:Expires><wse:Filter Dialect="urn:d">urn:e urn:f</wse:Filter>'
        f'<s:Own xmlns:s="{WSCN}"/></wse:Subscribe>'
    ),
    "an expiry at a point in time": element(
        "<wse:Renew><wse:Expires>2026-11-21T12:00:00Z</wse:Expires></wse:Renew>"
    ),
    "an end of the .NET Micro Framework": element(
        "<wse:SubscriptionEnd><wse:SubscriptionManager><wsa:Address>urn:a</wsa:Address>"
        "</wse:SubscriptionManager>"
        "<wse:Code>wse:SourceCanceling</wse:Code></wse:SubscriptionEnd>"
    ),
    "metadata that point elsewhere": element(
        '<wsx:Metadata><wsx:MetadataSection Dialect="urn:d" Identifier="urn:i">'
        "<wsx:Location>http://x/</wsx:Location></wsx:MetadataSection>"
        '<wsx:MetadataSection Dialect="urn:d"><wsx:MetadataReference><wsa:Address>urn:a'
        "</wsa:Address></wsx:MetadataReference></wsx:MetadataSection></wsx:Metadata>"
    ),
}


@pytest.mark.parametrize("message", REAL.values(), ids=REAL)
def test_what_real_peers_send_is_valid(message: etree._Element, check: Check) -> None:
    assert check(message) == ""


# What we send ----------------------------------------------------------------------------------------------

SERVER = wsd.EndpointReference("https://scan.example:5362/ScanServer")
MATCH = wsd.ProbeMatch(SERVER, (qname(WSDP, "Device"), "{urn:vendor}Type"), ("urn:s",), (SERVER.address,), 3)
OURS = [
    wsd.Probe((qname(WSDP, "Device"),), scopes=("urn:s",), match_by=wsd.RFC2396).to_element(),
    wsd.ProbeMatches((MATCH,)).to_element(),
    wsd.ProbeMatches().to_element(),
    wsd.Resolve(SERVER).to_element(),
    wsd.ResolveMatches(wsd.ProbeMatch(SERVER)).to_element(),
    wsd.ResolveMatches().to_element(),
    wsd.Hello(SERVER, (qname(WSDP, "Device"),)).to_element(),
    wsd.Bye(SERVER).to_element(),
    wsd.AppSequence(1, 2, "urn:uuid:1").to_element(),
    wse.Subscribe(
        SERVER, SERVER, wse.PUSH, wse.Expires(duration=timedelta.max), wse.ACTION_DIALECT, (f"{DSP}/E",)
    ).to_element(),
    wse.SubscribeResponse(SERVER, timedelta(seconds=0.5)).to_element(),
    wse.Renew().to_element(),
    wse.RenewResponse(timedelta(0)).to_element(),
    wse.GetStatus().to_element(),
    wse.GetStatusResponse(timedelta(days=1)).to_element(),
    wse.Unsubscribe().to_element(),
    wse.SubscriptionEnd(SERVER, wse.DELIVERY_FAILURE, "Why").to_element(),
    metadata.write_metadata(
        metadata.DeviceMetadata(
            metadata.ThisDevice({"en": "A", "": "B"}, "1", "2"),
            metadata.ThisModel(
                manufacturers={"en": "C"},
                manufacturer_url="http://c/",
                model_names={"en": "D"},
                model_number="3",
                model_url="http://d/",
                presentation_url="http://e/",
            ),
            metadata.Relationship(
                metadata.HostedService((SERVER.address,), (), "uri:h"),
                (metadata.HostedService(("http://f/", "http://g/"), (qname(DSP, "T"),), "uri:s"),),
            ),
        )
    ),
]


@pytest.mark.parametrize("message", OURS, ids=lambda message: etree.QName(message).localname)
def test_what_we_send_is_valid(message: etree._Element, check: Check) -> None:
    assert check(message) == ""


@pytest.mark.parametrize("party", FaultParty)
def test_every_party_of_a_fault_is_a_valid_code(party: FaultParty, check: Check) -> None:
    fault = (
        f"<soap:Fault><soap:Code><soap:Value>soap:{party}</soap:Value></soap:Code>"
        "<soap:Reason><soap:Text>A</soap:Text></soap:Reason></soap:Fault>"
    )
    assert check(element(fault)) == ""


# What is refused -------------------------------------------------------------------------------------------

WRONG = {
    "an envelope without body": ("<soap:Envelope/>", "Body"),
    "a fault without reason": (
        "<soap:Fault><soap:Code><soap:Value>soap:Sender</soap:Value></soap:Code></soap:Fault>",
        "Reason",
    ),
    "a mark that is neither true nor false": (
        '<wsa:To soap:mustUnderstand="perhaps">urn:a</wsa:To>',
        "mustUnderstand",
    ),
    "an endpoint without address": ("<wsa:ReplyTo/>", "Address"),
    "an action of two words": ("<wsa:Action>two words</wsa:Action>", "Action"),
    "parts of a Probe in the wrong order": ("<wsd:Probe><wsd:Scopes/><wsd:Types/></wsd:Probe>", "Types"),
    "a Hello without version": (f"<wsd:Hello>{ENDPOINT}</wsd:Hello>", "MetadataVersion"),
    "a negative version": (
        f"<wsd:Hello>{ENDPOINT}<wsd:MetadataVersion>-1</wsd:MetadataVersion></wsd:Hello>",
        "MetadataVersion",
    ),
    "two answers to one Resolve": (
        "<wsd:ResolveMatches>"
        + 2
        * f"<wsd:ResolveMatch>{ENDPOINT}<wsd:XAddrs/><wsd:MetadataVersion>1</wsd:MetadataVersion>"
        "</wsd:ResolveMatch>" + "</wsd:ResolveMatches>",
        "ResolveMatch",
    ),
    "an answer to Resolve without addresses": (
        (
            f"<wsd:ResolveMatches><wsd:ResolveMatch>{ENDPOINT}<wsd:MetadataVersion>1"
            "</wsd:MetadataVersion></wsd:ResolveMatch></wsd:ResolveMatches>"
        ),
        "XAddrs",
    ),
    "a sequence without number": ('<wsd:AppSequence InstanceId="1"/>', "MessageNumber"),
    "a Subscribe without delivery": ("<wse:Subscribe/>", "Delivery"),
    "an expiry that is no time": ("<wse:Renew><wse:Expires>soon</wse:Expires></wse:Renew>", "Expires"),
    "an answer to Subscribe without expiry": (
        (
            "<wse:SubscribeResponse><wse:SubscriptionManager><wsa:Address>urn:a</wsa:Address>"
            "</wse:SubscriptionManager></wse:SubscribeResponse>"
        ),
        "Expires",
    ),
    "a sink without address": (
        "<wse:Subscribe><wse:Delivery><wse:NotifyTo/></wse:Delivery></wse:Subscribe>",
        "Address",
    ),
    "a device without name": ("<wsdp:ThisDevice/>", "FriendlyName"),
    "a relationship without kind": ("<wsdp:Relationship/>", "Type"),
    "a service without endpoint": (
        (
            '<wsdp:Relationship Type="urn:t"><wsdp:Hosted><wsdp:ServiceId>urn:s</wsdp:ServiceId>'
            "</wsdp:Hosted></wsdp:Relationship>"
        ),
        "EndpointReference",
    ),
    "a section without dialect": (
        "<wsx:Metadata><wsx:MetadataSection><wsx:Location/></wsx:MetadataSection></wsx:Metadata>",
        "Dialect",
    ),
    "a section of two parts": (
        (
            '<wsx:Metadata><wsx:MetadataSection Dialect="urn:d"><wsx:Location/><wsx:Location/>'
            "</wsx:MetadataSection></wsx:Metadata>"
        ),
        "Location",
    ),
}


@pytest.mark.parametrize(("text", "culprit"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_by_name(text: str, culprit: str, check: Check) -> None:
    assert culprit in check(element(text))
