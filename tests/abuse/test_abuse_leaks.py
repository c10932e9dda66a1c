"""Abuse cases 42 and 43: what faults must not tell, and what log lines must not become."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from postscan.core.errors import PostscanError
from postscan.core.log import MAX_FIELD, MAX_TRACE, configure_logging, get_logger
from postscan.jobs.errors import StorageUnavailable
from postscan.soap.names import DSP, PSP, WSD, WSE, qname
from support.scanning import Site, jpeg, running
from support.wire import (
    SOAP_TYPE,
    canary,
    create_request,
    elements_request,
    envelope,
    job_request,
    mtom_type,
    probe,
    upload,
    wire,
    with_text,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Catch the server's log, as a service writes it."""
    stream = io.StringIO()
    configure_logging(level="DEBUG", stream=stream)
    yield stream
    structlog.reset_defaults()


def lines(log: io.StringIO) -> list[dict[str, object]]:
    """Return the log's lines; fails when one is no JSON object of its own."""
    text = log.getvalue()
    assert text.isascii()
    assert text.endswith("\n")
    # split("\n"), not splitlines(): no other character may end a line either.
    raw = text.split("\n")[:-1]
    assert [one for one in raw if any(ord(c) < 32 for c in one)] == []
    return [json.loads(one) for one in raw]


def bounded(entry: dict[str, object]) -> bool:
    return all(
        len(v) <= (MAX_TRACE if k == "exception" else MAX_FIELD)
        for k, v in entry.items()
        if isinstance(v, str)
    )


# Case 42 --------------------------------------------------------------------------------------------------


class Sabotaged(Exception):
    """What no caller may ever read."""


@pytest_asyncio.fixture(loop_scope="module")
async def broken(tmp_path: Path) -> AsyncIterator[Site]:
    """Run a server of its own, for the test to break."""
    async with running(tmp_path / "site") as site:
        yield site


SECRETS = [
    Sabotaged("Traceback (most recent call last) at /srv/secret/spool.py S-1-5-21-7-7-7-7"),
    StorageUnavailable("sqlite: disk I/O error at /srv/secret/jobs.sqlite for S-1-5-21-7-7-7-7"),
    PostscanError("password=hunter2 in /etc/postscan"),
    KeyError("/srv/secret"),
    UnicodeDecodeError("utf-8", b"/srv/secret", 0, 1, "hunter2"),
]


@pytest.mark.parametrize("error", SECRETS, ids=lambda e: type(e).__name__)
async def test_case_42_an_unforeseen_error_tells_its_sender_nothing_but_an_id(
    broken: Site, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: object) -> None:
        raise error

    assert broken.server is not None
    async with wire(broken) as peer:
        token = await peer.create()
        for name in ("check_image", "end", "cancel", "job"):
            monkeypatch.setattr(broken.server.engine, name, fail)
        for answer in (
            await peer.upload(token, jpeg()),
            await peer.post(job_request("EndPostScanJob", token)),
            await peer.post(job_request("CancelPostScanJob", token)),
            await peer.post(elements_request(token)),
        ):
            assert answer.status == 500
            assert answer.subcode in ("ServerErrorInternalError", "ServerErrorTemporaryError")
            for secret in (b"secret", b"hunter2", b"S-1-5", b"/etc", b"Sabotaged", b"KeyError"):
                assert secret not in answer.body
            # The one who reads the log finds what it was.
            told = [entry for entry in lines(log) if entry.get("request") == answer.correlation_id]
            assert told
            assert all(map(bounded, told))
        assert await peer.works()


async def test_case_42_faults_of_every_kind_tell_nothing_of_the_inside(site: Site) -> None:
    """One of each; support.wire looks into every answer, in all tests of this folder."""
    alice = (await site.user()).sid
    process = await site.process("Invoices")
    async with wire(site) as peer, wire(site, "bob") as bob, wire(site, None) as nobody:
        token = await peer.create()
        seen = set()
        for who, message in (
            (peer, b"<x"),
            (peer, b"<!DOCTYPE x>"),
            (peer, envelope(f"{DSP}/Nothing", "<x/>")),
            (peer, job_request("EndPostScanJob", token)),
            (peer, job_request("EndPostScanJob", "/etc/passwd")),
            (peer, elements_request(token, *["dsp:x"] * 100)),
            (peer, create_request(process, alice, change=with_text(qname(PSP, "DocumentRootName"), "x"))),
            (bob, create_request(process, alice)),
            (bob, job_request("CancelPostScanJob", token)),
            (nobody, create_request(process, alice)),
            (nobody, job_request("CancelPostScanJob", token)),
        ):
            answer = await who.post(message)
            assert answer.status >= 400
            assert len(answer.correlation_id) == 32
            seen.add((answer.fault.reason, answer.subcode))
            assert alice.encode() not in answer.body
        assert len(seen) >= 7


async def test_case_42_http_answers_name_no_software(site: Site) -> None:
    async with wire(site) as peer:
        for path, body in (("/ScanServer", probe()), ("/nowhere", b""), (None, b"x")):
            answer = await peer.post(body, path=path)
            assert set(answer.headers) <= {"content-type", "content-length", "date", "allow"}


# Case 43 --------------------------------------------------------------------------------------------------

FORGED = '\n{"event": "forged", "level": "info"}\r\x1b[31m red \x85\u2028 end\x7f'
# What XML lets a peer write of that: no escape characters.
IN_XML = '&#10;{"event": "forged"}&#13;\u0085\u2028\u202e\u2066' + "x" * 5_000


async def test_case_43_no_field_of_a_message_forges_or_floods_a_line(site: Site, log: io.StringIO) -> None:
    async with canary(), wire(site) as peer:
        token = await peer.create()
        for message in (
            job_request("EndPostScanJob", IN_XML[:200]),
            job_request("EndPostScanJob", "t", message_id=IN_XML[:900].replace(" ", "")),
            envelope("urn:x" + IN_XML[:900].replace(" ", ""), "<dsp:EndPostScanJobRequest/>"),
            envelope(f"{DSP}/EndPostScanJob", f"<dsp:{'x' * 3_000}/>"),
            envelope(
                f"{WSE}/Subscribe",
                "<wse:Subscribe><wse:Delivery><wse:NotifyTo><wsa:Address>http://"
                f"{IN_XML[:600].replace(' ', '')}/</wsa:Address></wse:NotifyTo></wse:Delivery>"
                "</wse:Subscribe>",
            ),
            envelope(
                f"{WSD}/Probe",
                f"<wsd:Probe><wsd:Scopes MatchBy='urn:{'y' * 4_000}'>u</wsd:Scopes></wsd:Probe>",
            ),
            create_request(
                await site.process(),
                (await site.user()).sid,
                change=with_text(qname(DSP, "UserIdentifier"), "x\ny"),
            ),
        ):
            await peer.post(message)
        await peer.post(upload(token, jpeg(), image_format="&#10;x"), mtom_type())
        await peer.post(b"x", "text/plain; x=" + "y" * 4_000)
        await peer.post(probe(), SOAP_TYPE, f"X-Strange: {'z' * 4_000}\x1b[31m", path="/ScanServer")
    written = lines(log)
    assert len(written) >= 8
    assert all(map(bounded, written))
    assert "forged" not in {entry["event"] for entry in written}
    assert {"request refused"} <= {entry["event"] for entry in written}


@pytest.mark.parametrize("where", ["event", "field", "exception"])
async def test_case_43_whatever_is_logged_stays_one_bounded_line(log: io.StringIO, where: str) -> None:
    logger = get_logger("test")
    hostile = FORGED * 10_000
    if where == "event":
        logger.info(hostile)
    elif where == "field":
        logger.info("x", why=hostile, number=1, lone="\udc80")
    else:
        try:
            raise ValueError(hostile)
        except ValueError:
            logger.exception("x")
    (line,) = lines(log)
    assert bounded(line)
    assert "\x1b" not in str(line)


async def test_case_43_lines_for_people_hold_no_escape_sequence_of_a_peer() -> None:
    stream = io.StringIO()
    configure_logging(as_json=False, stream=stream)
    try:
        get_logger("test").info("x", why=FORGED)
        try:
            raise ValueError(FORGED)
        except ValueError:
            get_logger("test").exception("y")
    finally:
        structlog.reset_defaults()
    assert "\x1b[31m" not in stream.getvalue()
    assert len([one for one in stream.getvalue().split("\n") if '"forged"' in one and "why=" in one]) == 1


async def test_case_43_a_flood_of_refused_requests_does_not_flood_the_log(
    tmp_path: Path, log: io.StringIO
) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer:
        configure_logging(stream=log)
        for _ in range(300):
            assert (await peer.post(job_request("EndPostScanJob", "unknown"))).status == 400
    refused = [entry for entry in lines(log) if entry["event"] == "request refused"]
    assert 50 <= len(refused) < 100


async def test_case_43_a_line_of_a_refused_request_carries_the_id_its_sender_saw(
    site: Site, log: io.StringIO
) -> None:
    async with wire(site) as peer:
        answer = await peer.post(job_request("EndPostScanJob", "unknown"))
    refused = [entry for entry in lines(log) if entry["event"] == "request refused"]
    assert [entry["request"] for entry in refused] == [answer.correlation_id]
    assert refused[0]["peer"] == "127.0.0.1"
