"""The embedded directory: users, groups and scan processes in files, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from postscan.contracts.psp import read_process
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.embedded_entries import toml_string
from postscan.directory.embedded_writing import EntryExists, stem_for
from postscan.directory.model import DirectoryError, StoredProcess, User
from postscan.soap.names import FSF, PSP, WSCN
from support.clock import FakeClock

ALICE = "S-1-5-21-1-2-3-1103"
BOB = "S-1-5-21-1-2-3-1104"
INVOICES = "6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c11"
LETTERS = "6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c12"
XML = f"""<?xml version="1.0" encoding="utf-8"?>
<PostScanProcess xmlns="{PSP}">
  <ScanRepository>scan.example.com</ScanRepository>
  <ScanTicket>
    <JobDescription xmlns="{WSCN}">
      <JobName>Invoices</JobName>
      <JobOriginatingUserName>any</JobOriginatingUserName>
    </JobDescription>
  </ScanTicket>
  <PostScanInstructions>
    <DocumentRootName>Invoice</DocumentRootName>
    <FiltersToProcess>
      <Filter>
        <Dialect>{FSF}</Dialect>
        <Instructions>
          <FileShareConfig xmlns="{FSF}"><FileShares><ShareUNC>file:///srv</ShareUNC></FileShares></FileShareConfig>
        </Instructions>
      </Filter>
    </FiltersToProcess>
  </PostScanInstructions>
</PostScanProcess>
"""
USERS = f"""
domain = "example.com"

[[user]]
sid = "{ALICE}"
name = "alice"
display_name = "Alice Example"
mail = "alice@mail.example.com"
groups = ["Accounting"]

[[user]]
sid = "{BOB}"
name = "Bob"
upn = "bob@corp.example.net"
enabled = false

[[group]]
name = "Finance"
sid = "S-1-5-21-1-2-3-1200"
members = ["Accounting", "Board"]

[[group]]
name = "Board"
members = ["BOB@corp.example.net", "Finance"]
"""


class Folder:
    """A directory's folder, and the directory over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.processes = path / "processes"
        self.processes.mkdir(parents=True)
        self.directory = EmbeddedDirectory(path, clock=self.clock)
        self._written = 0

    def users(self, text: str) -> None:
        self.write(self.path / "users.toml", text)

    def process(self, stem: str, identifier: str, name: str, more: str = "", xml: str = XML) -> None:
        self.write(self.processes / f"{stem}.xml", xml)
        toml = f'identifier = "{identifier}"\ndisplay_name = "{name}"\n{more}\n'
        self.write(self.processes / f"{stem}.toml", toml)

    def write(self, path: Path, text: str) -> None:
        """Write a file later than all before, by its time, and let the directory's second pass."""
        path.write_text(text)
        self._written += 1
        os.utime(path, ns=(self._written * 10**9, self._written * 10**9))
        self.clock.advance(1)

    def problems(self) -> list[str]:
        return [f"{p.path.name}:{p.line}: {p.message}" for p in self.directory.problems()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "directory")
    made.users(USERS)
    return made


async def test_a_user_is_found_by_sid(folder: Folder) -> None:
    assert await folder.directory.user_by_sid(ALICE) == User(
        sid=ALICE,
        name="alice",
        domain="example.com",
        upn="alice@example.com",
        display_name="Alice Example",
        mail="alice@mail.example.com",
        groups=frozenset({"Accounting", "Finance", "S-1-5-21-1-2-3-1200", "Board"}),
    )
    assert folder.problems() == []


@pytest.mark.parametrize("name", ["alice", "ALICE", "Alice@EXAMPLE.com"])
async def test_a_user_is_found_by_name_in_any_case(folder: Folder, name: str) -> None:
    user = await folder.directory.user_by_name(name)
    assert user is not None
    assert user.sid == ALICE


@pytest.mark.parametrize("name", ["", "mallory", "alice@corp.example.net", ALICE])
async def test_a_name_that_is_nobodys_finds_nobody(folder: Folder, name: str) -> None:
    assert await folder.directory.user_by_name(name) is None


async def test_a_sid_that_is_nobodys_finds_nobody(folder: Folder) -> None:
    assert await folder.directory.user_by_sid("S-1-5-21-1-2-3-500") is None


async def test_a_user_says_less_and_the_rest_is_filled_in(folder: Folder) -> None:
    bob = await folder.directory.user_by_sid(BOB)
    assert bob is not None
    assert (bob.upn, bob.domain, bob.display_name, bob.enabled) == (
        "bob@corp.example.net",
        "example.com",
        "Bob",
        False,
    )


async def test_groups_in_groups_count_even_in_circles(folder: Folder) -> None:
    bob = await folder.directory.user_by_sid(BOB)
    assert bob is not None
    assert bob.groups == {"Board", "Finance", "S-1-5-21-1-2-3-1200"}


async def test_without_a_domain_the_principal_name_tells_it(folder: Folder) -> None:
    folder.users(f'[[user]]\nsid = "{ALICE}"\nname = "alice"\nupn = "alice@corp.example.net"')
    alice = await folder.directory.user_by_sid(ALICE)
    assert alice is not None
    assert alice.domain == "corp.example.net"


async def test_the_servers_domain_counts_where_the_file_names_none(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "directory")
    folder.users(f'[[user]]\nsid = "{ALICE}"\nname = "alice"')
    alice = await EmbeddedDirectory(folder.path, domain="example.com").user_by_sid(ALICE)
    assert alice is not None
    assert alice.upn == "alice@example.com"


async def test_a_process_is_found_by_its_identifier(folder: Folder) -> None:
    folder.process("invoices", "{" + INVOICES.upper() + "}", "Invoices", 'users = ["alice"]')
    process = await folder.directory.process(UUID(INVOICES))
    assert process is not None
    assert process.display_name == "Invoices"
    assert process.xml == XML.encode()
    assert process.process.scan_repository == "scan.example.com"
    assert await folder.directory.process(UUID(LETTERS)) is None


async def test_processes_come_by_display_name(folder: Folder) -> None:
    folder.process("a", INVOICES, "letters")
    folder.process("b", LETTERS, "Invoices")
    assert [p.display_name for p in await folder.directory.processes()] == ["Invoices", "letters"]


@pytest.mark.parametrize(
    ("grant", "granted"),
    [
        ('users = ["ALICE"]', True),
        ('users = ["alice@example.com"]', True),
        (f'users = ["{ALICE}"]', True),
        ('groups = ["finance"]', True),
        ('groups = ["S-1-5-21-1-2-3-1200"]', True),
        ('groups = ["Everyone"]', True),
        ('users = ["Bob"]', False),
        ('groups = ["alice"]', False),
        ("", False),
    ],
)
async def test_a_process_is_shown_to_whom_it_is_granted(folder: Folder, grant: str, granted: bool) -> None:
    folder.process("invoices", INVOICES, "Invoices", grant)
    alice = await folder.directory.user_by_sid(ALICE)
    assert alice is not None
    assert bool(await folder.directory.processes_for(alice)) is granted


async def test_a_disabled_user_may_use_nothing(folder: Folder) -> None:
    folder.process("invoices", INVOICES, "Invoices", 'groups = ["Everyone"]')
    bob = await folder.directory.user_by_sid(BOB)
    assert bob is not None
    assert await folder.directory.processes_for(bob) == []


async def test_changed_files_are_read_again(folder: Folder) -> None:
    folder.process("invoices", INVOICES, "Invoices")
    assert await folder.directory.user_by_name("alice")
    folder.users(USERS.replace('"alice"', '"alicia"'))
    folder.process("invoices", INVOICES, "Bills")
    assert await folder.directory.user_by_name("alice") is None
    assert [p.display_name for p in await folder.directory.processes()] == ["Bills"]


async def test_a_process_whose_files_are_gone_is_gone(folder: Folder) -> None:
    folder.process("invoices", INVOICES, "Invoices")
    assert await folder.directory.processes()
    (folder.processes / "invoices.xml").unlink()
    (folder.processes / "invoices.toml").unlink()
    folder.clock.advance(1)
    assert await folder.directory.processes() == []
    assert folder.problems() == []


async def test_files_are_looked_at_once_a_second(folder: Folder) -> None:
    assert await folder.directory.user_by_name("alice")
    (folder.path / "users.toml").write_text(USERS.replace('"alice"', '"alicia"'))
    assert await folder.directory.user_by_name("alice")
    folder.clock.advance(1)
    assert await folder.directory.user_by_name("alice") is None


async def test_an_unchanged_process_is_not_read_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.process("invoices", INVOICES, "Invoices")
    assert await folder.directory.processes()

    def read_again(xml: bytes) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("postscan.directory.embedded_processes.read_process", read_again)
    folder.clock.advance(5)
    assert await folder.directory.processes()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "users.toml:None: is empty"),
        ("[[user]\n", "users.toml:1: is no TOML"),
        (f'[[user]]\nsid = "{ALICE}"\n', "users.toml:1: user[0].name: Field required"),
        ('\n[[user]]\nsid = "S-1"\nname = "x"\n', "users.toml:3: user[0].sid: is no security identifier"),
        (f'[[user]]\nsid = "{ALICE}"\nname = "a@b"\n', "users.toml:3: user[0].name: is no logon name"),
        (
            f'[[user]]\nsid = "{ALICE}"\nname = "a"\ncolour = 1\n',
            "users.toml:4: user[0].colour: Extra inputs",
        ),
        (f'[[user]]\nsid = "{ALICE}"\nname = "a"\nenabled = "no"\n', "users.toml:4: user[0].enabled: Input"),
        (
            f'[[user]]\nsid = "{ALICE}"\nname = "a"\nupn = "a"\n',
            "users.toml:4: user[0].upn: is no user princ",
        ),
        (
            f'[[user]]\nsid = "{ALICE}"\nname = "a"\ncertificates = ["sha1:00"]\n',
            "users.toml:4: user[0].certificates[0]: is no certificate hash",
        ),
        ('[[group]]\nname = "everyone"\n', "users.toml:2: group[0].name: Everyone always is"),
        ('colour = "red"\n[[group]]\nname = "x"\n', "users.toml:1: colour: Extra inputs"),
    ],
)
async def test_a_wrong_users_file_is_named_with_its_line(folder: Folder, text: str, problem: str) -> None:
    folder.users(text)
    with pytest.raises(DirectoryError) as caught:
        await folder.directory.user_by_sid(ALICE)
    assert folder.problems()[0].startswith(problem)
    assert folder.directory.problems()[0].message in str(caught.value)


async def test_a_users_file_that_becomes_wrong_changes_nothing_until_it_is_right(folder: Folder) -> None:
    assert await folder.directory.user_by_sid(ALICE)
    folder.users("[[user]")
    assert await folder.directory.user_by_sid(ALICE)
    assert folder.problems()
    (folder.path / "users.toml").unlink()
    folder.clock.advance(1)
    assert await folder.directory.user_by_sid(ALICE)
    folder.users(USERS.replace(ALICE, "S-1-5-21-1-2-3-1105"))
    assert await folder.directory.user_by_sid(ALICE) is None
    assert folder.problems() == []


async def test_a_wrong_users_file_does_not_take_the_processes_down(folder: Folder) -> None:
    folder.process("invoices", INVOICES, "Invoices")
    folder.users("[[user]")
    assert len(await folder.directory.processes()) == 1


async def test_a_folder_that_is_away_is_told(tmp_path: Path) -> None:
    directory = EmbeddedDirectory(tmp_path / "none")
    with pytest.raises(DirectoryError, match=r"users\.toml"):
        await directory.user_by_sid(ALICE)
    with pytest.raises(DirectoryError, match="No such file"):
        await directory.processes()


async def test_users_with_one_sid_are_all_left_out(folder: Folder) -> None:
    folder.users(USERS + f'\n[[user]]\nsid = "{ALICE}"\nname = "mallory"\n')
    assert await folder.directory.user_by_sid(ALICE) is None
    assert await folder.directory.user_by_name("mallory") is None
    assert await folder.directory.user_by_sid(BOB)
    assert [p.split(": ")[1] for p in folder.problems()] == ["user[0].sid", "user[2].sid"]


@pytest.mark.parametrize(("key", "value"), [("name", "ALICE"), ("upn", "Alice@Example.com")])
async def test_users_with_one_name_are_all_left_out(folder: Folder, key: str, value: str) -> None:
    names = {"name": "mallory", "upn": "mallory@example.com"} | {key: value}
    lines = "".join(f'{k} = "{v}"\n' for k, v in names.items())
    folder.users(USERS + f'\n[[user]]\nsid = "S-1-5-21-1-2-3-1105"\n{lines}')
    for sid in (ALICE, "S-1-5-21-1-2-3-1105"):
        assert await folder.directory.user_by_sid(sid) is None
    assert len(folder.problems()) == 2


async def test_a_user_without_any_domain_is_left_out(folder: Folder) -> None:
    folder.users(f'[[user]]\nsid = "{ALICE}"\nname = "alice"\n')
    assert await folder.directory.user_by_sid(ALICE) is None
    assert "needs a upn" in folder.problems()[0]


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ('name = "New"\nmembers = ["mallory"]', "group[2].members: 'mallory' is no user and no group"),
        ('name = "Bob"\nmembers = ["bob"]', "group[2].members: 'bob' is user and group"),
        ('name = "FINANCE"\nmembers = ["bob"]', "group[2].name: a group of this name stands above"),
    ],
)
async def test_a_membership_that_cannot_be_is_named(folder: Folder, group: str, problem: str) -> None:
    folder.users(f"{USERS}\n[[group]]\n{group}\n")
    assert await folder.directory.user_by_sid(ALICE)
    [found] = folder.problems()
    assert problem in found


async def test_a_certificate_that_two_users_list_is_named(folder: Folder) -> None:
    listed = 'certificates = ["sha256:' + "ab" * 32 + '"]'
    folder.users(
        USERS.replace('name = "alice"', f'name = "alice"\n{listed}').replace("enabled = false", listed)
    )
    assert await folder.directory.user_by_sid(ALICE)
    assert [p.split(": ")[1] for p in folder.problems()] == ["user[0].certificates", "user[1].certificates"]


WRONG_PROCESSES: list[tuple[Callable[[Folder], None], str]] = [
    (
        lambda f: f.process("b", LETTERS, "L", xml="<PostScanProcess>"),
        "b.xml:1: is no scan process: not well-f",
    ),
    (lambda f: f.process("b", LETTERS, "L", xml="<a/>"), "b.xml:None: is no scan process"),
    (
        lambda f: f.process(
            "b", LETTERS, "L", xml=XML.replace("<DocumentRootName>Invoice</DocumentRootName>", "")
        ),
        "b.xml:None: is no scan process: schema violation",
    ),
    (
        lambda f: f.process(
            "b", LETTERS, "L", xml=XML.replace("\n<PostScan", "\n<!DOCTYPE x>\n<PostScan", 1)
        ),
        "b.xml:None: is no scan process: a document type declaration",
    ),
    (lambda f: f.process("b", LETTERS, "L", xml=XML + " " * 524_288), "b.xml:None: is no scan process: 52"),
    (lambda f: f.process("b", LETTERS, "L", xml=XML + " " * 2_100_000), "b.xml:None: is larger than"),
    (lambda f: f.process("b", "no guid", "L"), "b.toml:1: identifier: is no GUID"),
    (lambda f: f.process("b", LETTERS, ""), "b.toml:2: display_name: is empty"),
    (lambda f: f.process("b", LETTERS, "L" * 256), "b.toml:2: display_name: String should have at most 255"),
    (lambda f: f.process("b", LETTERS, "L", 'user = ["alice"]'), "b.toml:3: user: Extra inputs"),
    (lambda f: f.process("b", LETTERS, "L", "users = alice"), "b.toml:3: is no TOML"),
    (lambda f: f.process("b", INVOICES, "L"), "b.toml:1: identifier: a.toml has the same"),
    (lambda f: f.write(f.processes / "b.xml", XML), "b.toml:None: is missing"),
    (lambda f: f.write(f.processes / "b.toml", ""), "b.xml:None: is missing"),
    (lambda f: (f.processes / "b.toml").mkdir(), "b.xml:None: is missing"),
]


@pytest.mark.parametrize(("spoil", "problem"), WRONG_PROCESSES)
async def test_a_wrong_process_is_left_out_and_named_and_the_others_stay(
    folder: Folder, spoil: Callable[[Folder], None], problem: str
) -> None:
    folder.process("a", INVOICES, "Invoices")
    spoil(folder)
    folder.clock.advance(1)
    assert [p.display_name for p in await folder.directory.processes()] == ["Invoices"]
    [found] = folder.problems()
    assert found.startswith(problem)


async def test_a_grant_to_nobody_known_is_named_and_the_process_stays(folder: Folder) -> None:
    folder.process("a", INVOICES, "Invoices", 'users = ["alcie", "alice"]\ngroups = ["Finances"]')
    assert len(await folder.directory.processes()) == 1
    assert [p.split(": ", 1)[0] for p in folder.problems()] == ["a.toml:3", "a.toml:4"]


async def test_a_problem_is_logged_once_until_it_comes_again(folder: Folder) -> None:
    folder.process("a", "no guid", "Invoices")
    with capture_logs() as logs:
        for _ in range(3):
            await folder.directory.processes()
            folder.clock.advance(1)
        folder.process("a", INVOICES, "Invoices")
        await folder.directory.processes()
        folder.process("a", "no guid", "Invoices")
        await folder.directory.processes()
    assert [log["log_level"] for log in logs] == ["error", "error"]


def test_problems_are_known_without_asking_anything_first(folder: Folder) -> None:
    folder.users("[[user]")
    assert folder.problems()[0].startswith("users.toml:1: is no TOML")


def test_a_problem_reads_as_file_line_and_message(folder: Folder) -> None:
    folder.users("[[user]")
    assert str(folder.directory.problems()[0]).startswith(f"{folder.path}/users.toml:1: is no TOML")


async def test_a_file_with_a_byte_order_mark_is_read(folder: Folder) -> None:
    folder.users("\ufeff" + USERS)
    assert await folder.directory.user_by_sid(ALICE)


async def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "new")
    directory = EmbeddedDirectory(folder.path, domain="example.com")
    users = [
        User(
            ALICE,
            "alice",
            "example.com",
            "alice@example.com",
            'Alice "A" \\ Ünï',
            groups=frozenset({"Board"}),
        ),
        User(BOB, "bob", "example.com", "bob@example.com", "Bob", "bob@mail.example.com", enabled=False),
    ]
    process = StoredProcess(
        UUID(INVOICES), "Scan to: Straße", XML.encode(), read_process(XML.encode()), frozenset({"bob"})
    )
    for user in users:
        directory.write_user(user)
    written = directory.write_process(process)
    assert written == folder.processes / "scan-to-strae.xml"
    assert [await directory.user_by_sid(user.sid) for user in users] == users
    [read] = await directory.processes()
    assert (read.identifier, read.display_name, read.xml) == (UUID(INVOICES), "Scan to: Straße", XML.encode())
    assert (read.users, read.groups) == ({"bob"}, frozenset())
    assert directory.problems() == []


async def test_adding_a_user_keeps_what_the_file_says(folder: Folder) -> None:
    path = folder.path / "users.toml"
    path.write_text("# by hand\n" + USERS)
    path.chmod(0o600)
    carol = User("S-1-5-21-1-2-3-1106", "carol", "example.com", "carol@example.com", "Carol")
    folder.directory.write_user(carol)
    assert path.read_text().startswith("# by hand\n" + USERS.rstrip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert await folder.directory.user_by_name("carol") == carol
    assert [p.name for p in folder.path.iterdir() if p.is_file()] == ["users.toml"]


@pytest.mark.parametrize("change", [{"sid": BOB}, {"name": "BOB"}, {"upn": "Bob@corp.example.net"}])
def test_a_user_that_is_there_is_not_written_again(folder: Folder, change: dict[str, str]) -> None:
    user = replace(User("S-1-5-21-1-2-3-9", "x", "example.com", "x@example.com", "X"), **change)
    with pytest.raises(EntryExists):
        folder.directory.write_user(user)
    assert (folder.path / "users.toml").read_text() == USERS


def test_a_users_file_that_cannot_be_read_is_left_as_it_is(folder: Folder) -> None:
    folder.users("[[user]")
    with pytest.raises(EntryExists):
        folder.directory.write_user(User(BOB, "x", "example.com", "x@example.com", "X"))
    assert (folder.path / "users.toml").read_text() == "[[user]"


@pytest.mark.parametrize("suffix", [".xml", ".toml"])
def test_a_process_file_that_is_there_is_not_overwritten(folder: Folder, suffix: str) -> None:
    path = folder.processes / f"invoices{suffix}"
    path.write_text("mine")
    process = StoredProcess(UUID(INVOICES), "Invoices", XML.encode(), read_process(XML.encode()))
    with pytest.raises(EntryExists):
        folder.directory.write_process(process)
    assert [p.name for p in folder.processes.iterdir()] == [path.name]
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "stem"), [("Scan to my folder", "scan-to-my-folder"), ("契約", "process"), ("../x", "x")]
)
def test_a_file_is_named_after_its_process(name: str, stem: str) -> None:
    assert stem_for(name) == stem


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_survives_toml(text: str) -> None:
    import tomllib

    assert tomllib.loads(f"key = {toml_string(text)}") == {"key": text}


@given(st.text(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_users_file_is_read_or_named_as_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "users.toml").write_text(text, encoding="utf-8", errors="surrogatepass")
    (tmp_path / "processes").mkdir(exist_ok=True)
    directory = EmbeddedDirectory(tmp_path)
    problems = directory.problems()
    assert problems == [] or problems[0].path.name == "users.toml"


def test_the_documented_files_are_right(tmp_path: Path) -> None:
    from postscan.directory import embedded_entries

    assert embedded_entries.__doc__ is not None
    users, process = embedded_entries.__doc__.split("::\n")[1:]
    folder = Folder(tmp_path / "directory")
    folder.users(dedent(users.partition("``processes/")[0]).replace("sha256:...", "sha256:" + "00" * 32))
    folder.write(folder.processes / "x.toml", dedent(process))
    folder.write(folder.processes / "x.xml", XML)
    assert folder.problems() == []
