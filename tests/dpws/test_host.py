"""The device host on the wire: directed Probe, Resolve, Get. Every answer is validated (support.wire)."""

from pathlib import Path

import pytest

from postscan.contracts import wsd
from postscan.contracts.metadata import DeviceMetadata, read_metadata, service_in
from postscan.dpws.host import STABLE_ENDPOINT
from postscan.soap.names import ANONYMOUS, DSP, WSD, WSDP, WSE, WXF, qname
from support.scanning import Site, make_installation, running
from support.wire import Answer, envelope, probe, wire

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVICE_TYPE = qname(DSP, "DistributedScanProcessingServiceType")


async def asked(site: Site, message: bytes, path: str = "/ScanServer") -> Answer:
    async with wire(site, user=None) as peer:
        return await peer.post(message, path=path)


async def matches(site: Site, content: str, path: str = "/ScanServer") -> tuple[wsd.ProbeMatch, ...]:
    answer = await asked(site, envelope(f"{WSD}/Probe", f"<wsd:Probe>{content}</wsd:Probe>"), path)
    assert answer.status == 200, answer.body
    message = answer.envelope
    assert message.headers.action == wsd.PROBE_MATCHES_ACTION
    assert message.headers.to == ANONYMOUS
    assert message.body is not None
    return wsd.ProbeMatches.from_element(message.body).matches


def types(names: str) -> str:
    return f"<wsd:Types xmlns:v='urn:vendor'>{names}</wsd:Types>"


@pytest.mark.parametrize(
    "content",
    [
        "",
        types(""),
        types("wsdp:Device"),
        types("dsp:DistributedScanProcessingServiceType"),
        types(" wsdp:Device\n dsp:DistributedScanProcessingServiceType "),
        types("v:OtherType"),
        "<wsd:Scopes/>",
    ],
    ids=["nothing", "empty", "device", "service", "both", "of the settings", "no scopes"],
)
async def test_a_probe_that_fits_is_answered_with_the_one_address(site: Site, content: str) -> None:
    (match,) = await matches(site, content)
    assert match.endpoint.address == site.url
    assert match.xaddrs == (site.url,)
    assert match.types[0] == qname(WSDP, "Device")
    assert SERVICE_TYPE in match.types
    assert match.metadata_version >= 1


@pytest.mark.parametrize(
    "content",
    [
        types("v:Printer"),
        types("wsdp:Device v:Printer"),
        types("nobody:Device"),
        types("Device"),
        "<wsd:Scopes>urn:elsewhere</wsd:Scopes>",
    ],
    ids=["other", "one too many", "undeclared prefix", "no namespace", "scope"],
)
async def test_a_probe_that_does_not_fit_is_answered_with_no_matches(site: Site, content: str) -> None:
    """Directed, a no is an answer of its own (dpws.md, 1.2), not silence and not a fault."""
    assert await matches(site, content) == ()


async def test_a_probe_with_an_unknown_rule_is_a_fault_that_names_the_known_ones(site: Site) -> None:
    answer = await asked(
        site,
        envelope(f"{WSD}/Probe", "<wsd:Probe><wsd:Scopes MatchBy='urn:rule'>u:x</wsd:Scopes></wsd:Probe>"),
    )
    assert answer.status == 400
    assert answer.fault.subcode == qname(WSD, "MatchingRuleNotSupported")
    assert answer.envelope.headers.action == f"{WSD}/fault"


@pytest.mark.parametrize("path", ["/ScanServer", "/ScanServer/", STABLE_ENDPOINT, STABLE_ENDPOINT + "/"])
async def test_the_device_answers_at_its_address_with_and_without_slash_and_at_the_stable_one(
    site: Site, path: str
) -> None:
    assert len(await matches(site, "", path)) == 1
    answer = await asked(site, envelope(f"{WXF}/Get"), path)
    assert answer.status == 200


def resolve(address: str) -> bytes:
    return envelope(
        f"{WSD}/Resolve",
        "<wsd:Resolve><wsa:EndpointReference><wsa:Address>"
        f"{address}</wsa:Address></wsa:EndpointReference></wsd:Resolve>",
    )


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_own_address_is_resolved(site: Site, slash: str) -> None:
    answer = await asked(site, resolve(site.url + slash))
    body = answer.envelope.body
    assert answer.envelope.headers.action == wsd.RESOLVE_MATCHES_ACTION
    assert body is not None
    match = wsd.ResolveMatches.from_element(body).match
    assert match is not None
    assert match.xaddrs == (site.url,)


@pytest.mark.parametrize("address", ["urn:uuid:0a5ee2f1-0000-4000-8000-000000000000", "https://x/ScanServer"])
async def test_the_address_of_another_is_not_resolved(site: Site, address: str) -> None:
    answer = await asked(site, resolve(address))
    body = answer.envelope.body
    assert answer.status == 200
    assert body is not None
    assert wsd.ResolveMatches.from_element(body).match is None


async def metadata(site: Site) -> DeviceMetadata:
    answer = await asked(site, envelope(f"{WXF}/Get"))
    assert answer.envelope.headers.action == f"{WXF}/GetResponse"
    assert answer.envelope.body is not None
    return read_metadata(answer.envelope.body)


async def test_the_metadata_tell_of_device_model_and_services(site: Site) -> None:
    told = await metadata(site)
    assert told.device.friendly_names == {"en": "Scan server of the test"}
    assert told.device.serial_number
    assert told.model.manufacturers == {"en": "Somebody"}
    assert (told.model.manufacturer_url, told.model.model_number) == ("https://somebody.example/", "7")
    assert told.model.presentation_url is None
    host = told.relationship.host
    assert host is not None
    (match,) = await matches(site, "")
    assert host.addresses == match.xaddrs == (site.url,)
    service = service_in(DSP, told)
    assert service is not None
    assert service.addresses[0].startswith(f"{site.url}/")
    assert service.types == (SERVICE_TYPE, "{urn:vendor}OtherType")


async def test_a_hosted_service_answers_at_the_address_the_metadata_give(site: Site) -> None:
    service = service_in(DSP, await metadata(site))
    assert service is not None
    path = service.addresses[0].removeprefix(site.url.removesuffix("/ScanServer"))
    for spelled in (path, path + "/", path.replace(path.rpartition("/")[2], path.rpartition("/")[2].upper())):
        answer = await asked(site, envelope(f"{DSP}/Nothing", "<wsd:Probe/>"), spelled)
        assert answer.subcode == "ActionNotSupported"


async def test_a_hosted_service_answers_a_probe_too(site: Site) -> None:
    service = service_in(DSP, await metadata(site))
    assert service is not None
    path = "/ScanServer/" + service.addresses[0].rpartition("/")[2]
    assert len(await matches(site, "", path)) == 1


async def test_the_device_itself_has_no_events_and_no_operations(site: Site) -> None:
    for action, body in ((f"{WSE}/Subscribe", "<wsd:Probe/>"), (f"{DSP}/EndPostScanJob", "<wsd:Probe/>")):
        assert (await asked(site, envelope(action, body))).subcode == "ActionNotSupported"


async def test_the_app_sequence_grows_with_every_answer(site: Site) -> None:
    seen = []
    for _ in range(3):
        answer = await asked(site, probe())
        header = next(h for h in answer.envelope.headers.others if h.tag == qname(WSD, "AppSequence"))
        seen.append(wsd.AppSequence.from_element(header))
    assert [s.message_number - seen[0].message_number for s in seen] == [0, 1, 2]
    assert len({s.instance_id for s in seen}) == 1


async def test_the_metadata_version_grows_with_what_the_metadata_say(tmp_path: Path) -> None:
    made = make_installation(tmp_path / "site", server={"friendly_name": "one"})
    versions = []
    for name in ("one", "one", "two"):
        text = made.config.read_text()
        made.config.write_text(text.replace('friendly_name = "one"', f'friendly_name = "{name}"'))
        async with running(tmp_path / "site", made=made) as site:
            versions.append((await matches(site, ""))[0].metadata_version)
    assert versions == [1, 1, 2]


async def test_a_probe_with_the_wrong_body_is_refused(site: Site) -> None:
    for action, body in ((f"{WSD}/Probe", "<wsd:Hello/>"), (f"{WSD}/Resolve", "<wsd:Probe/>")):
        answer = await asked(site, envelope(action, body))
        assert answer.status == 400
    answer = await asked(site, envelope(f"{WSD}/Hello", "<wsd:Probe/>"))
    assert answer.subcode == "ActionNotSupported"


async def test_a_defect_at_the_device_itself_is_told_by_a_name_that_exists(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(wsd.Probe, "from_element", fail)
    answer = await asked(site, probe())
    assert (answer.status, answer.subcode) == (500, "EndpointUnavailable")
    assert b"a defect" not in answer.body
