"""Secrets: where they come from, whose file they may stand in, and the one destination each is for."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.secret_file import SecretRefused, read_secret_file
from postscan.cli.secret_store import Secrets, SecretStore, SecretUse, check_name, variable_of
from postscan.core.secret import Secret
from support.commands import PROGRAM, environment, postscan
from support.pty import typed

NAME = "directory.password"
USE = SecretUse(NAME, ("domain example.com", "controller dc1.example.com"))
VALUE = "correct horse ☃ \\ \" ' # battery"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    return own


def write(path: Path, text: str = VALUE + "\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


# Files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o400])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_private_file_has_the_secret_as_its_one_line(folder: Path, mode: int, end: str) -> None:
    path = folder / "password"
    path.write_bytes((VALUE + end).encode())
    path.chmod(mode)
    assert read_secret_file(path).reveal() == VALUE


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o620, 0o700, 0o644])
def test_a_file_that_others_can_read_or_write_is_refused(folder: Path, mode: int) -> None:
    path = write(folder / "password", mode=mode)
    with pytest.raises(SecretRefused, match="others can read") as caught:
        read_secret_file(path)
    assert f"chmod 600 {path}" in caught.value.what_to_do


def test_a_file_of_another_account_is_refused(folder: Path) -> None:
    path = write(folder / "password")
    if os.geteuid() != 0:
        pytest.skip("giving a file to another account needs root")
    os.chown(path, 12_345, -1)
    with pytest.raises(SecretRefused, match="belongs to another account"):
        read_secret_file(path)


def test_root_may_read_the_file_of_the_account_that_owns_the_folder(folder: Path) -> None:
    path = write(folder / "password")
    if os.geteuid() != 0:
        pytest.skip("giving a folder to another account needs root")
    for one in (folder, path):
        os.chown(one, 12_345, -1)
    assert read_secret_file(path).reveal() == VALUE


def test_a_link_is_refused_wherever_it_leads(folder: Path) -> None:
    write(folder / "password")
    (folder / "link").symlink_to(folder / "password")
    with pytest.raises(SecretRefused, match="is a link"):
        read_secret_file(folder / "link")


def test_what_is_no_file_is_refused_without_waiting_for_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe", 0o600)
    with pytest.raises(SecretRefused, match="no regular file"):
        read_secret_file(folder / "pipe")
    (folder / "inner").mkdir(mode=0o600)
    with pytest.raises(SecretRefused, match="no regular file"):
        read_secret_file(folder / "inner")


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    path = write(folder / "password")
    folder.chmod(mode)
    with pytest.raises(SecretRefused, match="others can put files into"):
        read_secret_file(path)


def test_a_missing_file_says_so(folder: Path) -> None:
    with pytest.raises(SecretRefused, match="does not exist"):
        read_secret_file(folder / "none")


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"nul\0", b"\xff\xfe", b"x" * 4_097])
def test_what_is_no_one_line_is_refused_without_being_quoted(folder: Path, content: bytes) -> None:
    path = folder / "password"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SecretRefused) as caught:
        read_secret_file(path)
    assert "two" not in str(caught.value)
    assert caught.value.__cause__ is None


# Where they come from ------------------------------------------------------------------------------------


def test_a_systemd_credential_comes_first_then_the_environment_then_the_file_then_the_store(
    folder: Path,
) -> None:
    credentials = folder / "credentials"
    credentials.mkdir(mode=0o700)
    # As systemd leaves it: for the group, by its access control list.
    write(credentials / NAME, "of systemd", 0o440)
    file = write(folder / "password", "of the file")
    env = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        "POSTSCAN_SECRET_DIRECTORY_PASSWORD": "of the environment",
    }
    use = SecretUse(NAME, USE.destination, file)
    SecretStore(folder / "secrets.toml").keep(use, Secret("of the store"))

    def found(env: dict[str, str], use: SecretUse) -> tuple[str, str]:
        one = Secrets(folder / "secrets.toml", env).find(use)
        assert one is not None
        return one.secret.reveal(), one.origin

    assert found(env, use) == ("of systemd", "systemd credential directory.password")
    env["CREDENTIALS_DIRECTORY"] = str(folder)
    variable = "environment variable POSTSCAN_SECRET_DIRECTORY_PASSWORD"
    assert found(env, use) == ("of the environment", variable)
    assert found({}, use) == ("of the file", str(file))
    assert found({}, USE) == ("of the store", str(folder / "secrets.toml"))


def test_a_source_that_is_there_and_wrong_is_not_passed_over(folder: Path) -> None:
    SecretStore(folder / "secrets.toml").keep(USE, Secret(VALUE))
    file = write(folder / "password", mode=0o644)
    with pytest.raises(SecretRefused, match="others can read"):
        Secrets(folder / "secrets.toml", {}).find(SecretUse(NAME, USE.destination, file))


def test_without_any_source_there_is_none(folder: Path) -> None:
    assert Secrets(folder / "secrets.toml", {}).find(USE) is None


@pytest.mark.parametrize("name", ["", "..", "a/b", "a..b", "A", "a_b", "directory.password/../x", "-a"])
def test_what_would_be_a_path_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a secret"):
        check_name(name)


def test_names_of_variables_are_never_taken_for_settings() -> None:
    assert variable_of("filter.smb-1.password") == "POSTSCAN_SECRET_FILTER_SMB_1_PASSWORD"


# The store, and whom its secrets are for -----------------------------------------------------------------


def test_what_is_kept_is_read_again_whatever_characters_it_has(folder: Path) -> None:
    store = SecretStore(folder / "secrets.toml")
    values = [VALUE, "\x01\x7f", "'", "\\'", "ends with \\", '"""']
    for number, value in enumerate(values):
        store.keep(SecretUse(f"a{number}", ("x",)), Secret(value))
    assert [one.secret.reveal() for one in store.read().values()] == values
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["secrets.toml"]


def test_case_26_a_secret_is_not_used_for_another_host(folder: Path) -> None:
    SecretStore(folder / "secrets.toml").keep(USE, Secret(VALUE))
    other = SecretUse(NAME, ("domain example.com", "controller attacker.example.net"))
    with pytest.raises(SecretRefused, match="entered for another destination") as caught:
        Secrets(folder / "secrets.toml", {}).find(other)
    assert "postscan secrets set directory.password" in caught.value.what_to_do
    assert VALUE not in str(caught.value)


def test_a_store_that_others_can_read_is_refused(folder: Path) -> None:
    store = SecretStore(folder / "secrets.toml")
    store.keep(USE, Secret(VALUE))
    store.path.chmod(0o644)
    with pytest.raises(SecretRefused, match="others can read"):
        store.read()


@pytest.mark.parametrize("text", ["[", "a = 1", '["a"]\nvalue = 1', 'value = "hunter2'])
def test_a_broken_store_is_refused_without_being_quoted(folder: Path, text: str) -> None:
    write(folder / "secrets.toml", text)
    with pytest.raises(SecretRefused, match="is no file that") as caught:
        SecretStore(folder / "secrets.toml").read()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


# The commands --------------------------------------------------------------------------------------------

AD = """\
[server]
fqdn = "scan.example.com"
[directory]
kind = "active-directory"
account = "svc-scan@example.com"
controllers = ["dc1.example.com"]
"""


@pytest.fixture
def config(folder: Path) -> Path:
    path = folder / "server.toml"
    path.write_text(AD)
    (folder / "data").mkdir(mode=0o700)
    return path


@pytest.fixture
def secrets(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str, given: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = main(["secrets", *words, "--config", str(config)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


Run = Callable[..., tuple[int, str, str]]


def test_a_secret_is_entered_listed_and_removed_without_being_shown(config: Path, secrets: Run) -> None:
    assert secrets("list", "--json")[0] == ExitCode.CONFIGURATION
    told = [secrets("set", NAME, given=f"{VALUE}\n".encode()), secrets("list"), secrets("list", "--json")]
    assert [code for code, _, _ in told] == [0, 0, 0]
    (row,) = json.loads(told[2][1])
    assert (row["name"], row["state"]) == (NAME, "in use")
    assert row["for"] == ["domain example.com", "controller dc1.example.com", "authorities of this system"]
    told.append(secrets("remove", NAME))
    assert told[-1][0] == 0
    assert secrets("remove", NAME)[0] == ExitCode.REFUSED
    assert not [part for one in told for part in one[1:] if "horse" in part]


def test_a_secret_that_the_settings_do_not_use_is_not_taken(secrets: Run) -> None:
    code, _, said = secrets("set", "smtp.password", given=b"x")
    assert code == ExitCode.CONFIGURATION
    assert "They need: directory.password" in said


@pytest.mark.parametrize("given", [b"", b"\n", b"a\nb\n", b"\xff", b"x" * 10_000])
def test_what_is_no_secret_is_not_kept(config: Path, secrets: Run, given: bytes) -> None:
    assert secrets("set", NAME, given=given)[0] == ExitCode.CONFIGURATION
    assert not config.with_name("secrets.toml").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('controllers = ["dc1.example.com"]', 'controllers = ["dc1.attacker.example"]'),
        ('controllers = ["dc1.example.com"]', ""),
        ("[directory]", '[directory]\ndomain = "attacker.example"'),
        ("[directory]", '[directory]\ndns_servers = ["192.0.2.66"]'),
        ("[directory]", '[directory]\nca = "/tmp/ca.pem"'),
        ("[directory]", '[directory]\ntransport = "plain"\ninsecure_plain_bind = true'),
    ],
)
def test_case_26_a_changed_host_needs_the_secret_anew(config: Path, secrets: Run, old: str, new: str) -> None:
    secrets("set", NAME, given=VALUE.encode())
    config.write_text(AD.replace(old, new))
    code, said, _ = secrets("list")
    assert code == ExitCode.CONFIGURATION
    assert "was entered for another destination" in said
    secrets("set", NAME, given=VALUE.encode())
    assert secrets("list")[0] == 0


def test_a_source_that_comes_first_is_named(secrets: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSCAN_SECRET_DIRECTORY_PASSWORD", "x")
    assert "environment variable POSTSCAN_SECRET_DIRECTORY_PASSWORD" in secrets("set", NAME, given=b"y")[1]


def test_the_file_belongs_to_the_account_of_the_data_folder(config: Path, secrets: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file to another account needs root")
    os.chown(config.parent / "data", 12_345, 12_346)
    secrets("set", NAME, given=b"x")
    status = config.with_name("secrets.toml").stat()
    assert (status.st_uid, status.st_gid) == (12_345, 12_346)


def test_root_enters_more_secrets_for_the_account_of_the_data_folder(config: Path, secrets: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file to another account needs root")
    os.chown(config.parent / "data", 12_345, 12_346)
    secrets("set", NAME, given=b"x")
    code, said, _ = secrets("set", NAME, given=b"y")
    assert (code, "elsewhere" in said) == (0, False)
    assert secrets("list")[0] == 0


def test_a_secret_cannot_be_given_on_the_command_line(config: Path) -> None:
    done = postscan("secrets", "set", NAME, VALUE, "--config", config)
    assert done.returncode == ExitCode.USAGE


def test_a_secret_is_typed_twice_without_an_echo(config: Path) -> None:
    words = [*PROGRAM, "secrets", "set", NAME, "--config", str(config)]
    code, shown = typed(words, ["hunter2", "hunter2"], environment())
    assert code == 0, shown
    assert "hunter2" not in shown
    assert "is kept in" in shown
    assert SecretStore(config.with_name("secrets.toml")).read()[NAME].secret.reveal() == "hunter2"


def test_two_different_secrets_are_not_kept(config: Path) -> None:
    words = [*PROGRAM, "secrets", "set", NAME, "--config", str(config)]
    code, shown = typed(words, ["hunter2", "hunter3"], environment())
    assert code == ExitCode.CONFIGURATION
    assert "that was not the same" in shown
    assert not config.with_name("secrets.toml").exists()
