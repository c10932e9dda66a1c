"""Controllers that die, hang or answer slowly while devices scan: jobs go on, and nobody waits long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from postscan.contracts.keywords import JobState
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.filters import equal
from postscan.directory.ldap.model import Change, Operation, Scope
from support.controllers import SECOND, line, second_controller
from support.domain import Domain
from support.office import make_office
from support.office_wire import Device, Office, administrator, as_stored, office, process_named
from support.scanning import jpeg
from support.wire import Answer, elements_request, mtom_type, upload
from testdomain.controller import Controller
from testdomain.facts import ALICE, BASE_DN, BOB, CONTROLLER, DAVE, FRANK, SERVICE, ZOE

OURS: Final = as_stored(process_named("For everybody"))
HASTY: Final = {"connect_seconds": 1, "answer_seconds": 1}
# Longer than a test lasts: what ends earlier did not wait for it.
PATIENT: Final = {"connect_seconds": 100, "answer_seconds": 100}
TEMPORARY: Final = "ServerErrorTemporaryError"


@asynccontextmanager
async def running(domain: Domain, folder: Path, **directory: Any) -> AsyncIterator[Office]:
    made = make_office(
        domain,
        folder / "site",
        tls={"client_ca": ""},
        discovery={"enabled": "no"},
        # Every question is asked anew.
        directory={"cache_seconds": 0, **directory},
    )
    async with office(domain, made) as here:
        yield here


def forget_who_is_who(here: Office) -> None:
    """Let the time be over for which whose certificate it is need not be asked again."""
    assert here.site.server is not None
    authenticator = here.site.server._reloader._parts.authenticator  # type: ignore[union-attr]
    for der, one in list(authenticator._known.items()):
        authenticator._known[der] = replace(one, until=0.0)


async def refused(device: Device) -> Answer:
    answer = await device.ask(OURS)
    assert (answer.status, answer.subcode) == (500, TEMPORARY), answer.body
    return answer


SEALED: Final = {"transport": "sealed", "bind": "kerberos", "account": f"{SERVICE.name}@DSM.TEST"}


@pytest.mark.parametrize("again", ["known", "asked anew"])
@pytest.mark.parametrize("how", [{}, {"transport": "starttls"}, SEALED], ids=["ldaps", "starttls", "sealed"])
@pytest.mark.parametrize("way", ["stop", "freeze"])
async def test_a_controller_that_goes_in_the_middle_of_a_job_ends_no_job(
    domain: Domain, tmp_path: Path, way: str, how: dict[str, Any], again: str
) -> None:
    """It dies, or hangs, between two images; the job is delivered, and new ones begin when it is back."""
    async with running(domain, tmp_path, **HASTY, **how) as here, here.device(ALICE) as device:
        token = await device.create(OURS)
        await device.send(token, 1)
        getattr(domain, way)()
        if again == "asked anew":
            forget_who_is_who(here)
        await device.send(token, 2)
        await refused(device)
        assert await device.end(token) is JobState.COMPLETED
        await refused(device)
        domain.thaw()
        domain.start()
        later = await device.create(OURS)
        await device.send(later)
        assert await device.end(later) is JobState.COMPLETED
    assert len(list((here.made.folder / "delivered").rglob("*.jpg"))) == 3


@pytest.mark.parametrize("way", ["stop", "freeze"])
async def test_an_image_on_its_way_arrives_though_the_controller_goes(
    domain: Domain, tmp_path: Path, way: str
) -> None:
    async with running(domain, tmp_path, **HASTY) as here, here.device(ALICE) as device:
        token = await device.create(OURS)
        body = upload(token, jpeg(1, 200_000))
        head = device.wire.head(f"Content-Type: {mtom_type()}", f"Content-Length: {len(body)}")
        await device.wire.say(head + body[:100_000])
        getattr(domain, way)()
        forget_who_is_who(here)
        await device.wire.say(body[100_000:])
        assert (await device.wire.answer()).status == 200
        assert await device.end(token) is JobState.COMPLETED


async def test_nobody_waits_for_a_slow_controller_but_who_asks_it(domain: Domain, tmp_path: Path) -> None:
    """While it thinks about one Create, images, ends, states and refusals of others are answered."""
    async with (
        line(domain) as wire,
        running(domain, tmp_path, controllers=[wire.controller], **PATIENT) as here,
        here.device(ALICE) as device,
        here.device(BOB) as other,
        here.device(ALICE) as again,
    ):
        token, his = await device.create(OURS), await other.create(OURS)
        wire.hold()
        create = asyncio.create_task(again.ask(OURS))
        await wire.waiting()
        await device.send(token)
        await other.send(his)
        assert await other.state(his) is JobState.CREATING
        assert (await other.wire.post(elements_request(token))).subcode == "ClientErrorJobTokenNotFound"
        assert await device.end(token) is JobState.COMPLETED
        async with here.wire(None) as nobody:
            assert (await nobody.post(elements_request(token))).subcode == "FailedAuthentication"
        assert not create.done()
        wire.release()
        assert (await create).status == 200
        assert await other.end(his) is JobState.COMPLETED


async def test_the_server_starts_while_its_controller_hangs_and_stops_in_the_middle_of_a_question(
    domain: Domain, tmp_path: Path
) -> None:
    async with line(domain) as wire:
        async with (
            running(domain, tmp_path / "first", controllers=[wire.controller], **PATIENT) as here,
            here.device(ALICE) as device,
        ):
            certificate = await here.certificate(ALICE)
            wire.hold()
            create = asyncio.create_task(device.ask(OURS))
            await wire.waiting()
        # The server has stopped; whoever waited for it was told something, or was hung up on.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            assert (await create).status != 200
        async with running(domain, tmp_path / "second", controllers=[wire.controller], **HASTY) as here:
            async with here.wire(certificate) as connection:
                answer = await Device(connection, device.sid).ask(OURS)
                # Nobody can tell yet which authorities the domain has.
                assert answer.subcode == "FailedAuthentication"
            wire.release()
            assert here.site.server is not None
            await here.site.server._upkeep.look()
            async with here.wire(certificate) as connection:
                await Device(connection, device.sid).create(OURS)


async def test_a_controller_that_is_too_slow_is_away_until_it_answers_again(
    domain: Domain, tmp_path: Path
) -> None:
    async with (
        line(domain) as wire,
        running(domain, tmp_path, controllers=[wire.controller], **HASTY) as here,
        here.device(ALICE) as device,
    ):
        token = await device.create(OURS)
        wire.hold()
        await refused(device)
        await device.send(token)
        wire.release()
        assert (await device.ask(OURS)).status == 200
        assert await device.end(token) is JobState.COMPLETED


async def test_many_who_ask_a_controller_that_hangs_are_all_refused_without_a_crowd_of_connections(
    domain: Domain, tmp_path: Path
) -> None:
    async with (
        line(domain) as wire,
        running(domain, tmp_path, controllers=[wire.controller], **HASTY) as here,
        AsyncExitStack() as stack,
    ):
        people = (ALICE, BOB, DAVE, FRANK, SERVICE, ZOE)
        devices = [await stack.enter_async_context(here.device(person)) for person in people]
        for device in devices:
            await device.create(OURS)
        before = wire.connections
        wire.hold()
        answers = await asyncio.gather(*(device.ask(OURS) for device in devices))
        assert {answer.subcode for answer in answers} == {TEMPORARY}
        assert wire.connections - before <= 2 * len(people)
        wire.release()
        answers = await asyncio.gather(*(device.ask(OURS) for device in devices))
        assert {answer.status for answer in answers} == {200}


async def test_a_password_that_was_changed_locks_no_account_however_many_ask(
    domain: Domain, tmp_path: Path
) -> None:
    """The server's own password is wrong since the controller came back: it is tried once."""
    async with (
        administrator(domain) as ldap,
        running(domain, tmp_path, **HASTY) as here,
        here.device(ALICE) as device,
    ):
        service = await service_account(ldap)
        token = await device.create(OURS)
        await ldap.modify(BASE_DN, [threshold("10")])
        try:
            # The last ones are taken for a while after a change, or not counted as wrong.
            for number in range(4):
                await ldap.modify(service, [password(f"An0ther-Passw0rd-{number}")])
            domain.stop()
            domain.start()
            for _ in range(5):
                await refused(device)
            counted = await ldap.read(service, ["badPwdCount"])
            assert counted is not None
            assert counted.text("badPwdCount") == "1"
            await device.send(token)
            assert await device.end(token) is JobState.COMPLETED
        finally:
            await ldap.modify(service, [password(SERVICE.password)])
            await ldap.modify(BASE_DN, [threshold("0")])


async def service_account(ldap: Ldap) -> str:
    """Return the distinguished name of the server's account."""
    [found] = await ldap.search(BASE_DN, Scope.SUBTREE, equal("sAMAccountName", SERVICE.name), ["cn"])
    return found.dn


def password(text: str) -> Change:
    """Return the change that gives an account a password ([MS-ADTS] 3.1.1.3.1.5.1)."""
    return Change(Operation.REPLACE, "unicodePwd", (f'"{text}"'.encode("utf-16-le"),))


def threshold(text: str) -> Change:
    """Return the change that has wrong passwords counted, up to so many."""
    return Change(Operation.REPLACE, "lockoutThreshold", (text.encode(),))


# Two controllers -----------------------------------------------------------------------------------------


@pytest.fixture
def second(domain: Domain, tmp_path: Path) -> Any:
    with second_controller(domain, tmp_path) as controller:
        yield controller


@pytest.mark.parametrize("way", ["stop", "freeze"])
async def test_with_a_second_controller_no_create_is_refused_when_the_first_goes(
    domain: Domain, second: Controller, tmp_path: Path, way: str
) -> None:
    async with (
        running(domain, tmp_path, controllers=[CONTROLLER, SECOND], **HASTY) as here,
        here.device(ALICE) as device,
    ):
        token = await device.create(OURS)
        assert (await here.directory.ldap.facts()).host == CONTROLLER  # type: ignore[attr-defined]
        await device.send(token)
        getattr(domain, way)()
        forget_who_is_who(here)
        await device.create(OURS)
        assert (await here.directory.ldap.facts()).host == SECOND  # type: ignore[attr-defined]
        assert await device.end(token) is JobState.COMPLETED
        # Back again it serves when the other goes in its turn.
        domain.thaw()
        domain.start()
        second.stop()
        await device.create(OURS)
        assert (await here.directory.ldap.facts()).host == CONTROLLER  # type: ignore[attr-defined]


async def test_without_any_of_two_controllers_a_create_is_refused_and_taken_when_one_is_back(
    domain: Domain, second: Controller, tmp_path: Path
) -> None:
    async with (
        running(domain, tmp_path, controllers=[CONTROLLER, SECOND], **HASTY) as here,
        here.device(ALICE) as device,
    ):
        await device.create(OURS)
        domain.freeze()
        second.freeze()
        await refused(device)
        second.thaw()
        await device.create(OURS)
