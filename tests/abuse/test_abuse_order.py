"""Calls in the wrong order, and calls made twice: each gets the fault that says so."""

import asyncio

import pytest

from postscan.contracts.keywords import JobState
from support.scanning import Site, jpeg
from support.wire import Wire, elements_request, images_of, job_request, mtom_type, upload, wire

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def until(site: Site, token: str, state: JobState) -> None:
    assert site.server is not None
    async with asyncio.timeout(10):
        while (await site.server.engine.job(token, None)).state is not state:
            await asyncio.sleep(0.005)


async def call(peer: Wire, operation: str, token: str) -> str:
    answer = await peer.post(job_request(operation, token))
    return "ok" if answer.status == 200 else answer.subcode


async def test_an_image_after_the_end_is_refused(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        await peer.upload(token, jpeg(1))
        assert await call(peer, "EndPostScanJob", token) == "ok"
        answer = await peer.upload(token, jpeg(2), document_id=2)
        assert (answer.status, answer.subcode) == (500, "OperationFailed")
        await until(site, token, JobState.COMPLETED)
        assert await images_of(site, token) == 1


async def test_the_end_told_twice_is_one_end(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        await peer.upload(token, jpeg(1))
        assert [await call(peer, "EndPostScanJob", token) for _ in range(2)] == ["ok", "ok"]
        await until(site, token, JobState.COMPLETED)
        assert await call(peer, "EndPostScanJob", token) == "ok"
        folder = site.made.folder / "delivered" / "alice@example.com"
        assert len([p for p in folder.iterdir() if p.read_bytes() == jpeg(1)]) >= 1


async def test_a_job_without_images_cannot_be_ended_and_stays_open(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        assert await call(peer, "EndPostScanJob", token) == "OperationFailed"
        assert (await peer.upload(token, jpeg(1))).status == 200
        assert await call(peer, "EndPostScanJob", token) == "ok"


async def test_a_completed_job_cannot_be_canceled(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        await peer.upload(token, jpeg(1))
        await call(peer, "EndPostScanJob", token)
        await until(site, token, JobState.COMPLETED)
        assert await call(peer, "CancelPostScanJob", token) == "OperationFailed"
        assert (await peer.post(elements_request(token))).text("JobState") == "Completed"


async def test_a_canceled_job_takes_no_images_and_no_end(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        await peer.upload(token, jpeg(1))
        assert await call(peer, "CancelPostScanJob", token) == "ok"
        await until(site, token, JobState.CANCELED)
        answer = await peer.upload(token, jpeg(2, 100_000), document_id=2)
        assert (answer.status, answer.subcode) == (500, "ServerErrorPostScanJobCanceled")
        assert await call(peer, "EndPostScanJob", token) == "ServerErrorPostScanJobCanceled"
        assert await call(peer, "CancelPostScanJob", token) == "ok"


async def test_the_same_image_twice_is_one_image_and_another_under_its_number_is_refused(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        for _ in range(2):
            assert (await peer.upload(token, jpeg(1))).status == 200
        answer = await peer.upload(token, jpeg(2))
        assert (answer.subcode, answer.detail) == ("InvalidArgs", "dsp:DocumentId")
        assert await images_of(site, token) == 1


async def test_a_job_canceled_while_its_image_arrives_refuses_the_image(site: Site) -> None:
    async with wire(site) as panel, wire(site) as scanner:
        token = await panel.create()
        body = upload(token, jpeg(1, 300_000))
        await scanner.say(scanner.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(body)}"))
        await scanner.say(body[:200_000])
        assert await call(panel, "CancelPostScanJob", token) == "ok"
        await scanner.say(body[200_000:])
        assert (await scanner.answer()).subcode == "ServerErrorPostScanJobCanceled"
        assert await images_of(site, token) == 0


async def test_elements_that_nobody_knows_are_answered_as_such_and_not_without_bound(site: Site) -> None:
    async with wire(site) as peer:
        token = await peer.create()
        answer = await peer.post(elements_request(token, "dsp:Nothing", "nobody:JobStatus", "JobStatus"))
        assert answer.status == 200
        assert answer.body.count(b'Valid="false"') == 3
        flood = await peer.post(elements_request(token, *["dsp:Documents"] * 5_000))
        assert (flood.subcode, flood.detail) == ("InvalidArgs", "dsp:RequestedElements")
