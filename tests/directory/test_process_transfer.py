"""Scan processes as files: exported, compared, imported; also what a stranger may have put into an export."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postscan.contracts.psp import read_process
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import (
    DirectoryError,
    EntryChanged,
    KnownNames,
    ProcessDraft,
    StoredProcess,
)
from postscan.directory.process_difference import GrantChange, difference
from postscan.directory.process_export import ExportRefused, Written, write_exported
from postscan.directory.process_files import ImportRefused, read_exported
from postscan.directory.process_import import (
    Existing,
    PlannedProcess,
    Renaming,
    Step,
    carry_out,
    checked,
    compare,
)
from testdomain.foreign import FOREIGN_XML

USERS = """
domain = "example.com"
[[user]]
sid = "S-1-5-21-1-2-3-1103"
name = "alice"
upn = "alice@example.com"
[[user]]
sid = "S-1-5-21-1-2-3-1104"
name = "bob"
[[group]]
name = "Finance"
sid = "S-1-5-21-1-2-3-1200"
members = ["alice"]
"""
FIRST = UUID("6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c11")
SECOND = UUID("6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c12")
NO_RENAMING = Renaming()


def process(
    identifier: UUID = FIRST,
    name: str = "Invoices",
    xml: bytes = FOREIGN_XML,
    users: Collection[str] = (),
    groups: Collection[str] = ("Finance",),
) -> StoredProcess:
    return StoredProcess(
        identifier, name, xml, read_process(xml), users=frozenset(users), groups=frozenset(groups)
    )


def draft_of(stored: StoredProcess) -> ProcessDraft:
    return NO_RENAMING.draft(stored)


@pytest.fixture
def directory(tmp_path: Path) -> EmbeddedDirectory:
    folder = tmp_path / "directory"
    (folder / "processes").mkdir(parents=True)
    (folder / "users.toml").write_text(USERS)
    return EmbeddedDirectory(folder)


async def take_in(
    directory: EmbeddedDirectory,
    processes: list[StoredProcess],
    existing: Existing = Existing.REFUSE,
    renaming: Renaming = NO_RENAMING,
) -> list[Step]:
    done: list[PlannedProcess] = []
    plan = checked(await compare(directory, processes, renaming), existing)
    await carry_out(directory, plan, done.append)
    assert done == plan
    return [planned.step for planned in plan]


async def test_an_export_is_the_processes_folder_of_an_embedded_directory(tmp_path: Path) -> None:
    stored = process(users=["alice"])
    write_exported(tmp_path / "directory" / "processes", [stored])
    (tmp_path / "directory" / "users.toml").write_text(USERS)
    directory = EmbeddedDirectory(tmp_path / "directory")
    [read] = await directory.processes()
    assert (read.identifier, read.display_name, read.xml) == (FIRST, "Invoices", FOREIGN_XML)
    assert (read.users, read.groups) == ({"alice"}, {"Finance"})
    assert directory.problems() == []


async def test_exported_and_imported_nothing_differs(tmp_path: Path, directory: EmbeddedDirectory) -> None:
    stored = [process(), process(SECOND, "Für Alle", groups=["Everyone"])]
    write_exported(tmp_path / "export", stored)
    found = read_exported([tmp_path / "export"])
    assert await take_in(directory, found) == [Step.ADD, Step.ADD]
    assert [read.xml for read in await directory.processes()] == [FOREIGN_XML, FOREIGN_XML]
    assert await take_in(directory, found) == [Step.SAME, Step.SAME]


async def test_a_directory_s_own_folder_can_be_imported(tmp_path: Path, directory: EmbeddedDirectory) -> None:
    await take_in(directory, [process()])
    assert [read.identifier for read in read_exported([tmp_path / "directory"])] == [FIRST]


def test_single_pairs_can_be_named(tmp_path: Path) -> None:
    write_exported(tmp_path, [process(), process(SECOND, "Letters")])
    found = read_exported([tmp_path / "letters.xml", tmp_path / "letters.toml"])
    assert [read.display_name for read in found] == ["Letters"]


def test_two_processes_of_one_name_get_files_of_their_own(tmp_path: Path) -> None:
    write_exported(tmp_path, [process(), process(SECOND, "Invoices"), process(uuid4(), "../../invoices")])
    assert len(read_exported([tmp_path])) == 3
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*.xml"))


def test_an_export_over_an_older_one_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_exported(tmp_path, [process()])
    with pytest.raises(ExportRefused, match=r"Invoices: .*invoices\.xml is there"):
        write_exported(tmp_path, [process(SECOND, "A new one"), process(users=["bob"])])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["invoices.toml", "invoices.xml"]


def test_an_export_goes_on_where_another_stopped(tmp_path: Path) -> None:
    write_exported(tmp_path, [process()])
    outcomes = write_exported(tmp_path, [process(), process(SECOND, "Letters")])
    assert [outcome for _, _, outcome in outcomes] == [Written.SAME, Written.NEW]


def test_an_export_brings_an_older_one_up_to_date_and_keeps_comments(tmp_path: Path) -> None:
    write_exported(tmp_path, [process(), process(SECOND, "Letters")])
    toml = tmp_path / "invoices.toml"
    toml.write_text(f"# ours\n{toml.read_text()}")
    [(_, path, outcome)] = write_exported(
        tmp_path, [process(name="Bills", groups=["Everyone"])], replace=True
    )
    assert (path.name, outcome) == ("invoices.xml", Written.CHANGED)
    assert toml.read_text().startswith("# ours\n")
    assert [(read.display_name, set(read.groups)) for read in read_exported([tmp_path])] == [
        ("Bills", {"Everyone"}),
        ("Letters", {"Finance"}),
    ]


@pytest.mark.parametrize("name", ["", " begins", "two\nlines", "\x1b[2Jcleared", "x" * 256])
def test_names_that_no_file_can_hold_are_all_told_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ExportRefused, match="display_name") as refused:
        write_exported(
            tmp_path / "to", [process(SECOND, "Letters"), process(name=name), process(uuid4(), "\t")]
        )
    assert len(str(refused.value).splitlines()) >= 2
    assert not (tmp_path / "to").exists()


async def test_unknown_names_are_all_told_before_anything_is_written(directory: EmbeddedDirectory) -> None:
    strangers = [
        process(users=["mallory", "alice"]),
        process(SECOND, "Letters", groups=["Sales", "Chess club"]),
    ]
    with pytest.raises(ImportRefused) as refused:
        await take_in(directory, strangers)
    message = str(refused.value)
    assert "mallory (of Invoices)" in message
    assert "Chess club (of Letters), Sales (of Letters)" in message
    assert "alice" not in message
    assert await directory.processes() == []


async def test_names_can_be_mapped_or_left_out(directory: EmbeddedDirectory) -> None:
    renaming = Renaming(users={"MALLORY": "bob"}, groups={"Sales": "Finance", "Chess club": ""})
    stranger = process(users=["mallory"], groups=["sales", "Chess Club"])
    await take_in(directory, [stranger], renaming=renaming)
    [stored] = await directory.processes()
    assert (stored.users, stored.groups) == ({"bob"}, {"Finance"})


def test_a_mapping_nobody_needs_is_told() -> None:
    renaming = Renaming(groups={"Sales": "x", "finance": "y"}, servers={"other.example.com": "z"})
    assert renaming.unused([process()]) == ["group 'Sales'", "server 'other.example.com'"]


async def test_a_server_can_be_mapped_and_nothing_else_changes(directory: EmbeddedDirectory) -> None:
    renaming = Renaming(servers={"SCANSRV.dsm.test": "scan.example.com"})
    await take_in(directory, [process()], renaming=renaming)
    [stored] = await directory.processes()
    assert stored.process.scan_repository == "scan.example.com"
    assert stored.xml == FOREIGN_XML.replace(
        b"<ScanRepository>scansrv.dsm.test<", b"<ScanRepository>scan.example.com<"
    )
    assert await take_in(directory, [process()], renaming=renaming) == [Step.SAME]


async def test_what_differs_is_refused_replaced_or_skipped(directory: EmbeddedDirectory) -> None:
    await take_in(directory, [process()])
    other = process(name="Bills", xml=FOREIGN_XML.replace(b"ADF", b"Platen"), users=["bob"], groups=[])
    fresh = process(SECOND, "Letters")
    with pytest.raises(ImportRefused, match="already, but different: Bills"):
        await take_in(directory, [other, fresh])
    assert await take_in(directory, [other, fresh], Existing.SKIP) == [Step.SKIP, Step.ADD]
    assert (await directory.process(FIRST)) is not None
    assert await take_in(directory, [other, fresh], Existing.REPLACE) == [Step.CHANGE, Step.SAME]
    stored = await directory.process(FIRST)
    assert stored is not None
    assert (stored.display_name, stored.xml) == ("Bills", other.xml)
    assert (stored.users, stored.groups) == ({"bob"}, frozenset())


async def test_unknown_names_of_what_is_skipped_do_not_matter(directory: EmbeddedDirectory) -> None:
    await take_in(directory, [process()])
    assert await take_in(directory, [process(users=["mallory"])], Existing.SKIP) == [Step.SKIP]


async def test_an_account_in_another_spelling_is_the_same(directory: EmbeddedDirectory) -> None:
    await take_in(directory, [process(users=["alice"])])
    again = process(users=["ALICE@example.com"], groups=["S-1-5-21-1-2-3-1200"])
    assert await take_in(directory, [again]) == [Step.SAME]


async def test_what_only_the_directory_has_is_told_and_stays(directory: EmbeddedDirectory) -> None:
    await take_in(directory, [process(), process(SECOND, "Letters")])
    comparison = await compare(directory, [process()], NO_RENAMING)
    assert [stored.display_name for stored in comparison.only_there] == ["Letters"]


class Failing:
    """A directory that refuses to write after some writes."""

    def __init__(self, directory: EmbeddedDirectory, writes: int) -> None:
        self._directory = directory
        self._left = writes

    def __getattr__(self, name: str) -> object:
        return getattr(self._directory, name)

    async def create_process(self, draft: ProcessDraft) -> StoredProcess:
        if self._left == 0:
            raise DirectoryError("the directory went away")
        self._left -= 1
        return await self._directory.create_process(draft)


async def test_an_import_that_stopped_goes_on(directory: EmbeddedDirectory) -> None:
    processes = [process(uuid4(), f"Number {number}") for number in range(5)]
    done: list[PlannedProcess] = []
    plan = checked(await compare(directory, processes, NO_RENAMING), Existing.REFUSE)
    with pytest.raises(DirectoryError, match="went away"):
        await carry_out(Failing(directory, 2), plan, done.append)  # type: ignore[arg-type]
    assert [planned.draft.display_name for planned in done] == ["Number 0", "Number 1"]
    assert await take_in(directory, processes) == [Step.SAME] * 2 + [Step.ADD] * 3


async def test_what_somebody_changes_between_check_and_writing_is_not_overwritten(
    directory: EmbeddedDirectory,
) -> None:
    await take_in(directory, [process()])
    plan = checked(await compare(directory, [process(name="Bills")], NO_RENAMING), Existing.REPLACE)
    seen = await directory.process(FIRST)
    assert seen is not None
    await directory.change_process(seen, replace(draft_of(seen), display_name="Theirs"))
    with pytest.raises(EntryChanged):
        await carry_out(directory, plan)
    assert [stored.display_name for stored in await directory.processes()] == ["Theirs"]


def test_a_difference_tells_what_changes() -> None:
    names = KnownNames(users={"alice": "alice", "ALICE": "alice"}, groups={})
    new = ProcessDraft(
        FIRST,
        "Bills",
        FOREIGN_XML.replace(b">ADF<", b">Platen<"),
        frozenset({"ALICE", "bob"}),
        frozenset({"Sales"}),
    )
    found = difference(process(users=["alice"]), new, names)
    assert found
    assert found.renamed == "Invoices"
    assert [(change.before, change.after) for change in found.content] == [("ADF", "Platen")]
    assert found.users == GrantChange(added=("bob",))
    assert found.groups == GrantChange(added=("Sales",), removed=("Finance",))


def test_another_writing_is_a_difference_without_content() -> None:
    found = difference(
        process(), replace(draft_of(process()), xml=FOREIGN_XML.replace(b"\r\n", b"\n")), KnownNames({}, {})
    )
    assert found
    assert (found.rewritten, found.content) == (True, ())


def test_the_same_characters_in_another_encoding_are_no_difference() -> None:
    text = FOREIGN_XML.decode().replace("encoding='UTF-8' ", "")
    stored = process(xml=text.encode())
    for codec in ("utf-16", "utf-8-sig"):
        assert not difference(stored, replace(draft_of(stored), xml=text.encode(codec)), KnownNames({}, {}))


class TestFromAStranger:
    """What may lie in an exported folder that came from elsewhere (abuse cases 1 to 3, 28, 29, 43)."""

    def refused(self, *paths: Path) -> str:
        with pytest.raises(ImportRefused) as refused:
            read_exported(paths)
        return str(refused.value)

    @pytest.mark.parametrize("suffix", [".xml", ".toml"])
    def test_links_are_not_followed(self, tmp_path: Path, suffix: str) -> None:
        write_exported(tmp_path / "secret", [process()])
        write_exported(tmp_path / "export", [process()])
        (tmp_path / "export" / f"invoices{suffix}").unlink()
        (tmp_path / "export" / f"invoices{suffix}").symlink_to(tmp_path / "secret" / f"invoices{suffix}")
        assert f"invoices{suffix}: is no regular file" in self.refused(tmp_path / "export")

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        write_exported(tmp_path, [process()])
        (tmp_path / "invoices.xml").unlink()
        os.mkfifo(tmp_path / "invoices.xml")
        assert "is no regular file" in self.refused(tmp_path)

    def test_huge_files_are_not_read(self, tmp_path: Path) -> None:
        write_exported(tmp_path, [process(), process(SECOND, "Letters")])
        with (tmp_path / "invoices.toml").open("ab") as file:
            file.truncate(1 << 40)
        with (tmp_path / "letters.xml").open("ab") as file:
            file.truncate(1 << 40)
        told = self.refused(tmp_path)
        assert "invoices.toml: is larger than" in told
        assert "letters.xml: is larger than" in told

    def test_a_toml_far_larger_than_any_process_needs_is_not_read(self, tmp_path: Path) -> None:
        write_exported(tmp_path, [process()])
        with (tmp_path / "invoices.toml").open("a") as file:
            file.write("# x\n" * 300_000)
        assert "invoices.toml: is larger than 1048576 octets" in self.refused(tmp_path)

    @pytest.mark.parametrize(
        ("xml", "why"),
        [
            (
                b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
                "document type declaration",
            ),
            (b"<a>" * 100 + b"</a>" * 100, "levels"),
            (b"<a/>", "not a scan process"),
            (b"<a", "not well-formed"),
        ],
    )
    def test_xml_is_held_to_the_limits_of_every_reader(self, tmp_path: Path, xml: bytes, why: str) -> None:
        write_exported(tmp_path, [process()])
        (tmp_path / "invoices.xml").write_bytes(xml)
        assert why in self.refused(tmp_path)

    def test_an_identifier_that_is_there_twice_is_refused(self, tmp_path: Path) -> None:
        write_exported(tmp_path / "one", [process()])
        write_exported(tmp_path / "two", [process(name="Letters")])
        assert "identifier: " in self.refused(tmp_path / "one", tmp_path / "two")

    @pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "two\nlines", "a\u2028b", "a\x9bm"])
    def test_a_name_that_would_steer_a_terminal_is_refused(self, tmp_path: Path, name: str) -> None:
        write_exported(tmp_path, [process()])
        toml = tmp_path / "invoices.toml"
        escaped = "".join(f"\\u{ord(c):04x}" for c in name)
        toml.write_text(toml.read_text().replace('"Invoices"', f'"{escaped}"'))
        assert "display_name: has an unprintable character" in self.refused(tmp_path)

    def test_half_of_a_pair_is_told(self, tmp_path: Path) -> None:
        write_exported(tmp_path, [process(), process(SECOND, "Letters")])
        (tmp_path / "invoices.toml").unlink()
        (tmp_path / "letters.xml").unlink()
        told = self.refused(tmp_path)
        assert "invoices.toml: is missing" in told
        assert "letters.xml: is missing" in told

    def test_what_is_no_process_is_told_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        assert "notes.txt is no folder" in self.refused(tmp_path / "notes.txt")

    def test_hidden_and_other_files_of_a_folder_are_passed_over(self, tmp_path: Path) -> None:
        write_exported(tmp_path, [process()])
        (tmp_path / "README.md").write_text("x")
        (tmp_path / ".invoices.xml.swp").write_text("x")
        (tmp_path / ".old.xml").write_text("x")
        assert len(read_exported([tmp_path])) == 1

    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        toml=st.binary(max_size=200),
        cut=st.integers(0, len(FOREIGN_XML)),
        put=st.binary(max_size=20),
    )
    def test_whatever_the_files_hold_is_read_or_refused(
        self, tmp_path: Path, toml: bytes, cut: int, put: bytes
    ) -> None:
        write_exported(tmp_path, [process()], replace=True)
        good = (tmp_path / "invoices.toml").read_bytes()
        for text, xml in ((toml, FOREIGN_XML), (good + toml, FOREIGN_XML[:cut] + put + FOREIGN_XML[cut:])):
            (tmp_path / "stranger.toml").write_bytes(text)
            (tmp_path / "stranger.xml").write_bytes(xml)
            with contextlib.suppress(ImportRefused):
                assert [read.xml for read in read_exported([tmp_path / "stranger.xml"])] == [xml]

    async def test_paths_in_a_name_do_not_leave_the_folder(
        self, tmp_path: Path, directory: EmbeddedDirectory
    ) -> None:
        write_exported(tmp_path / "export", [process(name="../../../../tmp/x/..\\evil")])
        await take_in(directory, read_exported([tmp_path / "export"]))
        written = [path.parent for path in tmp_path.rglob("*.xml")]
        assert set(written) == {tmp_path / "export", tmp_path / "directory" / "processes"}
