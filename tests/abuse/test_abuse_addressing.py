"""Abuse cases 16 and 20, and messages that are no request of ours: addressing on the wire."""

import pytest

from postscan.core.errors import FaultParty
from postscan.soap.names import ANONYMOUS, ANONYMOUS_2005, DSC, DSP, SOAP, SOAP11, WSA, WSD, WSE, WXF, qname
from support.scanning import Site
from support.wire import (
    SOAP_TYPE,
    canary,
    envelope,
    frame,
    image_part,
    job_request,
    mtom_type,
    new_id,
    reply_to,
    root_part,
    send_image,
    wire,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


# Case 16 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["ReplyTo", "FaultTo"])
@pytest.mark.parametrize(
    "address",
    [
        "{canary}",
        "https://127.0.0.1:{port}/",
        "soap.tcp://127.0.0.1:{port}",
        "urn:uuid:1",
        f"{WSA}/role/none",
    ],
)
async def test_case_16_an_answer_goes_nowhere_but_back(site: Site, header: str, address: str) -> None:
    """ReplyTo and FaultTo that are not anonymous: a fault on the same connection, and no other connection."""
    async with canary() as bird, wire(site) as peer:
        message_id = new_id()
        elsewhere = reply_to(address.format(canary=bird.url, port=bird.port), header)
        for request in (
            job_request("EndPostScanJob", "t", headers=elsewhere, message_id=message_id),
            envelope(f"{WSD}/Probe", "<wsd:Probe/>", headers=elsewhere, message_id=message_id),
            envelope(f"{WXF}/Get", headers=elsewhere, message_id=message_id),
        ):
            path = None if b"EndPostScanJob" in request else "/ScanServer"
            answer = await peer.post(request, path=path)
            assert answer.status == 400
            assert answer.fault.subcode == qname(WSA, "InvalidMessageInformationHeader")
            assert answer.detail == f"wsa:{header}"
            assert answer.envelope.headers.relates_to == message_id
        assert await peer.works()


@pytest.mark.parametrize("address", [ANONYMOUS, ANONYMOUS_2005, f"\n {ANONYMOUS}\n"])
async def test_case_16_anonymous_addresses_are_answered(site: Site, address: str) -> None:
    async with wire(site) as peer:
        headers = reply_to(address) + reply_to(address, "FaultTo")
        answer = await peer.post(
            envelope(f"{WSD}/Probe", "<wsd:Probe/>", headers=headers), path="/ScanServer"
        )
        assert answer.status == 200


# Case 20 --------------------------------------------------------------------------------------------------

OPERATIONS = [
    "CreatePostScanJob",
    "EndPostScanJob",
    "CancelPostScanJob",
    "GetPostScanJobElements",
    "SendImage",
]


@pytest.mark.parametrize("action", OPERATIONS)
async def test_case_20_an_action_that_is_not_the_bodys_does_nothing(site: Site, action: str) -> None:
    """Whatever the action says of a Cancel, the job is not canceled, nor is it ended."""
    async with wire(site) as peer:
        token = await peer.create()
        bodies = {name: job_request(name, token) for name in ("EndPostScanJob", "CancelPostScanJob")}
        for name, message in bodies.items():
            if name == action:
                continue
            forged = message.replace(f"{DSP}/{name}<".encode(), f"{DSP}/{action}<".encode())
            answer = await peer.post(forged)
            assert answer.status == 400
            assert answer.fault.subcode == qname(WSA, "InvalidMessageInformationHeader")
            assert answer.detail == "wsa:Action"
        assert site.server is not None
        assert (await site.server.engine.job(token, None)).state == "Creating"


@pytest.mark.parametrize(
    "action", [f"{WSD}/Probe", f"{WSD}/Resolve", f"{WSE}/Subscribe", f"{WSE}/Unsubscribe"]
)
async def test_case_20_an_action_of_another_room_with_our_body_is_refused(site: Site, action: str) -> None:
    async with wire(site) as peer:
        message = job_request("EndPostScanJob", "t").replace(
            f"{DSP}/EndPostScanJob<".encode(), f"{action}<".encode()
        )
        answer = await peer.post(message)
        assert (answer.status, answer.subcode) == (400, "InvalidMessageInformationHeader")


async def test_case_20_a_soap_action_in_http_decides_nothing(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        answer = await peer.post(
            job_request("EndPostScanJob", token),
            f'{SOAP_TYPE}; action="{DSP}/CancelPostScanJob"',
            f'SOAPAction: "{DSP}/CancelPostScanJob"',
        )
        # The message was an End, and the job has no images.
        assert answer.subcode == "OperationFailed"


@pytest.mark.parametrize(
    "action",
    [f"{DSP}/Nonsense", f"{DSC}/GetRepositoryElements", f"{DSP}/SendImageResponse", "urn:x", f"{WXF}/Put"],
)
@pytest.mark.parametrize("path", [None, "/ScanServer"])
async def test_an_unknown_action_is_named_in_the_fault(site: Site, action: str, path: str | None) -> None:
    async with wire(site) as peer:
        answer = await peer.post(envelope(action, "<dsp:EndPostScanJobResponse/>"), path=path)
        assert answer.status == 400
        assert answer.fault.subcode == qname(WSA, "ActionNotSupported")


async def test_an_operation_with_an_empty_body_is_refused(site: Site) -> None:
    async with wire(site) as peer:
        answer = await peer.post(envelope(f"{DSP}/CreatePostScanJob"))
        assert (answer.subcode, answer.detail) == ("InvalidArgs", "soap:Body")


# What is not a request of ours ----------------------------------------------------------------------------


@pytest.mark.parametrize("truth", ["1", "true"])
async def test_a_header_that_must_be_understood_and_is_not_stops_the_message(site: Site, truth: str) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        headers = f'<x:Secret xmlns:x="urn:x" soap:mustUnderstand="{truth}"/>'
        answer = await peer.post(job_request("CancelPostScanJob", token, headers=headers))
        assert answer.status == 500
        assert answer.fault.party is FaultParty.MUST_UNDERSTAND
        assert b"NotUnderstood" in answer.body
        assert site.server is not None
        assert (await site.server.engine.job(token, None)).state == "Creating"


async def test_a_header_that_need_not_be_understood_is_read_over(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        headers = '<x:Secret xmlns:x="urn:x" soap:mustUnderstand="0"><x:y/></x:Secret>'
        assert (await peer.post(job_request("CancelPostScanJob", token, headers=headers))).status == 200


@pytest.mark.parametrize("content_type", ["text/xml; charset=utf-8", SOAP_TYPE])
async def test_soap_1_1_is_told_which_version_is_spoken(site: Site, content_type: str) -> None:
    message = job_request("EndPostScanJob", "t").replace(SOAP.encode(), SOAP11.encode())
    async with wire(site) as peer:
        answer = await peer.post(message, content_type)
        assert answer.status == 500
        assert answer.fault.party is FaultParty.VERSION_MISMATCH
        assert b"SupportedEnvelope" in answer.body
        packed = await peer.post(frame(root_part(message), image_part(b"x")), mtom_type())
        assert packed.fault.party is FaultParty.VERSION_MISMATCH
        assert await peer.works()


@pytest.mark.parametrize(
    "message",
    [
        b"<html><body>hello</body></html>",
        f'<soap:Envelope xmlns:soap="{SOAP}"/>'.encode(),
        f'<soap:Envelope xmlns:soap="{SOAP}"><soap:Body/></soap:Envelope>'.encode(),
        f'<soap:Envelope xmlns:soap="{SOAP}">{"<soap:Header/>" * 2}<soap:Body/></soap:Envelope>'.encode(),
        job_request("EndPostScanJob", "t").replace(b"wsa:MessageID", b"wsa:Nothing"),
        job_request("EndPostScanJob", "t").replace(b"wsa:Action", b"wsa:Nothing"),
        envelope(f"{DSP}/EndPostScanJob", "<dsp:EndPostScanJobRequest/><dsp:EndPostScanJobRequest/>"),
    ],
    ids=["HTML", "no body", "no action", "two headers", "no message id", "no action header", "two bodies"],
)
async def test_what_is_no_request_is_refused_with_a_fault(site: Site, message: bytes) -> None:
    async with wire(site) as peer:
        answer = await peer.post(message)
        assert answer.status == 400
        assert answer.fault.party is FaultParty.SENDER
        assert await peer.works()


async def test_a_fault_and_an_answer_name_the_message_they_answer(site: Site) -> None:
    async with wire(site) as peer:
        for message_id in ("uuid:UniqueMsgId", new_id(), "urn:x:y", "http://a.example/1"):
            answer = await peer.post(job_request("EndPostScanJob", "t", message_id=message_id))
            assert answer.envelope.headers.relates_to == message_id
            assert answer.envelope.headers.action == f"{WSA}/fault"


async def test_nothing_of_this_made_a_job_end(site: Site) -> None:
    """What the tests before have left is open or canceled; no forged message did anything else."""
    assert site.server is not None
    states = {job.state for job in await site.server.engine.jobs(limit=1_000)}
    assert states <= {"Creating", "Canceled"}
    async with wire(site) as peer:
        answer = await peer.post(frame(root_part(send_image("t")), image_part(b"x")), mtom_type())
        assert answer.subcode == "ClientErrorJobTokenNotFound"
