"""`postscan config check`: every value with its origin, and everything that does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import postscan.cli.certificate_checks
import postscan.cli.checks
from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.installation import InstallationPlan, create_installation
from postscan.cli.pki import create_ca, issue_server
from postscan.cli.settings import load_settings
from support.scanning import change, make_installation


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "scans"
    create_installation(InstallationPlan(folder=folder, fqdn="scan.example.com", listen="0.0.0.0:5362"))
    return folder


@pytest.fixture
def installation(pristine: Path, tmp_path: Path) -> Path:
    """Return a copy to break; its sample processes deliver into the copy."""
    folder = tmp_path / "scans"
    shutil.copytree(pristine, folder)
    for xml in (folder / "directory" / "processes").glob("*.xml"):
        xml.write_text(xml.read_text().replace(pristine.as_uri(), folder.as_uri()))
    return folder


@pytest.fixture
def check(installation: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], tuple[int, Any]]:
    def run() -> tuple[int, Any]:
        code = main(["config", "check", "--config", str(installation / "server.toml"), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def told(result: tuple[int, Any], key: str) -> str:
    """Return what was found under a key; fails unless the status is that of wrong settings."""
    code, report = result
    assert code == ExitCode.CONFIGURATION
    assert report["ok"] is False
    messages = [finding["message"] for finding in report["findings"] if finding["key"] == key]
    assert messages, report["findings"]
    return "\n".join(messages)


def test_a_new_installation_is_in_order(check: Callable[[], tuple[int, Any]]) -> None:
    code, report = check()
    assert report["findings"] == []
    assert code == 0
    assert report["settings"]["server.fqdn"] == {"value": "scan.example.com", "unit": "", "origin": "file"}
    assert report["settings"]["limits.max_open_jobs"]["unit"] == "jobs"


def test_people_see_values_origins_and_a_verdict(
    installation: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTSCAN_LIMITS__MAX_OPEN_JOBS", "9")
    assert main(["config", "check", "--config", str(installation / "server.toml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("limits.max_open_jobs "))
    assert row.split() == [
        "limits.max_open_jobs",
        "9",
        "jobs",
        "environment",
        "POSTSCAN_LIMITS__MAX_OPEN_JOBS",
    ]
    assert lines[-1] == "All is in order."


def test_people_see_problems_with_what_to_do(installation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (installation / "pki" / "server.key").chmod(0o644)
    code = main(["config", "check", "--config", str(installation / "server.toml")])
    assert code == ExitCode.CONFIGURATION
    out = capsys.readouterr().out
    assert "problem: tls.key:" in out
    assert "what to do: chmod 600" in out
    assert out.endswith("1 problem.\n")


@pytest.mark.parametrize("name", ["server.key", "ca.key", "users/alice.key"])
def test_a_key_that_others_can_read_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]], name: str
) -> None:
    (installation / "pki" / name).chmod(0o640)
    assert "can be read by others (mode 0640)" in told(check(), "tls.key")


@pytest.mark.parametrize(
    ("name", "key"),
    [("server.pem", "tls.certificate"), ("server.key", "tls.key"), ("ca.pem", "tls.client_ca")],
)
def test_a_missing_file_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]], name: str, key: str
) -> None:
    (installation / "pki" / name).unlink()
    assert "does not exist" in told(check(), key)


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("server.pem", "tls.certificate", "holds no PEM certificate"),
        ("server.key", "tls.key", "holds no private key"),
        ("ca.pem", "tls.client_ca", "holds no PEM certificate"),
    ],
)
def test_a_file_of_something_else_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]], name: str, key: str, message: str
) -> None:
    (installation / "pki" / name).write_text("hello")
    assert message in told(check(), key)


def test_a_key_of_another_certificate_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    shutil.copy(installation / "pki" / "ca.key", installation / "pki" / "server.key")
    assert "is not the key of" in told(check(), "tls.key")


def test_a_certificate_for_another_name_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    replace(installation / "server.toml", 'fqdn = "scan.example.com"', 'fqdn = "other.example.com"')
    result = check()
    assert "is not valid for other.example.com: its names are scan.example.com" in told(
        result, "tls.certificate"
    )
    assert "ScanRepository is 'scan.example.com'" in told(result, "directory.folder")


def test_a_wildcard_certificate_covers_its_hosts(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    pair = issue_server(create_ca("Test"), "*.example.com")
    (installation / "pki" / "server.pem").write_bytes(pair.certificate_pem())
    (installation / "pki" / "server.key").write_bytes(pair.key_pem())
    assert check()[0] == 0


def test_a_users_certificate_is_none_for_a_server(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    for suffix in ("pem", "key"):
        shutil.copy(
            installation / "pki" / "users" / f"alice.{suffix}", installation / "pki" / f"server.{suffix}"
        )
    assert "is not for a server" in told(check(), "tls.certificate")


def test_a_servers_certificate_is_no_authority(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    shutil.copy(installation / "pki" / "server.pem", installation / "pki" / "ca.pem")
    assert "is no certificate authority" in told(check(), "tls.client_ca")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pki/ca.pem", None),
        ("pki/none.pem", "does not exist"),
        ("pki/server.pem", "is no certificate authority"),
    ],
)
def test_the_authority_of_event_listeners_is_checked(
    installation: Path, check: Callable[[], tuple[int, Any]], name: str, message: str | None
) -> None:
    change(installation / "server.toml", sink_ca=name)
    if message is None:
        assert check()[0] == 0
    else:
        assert message in told(check(), "eventing.sink_ca")


@pytest.mark.parametrize(
    ("days", "severity", "message"),
    [(-1, "problem", "is valid only from"), (800, "warning", "expires on"), (826, "problem", "expired on")],
)
def test_the_dates_of_the_certificate_are_checked(
    check: Callable[[], tuple[int, Any]],
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    severity: str,
    message: str,
) -> None:
    class OtherDay(datetime):
        @classmethod
        def now(cls, _tz: object = None) -> OtherDay:
            moment = datetime.now(UTC) + timedelta(days=days)
            return cls.fromtimestamp(moment.timestamp(), UTC)

    monkeypatch.setattr(postscan.cli.certificate_checks, "datetime", OtherDay)
    code, report = check()
    found = [f for f in report["findings"] if f["key"] == "tls.certificate" and message in f["message"]]
    assert [finding["severity"] for finding in found] == [severity]
    assert code == (0 if severity == "warning" else ExitCode.CONFIGURATION)


@pytest.mark.parametrize(
    ("mode", "severity"), [(0o703, "problem"), (0o777, "problem"), (0o755, "warning"), (0o700, None)]
)
def test_a_data_folder_open_to_others_is_told(
    installation: Path, check: Callable[[], tuple[int, Any]], mode: int, severity: str | None
) -> None:
    (installation / "data").chmod(mode)
    _code, report = check()
    found = [finding["severity"] for finding in report["findings"] if finding["key"] == "server.data"]
    assert found == ([severity] if severity else [])


def test_a_data_folder_among_program_files_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    code = Path(postscan.cli.checks.__file__).parent
    replace(installation / "server.toml", '# data = "data"', f'data = "{code}"')
    assert "among program files" in told(check(), "server.data")


def test_too_little_room_is_a_problem(installation: Path, check: Callable[[], tuple[int, Any]]) -> None:
    replace(installation / "server.toml", "# min_free_bytes = 268435456", f"min_free_bytes = {2**62}")
    assert "no job begins" in told(check(), "server.data")


@pytest.mark.parametrize(
    ("folder", "key"),
    [
        ("data", "server.data"),
        ("directory", "directory.folder"),
        ("delivered", "fileshare.roots"),
        ("delivered/mirror", "fileshare.unc_map"),
    ],
)
def test_a_missing_folder_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]], folder: str, key: str
) -> None:
    shutil.rmtree(installation / folder)
    assert "there is no folder" in told(check(), key)


def test_deliveries_into_the_data_folder_are_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    replace(installation / "server.toml", 'roots = ["delivered"]', 'roots = ["delivered", "data"]')
    assert "lie in each other" in told(check(), "fileshare.roots")


def test_a_scan_process_that_may_not_deliver_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    replace(installation / "server.toml", 'roots = ["delivered"]', 'roots = ["delivered/mirror"]')
    messages = told(check(), "directory.folder")
    assert "scan-to-my-folder.xml:" in messages
    assert "lies in no folder that file: targets may use" in messages


def test_a_wrong_users_file_is_a_problem(installation: Path, check: Callable[[], tuple[int, Any]]) -> None:
    replace(installation / "directory" / "users.toml", "S-1-5-21", "S-1-X")
    assert "users.toml:" in told(check(), "directory.folder")


def test_a_broken_scan_process_is_told_once(installation: Path, check: Callable[[], tuple[int, Any]]) -> None:
    (installation / "directory" / "processes" / "invoices.xml").write_text("<a>")
    messages = told(check(), "directory.folder").splitlines()
    assert len([line for line in messages if "invoices.xml" in line]) == 1


def test_unauthenticated_without_devices_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    replace(installation / "server.toml", '# mode = "authenticated"', 'mode = "unauthenticated"')
    assert "every job is refused" in told(check(), "devices.allow")


def test_authenticated_without_tls_is_a_problem(
    installation: Path, check: Callable[[], tuple[int, Any]]
) -> None:
    replace(installation / "server.toml", "# enabled = true", "enabled = false")
    assert "nobody can be authenticated" in told(check(), "server.mode")


def test_wrong_settings_end_the_check(installation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(installation / "server.toml", "listen = ", "listenn = ")
    code = main(["config", "check", "--config", str(installation / "server.toml")])
    assert code == ExitCode.CONFIGURATION
    assert "the nearest key of [server] is listen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"administrators": {"groups": ["Nobody"]}}, "administrators.groups"),
        ({"server": {"mode": "unauthenticated"}}, "administrators.certificates"),
    ],
)
def test_a_server_that_nobody_may_administer_is_a_warning(
    tmp_path: Path, settings: dict[str, dict[str, object]], key: str
) -> None:
    made = make_installation(tmp_path / "site", **settings)
    findings = postscan.cli.checks.check_installation(load_settings(made.config, {}))
    assert [one.severity for one in findings if one.key == key] == ["warning"]
