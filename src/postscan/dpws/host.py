"""The device host: one WSD device at one https address, its hosted services one path segment below.

Turns an HTTP request into a call of an operation and its outcome into an answer. What the message is decides
(wsa:Action and body element, which must agree), not the URL alone (dpws.md 8.1).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from uuid import UUID

from lxml import etree

from postscan.contracts import schemas, wse
from postscan.contracts.metadata import (
    LARGE_METADATA,
    DeviceMetadata,
    Relationship,
    ThisDevice,
    ThisModel,
    write_metadata,
)
from postscan.contracts.metadata import HostedService as HostedEntry
from postscan.core.clock import SystemClock
from postscan.core.errors import ConfigurationError, FaultKind, FaultParty, InvalidArgument, PostscanError
from postscan.core.log import get_logger, log_context, new_correlation_id
from postscan.core.rates import BoundedLog
from postscan.dpws import publication
from postscan.dpws.attachments import Attachment, MtomStream
from postscan.dpws.discovery.answers import REQUESTS, Target, answer_to
from postscan.dpws.discovery.sequence import MessageCounter
from postscan.dpws.http.connection import ConnectionLost, Request
from postscan.dpws.http.messages import HttpRefused, Response
from postscan.dpws.service import Call, Caller, HostedService, Operation, OwnerOf
from postscan.soap.envelope import (
    LARGEST_ENVELOPE,
    Envelope,
    Headers,
    build_envelope,
    fault_headers,
    read_envelope,
    reply_headers,
    require_request,
    write_reply,
)
from postscan.soap.faults import fault_of, http_status_of, write_fault
from postscan.soap.mime import ContentType, parse_content_type
from postscan.soap.mtom import MtomLimits
from postscan.soap.names import WSA, WSD, WSDP, WSE, WXF, qname
from postscan.soap.xml import XmlLimits, parse, serialize
from postscan.soap.xop import find_stray_includes

_log = get_logger("dpws")
STABLE_ENDPOINT: Final = "/StableWSDiscoveryEndpoint/schemas-xmlsoap-org_ws_2005_04_discovery"
_GET: Final = f"{WXF}/Get"
_UNDERSTOOD: Final = frozenset({LARGE_METADATA})
# For what stands round the metadata in their envelope: headers, of which the peer's MessageID may be long.
_ADDRESSING_ROOM: Final = 4_096
_XML_TYPES: Final = frozenset({"application/soap+xml", "text/xml", "application/xml"})


class ActionNotSupported(PostscanError):
    """Nothing here answers this wsa:Action (ws-dsp.md, common error codes)."""

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSA, "ActionNotSupported"),
        "The [wsa:Action] cannot be processed at the receiver.",
    )


class ActionMismatch(PostscanError):
    """The wsa:Action and the body element do not belong together (abuse case 20)."""

    fault = FaultKind(
        FaultParty.SENDER,
        qname(WSA, "InvalidMessageInformationHeader"),
        "A message information header is not valid.",
    )


class DeviceFailed(PostscanError):
    """A defect of ours where no service is addressed whose namespace has a name for it (dpws.md, 3.7)."""

    fault = FaultKind(
        FaultParty.RECEIVER,
        qname(WSA, "EndpointUnavailable"),
        "The endpoint is unable to process the message at this time.",
    )


class BodyNotSoap(PostscanError):
    """The body is of a media type that cannot hold a SOAP message."""

    fault = FaultKind(FaultParty.SENDER, None, "The request is not a SOAP message.")


@dataclass(frozen=True)
class DeviceDescription:
    """What a device says of itself; ``types`` beyond wsdp:Device, ``address`` the one https address."""

    address: str
    device: ThisDevice
    model: ThisModel
    service_id: str
    types: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    metadata_version: int = 1


Observer = Callable[[str, str, float], None]


class _Exchange:
    """What is known of a request while it is answered, so that a fault can say what it relates to."""

    def __init__(self, caller: Caller, service: HostedService | None) -> None:
        self.caller = caller
        self.service = service
        self.headers: Headers | None = None
        self.stream: MtomStream | None = None

    @property
    def operation(self) -> str:
        """The last segment of the action, for logs and metrics."""
        return self.headers.action.rpartition("/")[2][:64] if self.headers else "unread"


class DeviceHost:
    """Serves one device; its :meth:`handle` is the handler of an HttpHost."""

    def __init__(
        self,
        description: DeviceDescription,
        *,
        path: str,
        owner_of: OwnerOf,
        instance_id: int,
        max_envelope_bytes: int = 262_144,
        observe: Observer | None = None,
    ) -> None:
        self.description = description
        self._path = path.rstrip("/")
        self._owner_of = owner_of
        # Discovery over UDP counts on: peers expect one order of all that a device sends.
        self.counter = MessageCounter(instance_id)
        self._xml_limits = XmlLimits(max_bytes=max_envelope_bytes)
        self._mtom_limits = MtomLimits(max_root_bytes=max_envelope_bytes)
        self._observe = observe
        self._services: dict[str, HostedService] = {}
        self._refusals = BoundedLog(_log, SystemClock())

    def add(self, service: HostedService) -> None:
        """Host a service."""
        self._services[str(service.identifier)] = service

    def address_of(self, identifier: UUID) -> str:
        """Return the address of a hosted service."""
        return f"{self.description.address}/{identifier}"

    @property
    def services(self) -> tuple[HostedService, ...]:
        """The hosted services."""
        return tuple(self._services.values())

    async def handle(self, request: Request) -> Response:
        """Answer one HTTP request; every failure becomes a fault that its sender can act on."""
        found, service = self._route(request.head.path)
        if not found:
            return Response(HTTPStatus.NOT_FOUND)
        if request.head.method != "POST":
            published = self._published(request, service)
            return published or Response(HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", "POST"),))
        exchange = _Exchange(Caller(request.peer, new_correlation_id()), service)
        began = time.monotonic()
        outcome = "ok"
        with log_context(request=exchange.caller.correlation_id, peer=request.peer.address):
            try:
                return await self._answer(request, exchange)
            except ConnectionLost:
                outcome = "lost"
                raise
            except HttpRefused as error:
                outcome = "refused"
                self._refusals.info(
                    request.peer.address, "request refused", status=int(error.status), why=str(error)
                )
                return self._fault(error, exchange, error.status)
            except PostscanError as error:
                outcome = "fault"
                self._refusals.info(
                    request.peer.address,
                    "request refused",
                    operation=exchange.operation,
                    why=str(error),
                    error=type(error).__name__,
                    detail=error.detail,
                )
                return self._fault(error, exchange)
            except Exception:
                outcome = "error"
                _log.exception("request failed", operation=exchange.operation)
                unexpected = PostscanError if exchange.service is not None else DeviceFailed
                return self._fault(unexpected("unexpected"), exchange)
            finally:
                if exchange.stream is not None:
                    exchange.stream.abort()
                if self._observe is not None:
                    self._observe(exchange.operation, outcome, time.monotonic() - began)

    # Routing -------------------------------------------------------------------------------------------

    def _route(self, path: str) -> tuple[bool, HostedService | None]:
        path = path.rstrip("/")
        if path in (self._path, STABLE_ENDPOINT):
            return True, None
        parent, _, segment = path.rpartition("/")
        service = self._services.get(segment.lower()) if parent == self._path else None
        return service is not None, service

    def _published(self, request: Request, service: HostedService | None) -> Response | None:
        if service is None or request.head.method not in ("GET", "HEAD"):
            return None
        query = request.head.target.partition("?")[2]
        return publication.answer_get(service, self.address_of(service.identifier), query)

    async def _answer(self, request: Request, exchange: _Exchange) -> Response:
        content_type = parse_content_type(request.head.headers.get("content-type", ""))
        root = await self._read_root(request, exchange, content_type)
        try:
            envelope = read_envelope(root, understood=_UNDERSTOOD)
        except PostscanError:
            exchange.headers = fault_headers(root)
            raise
        exchange.headers = envelope.headers
        require_request(envelope)
        self._validate(root)
        if envelope.body is None:
            body = await self._get(envelope, exchange)
        else:
            body = await self._dispatch(root, envelope, envelope.body, exchange)
        return body

    async def _read_root(
        self, request: Request, exchange: _Exchange, content_type: ContentType
    ) -> etree._Element:
        if content_type.type in _XML_TYPES:
            return parse(await request.body.read_all(self._xml_limits.max_bytes), self._xml_limits)
        if content_type.type != "multipart/related":
            raise HttpRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type {content_type.type}")
        service = exchange.service
        if service is None or service.open_sink is None:
            raise BodyNotSoap("no operation here takes an attachment")
        exchange.stream = MtomStream(
            request.body,
            content_type,
            service.open_sink,
            self._mtom_limits,
            # Whoever may not speak to the service at all gets nothing stored, be it for a moment.
            before_keeping=lambda: self._owner_of(exchange.caller),
        )
        return parse(await exchange.stream.root(), self._xml_limits)

    def _validate(self, root: etree._Element) -> None:
        try:
            schemas.validate(root)
        except InvalidArgument as error:
            if (error.detail or "").startswith(("wsa:", "soap:")):
                raise ActionMismatch(str(error), detail=error.detail) from error
            if error.detail == "wse:Expires":
                raise wse.InvalidExpirationTime(str(error), detail=error.detail) from error
            if (error.detail or "").startswith("wse:"):
                raise wse.InvalidMessage(str(error), detail=error.detail) from error
            raise

    async def _dispatch(
        self, root: etree._Element, envelope: Envelope, body: etree._Element, exchange: _Exchange
    ) -> Response:
        action = envelope.headers.action
        if action.startswith(f"{WSD}/"):
            return self._discover(envelope, body)
        service = exchange.service
        if service is not None and action in service.operations:
            return await self._operate(service.operations[action], root, envelope, body, exchange)
        if service is not None and service.events is not None and action.startswith(f"{WSE}/"):
            return await self._eventing(service, envelope, body, exchange)
        raise self._unsupported(action)

    @staticmethod
    def _unsupported(action: str) -> ActionNotSupported:
        return ActionNotSupported(f"action {action}", detail=action.rpartition("/")[2][:128] or action[:128])

    # Operations ----------------------------------------------------------------------------------------

    async def _operate(
        self,
        operation: Operation,
        root: etree._Element,
        envelope: Envelope,
        body: etree._Element,
        exchange: _Exchange,
    ) -> Response:
        if body.tag != operation.request:
            raise ActionMismatch(f"{operation.action} with {body.tag!s}", detail="wsa:Action")
        attachment: Attachment | None = None
        place: etree._Element | None = None
        service = exchange.service
        if operation.attachment_in is not None and service is not None and service.open_sink is not None:
            place = body.find(operation.attachment_in)
            if place is not None:
                attachment = Attachment(place, exchange.stream, service.open_sink)
        find_stray_includes(root, place)
        answer = await operation.operate(Call(envelope, body, exchange.caller, attachment))
        return self._reply(envelope, operation.response_action, answer)

    def _reply(self, envelope: Envelope, action: str, body: etree._Element | None) -> Response:
        return Response(HTTPStatus.OK, write_reply(envelope.headers, action, body))

    def _fault(self, error: PostscanError, exchange: _Exchange, status: HTTPStatus | None = None) -> Response:
        namespace = exchange.service.namespace if exchange.service is not None else WSA
        if exchange.service is None and isinstance(error, InvalidArgument):
            error = BodyNotSoap(str(error), detail=error.detail)
        fault = fault_of(error, namespace)
        return Response(
            status or http_status_of(fault),
            write_fault(fault, exchange.headers, correlation_id=exchange.caller.correlation_id),
        )

    # Discovery and metadata ----------------------------------------------------------------------------

    @property
    def types(self) -> tuple[str, ...]:
        """The WSD types Probes are matched with: the device's and those of its services (trap 15)."""
        hosted = tuple(t for s in self._services.values() for t in s.all_types)
        return (qname(WSDP, "Device"), *self.description.types, *hosted)

    @property
    def target(self) -> Target:
        """What discovery finds, over HTTP and UDP alike."""
        known = self.description
        return Target(known.address, self.types, known.scopes, known.metadata_version)

    def _discover(self, envelope: Envelope, body: etree._Element) -> Response:
        action = envelope.headers.action
        if action not in REQUESTS:
            raise self._unsupported(action)
        if body.tag != REQUESTS[action]:
            raise ActionMismatch(f"{action} with {body.tag!s}", detail="wsa:Action")
        answer = answer_to(body, self.target, (self.description.address,))
        headers = reply_headers(envelope.headers, answer.action)
        sequence = self.counter.next().to_element()
        whole = build_envelope(headers, answer.body, extra_headers=(sequence,))
        return Response(HTTPStatus.OK, serialize(whole))

    async def _get(self, envelope: Envelope, exchange: _Exchange) -> Response:
        action = envelope.headers.action
        service = exchange.service
        if action != _GET:
            if service is not None and action in service.operations:
                raise InvalidArgument("the body is empty", detail="soap:Body")
            raise self._unsupported(action)
        answer = self._reply(envelope, f"{_GET}Response", self._about(service, whole=True))
        takes_large = any(header.tag == LARGE_METADATA for header in envelope.headers.others)
        if len(answer.body) > LARGEST_ENVELOPE and not takes_large:
            answer = self._reply(envelope, f"{_GET}Response", self._about(service, whole=False))
        return answer

    def _about(self, service: HostedService | None, *, whole: bool) -> etree._Element:
        if service is None:
            return self.metadata(whole=whole)
        return publication.service_metadata(service, self.address_of(service.identifier), whole=whole)

    def metadata(self, *, whole: bool = True) -> etree._Element:
        """Return the device's metadata (dpws.md 2.2).

        :param whole: False leaves the hosted services out, which is what a peer gets that has not said it
            takes more than fits one envelope of WSDAPI ([MS-DPWSSN]; dpws.md 2.3).
        """
        known = self.description
        host = HostedEntry(
            addresses=(known.address,),
            types=(qname(WSDP, "Device"), *known.types),
            service_id=known.service_id,
        )
        hosted = tuple(
            HostedEntry(
                addresses=(self.address_of(s.identifier),), types=s.all_types, service_id=s.service_id
            )
            for s in self._services.values()
        )
        relation = Relationship(host, hosted if whole else ())
        return write_metadata(DeviceMetadata(known.device, known.model, relation))

    def check_metadata(self) -> None:
        """Check that every peer can be answered. :raises ConfigurationError: the texts are too many."""
        size = len(serialize(self.metadata(whole=False)))
        if size > LARGEST_ENVELOPE - _ADDRESSING_ROOM:
            raise ConfigurationError(
                f"the server's metadata take {size} octets, and WSDAPI reads at most {LARGEST_ENVELOPE}",
                advice="Shorten or remove names and addresses under [server] in the settings.",
            )

    # Eventing ------------------------------------------------------------------------------------------

    async def _eventing(
        self, service: HostedService, envelope: Envelope, body: etree._Element, exchange: _Exchange
    ) -> Response:
        events = service.events
        action = envelope.headers.action
        name = action.rpartition("/")[2]
        if events is None or name not in ("Subscribe", "Renew", "GetStatus", "Unsubscribe"):
            raise self._unsupported(action)
        if body.tag != qname(WSE, name):
            raise ActionMismatch(f"{action} with {body.tag!s}", detail="wsa:Action")
        owner = await (service.owner_of or self._owner_of)(exchange.caller)
        identifier = _identifier_of(envelope)
        answer: etree._Element | None = None
        if name == "Subscribe":
            request = wse.Subscribe.from_element(body)
            answer = (await events.subscribe(request, owner, exchange.caller.peer)).to_element()
        elif name == "Renew":
            expires = events.renew(identifier, wse.Renew.from_element(body).expires, owner)
            await events.stored()
            answer = wse.RenewResponse(expires).to_element()
        elif name == "GetStatus":
            answer = wse.GetStatusResponse(events.status(identifier, owner)).to_element()
        else:
            events.unsubscribe(identifier, owner)
            await events.stored()
        return self._reply(envelope, f"{action}Response", answer)


def _identifier_of(envelope: Envelope) -> str | None:
    for header in envelope.headers.others:
        if header.tag == qname(WSE, "Identifier"):
            return (header.text or "").strip()
    return None
