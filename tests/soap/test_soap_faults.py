from __future__ import annotations

import pytest
from lxml import etree

from postscan.core.errors import (
    INVALID_ARGS,
    FaultKind,
    FaultParty,
    InvalidArgument,
    PostscanError,
)
from postscan.soap.envelope import (
    AddressingHeaderRequired,
    EndpointReference,
    Headers,
    MustUnderstand,
    VersionMismatch,
    read_envelope,
)
from postscan.soap.faults import SoapFault, fault_of, http_status_of, read_fault, write_fault
from postscan.soap.mtom import MtomError
from postscan.soap.names import (
    ANONYMOUS,
    DISCOVERY_FAULT_ACTION,
    DPWS_FAULT_ACTION,
    DSC,
    DSP,
    FAULT_ACTION,
    SOAP,
    WSA,
    WSCN,
    WSD,
    WSDP,
    qname,
)
from postscan.soap.xml import XmlRefused, parse

REQUEST = Headers(action=f"{DSP}/SendImage", message_id="urn:uuid:1")


def sent(fault: SoapFault, relates_to: Headers | None = REQUEST, **options: str):
    return read_envelope(parse(write_fault(fault, relates_to, **options)))


def error_of(kind: FaultKind) -> PostscanError:
    return type("SomeError", (PostscanError,), {"fault": kind})(
        "internal text /var/lib/secret", detail="dsp:X"
    )


@pytest.mark.parametrize("namespace", [DSP, DSC])
def test_a_bare_subcode_lies_in_the_namespace_of_the_service(namespace):
    fault = fault_of(InvalidArgument("why", detail="dsp:JobToken"), namespace)
    assert fault == SoapFault(
        FaultParty.SENDER, qname(namespace, "InvalidArgs"), INVALID_ARGS.reason, "dsp:JobToken", FAULT_ACTION
    )


@pytest.mark.parametrize(
    ("subcode", "action"),
    [
        (qname(WSA, "ActionNotSupported"), FAULT_ACTION),
        (qname(WSDP, "FilterActionNotSupported"), DPWS_FAULT_ACTION),
        (qname(WSD, "MatchingRuleNotSupported"), DISCOVERY_FAULT_ACTION),
        (None, FAULT_ACTION),
    ],
)
def test_the_action_goes_with_the_namespace_of_the_subcode(subcode, action):
    fault = fault_of(error_of(FaultKind(FaultParty.SENDER, subcode, "Fixed.")), DSP)
    assert fault.subcode == subcode
    assert fault.action == action
    assert sent(fault).headers.action == action


def test_only_the_fixed_reason_and_the_detail_leave():
    fault = fault_of(error_of(FaultKind(FaultParty.RECEIVER, "OperationFailed", "Fixed.")), DSP)
    written = write_fault(fault, REQUEST, correlation_id="0123abcd")
    assert b"secret" not in written
    assert b"/var" not in written
    assert b"Fixed." in written


def test_a_fault_is_written_as_the_specification_shows_it():
    fault = SoapFault(FaultParty.SENDER, qname(DSP, "InvalidArgs"), "Fixed.", "dsp:JobToken")
    body = write_fault(fault, REQUEST, correlation_id="c1").decode().partition("<soap:Body>")[2]
    assert body == (
        "<soap:Fault><soap:Code><soap:Value>soap:Sender</soap:Value><soap:Subcode>"
        "<soap:Value>dsp:InvalidArgs</soap:Value></soap:Subcode></soap:Code>"
        '<soap:Reason><soap:Text xml:lang="en">Fixed.</soap:Text></soap:Reason>'
        '<soap:Detail ps:CorrelationId="c1">dsp:JobToken</soap:Detail></soap:Fault>'
        "</soap:Body></soap:Envelope>"
    )


def test_a_fault_answers_the_message_it_is_about():
    headers = sent(SoapFault(FaultParty.SENDER, None, "Fixed.")).headers
    assert (headers.to, headers.relates_to, headers.action) == (ANONYMOUS, "urn:uuid:1", FAULT_ACTION)
    assert headers.message_id.startswith("urn:uuid:")


def test_a_fault_about_an_unreadable_message_relates_to_nothing():
    headers = sent(SoapFault(FaultParty.SENDER, None, "Fixed."), None).headers
    assert (headers.to, headers.relates_to) == (ANONYMOUS, None)


def test_a_fault_carries_the_parameters_of_fault_to():
    parameter = etree.Element("{urn:x}Id")
    request = Headers("urn:a", message_id="urn:m", fault_to=EndpointReference(ANONYMOUS, (parameter,)))
    headers = sent(SoapFault(FaultParty.SENDER, None, "Fixed."), request).headers
    assert [other.tag for other in headers.others] == ["{urn:x}Id"]


@pytest.mark.parametrize(
    "fault",
    [
        SoapFault(FaultParty.SENDER, None, "Why."),
        SoapFault(FaultParty.RECEIVER, qname(DSP, "OperationFailed"), "Why.", "Größe"),
        SoapFault(FaultParty.SENDER, qname("urn:vendor", "Odd"), "Why.", correlation_id="c"),
        SoapFault(
            FaultParty.SENDER, qname(WSDP, "FilterActionNotSupported"), "Why.", action=DPWS_FAULT_ACTION
        ),
    ],
)
def test_a_fault_that_is_written_is_read_the_same(fault):
    assert read_fault(sent(fault)) == fault


def test_an_element_as_detail_is_written_and_read_inside_detail():
    element = etree.Element(qname(WSD, "SupportedMatchingRules"))
    element.text = "urn:rule"
    read = read_fault(sent(SoapFault(FaultParty.SENDER, None, "Why.", element), correlation_id="c"))
    assert read.detail.tag == qname(SOAP, "Detail")
    assert read.detail[0].tag == qname(WSD, "SupportedMatchingRules")
    assert read.correlation_id == "c"
    assert element.getparent() is None


def test_text_that_xml_cannot_carry_is_replaced_and_long_text_cut():
    read = read_fault(sent(SoapFault(FaultParty.SENDER, None, "a\x00b", "\x1b[31m" + "x" * 5_000)))
    assert read.reason == "a\N{REPLACEMENT CHARACTER}b"
    assert read.detail.startswith("\N{REPLACEMENT CHARACTER}[31m")
    assert len(read.detail) == 1_024


def test_a_version_mismatch_says_which_envelope_is_supported():
    envelope = sent(fault_of(VersionMismatch("SOAP 1.1"), DSP), None)
    upgrade = envelope.headers.others[0]
    assert upgrade.tag == qname(SOAP, "Upgrade")
    prefix, _, local = upgrade[0].get("qname").partition(":")
    assert (upgrade[0].nsmap[prefix], local) == (SOAP, "Envelope")
    assert read_fault(envelope).party is FaultParty.VERSION_MISMATCH


def test_headers_not_understood_are_named_one_by_one():
    error = MustUnderstand(("{urn:x}A", "{urn:y}B", "C"))
    blocks = sent(fault_of(error, DSP)).headers.others
    assert [block.tag for block in blocks] == [qname(SOAP, "NotUnderstood")] * 3
    names = [block.get("qname").rpartition(":") for block in blocks]
    resolved = [(b.nsmap.get(n[0]), n[2]) for b, n in zip(blocks, names, strict=True)]
    assert resolved == [("urn:x", "A"), ("urn:y", "B"), (None, "C")]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidArgument("x"), 400),
        (XmlRefused("x"), 400),
        (MtomError("x"), 400),
        (VersionMismatch("x"), 500),
        (MustUnderstand(("{urn:x}A",)), 500),
        (AddressingHeaderRequired("x"), 400),
        (PostscanError("x"), 500),
    ],
)
def test_the_http_status_says_who_has_to_act(error, status):
    assert http_status_of(fault_of(error, DSP)) == status


def received(fault: str):
    return read_envelope(
        parse(
            f'<E:Envelope xmlns:E="{SOAP}" xmlns:a="{WSA}" xmlns:wscn="{WSCN}"><E:Header>'
            f"<a:Action>{FAULT_ACTION}</a:Action></E:Header><E:Body>{fault}</E:Body></E:Envelope>".encode()
        )
    )


def test_a_fault_of_a_real_scanner_is_read():
    fault = read_fault(
        received(
            "<E:Fault><E:Code><E:Value>E:Receiver</E:Value><E:Subcode><E:Value>wscn:OperationFailed</E:Value>"
            '</E:Subcode></E:Code><E:Reason><E:Text xml:lang="de">Geht nicht</E:Text>'
            '<E:Text xml:lang="en-US"> Cannot </E:Text></E:Reason></E:Fault>'
        )
    )
    assert fault == SoapFault(FaultParty.RECEIVER, qname(WSCN, "OperationFailed"), "Cannot")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "text",
        "<E:Code/>",
        "<E:Code><E:Value/><E:Subcode/></E:Code><E:Reason/><E:Detail/>",
        "<E:Code><E:Value>E:Nonsense</E:Value></E:Code><E:Reason><E:Text/></E:Reason>",
        "<E:Code><E:Value>:</E:Value></E:Code>",
    ],
)
def test_a_fault_with_little_in_it_is_still_a_fault(content):
    fault = read_fault(received(f"<E:Fault>{content}</E:Fault>"))
    assert fault == SoapFault(FaultParty.RECEIVER, None, "")


def test_a_subcode_whose_prefix_nobody_declared_is_read_bare():
    fault = read_fault(
        received(
            "<E:Fault><E:Code><E:Value>E:Sender</E:Value><E:Subcode><E:Value>q:X</E:Value></E:Subcode></E:Code></E:Fault>"
        )
    )
    assert (fault.party, fault.subcode) == (FaultParty.SENDER, "X")


def test_details_of_a_vendor_are_kept_as_they_are():
    fault = read_fault(
        received("<E:Fault><E:Detail>text<v:Code xmlns:v='urn:v'>7</v:Code></E:Detail></E:Fault>")
    )
    assert fault.detail.findtext("{urn:v}Code") == "7"


@pytest.mark.parametrize("body", ["", f'<d:SendImageResponse xmlns:d="{DSP}"/>'])
def test_an_answer_is_no_fault(body):
    assert read_fault(received(body)) is None
