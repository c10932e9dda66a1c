"""The client of WS-DSP: finds the service at a scan server, creates jobs, sends images."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from lxml import etree

from postscan.contracts import dsp, schemas, wsd, wse
from postscan.contracts.formats import media_type_of
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.metadata import DeviceMetadata, read_metadata, service_in
from postscan.core.errors import PostscanError
from postscan.core.log import get_logger
from postscan.device.refusals import advice_on
from postscan.device.tls import client_context
from postscan.directory.model import StoredProcess
from postscan.dpws.client import NotSoap, RemoteFault, SoapClient, Unreachable, Upload
from postscan.soap.envelope import EndpointReference, Envelope, new_message_id
from postscan.soap.names import DSP, WSDP, WSE, WSX, WXF, XOP, qname

__all__ = [
    "NoService",
    "Patience",
    "ScanServerClient",
    "client_context",
    "send_image_request",
]

_log = get_logger("device")
_T = TypeVar("_T")
_TEMPORARY: Final = frozenset({"ServerErrorTemporaryError", "OutOfDiskSpace"})


class NoService(PostscanError):
    """What answers at the address is not a scan server with WS-DSP."""

    advice = "Check the address: it is like https://scan.example.com:5362/ScanServer."
    exit_code = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a device tries again before it tells its user: one more try after each pause (seconds).

    What has to do with a job gets all pauses, enough for a server to be started again; the first contact
    gets the first ``finding`` of them, because a person waits and the address may be wrong.
    """

    pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    finding: int = 2


RetryListener = Callable[[PostscanError, float], None]


class ScanServerClient:
    """One scan server, as a device sees it.

    :param on_retry: is told each failure that is tried again, and after how many seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        patience: Patience | None = None,
        on_retry: RetryListener | None = None,
    ) -> None:
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
        matches = wsd.ProbeMatches.from_element(_body(answer, "ProbeMatches")).matches
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
        match = wsd.ResolveMatches.from_element(_body(answer, "ResolveMatches")).match
        if match is None or not match.xaddrs:
            raise NoService(f"{self.url} gives no address for {endpoint.address}")
        return self._own(match.xaddrs[0])

    async def metadata(self, xaddr: str) -> DeviceMetadata:
        """Get the metadata of the device at ``xaddr``."""
        answer = await self._again(lambda: self._client.call(xaddr, f"{WXF}/Get", None))
        if answer.body is None or answer.body.tag != qname(WSX, "Metadata"):
            raise NotSoap(f"{xaddr} answers Get with something else")
        return read_metadata(answer.body)

    async def find(self) -> str:
        """Probe, Get, and return the address of WS-DSP; cached."""
        if self._service is None:
            metadata = await self.metadata(await self.probe())
            service = service_in(DSP, metadata)
            if service is None:
                raise NoService(f"{self.url} hosts no WS-DSP service")
            self._service = self._own(service.addresses[0])
        return self._service

    def _own(self, address: str) -> str:
        """Return ``address`` if it is on the host that was asked, which the certificate was checked for."""
        asked, given = urlsplit(self.url), urlsplit(address)
        if (given.scheme, given.hostname) != (asked.scheme, asked.hostname):
            raise NoService(
                f"{self.url} points to another host: {address}",
                advice="Use the server's own name, the one its settings call fqdn.",
            )
        return address

    # Jobs ----------------------------------------------------------------------------------------------

    async def create(self, process: StoredProcess, sid: str) -> str:
        """Create a job from a scan process for the user ``sid``; return its token."""
        request = dsp.CreatePostScanJobRequest.for_process(
            user_identifier=sid,
            psp_identifier=str(process.identifier).upper(),
            instructions=process.process.instructions_element,
        )
        # One MessageID for all attempts: a server that did create the job answers with the same token.
        answer = await self._operate("CreatePostScanJob", request.to_element(), new_message_id())
        return dsp.CreatePostScanJobResponse.from_element(answer).job_token

    async def send_image(
        self, token: str, document_id: int, image_format: DocumentFormat, data: bytes | Path
    ) -> None:
        """Send one image; repeated after a broken connection, which is safe: the DocumentId is the same."""
        service = await self.find()

        def make(content_id: str) -> etree._Element:
            return send_image_request(token, document_id, image_format, content_id)

        upload = Upload(data, media_type_of(image_format))
        await self._again(lambda: self._client.upload(service, f"{DSP}/SendImage", make, upload))

    async def end(self, token: str) -> None:
        """Tell the server that the last image was sent."""
        await self._operate("EndPostScanJob", dsp.EndPostScanJobRequest(job_token=token).to_element())

    async def cancel(self, token: str) -> None:
        """Cancel a job, best effort."""
        await self._operate("CancelPostScanJob", dsp.CancelPostScanJobRequest(job_token=token).to_element())

    async def status(self, token: str) -> dsp.JobStatus:
        """Return where a job stands."""
        request = dsp.GetPostScanJobElementsRequest(job_token=token, names=(dsp.JOB_STATUS,))
        answer = await self._operate("GetPostScanJobElements", request.to_element())
        elements = dsp.GetPostScanJobElementsResponse.from_element(answer).elements
        if not elements or elements[0].status is None:
            raise NotSoap("the answer holds no JobStatus")
        return elements[0].status

    # Events --------------------------------------------------------------------------------------------

    async def subscribe(self, sink: EndpointReference, expires: timedelta) -> EndpointReference:
        """Subscribe to both events; return the subscription's manager."""
        request = wse.Subscribe(
            notify_to=sink,
            end_to=sink,
            mode=f"{WSE}/DeliveryModes/Push",
            expires=wse.Expires(duration=expires),
            filter_dialect=f"{WSDP}/Action",
            filter_actions=(f"{DSP}/PostScanJobStatusEvent", f"{DSP}/PostScanJobEndStateEvent"),
        )
        service = await self.find()
        answer = await self._again(
            lambda: self._client.call(service, f"{WSE}/Subscribe", request.to_element())
        )
        return wse.SubscribeResponse.from_element(_body(answer, "SubscribeResponse")).manager

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
            lambda: self._client.call(service, f"{DSP}/{name}", request, message_id=message_id)
        )
        return _body(answer, f"{name}Response")

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
                    error.what_to_do = advice_on(error)
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


def send_image_request(
    token: str, document_id: int, image_format: DocumentFormat | str, content_id: str
) -> etree._Element:
    """Return a SendImageRequest whose ImageData includes the part ``content_id``."""
    image = etree.Element(qname(DSP, "ImageData"), nsmap={"xop": XOP})
    etree.SubElement(image, qname(XOP, "Include"), href=f"cid:{content_id}")
    description = dsp.DocumentDescription(document_id=document_id, format=image_format)
    return dsp.SendImageRequest(job_token=token, description=description, image=image).to_element()


def _body(answer: Envelope, local: str) -> etree._Element:
    body = answer.body
    if body is None or etree.QName(body).localname != local:
        found = "nothing" if body is None else str(body.tag)
        raise NotSoap(f"expected {local}, got {found}")
    return body
