"""`postscan processes`: list, show and validate over a directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.installation import Installation, InstallationPlan, create_installation
from postscan.cli.process_checks import problems_of
from postscan.cli.settings import load_settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("processes") / "scans"
    return create_installation(
        InstallationPlan(folder=folder, fqdn="scan.example.com", listen="0.0.0.0:5362")
    )


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["processes", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def sample(made: Installation, stem: str) -> bytes:
    return (made.directory / "processes" / f"{stem}.xml").read_bytes()


def test_all_scan_processes_are_listed(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "--config", str(made.config))
    assert code == 0
    head, *rows = out.splitlines()
    assert head.split() == ["NAME", "IDENTIFIER", "MAY", "USE", "DELIVERS", "TO"]
    assert [row.split("  ")[0] for row in rows] == ["Archive (two places)", "Invoices", "Scan to my folder"]
    assert "group Accounting" in rows[1]
    assert r"\\scan.example.com\archive" in rows[0]


def test_the_directory_alone_is_enough(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "--directory", str(made.directory), "--json")
    assert code == 0
    assert len(json.loads(out)) == 3


@pytest.mark.parametrize(
    ("user", "names"),
    [
        ("alice", ["Archive (two places)", "Invoices", "Scan to my folder"]),
        ("BOB@example.com", ["Archive (two places)", "Scan to my folder"]),
    ],
)
def test_only_what_a_user_may_use_is_listed(
    made: Installation, capsys: pytest.CaptureFixture[str], user: str, names: list[str]
) -> None:
    _, out, _ = run(capsys, "list", "--config", str(made.config), "--user", user, "--json")
    assert [process["display_name"] for process in json.loads(out)] == names


def test_a_user_is_found_by_security_identifier(
    made: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "list", "--config", str(made.config), "--user", made.users[1].sid)
    assert code == 0
    assert "Invoices" not in out


def test_an_unknown_user_is_refused(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "list", "--config", str(made.config), "--user", "mallory")
    assert code == ExitCode.REFUSED
    assert "there is no user mallory" in err


def test_without_a_directory_the_error_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "list")
    assert code == ExitCode.CONFIGURATION
    assert "--config" in err
    assert "--directory" in err


def test_the_settings_file_of_this_folder_is_found(
    made: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.folder)
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert "Invoices" in out


def test_one_scan_process_is_shown_in_words(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "archive (two places)", "--config", str(made.config))
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "Archive (two places)"
    assert "may use everyone" in lines
    assert "on error go on with the other filters" in lines
    assert "scan ticket Format jfif" in lines
    assert "MediaFront/Resolution 300 x 300 dpi" in lines
    assert f"filter 1 file share: {(made.folder / 'delivered' / 'archive').as_uri()}" in lines
    assert r"\\scan.example.com\archive" in lines


def test_what_the_device_may_change_is_shown(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "Scan to my folder", "--config", str(made.config))
    assert "Scan (the device may change the file name)" in out


@pytest.mark.parametrize("form", ["{}", "{{{}}}"])
def test_a_scan_process_is_found_by_identifier(
    made: Installation, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    wanted = made.processes[1]
    name = form.format(str(wanted.identifier).upper())
    _, out, _ = run(capsys, "show", name, "--config", str(made.config), "--json")
    assert json.loads(out)["display_name"] == wanted.display_name


def test_the_xml_is_shown_as_it_is_stored(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "Invoices", "--config", str(made.config), "--xml")
    assert out.encode() == sample(made, "invoices")


def test_a_mistyped_name_gets_a_suggestion(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "show", "Invoice", "--config", str(made.config))
    assert code == ExitCode.REFUSED
    assert "did you mean 'Invoices'?" in err


def test_the_samples_are_valid(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "validate", "--config", str(made.config))
    assert code == 0
    assert out.count(": valid") == 3


def test_problems_are_told_with_file_and_line(
    made: Installation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.xml"
    xml = sample(made, "scan-to-my-folder").replace(b">pdf-a<", b"><").replace(b"/delivered<", b"/elsewhere<")
    broken.write_bytes(xml)
    code, out, _ = run(capsys, "validate", str(broken), "--config", str(made.config))
    assert code == ExitCode.REFUSED
    lines = xml.split(b"\n")
    format_line = next(n for n, line in enumerate(lines, 1) if b"Format" in line)
    share_line = next(n for n, line in enumerate(lines, 1) if b"ShareUNC" in line)
    assert f"{broken}:{format_line}: " in out
    assert f"{broken}:{share_line}: " in out
    assert out.endswith("1 of 1 not valid.\n")


def test_a_script_gets_problems_as_json(
    made: Installation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.xml").write_bytes(sample(made, "invoices"))
    (tmp_path / "b.xml").write_text("<b/>")
    code, out, _ = run(capsys, "validate", str(tmp_path), "--config", str(made.config), "--json")
    assert code == ExitCode.REFUSED
    first, second = json.loads(out)
    assert first["valid"]
    assert not second["valid"]
    assert second["problems"][0]["line"] == 1


def test_without_settings_what_only_a_server_knows_is_not_checked(
    made: Installation, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.xml").write_bytes(sample(made, "invoices").replace(b"/delivered/", b"/elsewhere/"))
    code, out, _ = run(capsys, "validate", "a.xml")
    assert code == 0
    assert "Not checked without --config" in out


def test_every_wrong_share_is_told_with_its_own_line(made: Installation) -> None:
    xml = (
        sample(made, "archive-two-places")
        .replace(b"/delivered/archive", b"/etc")
        .replace(b"\\archive", b"\\other")
    )
    problems = problems_of(xml, load_settings(made.config, {}))
    lines = [n for n, line in enumerate(xml.split(b"\n"), 1) if b"ShareUNC" in line]
    assert [problem.line for problem in problems] == lines


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (b"", ""),
        (b"<a", "not well-formed"),
        (b"<!DOCTYPE a><a/>", "document type declaration"),
        (b"<envelope/>", "<envelope> is not a scan process"),
    ],
)
def test_what_is_no_scan_process_is_told(xml: bytes, message: str) -> None:
    (problem,) = problems_of(xml)
    assert message in problem.message
    assert problem.line == 1
    assert problem.advice


def test_an_unknown_filter_is_told(made: Installation) -> None:
    xml = sample(made, "invoices").replace(b"filter/fileshare<", b"filter/teleport<")
    assert "there is no filter for" in "\n".join(problem.message for problem in problems_of(xml))


def test_another_servers_scan_process_is_told(made: Installation) -> None:
    xml = sample(made, "invoices").replace(b">scan.example.com<", b">old.example.com<")
    (problem,) = problems_of(xml, load_settings(made.config, {}))
    assert problem.line == 3
    assert "old.example.com" in problem.message


def test_a_scan_process_that_cannot_be_read_is_told_beside_the_list(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = create_installation(
        InstallationPlan(folder=tmp_path / "scans", fqdn="scan.example.com", listen="0.0.0.0:5362")
    )
    (made.directory / "processes" / "invoices.xml").write_text("<a>\n<b>")
    code, out, err = run(capsys, "list", "--config", str(made.config))
    assert code == 0
    assert "Invoices" not in out
    assert err.startswith("warning: ")
    assert "invoices.xml:2:" in err


def test_a_wrong_format_is_told_with_the_right_ones(made: Installation) -> None:
    (problem,) = problems_of(sample(made, "invoices").replace(b">tiff-single-g4<", b">tiff g4<"))
    assert "tiff-single-g4" in problem.advice


def test_a_file_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "validate", "nowhere.xml")
    assert code == ExitCode.USAGE
    assert "nowhere.xml" in err


def test_a_folder_without_scan_processes_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "validate", str(tmp_path))
    assert code == 0
    assert "There are no scan processes" in out
