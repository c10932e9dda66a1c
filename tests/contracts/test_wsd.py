"""Discovery messages and matching."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from postscan.contracts import wsd
from postscan.core.errors import ConfigurationError, FaultParty, InvalidArgument
from postscan.soap.names import DSP, WSA, WSCN, WSD, WSDP, qname
from postscan.soap.xml import parse, serialize

DEVICE = qname(WSDP, "Device")
SERVICE = qname(DSP, "DistributedScanProcessingServiceType")
OURS = frozenset({DEVICE, SERVICE})
PRINT = "http://schemas.microsoft.com/windows/2006/08/wdp/print"


def read(text: str) -> etree._Element:
    return parse(text.encode())


def probe_of(body: str, declarations: str = f'xmlns:wsdp="{WSDP}"') -> wsd.Probe:
    return wsd.Probe.from_element(read(f'<d:Probe xmlns:d="{WSD}" {declarations}>{body}</d:Probe>'))


def searched(scope: str, match_by: str | None = None) -> wsd.Probe:
    return wsd.Probe(scopes=(scope,), match_by=match_by)


def finds(probe: wsd.Probe, *scopes: str) -> bool:
    return wsd.matches(probe, types=OURS, scopes=scopes)


# Reading ---------------------------------------------------------------------------------------------------


def test_a_windows_probe_is_read() -> None:
    assert probe_of("<d:Types>wsdp:Device</d:Types>") == wsd.Probe(types=(DEVICE,))


def test_a_prefix_declared_on_the_types_element_itself_resolves() -> None:
    # KDE's client declares it there.
    probe = probe_of(f'<d:Types xmlns:wsdp="{WSDP}">wsdp:Device</d:Types>', declarations="")
    assert probe.types == (DEVICE,)


def test_a_prefix_declared_nowhere_leaves_the_probe_readable() -> None:
    # gSOAP, when the program that uses it forgot a namespace.
    probe = probe_of("<d:Types>wsdp:Device</d:Types>", declarations="")
    assert probe == wsd.Probe(unresolved_types=True)


def test_a_type_with_slashes_in_its_name_counts_as_unresolved() -> None:
    # pywsdiscovery splits the namespace at the wrong place.
    probe = probe_of("<d:Types>x:schemas.xmlsoap.org/ws/2006/02/devprof</d:Types>", 'xmlns:x="http"')
    assert probe == wsd.Probe(unresolved_types=True)


def test_types_spread_over_lines_are_read_in_order() -> None:
    probe = probe_of(
        "<d:Types>\n  s:ScanDeviceType\t wsdp:Device\r\n</d:Types>", f'xmlns:wsdp="{WSDP}" xmlns:s="{WSCN}"'
    )
    assert probe.types == (qname(WSCN, "ScanDeviceType"), DEVICE)


def test_an_unprefixed_type_is_in_the_default_namespace() -> None:
    assert probe_of("<d:Types>Device</d:Types>", f'xmlns="{WSDP}"').types == (DEVICE,)


def test_scopes_are_read_with_their_rule() -> None:
    probe = probe_of(f'<d:Scopes MatchBy=" {WSD}/strcmp0 ">\n onvif://x/a \n onvif://x/b</d:Scopes>')
    assert (probe.scopes, probe.match_by) == (("onvif://x/a", "onvif://x/b"), wsd.STRCMP0)


def test_an_empty_probe_asks_for_nothing() -> None:
    assert probe_of("") == wsd.Probe()


KYOCERA = f"""<discovery:ProbeMatches xmlns:discovery="{WSD}" xmlns:addressing="{WSA}" xmlns:devprof="{WSDP}"
 xmlns:scan="{WSCN}" xmlns:print="{PRINT}"><discovery:ProbeMatch><addressing:EndpointReference>
 <addressing:Address>uuid:4509a320-0000-008f-00b6-002507510eca</addressing:Address>
 </addressing:EndpointReference><discovery:Types>devprof:Device scan:ScanDeviceType print:PrintDeviceType
 </discovery:Types><discovery:XAddrs>http://192.0.2.2:5358/DeviceService/ http://[fe80::1]:5358/DeviceService/
 </discovery:XAddrs><discovery:MetadataVersion>1</discovery:MetadataVersion></discovery:ProbeMatch>
 </discovery:ProbeMatches>"""


def test_the_answer_of_a_kyocera_is_read() -> None:
    (match,) = wsd.ProbeMatches.from_element(read(KYOCERA)).matches
    assert match.endpoint.address == "uuid:4509a320-0000-008f-00b6-002507510eca"
    assert match.types == (DEVICE, qname(WSCN, "ScanDeviceType"), qname(PRINT, "PrintDeviceType"))
    assert match.xaddrs == ("http://192.0.2.2:5358/DeviceService/", "http://[fe80::1]:5358/DeviceService/")
    assert match.metadata_version == 1


def test_the_answer_of_an_onvif_camera_without_types_is_read() -> None:
    answer = read(
        f'<d:ProbeMatches xmlns:d="{WSD}" xmlns:a="{WSA}"><d:ProbeMatch><a:EndpointReference>'
        "<a:Address>urn:uuid:1</a:Address><a:ReferenceProperties/><a:ReferenceParameters/>"
        "<a:PortType>ttl</a:PortType></a:EndpointReference>"
        "<d:Scopes>onvif://x/Name/CAM onvif://x/City/A</d:Scopes>"
        "<d:XAddrs>http://192.0.2.3:80/onvif</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>"
        "</d:ProbeMatch></d:ProbeMatches>"
    )
    (match,) = wsd.ProbeMatches.from_element(answer).matches
    assert (match.types, match.scopes) == ((), ("onvif://x/Name/CAM", "onvif://x/City/A"))


def test_an_answer_without_match_is_a_no() -> None:
    assert wsd.ProbeMatches.from_element(read(f'<ProbeMatches xmlns="{WSD}"/>')).matches == ()


@pytest.mark.parametrize(
    "version",
    [
        "",
        "<d:MetadataVersion>one</d:MetadataVersion>",
        "<d:MetadataVersion>4294967296</d:MetadataVersion>",
        "<d:MetadataVersion>1_0</d:MetadataVersion>",
    ],
)
def test_a_match_without_a_usable_metadata_version_is_refused(version: str) -> None:
    hello = (
        f'<d:Hello xmlns:d="{WSD}" xmlns:a="{WSA}"><a:EndpointReference><a:Address>urn:x:1</a:Address>'
        f"</a:EndpointReference>{version}</d:Hello>"
    )
    with pytest.raises(InvalidArgument) as caught:
        wsd.Hello.from_element(read(hello))
    assert caught.value.detail == "wsd:MetadataVersion"


def test_a_resolve_without_endpoint_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        wsd.Resolve.from_element(read(f'<Resolve xmlns="{WSD}"/>'))
    assert caught.value.detail == "wsa:EndpointReference"


def test_an_app_sequence_without_sequence_is_read() -> None:
    header = read(f'<d:AppSequence xmlns:d="{WSD}" MessageNumber="525" InstanceId="1727722437"/>')
    assert wsd.AppSequence.from_element(header) == wsd.AppSequence(1727722437, 525)


@pytest.mark.parametrize("missing", ["InstanceId", "MessageNumber"])
def test_an_app_sequence_without_a_number_is_refused(missing: str) -> None:
    header = wsd.AppSequence(1, 2).to_element()
    del header.attrib[missing]
    with pytest.raises(InvalidArgument) as caught:
        wsd.AppSequence.from_element(header)
    assert caught.value.detail == f"wsd:AppSequence/@{missing}"


# Writing ---------------------------------------------------------------------------------------------------


def test_our_probe_looks_like_that_of_windows() -> None:
    assert serialize(wsd.Probe(types=(DEVICE,)).to_element()).endswith(
        f'<wsd:Probe xmlns:wsd="{WSD}" xmlns:wsdp="{WSDP}"><wsd:Types>wsdp:Device</wsd:Types>'
        "</wsd:Probe>".encode()
    )


ENDPOINT = wsd.EndpointReference("https://scan.example:5362/ScanServer")
MATCH = wsd.ProbeMatch(
    endpoint=ENDPOINT,
    types=(DEVICE, SERVICE, "{urn:vendor:one}A", "{urn:vendor:two}B"),
    scopes=("urn:scope:a", "urn:scope:b"),
    xaddrs=("https://scan.example:5362/ScanServer",),
    metadata_version=7,
)


@pytest.mark.parametrize(
    "value",
    [
        wsd.Probe(types=(DEVICE, "{urn:vendor:one}A"), scopes=("urn:a",), match_by=wsd.UUID),
        wsd.Probe(),
        wsd.ProbeMatches((MATCH, wsd.ProbeMatch(ENDPOINT))),
        wsd.ProbeMatches(),
        wsd.Resolve(ENDPOINT),
        wsd.ResolveMatches(MATCH),
        wsd.ResolveMatches(wsd.ProbeMatch(ENDPOINT)),
        wsd.ResolveMatches(),
        wsd.Hello(ENDPOINT, (DEVICE,), (), ("http://192.0.2.1:5357/1/",), 24),
        wsd.Bye(ENDPOINT),
        wsd.AppSequence(4294967295, 1, "urn:uuid:1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_written_is_read_back_as_the_same(value: wsd.Probe) -> None:
    assert type(value).from_element(parse(serialize(value.to_element()))) == value


def test_a_resolve_match_without_addresses_still_has_the_element() -> None:
    node = wsd.ResolveMatches(wsd.ProbeMatch(ENDPOINT)).to_element()
    assert node.find(f"{qname(WSD, 'ResolveMatch')}/{qname(WSD, 'XAddrs')}") is not None


def test_a_type_that_is_no_name_is_not_written() -> None:
    with pytest.raises(ConfigurationError):
        wsd.Probe(types=("{urn:x}two words",)).to_element()


# Matching --------------------------------------------------------------------------------------------------


def test_a_probe_for_nothing_matches_everything() -> None:
    assert finds(wsd.Probe())


@pytest.mark.parametrize("types", [(DEVICE,), (SERVICE,), (SERVICE, DEVICE)])
def test_types_that_are_all_there_match(types: tuple[str, ...]) -> None:
    assert finds(wsd.Probe(types=types))


def test_one_type_that_is_not_there_spoils_the_match() -> None:
    assert not finds(wsd.Probe(types=(DEVICE, qname(WSCN, "ScanDeviceType"))))


def test_types_that_cannot_be_resolved_match_nothing() -> None:
    assert not finds(wsd.Probe(types=(DEVICE,), unresolved_types=True))


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("http://example.com/abc", "http://example.com/abc/def"),
        ("http://example.com/abc/", "http://example.com/abc/def"),
        ("HTTP://Example.COM/abc", "http://example.com/abc"),
        ("http://example.com", "http://example.com/abc"),
        ("http://example.com/abc?q#f", "http://example.com/abc"),
        ("ldap:///ou=a", "ldap:///ou=a/b"),
        ("urn:uuid:1", "URN:uuid:1"),
    ],
)
def test_a_scope_matches_what_lies_below_it(wanted: str, given: str) -> None:
    assert finds(searched(wanted), "urn:other", given)


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("http://example.com/a", "http://example.com/abc"),
        ("http://example.com/abc", "http://example.com/ABC"),
        ("http://example.com/abc/def", "http://example.com/abc"),
        ("http://example.com/abc", "https://example.com/abc"),
        ("http://example.com/abc", "http://example.org/abc"),
        ("http://example.com/./abc", "http://example.com/./abc"),
        ("http://example.com/abc", "http://example.com/abc/../def"),
        ("/abc", "/abc"),
        ("http:/abc", "http:///abc"),
    ],
)
def test_a_scope_matches_nothing_beside_it(wanted: str, given: str) -> None:
    assert not finds(searched(wanted), given)


def test_every_scope_asked_for_must_be_there() -> None:
    assert not finds(wsd.Probe(scopes=("urn:a", "urn:b")), "urn:a")


def test_a_scope_matches_no_device_without_scopes() -> None:
    assert not finds(searched("urn:a"))


UUID = "0F6231a5-40fd-97c5-8a35-b9f9be43e399"


def test_uuids_are_compared_whatever_their_case_and_scheme() -> None:
    assert finds(searched(f"uuid:{UUID}", wsd.UUID), f"URN:UUID:{UUID.lower()}")


@pytest.mark.parametrize("given", [f"uuid:{UUID[:-1]}0", UUID, "urn:a"])
def test_another_uuid_or_none_does_not_match(given: str) -> None:
    assert not finds(searched(f"uuid:{UUID}", wsd.UUID), given)


def test_strcmp0_compares_character_by_character() -> None:
    assert finds(searched("Any text", wsd.STRCMP0), "Any text")
    assert not finds(searched("Any text", wsd.STRCMP0), "any text")


@pytest.mark.parametrize("rule", [f"{WSD}/ldap", f"{WSD}/none", "urn:own:rule"])
def test_an_unknown_rule_is_a_fault_that_names_the_known_ones(rule: str) -> None:
    with pytest.raises(wsd.MatchingRuleNotSupported) as caught:
        finds(searched("urn:a", rule), "urn:a")
    assert caught.value.fault.subcode == qname(WSD, "MatchingRuleNotSupported")
    assert caught.value.fault.party is FaultParty.SENDER
    assert caught.value.detail_name == qname(WSD, "SupportedMatchingRules")
    assert caught.value.detail == f"{wsd.RFC2396} {wsd.UUID} {wsd.STRCMP0}"


uris = st.text(max_size=30) | st.from_regex(r"[a-zA-Z]+://[\[\]a-z.:@]*(/[a-z.%]*)*", fullmatch=True)
rules = st.sampled_from([None, wsd.RFC2396, wsd.UUID, wsd.STRCMP0, f"{WSD}/ldap"]) | st.text(max_size=10)


@given(
    wanted=st.lists(uris, max_size=3),
    given=st.lists(uris, max_size=3),
    rule=rules,
    types=st.lists(st.text(max_size=10), max_size=3),
    unresolved=st.booleans(),
)
def test_matching_answers_or_names_the_unknown_rule_and_nothing_else(
    wanted: list[str], given: list[str], rule: str | None, types: list[str], unresolved: bool
) -> None:
    probe = wsd.Probe(tuple(types), unresolved, tuple(wanted), rule)
    try:
        assert wsd.matches(probe, types=OURS, scopes=given) in (True, False)
    except wsd.MatchingRuleNotSupported:
        assert rule not in (None, "", wsd.RFC2396, wsd.UUID, wsd.STRCMP0)


@given(
    uri=st.from_regex(r"[a-z]+://[a-z]+(/[a-z]+){0,3}", fullmatch=True),
    rest=st.from_regex(r"(/[a-z]+){0,3}", fullmatch=True),
)
def test_a_scope_matches_itself_and_everything_below(uri: str, rest: str) -> None:
    assert finds(searched(uri), uri + rest)


@given(
    text=st.text(
        alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.sampled_from(" \t\n:"),
        max_size=40,
    )
)
def test_any_text_in_types_is_readable(text: str) -> None:
    node = etree.Element(wsd.Probe.TAG, nsmap={"wsdp": WSDP})
    etree.SubElement(node, qname(WSD, "Types")).text = text.replace("\ufffe", "").replace("\uffff", "")
    probe = wsd.Probe.from_element(node)
    assert all(name for name in probe.types)
