"""Abuse cases 22 to 24 and 38 in a real domain: names as filters, and people as others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.installation import Installation
from postscan.cli.pki import create_ca
from postscan.contracts.keywords import JobState
from postscan.directory import der
from postscan.directory.active.directory import ActiveDirectory, ActiveDirectorySettings
from postscan.directory.active.identifiers import sid_text
from postscan.directory.certificates import SID_EXTENSION, SID_NAME, UPN_NAME
from postscan.directory.ldap.filters import equal
from postscan.directory.ldap.model import Change, NoSuchObject, Operation, Scope
from postscan.directory.model import ProcessDraft, StoredProcess
from postscan.soap.names import DSP, FSF, SPX, qname
from support.active_directory import ldap_settings
from support.commands import draw_page
from support.domain import Domain
from support.issuing import Authority, Issued, Wish
from support.office import make_office
from support.office_wire import Device, Office, administrator, as_stored, office, process_named, refusal
from support.scanning import jpeg
from support.wire import elements_request, job_request, jobs_of, with_text
from testdomain.facts import ADMINISTRATOR, ALICE, BASE_DN, BOB, COMPUTER, PROCESSES_DN, SCAN_SERVER
from testdomain.processes import own_xml

EVERYBODYS: Final = as_stored(process_named("For everybody"))
NO_USER: Final = ("InvalidArgs", "dsp:UserIdentifier")
NO_PROCESS: Final = ("InvalidArgs", "dsp:PSP_Identifier")
UNKNOWN: Final = "FailedAuthentication"
# Sixteen octets, as an identifier has.
FILTER: Final = b"*)(objectClass=*"


@asynccontextmanager
async def running(
    domain: Domain, folder: Path, *, strict: bool = True, **overrides: Any
) -> AsyncIterator[Office]:
    if not strict:
        overrides |= {"server": {"mode": "unauthenticated"}, "devices": {"allow": ["127.0.0.1"]}}
    settings: dict[str, Any] = {"tls": {"client_ca": ""}, "discovery": {"enabled": "no"}, **overrides}
    async with office(domain, make_office(domain, folder / "site", **settings)) as here:
        yield here


# Case 22 --------------------------------------------------------------------------------------------------


async def test_case_22_a_token_of_another_account_of_the_domain_does_not_exist(
    domain: Domain, tmp_path: Path
) -> None:
    async with (
        running(domain, tmp_path) as here,
        here.device(ALICE) as alice,
        here.device(BOB) as bob,
    ):
        token = await alice.create(EVERYBODYS)
        await alice.send(token)
        for answer in (
            await bob.wire.upload(token, jpeg(2)),
            await bob.wire.post(job_request("EndPostScanJob", token)),
            await bob.wire.post(job_request("CancelPostScanJob", token)),
            await bob.wire.post(elements_request(token, "dsp:JobStatus", "dsp:Documents")),
        ):
            assert refusal(answer) == ("ClientErrorJobTokenNotFound", token)
        told = await alice.wire.post(elements_request(token))
        assert told.text("ImagesReceived") == "1"


# Case 23 --------------------------------------------------------------------------------------------------


async def test_case_23_a_certificate_of_the_domain_speaks_for_its_own_account_alone(
    domain: Domain, tmp_path: Path
) -> None:
    async with running(domain, tmp_path) as here, here.device(BOB) as bob:
        hers = (await here.user(ALICE)).sid
        forged = await Device(bob.wire, hers).ask(EVERYBODYS)
        assert refusal(forged) == ("FailedAuthentication", "The certificate is another user's.")
        assert await jobs_of(here.site) == 0


async def test_case_23_an_authority_that_the_directory_does_not_list_speaks_for_nobody(
    domain: Domain, tmp_path: Path
) -> None:
    """One that calls itself like the domain's own, and one that only the settings trust for servers."""
    async with running(domain, tmp_path) as here:
        sid = (await here.user(ALICE)).sid
        forged = await here.certificate(ALICE, create_ca("DSM Test CA"))
        async with here.wire(forged) as wire:
            answer = await Device(wire, sid).ask(EVERYBODYS)
        assert answer.subcode == "FailedAuthentication"
        assert await jobs_of(here.site) == 0


async def others(domain: Domain) -> dict[str, str]:
    """Return identifiers that stand for no person who could sign in."""
    async with administrator(domain) as ldap:

        async def sid(name: str) -> str:
            [entry] = await ldap.search(
                BASE_DN, Scope.SUBTREE, equal("sAMAccountName", name), ["objectSid"], limit=1
            )
            return sid_text(entry["objectSid"][0])

        alice = await sid(ALICE.name)
        return {
            "a group": await sid("ScanStaff"),
            "a computer": await sid(COMPUTER.name),
            "the key distribution centre": await sid("krbtgt"),
            "the domain": alice.rpartition("-")[0],
            "nobody": alice.rpartition("-")[0] + "-4294967295",
            "administrators": "S-1-5-32-544",
            "the system": "S-1-5-18",
            "everybody": "S-1-1-0",
            "whoever signed in": "S-1-5-11",
            "self": "S-1-5-10",
            "another spelling": alice.replace("S-1-5-21-", "S-1-5-021-"),
            "small letters": alice.lower(),
            "hexadecimal": alice.replace("S-1-5-", "S-1-0x5-"),
            "more": f"{alice}-1",
            "a filter": f"{alice})(objectClass=*",
            "any": f"{alice.rpartition('-')[0]}-*",
        }


async def test_case_23_a_listed_device_speaks_for_people_alone(domain: Domain, tmp_path: Path) -> None:
    async with running(domain, tmp_path, strict=False) as here, here.wire(None) as wire:
        for who, sid in (await others(domain)).items():
            assert refusal(await Device(wire, sid).ask(EVERYBODYS)) == NO_USER, who
        assert await jobs_of(here.site) == 0


async def test_case_23_another_spelling_of_an_identifier_keeps_nobody_out(
    domain: Domain, tmp_path: Path
) -> None:
    """That nobody has it is remembered for a moment; for her own it must not be."""
    async with running(domain, tmp_path, strict=False) as here, here.wire(None) as wire:
        sid = (await here.user(ALICE)).sid
        await Device(wire, sid.lower()).ask(EVERYBODYS)
        assert (await Device(wire, sid).ask(EVERYBODYS)).status == 200


async def test_case_23_the_job_says_whose_certificate_of_the_domain_was_shown(
    domain: Domain, tmp_path: Path
) -> None:
    async with running(domain, tmp_path) as here, here.device(BOB) as bob:
        with capture_logs(processors=[merge_contextvars]) as lines:
            token = await bob.create(EVERYBODYS)
        (created,) = [line for line in lines if line["event"] == "job created"]
        assert here.site.server is not None
        job = await here.site.server.engine.job(token, None)
    assert created["user_sid"] == bob.sid
    assert created["vouched_by"] == job.vouched_by
    assert str(job.vouched_by).startswith("certificate:sha256:")


# Case 24 --------------------------------------------------------------------------------------------------

INSTRUCTIONS: Final = qname(DSP, "PostScanInstructions")
# A device may choose what the documents are called where the process says so, as ours does.
FREE: Final = {"DocumentRootName"}


def elements(process: StoredProcess) -> list[etree._Element]:
    return [e for e in process.process.instructions_element.iter() if isinstance(e.tag, str)][1:]


def at(number: int, change: Callable[[etree._Element], object]) -> Callable[[etree._Element], object]:
    """Return a change of the element of that number in the instructions of a request."""

    def changed(request: etree._Element) -> None:
        inside = next(request.iter(INSTRUCTIONS))
        change([e for e in inside.iter() if isinstance(e.tag, str)][1:][number])

    return changed


def removed(element: etree._Element) -> None:
    parent = element.getparent()
    assert parent is not None
    parent.remove(element)


def other_text(element: etree._Element) -> None:
    element.text = "true" if (element.text or "").strip() in ("0", "false") else "0"


@pytest.mark.parametrize("name", ["For everybody", "Written elsewhere"])
async def test_case_24_no_part_of_instructions_in_the_domain_can_be_altered(
    domain: Domain, tmp_path: Path, name: str
) -> None:
    process = as_stored(process_named(name))
    altered = 0
    async with running(domain, tmp_path) as here, here.device(BOB) as bob:
        for number, element in enumerate(elements(process)):
            local = etree.QName(element).localname
            changes = [removed] if len(element) else [removed, other_text]
            for change in changes:
                if local in FREE and name == "For everybody" and change is other_text:
                    continue
                if local.startswith("AllowDevice") and change is removed:
                    continue  # fewer rights than the process gives
                answer = await bob.ask(process, at(number, change))
                assert answer.status == 400, (local, change.__name__)
                assert answer.subcode in ("NoValidPostScanInstructionsFound", "InvalidArgs")
                altered += 1
        assert await jobs_of(here.site) == 0
    assert altered > 8


async def test_case_24_the_instructions_of_one_process_are_not_those_of_another(
    domain: Domain, tmp_path: Path
) -> None:
    async with running(domain, tmp_path) as here, here.device(BOB) as bob:
        theirs = as_stored(process_named("Written elsewhere"), process_named("For everybody").xml)
        assert (await bob.ask(theirs)).subcode == "NoValidPostScanInstructionsFound"

        def open_up(request: etree._Element) -> None:
            inside = next(request.iter(INSTRUCTIONS))
            etree.SubElement(inside, qname(SPX, "AllowDeviceFilePathChange")).text = "true"
            next(inside.iter(qname(FSF, "ShareUNC"))).text = r"\\attacker.example\share"

        assert (await bob.ask(EVERYBODYS, open_up)).status == 400
        assert await jobs_of(here.site) == 0


# Case 38: at the server -----------------------------------------------------------------------------------

NASTY: Final = (
    *("*", "a*", "*)(objectClass=*", "alice)(objectClass=*", "alice)(|(objectClass=user)", "*))(|(cn=*"),
    *("(alice)", "\\2a", "alice\\00", "\\2a)(objectClass=*)", "&", "|", "!(cn=x)", ALICE.dn),
    *("<SID=S-1-5-32-544>", "DSM\\*", "*\\alice", "*@dsm.test", "alice@*", "alice@dsm.test)(cn=*"),
    *("BUILTIN\\Administrators", "SCANSRV$", "alice@@dsm.test", "\\" * 99, "(" * 200),
)
# What XML cannot carry, but a certificate or a command line can.
NASTIER: Final = (*NASTY, "alice\0", "\0", "alice\r\nbob", "alice@dsm.test\0.evil.test", "x" * 2_000)


@pytest.mark.parametrize("strict", [True, False])
async def test_case_38_no_user_identifier_is_a_filter(domain: Domain, tmp_path: Path, strict: bool) -> None:
    async with running(domain, tmp_path, strict=strict) as here:
        certificate = await here.certificate(ALICE) if strict else None
        async with here.wire(certificate) as wire:
            for text in NASTY:
                # Whatever is said to be a SID is looked at before anybody is asked.
                answer = await Device(wire, text.replace("&", "&amp;").replace("<", "&lt;")).ask(EVERYBODYS)
                assert refusal(answer) == NO_USER, text
            assert await jobs_of(here.site) == 0
            assert (await Device(wire, (await here.user(ALICE)).sid).ask(EVERYBODYS)).status == 200


async def test_case_38_no_process_identifier_is_a_filter(domain: Domain, tmp_path: Path) -> None:
    filters = (FILTER, b"*" * 16, b"\0" * 16, b"\\2a" * 5 + b"*", b")(|(objectGUID=*")
    texts = [*NASTY, *(str(UUID(bytes_le=octets)) for octets in filters)]
    async with running(domain, tmp_path) as here, here.device(ALICE) as device:
        for text in texts:
            change = with_text(qname(DSP, "PSP_Identifier"), text)
            assert refusal(await device.ask(EVERYBODYS, change)) == NO_PROCESS, text
        assert await jobs_of(here.site) == 0
        assert (await device.ask(EVERYBODYS)).status == 200


def alternative(*names: x509.GeneralName) -> tuple[x509.ExtensionType, bool]:
    return x509.SubjectAlternativeName(names), False


def principal(text: str) -> x509.GeneralName:
    return x509.OtherName(UPN_NAME, der.write(der.UTF8_STRING, text.encode()))


def identifier(text: str) -> tuple[x509.ExtensionType, bool]:
    """Return the SID extension with any text in it."""
    name = x509.OtherName(SID_NAME, der.write(der.OCTET_STRING, text.encode()))
    return x509.UnrecognizedExtension(
        SID_EXTENSION, x509.SubjectAlternativeName([name]).public_bytes()
    ), False


def address(text: str) -> x509.GeneralName:
    # Ours to put in: no library lets a URI hold more than ASCII.
    return x509.UniformResourceIdentifier(f"tag:microsoft.com,2022-09-14:sid:{text}")


async def test_case_38_no_name_in_a_certificate_is_a_filter(domain: Domain, tmp_path: Path) -> None:
    """Signed by the domain's own authority, which would have been made to write such a name."""
    pair = domain.authority()
    authority = Authority(Issued(pair.certificate.public_bytes(Encoding.DER), pair.key))
    key = Wish().key
    wishes = {
        **{f"upn {text}": [alternative(principal(text))] for text in NASTIER},
        **{f"sid {text}": [identifier(text)] for text in NASTY},
        **{f"tag {text}": [alternative(address(text))] for text in NASTY},
        "two": [alternative(principal("*@dsm.test"), principal("*"))],
        "mail": [alternative(x509.RFC822Name("*@dsm.test"))],
        "key": [(x509.SubjectKeyIdentifier(b"*)(objectClass=*)(cn=*"), False)],
        "no text": [alternative(x509.OtherName(UPN_NAME, der.write(der.UTF8_STRING, b"\xff*\xfe")))],
    }
    async with running(domain, tmp_path) as here:
        sid = (await here.user(ALICE)).sid
        for what, extensions in wishes.items():
            issued = authority.issue(Wish(subject="*)(objectClass=*", key=key, extensions=extensions))
            async with here.wire(issued.write(tmp_path / "nasty")) as wire:
                answer = await Device(wire, sid).ask(EVERYBODYS)
            assert refusal(answer) == (UNKNOWN, "The certificate belongs to no account."), what
        assert await jobs_of(here.site) == 0
        async with here.device(ALICE) as device:
            await device.create(EVERYBODYS)


# What stands in the directory itself ---------------------------------------------------------------------


async def plant(domain: Domain, name: str, xml: bytes) -> UUID:
    """Put a scan process for everybody into the domain, whatever it holds and is called."""
    identifier = uuid4()
    async with administrator(domain) as ldap:
        await ldap.add(
            f"CN={identifier},{PROCESSES_DN}",
            {
                "objectClass": [b"msImaging-PostScanProcess"],
                "displayName": [name.encode()],
                "serverName": [SCAN_SERVER.encode()],
                "msImaging-PSPIdentifier": [identifier.bytes_le],
                "msImaging-PSPString": [xml],
            },
        )
    return identifier


async def pull_out(domain: Domain, identifier: UUID) -> None:
    """Delete a scan process, if it is still there."""
    async with administrator(domain) as ldap:
        with suppress(NoSuchObject):
            await ldap.delete(f"CN={identifier},{PROCESSES_DN}")


@asynccontextmanager
async def planted(domain: Domain, name: str, xml: bytes) -> AsyncIterator[UUID]:
    """Keep such a scan process in the domain while the block runs."""
    identifier = await plant(domain, name, xml)
    try:
        yield identifier
    finally:
        await pull_out(domain, identifier)


LAUGHS: Final = (
    b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;">]>'
)
BOMBS: Final = {
    "entities": own_xml("x").replace(b"<psp:PostScanProcess", LAUGHS + b"<psp:PostScanProcess", 1),
    "file": own_xml("x").replace(
        b"<psp:PostScanProcess",
        b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><psp:PostScanProcess',
        1,
    ),
    "depth": b"<a>" * 20_000 + b"</a>" * 20_000,
    "attributes": b"<a " + b" ".join(b'a%d=""' % number for number in range(20_000)) + b"/>",
}


@pytest.mark.parametrize("kind", BOMBS)
async def test_case_2_xml_in_the_directory_that_is_a_bomb_is_left_out(
    domain: Domain, tmp_path: Path, kind: str
) -> None:
    async with (
        planted(domain, "Bomb", BOMBS[kind]) as identifier,
        running(domain, tmp_path) as here,
        here.device(BOB) as bob,
    ):
        change = with_text(qname(DSP, "PSP_Identifier"), str(identifier))
        assert refusal(await bob.ask(EVERYBODYS, change)) == NO_PROCESS
        names = {one.display_name for one in await here.directory.processes()}
        assert "Bomb" not in names
        assert EVERYBODYS.display_name in names
        assert str(identifier) in " ".join(map(str, here.directory.problems()))
        await bob.create(EVERYBODYS)


UGLY: Final = "\x1b[2J\x1b]0;owned\x07Invoices\r\nFORGED\u202e line=1"


def test_case_43_names_in_the_directory_send_nothing_to_a_terminal(
    domain: Domain, made: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scan process and a person whose names hold escape sequences and line ends."""
    identifier = asyncio.run(plant(domain, UGLY, own_xml("x")))
    try:
        with display_name(domain, BOB.dn, UGLY):
            for words in (
                ["processes", "list"],
                ["processes", "list", "--user=bob"],
                ["processes", "show", str(identifier)],
                ["processes", "export", str(identifier), "--to", str(tmp_path / "out")],
                ["directory", "user", "bob"],
                ["directory", "check", "--user=bob", f"--process={identifier}"],
                ["processes", "grant", "--group=ScanStaff", str(identifier)],
                ["processes", "remove", "--yes", str(identifier)],
            ):
                _, said = tried(capsys, made, *words)
                assert not set(said) & {"\x1b", "\x07", "\r", "\u202e"}, words
                assert not [line for line in said.splitlines() if line.startswith("FORGED")], words
    finally:
        asyncio.run(pull_out(domain, identifier))


@contextmanager
def display_name(domain: Domain, dn: str, text: str) -> Iterator[None]:
    """Give an account another display name while the block runs."""

    async def change(name: str) -> None:
        async with administrator(domain) as ldap:
            await ldap.modify(dn, [Change(Operation.REPLACE, "displayName", (name.encode(),))])

    asyncio.run(change(text))
    try:
        yield
    finally:
        asyncio.run(change("Bob Baker"))


@pytest.mark.parametrize(
    "principal",
    ["../../../bob@dsm.test", "..\\..\\bob@dsm.test", "a/b:c*?<>|@dsm.test", "CON@dsm.test", ".@dsm.test"],
)
async def test_case_28_a_principal_name_that_leads_elsewhere_stays_in_the_folder(
    domain: Domain, tmp_path: Path, principal: str
) -> None:
    """Documents lie in a folder that is called by the user's principal name."""
    async with administrator(domain) as ldap:
        await ldap.modify(BOB.dn, [Change(Operation.REPLACE, "userPrincipalName", (principal.encode(),))])
        try:
            async with (
                running(domain, tmp_path, strict=False) as here,
                here.wire(None) as wire,
                ActiveDirectory(here.directory._settings) as directory,
            ):
                user = await directory.user_by_name(BOB.name)
                assert user is not None
                device = Device(wire, user.sid)
                token = await device.create(EVERYBODYS)
                await device.send(token)
                assert await device.end(token) is JobState.COMPLETED
                root = (here.made.folder / "delivered").resolve()
                [file] = [path for path in tmp_path.rglob("*.jpg") if "spool" not in path.parts]
                assert file.resolve().parent.parent == root
        finally:
            await ldap.modify(BOB.dn, [Change(Operation.REPLACE, "userPrincipalName", (BOB.upn.encode(),))])


# Case 38: at the command line -----------------------------------------------------------------------------


@contextmanager
def stored(domain: Domain, draft: ProcessDraft) -> Iterator[None]:
    """Keep a scan process in the domain while the block runs."""
    settings = ActiveDirectorySettings(ldap_settings(domain.ca, ADMINISTRATOR))

    async def add() -> None:
        async with ActiveDirectory(settings) as directory:
            await directory.create_process(draft)

    async def remove() -> None:
        async with ActiveDirectory(settings) as directory:
            left = await directory.process(draft.identifier)
            if left is not None:
                await directory.delete_process(left)

    asyncio.run(add())
    try:
        yield
    finally:
        asyncio.run(remove())


def tried(capsys: pytest.CaptureFixture[str], made: Installation, *words: object) -> tuple[int, str]:
    """Run a command; return its status and all it said."""
    code = main([*map(str, words), "--config", str(made.config)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out + said.err


@pytest.fixture
def made(domain: Domain, tmp_path: Path) -> Installation:
    return make_office(domain, tmp_path / "site")


COMMANDS: Final[dict[str, Callable[[str], list[str]]]] = {
    "directory user": lambda name: ["directory", "user", "--", name],
    "processes list": lambda name: ["processes", "list", f"--user={name}"],
    "processes show": lambda name: ["processes", "show", "--", name],
    "processes remove": lambda name: ["processes", "remove", "--yes", "--", name],
    "processes grant": lambda name: ["processes", "grant", f"--group={name}", "--", "For everybody"],
    "processes grant user": lambda name: ["processes", "grant", f"--user={name}", "--", "For everybody"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_case_38_no_name_on_the_command_line_is_a_filter(
    domain: Domain, made: Installation, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for text in NASTIER:
        words = COMMANDS[command](text)
        at_config = words.index("--") if "--" in words else len(words)
        code = main([*words[:at_config], "--config", str(made.config), *words[at_config:]])
        said = capsys.readouterr()
        assert code == ExitCode.REFUSED, (text, said)
        assert "Traceback" not in said.err
        assert ALICE.mail not in said.out + said.err, text
    code, said_of_her = tried(capsys, made, "directory", "user", "alice")
    assert code == ExitCode.OK
    assert ALICE.mail in said_of_her


def test_case_38_a_check_for_a_nasty_name_finds_nobody(
    domain: Domain, made: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("*", "*)(objectClass=*", "alice\0", "For everybody)(cn=*"):
        code, said = tried(capsys, made, "directory", "check", f"--user={text}", f"--process={text}")
        assert code == ExitCode.CONFIGURATION, said
        assert "there is no user" in said
        assert "there is no scan process" in said
        assert ALICE.mail not in said


@pytest.mark.parametrize("name", [text for text in NASTIER if len(text) < 100])
def test_case_38_nobody_signs_in_by_a_filter(
    domain: Domain, made: Installation, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(ALICE.password)
    page = draw_page(tmp_path / "page.png")
    code, said = tried(
        capsys, made, "scan", page, "-p", "For everybody", f"--user={name}", "--password-file", file
    )
    if name == ALICE.dn:
        # A distinguished name is an account's own, and her password was given: what follows is the server,
        # which does not run.
        assert code in (ExitCode.REFUSED, ExitCode.UNREACHABLE), said
        return
    assert code == ExitCode.REFUSED, said
    assert ALICE.mail not in said


def test_case_38_a_process_that_is_called_like_a_filter_is_one_process(
    domain: Domain, made: Installation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = "*)(objectClass=*)(cn=\\2a"
    draft = ProcessDraft(
        UUID(bytes_le=FILTER), name, own_xml(name), frozenset({"alice"}), frozenset({"Büro (Süd)"})
    )
    with stored(domain, draft):
        code, said = tried(capsys, made, "processes", "show", name)
        assert code == ExitCode.OK
        assert str(draft.identifier) in said
        for wrong in ("*", name[:-1], name.replace("*", "x")):
            assert tried(capsys, made, "processes", "show", wrong)[0] == ExitCode.REFUSED
        assert tried(capsys, made, "processes", "export", name, "--to", tmp_path / "out")[0] == ExitCode.OK
        assert all(file.resolve().parent == tmp_path / "out" for file in (tmp_path / "out").rglob("*"))
        assert tried(capsys, made, "processes", "remove", "--yes", name)[0] == ExitCode.OK
        code, left = tried(capsys, made, "processes", "list", "--json")
        assert code == ExitCode.OK
        assert str(draft.identifier) not in left
        assert process_named("For everybody").display_name in left
