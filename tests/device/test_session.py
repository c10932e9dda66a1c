"""A walk-up scan between the real device session and a real server, over sockets with TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postscan.contracts import dsp
from postscan.contracts.keywords import DocumentFormat, JobState
from postscan.core.errors import PostscanError
from postscan.device.client import Patience
from postscan.device.imaging import ScannedImage
from postscan.device.session import Outcome, ScanSession
from postscan.dpws.client import RemoteFault, Unreachable
from support.scanning import Site, Witness, jpeg, make_installation, running, stream

QUICK = Patience(pauses=(0.1, 0.1, 0.1))


def sheets(count: int) -> list[ScannedImage]:
    return [ScannedImage(jpeg(n), DocumentFormat.JFIF, name=f"page {n}") for n in range(count)]


class Panel(Witness):
    """A witness that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    def status(self, status: dsp.JobStatus) -> None:
        super().status(status)
        self.news.set()

    async def heard(self, state: JobState) -> None:
        """Wait until a status of this state was told."""
        async with asyncio.timeout(20):
            while all(status.state is not state for status in self.statuses):
                self.news.clear()
                await self.news.wait()


async def scan(
    site: Site,
    pages: AsyncIterator[ScannedImage],
    panel: Witness,
    *,
    user: str | None = "alice",
    process: str = "Scan to my folder",
    use_events: bool = True,
    sink_address: str | None = "127.0.0.1",
    wait_seconds: float | None = 30,
) -> Outcome:
    async with site.device(user, QUICK) as device:
        session = ScanSession(
            device, await site.user(), panel, sink_address=sink_address, use_events=use_events
        )
        return await session.run(await site.process(process), pages, wait_seconds=wait_seconds)


async def test_events_are_told_while_pages_are_still_being_sent(tmp_path: Path) -> None:
    panel = Panel()

    async def pages() -> AsyncIterator[ScannedImage]:
        yield sheets(1)[0]
        # The next sheet goes in only once the panel shows that the job has begun.
        await panel.heard(JobState.CREATING)
        yield sheets(2)[1]

    async with running(tmp_path / "site") as site:
        outcome = await scan(site, pages(), panel)
    assert outcome.delivered
    assert outcome.by_event
    assert panel.accepted == [1, 2]


async def test_every_state_is_told_in_order_and_once_as_an_end(tmp_path: Path) -> None:
    panel = Panel()
    async with running(tmp_path / "site") as site:
        outcome = await scan(site, stream(sheets(3)), panel)
    states = list(dict.fromkeys(status.state for status in panel.statuses))
    order = [JobState.CREATING, JobState.PENDING, JobState.STARTED, JobState.PROCESSING, JobState.COMPLETED]
    assert states == order
    assert (outcome.state, outcome.images) == ("Completed", 3)


async def test_a_job_canceled_at_the_server_is_told_by_event_and_ends_the_sending(tmp_path: Path) -> None:
    panel = Panel()
    async with running(tmp_path / "site") as site:
        assert site.server is not None
        engine = site.server.engine

        async def pages() -> AsyncIterator[ScannedImage]:
            yield sheets(1)[0]
            # Someone at the server cancels; the device is told by the end-state event and by a fault.
            await engine.cancel(panel.token, None)
            await panel.heard(JobState.CANCELED)
            yield sheets(2)[1]

        with pytest.raises(RemoteFault) as refused:
            await scan(site, pages(), panel)
    assert refused.value.subcode == "ServerErrorPostScanJobCanceled"
    assert "canceled the job at the server" in refused.value.what_to_do


async def test_a_sink_that_the_server_refuses_is_told_and_the_outcome_asked_for(tmp_path: Path) -> None:
    panel = Panel()
    async with running(tmp_path / "site", eventing={"allow_loopback": False}) as site:
        outcome = await scan(site, stream(sheets(1)), panel)
    assert outcome.delivered
    assert not outcome.by_event
    (told,) = panel.troubles
    assert told.startswith("no events: the server refused: InvalidMessage")


async def test_an_address_that_is_none_of_ours_is_told_and_the_outcome_asked_for(tmp_path: Path) -> None:
    panel = Panel()
    async with running(tmp_path / "site") as site:
        outcome = await scan(site, stream(sheets(1)), panel, sink_address="203.0.113.1")
    assert outcome.delivered
    (told,) = panel.troubles
    assert told.startswith("no events: cannot listen on 203.0.113.1 (Cannot assign requested address)")


async def test_without_an_address_the_sink_is_where_the_server_sees_the_device(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        outcome = await scan(site, stream(sheets(1)), Panel(), sink_address=None)
    assert outcome.by_event


async def test_a_device_that_cannot_prove_its_user_stops_before_there_is_a_job(tmp_path: Path) -> None:
    panel = Panel()
    async with running(tmp_path / "site") as site:
        with pytest.raises(RemoteFault) as refused:
            await scan(site, stream(sheets(1)), panel, user=None)
    assert refused.value.subcode == "FailedAuthentication"
    assert (panel.token, panel.troubles) == ("", [])


@pytest.mark.parametrize("error", [PostscanError("paper jam"), OSError(5, "Input/output error")])
async def test_a_job_whose_pages_fail_is_canceled(tmp_path: Path, error: Exception) -> None:
    panel = Panel()

    async def pages() -> AsyncIterator[ScannedImage]:
        yield sheets(1)[0]
        raise error

    async with running(tmp_path / "site") as site:
        with pytest.raises(type(error)):
            await scan(site, pages(), panel)
        assert site.server is not None
        assert (await site.server.engine.job(panel.token, None)).state is JobState.CANCELED
    assert panel.troubles == [f"job {panel.token} was canceled"]


async def test_a_scan_that_is_interrupted_is_canceled(tmp_path: Path) -> None:
    panel = Panel()

    async def pages() -> AsyncIterator[ScannedImage]:
        yield sheets(1)[0]
        await asyncio.Event().wait()
        yield sheets(1)[0]

    async with running(tmp_path / "site") as site:
        scanning = asyncio.create_task(scan(site, pages(), panel))
        await panel.heard(JobState.CREATING)
        scanning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scanning
        assert site.server is not None
        assert (await site.server.engine.job(panel.token, None)).state is JobState.CANCELED


async def test_a_job_that_cannot_be_canceled_any_more_is_told(tmp_path: Path) -> None:
    panel = Panel()
    async with running(tmp_path / "site") as site:
        server = site.server
        assert server is not None

        async def pages() -> AsyncIterator[ScannedImage]:
            yield sheets(1)[0]
            await server.stop()
            yield sheets(2)[1]

        with pytest.raises(Unreachable):
            await scan(site, pages(), panel)
    assert panel.troubles[-1].startswith(f"job {panel.token} could not be canceled")


async def test_without_waiting_the_answer_is_where_the_job_stands(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        outcome = await scan(site, stream(sheets(1)), Panel(), wait_seconds=None)
        assert outcome.images == 1
        assert outcome.token


@pytest.fixture
def away(tmp_path: Path) -> Any:
    """Make an installation whose destination is away."""
    made = make_installation(tmp_path / "site", retry={"first_seconds": 1})
    (made.folder / "delivered" / "invoices").rename(tmp_path / "invoices")
    return made


async def test_when_time_is_up_the_outcome_is_where_the_job_stands(tmp_path: Path, away: Any) -> None:
    panel = Panel()
    async with running(tmp_path / "site", made=away) as site:
        outcome = await scan(site, stream(sheets(1)), panel, process="Invoices", wait_seconds=0.3)
    assert (outcome.finished, outcome.delivered, outcome.state) == (False, False, "Processing")
    assert panel.troubles == []


@pytest.mark.parametrize("use_events", [True, False])
async def test_a_server_that_is_started_anew_is_waited_for(
    tmp_path: Path, away: Any, use_events: bool
) -> None:
    panel = Panel()
    async with running(tmp_path / "site", made=away) as site:
        scanning = asyncio.create_task(
            scan(site, stream(sheets(1)), panel, process="Invoices", use_events=use_events)
        )
        await panel.heard(JobState.PROCESSING)
    async with asyncio.timeout(20):
        while "the server does not answer; still waiting" not in panel.troubles:
            await asyncio.sleep(0.02)
    (tmp_path / "invoices").rename(away.folder / "delivered" / "invoices")
    async with running(tmp_path / "site", made=away):
        assert (await scanning).delivered
    assert panel.troubles == ["the server does not answer; still waiting"]


async def test_what_did_not_arrive_everywhere_is_not_delivered(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        (site.made.folder / "delivered" / "mirror" / "alice@example.com").write_text("in the way")
        outcome = await scan(site, stream(sheets(1)), Panel(), process="Archive (two places)")
    assert (outcome.finished, outcome.state) == (True, "Completed")
    assert not outcome.delivered


async def test_after_a_restart_events_come_again(tmp_path: Path, away: Any) -> None:
    """The server ends the subscription when it stops; the device subscribes again and hears the end."""
    panel = Panel()
    async with running(tmp_path / "site", made=away) as site:
        scanning = asyncio.create_task(scan(site, stream(sheets(1)), panel, process="Invoices"))
        await panel.heard(JobState.PROCESSING)
    async with running(tmp_path / "site", made=away) as site:
        assert site.server is not None
        async with asyncio.timeout(20):
            while not sum(len(source) for source in site.server._events):
                await asyncio.sleep(0.02)
        (tmp_path / "invoices").rename(away.folder / "delivered" / "invoices")
        outcome = await scanning
    assert outcome.delivered
    assert outcome.by_event


def status_of(state: JobState, images: int) -> dsp.JobStatus:
    filters = (dsp.FilterStatus(dialect="urn:f", state="Pending"),)
    return dsp.JobStatus(job_token="t", state=state, filters=filters, images_received=images)


async def test_events_that_come_late_or_twice_take_nothing_back(tmp_path: Path) -> None:
    panel = Panel()
    async with running(tmp_path / "site") as site, site.device() as device:
        session = ScanSession(device, await site.user(), panel)
        for state, images in (
            (JobState.CREATING, 1),
            (JobState.CREATING, 3),
            (JobState.CREATING, 2),
            (JobState.PROCESSING, 3),
            (JobState.PENDING, 3),
            (JobState.COMPLETED, 3),
            (JobState.PROCESSING, 3),
            (JobState.COMPLETED, 3),
        ):
            session._note(status_of(state, images))
    assert [(status.state, status.images_received) for status in panel.statuses] == [
        (JobState.CREATING, 1),
        (JobState.CREATING, 3),
        (JobState.PROCESSING, 3),
        (JobState.COMPLETED, 3),
        (JobState.COMPLETED, 3),
    ]
