"""What a hosted service publishes, on the wire: WSDL and schemas, by GET and by WS-Transfer."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lxml import etree

from postscan.contracts import wsdl
from postscan.contracts.metadata import METADATA, read_metadata
from postscan.core.errors import ConfigurationError
from postscan.soap.envelope import LARGEST_ENVELOPE
from postscan.soap.names import DSP, LMS, SOAP, WSDL, WSX, WXF, qname
from postscan.soap.xml import XmlLimits, parse, serialize
from support.scanning import Site, make_installation, running
from support.wire import SOAP_TYPE, Answer, Wire, envelope, wire

pytestmark = pytest.mark.asyncio(loop_scope="module")
LARGE = f'<l:LargeMetadataSupport xmlns:l="{LMS}" xmlns:s="{SOAP}" s:mustUnderstand="true"/>'
DEFINITIONS = qname(WSDL, "definitions")


async def got(peer: Wire, query: str, *, path: str | None = None, method: str = "GET") -> Answer:
    await peer.say(peer.head(path=f"{path or peer.service}{query}", method=method))
    return await peer.answer()


async def told(site: Site, headers: str = "", path: str | None = None) -> bytes:
    """Return the answer to Get; larger ones than usual are read, too."""
    message = envelope(f"{WXF}/Get", headers=headers)
    async with wire(site, user=None) as peer:
        await peer.say(
            peer.head(f"Content-Type: {SOAP_TYPE}", f"Content-Length: {len(message)}", path=path) + message
        )
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        return await peer.reader.readexactly(length)


async def sections(site: Site, headers: str = "") -> list[etree._Element]:
    root = parse(await told(site, headers), XmlLimits())
    body = root.find(f"{qname(SOAP, 'Body')}/{METADATA}")
    assert body is not None
    return list(body)


# By HTTP GET ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["?wsdl", "?WSDL", "/?wsdl"])
async def test_the_wsdl_is_served_without_asking_who_wants_it(site: Site, query: str) -> None:
    async with wire(site, user=None) as peer:
        answer = await got(peer, query)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/xml; charset=utf-8"
        root = parse(answer.body)
        assert root.tag == DEFINITIONS
        (address,) = root.iter(qname(wsdl.SOAP12, "address"))
        assert urlsplit(address.get("location", "")).path == peer.service


async def test_the_wsdl_lists_every_operation_and_event_the_service_has(site: Site) -> None:
    async with wire(site, user=None) as peer:
        root = parse((await got(peer, "?wsdl")).body)
    operations = root.findall(f"{qname(WSDL, 'portType')}/{qname(WSDL, 'operation')}")
    assert {node.get("name") for node in operations} == {
        "CreatePostScanJob",
        "SendImage",
        "EndPostScanJob",
        "CancelPostScanJob",
        "GetPostScanJobElements",
        "PostScanJobStatusEvent",
        "PostScanJobEndStateEvent",
    }


async def test_every_schema_is_served_and_leads_to_those_it_imports(site: Site, tmp_path: Path) -> None:
    wanted = ["dsp"]
    async with wire(site, user=None) as peer:
        for name in wanted:
            answer = await got(peer, f"?xsd={name}")
            assert answer.status == 200
            schema = parse(answer.body)
            for node in schema.iter(qname(wsdl.XS, "import")):
                imported = node.get("schemaLocation", "").removeprefix("?xsd=")
                node.set("schemaLocation", f"{imported}.xsd")
                if imported not in wanted:
                    wanted.append(imported)
            (tmp_path / f"{name}.xsd").write_bytes(serialize(schema))
    assert wanted == ["dsp", "psp", "wscn"]
    assert etree.XMLSchema(etree.parse(tmp_path / "dsp.xsd"))


async def test_a_head_request_is_answered_without_the_document(site: Site) -> None:
    async with wire(site, user=None) as peer:
        await peer.say(peer.head(path=f"{peer.service}?wsdl", method="HEAD"))
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await peer.works()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 405),
        ("?", 405),
        ("?singleWsdl", 405),
        ("?wsdl=1", 405),
        ("?wsdl&x=y", 405),
        ("?xsd", 405),
        ("?xsd=", 404),
        ("?xsd=dsc.xsd", 404),
        ("?xsd=soap", 404),
        ("?xsd=postscan", 404),
        ("?xsd=../dsp", 404),
        ("?xsd=%2e%2e%2fdsp", 404),
        ("?xsd=/etc/passwd", 404),
        ("?xsd=..%5c..%5cdsp", 404),
        ("?xsd=dsp%00", 404),
        ("?xsd=http://192.0.2.1/dsp", 404),
        ("?xsd=dsp&xsd=psp", 404),
        (f"?xsd={'a' * 12_000}", 404),
        (f"?{'wsdl' * 3_000}", 405),
    ],
)
async def test_nothing_but_the_services_own_documents_is_served(site: Site, query: str, status: int) -> None:
    async with wire(site, user=None) as peer:
        answer = await got(peer, query)
        assert answer.status == status
        assert answer.body == b""
        assert await peer.works()


@pytest.mark.parametrize("path", ["/ScanServer", "/", "/ScanServer/00000000-0000-4000-8000-000000000000"])
async def test_the_device_and_what_is_not_there_have_no_wsdl(site: Site, path: str) -> None:
    async with wire(site, user=None) as peer:
        assert (await got(peer, "?wsdl", path=path)).status in (404, 405)


async def test_a_query_longer_than_a_head_may_be_is_refused(site: Site) -> None:
    async with wire(site, user=None) as peer:
        assert (await got(peer, f"?xsd={'a' * 20_000}")).status == 431


async def test_a_body_of_a_get_is_not_the_next_request(site: Site) -> None:
    body = b"GET /ScanServer HTTP/1.1\r\nHost: x\r\n\r\n"
    async with wire(site, user=None) as peer:
        await peer.say(
            peer.head(f"Content-Length: {len(body)}", path=f"{peer.service}?wsdl", method="GET") + body
        )
        assert (await peer.answer()).status == 200
        assert await peer.works()


# By WS-Transfer ------------------------------------------------------------------------------------------


async def test_get_of_a_service_tells_where_a_wsdl_is_that_does_not_fit(site: Site) -> None:
    (section,) = await sections(site)
    assert section.get("Dialect") == WSDL
    assert section.get("Identifier") == DSP
    location = section.findtext(qname(WSX, "Location"), "")
    async with wire(site, user=None) as peer:
        answer = await got(peer, f"?{urlsplit(location).query}", path=urlsplit(location).path)
    assert parse(answer.body).tag == DEFINITIONS


async def test_get_of_a_service_holds_the_wsdl_for_a_peer_that_takes_large_metadata(site: Site) -> None:
    (section,) = await sections(site, LARGE)
    (definitions,) = section
    assert definitions.tag == DEFINITIONS
    assert definitions.find(f"{qname(WSDL, 'types')}/{qname(wsdl.XS, 'schema')}") is not None


async def test_an_operation_of_a_service_still_needs_a_body(site: Site) -> None:
    async with wire(site) as peer:
        assert (await peer.post(envelope(f"{DSP}/EndPostScanJob"))).subcode == "InvalidArgs"


# Large metadata of the device ----------------------------------------------------------------------------


MANY_TYPES = [f"{{urn:vendor:{'x' * 100}:{number}}}Type" for number in range(260)]


async def test_services_are_left_out_of_metadata_that_would_not_fit(tmp_path: Path) -> None:
    """[MS-DPWSSN]: without its header a peer gets no more than it reads; the host stays (dpws.md, 2.3)."""
    async with running(tmp_path / "site", server={"extra_types": MANY_TYPES}) as site:
        small = await told(site, path="/ScanServer")
        large = await told(site, LARGE, path="/ScanServer")
        assert site.server is not None
        services = len(site.server.services)
    assert len(small) <= LARGEST_ENVELOPE < len(large)
    metadata = [read_metadata(parse(answer).find(f".//{METADATA}")) for answer in (small, large)]  # type: ignore[arg-type] # it is there
    assert [len(one.relationship.hosted) for one in metadata] == [0, services]
    assert metadata[0].relationship.host == metadata[1].relationship.host is not None
    assert metadata[0].device == metadata[1].device


async def test_our_own_client_takes_large_metadata(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "site", server={"extra_types": MANY_TYPES}) as site,
        site.device() as device,
    ):
        assert site.server is not None
        assert await device.find() == site.server.services["WS-DSP"]


async def test_metadata_that_could_never_be_sent_stop_the_start(tmp_path: Path) -> None:
    names = {f"de-{number}": "&" * 256 for number in range(40)}
    with pytest.raises(ConfigurationError, match="metadata take") as caught:
        async with running(tmp_path / "site", server={"friendly_names": names}):
            pass
    assert "[server]" in caught.value.what_to_do


# What the settings say -----------------------------------------------------------------------------------


async def test_names_in_several_languages_and_the_page_for_people_are_told(tmp_path: Path) -> None:
    made = make_installation(
        tmp_path / "site",
        server={
            "friendly_name": "Scan server",
            "friendly_names": {"de": "Scanserver", "pt-BR": "Servidor"},
            "presentation_url": "https://scan.example.com/about",
        },
    )
    async with running(tmp_path / "site", made=made) as site:
        body = parse(await told(site, path="/ScanServer")).find(f".//{METADATA}")
        assert body is not None
        metadata = read_metadata(body)
    assert metadata.device.friendly_names == {"en": "Scan server", "de": "Scanserver", "pt-BR": "Servidor"}
    assert metadata.model.presentation_url == "https://scan.example.com/about"
    assert metadata.model.categories == ("Computers",)
