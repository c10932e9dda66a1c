"""Abuse cases 21 to 23: messages played again, tokens of others, and users somebody claims to be."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from postscan.contracts.keywords import JobState
from postscan.soap.names import DSP, PSP, WSSE, qname
from support.scanning import Site, jpeg, make_installation, running
from support.wire import (
    Answer,
    Wire,
    create_request,
    elements_request,
    images_of,
    job_request,
    jobs_of,
    new_id,
    temporary_files,
    wire,
    with_text,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOT_FOUND = qname(DSP, "ClientErrorJobTokenNotFound")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lax(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Run a server in unauthenticated mode that trusts devices at 127.0.0.1."""
    async with running(
        tmp_path_factory.mktemp("lax") / "site",
        server={"mode": "unauthenticated"},
        devices={"allow": ["127.0.0.1"]},
    ) as site:
        yield site


async def request(site: Site, user: str = "alice", **more: str) -> bytes:
    return create_request(await site.process(), (await site.user(user)).sid, **more)


# Case 21 --------------------------------------------------------------------------------------------------


async def test_case_21_a_create_played_again_is_one_job(site: Site) -> None:
    message = await request(site, message_id=new_id())
    before = await jobs_of(site)
    async with wire(site) as one, wire(site) as other:
        first = await one.post(message)
        again = await other.post(message)
        assert first.status == again.status == 200
        assert first.text("JobToken") == again.text("JobToken")
    assert await jobs_of(site) == before + 1


async def test_case_21_the_same_create_at_the_same_moment_is_one_job(site: Site) -> None:
    message = await request(site, message_id=new_id())
    before = await jobs_of(site)
    async with wire(site) as a, wire(site) as b, wire(site) as c:
        answers = await asyncio.gather(*(peer.post(message) for peer in (a, b, c)))
    assert len({answer.text("JobToken") for answer in answers}) == 1
    assert await jobs_of(site) == before + 1


async def test_case_21_another_client_with_the_same_message_id_gets_its_own_job(site: Site) -> None:
    message_id = new_id()
    async with wire(site, "alice") as alice, wire(site, "bob") as bob:
        hers = await alice.post(await request(site, "alice", message_id=message_id))
        his = await bob.post(await request(site, "bob", message_id=message_id))
    assert hers.text("JobToken") != his.text("JobToken")


async def test_case_21_a_create_that_was_refused_is_not_remembered(site: Site) -> None:
    message_id = new_id()
    async with wire(site) as peer:
        broken = await peer.post(
            create_request(
                await site.process(),
                (await site.user()).sid,
                message_id=message_id,
                change=with_text(qname(PSP, "Dialect"), "urn:other"),
            )
        )
        assert broken.status == 400
        assert (await peer.post(await request(site, message_id=message_id))).status == 200


# Case 22 --------------------------------------------------------------------------------------------------


async def every_operation(peer: Wire, token: str) -> list[Answer]:
    return [
        await peer.upload(token, jpeg(1, 100_000)),
        await peer.post(job_request("EndPostScanJob", token)),
        await peer.post(job_request("CancelPostScanJob", token)),
        await peer.post(elements_request(token, "dsp:JobStatus", "dsp:Documents")),
    ]


@pytest.mark.parametrize("state", ["open", "ended", "canceled"])
async def test_case_22_a_token_of_another_identity_does_not_exist(site: Site, state: str) -> None:
    """Bob learns of Alice's job what he learns of one that was never made."""
    async with wire(site, "alice") as alice, wire(site, "bob") as bob:
        token = await alice.create()
        assert (await alice.upload(token, jpeg(0))).status == 200
        if state == "ended":
            assert (await alice.post(job_request("EndPostScanJob", token))).status == 200
        if state == "canceled":
            assert (await alice.post(job_request("CancelPostScanJob", token))).status == 200
        stolen = await every_operation(bob, token)
        invented = str(uuid.uuid4())
        guessed = await every_operation(bob, invented)
        for taken, none in zip(stolen, guessed, strict=True):
            assert taken.fault.subcode == none.fault.subcode == NOT_FOUND
            assert (taken.status, taken.fault.reason) == (none.status, none.fault.reason)
            assert (taken.detail, none.detail) == (token, invented)
        assert temporary_files(site) == []
        told = await alice.post(elements_request(token))
        assert told.status == 200
        assert told.text("ImagesReceived") == "1"
        assert told.text("JobState") != (JobState.CANCELED if state != "canceled" else "")


@pytest.mark.parametrize("token", ["x", "../../etc", "0", "urn:uuid:1", "' OR 1=1 --", "%00", "ä" * 100])
async def test_case_22_a_token_that_is_no_guid_is_not_found_either(site: Site, token: str) -> None:
    async with wire(site) as peer:
        for answer in await every_operation(peer, token):
            assert answer.fault.subcode in (NOT_FOUND, qname(DSP, "InvalidArgs"))


async def test_case_22_tokens_are_random_guids(site: Site) -> None:
    async with wire(site) as peer:
        tokens = {await peer.create() for _ in range(10)}
    assert len(tokens) == 10
    assert {uuid.UUID(token).version for token in tokens} == {4}


async def test_case_22_without_certificate_no_token_is_looked_up(site: Site) -> None:
    async with wire(site) as alice, wire(site, user=None) as nobody:
        token = await alice.create()
        for answer in await every_operation(nobody, token):
            assert answer.fault.subcode == qname(WSSE, "FailedAuthentication")
        assert await images_of(site, token) == 0


# Case 23 --------------------------------------------------------------------------------------------------


async def test_case_23_a_certificate_speaks_for_its_own_user_alone(site: Site) -> None:
    before = await jobs_of(site)
    async with wire(site, "bob") as bob:
        answer = await bob.post(await request(site, "alice"))
        assert answer.status == 400
        assert answer.fault.subcode == qname(WSSE, "FailedAuthentication")
    assert await jobs_of(site) == before


MALFORMED = [
    "alice",
    "S-1",
    "S-1-5",
    "S-1-5-21-x",
    "S-1-5-21-99999999999-1-1-1",
    "S-1-5-21-1-2-3-1001; DROP TABLE jobs",
    "*)(objectClass=*",
    "S-1-5-21--1",
    "ſ-1-5-21-1-2-3-4",
    "S-1-5-21-١-2-3-4",
    "S-1-" + "5-" * 200,
]


@pytest.mark.parametrize("sid", MALFORMED)
async def test_case_23_a_malformed_sid_is_an_invalid_argument(site: Site, lax: Site, sid: str) -> None:
    for one in (site, lax):
        before = await jobs_of(one)
        async with wire(one) as peer:
            answer = await peer.post(create_request(await one.process(), sid))
            assert (answer.status, answer.subcode) == (400, "InvalidArgs")
            assert answer.detail == "dsp:UserIdentifier"
        assert await jobs_of(one) == before


async def test_case_23_in_unauthenticated_mode_a_listed_device_speaks_for_known_users_alone(
    lax: Site,
) -> None:
    async with wire(lax, user=None) as peer:
        assert (await peer.post(await request(lax, "bob"))).status == 200
        stranger = await peer.post(create_request(await lax.process(), "S-1-5-21-1-2-3-4"))
        assert (stranger.subcode, stranger.detail) == ("InvalidArgs", "dsp:UserIdentifier")


async def test_case_23_in_unauthenticated_mode_a_device_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    async with running(
        tmp_path / "site", server={"mode": "unauthenticated"}, devices={"allow": ["10.0.0.0/8"]}
    ) as site:
        async with wire(site, user=None) as nobody, wire(site, "alice") as unlisted:
            for peer in (nobody, unlisted):
                answer = await peer.post(await request(site))
                assert answer.fault.subcode == qname(WSSE, "FailedAuthentication")
        assert await jobs_of(site) == 0


async def test_case_23_the_job_and_the_log_say_which_device_vouched_for_whom(lax: Site) -> None:
    bob = await lax.user("bob")
    with capture_logs(processors=[merge_contextvars]) as lines:
        async with wire(lax, user=None) as peer:
            token = (await peer.post(await request(lax, "bob"))).text("JobToken")
    (created,) = [line for line in lines if line["event"] == "job created"]
    assert created["token"] == token
    assert (created["mode"], created["vouched_by"]) == ("unauthenticated", "device:127.0.0.1")
    assert (created["user_sid"], created["user_upn"]) == (bob.sid, bob.upn)
    assert created["device"] == "127.0.0.1"
    assert lax.server is not None
    assert (await lax.server.engine.job(token, None)).vouched_by == "device:127.0.0.1"


async def test_case_23_the_job_and_the_log_say_whose_certificate_was_shown(site: Site) -> None:
    pem = (site.made.pki / "users" / "bob.pem").read_bytes()
    shown = f"certificate:sha256:{x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()}"
    with capture_logs(processors=[merge_contextvars]) as lines:
        async with wire(site, "bob") as peer:
            token = (await peer.post(await request(site, "bob"))).text("JobToken")
    (created,) = [line for line in lines if line["event"] == "job created"]
    assert (created["mode"], created["vouched_by"]) == ("authenticated", shown)
    assert site.server is not None
    assert (await site.server.engine.job(token, None)).vouched_by == shown


async def test_case_23_a_refused_caller_leaves_one_line_with_reason_and_address(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire(site, user=None) as peer:
        with capture_logs(processors=[merge_contextvars]) as lines:
            await peer.post(await request(site))
    (refused,) = [line for line in lines if line["event"] == "request refused"]
    assert refused["why"] == "no client certificate"
    assert (refused["error"], refused["peer"]) == ("AuthenticationFailed", "127.0.0.1")


async def test_case_23_a_process_that_is_not_granted_is_as_unknown_as_one_that_is_not_there(
    site: Site,
) -> None:
    async with wire(site, "bob") as bob:
        invoices = await site.process("Invoices")
        sid = (await site.user("bob")).sid
        forbidden = await bob.post(create_request(invoices, sid))
        unknown = await bob.post(
            create_request(
                invoices,
                sid,
                change=with_text(qname(DSP, "PSP_Identifier"), str(uuid.uuid4())),
            )
        )
        for answer in (forbidden, unknown):
            assert (answer.status, answer.subcode) == (400, "InvalidArgs")
            assert answer.detail == "dsp:PSP_Identifier"


async def test_case_23_a_certificate_of_another_authority_speaks_for_nobody(
    site: Site, tmp_path: Path
) -> None:
    """Another installation's authority signs a certificate for a user of the same name."""
    other = make_installation(tmp_path / "other")
    before = await jobs_of(site)
    context = site.tls(user=None)
    own = other.pki / "users" / "alice.pem"
    context.load_cert_chain(own, own.with_suffix(".key"))
    async with wire(site, tls=context) as peer:
        answer = await peer.post(await request(site))
        assert answer.fault.subcode == qname(WSSE, "FailedAuthentication")
    assert await jobs_of(site) == before
