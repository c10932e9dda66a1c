"""File servers in the settings: what they mean, what contradicts itself, and the way from scan to share."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.filters_fileshare import check_file_share, file_share_secret_uses, file_share_settings
from postscan.cli.secret_file import SecretRefused
from postscan.cli.secret_store import SecretStore
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.smb.servers import Encryption, Logon
from support.commands import PROGRAM, Desk, draw_page, environment, make_desk
from testservers.fileserver import SCANNER, FileServer, missing

SERVER = '[server]\nfqdn = "scan.example.com"\n'
FILES = '[fileshare.servers."files.example.com"]\n'
NTLM = FILES + 'auth = "ntlm"\naccount = "scan"\n'
NAME = "fileshare.files.example.com.password"


def load(folder: Path, text: str) -> LoadedSettings:
    path = folder / "server.toml"
    path.write_text(SERVER + text)
    return load_settings(path, {})


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(folder, text)
    return str(raised.value)


def test_a_server_is_as_the_settings_say(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        FILES
        + 'auth = "ntlm"\naccount = "scan"\ndomain = "EXAMPLE"\nshares = ["scans"]\nport = 4450\n'
        + 'connect_to = "10.0.0.1"\nencryption = "required"\nconnect_seconds = 3\nanswer_seconds = 7\n',
    )
    [server] = file_share_settings(loaded).servers
    assert (server.host, server.logon, server.account) == ("files.example.com", Logon.NTLM, r"EXAMPLE\scan")
    assert (server.shares, server.port, server.connect_to) == (("scans",), 4450, "10.0.0.1")
    assert server.encryption is Encryption.REQUIRED
    assert (server.connect_seconds, server.answer_seconds) == (3, 7)


def test_a_realm_is_written_in_capitals(tmp_path: Path) -> None:
    loaded = load(tmp_path, FILES + 'account = "scan"\ndomain = "example.com"\n')
    [server] = file_share_settings(loaded).servers
    assert (server.logon, server.account) == (Logon.KERBEROS, "scan@EXAMPLE.COM")


def test_a_keytab_takes_no_password(tmp_path: Path) -> None:
    loaded = load(tmp_path, FILES + 'account = "scan@EXAMPLE.COM"\nkeytab = "scan.keytab"\n')
    [server] = file_share_settings(loaded).servers
    assert server.keytab == tmp_path / "scan.keytab"
    assert server.password is None
    assert file_share_secret_uses(loaded.settings) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FILES, "account is missing"),
        (FILES + 'auth = "ntlm"', "account is missing"),
        (NTLM + 'keytab = "x"', 'keytab is for Kerberos, and auth is "ntlm"'),
        (NTLM + "tickets = true", 'tickets is for Kerberos, and auth is "ntlm"'),
        (FILES + 'keytab = "x"\ntickets = true', "tickets stands beside keytab"),
        (FILES + 'keytab = "x"\npassword_file = "y"', "password_file stands beside keytab"),
        (FILES + r"account = 'EXAMPLE\scan'", "Kerberos knows accounts as name@REALM"),
        (FILES + 'account = "scan@EXAMPLE.COM"\ndomain = "x"', "domain stands beside account"),
        (FILES + 'tickets = true\ndomain = "x"', "account is missing, and a domain is given"),
        (NTLM + 'shares = ["a\\\\b"]', "is no name of a share"),
        (NTLM + "port = 0", "port"),
        (NTLM + 'anonymous = "yes"', "anonymous"),
        ('[fileshare.servers."10.0.0.1"]\nauth = "ntlm"\naccount = "x"', "is an address"),
        ('[fileshare.servers."files@445"]\nauth = "ntlm"\naccount = "x"', "is no host name"),
    ],
)
def test_what_does_not_fit_together_is_told_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    said = refused(tmp_path, text)
    assert words in said
    assert "fileshare.servers" in said


def test_a_password_is_asked_for_when_it_is_needed_and_not_before(tmp_path: Path) -> None:
    loaded = load(tmp_path, NTLM)
    [server] = file_share_settings(loaded).servers
    assert server.password is not None
    with pytest.raises(ConfigurationError, match=f"the secret {NAME} is missing"):
        server.password()
    [use] = file_share_secret_uses(loaded.settings)
    SecretStore(tmp_path / "secrets.toml").keep(use, Secret("hunter2"))
    assert server.password().reveal() == "hunter2"


@pytest.mark.parametrize(
    "change",
    ['connect_to = "attacker.example"\n', "port = 446\n"],
    ids=["another address", "another port"],
)
def test_case_26_a_password_is_not_sent_elsewhere(tmp_path: Path, change: str) -> None:
    [use] = file_share_secret_uses(load(tmp_path, NTLM).settings)
    SecretStore(tmp_path / "secrets.toml").keep(use, Secret("hunter2"))
    [server] = file_share_settings(load(tmp_path, NTLM + change)).servers
    assert server.password is not None
    with pytest.raises(SecretRefused, match="entered for another destination"):
        server.password()


def test_case_26_a_password_entered_for_kerberos_is_not_used_for_ntlm(tmp_path: Path) -> None:
    [use] = file_share_secret_uses(load(tmp_path, FILES + 'account = "scan"\n').settings)
    SecretStore(tmp_path / "secrets.toml").keep(use, Secret("hunter2"))
    [server] = file_share_settings(load(tmp_path, NTLM)).servers
    assert server.password is not None
    with pytest.raises(SecretRefused):
        server.password()


def test_the_check_warns_of_ntlm_and_of_a_keytab_nobody_can_read(tmp_path: Path) -> None:
    loaded = load(tmp_path, NTLM + FILES.replace("files.", "other.") + 'keytab = "none.keytab"\n')
    found = {finding.key: finding.message for finding in check_file_share(loaded)}
    assert "is ntlm" in found['fileshare.servers."files.example.com".auth']
    assert "cannot be read" in found['fileshare.servers."other.example.com".keytab']


def test_config_check_shows_servers_and_tells_of_a_missing_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, NTLM)
    main(["config", "check", "--config", str(tmp_path / "server.toml")])
    said = " ".join("".join(capsys.readouterr()).split())
    assert 'servers."files.example.com".encryption' in said
    assert f"postscan secrets set {NAME}" in said


# The whole way ---------------------------------------------------------------------------------------------


@pytest.fixture
def samba(tmp_path: Path) -> Iterator[FileServer]:
    """Run a Samba."""
    if lacking := missing():
        pytest.skip(f"no file server: {'; '.join(lacking)}")
    with FileServer(tmp_path / "fileserver") as server:
        yield server


def make_site(folder: Path, samba: FileServer) -> Desk:
    """Make an installation whose process Invoices delivers to the Samba, and enter the password."""
    servers = {
        "localhost": {"auth": "ntlm", "account": SCANNER.name, "port": samba.port, "connect_seconds": 5}
    }
    desk = make_desk(folder / "site", fileshare={"servers": servers})
    process = desk.made.directory / "processes" / "invoices.xml"
    begin, _, rest = process.read_text().partition("<fsf:ShareUNC>")
    _, _, end = rest.partition("</fsf:ShareUNC>")
    process.write_text(rf"{begin}<fsf:ShareUNC>\\localhost\scans</fsf:ShareUNC>{end}")
    return desk


def enter_password(desk: Desk) -> None:
    """Enter the password as an administrator does, by a pipe."""
    done = subprocess.run(
        [*PROGRAM, "secrets", "set", "fileshare.localhost.password", "--config", str(desk.config)],
        input=f"{SCANNER.password}\n",
        text=True,
        capture_output=True,
        env=environment(),
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def _ended(desk: Desk, token: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        job: dict[str, Any] = desk.jobs("show", token)
        if job["state"] in ("Completed", "Aborted", "Canceled"):
            return job
        time.sleep(0.2)
    raise AssertionError(f"the job does not end: {job}")


def test_a_page_goes_from_the_device_to_the_share(tmp_path: Path, samba: FileServer) -> None:
    desk = make_site(tmp_path, samba)
    enter_password(desk)
    page = draw_page(tmp_path / "page.png")
    process = desk.made.directory / "processes" / "invoices.xml"
    assert desk.run("processes", "validate", process).returncode == ExitCode.OK
    with desk.serving():
        done = desk.scan(page, "--json")
        assert done.returncode == 0, done.stderr
        [arrived] = [path for path in samba.folder("scans").rglob("*") if path.is_file()]
        assert arrived.parent.name == "alice@example.com"
        assert SCANNER.password not in done.stdout + done.stderr
        assert json.loads(done.stdout)


def test_a_share_that_is_away_gets_its_page_once_it_is_back(tmp_path: Path, samba: FileServer) -> None:
    desk = make_site(tmp_path, samba)
    enter_password(desk)
    page = draw_page(tmp_path / "page.png")
    samba.kill()
    with desk.serving():
        done = desk.scan(page, "--wait", "0", "--json")
        assert done.returncode == 0, done.stderr
        [job] = desk.jobs("list")
        samba.start()
        assert _ended(desk, job["token"])["state"] == "Completed"
    assert len([path for path in samba.folder("scans").rglob("*") if path.is_file()]) == 1
