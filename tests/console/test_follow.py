"""Following a server: what stands, what happens, and going on when the server does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from postscan.console.client import NoService, Patience, RepositoryClient
from postscan.console.follow import FollowPlan, News, Snapshot, Trouble, following
from postscan.contracts import dsc
from postscan.contracts.keywords import JobState, RepositoryState
from postscan.dpws.client import RemoteFault, Unreachable
from postscan.dpws.kept_subscription import KeptSubscription
from support.scanning import Site, make_installation, running


async def begin(site: Site) -> str:
    async with site.device() as device:
        return await device.create(await site.process(), (await site.user()).sid)


async def until(news: AsyncIterator[News], wanted: Callable[[News], bool]) -> News:
    """Return the first news that is wanted."""
    async with asyncio.timeout(30):
        async for one in news:
            if wanted(one):
                return one
    raise AssertionError("no more news")


def is_end_of(token: str) -> Callable[[News], bool]:
    return lambda one: isinstance(one, dsc.PostScanJobEndStateEvent) and one.end_state.job_token == token


async def test_first_comes_how_everything_stands_then_what_happens(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        token = await begin(site)
        async with following(console) as news:
            first = await anext(news)
            await console.cancel(token)
            await until(news, is_end_of(token))
            idle = await until(news, lambda one: isinstance(one, dsc.RepositoryStatusSummaryEvent))
    assert isinstance(first, Snapshot)
    assert first.status.state is RepositoryState.PROCESSING
    assert [(job.job_token, job.state) for job in first.active.jobs] == [(token, JobState.CREATING)]
    assert isinstance(idle, dsc.RepositoryStatusSummaryEvent)
    assert idle.summary.state is RepositoryState.IDLE


async def test_the_subscription_is_gone_when_nobody_follows_any_more(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        assert site.server is not None
        async with following(console) as news:
            await anext(news)
            assert [len(source) for source in site.server._events] == [0, 1]
        assert [len(source) for source in site.server._events] == [0, 0]


async def test_a_server_that_was_started_anew_is_followed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeptSubscription, "_pause", lambda _self: 0.05)
    made = make_installation(tmp_path / "site")
    async with Site(made).console() as console:
        async with running(tmp_path, made=made):
            follower = following(console)
            news = await follower.__aenter__()
            await anext(news)
        stopped = await until(news, lambda one: isinstance(one, dsc.RepositoryStatusSummaryEvent))
        assert isinstance(stopped, dsc.RepositoryStatusSummaryEvent)
        assert stopped.summary.state is RepositoryState.STOPPED
        trouble = await until(news, lambda one: isinstance(one, Trouble))
        assert "SourceShuttingDown" in str(trouble)
        async with running(tmp_path, made=made) as site:
            again = await until(news, lambda one: isinstance(one, Snapshot))
            assert isinstance(again, Snapshot)
            assert again.status.state is RepositoryState.IDLE
            token = await begin(site)
            async with site.console() as other:
                await other.cancel(token)
            await until(news, is_end_of(token))
            await follower.__aexit__(None, None, None)


async def test_a_subscription_is_renewed_before_its_time_is_over(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        renewed = asyncio.Event()
        renew = console.renew

        async def noted(*given: object) -> timedelta:
            left = await renew(*given)  # type: ignore[arg-type] # handed on
            renewed.set()
            return left

        console.renew = noted  # type: ignore[method-assign]
        async with following(console, FollowPlan(expires=timedelta(seconds=2))) as news:
            await anext(news)
            async with asyncio.timeout(20):
                await renewed.wait()
            token = await begin(site)
            await console.cancel(token)
            await until(news, is_end_of(token))


async def test_whoever_is_no_administrator_follows_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console("alice") as console:
        with pytest.raises(RemoteFault, match="ClientErrorCurrentUserNotScanAdmin"):
            async with following(console):
                pass


async def test_an_address_that_is_not_this_machines_is_told(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        with pytest.raises(Unreachable, match=r"cannot listen for events on 192\.0\.2\.1"):
            async with following(console, FollowPlan(sink_address="192.0.2.1")):
                pass


async def test_a_device_without_the_service_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RepositoryClient, "namespace", "urn:nobody")
    async with running(tmp_path / "site") as site, site.console() as console:
        with pytest.raises(NoService, match="hosts no WS-DSC service"):
            await console.find()


async def test_a_server_out_of_reach_is_told(tmp_path: Path) -> None:
    site = Site(make_installation(tmp_path / "site"))
    async with site.console(patience=Patience(pauses=())) as console:
        with pytest.raises(Unreachable):
            await console.status()
