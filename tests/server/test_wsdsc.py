"""WS-DSC over the wire, answered by a whole server."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lxml import etree

from postscan.contracts import dsc
from postscan.contracts.keywords import (
    DocumentFormat,
    FilterState,
    JobState,
    JobStateReason,
    RepositoryState,
    RepositoryStateReason,
)
from postscan.dpws.client import RemoteFault
from postscan.filters.fileshare import FileShareFilter
from postscan.jobs import operations
from postscan.soap.names import ASSEMBLE, DSC, EMLF, FSF, NAMES, OCR, SPF, WSD, qname
from postscan.soap.xml import serialize
from support import wire
from support.clock import FakeClock
from support.filters import RecordingFilter
from support.scanning import Site, jpeg, running
from support.sinks import Sink, listening

ASK = "<dsc:GetRepositoryElementsRequest><dsc:RequestedElements>{}</dsc:RequestedElements>"
ASK += "</dsc:GetRepositoryElementsRequest>"


async def begin(site: Site, process: str = "Scan to my folder", user: str = "alice") -> str:
    """Create a job and return its token."""
    async with site.device(user) as device:
        return await device.create(await site.process(process), (await site.user(user)).sid)


async def scan(site: Site, process: str = "Scan to my folder", user: str = "alice") -> str:
    """Scan one page and return the job's token."""
    async with site.device(user) as device:
        token = await device.create(await site.process(process), (await site.user(user)).sid)
        await device.send_image(token, 1, DocumentFormat.JFIF, jpeg())
        await device.end(token)
    return token


async def finished(site: Site, token: str) -> None:
    """Wait until a job has ended."""
    assert site.server is not None
    async with asyncio.timeout(20):
        while not (await site.server.engine.job(token, None)).finished:
            await asyncio.sleep(0.01)


def path_of(site: Site) -> str:
    """Return the path of WS-DSC."""
    assert site.server is not None
    return urlsplit(site.server.services["WS-DSC"]).path


async def asked(site: Site, operation: str, body: str, user: str | None = "admin") -> wire.Answer:
    """Ask WS-DSC with a body of the test's own."""
    async with wire.wire(site, user) as peer:
        return await peer.post(wire.envelope(f"{DSC}/{operation}", body), path=path_of(site))


async def event(sink: Sink) -> etree._Element:
    """Return the body of the next event."""
    body = (await sink.next()).body
    assert body is not None
    return body


# The service ----------------------------------------------------------------------------------------------


async def test_the_service_is_hosted_beside_ws_dsp_under_an_address_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console(None) as console, site.device() as device:
        hosted = (await console.metadata(await console.probe())).relationship.hosted
        types = [service.types[0] for service in hosted]
        assert types[-1] == qname(DSC, "RepositoryConfigurationServiceType")
        assert await console.find() == hosted[-1].addresses[0] != await device.find()


async def test_a_probe_for_the_service_finds_the_server(tmp_path: Path) -> None:
    probe = "<wsd:Probe><wsd:Types>dsc:RepositoryConfigurationServiceType</wsd:Types></wsd:Probe>"
    async with running(tmp_path / "site") as site, wire.wire(site, None) as peer:
        answer = await peer.post(wire.envelope(f"{WSD}/Probe", probe), path="/ScanServer")
    assert answer.text("XAddrs") == site.url


async def test_what_the_service_publishes_of_itself_names_all_operations_and_events(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire.wire(site, None) as peer:
        await peer.say(peer.head(path=f"{path_of(site)}?wsdl", method="GET"))
        published = await peer.answer()
    for name in (*dsc.REQUESTS, *dsc.EVENTS):
        assert f'name="{name.rpartition("/")[2]}"'.encode() in published.body


# GetRepositoryElements ------------------------------------------------------------------------------------


async def test_every_filter_the_server_offers_is_told_with_its_configuration(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        filters = {dsc.dialect_uri(one.dialect): one for one in (await console.configuration()).filters}
    assert {FSF, ASSEMBLE, OCR, NAMES} <= set(filters)
    shares = [node.text for node in filters[FSF].config.iter(qname(FSF, "ShareUNC"))]
    assert shares == [r"\\localhost\archive", (site.made.folder / "delivered").as_uri()]


async def test_a_filter_that_is_not_set_up_or_turned_off_is_not_offered(tmp_path: Path) -> None:
    overrides = {"filters": {"disabled": ["ocr"]}}
    async with running(tmp_path / "site", **overrides) as site, site.console() as console:
        filters = {dsc.dialect_uri(one.dialect) for one in (await console.configuration()).filters}
    assert filters.isdisjoint({OCR, SPF, EMLF})


async def test_a_filter_that_tells_nothing_of_itself_has_an_empty_configuration(tmp_path: Path) -> None:
    filters = {"urn:test:recording": RecordingFilter()}
    async with running(tmp_path / "site", filters=filters) as site, site.console() as console:
        (one,) = (await console.configuration()).filters
    assert (one.dialect, len(one.config)) == ("{urn:test}recording", 0)


async def test_a_configuration_that_would_fill_the_answer_is_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = b"".join(b"<f:ShareUNC>%s</f:ShareUNC>" % (b"x" * 250) for _ in range(200))
    large = etree.fromstring(
        b'<f:FileShareConfig xmlns:f="%s">%s</f:FileShareConfig>' % (FSF.encode(), shares)
    )
    monkeypatch.setattr(FileShareFilter, "configuration", lambda _self: large)
    async with running(tmp_path / "site") as site, site.console() as console:
        filters = {dsc.dialect_uri(one.dialect): one for one in (await console.configuration()).filters}
    assert len(filters[FSF].config) == 0


async def test_elements_come_one_a_name_and_in_order_known_or_not(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        found = await console.elements(dsc.STATUS, "{urn:v}Nobody", dsc.CONFIGURATION, dsc.STATUS)
    assert [(e.name, e.valid) for e in found] == [
        (dsc.STATUS, True),
        ("{urn:v}Nobody", False),
        (dsc.CONFIGURATION, True),
        (dsc.STATUS, True),
    ]


async def test_a_name_without_a_prefix_that_means_anything_is_answered_as_unknown(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        answer = await asked(
            site, "GetRepositoryElements", ASK.format("<dsc:Name>nobody:RepositoryStatus</dsc:Name>")
        )
    assert answer.status == 200
    body = answer.envelope.body
    assert body is not None
    (one,) = dsc.GetRepositoryElementsResponse.from_element(body).elements
    assert (one.name, one.valid) == ("nobody:RepositoryStatus", False)


async def test_too_many_names_are_an_invalid_argument(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        names = "<dsc:Name>dsc:RepositoryStatus</dsc:Name>" * 33
        answer = await asked(site, "GetRepositoryElements", ASK.format(names))
    assert answer.fault.subcode == qname(DSC, "InvalidArgs")
    assert answer.detail == "dsc:RequestedElements"


async def test_a_malformed_request_is_an_invalid_argument_of_this_service(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        answer = await asked(site, "CancelPostScanJob", "<dsc:CancelPostScanJobRequest/>")
    assert (answer.fault.subcode, answer.detail) == (qname(DSC, "InvalidArgs"), "dsc:JobToken")


async def test_an_operation_of_the_other_service_is_not_supported_here(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire.wire(site, "admin") as peer:
        answer = await peer.post(wire.job_request("EndPostScanJob", "t"), path=path_of(site))
    assert answer.subcode == "ActionNotSupported"


async def test_the_status_is_true_idle_processing_and_idle_again(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        idle = await console.status()
        token = await begin(site)
        assert (await console.status()).state is RepositoryState.PROCESSING
        await console.cancel(token)
        assert await console.status() == idle
    assert (idle.state, idle.reasons) == (RepositoryState.IDLE, (RepositoryStateReason.NONE,))


async def test_without_room_the_server_is_stopped_and_says_why(tmp_path: Path) -> None:
    full = {"min_free_bytes": 2**60}
    async with running(tmp_path / "site", limits=full) as site, site.console() as console:
        status = await console.status()
    assert (status.state, status.reasons) == (RepositoryState.STOPPED, (dsc.OUT_OF_DISK_SPACE,))


async def test_with_jobs_under_way_a_full_disk_is_told_as_a_reason_alone(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        await begin(site)
        assert site.server is not None
        settings = site.server.settings.jobs
        site.server.engine.limit(type(settings)(min_free_bytes=2**60))
        status = await console.status()
    assert (status.state, status.reasons) == (RepositoryState.PROCESSING, (dsc.OUT_OF_DISK_SPACE,))


# Jobs -----------------------------------------------------------------------------------------------------


async def test_jobs_of_everybody_are_listed_newest_first(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        first, second = await begin(site), await begin(site, user="bob")
        done = await scan(site)
        await finished(site, done)
        active, history = await console.active_jobs(), await console.history()
    assert [(job.job_token, job.user_name) for job in active.jobs] == [
        (second, "bob@example.com"),
        (first, "alice@example.com"),
    ]
    assert active.total == 2
    assert {job.state for job in active.jobs} == {JobState.CREATING}
    (ended,) = history.jobs
    assert (ended.job_token, ended.state, ended.images_received) == (done, JobState.COMPLETED, 1)
    assert ended.reasons == (JobStateReason.COMPLETED_SUCCESSFULLY,)
    assert [f.state for f in ended.filters] == [FilterState.COMPLETED_SUCCESSFULLY]
    assert ended.psp_display_name == "Scan to my folder"


async def test_a_long_list_fits_an_envelope_and_its_rest_can_be_asked_for(tmp_path: Path) -> None:
    limits = {"max_open_jobs_per_owner": 200}
    async with running(tmp_path / "site", limits=limits) as site, site.console() as console:
        tokens = [await begin(site) for _ in range(70)]
        answer = await asked(site, "GetActiveJobs", "<dsc:GetActiveJobsRequest/>")
        assert len(answer.body) <= wire.LARGEST_ANSWER
        first = await console.active_jobs()
        assert first.total == 70
        assert 20 < len(first.jobs) < 70
        everything = await console.all_of(console.active_jobs, 1_000)
        some = await console.all_of(console.active_jobs, 60)
    assert [job.job_token for job in everything.jobs] == tokens[::-1]
    assert [job.job_token for job in some.jobs] == tokens[::-1][:60]


async def test_the_history_is_bounded_by_the_settings(tmp_path: Path) -> None:
    settings = {"history_jobs": 2}
    async with running(tmp_path / "site", administrators=settings) as site, site.console() as console:
        tokens = [await begin(site) for _ in range(4)]
        for token in tokens:
            await console.cancel(token)
        history = await console.all_of(console.history, 1_000)
    assert [job.job_token for job in history.jobs] == tokens[:1:-1]
    assert history.total == 2


async def test_elements_of_any_job_are_told(tmp_path: Path) -> None:
    names = (dsc.DOCUMENTS, dsc.JOB_DESCRIPTION, "{urn:v}X", dsc.JOB_STATUS)
    async with running(tmp_path / "site") as site, site.console() as console:
        token = await scan(site)
        await finished(site, token)
        documents, description, unknown, status = await console.job_elements(token, *names)
        assert (await console.job_status(token)).state is JobState.COMPLETED
    assert documents.documents is not None
    assert [d.format for d in documents.documents.documents] == [DocumentFormat.JFIF]
    assert description.description is not None
    assert description.description.user_name == "alice@example.com"
    assert not unknown.valid
    assert status.status is not None
    assert status.status.completed is not None


async def test_a_job_without_an_end_has_timed_out_in_the_words_of_this_service(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console, site.device() as device:
        assert site.server is not None
        token = await begin(site)
        await give_up(site, token)
        assert (await console.job_status(token)).reasons == (dsc.TIMED_OUT,)
        assert (await console.history()).jobs[0].reasons == (dsc.TIMED_OUT,)
        assert (await device.status(token)).reasons == (JobStateReason.SEND_IMAGE_FAILED,)


async def give_up(site: Site, token: str) -> None:
    """Give a job up as the engine does when no End came in time."""
    assert site.server is not None
    engine = site.server.engine
    job = await engine.job(token, None)
    clock = FakeClock()
    await engine._store.write(
        partial(operations.time_out_job, serial=job.serial, now=clock.now()), engine._applied
    )


async def test_an_administrator_cancels_anybodys_job_and_a_device_sees_it(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console, site.device() as device:
        token = await begin(site)
        await console.cancel(token)
        assert (await device.status(token)).state is JobState.CANCELED
        with pytest.raises(RemoteFault) as caught:
            await device.send_image(token, 1, DocumentFormat.JFIF, jpeg())
    assert caught.value.subcode == "ServerErrorPostScanJobCanceled"


@pytest.mark.parametrize("token", [str(uuid.UUID(int=1)), "no guid at all", "x" * 255])
@pytest.mark.parametrize("operation", ["cancel", "job_status"])
async def test_a_token_nobody_has_is_not_found_and_is_in_the_detail(
    tmp_path: Path, operation: str, token: str
) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        with pytest.raises(RemoteFault) as caught:
            await getattr(console, operation)(token)
    assert caught.value.soap.subcode == qname(DSC, "ClientErrorJobTokenNotFound")
    assert caught.value.detail == token


async def test_a_job_that_has_ended_is_none_to_cancel(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        completed, canceled = await scan(site), await begin(site)
        await finished(site, completed)
        await console.cancel(canceled)
        for token in (completed, canceled):
            with pytest.raises(RemoteFault, match="ClientErrorJobTokenNotFound"):
                await console.cancel(token)
        assert (await console.job_status(completed)).state is JobState.COMPLETED


# Events ---------------------------------------------------------------------------------------------------


async def test_an_administrator_hears_of_every_job_and_of_the_server(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console, listening() as sink:
        await console.subscribe(sink.endpoint(), timedelta(minutes=5))
        tokens = {await scan(site), await scan(site, user="bob")}
        ended = set()
        standings = []
        while not (ended == tokens and standings[-1:] == ["Idle"]):
            body = await event(sink)
            if body.tag == dsc.PostScanJobEndStateEvent.TAG:
                ended.add(dsc.PostScanJobEndStateEvent.from_element(body).end_state.job_token)
            elif body.tag == dsc.RepositoryStatusSummaryEvent.TAG:
                standings.append(dsc.RepositoryStatusSummaryEvent.from_element(body).summary.state)
            else:
                assert dsc.PostScanJobStatusEvent.from_element(body).status.job_token in tokens
    assert standings[0] == "Processing"


async def test_who_filters_by_action_hears_that_alone(tmp_path: Path) -> None:
    wanted = (dsc.action_of(dsc.PostScanJobEndStateEvent),)
    async with running(tmp_path / "site") as site, site.console() as console, listening() as sink:
        await console.subscribe(sink.endpoint(), timedelta(minutes=5), wanted)
        token = await begin(site)
        await console.cancel(token)
        body = await event(sink)
        assert sink.heard.empty()
    end = dsc.PostScanJobEndStateEvent.from_element(body).end_state
    assert (end.job_token, end.state) == (token, JobState.CANCELED)
    assert end.reasons == (JobStateReason.CANCELED,)


async def test_a_server_that_stops_says_so_and_ends_the_subscription(tmp_path: Path) -> None:
    async with listening() as sink:
        async with running(tmp_path / "site") as site, site.console() as console:
            await console.subscribe(sink.endpoint(), timedelta(minutes=5))
        summary = dsc.RepositoryStatusSummaryEvent.from_element(await event(sink)).summary
        assert (summary.state, summary.reasons) == (RepositoryState.STOPPED, (dsc.SHUTTING_DOWN,))
        assert b"SourceShuttingDown" in serialize(await event(sink))


async def test_every_answer_is_valid_and_small(tmp_path: Path) -> None:
    """The wire's own check validates each answer; this asks for all of them."""
    async with running(tmp_path / "site") as site:
        token = await begin(site)
        everything = "".join(
            f"<dsc:Name>dsc:{name}</dsc:Name>" for name in ("JobStatus", "JobDescription", "Documents", "X")
        )
        server = "<dsc:Name>dsc:RepositoryConfiguration</dsc:Name><dsc:Name>dsc:RepositoryStatus</dsc:Name>"
        job = f"<dsc:JobToken>{token}</dsc:JobToken>"
        elements = f"{job}<dsc:RequestedElements>{everything}</dsc:RequestedElements>"
        for operation, content in (
            ("GetRepositoryElements", f"<dsc:RequestedElements>{server}</dsc:RequestedElements>"),
            ("GetActiveJobs", ""),
            ("GetJobHistory", ""),
            ("GetPostScanJobElements", elements),
            ("CancelPostScanJob", job),
        ):
            body = f"<dsc:{operation}Request>{content}</dsc:{operation}Request>"
            answer = await asked(site, operation, body)
            assert answer.status == 200, answer.body
            assert answer.envelope.headers.action == f"{DSC}/{operation}Response"


async def test_after_a_restart_a_subscriber_hears_what_it_may_have_missed(tmp_path: Path) -> None:
    async with listening() as sink:
        keep = {"on_stop": "keep"}
        async with running(tmp_path / "site", eventing=keep) as site, site.console() as console:
            ended, open_job = await scan(site), await begin(site)
            await finished(site, ended)
            await console.subscribe(sink.endpoint(), timedelta(minutes=30))
        forget_confirmations(site)
        async with running(tmp_path, made=site.made) as site, site.console() as console:
            told = [await event(sink) for _ in range(5)]
            await console.cancel(open_job)
            while (last := await event(sink)).tag != dsc.PostScanJobEndStateEvent.TAG:
                pass
    kinds = [body.tag.rpartition("}")[2] for body in told]
    assert kinds == [
        "RepositoryStatusSummaryEvent",
        "PostScanJobEndStateEvent",
        "PostScanJobStatusEvent",
        "RepositoryStatusSummaryEvent",
        "RepositoryElementsChangeEvent",
    ]
    assert dsc.PostScanJobEndStateEvent.from_element(told[1]).end_state.job_token == ended
    assert dsc.PostScanJobStatusEvent.from_element(told[2]).status.job_token == open_job
    assert dsc.PostScanJobEndStateEvent.from_element(last).end_state.job_token == open_job


def forget_confirmations(site: Site) -> None:
    """Leave the store as a crash would, before what a sink took was written down."""
    with closing(sqlite3.connect(site.made.folder / "data" / "jobs.sqlite")) as store, store:
        store.execute("UPDATE subscriptions SET confirmed = 0")


async def test_after_a_restart_whoever_lost_the_right_hears_nothing(tmp_path: Path) -> None:
    async with listening() as sink:
        keep = {"on_stop": "keep"}
        async with running(tmp_path / "site", eventing=keep) as site, site.console() as console:
            await console.subscribe(sink.endpoint(), timedelta(minutes=30))
        await event(sink)
        people = site.made.directory / "users.toml"
        people.write_text(people.read_text().replace("Scan Administrators", "Former Administrators"))
        async with running(tmp_path, made=site.made) as site:
            assert site.server is not None
            await finished(site, await scan(site))
            await asyncio.sleep(0)
            assert len(site.server._events[1]) == 1
        assert sink.heard.empty()
