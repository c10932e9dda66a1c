"""What the clients of all hosted services share: finding the service, asking it, subscribing to events."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import ClassVar, Final, Self, TypeVar
from urllib.parse import urlsplit

from lxml import etree

from postscan.contracts import schemas, wsd, wse
from postscan.contracts.metadata import DeviceMetadata, large_metadata_header, read_metadata, service_in
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.dpws.certificate_pin import CertificatePin, require_pin
from postscan.dpws.client import NotSoap, RemoteFault, SoapClient, Unreachable
from postscan.soap.envelope import EndpointReference, Envelope
from postscan.soap.names import WSDP, WSE, WSX, WXF, qname

_log = get_logger("client")
_T = TypeVar("_T")
_TEMPORARY: Final = frozenset({"ServerErrorTemporaryError", "OutOfDiskSpace"})


class NoService(PostscanError):
    """What answers at the address is not a scan server with the service that was sought."""

    advice = "Check the address: it is like https://scan.example.com:5362/ScanServer."
    exit_code = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client tries again before it tells its user: one more try after each pause (seconds).

    What has to do with a job gets all pauses, enough for a server to be started again; the first contact
    gets the first ``finding`` of them, because a person waits and the address may be wrong.
    """

    pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    finding: int = 2


RetryListener = Callable[[PostscanError, float], None]


class ServiceClient:
    """One hosted service of a scan server; its subclasses know which.

    :param pin: the server's certificate, where its hash is known; no other is spoken to (``tls`` keeps it).
    :param on_retry: is told each failure that is tried again, and after how many seconds.
    """

    namespace: ClassVar[str]
    service_name: ClassVar[str]

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        patience: Patience | None = None,
        on_retry: RetryListener | None = None,
        pin: CertificatePin | None = None,
    ) -> None:
        if pin is not None:
            if tls is None:
                raise ValueError("without TLS there is no certificate to compare")
            require_pin(tls, pin)
        self.url = url
        self._client = SoapClient(tls=tls)
        self._patience = patience or Patience()
        self._on_retry = on_retry
        self._service: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    def advice_on(self, fault: RemoteFault) -> str:
        """Return what a person can do about a fault; empty when nothing is known that helps."""
        return ""

    # Finding -------------------------------------------------------------------------------------------

    async def probe(self) -> str:
        """Ask the server by directed Probe; return the address of its metadata (dpws.md 1.2).

        :raises NoService: no match. :raises Unreachable, Untrusted: it cannot be reached.
        """
        probe = wsd.Probe(types=(qname(WSDP, "Device"),)).to_element()
        answer = await self._again(
            lambda: self._client.call(self.url, wsd.PROBE_ACTION, probe, to=wsd.DISCOVERY_TO),
            self._patience.pauses[: self._patience.finding],
        )
        matches = wsd.ProbeMatches.from_element(body_of(answer, "ProbeMatches")).matches
        if not matches:
            raise NoService(f"{self.url} knows no device of that kind")
        xaddrs = matches[0].xaddrs
        if not xaddrs:
            return await self._resolve(matches[0].endpoint)
        return self._own(xaddrs[0])

    async def _resolve(self, endpoint: EndpointReference) -> str:
        answer = await self._client.call(
            self.url, wsd.RESOLVE_ACTION, wsd.Resolve(endpoint).to_element(), to=wsd.DISCOVERY_TO
        )
        match = wsd.ResolveMatches.from_element(body_of(answer, "ResolveMatches")).match
        if match is None or not match.xaddrs:
            raise NoService(f"{self.url} gives no address for {endpoint.address}")
        return self._own(match.xaddrs[0])

    async def metadata(self, xaddr: str) -> DeviceMetadata:
        """Get the metadata of the device at ``xaddr``."""
        header = large_metadata_header()
        answer = await self._again(lambda: self._client.call(xaddr, f"{WXF}/Get", None, parameters=(header,)))
        if answer.body is None or answer.body.tag != qname(WSX, "Metadata"):
            raise NotSoap(f"{xaddr} answers Get with something else")
        return read_metadata(answer.body)

    async def find(self) -> str:
        """Probe, Get, and return the address of the service; cached."""
        if self._service is None:
            metadata = await self.metadata(await self.probe())
            service = service_in(self.namespace, metadata)
            if service is None:
                raise NoService(f"{self.url} hosts no {self.service_name} service")
            self._service = self._own(service.addresses[0])
        return self._service

    def forget(self) -> None:
        """Find the service anew when it is next needed: a server may have been set up again."""
        self._service = None

    def _own(self, address: str) -> str:
        """Return ``address`` if it is on the host that was asked, which the certificate was checked for."""
        asked, given = urlsplit(self.url), urlsplit(address)
        if (given.scheme, given.hostname) != (asked.scheme, asked.hostname):
            raise NoService(
                f"{self.url} points to another host: {address}",
                advice="Use the server's own name, the one its settings call fqdn.",
            )
        return address

    # Events --------------------------------------------------------------------------------------------

    async def _subscribe(
        self,
        sink: EndpointReference,
        expires: timedelta,
        actions: tuple[str, ...],
        *,
        pauses: tuple[float, ...] | None = None,
    ) -> wse.SubscribeResponse:
        request = wse.Subscribe(
            notify_to=sink,
            end_to=sink,
            mode=f"{WSE}/DeliveryModes/Push",
            expires=wse.Expires(duration=expires),
            filter_dialect=f"{WSDP}/Action",
            filter_actions=actions,
        )
        service = await self.find()
        answer = await self._again(
            lambda: self._client.call(service, f"{WSE}/Subscribe", request.to_element()), pauses
        )
        return wse.SubscribeResponse.from_element(body_of(answer, "SubscribeResponse"))

    async def renew(self, manager: EndpointReference, expires: timedelta) -> timedelta:
        """Give a subscription more time; return how much it has.

        :raises RemoteFault: UnableToRenew when the subscription is gone.
        """
        request = wse.Renew(wse.Expires(duration=expires)).to_element()
        answer = await self._client.call(
            self._own(manager.address), f"{WSE}/Renew", request, parameters=manager.parameters
        )
        return wse.RenewResponse.from_element(body_of(answer, "RenewResponse")).expires or expires

    async def unsubscribe(self, manager: EndpointReference) -> None:
        """End a subscription."""
        await self._client.call(
            self._own(manager.address),
            f"{WSE}/Unsubscribe",
            wse.Unsubscribe().to_element(),
            parameters=manager.parameters,
        )

    # Inside --------------------------------------------------------------------------------------------

    async def _operate(
        self, name: str, request: etree._Element, message_id: str | None = None
    ) -> etree._Element:
        service = await self.find()
        schemas.validate(request)
        answer = await self._again(
            lambda: self._client.call(service, f"{self.namespace}/{name}", request, message_id=message_id)
        )
        return body_of(answer, f"{name}Response")

    async def _again(
        self, attempt: Callable[[], Awaitable[_T]], pauses: tuple[float, ...] | None = None
    ) -> _T:
        """Try until it works, a retry cannot help, or patience ends."""
        left = list(self._patience.pauses if pauses is None else pauses)
        while True:
            try:
                return await attempt()
            except (Unreachable, RemoteFault) as error:
                if isinstance(error, RemoteFault):
                    error.what_to_do = self.advice_on(error)
                    helps = error.subcode in _TEMPORARY
                else:
                    helps = error.retry_helps
                if not helps or not left:
                    raise
                failure = error
            pause = left.pop(0)
            _log.debug("trying again", why=str(failure), pause=pause)
            if self._on_retry is not None:
                self._on_retry(failure, pause)
            await asyncio.sleep(pause)


def body_of(answer: Envelope, local: str) -> etree._Element:
    """Return the body's element, which must have this local name; raises NotSoap."""
    body = answer.body
    if body is None or etree.QName(body).localname != local:
        found = "nothing" if body is None else str(body.tag)
        raise NotSoap(f"expected {local}, got {found}")
    return body
