"""Abuse cases 24 and 28: instructions that a device alters, and names that lead elsewhere."""

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from postscan.contracts.keywords import JobState
from postscan.contracts.psp import read_process
from postscan.directory.embedded import EmbeddedDirectory
from postscan.filters.naming import safe_component
from postscan.soap.names import DSP, FSF, PSP, SPX, qname
from support.scanning import Site, jpeg, make_installation, running
from support.wire import create_request, job_request, jobs_of, wire, with_text

pytestmark = pytest.mark.asyncio(loop_scope="module")
INSTRUCTIONS = qname(DSP, "PostScanInstructions")


# Case 24 --------------------------------------------------------------------------------------------------


def parts_of(request: etree._Element) -> list[etree._Element]:
    """Return the elements of the instructions, each with what it holds."""
    return list(next(request.iter(INSTRUCTIONS)).iter())[1:]


def same_value(one: str, other: str) -> bool:
    """Tell whether two texts may say the same: white space round them and two spellings of a truth value."""
    truth = {"0": "false", "1": "true"}
    one, other = one.strip(), other.strip()
    return truth.get(one, one) == truth.get(other, other)


def alter(request: etree._Element, kind: str, where: int, text: str) -> bool:
    """Change the instructions in one place; return False for a place that this process leaves to the user."""
    elements = parts_of(request)
    element = elements[where % len(elements)]
    parent = element.getparent()
    assert parent is not None
    if kind == "text":
        leaves = [e for e in elements if len(e) == 0]
        element = leaves[where % len(leaves)]
        if same_value(element.text or "", text):
            return False
        element.text = text
    elif kind == "remove":
        if same_value(element.text or "", "false"):
            return False
        parent.remove(element)
    elif kind == "repeat":
        parent.append(copy.deepcopy(element))
    elif kind == "attribute":
        element.set("{urn:vendor}extra", text or "1")
    elif kind == "foreign":
        etree.SubElement(element, "{urn:vendor}Extra").text = text
    elif kind == "move":
        # A flag that is false says nothing, wherever it stands.
        telling = [e for e in parent if len(e) or not same_value(e.text or "", "false")]
        if len(telling) < 2 or element not in telling:
            return False
        position = parent.index(telling[(telling.index(element) + 1) % len(telling)])
        parent.remove(element)
        parent.insert(position, element)
    return True


words = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=20)


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["text", "remove", "repeat", "attribute", "foreign", "move"]),
    st.integers(0, 30),
    words,
    st.sampled_from(["Invoices", "Archive (two places)"]),
)
async def test_case_24_an_altered_instruction_makes_no_job(
    site: Site, kind: str, where: int, text: str, process: str
) -> None:
    """Whatever a device changes where the process opens nothing: a fault, and no job."""
    altered = []
    request = create_request(
        await site.process(process),
        (await site.user()).sid,
        change=lambda element: altered.append(alter(element, kind, where, text)),
    )
    before = await jobs_of(site)
    async with wire(site) as peer:
        answer = await peer.post(request)
    if altered != [True]:
        return
    assert answer.status == 400, request
    # What breaks the schema is an argument that is not valid before it is an instruction that is altered.
    assert answer.subcode in ("NoValidPostScanInstructionsFound", "InvalidArgs")
    assert answer.detail
    assert await jobs_of(site) == before


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (qname(FSF, "ShareUNC"), r"\\attacker.example\share"),
        (qname(FSF, "ShareUNC"), "file:///etc"),
        (qname(PSP, "Dialect"), "urn:other:filter"),
        (qname(PSP, "DocumentRootName"), "Other"),
        (qname(PSP, "ContinueOnError"), "false"),
    ],
)
async def test_case_24_a_valid_but_different_value_is_refused_by_name(
    site: Site, tag: str, text: str
) -> None:
    before = await jobs_of(site)
    async with wire(site) as peer:
        answer = await peer.post(
            create_request(
                await site.process("Archive (two places)"),
                (await site.user()).sid,
                change=with_text(tag, text),
            )
        )
    assert (answer.status, answer.subcode) == (400, "NoValidPostScanInstructionsFound")
    assert answer.detail.endswith(tag.rpartition("}")[2])
    assert await jobs_of(site) == before


async def test_case_24_a_device_cannot_open_what_the_process_keeps_shut(site: Site) -> None:
    def open_up(request: etree._Element) -> None:
        inside = next(request.iter(INSTRUCTIONS))
        etree.SubElement(inside, qname(SPX, "AllowDeviceFilePathChange")).text = "true"
        next(inside.iter(qname(FSF, "ShareUNC"))).text = r"\\attacker.example\share"

    async with wire(site) as peer:
        answer = await peer.post(
            create_request(await site.process("Invoices"), (await site.user()).sid, change=open_up)
        )
    assert (answer.status, answer.subcode) == (400, "NoValidPostScanInstructionsFound")


async def test_case_24_a_process_of_another_server_makes_no_job_here(tmp_path: Path) -> None:
    made = make_installation(tmp_path / "site")
    stored = made.processes[0]
    (file,) = (p for p in (made.directory / "processes").glob("*.xml") if p.read_bytes() == stored.xml)
    file.write_bytes(stored.xml.replace(b">localhost<", b">other.example.com<"))
    async with running(tmp_path / "site", made=made) as site, wire(site) as peer:
        answer = await peer.post(
            create_request(await site.process(stored.display_name), (await site.user()).sid)
        )
        assert (answer.subcode, answer.detail) == ("NoValidPostScanInstructionsFound", "psp:ScanRepository")
        assert await jobs_of(site) == 0


# Case 28 --------------------------------------------------------------------------------------------------

NAMES = [
    "../../../../tmp/escaped",
    "..",
    ".",
    "/etc/cron.d/root",
    r"..\..\windows\system32",
    r"C:\autoexec",
    r"\\server\share\x",
    "CON",
    "nul.txt",
    "a/../../b",
    "name\u202egpj.exe",
    "trailing. . ",
    "~root",
    "-rf",
    "$(id)",
    "x" * 200,
    "ä\u0308ﬁ",
    "&#xA;two&#xD;lines",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traversing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Run a server whose directory holds a process for each of the odd names."""
    folder = tmp_path_factory.mktemp("names") / "site"
    made = make_installation(folder)
    directory = EmbeddedDirectory(made.directory, domain=None)
    stored = next(p for p in made.processes if p.display_name == "Scan to my folder")
    for number, name in enumerate(NAMES):
        xml = stored.xml.replace(b"DocumentRootName>Scan<", f"DocumentRootName>{name}<".encode())
        assert xml != stored.xml
        identifier = type(stored.identifier)(int=number + 1)
        directory.write_process(
            replace(
                stored,
                identifier=identifier,
                display_name=f"odd {number}",
                xml=xml,
                process=read_process(xml),
            )
        )
    async with running(folder, made=made) as site:
        yield site


async def deliver(site: Site, request: bytes, image: bytes) -> list[Path]:
    """Scan one page and return the files that are new anywhere near the installation."""
    around = site.made.folder.parent

    def everything() -> set[Path]:
        data = site.made.folder / "data"
        return {p for p in around.rglob("*") if p.is_file() and data not in p.parents}

    before = everything()
    async with wire(site) as peer:
        created = await peer.post(request)
        assert created.status == 200, created.body
        token = created.text("JobToken")
        assert (await peer.upload(token, image)).status == 200
        assert (await peer.post(job_request("EndPostScanJob", token))).status == 200
    assert site.server is not None
    async with asyncio.timeout(10):
        while (await site.server.engine.job(token, None)).state is not JobState.COMPLETED:
            await asyncio.sleep(0.005)
    return sorted(everything() - before)


def assert_landed(site: Site, new: list[Path], image: bytes) -> None:
    folder = site.made.folder / "delivered" / "alice@example.com"
    assert [p.parent for p in new] == [folder]
    assert new[0].read_bytes() == image
    name = new[0].name
    assert name == safe_component(name, "nothing")
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>|')
    assert len(name.encode("utf-16-le")) // 2 <= 255
    assert new[0].suffix == ".jpg"


@pytest.mark.parametrize("number", range(len(NAMES)))
async def test_case_28_a_stored_name_that_leads_elsewhere_lands_in_the_users_folder(
    traversing: Site, number: int
) -> None:
    image = jpeg(number, 3_000)
    request = create_request(await traversing.process(f"odd {number}"), (await traversing.user()).sid)
    assert_landed(traversing, await deliver(traversing, request, image), image)


@pytest.mark.parametrize("name", ["../../../../tmp/escaped", "/etc/passwd", r"..\..\x", "CON", "a\x85b"])
async def test_case_28_a_name_that_a_device_may_choose_is_made_safe_too(site: Site, name: str) -> None:
    """The process "Scan to my folder" lets the device choose DocumentRootName."""
    image = jpeg(len(name), 4_000)
    request = create_request(
        await site.process(),
        (await site.user()).sid,
        change=with_text(qname(PSP, "DocumentRootName"), name),
    )
    assert_landed(site, await deliver(site, request, image), image)
