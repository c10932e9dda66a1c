"""`postscan init`: a complete installation, or nothing, and never over something."""

from __future__ import annotations

import asyncio
import json
import shlex
import stat
from pathlib import Path

import pytest

import postscan.cli.installation
from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.installation import InstallationPlan, InstallationRefused, create_installation
from postscan.cli.settings import load_settings
from postscan.core.errors import ConfigurationError
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import is_sid

FQDN = "scan.example.com"


def plan(folder: Path, **changes: object) -> InstallationPlan:
    return InstallationPlan(**{"folder": folder, "fqdn": FQDN, "listen": "0.0.0.0:5362", **changes})  # type: ignore[arg-type]  # tests change single fields


def test_an_installation_has_all_its_parts(tmp_path: Path) -> None:
    made = create_installation(plan(tmp_path / "scans"))
    names = {str(path.relative_to(made.folder)) for path in made.files}
    assert {
        "server.toml",
        "pki/ca.pem",
        "pki/ca.key",
        "pki/server.pem",
        "pki/server.key",
        "pki/users/alice.pem",
        "pki/users/alice.key",
        "pki/users/bob.pem",
        "pki/users/bob.key",
        "directory/users.toml",
    } <= names
    assert sum(name.startswith("directory/processes/") and name.endswith(".xml") for name in names) == 3
    assert made.address == "https://scan.example.com:5362/ScanServer"


def test_private_keys_and_data_are_private(tmp_path: Path) -> None:
    made = create_installation(plan(tmp_path / "scans"))
    for path in made.files:
        if path.suffix == ".key":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((made.folder / "data").stat().st_mode) == 0o700


def test_the_settings_written_load_and_point_into_the_installation(tmp_path: Path) -> None:
    made = create_installation(plan(tmp_path / "scans", listen="192.0.2.1:5363"))
    settings = load_settings(made.config, {}).settings
    assert settings.server.listen == "192.0.2.1:5363"
    assert settings.fileshare.roots == [made.folder / "delivered"]
    assert settings.directory_domain == "example.com"
    assert not settings.eventing.allow_loopback


@pytest.mark.parametrize(
    "where",
    [
        {"fqdn": "localhost"},
        {"listen": "127.0.0.1:5362"},
        {"listen": "[::1]:5362"},
        {"listen": "localhost:1"},
    ],
)
def test_a_server_on_this_machine_alone_may_notify_this_machine(
    tmp_path: Path, where: dict[str, str]
) -> None:
    made = create_installation(plan(tmp_path / "scans", **where))
    assert load_settings(made.config, {}).settings.eventing.allow_loopback
    assert "Set by init" in made.config.read_text()


def test_a_server_on_the_network_does_not_notify_this_machine(tmp_path: Path) -> None:
    made = create_installation(plan(tmp_path / "scans"))
    assert not load_settings(made.config, {}).settings.eventing.allow_loopback
    assert "Set by init" not in made.config.read_text()


def test_further_settings_are_written_too(tmp_path: Path) -> None:
    made = create_installation(plan(tmp_path / "scans", overrides={"limits": {"max_open_jobs": 7}}))
    loaded = load_settings(made.config, {})
    assert loaded.settings.limits.max_open_jobs == 7
    assert loaded.origins["limits.max_open_jobs"] == "file"


def test_the_directory_knows_the_users_and_who_may_use_what(tmp_path: Path) -> None:
    made = create_installation(plan(tmp_path / "scans"))
    directory = EmbeddedDirectory(made.directory)

    async def granted(name: str) -> list[str]:
        user = await directory.user_by_name(name)
        assert user is not None
        assert is_sid(user.sid)
        return [process.display_name for process in await directory.processes_for(user)]

    assert directory.problems() == []
    everyones = ["Archive (two places)", "Scan to my folder"]
    assert asyncio.run(granted("bob@example.com")) == everyones
    assert asyncio.run(granted("alice")) == [everyones[0], "Invoices", everyones[1]]


def test_security_identifiers_count_up_in_one_domain(tmp_path: Path) -> None:
    alice, bob, _admin = create_installation(plan(tmp_path / "scans")).users
    assert alice.sid.startswith("S-1-5-21-")
    assert alice.sid.endswith("-1103")
    assert bob.sid == alice.sid.removesuffix("1103") + "1104"


def test_what_is_there_is_listed_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text("precious")
    with pytest.raises(InstallationRefused, match=r"server\.toml"):
        create_installation(plan(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["server.toml"]
    assert (tmp_path / "server.toml").read_text() == "precious"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert create_installation(plan(tmp_path)).config.exists()


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scans").write_text("precious")
    with pytest.raises(InstallationRefused, match="not a folder"):
        create_installation(plan(tmp_path / "scans"))


@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    def full(*_values: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(postscan.cli.installation, "server_toml", full)
    folder = tmp_path / "scans"
    if existed:
        folder.mkdir()
    with pytest.raises(OSError, match="No space left"):
        create_installation(plan(folder))
    assert folder.exists() is existed
    assert not existed or list(folder.iterdir()) == []


def test_a_path_too_long_for_a_scan_process_is_told_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 200) / ("b" * 60)
    with pytest.raises(ConfigurationError, match="255 characters"):
        create_installation(plan(folder))
    assert list(tmp_path.iterdir()) == []


def test_the_command_tells_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my scans"
    assert main(["init", str(folder), "--fqdn", FQDN, "--listen", "127.0.0.1:5363", "--user", "carol"]) == 0
    told = capsys.readouterr().out
    assert f"postscan serve --config '{folder}/server.toml'" in told
    assert f"--process 'Scan to my folder' --user carol --config '{folder}/server.toml'" in told


def test_the_command_tells_a_script_what_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "scans"), "--fqdn", FQDN, "--keys", "rsa", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert all(Path(path).is_file() for path in made["files"])
    assert [user["name"] for user in made["users"]] == ["alice", "bob", "admin"]
    assert {process["display_name"] for process in made["processes"]} >= {"Invoices"}


def test_a_second_init_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["init", str(tmp_path / "scans"), "--fqdn", FQDN]
    assert main(arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "scans").rglob("*")}
    assert main(arguments) == ExitCode.REFUSED
    assert "is not empty" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "scans").rglob("*")} == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--fqdn", "not a name"),
        ("--listen", "5362"),
        ("--user", "../root"),
        ("--user", "a" * 21),
        ("--domain", "a b"),
        ("--keys", "dsa"),
    ],
)
def test_a_wrong_option_is_a_usage_error_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    arguments = ["init", str(tmp_path / "scans"), "--fqdn", FQDN, option, value]
    assert main(arguments) == ExitCode.USAGE
    assert option in capsys.readouterr().err
    assert not (tmp_path / "scans").exists()


def test_the_same_user_twice_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["init", str(tmp_path / "scans"), "--fqdn", FQDN, "--user", "ann", "--user", "Ann"]
    assert main(arguments) == ExitCode.USAGE
    assert "twice" in capsys.readouterr().err


def test_the_commands_to_copy_use_options_that_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "scans"), "--fqdn", FQDN, "--json"]) == 0
    for line in json.loads(capsys.readouterr().out)["next"]:
        program, *words = shlex.split(line)
        assert program == "postscan"
        command = [word for word in words[:2] if word in ("config", "check", "serve", "scan")]
        assert main([*command, "--help"]) == 0
        explained = capsys.readouterr().out
        for word in words:
            assert not word.startswith("--") or f"{word} " in explained, line
