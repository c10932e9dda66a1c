"""SOAP toolkits of others run scan jobs from nothing but the WSDL that the server serves.

Each test prints one line: the peer, its version, and what it did.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
import zeep
from lxml import etree
from zeep.wsdl.utils import get_or_create_header

from postscan.contracts.keywords import END_STATES
from postscan.soap.names import DSC, DSP, PSP, WSA, qname
from support.peers import Apart, Order, debian_version, node_soap, program
from support.scanning import Site, jpeg

pytestmark = pytest.mark.asyncio(loop_scope="module")
HERE = Path(__file__).parent
NOT_FOUND = "ClientErrorJobTokenNotFound"
SECONDS = 60
Figures = Callable[[str, object], None]


class Delivery:
    """What arrives at the share from now on."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._before = set(site.delivered())

    def contents(self) -> list[bytes]:
        """Return the new files' octets, in the order of their names."""
        return [path.read_bytes() for path in self._site.delivered() if path not in self._before]


def octets(order: Order) -> list[bytes]:
    return [page.read_bytes() for page in order.pages]


def make_pages_large(order: Order) -> None:
    """Give the pages more octets than an envelope may have: only by MTOM can they arrive."""
    for number, page in enumerate(order.pages, start=1):
        page.write_bytes(jpeg(number, 300_000 * number))


async def ended(site: Site, token: str) -> str:
    """Wait until a job has ended and return its state."""
    assert site.server is not None
    async with asyncio.timeout(SECONDS):
        while (job := await site.server.engine.job(token, None)).state not in END_STATES:
            await asyncio.sleep(0.01)
    return str(job.state)


# zeep --------------------------------------------------------------------------------------------------


class Addressing(zeep.Plugin):
    """WS-Addressing 2004/08, of which zeep knows only the successor."""

    def egress(
        self, envelope: etree._Element, http_headers: dict[str, str], operation: Any, binding_options: Any
    ) -> tuple[etree._Element, dict[str, str]]:
        header = get_or_create_header(envelope)
        for local, text in (
            ("To", binding_options["address"]),
            ("Action", operation.soapaction),
            ("MessageID", f"urn:uuid:{uuid4()}"),
        ):
            etree.SubElement(header, qname(WSA, local)).text = text
        return envelope, http_headers


@contextmanager
def session_of(order: Order) -> Iterator[requests.Session]:
    """Open connections with alice's certificate."""
    with requests.Session() as session:
        # Whatever the environment says of proxies and authorities is not for this server.
        session.trust_env = False
        session.verify, session.cert = str(order.ca), (str(order.certificate), str(order.key))
        yield session


def zeep_client(order: Order, session: requests.Session, service: str = "WS-DSP") -> zeep.Client:
    transport = zeep.Transport(session=session)
    client = zeep.Client(order.wsdl(service), transport=transport, plugins=[Addressing()])
    client.set_ns_prefix("dsp", DSP)
    client.set_ns_prefix("dsc", DSC)
    return client


def job_with_zeep(order: Order) -> tuple[str, list[Any]]:
    with session_of(order) as session:
        return run_job(order, zeep_client(order, session))


def create_with_zeep(order: Order, client: zeep.Client) -> str:
    instructions = client.get_type(qname(PSP, "Instructions"))
    created = client.service.CreatePostScanJob(
        UserIdentifier=order.user,
        PSP_Identifier=order.process,
        PostScanInstructions=instructions.parse_xmlelement(order.instructions, schema=client.wsdl.types),
    )
    return str(created.JobToken._value_1)


def run_job(order: Order, client: zeep.Client) -> tuple[str, list[Any]]:
    call = client.service
    token = create_with_zeep(order, client)
    for number, page in enumerate(order.pages, start=1):
        described = {"DocumentId": number, "Format": "jfif"}
        # zeep sends no MTOM: the image goes as base64, which is the same message (spec README, trap 7).
        call.SendImage(JobToken=token, DocumentDescription=described, ImageData=page.read_bytes())
    names = {"Name": ["dsp:JobStatus", "dsp:Documents", "dsp:Nothing"]}
    answer = call.GetPostScanJobElements(JobToken=token, RequestedElements=names)
    call.EndPostScanJob(JobToken=token)
    return token, answer.JobElements.ElementData


async def test_zeep_loads_the_wsdl_and_runs_a_job(site: Site, order: Order, record_property: Figures) -> None:
    delivery = Delivery(site)
    token, elements = await asyncio.to_thread(job_with_zeep, order)
    assert [element.Valid for element in elements] == [True, True, False]
    assert elements[0].JobStatus.JobState._value_1 == "Creating"
    documents = elements[1].Documents.Document
    assert [one.DocumentDescription.DocumentId._value_1 for one in documents] == [1, 2]
    assert await ended(site, token) == "Completed"
    assert delivery.contents() == octets(order)
    record_property(
        "figures",
        f"interop: zeep {version('zeep')}: WSDL of WS-DSP loaded; job of {len(order.pages)} pages in base64, "
        f"{sum(map(len, octets(order))):,} octets delivered as sent",
    )


@dataclass(frozen=True)
class Administered:
    """What an administrator was told, and which job it canceled between two looks at the jobs."""

    elements: list[Any]
    token: str
    active: list[str]
    history: list[str]


def administer_with_zeep(order: Order) -> Administered:
    # An answer that holds one element alone is to zeep that element.
    with session_of(order) as session:
        token = create_with_zeep(order, zeep_client(order, session))
        call = zeep_client(order, session, "WS-DSC").service
        names = {"Name": ["dsc:RepositoryConfiguration", "dsc:RepositoryStatus", "dsc:Nothing"]}
        told = call.GetRepositoryElements(RequestedElements=names)
        active = tokens(call.GetActiveJobs())
        job = call.GetPostScanJobElements(JobToken=token, RequestedElements={"Name": ["dsc:JobStatus"]})
        assert [one.Valid for one in job.ElementData] == [True]
        call.CancelPostScanJob(JobToken=token)
        history = tokens(call.GetJobHistory())
        return Administered(told.ElementData, token, active, history)


def tokens(jobs: Any) -> list[str]:
    return [job.JobToken._value_1 for job in jobs.JobSummary]


async def test_zeep_administers_the_server(order: Order, record_property: Figures) -> None:
    done = await asyncio.to_thread(administer_with_zeep, order)
    assert [element.Valid for element in done.elements] == [True, True, False]
    assert done.token in done.active
    assert done.token in done.history
    record_property(
        "figures",
        f"interop: zeep {version('zeep')}: WSDL of WS-DSC loaded; asked for configuration, status, active "
        "jobs, one job's status and history; canceled a job",
    )


async def test_zeep_reads_a_fault(order: Order) -> None:
    def end() -> tuple[list[str], str]:
        with session_of(order) as session:
            try:
                zeep_client(order, session).service.EndPostScanJob(JobToken="nobody's")
            except zeep.exceptions.Fault as fault:
                return [subcode.text for subcode in fault.subcodes], fault.detail.text
        raise AssertionError("no fault")

    assert await asyncio.to_thread(end) == ([qname(DSP, NOT_FOUND)], "nobody's")


# node-soap ---------------------------------------------------------------------------------------------


async def test_node_soap_runs_a_job_with_mtom_from_the_wsdl(
    apart: Apart, order_apart: Order, record_property: Figures
) -> None:
    order = order_apart
    node, folder = await asyncio.to_thread(node_soap)
    make_pages_large(order)
    delivery = Delivery(apart.site)
    told = {
        "wsdl": order.wsdl(),
        "ca": str(order.ca),
        "certificate": str(order.certificate),
        "key": str(order.key),
        "user": order.user,
        "process": order.process,
        "instructions": "".join(etree.tostring(part, encoding="unicode") for part in order.instructions),
        "pages": [str(page) for page in order.pages],
        "patience": SECONDS // 2,
    }
    done = await asyncio.to_thread(
        apart.net.run, "peer", [node, HERE / "node" / "job.js", folder], input=json.dumps(told)
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert UUID(said["token"])
    assert said["address"] == order.service
    assert said["status"]["JobState"] == "Completed"
    assert said["status"]["ImagesReceived"] == "2"
    assert delivery.contents() == octets(order)
    # Code and Detail reach the caller as values: what a Detail holds beside its text stopped node-soap once.
    assert said["fault"]["Code"]["Subcode"]["Value"] == f"dsp:{NOT_FOUND}"
    assert UUID(said["fault"]["Detail"]["$value"])
    record_property(
        "figures",
        f"interop: node-soap {said['version']} (node {said['node']}): WSDL of WS-DSP loaded; job of "
        f"{len(order.pages)} pages by MTOM, {said['sent']:,} octets delivered as sent",
    )


async def test_node_soap_loads_the_wsdl_of_every_service(
    apart: Apart, order_apart: Order, record_property: Figures
) -> None:
    order = order_apart
    node, folder = await asyncio.to_thread(node_soap)
    counted = []
    for name in order.services:
        command = [node, HERE / "node" / "describe.js", folder, order.wsdl(name), order.ca]
        done = await asyncio.to_thread(apart.net.run, "peer", command)
        assert done.returncode == 0, done.stderr
        operations = json.loads(done.stdout)
        assert {"CancelPostScanJob", "GetPostScanJobElements", "PostScanJobEndStateEvent"} <= set(operations)
        counted.append(f"{name} with {len(operations)} operations and events")
    record_property("figures", f"interop: node-soap: WSDLs loaded: {', '.join(counted)}")


# gSOAP -------------------------------------------------------------------------------------------------


def build_gsoap_client(folder: Path, wsdl: bytes) -> Path:
    """Generate and compile a client from a WSDL; all that was generated stays in ``folder``."""
    wsdl2h, soapcpp2 = program("wsdl2h", "gsoap"), program("soapcpp2", "gsoap")
    compiler, config = program("gcc", "gcc"), program("pkg-config", "pkg-config")
    libraries = subprocess.run(
        [config, "--cflags", "--libs", "gsoapssl"], capture_output=True, text=True, check=False
    )
    if libraries.returncode or not Path("/usr/include/openssl/ssl.h").exists():
        pytest.skip("libgsoap-dev or libssl-dev is not installed: the interop test with gSOAP did not run")

    def run(*command: object) -> None:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    (folder / "service.wsdl").write_bytes(wsdl)
    run(wsdl2h, "-c", "-t", HERE / "gsoap" / "typemap.dat", "-o", "service.h", "service.wsdl")
    interface = folder / "service.h"
    interface.write_text(f'#import "wsa.h"\n{interface.read_text()}')
    run(soapcpp2, "-C", "-c", "-x", "-L", "-I", "/usr/share/gsoap/import", "service.h")
    sources = (HERE / "gsoap" / "job.c", "soapC.c", "soapClient.c")
    run(
        compiler,
        "-O0",
        "-w",
        "-I",
        ".",
        "-o",
        "job",
        *sources,
        *libraries.stdout.split(),
        "-lssl",
        "-lcrypto",
    )
    return folder / "job"


async def test_gsoap_runs_a_job_with_mtom_from_the_wsdl(
    apart: Apart, order_apart: Order, tmp_path: Path, record_property: Figures
) -> None:
    order = order_apart
    fetched = await asyncio.to_thread(
        apart.net.run, "peer", [program("curl", "curl"), "-sS", "--fail", "--cacert", order.ca, order.wsdl()]
    )
    assert fetched.returncode == 0, fetched.stderr
    job = await asyncio.to_thread(build_gsoap_client, tmp_path, fetched.stdout.encode())
    identity, instructions = tmp_path / "alice.pem", tmp_path / "instructions.xml"
    identity.write_text(order.certificate.read_text() + order.key.read_text())
    # gSOAP keeps elements it does not know as text: they must declare their own prefixes.
    instructions.write_bytes(etree.tostring(order.instructions, method="c14n", exclusive=True))
    make_pages_large(order)
    delivery = Delivery(apart.site)
    command = [job, order.ca, identity, order.service, order.user, order.process, instructions, *order.pages]
    done = await asyncio.to_thread(apart.net.run, "peer", command)
    assert done.stdout.split()[1:] == ["Completed"], done.stderr
    assert delivery.contents() == octets(order)
    assert NOT_FOUND in done.stderr
    assert "no-such-token" in done.stderr
    record_property(
        "figures",
        f"interop: gSOAP {debian_version('gsoap')}: client generated from the WSDL of WS-DSP; job of "
        f"{len(order.pages)} pages by MTOM, {sum(map(len, octets(order))):,} octets delivered as sent",
    )
