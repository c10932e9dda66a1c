"""Every user and every scan process of the test domain: a job where the rights say so, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from support.domain import Domain
from support.office import make_office
from support.office_wire import Device, as_stored, office, refusal
from testdomain.facts import USERS, Person
from testdomain.processes import domain_processes

ROOM: Final = {"max_open_jobs_per_owner": 1_000, "max_open_jobs": 1_000}
QUIET: Final = {"enabled": "no"}
LISTENING: Final = {"mode": "unauthenticated"}
JOB: Final = ("job", "")
NOT_GRANTED: Final = ("InvalidArgs", "dsp:PSP_Identifier")

Outcomes = dict[tuple[str, str], tuple[str, str]]


def wanted(who_is_out: tuple[str, str]) -> Outcomes:
    """Return what a Create has to give for each user and process."""
    return {
        (person.name, process.display_name): who_is_out
        if not person.enabled or person.expired
        else JOB
        if person.name in process.readers and not process.broken
        else NOT_GRANTED
        for person in USERS
        for process in domain_processes()
    }


async def outcomes(device: Device, person: Person) -> Outcomes:
    found: Outcomes = {}
    for process in domain_processes():
        answer = await device.ask(as_stored(process))
        given = answer.status == 200 and answer.text("JobToken")
        found[person.name, process.display_name] = JOB if given else refusal(answer)
    return found


async def test_each_user_with_a_certificate_gets_the_jobs_the_directory_grants(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(domain, tmp_path / "site", tls={"client_ca": ""}, limits=ROOM, discovery=QUIET)
    found: Outcomes = {}
    async with office(domain, made) as here:
        for person in USERS:
            async with here.device(person) as device:
                found |= await outcomes(device, person)
    assert found == wanted(("FailedAuthentication", "The account of the certificate is disabled."))


async def test_each_user_a_listed_device_speaks_for_gets_the_jobs_the_directory_grants(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(
        domain,
        tmp_path / "site",
        server=LISTENING,
        devices={"allow": ["127.0.0.1"]},
        limits=ROOM,
        discovery=QUIET,
    )
    found: Outcomes = {}
    async with office(domain, made) as here, here.wire(None) as wire:
        for person in USERS:
            found |= await outcomes(Device(wire, (await here.user(person)).sid), person)
    assert found == wanted(("InvalidArgs", "dsp:UserIdentifier"))


async def test_the_server_lists_for_each_user_what_it_gives_them_jobs_for(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(domain, tmp_path / "site", tls={"client_ca": ""}, discovery=QUIET)
    listed: set[tuple[str, str]] = set()
    async with office(domain, made) as here:
        for person in USERS:
            for process in await here.directory.processes_for(await here.user(person)):
                listed.add((person.name, process.display_name))
    assert listed == {pair for pair, outcome in wanted(("", "")).items() if outcome == JOB}
