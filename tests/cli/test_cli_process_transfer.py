"""`postscan processes export`, `import`, `diff`, `grant`, `revoke` and `remove`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.installation import Installation, InstallationPlan, create_installation


def make(folder: Path, fqdn: str) -> Installation:
    return create_installation(InstallationPlan(folder=folder, fqdn=fqdn, listen="0.0.0.0:5362"))


@pytest.fixture
def made(tmp_path: Path) -> Installation:
    return make(tmp_path / "scans", "scan.example.com")


@pytest.fixture
def other(tmp_path: Path) -> Installation:
    """Return another installation, which has no scan processes yet."""
    installation = make(tmp_path / "others", "other.example.org")
    for path in (installation.directory / "processes").iterdir():
        path.unlink()
    return installation


class Command:
    """Runs `postscan processes` over an installation."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, installation: Installation, *arguments: object) -> tuple[int, str, str]:
        code = main(["processes", *map(str, arguments), "--config", str(installation.config)])
        told = self._capsys.readouterr()
        return code, told.out, told.err

    def json(self, installation: Installation, *arguments: object) -> Any:
        _, out, _ = self(installation, *arguments, "--json")
        return json.loads(out)

    def names(self, installation: Installation) -> list[str]:
        return [process["display_name"] for process in self.json(installation, "list")]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def exported(run: Command, made: Installation, tmp_path: Path) -> Path:
    code, _, _ = run(made, "export", "--to", tmp_path / "export")
    assert code == 0
    return tmp_path / "export"


ALL = ["Archive (two places)", "Invoices", "Scan to my folder"]


def test_all_scan_processes_are_exported(exported: Path, made: Installation) -> None:
    files = sorted(path.name for path in exported.iterdir())
    assert files == sorted(path.name for path in (made.directory / "processes").iterdir())
    for path in exported.glob("*.xml"):
        assert path.read_bytes() == (made.directory / "processes" / path.name).read_bytes()


def test_only_the_named_ones_are_exported(run: Command, made: Installation, tmp_path: Path) -> None:
    told = run.json(made, "export", "invoices", "--to", tmp_path / "export")
    assert [(process["display_name"], process["status"]) for process in told] == [("Invoices", "new")]
    assert told[0]["file"] == str(tmp_path / "export" / "invoices.xml")
    assert len(list((tmp_path / "export").iterdir())) == 2


def test_an_unknown_name_exports_nothing(run: Command, made: Installation, tmp_path: Path) -> None:
    code, _, err = run(made, "export", "Invoices", "Invoice", "--to", tmp_path / "export")
    assert code == ExitCode.REFUSED
    assert "did you mean 'Invoices'?" in err
    assert not (tmp_path / "export").exists()


def test_a_broken_scan_process_is_told_and_the_others_exported(
    run: Command, made: Installation, tmp_path: Path
) -> None:
    (made.directory / "processes" / "invoices.xml").write_text("<broken")
    code, out, err = run(made, "export", "--to", tmp_path / "export")
    assert code == 0
    assert out.count("(new)") == 2
    assert "not exported: " in err
    assert "invoices.xml" in err


def test_what_is_imported_is_told_and_there(run: Command, exported: Path, other: Installation) -> None:
    code, out, _ = run(other, "import", exported)
    assert code == 0
    assert [line.split(" (")[0] for line in out.splitlines()] == [
        f"added: {name.split(' (')[0]}" for name in ALL
    ]
    assert run.names(other) == ALL


def test_a_second_import_changes_nothing(run: Command, exported: Path, other: Installation) -> None:
    run(other, "import", exported)
    code, out, _ = run(other, "import", exported)
    assert (code, out) == (0, "the same already: 3 scan processes\n")


def test_a_dry_run_writes_nothing(run: Command, exported: Path, other: Installation) -> None:
    code, out, _ = run(other, "import", exported, "--dry-run")
    assert code == 0
    assert out.count("would be added") == 3
    assert run.names(other) == []


def test_an_import_tells_json(run: Command, exported: Path, other: Installation) -> None:
    told = run.json(other, "import", exported, "--map-server", "scan.example.com=other.example.org")
    assert (told["dry_run"], told["complete"]) == (False, True)
    assert [(process["display_name"], process["status"]) for process in told["processes"]] == [
        (name, "added") for name in ALL
    ]


def test_unknown_groups_are_refused_and_can_be_mapped(
    run: Command, exported: Path, other: Installation
) -> None:
    toml = exported / "invoices.toml"
    toml.write_text(toml.read_text().replace("Accounting", "Buchhaltung"))
    code, _, err = run(other, "import", exported)
    assert code == ExitCode.REFUSED
    assert "Buchhaltung (of Invoices)" in err
    assert "--map-group" in err
    assert run.names(other) == []
    assert run(other, "import", exported, "--map-group", "Buchhaltung=Accounting")[0] == 0
    assert run.names(other) == ALL


def test_what_differs_is_refused_until_it_is_said_what_to_do(
    run: Command, exported: Path, made: Installation
) -> None:
    xml = exported / "invoices.xml"
    xml.write_bytes(xml.read_bytes().replace(b"Invoice<", b"Bill<"))
    code, _, err = run(made, "import", exported)
    assert code == ExitCode.REFUSED
    assert "different: Invoices" in err
    code, out, _ = run(made, "import", exported, "--skip-existing")
    assert (code, "skipped: Invoices" in out) == (0, True)
    code, out, _ = run(made, "import", exported, "--replace")
    assert (code, "changed: Invoices" in out) == (0, True)
    assert run(made, "show", "Invoices", "--xml")[1].encode() == xml.read_bytes()


def test_replacing_and_skipping_exclude_each_other(run: Command, exported: Path, made: Installation) -> None:
    assert run(made, "import", exported, "--replace", "--skip-existing")[0] == ExitCode.USAGE


@pytest.mark.parametrize("given", ["Sales", "=x", ""])
def test_a_mapping_is_written_with_both_names(
    run: Command, exported: Path, made: Installation, given: str
) -> None:
    assert run(made, "import", exported, "--map-group", given)[0] == ExitCode.USAGE


def test_a_mapping_that_fits_nothing_is_told(run: Command, exported: Path, other: Installation) -> None:
    _, _, err = run(other, "import", exported, "--map-group", "Acounting=Accounting")
    assert "no scan process to import has the group 'Acounting'" in err


def test_an_import_that_stops_says_how_far_it_came_and_goes_on(
    run: Command, exported: Path, other: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postscan.directory.embedded import EmbeddedDirectory
    from postscan.directory.model import DirectoryError, ProcessDraft, StoredProcess

    original = EmbeddedDirectory.create_process

    async def create(self: EmbeddedDirectory, draft: ProcessDraft) -> StoredProcess:
        if draft.display_name == "Invoices":
            raise DirectoryError("the disk is full")
        return await original(self, draft)

    monkeypatch.setattr(EmbeddedDirectory, "create_process", create)
    code, out, err = run(other, "import", exported)
    assert code == ExitCode.UNREACHABLE
    assert "the disk is full" in err
    assert "added: Archive" in out
    assert "not done: Invoices" in out
    assert "not done: Scan to my folder" in out
    assert "2 of 3 not done" in out
    monkeypatch.undo()
    code, out, _ = run(other, "import", exported)
    assert (code, out.count("added: ")) == (0, 2)
    assert run.names(other) == ALL


def test_no_difference_ends_with_0(run: Command, exported: Path, made: Installation) -> None:
    code, out, _ = run(made, "diff", exported)
    assert code == 0
    assert "No difference." in out


def test_a_difference_is_shown_and_ends_with_1(run: Command, exported: Path, made: Installation) -> None:
    run(made, "grant", "Invoices", "--user", "bob")
    xml = exported / "invoices.xml"
    xml.write_bytes(xml.read_bytes().replace(b"Invoice<", b"Bill<"))
    (exported / "scan-to-my-folder.xml").unlink()
    (exported / "scan-to-my-folder.toml").unlink()
    code, out, _ = run(made, "diff", exported)
    assert code == 1
    lines = [line.strip() for line in out.splitlines()]
    assert "- may use: user bob" in lines
    assert "- psp:PostScanInstructions/psp:DocumentRootName: Invoice" in lines
    assert "+ psp:PostScanInstructions/psp:DocumentRootName: Bill" in lines
    assert any(line.startswith("only in the directory: Scan to my folder") for line in lines)


def test_a_difference_in_writing_alone_is_told_as_such(
    run: Command, exported: Path, made: Installation
) -> None:
    xml = exported / "invoices.xml"
    xml.write_bytes(xml.read_bytes().replace(b"\n", b"\r\n"))
    code, out, _ = run(made, "diff", xml)
    assert code == 1
    assert "only the XML's writing differs, not what it says" in out
    assert "only in the directory" not in out
    [told] = run.json(made, "diff", xml)
    assert (told["status"], told["only_writing_differs"], told["content"]) == ("changed", True, [])


def test_what_a_mapping_changes_is_shown(run: Command, exported: Path, made: Installation) -> None:
    code, out, _ = run(
        made, "diff", exported / "invoices.toml", "--map-server", "scan.example.com=scan2.example.com"
    )
    assert code == 1
    assert "- psp:ScanRepository: scan.example.com" in out
    assert "+ psp:ScanRepository: scan2.example.com" in out


def test_names_the_directory_does_not_know_are_warned_of(
    run: Command, exported: Path, other: Installation
) -> None:
    toml = exported / "invoices.toml"
    toml.write_text(toml.read_text().replace("Accounting", "Buchhaltung"))
    code, _, err = run(other, "diff", exported)
    assert code == 1
    assert "the directory knows no group Buchhaltung (of Invoices)" in err


def test_control_characters_of_an_export_do_not_reach_the_terminal(
    run: Command, exported: Path, made: Installation
) -> None:
    (exported / "evil\x1b[2J.toml").write_text('display_name = "\x1b[2J"')
    code, out, err = run(made, "import", exported)
    assert code == ExitCode.REFUSED
    assert "\x1b" not in out + err


def test_users_and_groups_are_granted_and_revoked(run: Command, made: Installation) -> None:
    _, out, _ = run(made, "grant", "Invoices", "--user", "BOB@example.com", "--group", "everyone")
    assert "Invoices: may be used by everyone" in out
    told = run.json(made, "show", "Invoices")
    assert (told["users"], told["groups"]) == (["bob"], ["Accounting", "Everyone"])
    code, _, _ = run(made, "revoke", "Invoices", "--group", "Everyone", "--group", "accounting")
    assert code == 0
    told = run.json(made, "show", "Invoices")
    assert (told["users"], told["groups"]) == (["bob"], [])


def test_granting_twice_changes_nothing(run: Command, made: Installation) -> None:
    code, out, _ = run(made, "grant", "Invoices", "--group", "Accounting")
    assert code == 0
    assert "nothing to change" in out


def test_unknown_names_are_all_told_and_nothing_granted(run: Command, made: Installation) -> None:
    code, _, err = run(made, "grant", "Invoices", "--user", "mallory", "--group", "Sales", "--user", "bob")
    assert code == ExitCode.REFUSED
    assert "no user mallory; the directory knows no group Sales" in err
    assert run.json(made, "show", "Invoices")["users"] == []


def test_revoking_what_was_not_granted_is_refused(run: Command, made: Installation) -> None:
    code, _, err = run(made, "revoke", "Invoices", "--user", "bob")
    assert code == ExitCode.REFUSED
    assert "it is not granted to user bob" in err
    assert "those who may use it: group Accounting" in err


def test_a_user_who_is_gone_can_be_revoked(run: Command, made: Installation) -> None:
    toml = made.directory / "processes" / "invoices.toml"
    toml.write_text(toml.read_text().replace("users = []", 'users = ["Leaver"]'))
    code, _, _ = run(made, "revoke", "Invoices", "--user", "leaver")
    assert code == 0
    assert run.json(made, "show", "Invoices")["users"] == []


@pytest.mark.parametrize("command", ["grant", "revoke"])
def test_a_grant_names_somebody(run: Command, made: Installation, command: str) -> None:
    assert run(made, command, "Invoices")[0] == ExitCode.USAGE


def test_scan_processes_are_removed(run: Command, made: Installation) -> None:
    code, out, _ = run(made, "remove", "Invoices", "Scan to my folder", "--yes")
    assert code == 0
    assert out.count("removed: ") == 2
    assert run.names(made) == ["Archive (two places)"]


def test_nothing_is_removed_when_one_is_unknown(run: Command, made: Installation) -> None:
    code, _, _ = run(made, "remove", "Invoices", "Letters", "--yes")
    assert code == ExitCode.REFUSED
    assert run.names(made) == ALL


def test_nothing_is_removed_unasked(
    run: Command, made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, _, err = run(made, "remove", "Invoices")
    assert code == ExitCode.USAGE
    assert "--yes" in err
    assert run.names(made) == ALL
