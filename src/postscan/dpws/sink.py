"""An event sink: a small HTTP listener that only its own subscriptions can reach."""

from __future__ import annotations

import asyncio
import hmac
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Generic, TypeVar

from lxml import etree

from postscan.contracts import schemas, wse
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.dpws.http.connection import Request
from postscan.dpws.http.limits import HttpLimits
from postscan.dpws.http.messages import Response
from postscan.dpws.http.server import HttpHost
from postscan.soap.envelope import EndpointReference, read_envelope
from postscan.soap.names import WSE, qname
from postscan.soap.xml import ENVELOPE_LIMITS, parse

_log = get_logger("sink")
_CONNECT_SECONDS: Final = 5.0
_IDENTIFIER: Final = qname(WSE, "Identifier")
_MOST_WAITING: Final = 1_000
_E = TypeVar("_E")


@dataclass(frozen=True, slots=True)
class SubscriptionEnded:
    """The source will send no more events; ``status`` is the last segment of the wse:Status URI.

    ``manager`` tells which subscription it is about: it may be one that was replaced meanwhile.
    """

    status: str
    manager: EndpointReference | None = field(default=None, compare=False)


def address_towards(host: str, port: int) -> str:
    """Return this machine's address as ``host`` sees it, found by connecting; blocks.

    :raises OSError: nobody accepts a connection there.
    """
    with socket.create_connection((host, port), timeout=_CONNECT_SECONDS) as probe:
        return str(probe.getsockname()[0])


class EventSink(Generic[_E]):
    """Receives events into :attr:`events`.

    :param read: makes an event of a message's body (schema-valid); None for one of an unknown kind, which
        is taken and passed over. May raise InvalidArgument.
    """

    def __init__(self, read: Callable[[etree._Element], _E | None]) -> None:
        self.events: asyncio.Queue[_E | SubscriptionEnded] = asyncio.Queue(_MOST_WAITING)
        self._read = read
        self._secret = f"urn:uuid:{uuid.uuid4()}"
        self._host = HttpHost(self._handle, HttpLimits(max_body_bytes=ENVELOPE_LIMITS.max_bytes))

    async def start(self, address: str) -> EndpointReference:
        """Listen on ``address``, any port; return the endpoint to subscribe with. Raises OSError."""
        ((_, port),) = await self._host.listen(address, 0)
        identifier = etree.Element(_IDENTIFIER, nsmap={"wse": WSE})
        identifier.text = self._secret
        literal = f"[{address}]" if ":" in address else address
        return EndpointReference(f"http://{literal}:{port}/{uuid.uuid4()}", (identifier,))

    async def stop(self) -> None:
        """Stop listening."""
        await self._host.stop()

    async def _handle(self, request: Request) -> Response:
        if request.head.method != "POST":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", "POST"),))
        try:
            root = parse(await request.body.read_all(ENVELOPE_LIMITS.max_bytes))
            envelope = read_envelope(root)
            schemas.validate(root)
            given = next((h.text or "" for h in envelope.headers.others if h.tag == _IDENTIFIER), "")
            if not hmac.compare_digest(given.strip().encode(), self._secret.encode()):
                _log.warning("event without our identifier dropped", peer=request.peer.address)
                return Response(HTTPStatus.FORBIDDEN)
            event = self._event_of(envelope.body)
        except PostscanError as error:
            _log.warning("unreadable event dropped", peer=request.peer.address, why=str(error))
            return Response(HTTPStatus.BAD_REQUEST)
        if event is not None:
            if self.events.full():
                return Response(HTTPStatus.SERVICE_UNAVAILABLE)
            self.events.put_nowait(event)
        return Response(HTTPStatus.ACCEPTED)

    def _event_of(self, body: etree._Element | None) -> _E | SubscriptionEnded | None:
        if body is None:
            return None
        if body.tag == qname(WSE, "SubscriptionEnd"):
            end = wse.SubscriptionEnd.from_element(body)
            return SubscriptionEnded((end.status or "").rpartition("/")[2], end.manager)
        return self._read(body)
