"""The client of WS-DSP: finds the service at a scan server, creates jobs, sends images."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from lxml import etree

from postscan.contracts import dsp, wse
from postscan.contracts.formats import media_type_of
from postscan.contracts.keywords import DocumentFormat
from postscan.device.refusals import advice_on
from postscan.directory.model import StoredProcess
from postscan.dpws.certificate_pin import CertificatePin
from postscan.dpws.client import NotSoap, RemoteFault, Upload
from postscan.dpws.service_client import NoService, Patience, RetryListener, ServiceClient
from postscan.dpws.tls import client_context
from postscan.soap.envelope import EndpointReference, new_message_id
from postscan.soap.names import DSP, XOP, qname

__all__ = [
    "CertificatePin",
    "NoService",
    "Patience",
    "RetryListener",
    "ScanServerClient",
    "client_context",
    "send_image_request",
]


class ScanServerClient(ServiceClient):
    """One scan server, as a device sees it."""

    namespace: ClassVar[str] = DSP
    service_name: ClassVar[str] = "WS-DSP"

    def advice_on(self, fault: RemoteFault) -> str:
        """Return what a device's user can do about a fault."""
        return advice_on(fault)

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

    async def subscribe(
        self, sink: EndpointReference, expires: timedelta, *, once: bool = False
    ) -> wse.SubscribeResponse:
        """Subscribe to both events; ``once`` does not try again, and tells nobody of a failure but us."""
        actions = (f"{DSP}/PostScanJobStatusEvent", f"{DSP}/PostScanJobEndStateEvent")
        return await self._subscribe(sink, expires, actions, pauses=() if once else None)


def send_image_request(
    token: str, document_id: int, image_format: DocumentFormat | str, content_id: str
) -> etree._Element:
    """Return a SendImageRequest whose ImageData includes the part ``content_id``."""
    image = etree.Element(qname(DSP, "ImageData"), nsmap={"xop": XOP})
    etree.SubElement(image, qname(XOP, "Include"), href=f"cid:{content_id}")
    description = dsp.DocumentDescription(document_id=document_id, format=image_format)
    return dsp.SendImageRequest(job_token=token, description=description, image=image).to_element()
