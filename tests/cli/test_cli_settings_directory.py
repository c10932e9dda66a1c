"""Settings of the directory: what fits together, and what `config check` says without asking anybody."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import postscan.cli.directory_findings
from postscan.cli import main
from postscan.cli.directories import active_directory_settings, directory_of, password_use, principal
from postscan.cli.exit_codes import ExitCode
from postscan.cli.findings import Finding
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.cli.settings_directory import parse_controller
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.directory.active.directory import WeakMapping
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.ldap.binding import SimplePassword
from postscan.directory.ldap.settings import Transport

SERVER = '[server]\nfqdn = "scan.example.com"\n[directory]\n'
AD = SERVER + 'kind = "active-directory"\n'
PASSWORD = {"POSTSCAN_SECRET_DIRECTORY_PASSWORD": "x"}
ACCOUNT = 'account = "svc-scan@example.com"\n'


def load(folder: Path, text: str, env: dict[str, str] | None = None) -> LoadedSettings:
    path = folder / "server.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, env or {})


def refused(folder: Path, text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("dc1.example.com", "dc1.example.com", None),
        ("DC1.example.com:636", "dc1.example.com", 636),
        ("10.1.0.5:389", "10.1.0.5", 389),
        ("[2001:db8::53]:636", "2001:db8::53", 636),
        ("[2001:db8::53]", "2001:db8::53", None),
    ],
)
def test_a_controller_is_a_host_and_perhaps_a_port(text: str, host: str, port: int | None) -> None:
    assert parse_controller(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "dc1:", "dc1:0", "dc1:65536", "dc1:x", "2001:db8::53", "[::1", "ldap://dc1", "a b", "dc1:٣"]
)
def test_what_is_no_controller_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_controller(text)


@pytest.mark.parametrize(
    ("text", "message", "advice"),
    [
        ("", "directory.account is missing, and password needs one", "svc-scan@example.com"),
        ('bind = "ntlm"\n', "directory.account is missing, and ntlm needs one", "account ="),
        (ACCOUNT + 'transport = "plain"\n', "directory.transport is plain", "insecure_plain_bind = true"),
        (
            ACCOUNT + 'bind = "ntlm"\ntransport = "plain"\ninsecure_plain_bind = true\n',
            "ntlm is never used without protection",
            'transport = "sealed"',
        ),
        (ACCOUNT + 'transport = "sealed"\n', "nothing to seal with", 'bind = "kerberos"'),
        (ACCOUNT + 'keytab = "k"\n', "directory.keytab is a file of Kerberos keys", 'bind = "kerberos"'),
        ('bind = "kerberos"\nkeytab = "k"\n', "directory.account is missing: a keytab", "whose keys"),
        ("bind = 'kerberos'\naccount = 'DSM\\svc'\n", "Kerberos knows accounts as name@domain", "svc-scan@"),
        (
            ACCOUNT + 'bind = "kerberos"\nkeytab = "k"\npassword_file = "p"\n',
            "stands beside keytab",
            "one of",
        ),
        ('bind = "kerberos"\npassword_file = "p"\n', "directory.account is missing", "whose password"),
        (
            ACCOUNT + 'bind = "kerberos"\ncontrollers = ["10.1.0.5:636"]\n',
            "directory.controllers has the address 10.1.0.5:636",
            "full name",
        ),
        (ACCOUNT + 'domain = "example"\n', "directory.domain has no dot", 'domain = "example.com"'),
    ],
)
def test_values_that_do_not_fit_together_are_refused_by_key_and_with_what_to_write(
    tmp_path: Path, text: str, message: str, advice: str
) -> None:
    error = refused(tmp_path, AD + text)
    assert message in str(error)
    assert str(tmp_path / "server.toml") in str(error)
    assert advice in error.what_to_do


def test_all_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, AD + 'transport = "plain"\nkeytab = "k"\n')
    assert "4 settings are wrong" in str(error)


def test_a_server_without_a_domain_needs_one_named(tmp_path: Path) -> None:
    text = AD.replace("scan.example.com", "10.1.0.9") + ACCOUNT
    assert "directory.domain is empty, and server.fqdn has none" in str(refused(tmp_path, text))
    assert load(tmp_path, text + 'domain = "Example.COM"\n').settings.directory_domain == "example.com"


def test_a_contradiction_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="environment POSTSCAN_DIRECTORY__TRANSPORT"):
        load(tmp_path, AD + ACCOUNT, {"POSTSCAN_DIRECTORY__TRANSPORT": "plain"})


@pytest.mark.parametrize(
    "text",
    [
        ACCOUNT,
        ACCOUNT + 'transport = "starttls"\ncontrollers = ["dc1.example.com", "10.1.0.5"]\n',
        ACCOUNT + 'transport = "sealed"\nbind = "negotiate"\n',
        ACCOUNT + 'transport = "sealed"\nbind = "kerberos"\nkeytab = "/etc/krb5.keytab"\n',
        'bind = "kerberos"\n',
        ACCOUNT + 'transport = "plain"\ninsecure_plain_bind = true\n',
    ],
)
def test_what_fits_is_taken(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, AD + text).settings.directory.is_active


def test_keys_of_the_other_kind_do_not_have_to_fit(tmp_path: Path) -> None:
    assert not load(tmp_path, SERVER + 'transport = "plain"\n').settings.directory.is_active


def test_the_embedded_directory_is_the_one_that_is_wired_without_further_ado(tmp_path: Path) -> None:
    assert isinstance(directory_of(load(tmp_path, SERVER)), EmbeddedDirectory)


@pytest.mark.parametrize(("text", "needed"), [(ACCOUNT, True), ('bind = "kerberos"\n', False), (None, False)])
def test_a_password_is_needed_where_one_proves_the_account(
    tmp_path: Path, text: str | None, needed: bool
) -> None:
    loaded = load(tmp_path, SERVER if text is None else AD + text)
    assert (password_use(loaded.settings) is not None) == needed


@pytest.mark.parametrize(
    ("account", "simple", "kerberos"),
    [
        ("svc-scan", "svc-scan@example.com", "svc-scan@EXAMPLE.COM"),
        ("svc-scan@Example.com", "svc-scan@Example.com", "svc-scan@EXAMPLE.COM"),
        ("svc@corp.example.com", "svc@corp.example.com", "svc@corp.example.com"),
        ("SCANSRV$", "SCANSRV$@example.com", "SCANSRV$@EXAMPLE.COM"),
        (r"EXAMPLE\svc", r"EXAMPLE\svc", r"EXAMPLE\svc"),
        ("CN=svc,DC=example,DC=com", "CN=svc,DC=example,DC=com", "CN=svc,DC=example,DC=com"),
    ],
)
def test_an_account_is_written_as_its_bind_wants_it(account: str, simple: str, kerberos: str) -> None:
    assert principal(account, "example.com", kerberos=False) == simple
    assert principal(account, "example.com", kerberos=True) == kerberos


def test_all_settings_reach_the_directory(tmp_path: Path) -> None:
    text = (
        AD + ACCOUNT + 'controllers = ["dc1.example.com:636"]\ndns_servers = ["10.1.0.53"]\nsite = "Berlin"\n'
        'transport = "starttls"\nca = "ca.pem"\nglobal_catalog = true\nprocesses = "CN=X,DC=example,DC=com"\n'
        'home_site_attribute = "url"\nweak_mapping = "refuse"\ncache_seconds = 3\ncache_entries = 4\n'
        "connect_seconds = 1\nanswer_seconds = 2\n"
    )
    active = active_directory_settings(load(tmp_path, text, PASSWORD))
    ldap = active.ldap
    assert (ldap.domain, ldap.controllers, ldap.dns_servers, ldap.site) == (
        "example.com",
        ("dc1.example.com:636",),
        ("10.1.0.53",),
        "Berlin",
    )
    assert (ldap.transport, ldap.ca, ldap.connect_seconds, ldap.answer_seconds) == (
        Transport.STARTTLS,
        tmp_path / "ca.pem",
        1,
        2,
    )
    assert ldap.credentials == SimplePassword("svc-scan@example.com", Secret("x"))
    assert (active.processes, active.home_site_attribute) == ("CN=X,DC=example,DC=com", "url")
    assert (active.weak_mapping, active.global_catalog) == (WeakMapping.REFUSE, True)
    assert (active.cache_seconds, active.cache_entries) == (3, 4)


def test_without_a_password_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no password") as caught:
        directory_of(load(tmp_path, AD + ACCOUNT))
    assert "postscan secrets set directory.password" in caught.value.what_to_do


# config check --------------------------------------------------------------------------------------------


def findings(folder: Path, text: str, **env: str) -> list[Finding]:
    loaded = load(folder, text, env)
    return list(postscan.cli.directory_findings.check_directory(loaded))


def test_a_complete_directory_has_nothing_wrong(tmp_path: Path) -> None:
    assert findings(tmp_path, AD + ACCOUNT, **PASSWORD) == []


def told(found: list[Finding], key: str) -> str:
    return "\n".join(f"{one.severity}: {one.message}" for one in found if one.key == key)


def test_a_missing_password_is_a_problem(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, AD + ACCOUNT)
    assert (found.key, found.severity) == ("directory.password_file", "problem")
    assert "no password for svc-scan@example.com" in found.message
    assert "postscan secrets set directory.password" in found.advice


def test_a_password_file_that_others_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x")
    (tmp_path / "p").chmod(0o644)
    found = findings(tmp_path, AD + ACCOUNT + 'password_file = "p"\n')
    assert "problem: others can read" in told(found, "directory.password_file")


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"\x05\x02rest", 0o640, ""),
        (b"\x05\x02rest", 0o644, "others can read"),
        (b"hello", 0o600, "is no keytab"),
        (None, 0, "does not exist"),
    ],
)
def test_the_keytab_is_looked_at(tmp_path: Path, content: bytes | None, mode: int, message: str) -> None:
    if content is not None:
        (tmp_path / "k").write_bytes(content)
        (tmp_path / "k").chmod(mode)
    found = findings(tmp_path, AD + ACCOUNT + 'bind = "kerberos"\nkeytab = "k"\n')
    assert message in told(found, "directory.keytab")
    assert bool(message) == bool(told(found, "directory.keytab"))


def test_a_file_that_holds_no_authority_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    found = findings(tmp_path, AD + ACCOUNT + 'ca = "ca.pem"\n', **PASSWORD)
    assert "holds no PEM certificate" in told(found, "directory.ca")


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('transport = "plain"\ninsecure_plain_bind = true\n', "directory.transport", "clear text"),
        ("insecure_plain_bind = true\n", "directory.insecure_plain_bind", "does not need it"),
        ('bind = "ntlm"\n', "directory.bind", "many domains switch off"),
        ("cache_seconds = 3600\n", "directory.cache_seconds", "can still be used"),
    ],
)
def test_what_is_allowed_and_unwise_is_a_warning(tmp_path: Path, text: str, key: str, message: str) -> None:
    assert message in told(findings(tmp_path, AD + ACCOUNT + text, **PASSWORD), key)


def test_kerberos_that_is_not_installed_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postscan.directory.ldap.kerberos.kerberos_is_installed", lambda: False)
    found = findings(tmp_path, AD + ACCOUNT + 'bind = "kerberos"\n', **PASSWORD)
    assert "problem: is kerberos, and Kerberos is not installed" in told(found, "directory.bind")


def test_without_kerberos_negotiating_leaves_ntlm_which_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postscan.directory.ldap.kerberos.kerberos_is_installed", lambda: False)
    found = findings(tmp_path, AD + ACCOUNT + 'bind = "negotiate"\n', **PASSWORD)
    assert "warning: is negotiate, and Kerberos is not installed here" in told(found, "directory.bind")


def test_keys_of_a_domain_beside_the_embedded_directory_are_a_warning(tmp_path: Path) -> None:
    found = findings(tmp_path, SERVER + ACCOUNT + 'site = "Berlin"\n')
    assert "site, account mean nothing" in told(found, "directory.kind")


def test_config_check_says_which_directory_would_be_asked_and_asks_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = AD + ACCOUNT + 'controllers = ["dc1.invalid"]\n'
    loaded = load(tmp_path, text)
    monkeypatch.setenv("POSTSCAN_SECRET_DIRECTORY_PASSWORD", "hunter2")
    code = main(["config", "check", "--config", str(loaded.path), "--json"])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == ExitCode.CONFIGURATION  # there are no certificates here
    assert [one for one in said["findings"] if one["key"].startswith("directory")] == []
    assert said["directory"] == (
        "Active Directory example.com: dc1.invalid, by LDAPS (port 636), as svc-scan@example.com by a simple"
        " bind, with the password of environment variable POSTSCAN_SECRET_DIRECTORY_PASSWORD"
    )
    assert "hunter2" not in json.dumps(said)
    assert os.environ["POSTSCAN_SECRET_DIRECTORY_PASSWORD"] == "hunter2"
