"""Whole jobs over real sockets with TLS, between the real device client and the real server."""

import asyncio
from pathlib import Path

import pytest

from postscan.contracts import dsp
from postscan.contracts.keywords import DocumentFormat, FilterState, JobState
from postscan.device.imaging import ScannedImage
from postscan.device.session import ScanSession
from postscan.dpws.client import RemoteFault, SoapClient, Untrusted
from support.scanning import Site, Witness, jpeg, running, stream


def pages(count: int, size: int = 20_000) -> list[ScannedImage]:
    return [ScannedImage(jpeg(n, size), DocumentFormat.JFIF, name=f"page {n}") for n in range(count)]


async def scan(site: Site, user: str, process: str, sheets: list[ScannedImage], **how: object) -> tuple:
    witness = Witness()
    async with site.device(user) as device:
        session = ScanSession(
            device,
            await site.user(user),
            witness,
            sink_address="127.0.0.1",
            use_events=bool(how.pop("use_events", True)),
        )
        cancel_after = how.pop("cancel_after", None)
        assert not how
        outcome = await session.run(
            await site.process(process),
            stream(sheets),
            wait_seconds=30,
            cancel_after=cancel_after,  # type: ignore[arg-type] # an int or None
        )
    return outcome, witness


async def test_pages_travel_from_a_device_into_the_users_folder(tmp_path: Path) -> None:
    sheets = pages(3)
    async with running(tmp_path / "site") as site:
        outcome, witness = await scan(site, "alice", "Scan to my folder", sheets)
        assert outcome.delivered
        assert outcome.by_event
        assert witness.accepted == [1, 2, 3]
        assert [f.state for f in outcome.filters] == [FilterState.COMPLETED_SUCCESSFULLY]
        arrived = site.delivered()
        assert [p.read_bytes() for p in arrived] == [p.data for p in sheets]
        assert {p.parent.name for p in arrived} == {"alice@example.com"}
        assert all(p.suffix == ".jpg" for p in arrived)


async def test_a_process_with_two_places_delivers_to_both(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        outcome, _ = await scan(site, "bob", "Archive (two places)", pages(2))
        assert outcome.delivered
        assert len(site.delivered()) == 4
        assert {p.parent.parent.name for p in site.delivered()} == {"archive", "mirror"}


async def test_the_outcome_can_be_asked_for_where_events_do_not_reach(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        outcome, _ = await scan(site, "alice", "Scan to my folder", pages(1), use_events=False)
        assert outcome.delivered
        assert not outcome.by_event


async def test_a_job_canceled_midway_delivers_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        outcome, _ = await scan(site, "bob", "Scan to my folder", pages(4), cancel_after=2)
        assert outcome.state == JobState.CANCELED
        assert outcome.images == 2
        assert site.delivered() == []
        await site.spool_empty()


async def test_two_users_scan_at_once_and_neither_sees_the_others_pages(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        outcomes = await asyncio.gather(
            *(scan(site, user, "Scan to my folder", pages(5)) for user in ("alice", "bob", "alice", "bob"))
        )
        assert all(outcome.delivered for outcome, _ in outcomes)
        folders = [p.parent.name for p in site.delivered()]
        assert folders.count("alice@example.com") == folders.count("bob@example.com") == 10


async def test_the_spool_is_empty_once_everything_is_delivered(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        outcome, _ = await scan(site, "alice", "Scan to my folder", pages(3))
        assert outcome.delivered
        await site.spool_empty()


async def test_the_elements_of_a_job_are_told_in_the_order_asked(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device() as device:
        process = await site.process()
        token = await device.create(process, (await site.user()).sid)
        await device.send_image(token, 7, DocumentFormat.JFIF, jpeg())
        request = dsp.GetPostScanJobElementsRequest(
            job_token=token,
            names=(dsp.DOCUMENTS, "{urn:unknown}Thing", dsp.JOB_DESCRIPTION, dsp.JOB_STATUS),
        )
        answer = await device._operate("GetPostScanJobElements", request.to_element())
        told = dsp.GetPostScanJobElementsResponse.from_element(answer).elements
        assert [e.valid for e in told] == [True, False, True, True]
        documents, _, description, status = told
        assert documents.documents is not None
        assert [d.document_id for d in documents.documents.documents] == [7]
        assert description.description is not None
        assert description.description.psp_display_name == process.display_name
        assert description.description.user_name == "alice@example.com"
        assert status.status is not None
        assert (status.status.state, status.status.images_received) == (JobState.CREATING, 1)


async def test_addresses_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device() as device:
        first = await device.find()
        made = site.made
    async with running(tmp_path / "site", made=made) as site, site.device() as device:
        assert await device.find() == first


async def test_an_image_of_twenty_megabytes_arrives_whole(tmp_path: Path) -> None:
    sheet = ScannedImage(jpeg(1, 20_000_001), DocumentFormat.JFIF, name="large")
    async with running(tmp_path / "site") as site:
        outcome, _ = await scan(site, "alice", "Scan to my folder", [sheet])
        assert outcome.delivered
        assert site.delivered()[0].read_bytes() == sheet.data


async def test_an_open_job_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device() as device:
        token = await device.create(await site.process(), (await site.user()).sid)
        await device.send_image(token, 1, DocumentFormat.JFIF, jpeg(1))
        made = site.made
    async with running(tmp_path / "site", made=made) as site, site.device() as device:
        await device.send_image(token, 2, DocumentFormat.JFIF, jpeg(2))
        await device.end(token)
        async with asyncio.timeout(10):
            while (await device.status(token)).state != JobState.COMPLETED:
                await asyncio.sleep(0.02)
        assert [p.read_bytes() for p in site.delivered()] == [jpeg(1), jpeg(2)]


async def test_without_a_certificate_the_device_is_told_so(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device(None) as device:
        await device.find()
        with pytest.raises(RemoteFault) as refused:
            await device.create(await site.process(), (await site.user()).sid)
        assert refused.value.subcode == "FailedAuthentication"


async def test_a_server_whose_authority_is_not_trusted_is_refused_by_the_device(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, SoapClient() as stranger:
        with pytest.raises(Untrusted):
            await stranger.call(site.url, "urn:any", None)
