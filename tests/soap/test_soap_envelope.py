from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from postscan.core.errors import FaultParty, InvalidArgument, PostscanError
from postscan.soap.envelope import (
    AddressingHeaderRequired,
    EndpointReference,
    EnvelopeError,
    Headers,
    InvalidAddressingHeader,
    MustUnderstand,
    VersionMismatch,
    build_envelope,
    fault_headers,
    new_message_id,
    read_envelope,
    reply_headers,
    require_request,
    write_envelope,
)
from postscan.soap.faults import fault_of, write_fault
from postscan.soap.names import (
    ANONYMOUS,
    ANONYMOUS_2005,
    DSP,
    SOAP,
    SOAP11,
    WSA,
    WSD,
    WSDP,
    WSE,
    WSSE,
    qname,
)
from postscan.soap.xml import parse, serialize

ACTION = f"{DSP}/SendImage"
NAMESPACES = f'xmlns:s="{SOAP}" xmlns:a="{WSA}" xmlns:d="{DSP}" xmlns:e="{WSE}" xmlns:sec="{WSSE}"'


def message(headers: str, body: str = "<s:Body/>"):
    return parse(f"<s:Envelope {NAMESPACES}><s:Header>{headers}</s:Header>{body}</s:Envelope>".encode())


def with_action(headers: str):
    return message(f"<a:Action>{ACTION}</a:Action>{headers}")


def test_the_published_request_is_read_with_its_uris_trimmed():
    root = parse(
        f"""<?xml version="1.0" encoding="utf-8"?>
        <soap:Envelope xmlns:soap="{SOAP}" xmlns:wsa="{WSA}" xmlns:dsp="{DSP}">
          <soap:Header>
            <wsa:To>DestinationAddress</wsa:To>
            <wsa:Action>
              {ACTION}
            </wsa:Action>
            <wsa:MessageID>uuid:UniqueMsgId</wsa:MessageID>
          </soap:Header>
          <soap:Body>
            <dsp:SendImageRequest/>
          </soap:Body>
        </soap:Envelope>""".strip().encode()
    )
    envelope = read_envelope(root)
    require_request(envelope)
    assert envelope.headers == Headers(action=ACTION, to="DestinationAddress", message_id="uuid:UniqueMsgId")
    assert envelope.body.tag == qname(DSP, "SendImageRequest")


def test_a_windows_request_is_read():
    root = parse(
        f'<soap:Envelope xmlns:soap="{SOAP}" xmlns:wsa="{WSA}"><soap:Header>'
        "<wsa:To>urn:uuid:b338</wsa:To><wsa:Action>http://schemas.xmlsoap.org/ws/2004/09/transfer/Get</wsa:Action>"
        f"<wsa:MessageID>urn:uuid:af3b</wsa:MessageID><wsa:ReplyTo><wsa:Address>{ANONYMOUS}</wsa:Address>"
        "</wsa:ReplyTo><wsa:From><wsa:Address>urn:uuid:10ca</wsa:Address></wsa:From></soap:Header>"
        "<soap:Body/></soap:Envelope>".encode()
    )
    envelope = read_envelope(root)
    require_request(envelope)
    assert envelope.body is None
    assert envelope.headers.reply_to == EndpointReference(ANONYMOUS)
    assert envelope.headers.source == EndpointReference("urn:uuid:10ca")


def test_an_envelope_of_soap_1_1_is_a_version_mismatch():
    with pytest.raises(VersionMismatch):
        read_envelope(parse(f'<e:Envelope xmlns:e="{SOAP11}"><e:Body/></e:Envelope>'.encode()))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<s:Header/>",
        "<s:Body/><s:Body/>",
        "<s:Body/><s:Header/>",
        "<s:Header/><s:Header/><s:Body/>",
        "<x/><s:Body/>",
    ],
)
def test_an_envelope_without_exactly_one_body_after_at_most_one_header_is_refused(content):
    with pytest.raises(EnvelopeError):
        read_envelope(parse(f'<s:Envelope xmlns:s="{SOAP}">{content}</s:Envelope>'.encode()))


def test_xml_that_is_no_envelope_is_refused():
    with pytest.raises(EnvelopeError):
        read_envelope(parse(b"<html/>"))


def test_a_body_with_two_operations_is_refused():
    body = "<s:Body><d:EndPostScanJobRequest/><d:CancelPostScanJobRequest/></s:Body>"
    with pytest.raises(EnvelopeError):
        read_envelope(message(f"<a:Action>{ACTION}</a:Action>", body))


@pytest.mark.parametrize("truth", ["1", "true", " true\n"])
def test_a_foreign_header_that_must_be_understood_is_refused_by_name(truth):
    with pytest.raises(MustUnderstand) as refusal:
        read_envelope(with_action(f'<sec:Security s:mustUnderstand="{truth}"/>'))
    assert refusal.value.headers == (qname(WSSE, "Security"),)
    assert refusal.value.detail == "wsse:Security"


def test_a_header_that_the_caller_understands_is_handed_over():
    name = qname(WSSE, "Security")
    envelope = read_envelope(
        with_action('<sec:Security s:mustUnderstand="1"/>'), understood=frozenset({name})
    )
    assert [other.tag for other in envelope.headers.others] == [name]


@pytest.mark.parametrize("namespace", [WSA, WSD, WSE, WSDP])
def test_headers_of_our_own_specifications_may_be_required_to_be_understood(namespace):
    envelope = read_envelope(with_action(f'<x:Identifier xmlns:x="{namespace}" s:mustUnderstand="true"/>'))
    assert envelope.headers.others[0].tag == qname(namespace, "Identifier")


@pytest.mark.parametrize("value", ["0", "false", ""])
def test_headers_that_need_not_be_understood_are_handed_over(value):
    attribute = f's:mustUnderstand="{value}"' if value else ""
    envelope = read_envelope(with_action(f"<sec:Security {attribute}/>"))
    assert len(envelope.headers.others) == 1


@pytest.mark.parametrize("role", [f"{SOAP}/role/none", "urn:someone-else"])
def test_headers_for_another_role_are_not_ours(role):
    envelope = read_envelope(
        with_action(f'<sec:Security s:mustUnderstand="1" s:role="{role}"/><a:To s:role="{role}">urn:x</a:To>')
    )
    assert envelope.headers.others == ()
    assert envelope.headers.to is None


@pytest.mark.parametrize("role", [f"{SOAP}/role/next", f"{SOAP}/role/ultimateReceiver", ""])
def test_headers_for_our_roles_must_be_understood(role):
    with pytest.raises(MustUnderstand):
        read_envelope(with_action(f'<sec:Security s:mustUnderstand="1" s:role="{role}"/>'))


@pytest.mark.parametrize("headers", ["", "<a:Action/>", "<a:Action> \n </a:Action>"])
def test_a_message_without_action_is_refused(headers):
    with pytest.raises(AddressingHeaderRequired) as refusal:
        read_envelope(message(headers))
    assert refusal.value.detail == "wsa:Action"
    assert refusal.value.fault.subcode == qname(WSA, "MessageInformationHeaderRequired")


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        (f"<a:Action>{ACTION}</a:Action>", "wsa:Action"),
        ("<a:To>urn:a</a:To><a:To>urn:a</a:To>", "wsa:To"),
        ("<a:MessageID>urn:a</a:MessageID><a:MessageID>urn:b</a:MessageID>", "wsa:MessageID"),
        (f"<a:MessageID>urn:{'x' * 2_048}</a:MessageID>", "wsa:MessageID"),
        ("<a:MessageID><x/></a:MessageID>", "wsa:MessageID"),
        (f"<a:RelatesTo>urn:{'x' * 2_048}</a:RelatesTo>", "wsa:RelatesTo"),
        ("<a:ReplyTo/>", "wsa:ReplyTo"),
        ("<a:ReplyTo><a:Address/></a:ReplyTo>", "wsa:ReplyTo"),
        ("<a:FaultTo><a:Address>urn:a</a:Address><a:Address>urn:b</a:Address></a:FaultTo>", "wsa:FaultTo"),
        ("<a:From>urn:a</a:From>", "wsa:From"),
    ],
)
def test_an_addressing_header_that_is_doubled_malformed_or_too_long_is_refused_by_name(headers, named):
    with pytest.raises(InvalidAddressingHeader) as refusal:
        read_envelope(with_action(headers))
    assert refusal.value.detail == named
    assert refusal.value.fault.subcode == qname(WSA, "InvalidMessageInformationHeader")


@pytest.mark.parametrize("action", ["SendImage", "/SendImage", "urn:a b", "1:x", "urn:"])
def test_an_action_that_is_no_absolute_uri_is_refused(action):
    with pytest.raises(InvalidAddressingHeader):
        read_envelope(message(f"<a:Action>{action}</a:Action>"))


def test_a_relationship_of_another_kind_is_not_the_reply():
    envelope = read_envelope(
        with_action(
            '<a:RelatesTo RelationshipType="d:Other">urn:a</a:RelatesTo>'
            '<a:RelatesTo RelationshipType="a:Reply">urn:b</a:RelatesTo>'
        )
    )
    assert envelope.headers.relates_to == "urn:b"


@pytest.mark.parametrize("message_id", ["", "<a:MessageID/>"])
def test_a_request_without_message_id_is_refused(message_id):
    with pytest.raises(AddressingHeaderRequired) as refusal:
        require_request(read_envelope(with_action(message_id)))
    assert refusal.value.detail == "wsa:MessageID"


@pytest.mark.parametrize("header", ["ReplyTo", "FaultTo"])
@pytest.mark.parametrize("address", ["http://127.0.0.1:9/", "urn:uuid:x", f"{WSA}/role/anonymous/"])
def test_an_answer_to_anywhere_but_the_same_connection_is_refused(header, address):
    endpoint = f"<a:{header}><a:Address>{address}</a:Address></a:{header}>"
    envelope = read_envelope(with_action(f"<a:MessageID>urn:m</a:MessageID>{endpoint}"))
    with pytest.raises(InvalidAddressingHeader) as refusal:
        require_request(envelope)
    assert refusal.value.detail == f"wsa:{header}"


@pytest.mark.parametrize("address", [ANONYMOUS, f"\n  {ANONYMOUS}\n", ANONYMOUS_2005])
def test_anonymous_addresses_are_accepted(address):
    endpoint = f"<a:ReplyTo><a:Address>{address}</a:Address></a:ReplyTo>"
    require_request(read_envelope(with_action(f"<a:MessageID>urn:m</a:MessageID>{endpoint}")))


NOTIFY_TO = (
    f'<e:NotifyTo {NAMESPACES} xmlns:w="urn:w"><a:Address> http://device:5357/x </a:Address>'
    "<a:ReferenceProperties><e:Topic>w:Kind</e:Topic></a:ReferenceProperties>"
    "<a:ReferenceParameters>\n<e:Identifier>urn:uuid:A</e:Identifier>\n</a:ReferenceParameters></e:NotifyTo>"
)


def test_an_endpoint_reference_keeps_properties_and_parameters():
    source = parse(NOTIFY_TO.encode())
    endpoint = EndpointReference.from_element(source)
    assert endpoint.address == "http://device:5357/x"
    assert [(p.tag, p.text) for p in endpoint.parameters] == [
        (qname(WSE, "Topic"), "w:Kind"),
        (qname(WSE, "Identifier"), "urn:uuid:A"),
    ]
    assert endpoint.parameters[0].nsmap["w"] == "urn:w"
    assert len(source.findall(f".//{qname(WSE, 'Identifier')}")) == 1


def test_an_endpoint_reference_survives_being_written():
    endpoint = EndpointReference.from_element(parse(NOTIFY_TO.encode()))
    parent = etree.Element("r", nsmap={"e": WSE})
    twin = EndpointReference.from_element(endpoint.to_element(parent, qname(WSE, "EndTo")))
    assert parent[0].tag == qname(WSE, "EndTo")
    assert twin.address == endpoint.address
    assert [(p.tag, p.text, p.nsmap) for p in twin.parameters] == [
        (p.tag, p.text, p.nsmap) for p in endpoint.parameters
    ]


@pytest.mark.parametrize(
    "parameter", ["<a:Action>urn:x</a:Action>", "<s:Body/>", f"<e:I>{'x' * 4_096}</e:I>"]
)
def test_parameters_that_would_forge_headers_or_bloat_answers_are_refused(parameter):
    source = (
        f"<e:NotifyTo {NAMESPACES}><a:Address>urn:x</a:Address><a:ReferenceParameters>{parameter}"
        "</a:ReferenceParameters></e:NotifyTo>"
    )
    with pytest.raises(InvalidArgument) as refusal:
        EndpointReference.from_element(parse(source.encode()))
    assert refusal.value.detail == "wsa:ReferenceParameters"


def test_an_answer_goes_back_with_the_reply_parameters_as_headers():
    request = read_envelope(
        with_action(
            f"<a:MessageID>urn:m</a:MessageID><a:ReplyTo><a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>"
            "<e:Identifier>urn:i</e:Identifier></a:ReferenceParameters></a:ReplyTo>"
        )
    ).headers
    answer = read_envelope(parse(write_envelope(reply_headers(request, "urn:x:Response"), None))).headers
    assert (answer.to, answer.action, answer.relates_to) == (ANONYMOUS, "urn:x:Response", "urn:m")
    assert answer.message_id.startswith("urn:uuid:")
    assert [(other.tag, other.text) for other in answer.others] == [(qname(WSE, "Identifier"), "urn:i")]


def test_an_answer_to_a_request_without_reply_address_is_anonymous():
    assert reply_headers(Headers(action="urn:a", message_id="urn:m"), "urn:b").to == ANONYMOUS


def test_message_ids_are_fresh_uuids():
    assert new_message_id() != new_message_id()
    assert len(new_message_id()) == len("urn:uuid:") + 36


def test_headers_are_written_in_the_order_of_windows_with_its_prefixes():
    headers = Headers(
        action="urn:act",
        to="urn:to",
        message_id="urn:uuid:1",
        reply_to=EndpointReference(ANONYMOUS),
        source=EndpointReference("urn:me"),
        relates_to="urn:uuid:0",
        others=(etree.Element(qname(WSE, "Identifier"), nsmap={"wse": WSE}),),
    )
    extra = etree.Element(qname(WSD, "AppSequence"), {"InstanceId": "2"}, nsmap={"wsd": WSD})
    body = etree.Element(qname(DSP, "SendImageResponse"), nsmap={"dsp": DSP})
    assert write_envelope(headers, body, extra_headers=[extra]).decode() == (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<soap:Envelope xmlns:soap="{SOAP}" xmlns:wsa="{WSA}" '
        f'xmlns:wse="{WSE}" xmlns:wsd="{WSD}" xmlns:dsp="{DSP}">'
        "<soap:Header><wsa:To>urn:to</wsa:To><wsa:Action>urn:act</wsa:Action>"
        "<wsa:MessageID>urn:uuid:1</wsa:MessageID><wsa:RelatesTo>urn:uuid:0</wsa:RelatesTo>"
        f"<wsa:ReplyTo><wsa:Address>{ANONYMOUS}</wsa:Address></wsa:ReplyTo>"
        "<wsa:From><wsa:Address>urn:me</wsa:Address></wsa:From><wse:Identifier/>"
        '<wsd:AppSequence InstanceId="2"/></soap:Header>'
        "<soap:Body><dsp:SendImageResponse/></soap:Body></soap:Envelope>"
    )


def test_what_is_given_to_be_written_stays_where_it_was():
    root = message("", "<s:Body><d:A/>tail</s:Body>")
    body = root[1][0]
    built = build_envelope(Headers(action="urn:a"), body)
    assert body.getparent() is root[1]
    assert body.tail == "tail"
    assert built[1][0].tail is None


def test_names_in_values_keep_their_prefixes_when_written():
    body = parse(
        f'<x:Get xmlns:x="{DSP}"><y:Name xmlns:y="{DSP}" xmlns:z="urn:z">x:A z:C</y:Name></x:Get>'.encode()
    )
    written = parse(write_envelope(Headers(action="urn:a"), body))
    name = written.find(f".//{qname(DSP, 'Name')}")
    assert (name.nsmap["x"], name.nsmap["y"], name.nsmap["z"]) == (DSP, DSP, "urn:z")


def test_a_piece_that_uses_our_prefix_for_something_else_is_written_as_it_was():
    body = parse(b'<soap:Odd xmlns:soap="urn:odd" xmlns="urn:default"><Plain/></soap:Odd>')
    written = read_envelope(parse(write_envelope(Headers(action="urn:a"), body)))
    assert written.body.tag == "{urn:odd}Odd"
    assert written.body[0].tag == "{urn:default}Plain"


def test_a_refused_message_still_says_what_a_fault_must_relate_to():
    root = message('<a:MessageID> urn:m </a:MessageID><sec:Security s:mustUnderstand="1"/>')
    assert fault_headers(root) == Headers(action="", message_id="urn:m")


@pytest.mark.parametrize(
    "headers",
    ["", "<a:MessageID/>", "<a:MessageID>a:b</a:MessageID>" * 2, f"<a:MessageID>{'x' * 3_000}</a:MessageID>"],
)
def test_a_message_without_sound_message_id_gives_a_fault_nothing_to_relate_to(headers):
    assert fault_headers(message(headers)) is None


xml_characters = st.characters(min_codepoint=0x20, max_codepoint=0x2FFF)
texts = st.sampled_from(["", " ", ACTION, ANONYMOUS, "x" * 3_000, "urn:\u00a0", "../x"]) | st.text(
    xml_characters, max_size=20
)
WSA_NAMES = "To Action MessageID RelatesTo ReplyTo FaultTo From Address ReferenceParameters Odd"
SOAP_NAMES = "Envelope Header Body Fault"
tags = st.sampled_from(
    [qname(WSA, name) for name in WSA_NAMES.split()]
    + [qname(SOAP, name) for name in SOAP_NAMES.split()]
    + [qname(WSSE, "Security"), "{urn:x}y", "z"]
)
attributes = st.dictionaries(
    st.sampled_from([qname(SOAP, "mustUnderstand"), qname(SOAP, "role"), "RelationshipType", "{urn:x}a"]),
    st.sampled_from(["1", "true", "false", "yes", "", f"{SOAP}/role/next", f"{SOAP}/role/none", ":Reply"]),
    max_size=2,
)
nodes = st.recursive(
    st.tuples(tags, attributes, texts, st.just([])),
    lambda children: st.tuples(tags, attributes, texts, st.lists(children, max_size=3)),
    max_leaves=6,
)


def grow(node, parent):
    tag, attributes, text, children = node
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    for child in children:
        grow(child, element)


@given(
    headers=st.lists(nodes, max_size=8), bodies=st.lists(nodes, max_size=2), loose=st.lists(nodes, max_size=1)
)
def test_odd_headers_are_read_or_answered_with_a_fault_of_the_sender(headers, bodies, loose):
    root = etree.Element(qname(SOAP, "Envelope"))
    for node in headers:
        header = root[0] if len(root) else etree.SubElement(root, qname(SOAP, "Header"))
        grow(node, header)
    body = etree.SubElement(root, qname(SOAP, "Body"))
    for node in bodies:
        grow(node, body)
    for node in loose:
        grow(node, root)
    received = parse(serialize(root))
    try:
        envelope = read_envelope(received)
        require_request(envelope)
    except PostscanError as error:
        fault = fault_of(error, DSP)
        assert fault.party is not FaultParty.RECEIVER
        answer = read_envelope(parse(write_fault(fault, fault_headers(received))))
        assert answer.headers.to == ANONYMOUS
    else:
        parse(write_envelope(reply_headers(envelope.headers, "urn:x:y"), envelope.body))
