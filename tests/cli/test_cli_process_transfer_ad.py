"""Scan processes move between a real Active Directory and the embedded directory, in every direction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.installation import Installation, InstallationPlan, create_installation
from postscan.directory.active.directory import ActiveDirectory
from postscan.directory.model import ProcessDraft, StoredProcess
from postscan.directory.process_files import read_exported
from support.domain import Domain
from testdomain.facts import ALICE, CONTROLLER, SCAN_ADMIN, SERVICE, Person
from testdomain.foreign import FOREIGN_XML
from testdomain.processes import domain_processes

Run = Callable[..., tuple[int, str, str]]
ALL = ["Archive (two places)", "Invoices", "Scan to my folder"]
MAPPED = ("--map-group", "Accounting=ScanFinance")


def settings(domain: Domain, folder: Path, person: Person) -> Path:
    """Write settings that name the test domain, with the account of this person."""
    folder.mkdir(mode=0o700)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(person.password)
    config = folder / "server.toml"
    config.write_text(
        f'[server]\nfqdn = "scansrv.dsm.test"\n[directory]\nkind = "active-directory"\ndomain = "dsm.test"\n'
        f'controllers = ["{CONTROLLER}"]\ndns_servers = ["{domain.address}"]\nca = "{domain.ca}"\n'
        f'account = "{person.principal}"\npassword_file = "{password}"\n'
    )
    return config


@pytest.fixture
def active(domain: Domain, tmp_path: Path) -> Path:
    """Return settings that name the test domain and an account that may write."""
    return settings(domain, tmp_path / "active", SCAN_ADMIN)


@pytest.fixture
def embedded(tmp_path: Path) -> Installation:
    return create_installation(
        InstallationPlan(folder=tmp_path / "scans", fqdn="scan.example.com", listen="0.0.0.0:5362")
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(config: Path, *words: object) -> tuple[int, str, str]:
        code = main(["processes", *map(str, words), "--config", str(config)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


def listed(run: Run, config: Path, *words: object) -> list[dict[str, Any]]:
    code, out, err = run(config, "list", *words, "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return found


@pytest.fixture
def moved(run: Run, active: Path, embedded: Installation, tmp_path: Path) -> Iterator[Path]:
    """Return the export of an embedded directory, which was imported into the domain."""
    export = tmp_path / "export"
    assert run(embedded.config, "export", "--to", export)[0] == 0
    code, out, err = run(active, "import", export, *MAPPED)
    assert code == 0, err
    assert out.count("added: ") == 3
    yield export
    names = [str(process.identifier) for process in read_exported([export])]
    assert run(active, "remove", *names, "--yes")[0] == 0


def test_from_files_into_the_domain_nothing_differs_after(run: Run, active: Path, moved: Path) -> None:
    code, out, err = run(active, "diff", *moved.glob("*.xml"), *MAPPED)
    assert (code, err) == (0, ""), out
    assert run(active, "import", moved, *MAPPED)[1] == "the same already: 3 scan processes\n"


def test_each_user_of_the_domain_sees_their_own(run: Run, active: Path, moved: Path) -> None:
    alice = {process["display_name"] for process in listed(run, active, "--user", "alice")}
    bob = {process["display_name"] for process in listed(run, active, "--user", "bob")}
    assert set(ALL) <= alice
    assert "Invoices" not in bob
    assert {"Archive (two places)", "Scan to my folder"} <= bob


def test_the_server_s_own_account_can_read_what_an_administrator_imported(
    run: Run, domain: Domain, moved: Path, tmp_path: Path
) -> None:
    names = [process["display_name"] for process in listed(run, settings(domain, tmp_path / "own", SERVICE))]
    assert set(ALL) <= set(names)


def test_out_of_the_domain_again_the_octets_are_the_same(
    run: Run, active: Path, moved: Path, tmp_path: Path
) -> None:
    assert run(active, "export", *ALL, "--to", tmp_path / "back")[0] == 0
    there = {process.identifier: process for process in read_exported([moved])}
    back = read_exported([tmp_path / "back"])
    assert {process.identifier for process in back} == there.keys()
    for process in back:
        assert process.xml == there[process.identifier].xml
    assert {frozenset(process.groups) for process in back} == {
        frozenset({"Everyone"}),
        frozenset({"ScanFinance"}),
    }


def test_what_another_console_wrote_comes_to_an_embedded_directory_as_it_is(
    run: Run, active: Path, embedded: Installation, tmp_path: Path
) -> None:
    assert run(active, "export", "Written elsewhere", "--to", tmp_path / "export")[0] == 0
    code, _, err = run(embedded.config, "import", tmp_path / "export")
    assert code == 0, err
    [stored] = [p for p in read_exported([embedded.directory]) if p.display_name == "Written elsewhere"]
    assert stored.xml == FOREIGN_XML
    assert stored.groups == {"Everyone"}


def test_a_whole_domain_is_exported_and_what_files_cannot_tell_is_told(
    run: Run, active: Path, tmp_path: Path
) -> None:
    code, out, err = run(active, "export", "--to", tmp_path / "export")
    assert code == 0
    exported = {process.display_name for process in read_exported([tmp_path / "export"])}
    readable = {p.display_name for p in domain_processes() if not p.broken and p.display_name != "Hidden"}
    assert exported == readable
    assert out.count("(new)") == len(readable)
    assert "not exported: " in err
    assert "left out: " in err
    assert "For everybody but Bob" in err
    code, out, err = run(active, "diff", tmp_path / "export")
    assert (code, "No difference." in out) == (0, True)
    assert "not compared, and stay: " in err
    assert "For everybody but Bob" in err


def test_names_the_domain_does_not_know_are_all_told_and_nothing_is_written(
    run: Run, active: Path, embedded: Installation, tmp_path: Path
) -> None:
    run(embedded.config, "grant", "Invoices", "--user", "admin")
    run(embedded.config, "export", "--to", tmp_path / "export")
    before = listed(run, active)
    code, _, err = run(active, "import", tmp_path / "export")
    assert code == ExitCode.REFUSED
    assert "Accounting (of Invoices)" in err
    assert "admin (of Invoices)" in err
    assert listed(run, active) == before


def test_an_account_that_may_not_write_is_told_and_what_was_not_done(
    run: Run, domain: Domain, embedded: Installation, tmp_path: Path
) -> None:
    run(embedded.config, "export", "--to", tmp_path / "export")
    code, out, err = run(settings(domain, tmp_path / "alice", ALICE), "import", tmp_path / "export", *MAPPED)
    assert code == ExitCode.REFUSED, err
    assert "3 of 3 not done" in out
    assert "insufficientAccessRights" in err
    assert "docs/active-directory.md" in err


def test_a_domain_that_does_not_answer_is_told(
    run: Run, domain: Domain, active: Path, tmp_path: Path
) -> None:
    domain.stop()
    code, _, err = run(active, "export", "--to", tmp_path / "export")
    assert code == ExitCode.UNREACHABLE
    assert "what to do:" in err
    assert not (tmp_path / "export").exists()


def test_users_and_groups_of_the_domain_are_granted_and_revoked(run: Run, active: Path, moved: Path) -> None:
    code, out, err = run(active, "grant", "Invoices", "--user", "bob@dsm.test", "--group", "ScanDeep1")
    assert code == 0, err
    assert "may be used by group ScanDeep1, ScanFinance; user bob" in out
    for name in ("bob", "dave"):
        assert "Invoices" in {process["display_name"] for process in listed(run, active, "--user", name)}
    code, _, err = run(active, "revoke", "Invoices", "--user", "BOB", "--group", "scandeep1")
    assert code == 0, err
    for name in ("bob", "dave"):
        assert "Invoices" not in {process["display_name"] for process in listed(run, active, "--user", name)}
    code, _, err = run(active, "grant", "Invoices", "--user", "mallory", "--group", "No such")
    assert code == ExitCode.REFUSED
    assert "no user mallory" in err
    assert "no group No such" in err
    assert "postscan directory user" in err


def test_a_grant_leaves_the_xml_of_another_console_as_it_is(run: Run, active: Path) -> None:
    assert run(active, "grant", "Written elsewhere", "--group", "ScanDeep1")[0] == 0
    try:
        _, out, _ = run(active, "show", "Written elsewhere", "--xml")
        assert out.rstrip("\n").encode() == FOREIGN_XML.rstrip(b"\n")
    finally:
        assert run(active, "revoke", "Written elsewhere", "--group", "ScanDeep1")[0] == 0


def test_an_import_changes_the_domain_only_where_it_differs(run: Run, active: Path, moved: Path) -> None:
    xml = moved / "invoices.xml"
    xml.write_bytes(xml.read_bytes().replace(b"Invoice<", b"Bill<"))
    code, out, _ = run(active, "import", moved, *MAPPED, "--replace")
    assert code == 0
    assert out.count("changed: ") == 1
    assert "+ psp:PostScanInstructions/psp:DocumentRootName: Bill" in out
    assert run(active, "show", "Invoices", "--xml")[1].encode() == xml.read_bytes()


def test_an_import_goes_on_after_the_domain_went_away_in_the_middle(
    run: Run,
    domain: Domain,
    active: Path,
    embedded: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export = tmp_path / "export"
    run(embedded.config, "export", "--to", export)
    original = ActiveDirectory.create_process

    async def create(self: ActiveDirectory, draft: ProcessDraft) -> StoredProcess:
        if draft.display_name == ALL[1]:
            domain.stop()
        return await original(self, draft)

    monkeypatch.setattr(ActiveDirectory, "create_process", create)
    code, out, err = run(active, "import", export, *MAPPED)
    assert code == ExitCode.UNREACHABLE, err
    assert f"added: {ALL[0]}" in out
    assert f"not done: {ALL[1]}" in out
    assert "2 of 3 not done" in out
    monkeypatch.undo()
    domain.start()
    with domain.inside():
        code, out, err = run(active, "import", export, *MAPPED)
        assert (code, out.count("added: "), "the same already: 1" in out) == (0, 2, True), err
        names = [str(process.identifier) for process in read_exported([export])]
        assert run(active, "remove", *names, "--yes")[0] == 0
