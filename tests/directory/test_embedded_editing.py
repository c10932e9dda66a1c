"""Scan processes of the embedded directory are added, changed and deleted, and nothing else is."""

from __future__ import annotations

import codecs
import fcntl
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.embedded_entries import toml_value
from postscan.directory.embedded_toml import CannotChange, with_values
from postscan.directory.model import (
    DirectoryError,
    EntryChanged,
    EntryExists,
    EntryRefused,
    NoSuchEntry,
    ProcessDraft,
    ProcessEditor,
    StoredProcess,
)
from postscan.soap.names import FSF, PSP, WSCN

INVOICES = UUID("6f2c3b1e-5a0d-4c1b-9a63-0d2f5a4b7c11")
XML = f"""<?xml version="1.0" encoding="utf-8"?>
<!-- by hand --><p:PostScanProcess xmlns:p="{PSP}"><p:ScanRepository>scan.example.com</p:ScanRepository>\r
  <p:ScanTicket><JobDescription xmlns="{WSCN}"><JobName>Invoices</JobName>
  <JobOriginatingUserName>any</JobOriginatingUserName></JobDescription></p:ScanTicket>
  <p:PostScanInstructions><p:DocumentRootName>Invoice</p:DocumentRootName><p:FiltersToProcess><p:Filter>
  <p:Dialect>{FSF}</p:Dialect><p:Instructions><FileShareConfig xmlns="{FSF}"><FileShares>
  <ShareUNC>file:///srv</ShareUNC></FileShares></FileShareConfig></p:Instructions></p:Filter>
  </p:FiltersToProcess></p:PostScanInstructions></p:PostScanProcess>
""".encode()
USERS = """
domain = "example.com"
[[user]]
sid = "S-1-5-21-1-2-3-1103"
name = "alice"
groups = ["Accounting"]
[[user]]
sid = "S-1-5-21-1-2-3-1104"
name = "Bob"
[[group]]
name = "Finance"
sid = "S-1-5-21-1-2-3-1200"
"""
DRAFT = ProcessDraft(INVOICES, "Invoices", XML, frozenset({"alice"}), frozenset({"Finance"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "users.toml").write_text(USERS)
    (tmp_path / "processes").mkdir()
    return tmp_path


@pytest.fixture
def directory(folder: Path) -> EmbeddedDirectory:
    return EmbeddedDirectory(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "processes").iterdir()}


def test_it_is_an_editor(directory: EmbeddedDirectory) -> None:
    editor: ProcessEditor = directory
    assert editor is directory


async def test_a_process_is_created_as_drafted(directory: EmbeddedDirectory, folder: Path) -> None:
    made = await directory.create_process(DRAFT)
    assert (made.identifier, made.display_name, made.xml) == (INVOICES, "Invoices", XML)
    assert (made.users, made.groups) == (DRAFT.users, DRAFT.groups)
    again = await EmbeddedDirectory(folder).process(INVOICES)
    assert again is not None
    assert (again.version, again.users, again.groups) == (made.version, made.users, made.groups)
    assert sorted(files(folder)) == ["invoices.toml", "invoices.xml"]


async def test_a_second_process_of_that_name_has_files_of_its_own(
    directory: EmbeddedDirectory, folder: Path
) -> None:
    other = UUID(int=7)
    await directory.create_process(DRAFT)
    await directory.create_process(replace(DRAFT, identifier=other))
    assert sorted(files(folder)) == [
        f"invoices-{other}.toml",
        f"invoices-{other}.xml",
        "invoices.toml",
        "invoices.xml",
    ]


@pytest.mark.parametrize("broken", [False, True])
async def test_an_identifier_that_is_there_is_not_created_again(
    directory: EmbeddedDirectory, folder: Path, broken: bool
) -> None:
    await directory.create_process(DRAFT)
    if broken:
        (folder / "processes" / "invoices.xml").write_text("<no/>")
    before = files(folder)
    with pytest.raises(EntryExists, match=str(INVOICES)):
        await directory.create_process(replace(DRAFT, display_name="Others"))
    assert files(folder) == before


async def test_all_unknown_names_are_told_at_once(directory: EmbeddedDirectory, folder: Path) -> None:
    with pytest.raises(EntryRefused, match="'mallory', 'Nobodies'"):
        await directory.create_process(
            replace(DRAFT, users=frozenset({"alice", "mallory"}), groups=frozenset({"Nobodies", "everyone"}))
        )
    assert files(folder) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"xml": b"<no"}, "no scan process"),
        ({"xml": b"<x/>"}, "no scan process"),
        ({"xml": b" " * 524_289}, "524,289 characters; a directory holds 524,288"),
        ({"xml": b" " * 3_000_000}, "3,000,000 octets"),
        ({"xml": "🖨".encode() * 262_145}, "524,290 characters"),
        ({"xml": codecs.BOM_UTF16_LE + b" \0" * 524_289}, "524,289 characters"),
        ({"display_name": ""}, "empty"),
        ({"display_name": "a\x1b[2J"}, "unprintable"),
        ({"display_name": "a" * 256}, "256 characters"),
    ],
)
async def test_what_is_no_process_is_refused(
    directory: EmbeddedDirectory, folder: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(EntryRefused, match=words):
        await directory.create_process(replace(DRAFT, **change))
    assert files(folder) == {}


async def test_a_process_of_the_greatest_length_is_taken(directory: EmbeddedDirectory) -> None:
    xml = XML + b"\n" * (524_288 - len(XML))
    assert (await directory.create_process(replace(DRAFT, xml=xml))).xml == xml


async def test_a_new_name_leaves_everything_else_octet_for_octet(
    directory: EmbeddedDirectory, folder: Path
) -> None:
    toml = (
        "\ufeff# the accountants' own\r\n\r\n"
        'groups = [  # who\r\n  "Finance", # all of them\r\n]\r\n'
        f"identifier = '{INVOICES}'  # never changes\r\n"
        "\"display_name\"   =  'Invoices' # shown at the device\r\n"
    ).encode()
    (folder / "processes" / "mine.toml").write_bytes(toml)
    (folder / "processes" / "mine.xml").write_bytes(XML)
    seen = await directory.process(INVOICES)
    assert seen is not None
    made = await directory.change_process(seen, ProcessDraft(INVOICES, "Bills", XML, seen.users, seen.groups))
    assert files(folder) == {"mine.xml": XML, "mine.toml": toml.replace(b"'Invoices'", b'"Bills"')}
    assert made.display_name == "Bills"


async def test_grants_are_changed_in_place(directory: EmbeddedDirectory, folder: Path) -> None:
    seen = await directory.create_process(DRAFT)
    path = folder / "processes" / "invoices.toml"
    path.write_text("# mine\n" + path.read_text().replace('users = ["alice"]\n', ""))
    seen = await stored(directory)
    made = await directory.change_process(
        seen, replace(DRAFT, users=frozenset({"Bob"}), groups=frozenset({"Everyone"}))
    )
    assert (made.users, made.groups) == ({"Bob"}, {"Everyone"})
    assert path.read_text().splitlines() == [
        "# mine",
        f'identifier = "{INVOICES}"',
        'display_name = "Invoices"',
        'groups = ["Everyone"]',
        'users = ["Bob"]',
    ]


async def test_new_xml_is_written_as_it_is(directory: EmbeddedDirectory, folder: Path) -> None:
    seen = await directory.create_process(DRAFT)
    toml = files(folder)["invoices.toml"]
    xml = XML.replace(b"Invoice<", b"Bill<")
    made = await directory.change_process(seen, replace(DRAFT, xml=xml))
    assert files(folder) == {"invoices.xml": xml, "invoices.toml": toml}
    assert made.version != seen.version


@pytest.mark.parametrize("name", ["invoices.xml", "invoices.toml"])
async def test_what_somebody_changed_meanwhile_is_not_overwritten(
    directory: EmbeddedDirectory, folder: Path, name: str
) -> None:
    seen = await directory.create_process(DRAFT)
    path = folder / "processes" / name
    path.write_text(path.read_text().replace("Invoices", "Theirs"))
    before = files(folder)
    with pytest.raises(EntryChanged):
        await directory.change_process(seen, replace(DRAFT, display_name="Ours"))
    with pytest.raises(EntryChanged):
        await directory.delete_process(seen)
    assert files(folder) == before


async def test_a_process_is_deleted_with_both_files(directory: EmbeddedDirectory, folder: Path) -> None:
    seen = await directory.create_process(DRAFT)
    await directory.delete_process(seen)
    assert files(folder) == {}
    assert await directory.process(INVOICES) is None


async def test_what_is_gone_is_neither_changed_nor_deleted(directory: EmbeddedDirectory) -> None:
    seen = await directory.create_process(DRAFT)
    await directory.delete_process(seen)
    with pytest.raises(NoSuchEntry):
        await directory.delete_process(seen)
    with pytest.raises(NoSuchEntry):
        await directory.change_process(seen, DRAFT)


async def test_a_process_keeps_its_identifier(directory: EmbeddedDirectory) -> None:
    seen = await directory.create_process(DRAFT)
    with pytest.raises(EntryRefused, match="identifier"):
        await directory.change_process(seen, replace(DRAFT, identifier=UUID(int=1)))


async def test_names_that_were_granted_before_need_not_be_known(
    directory: EmbeddedDirectory, folder: Path
) -> None:
    await directory.create_process(DRAFT)
    path = folder / "processes" / "invoices.toml"
    path.write_text(path.read_text().replace('"alice"', '"gone"'))
    seen = await stored(directory)
    made = await directory.change_process(seen, replace(DRAFT, display_name="Bills", users=seen.users))
    assert (made.display_name, made.users) == ("Bills", {"gone"})


async def test_one_program_writes_at_a_time(directory: EmbeddedDirectory, folder: Path) -> None:
    seen = await directory.create_process(DRAFT)
    descriptor = os.open(folder / "processes", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(DirectoryError, match="another program"):
            await directory.delete_process(seen)
    finally:
        os.close(descriptor)
    await directory.delete_process(seen)


async def test_xml_is_put_back_when_the_rest_cannot_be_written(
    directory: EmbeddedDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await directory.create_process(DRAFT)
    before = files(folder)
    exchange = Path.replace

    def no_toml(self: Path, target: Path) -> Path:
        if target.suffix == ".toml":
            raise OSError(28, "No space left on device")
        return exchange(self, target)

    monkeypatch.setattr(Path, "replace", no_toml)
    changed = replace(DRAFT, display_name="Bills", xml=XML.replace(b"Invoice<", b"Bill<"))
    with pytest.raises(DirectoryError, match="No space left"):
        await directory.change_process(seen, changed)
    assert files(folder) == before


async def test_known_names_have_one_spelling(directory: EmbeddedDirectory) -> None:
    known = await directory.known_names(
        ["ALICE", "alice@example.com", "s-1-5-21-1-2-3-1104", "mallory"],
        ["finance", "S-1-5-21-1-2-3-1200", "accounting", "EVERYONE", "Nobodies"],
    )
    assert known.users == {"ALICE": "alice", "alice@example.com": "alice", "s-1-5-21-1-2-3-1104": "Bob"}
    assert known.groups == {
        "finance": "Finance",
        "S-1-5-21-1-2-3-1200": "Finance",
        "accounting": "Accounting",
        "EVERYONE": "Everyone",
    }


async def stored(directory: EmbeddedDirectory) -> StoredProcess:
    """Read what was written behind the directory's back."""
    directory._looked = None
    found = await directory.process(INVOICES)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = 'x'", 'a = "new"'),
        ("a='x'# why\n", 'a="new"# why\n'),
        ('a = """x\n a = 1 # no\n"""\nb = 2', 'a = "new"\nb = 2'),
        ('b = """\na = "x"\n"""\na = "x" # this', 'b = """\na = "x"\n"""\na = "new" # this'),
        ('a = ["x]",\n "y" # y\n] # all\n', 'a = "new" # all\n'),
        ('"a" = "\\"]"\n', '"a" = "new"\n'),
        ("b = 1", 'b = 1\na = "new"\n'),
        ("b = 1\r\n[t]\r\nc = 2", 'a = "new"\r\nb = 1\r\n[t]\r\nc = 2'),
        ("", 'a = "new"\n'),
    ],
)
def test_a_value_is_changed_where_it_stands(before: str, after: str) -> None:
    assert with_values(before, {"a": "new"}) == after


@pytest.mark.parametrize("text", ["a.b = 1", "[a]\nb = 1", '"\\u0061" = "x"'])
def test_a_value_that_cannot_be_changed_in_place_is_not(text: str) -> None:
    with pytest.raises(CannotChange, match=r"^a "):
        with_values(text, {"a": "new"})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), texts | st.lists(texts, max_size=3)), unique_by=lambda x: x[0]
    ),
    st.dictionaries(st.sampled_from("abcde"), texts | st.lists(texts, max_size=3), max_size=3),
    st.sampled_from(["", " # a = 1", " # ]", "\n# a = ['x']"]),
)
def test_any_values_are_changed(lines: list[tuple[str, Any]], changes: dict[str, Any], comment: str) -> None:
    text = "".join(f"{key} = {toml_value(value)}{comment}\n" for key, value in lines)
    made = with_values(text, changes)
    assert tomllib.loads(made) == dict(lines) | changes
