"""A peer that says exactly what a test wants said, over a raw socket with TLS, and checks every answer.

Every SOAP answer read here is parsed, validated against the schemas, and searched for what must never leave
the server (abuse case 42); so each test that reads a fault is a test of that, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lxml import etree

from postscan.contracts import dsp, schemas
from postscan.directory.model import StoredProcess
from postscan.soap.envelope import Envelope, read_envelope
from postscan.soap.faults import SoapFault, read_fault
from postscan.soap.names import ANONYMOUS, DSC, DSP, FSF, PSP, SOAP, WSA, WSD, WSDP, WSE, XOP
from postscan.soap.xml import parse
from support.scanning import Site

SOAP_TYPE = "application/soap+xml; charset=utf-8"
BOUNDARY = "uuid-0c6e-boundary"
ROOT_ID = "root@test"
IMAGE_ID = "image@test"
# What WSDAPI still reads (spec README, trap 17).
LARGEST_ANSWER = 32_767
NAMESPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in (
        ("soap", SOAP),
        ("wsa", WSA),
        ("wsd", WSD),
        ("wsdp", WSDP),
        ("wse", WSE),
        ("dsp", DSP),
        ("dsc", DSC),
        ("psp", PSP),
        ("fsf", FSF),
        ("xop", XOP),
    )
)
_TELLTALES = (
    re.compile(rb"Traceback|site-packages|\.py\b|0x[0-9a-f]{6,}"),
    # The name and text of an exception; subcodes such as ServerErrorInternalError have no colon behind.
    re.compile(rb"\b[A-Z]\w*(?:Error|Exception|Refused|Failed): "),
    re.compile(rb"\bS-1-\d+(?:-\d+)+"),
    re.compile(rb"(?:sqlite|lxml|libxml|errno|asyncio)", re.IGNORECASE),
)


def new_id() -> str:
    """Return a fresh message id."""
    return f"urn:uuid:{uuid.uuid4()}"


def envelope(
    action: str, body: str = "", *, message_id: str | None = None, headers: str = "", prolog: str = ""
) -> bytes:
    """Return an envelope; ``body`` and ``headers`` are XML that may use the usual prefixes."""
    return (
        f"{prolog}<soap:Envelope {NAMESPACES}><soap:Header><wsa:To>urn:any</wsa:To>"
        f"<wsa:Action>{action}</wsa:Action><wsa:MessageID>{message_id or new_id()}</wsa:MessageID>{headers}"
        f"</soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>"
    ).encode()


def reply_to(address: str = ANONYMOUS, name: str = "ReplyTo") -> str:
    """Return a ReplyTo (or FaultTo) header."""
    return f"<wsa:{name}><wsa:Address>{address}</wsa:Address></wsa:{name}>"


def job_request(operation: str, token: str, **more: str) -> bytes:
    """Return the envelope of an operation that takes nothing but a token."""
    body = f"<dsp:{operation}Request><dsp:JobToken>{token}</dsp:JobToken></dsp:{operation}Request>"
    return envelope(f"{DSP}/{operation}", body, **more)


def elements_request(token: str, *names: str) -> bytes:
    """Return a GetPostScanJobElements for elements by name."""
    asked = "".join(f"<dsp:Name>{name}</dsp:Name>" for name in names or ("dsp:JobStatus",))
    return envelope(
        f"{DSP}/GetPostScanJobElements",
        f"<dsp:GetPostScanJobElementsRequest><dsp:JobToken>{token}</dsp:JobToken><dsp:RequestedElements>"
        f"{asked}</dsp:RequestedElements></dsp:GetPostScanJobElementsRequest>",
    )


def create_request(
    process: StoredProcess,
    sid: str,
    *,
    message_id: str | None = None,
    change: Callable[[etree._Element], object] | None = None,
) -> bytes:
    """Return a CreatePostScanJob; ``change`` may alter the request element before it is written."""
    request = dsp.CreatePostScanJobRequest.for_process(
        user_identifier=sid,
        psp_identifier=str(process.identifier),
        instructions=process.process.instructions_element,
    ).to_element()
    if change is not None:
        change(request)
    return envelope(f"{DSP}/CreatePostScanJob", etree.tostring(request).decode(), message_id=message_id)


def with_text(tag: str, text: str) -> Callable[[etree._Element], None]:
    """Return a change that gives the first element with a Clark name another text."""

    def change(request: etree._Element) -> None:
        next(request.iter(tag)).text = text

    return change


def send_image(
    token: str,
    *,
    document_id: object = 1,
    image_format: str = "jfif",
    image: str = f'<xop:Include href="cid:{IMAGE_ID}"/>',
    **more: str,
) -> bytes:
    """Return the envelope of a SendImage; ``image`` is the content of ImageData."""
    return envelope(
        f"{DSP}/SendImage",
        f"<dsp:SendImageRequest><dsp:JobToken>{token}</dsp:JobToken><dsp:DocumentDescription><dsp:DocumentId>"
        f"{document_id}</dsp:DocumentId><dsp:Format>{image_format}</dsp:Format></dsp:DocumentDescription>"
        f"<dsp:ImageData>{image}</dsp:ImageData></dsp:SendImageRequest>",
        **more,
    )


@dataclass(frozen=True)
class Part:
    """One MIME part; ``headers`` are whole lines without line ends."""

    data: bytes
    headers: tuple[str, ...]


def root_part(xml: bytes, content_id: str = ROOT_ID) -> Part:
    """Return the part of an envelope."""
    return Part(
        xml,
        (
            'Content-Type: application/xop+xml; charset=utf-8; type="application/soap+xml"',
            "Content-Transfer-Encoding: binary",
            f"Content-ID: <{content_id}>",
        ),
    )


def image_part(data: bytes, content_id: str = IMAGE_ID) -> Part:
    """Return the part of an image."""
    return Part(
        data,
        (
            "Content-Type: image/jpeg",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: <{content_id}>",
        ),
    )


def frame(*parts: Part, boundary: str = BOUNDARY, before: bytes = b"", after: bytes = b"\r\n") -> bytes:
    """Return a multipart body: preamble, parts, closing delimiter, and what comes ``after`` it."""
    pieces = [before]
    for part in parts:
        head = "\r\n".join((f"--{boundary}", *part.headers, "", "")).encode()
        pieces += [head, part.data, b"\r\n"]
    return b"".join((*pieces, f"--{boundary}--".encode(), after))


def mtom_type(*, start: str | None = ROOT_ID, boundary: str = BOUNDARY) -> str:
    """Return the Content-Type of a multipart body."""
    named = f'; start="<{start}>"' if start is not None else ""
    return (
        f'multipart/related; type="application/xop+xml"; boundary="{boundary}"{named}; '
        'start-info="application/soap+xml"'
    )


def upload(token: str, data: bytes, **more: object) -> bytes:
    """Return the multipart body of an ordinary SendImage."""
    return frame(root_part(send_image(token, **more)), image_part(data))  # type: ignore[arg-type] # test shorthand


def chunked(body: bytes, size: int = 1_000) -> bytes:
    """Return ``body`` in chunks, with the last one."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def envelope(self) -> Envelope:
        """The answer as a SOAP message."""
        return read_envelope(parse(self.body))

    @property
    def fault(self) -> SoapFault:
        """The fault; fails when the answer is none."""
        fault = read_fault(self.envelope)
        assert fault is not None, self.body
        return fault

    @property
    def subcode(self) -> str:
        """The local name of the fault's subcode, or its party when it has none."""
        fault = self.fault
        return (fault.subcode or str(fault.party)).rpartition("}")[2]

    @property
    def detail(self) -> str:
        """The text of the fault's Detail."""
        detail = self.fault.detail
        if detail is None or isinstance(detail, str):
            return detail or ""
        return (detail.text or "").strip()

    @property
    def correlation_id(self) -> str:
        """The id under which the server logged the fault."""
        return self.fault.correlation_id or ""

    def text(self, local: str) -> str:
        """Return the text of the first element with a local name."""
        found = next(parse(self.body).iter(f"{{*}}{local}"))
        return (found.text or "").strip()


class Wire:
    """One connection to a scan server."""

    def __init__(self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._site = site
        self.reader = reader
        self.writer = writer
        assert site.server is not None
        self.service = urlsplit(site.server.services["WS-DSP"]).path

    def head(self, *lines: str, path: str | None = None, method: str = "POST") -> bytes:
        """Return a request head with the given further lines."""
        first = (f"{method} {path or self.service} HTTP/1.1", "Host: localhost")
        return "\r\n".join((*first, *lines, "", "")).encode("latin-1")

    async def say(self, data: bytes) -> None:
        """Send octets."""
        self.writer.write(data)
        async with asyncio.timeout(20):
            await self.writer.drain()

    async def post(
        self, body: bytes, content_type: str = SOAP_TYPE, *lines: str, path: str | None = None
    ) -> Answer:
        """Send a request and read the answer."""
        head = self.head(f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *lines, path=path)
        await self.say(head + body)
        return await self.answer()

    async def upload(self, token: str, data: bytes, **more: object) -> Answer:
        """Send an image by an ordinary SendImage."""
        return await self.post(upload(token, data, **more), mtom_type())

    async def create(self, process: str = "Scan to my folder", user: str = "alice") -> str:
        """Create a job and return its token."""
        sid = (await self._site.user(user)).sid
        answer = await self.post(create_request(await self._site.process(process), sid))
        assert answer.status == 200, answer.body
        return answer.text("JobToken")

    async def works(self) -> bool:
        """Tell whether this very connection still serves requests."""
        answer = await self.post(probe(), path="/ScanServer")
        return answer.status == 200

    async def answer(self) -> Answer:
        """Read one answer; fails when it is not well-made or tells too much."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value.strip() for name, _, value in (li.partition(":") for li in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        answer = Answer(int(first.split()[1]), headers, body)
        check_answer(answer, self._site)
        return answer

    async def closed(self) -> bytes:
        """Wait until the server has closed and return what it still said."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except (ConnectionError, ssl.SSLError):
                return b""

    def tear(self) -> None:
        """Go away without a word."""
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close in good order."""
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


def probe(types: str = "wsdp:Device") -> bytes:
    """Return a directed Probe."""
    return envelope(f"{WSD}/Probe", f"<wsd:Probe><wsd:Types>{types}</wsd:Types></wsd:Probe>")


def check_answer(answer: Answer, site: Site) -> None:
    """Fail unless a SOAP answer is valid and small, and a fault tells nothing of the inside (case 42)."""
    if not answer.body or not answer.headers.get("content-type", "").startswith("application/soap+xml"):
        return
    assert len(answer.body) <= LARGEST_ANSWER
    root = parse(answer.body)
    schemas.validate(root)
    if read_fault(read_envelope(root)) is not None:
        assert_tells_nothing(answer.body, site)


def assert_tells_nothing(body: bytes, site: Site) -> None:
    """Fail when ``body`` holds a path of this machine, a piece of a traceback, exception text, or a SID."""
    for path in (str(site.made.folder), str(site.made.folder.parent), sys.prefix, sys.base_prefix):
        assert path.encode() not in body, body
    for telltale in _TELLTALES:
        assert telltale.search(body) is None, body


@asynccontextmanager
async def wire(
    site: Site, user: str | None = "alice", *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Wire]:
    """Connect to the server of a site as a user's device, or with ``tls``."""
    made = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", made.port, ssl=tls or site.tls(user), server_hostname="localhost", limit=2**20
    )
    connection = Wire(site, reader, writer)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass
class Canary:
    """A listener that nobody may ever reach; ``visits`` holds who did."""

    port: int = 0
    visits: list[object] = field(default_factory=list)

    @property
    def url(self) -> str:
        """An address that leads to it."""
        return f"http://127.0.0.1:{self.port}/canary"


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    """Listen on loopback; fails at the end when somebody came."""
    bird = Canary()

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bird.visits.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    bird.port = server.sockets[0].getsockname()[1]
    try:
        yield bird
    finally:
        # Whoever has connected is in the listener's queue by now: let the loop accept it.
        for _ in range(5):
            await asyncio.sleep(0)
        server.close()
        await server.wait_closed()
    assert bird.visits == []


async def images_of(site: Site, token: str) -> int:
    """Return how many images the store counts in a job."""
    assert site.server is not None
    documents = await site.server.engine.documents(token, None)
    return len(documents)


async def jobs_of(site: Site) -> int:
    """Return how many jobs there are."""
    assert site.server is not None
    return len(await site.server.engine.jobs(limit=10_000))


def temporary_files(site: Site) -> list[str]:
    """Return the spool's files that are on their way in."""
    return sorted(p.name for p in (site.made.folder / "data" / "spool" / "incoming").iterdir())


async def no_temporary_files(site: Site) -> None:
    """Wait until no upload is on its way in."""
    async with asyncio.timeout(10):
        while temporary_files(site):
            await asyncio.sleep(0.005)
