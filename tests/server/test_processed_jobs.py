"""Jobs that are processed, over real sockets: what devices, consoles and administrators are told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postscan.cli.filters import filters_of
from postscan.cli.settings import load_settings
from postscan.contracts.keywords import DocumentFormat, FilterState
from postscan.device.imaging import ScannedImage
from postscan.device.session import Outcome, ScanSession
from support.chains import broken
from support.filters import JoiningFilter
from support.processed import DIALECT, NAME, add_process
from support.scanning import Site, Witness, jpeg, make_installation, running, stream


@asynccontextmanager
async def joining_site(folder: Path, joining: JoiningFilter) -> AsyncIterator[Site]:
    """Run a server that joins the pages of one of its processes."""
    made = make_installation(folder)
    await add_process(Site(made))
    filters = filters_of(load_settings(made.config, {})) | {DIALECT: joining}
    async with running(folder, made=made, filters=filters) as site:
        yield site


async def scan(site: Site, *, use_events: bool = True) -> Outcome:
    pages = [ScannedImage(jpeg(n), DocumentFormat.JFIF, name=f"page {n}") for n in range(3)]
    async with site.device() as device:
        session = ScanSession(
            device, await site.user(), Witness(), sink_address="127.0.0.1", use_events=use_events
        )
        return await session.run(await site.process(NAME), stream(pages), wait_seconds=30)


@pytest.mark.parametrize("use_events", [True, False], ids=["by event", "asked for"])
async def test_pages_are_joined_and_the_device_is_told_of_warnings_as_of_a_success(
    tmp_path: Path, use_events: bool
) -> None:
    joining = JoiningFilter(DIALECT)
    joining.warnings = ["page 2 had no text"]
    async with joining_site(tmp_path / "site", joining) as site:
        outcome = await scan(site, use_events=use_events)
        assert outcome.delivered
        assert outcome.reasons == ("PostScanJobCompletedWithWarnings",)
        assert [f.state for f in outcome.filters] == [
            FilterState.COMPLETED_WITH_WARNINGS,
            FilterState.COMPLETED_SUCCESSFULLY,
        ]
        (file,) = site.delivered()
        assert file.suffix == ".pdf"
        assert file.read_bytes() == b"".join(jpeg(n) for n in range(3))
        await site.spool_empty()


async def test_a_console_is_told_of_warnings(tmp_path: Path) -> None:
    joining = JoiningFilter(DIALECT)
    joining.warnings = ["page 2 had no text"]
    async with joining_site(tmp_path / "site", joining) as site:
        outcome = await scan(site)
        async with site.console() as console:
            status = await console.job_status(outcome.token)
        assert (status.state, status.reasons) == ("Completed", ("PostScanJobCompletedWithWarnings",))
        assert [(f.state, f.reasons) for f in status.filters] == [
            ("CompletedWithWarnings", ()),
            ("CompletedSuccessfully", ()),
        ]


async def test_a_step_that_fails_is_told_and_delivers_nothing(tmp_path: Path) -> None:
    joining = JoiningFilter(DIALECT)
    joining.failing = [broken()]
    async with joining_site(tmp_path / "site", joining) as site:
        outcome = await scan(site)
        assert not outcome.delivered
        assert outcome.reasons == ("PostScanJobProcessingFailed",)
        assert [f.state for f in outcome.filters] == [
            FilterState.COMPLETED_WITH_ERRORS,
            FilterState.CANCELED,
        ]
        assert site.delivered() == []
        assert len(site.spooled()) == 3
