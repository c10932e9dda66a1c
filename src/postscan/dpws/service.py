"""What a hosted service is to the host: addresses, types, operations, and the call an operation gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from lxml import etree

from postscan.dpws.http.messages import Peer
from postscan.soap.envelope import Envelope
from postscan.soap.names import qname

if TYPE_CHECKING:
    from postscan.dpws.attachments import Attachment, AttachmentSink
    from postscan.dpws.eventing import EventSource


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as far as the connection tells; ``correlation_id`` ties log lines to the answer."""

    peer: Peer
    correlation_id: str


@dataclass(frozen=True)
class Call:
    """One call of an operation: the envelope, its body's only element, and who called."""

    envelope: Envelope
    message: etree._Element
    caller: Caller
    attachment: Attachment | None = None


Operate = Callable[[Call], Awaitable[etree._Element | None]]
OwnerOf = Callable[[Caller], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: Action and body element must both be these (abuse case 20).

    ``attachment_in`` is the Clark name of the one element that may hold an xop:Include (or base64).
    """

    action: str
    request: str
    response_action: str
    operate: Operate
    attachment_in: str | None = None


@dataclass(frozen=True)
class HostedService:
    """A service of a device: its path segment, WSD types, operations and events.

    The first of ``types`` is the port type of its WSDL; ``notifications`` are the actions of its events.
    ``owner_of`` tells who subscribes to them; None leaves that to the host.
    """

    identifier: UUID
    types: tuple[str, ...]
    service_id: str
    namespace: str
    operations: Mapping[str, Operation]
    events: EventSource | None = None
    notifications: tuple[str, ...] = ()
    open_sink: Callable[[], AttachmentSink] | None = None
    owner_of: OwnerOf | None = None
    extra_types: tuple[str, ...] = field(default=())

    @property
    def all_types(self) -> tuple[str, ...]:
        """The service's own types and those the settings add."""
        return self.types + self.extra_types


def operations(namespace: str, *entries: tuple[str, Operate]) -> dict[str, Operation]:
    """Return operations by action for a namespace whose actions and elements follow the usual pattern.

    ``<namespace>/<Name>`` is answered with ``<namespace>/<Name>Response``; the request element is
    ``<Name>Request`` (spec README, Constants).
    """
    table = {}
    for name, operate in entries:
        action = f"{namespace}/{name}"
        table[action] = Operation(action, qname(namespace, f"{name}Request"), f"{action}Response", operate)
    return table
