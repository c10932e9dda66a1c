"""A SharePoint site, Microsoft Graph and Microsoft Entra ID on this machine, over TLS.

Three servers over one state (``Site``): the site with its REST service and the URLs of upload sessions,
Graph, and the authority that gives tokens. They are strict: what the products refuse, as far as is known, is
refused. Every request is remembered, and a test may have the next one of a kind fail.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support import issuing
from support.sharepoint_graph_stub import GraphService
from support.sharepoint_rest_stub import RestService
from support.sharepoint_state import Site

HOST = "localhost"
# What the products are called, where a test has the resolver lead these names here.
ONLINE = "example.sharepoint.com"
GRAPH = "graph.microsoft.com"
LOGIN = "login.microsoftonline.com"
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT_ID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """A request, as it came; ``body`` is there where it is JSON."""

    server: str
    method: str
    path: str
    headers: Mapping[str, str]
    length: int
    body: bytes = b""

    @property
    def line(self) -> str:
        """Method and path, for people."""
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """What happens to the next ``times`` requests of ``method`` with ``part`` in their path or query."""

    method: str
    part: str
    answer: Answer
    times: int = 1


@dataclass
class Server:
    """One server: where it listens, and what answers there; ``public`` is what it is called, if not that."""

    name: str
    answer: Answer
    seen: list[Seen]
    faults: list[Fault]
    context: ssl.SSLContext
    port: int = 0
    public: str | None = None
    _runner: web.AppRunner | None = None

    @property
    def origin(self) -> str:
        """Its origin."""
        return f"https://{self.public}" if self.public is not None else f"https://{HOST}:{self.port}"

    async def __aenter__(self) -> Server:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.context).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        shown = request.rel_url.raw_path_qs
        length = request.content_length or 0
        # What was read here can be read again by the service.
        body = await request.read() if request.content_type == "application/json" and length < 10_000 else b""
        self.seen.append(Seen(self.name, request.method, shown, dict(request.headers), length, body))
        for fault in self.faults:
            if fault.times > 0 and fault.method == request.method and fault.part in shown:
                fault.times -= 1
                return await fault.answer(request)
        return await self.answer(request)


@dataclass
class Authority:
    """Gives tokens to the app that proves itself by its certificate, and knows which are still good."""

    certificate: x509.Certificate
    tokens: dict[str, str] = field(default_factory=dict)
    seconds: int = 3600
    redirect_token_to: str | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer the discovery document and the token endpoint."""
        base = f"{request.url.origin()}/{TENANT}"
        if request.path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            endpoint = self.redirect_token_to or f"{base}/oauth2/v2.0/token"
            return web.json_response(
                {
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": endpoint,
                }
            )
        if request.path != f"/{TENANT}/oauth2/v2.0/token":
            return _entra_error(400, "invalid_tenant", "AADSTS90002: Tenant not found. Trace ID: 1")
        form = {key: values[0] for key, values in parse_qs(await request.text()).items()}
        wrong = self._what_is_wrong(form, f"{base}/oauth2/v2.0/token")
        if wrong is not None:
            return _entra_error(401, "invalid_client", wrong)
        token = "eyJ0eXAiOiJKV1Qi." + secrets.token_urlsafe(60) + "." + secrets.token_urlsafe(30)
        self.tokens[token] = form["scope"].split()[0].removesuffix("/.default")
        return web.json_response({"token_type": "Bearer", "expires_in": self.seconds, "access_token": token})

    def _what_is_wrong(self, form: Mapping[str, str], endpoint: str) -> str | None:
        if form.get("grant_type") != "client_credentials" or form.get("client_id") != CLIENT_ID:
            return "AADSTS700016: Application was not found in the directory."
        assertion = form.get("client_assertion", "")
        thumbprint = hashlib.sha256(self.certificate.public_bytes(Encoding.DER)).digest()
        head = jwt.get_unverified_header(assertion)
        if head.get("x5t#S256", "").rstrip("=") != base64.urlsafe_b64encode(thumbprint).decode().rstrip("="):
            return f"AADSTS700027: The certificate is not registered on application. Assertion {assertion}"
        key = self.certificate.public_key()
        try:
            jwt.decode(assertion, key, algorithms=["PS256"], audience=endpoint, issuer=CLIENT_ID)  # type: ignore[arg-type] # an RSA key
        except jwt.PyJWTError as error:
            return f"AADSTS700024: {error}"
        return None

    def refuses(self, request: web.Request, resource: str) -> web.Response | None:
        """Return what is said to a request without a good token for ``resource``, None when it has one."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer" and self.tokens.get(token) == resource:
            return None
        body = {"error": {"code": "InvalidAuthenticationToken", "message": "Access token has expired."}}
        return web.json_response(body, status=401, headers={"WWW-Authenticate": 'Bearer realm=""'})

    def expire_all(self) -> None:
        """Let no token be good any more."""
        self.tokens.clear()


class SharePointStub:
    """All of it; use as an asynchronous context manager.

    :ivar site: the state.
    :ivar ca: the PEM file of the authority that the servers' certificates come from.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.site = Site()
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        root, app, server = _pki()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(root.pem())
        server_file = server.write(folder / "server.pem")
        self.certificate = app.certificate.public_bytes(Encoding.PEM).decode()
        self.private_key = app.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(server_file)
        self.authority = Authority(app.certificate)
        self.rest = RestService(self.site)
        self.graph = GraphService(
            self.site, HOST, lambda: self.upload_origin or self.sharepoint_server.origin
        )
        self.upload_origin: str | None = None
        self.sharepoint_server = self._server("sharepoint", self._sharepoint)
        self.graph_server = self._server("graph", self._graph)
        self.authority_server = self._server("authority", self.authority.handle)
        self._stack = AsyncExitStack()

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts these servers."""
        return ssl.create_default_context(cafile=self.ca)

    def _server(self, name: str, answer: Answer) -> Server:
        return Server(name, answer, self.seen, self.faults, self._context)

    async def __aenter__(self) -> SharePointStub:
        for server in (self.sharepoint_server, self.graph_server, self.authority_server):
            await self._stack.enter_async_context(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def be_online(self) -> dict[str, int]:
        """Go by the names of the products; return which port each name is at."""
        ports = {}
        for name, server in (
            (ONLINE, self.sharepoint_server),
            (GRAPH, self.graph_server),
            (LOGIN, self.authority_server),
        ):
            server.public = name
            ports[name] = server.port
        self.graph.host = ONLINE
        return ports

    def fail_next(
        self,
        method: str,
        part: str,
        status: int,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Have the next requests of this kind answered with an error, the request read to its end."""

        async def answer(request: web.Request) -> web.StreamResponse:
            await request.read()
            return web.Response(
                status=status,
                body=json.dumps(body).encode() if body is not None else b"",
                headers={"Content-Type": "application/json", **(headers or {})},
            )

        self.faults.append(Fault(method, part, answer, times))

    def cut_next(self, method: str, part: str, *, after_answering: bool = False, times: int = 1) -> None:
        """Have the connection of the next requests break: amid the request, or with only its answer lost."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if after_answering:
                for server in (self.sharepoint_server, self.graph_server):
                    if request.transport is not None and request.url.port == server.port:
                        await server.answer(request)
            elif request.can_read_body:
                await request.content.readany()
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        self.faults.append(Fault(method, part, answer, times))

    def lines(self, server: str = "") -> list[str]:
        """Return what was asked, for people and comparisons."""
        return [one.line for one in self.seen if server in ("", one.server)]

    async def _sharepoint(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/_api/v2.0/upload":
            return await self.graph.handle_upload(request)
        if request.path == "/_layouts/15/download.aspx":
            wanted = request.query["UniqueId"]
            found = next((item for item in self.site.items.values() if item.item_id == wanted), None)
            return web.Response(body=found.content) if found is not None else web.Response(status=404)
        refusal = self.authority.refuses(request, self.sharepoint_server.origin)
        if refusal is not None:
            return refusal
        if "/_api/" in request.path:
            return await self.rest.handle(request)
        return web.Response(status=404)

    async def _graph(self, request: web.Request) -> web.StreamResponse:
        return self.authority.refuses(request, self.graph_server.origin) or await self.graph.handle(request)


@functools.cache
def _pki() -> tuple[issuing.Authority, issuing.Issued, issuing.Issued]:
    """Return an authority, the certificates of app and servers; made once, as an RSA key takes its time."""
    root = issuing.root()
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in (HOST, ONLINE, GRAPH, LOGIN)])
    server = root.issue(issuing.Wish(HOST, purposes=issuing.SERVER, extensions=[(names, False)]))
    return root, root.issue(issuing.Wish("scan app", key=issuing.rsa_key())), server


def _entra_error(status: int, error: str, text: str) -> web.Response:
    return web.json_response({"error": error, "error_description": text}, status=status)
