"""What changes in the domain between the listing at a device and its Create, and in the middle of a job."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from postscan.console.client import RepositoryClient
from postscan.contracts.keywords import JobState
from postscan.device.client import Patience, client_context
from postscan.directory.active.directory import ActiveDirectory, ActiveDirectorySettings
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.model import Change, Operation
from postscan.directory.model import ProcessDraft, StoredProcess
from postscan.dpws.client import RemoteFault
from support.active_directory import ldap_settings
from support.domain import Domain
from support.office import address_of, make_office
from support.office_wire import Office, administrator, as_stored, group_dn, office, process_named, refusal
from testdomain.facts import ADMINISTRATOR, ALICE, BOB, SCAN_ADMIN, ZOE, Person
from testdomain.processes import own_xml

NAME: Final = "Changing"
# As [directory] cache_seconds has it unless it is set; what was read is believed for so long.
SECONDS: Final = 10
GOING_ON: Final = (
    "<psp:PostScanInstructions>",
    "<psp:PostScanInstructions><psp:ContinueOnError>true</psp:ContinueOnError>",
)
NOT_THERE: Final = ("InvalidArgs", "dsp:PSP_Identifier")


@dataclass
class Console:
    """Another machine, at which an administrator edits a scan process."""

    directory: ActiveDirectory
    draft: ProcessDraft
    stored: StoredProcess

    async def xml(self, old: str, new: str) -> None:
        """Put other words into its instructions."""
        changed = self.draft.xml.replace(old.encode(), new.encode())
        assert changed != self.draft.xml
        self.stored = await self.directory.change_process(self.stored, replace(self.draft, xml=changed))

    async def grant(self, *groups: str) -> None:
        """Let these groups use it, and nobody else."""
        draft = replace(self.draft, groups=frozenset(groups))
        self.stored = await self.directory.change_process(self.stored, draft)

    async def delete(self) -> None:
        """Delete it."""
        await self.directory.delete_process(self.stored)


@asynccontextmanager
async def console(domain: Domain) -> AsyncIterator[Console]:
    """Create a scan process for the group ScanStaff; it is gone when the block ends."""
    draft = ProcessDraft(uuid4(), NAME, own_xml(NAME), frozenset(), frozenset({"ScanStaff"}))
    settings = ActiveDirectorySettings(ldap_settings(domain.ca, ADMINISTRATOR))
    async with ActiveDirectory(settings) as directory:
        made = Console(directory, draft, await directory.create_process(draft))
        try:
            yield made
        finally:
            left = await directory.process(draft.identifier)
            if left is not None:
                await directory.delete_process(left)


@asynccontextmanager
async def running(domain: Domain, folder: Path) -> AsyncIterator[Office]:
    made = make_office(domain, folder / "site", tls={"client_ca": ""}, discovery={"enabled": "no"})
    async with office(domain, made) as one:
        yield one


CHANGES: Final[dict[str, tuple[Callable[[Console], Awaitable[None]], tuple[str, str]]]] = {
    "another share": (
        lambda c: c.xml(r"\\scansrv.dsm.test\scans", r"\\scansrv.dsm.test\elsewhere"),
        ("NoValidPostScanInstructionsFound", "fsf:ShareUNC"),
    ),
    "another way with errors": (
        lambda c: c.xml(*GOING_ON),
        ("NoValidPostScanInstructionsFound", "psp:ContinueOnError"),
    ),
    "another server": (
        lambda c: c.xml("scansrv.dsm.test</", "other.dsm.test</"),
        ("NoValidPostScanInstructionsFound", "psp:ScanRepository"),
    ),
    "other rights": (lambda c: c.grant("ScanFinance"), NOT_THERE),
    "nobody's": (lambda c: c.grant(), NOT_THERE),
    "deleted": (lambda c: c.delete(), NOT_THERE),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_process_that_changed_since_it_was_listed_makes_no_job(
    domain: Domain, tmp_path: Path, change: str
) -> None:
    """The job that was under way goes on; a further one is refused once the cache's time is over."""
    make, refused = CHANGES[change]
    async with console(domain) as other, running(domain, tmp_path) as here, here.device(BOB) as device:
        [listed] = [
            p for p in await here.directory.processes_for(await here.user(BOB)) if p.display_name == NAME
        ]
        token = await device.create(listed)
        await device.send(token)
        await make(other)
        # What was read is believed for cache_seconds, and not a moment longer.
        here.clock.advance(SECONDS - 0.1)
        assert (await device.ask(listed)).status == 200
        here.clock.advance(0.1)
        assert refusal(await device.ask(listed)) == refused
        await device.send(token, 2)
        assert await device.end(token) is JobState.COMPLETED
    assert len(list((here.made.folder / "delivered").rglob("*.jpg"))) == 2


async def test_a_process_that_was_not_asked_for_before_counts_as_it_is_now(
    domain: Domain, tmp_path: Path
) -> None:
    async with console(domain) as other, running(domain, tmp_path) as here, here.device(BOB) as device:
        listed = other.stored
        await other.xml(*GOING_ON)
        assert refusal(await device.ask(listed))[0] == "NoValidPostScanInstructionsFound"
        assert (await device.ask(other.stored)).status == 200


async def test_another_order_of_octets_is_no_other_process(domain: Domain, tmp_path: Path) -> None:
    """What a console writes anew without changing what it says does not get in a device's way."""
    async with console(domain) as other, running(domain, tmp_path) as here, here.device(BOB) as device:
        listed = other.stored
        await other.xml("<psp:PostScanInstructions>", "<!-- again -->\r\n<psp:PostScanInstructions >")
        assert (await device.ask(listed)).status == 200


# People --------------------------------------------------------------------------------------------------


async def put_out(ldap: Ldap, *, group: str) -> Callable[[], Awaitable[None]]:
    member = (BOB.dn.encode(),)
    await ldap.modify(group_dn(group), [Change(Operation.DELETE, "member", member)])

    async def back() -> None:
        await ldap.modify(group_dn(group), [Change(Operation.ADD, "member", member)])

    return back


async def set_control(ldap: Ldap, value: int) -> None:
    control = Change(Operation.REPLACE, "userAccountControl", (str(value).encode(),))
    await ldap.modify(BOB.dn, [control])


async def test_who_was_taken_out_of_the_group_begins_no_further_job(domain: Domain, tmp_path: Path) -> None:
    async with (
        administrator(domain) as ldap,
        running(domain, tmp_path) as here,
        here.device(BOB) as device,
    ):
        staff = as_stored(process_named("Staff archive"))
        token = await device.create(staff)
        back = await put_out(ldap, group="ScanStaff")
        try:
            here.clock.advance(SECONDS)
            assert refusal(await device.ask(staff)) == NOT_THERE
            # What everybody may use is still his.
            assert (await device.ask(as_stored(process_named("For everybody")))).status == 200
            await device.send(token)
            assert await device.end(token) is JobState.COMPLETED
        finally:
            await back()
        here.clock.advance(SECONDS)
        assert (await device.ask(staff)).status == 200


async def test_who_was_disabled_begins_no_further_job(domain: Domain, tmp_path: Path) -> None:
    async with (
        administrator(domain) as ldap,
        running(domain, tmp_path) as here,
        here.device(BOB) as device,
    ):
        staff = as_stored(process_named("Staff archive"))
        token = await device.create(staff)
        await device.send(token)
        before = await ldap.read(BOB.dn, ["userAccountControl"])
        assert before is not None
        await set_control(ldap, 0x202)
        try:
            here.clock.advance(SECONDS)
            assert refusal(await device.ask(staff)) == ("InvalidArgs", "dsp:UserIdentifier")
            assert await device.end(token) is JobState.COMPLETED
        finally:
            await set_control(ldap, int(before.text("userAccountControl") or 0))


async def test_who_comes_into_a_group_of_a_group_may_use_what_it_may(domain: Domain, tmp_path: Path) -> None:
    """Zoë comes to be in ScanDeep1 by way of ScanDeep3, which is in ScanDeep2, which is in it."""
    member = (ZOE.dn.encode(),)
    deep = as_stored(process_named("Deep down"))
    async with (
        administrator(domain) as ldap,
        running(domain, tmp_path) as here,
        here.device(ZOE) as device,
    ):
        assert refusal(await device.ask(deep)) == NOT_THERE
        await ldap.modify(group_dn("ScanDeep3"), [Change(Operation.ADD, "member", member)])
        try:
            here.clock.advance(SECONDS)
            assert (await device.ask(deep)).status == 200
        finally:
            await ldap.modify(group_dn("ScanDeep3"), [Change(Operation.DELETE, "member", member)])


# Administrators ------------------------------------------------------------------------------------------


async def test_administrators_are_the_members_of_their_group_as_it_is_now(
    domain: Domain, tmp_path: Path
) -> None:
    member = (ALICE.dn.encode(),)
    async with administrator(domain) as ldap, running(domain, tmp_path) as here:

        async def may(person: Person) -> bool:
            certificate = await here.certificate(person)
            tls = client_context(domain.ca, certificate, certificate.with_suffix(".key"))
            async with RepositoryClient(address_of(here.made), tls=tls, patience=Patience(pauses=())) as asks:
                try:
                    await asks.active_jobs()
                except RemoteFault as fault:
                    return not fault.subcode.endswith("ClientErrorCurrentUserNotScanAdmin")
                return True

        assert await may(SCAN_ADMIN)
        assert not await may(ALICE)
        await ldap.modify(group_dn("Scan Administrators"), [Change(Operation.ADD, "member", member)])
        try:
            here.clock.advance(SECONDS)
            assert await may(ALICE)
        finally:
            await ldap.modify(group_dn("Scan Administrators"), [Change(Operation.DELETE, "member", member)])
        here.clock.advance(SECONDS)
        assert not await may(ALICE)
