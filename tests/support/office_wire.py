"""Raw requests to a scan server whose directory is the test domain, and changes in that domain meanwhile."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lxml import etree

from postscan.cli import directories, wiring
from postscan.cli.installation import Installation
from postscan.cli.pki import KeyPair, issue_user, write_pair
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.contracts.keywords import JobState
from postscan.contracts.psp import read_process
from postscan.device.client import client_context
from postscan.directory.active.directory import ActiveDirectory
from postscan.directory.ldap.client import Ldap
from postscan.directory.model import StoredProcess, User
from support.active_directory import ldap_settings
from support.clock import FakeClock
from support.domain import Domain
from support.office import serving
from support.scanning import Site, jpeg
from support.wire import Answer, Wire, create_request, elements_request, job_request
from testdomain.facts import ADMINISTRATOR, BASE_DN, SCAN_SERVER, Person
from testdomain.processes import DomainProcess, domain_processes, own_xml

OVER = frozenset({JobState.COMPLETED, JobState.ABORTED, JobState.CANCELED})


def process_named(name: str) -> DomainProcess:
    """Return a scan process of the test domain."""
    return next(one for one in domain_processes() if one.display_name == name)


def as_stored(process: DomainProcess, xml: bytes | None = None) -> StoredProcess:
    """Return a scan process as a device remembers it, whoever may read it now; ``xml`` may be another."""
    kept = xml or (own_xml(process.display_name) if process.broken else process.xml)
    return StoredProcess(process.identifier, process.display_name, kept, read_process(kept))


@dataclass
class Office:
    """A running scan server in the test domain, and what its devices know."""

    domain: Domain
    made: Installation
    site: Site
    clock: FakeClock
    _certificates: dict[str, Path] = field(default_factory=dict)

    @property
    def directory(self) -> ActiveDirectory:
        """The server's own directory."""
        assert self.site.server is not None
        directory = self.site.server._directory
        assert isinstance(directory, ActiveDirectory)
        return directory

    async def user(self, person: Person) -> User:
        """Return a person as the domain has them."""
        async with ActiveDirectory(self.directory._settings) as other:
            found = await other.user_by_name(person.principal)
        assert found is not None
        return found

    async def certificate(self, person: Person, authority: KeyPair | None = None) -> Path:
        """Return a person's certificate, issued by the domain's authority unless another is given."""
        if authority is not None:
            return self.keep(issue_user(authority, await self.user(person)), f"{person.name}-other")
        if person.name not in self._certificates:
            pair = issue_user(self.domain.authority(), await self.user(person))
            self._certificates[person.name] = self.keep(pair, f"user{len(self._certificates)}")
        return self._certificates[person.name]

    def keep(self, pair: KeyPair, name: str) -> Path:
        """Write a certificate and its key to files; return that of the certificate."""
        certificate = self.made.folder / f"{name}.pem"
        write_pair(pair, certificate, certificate.with_suffix(".key"))
        return certificate

    @asynccontextmanager
    async def wire(self, certificate: Path | None) -> AsyncIterator[Wire]:
        """Connect as a device that shows a certificate, or none; its key is beside it or in the same file."""
        key = None if certificate is None else certificate.with_suffix(".key")
        if key is not None and not key.exists():
            key = certificate
        port = load_settings(self.made.config, {}).settings.server.listen_address[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            port,
            ssl=client_context(self.domain.ca, certificate, key),
            server_hostname=SCAN_SERVER,
            limit=2**20,
        )
        connection = Wire(self.site, reader, writer)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def device(self, person: Person) -> AsyncIterator[Device]:
        """Connect as a device at which a person signed in with their certificate."""
        async with self.wire(await self.certificate(person)) as connection:
            yield Device(connection, (await self.user(person)).sid)


@dataclass
class Device:
    """A connection, and the SID it names in each Create."""

    wire: Wire
    sid: str

    async def ask(
        self, process: StoredProcess, change: Callable[[etree._Element], object] | None = None
    ) -> Answer:
        """Ask for a job."""
        return await self.wire.post(create_request(process, self.sid, change=change))

    async def create(self, process: StoredProcess) -> str:
        """Ask for a job, which must be given; return its token."""
        answer = await self.ask(process)
        assert answer.status == 200, answer.body
        return answer.text("JobToken")

    async def send(self, token: str, number: int = 1) -> None:
        """Send an image, which must be taken."""
        answer = await self.wire.upload(token, jpeg(number), document_id=number)
        assert answer.status == 200, answer.body

    async def end(self, token: str) -> JobState:
        """End a job, wait until it is over, and return how it ended."""
        answer = await self.wire.post(job_request("EndPostScanJob", token))
        assert answer.status == 200, answer.body
        async with asyncio.timeout(30):
            while (state := await self.state(token)) not in OVER:
                await asyncio.sleep(0.02)
        return state

    async def state(self, token: str) -> JobState:
        """Return how a job stands."""
        answer = await self.wire.post(elements_request(token))
        assert answer.status == 200, answer.body
        return JobState(answer.text("JobState"))


@asynccontextmanager
async def office(
    domain: Domain,
    made: Installation,
    *,
    clock: FakeClock | None = None,
) -> AsyncIterator[Office]:
    """Run an office's server while the block runs; what its directory remembers ages by ``clock``."""
    time = clock or FakeClock()

    def directory_of(loaded: LoadedSettings) -> ActiveDirectory:
        return ActiveDirectory(directories.active_directory_settings(loaded), clock=time)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "directory_of", directory_of)
        async with serving(made) as server:
            yield Office(domain, made, Site(made, server=server), time)


@asynccontextmanager
async def administrator(domain: Domain) -> AsyncIterator[Ldap]:
    """Change the domain as its administrator; whoever changes something puts it back."""
    client = Ldap(ldap_settings(domain.ca, ADMINISTRATOR))
    try:
        yield client
    finally:
        await client.close()


def group_dn(name: str) -> str:
    """Return the distinguished name of a group."""
    return f"CN={name},CN=Users,{BASE_DN}"


def refusal(answer: Answer) -> tuple[str, str]:
    """Return the fault of an answer: its subcode and its detail."""
    return answer.subcode, answer.detail


def with_child(request: etree._Element, tag: str, name: str, text: str) -> None:
    """Add an element to the first element with a Clark name."""
    etree.SubElement(next(request.iter(tag)), name).text = text


def repeated(request: etree._Element, tag: str) -> None:
    """Let the first element with a Clark name stand there twice."""
    found = next(request.iter(tag))
    found.addnext(copy.deepcopy(found))
