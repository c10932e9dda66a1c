"""The e-mail filter out of the settings: what fits together, and which secret goes where."""

from __future__ import annotations

from pathlib import Path

import pytest

from postscan.cli.filters import filters_of
from postscan.cli.filters_email import check_email, email_filter, email_secret_uses
from postscan.cli.secret_file import SecretRefused
from postscan.cli.settings import LoadedSettings, load_settings
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.contract import InstructionsError
from postscan.filters.email.filter import EmailFilter
from postscan.soap.names import EMLF
from support.delivery import JOB
from support.mail import instructions

SERVER = '[server]\nfqdn = "scan.example.com"\n[email]\n'
MAIL = SERVER + 'server = "mail.example.com"\nsender = "Scans <scans@example.com>"\naccount = "scans"\n'
XOAUTH2 = MAIL + 'auth = "xoauth2"\n'


def load(folder: Path, text: str, env: dict[str, str] | None = None) -> LoadedSettings:
    path = folder / "server.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, env or {})


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text)
    return str(caught.value)


def test_without_a_mail_server_the_filter_is_not_offered(tmp_path: Path) -> None:
    loaded = load(tmp_path, SERVER)
    assert email_filter(loaded) is None
    assert email_secret_uses(loaded.settings) == []
    with pytest.raises(InstructionsError, match=r"\[email\] names no server"):
        filters_of(loaded)[EMLF].destinations(instructions("alice@example.com"), JOB)


def test_with_one_it_is_and_no_secret_is_read_for_that(tmp_path: Path) -> None:
    found = filters_of(load(tmp_path, MAIL))[EMLF]
    assert isinstance(found, EmailFilter)
    assert found.destinations(instructions("alice@example.com"), JOB)[0].label == "alice@example.com"


def test_mail_goes_to_the_senders_domain_alone_where_nothing_is_said(tmp_path: Path) -> None:
    found = email_filter(load(tmp_path, MAIL))
    assert found is not None
    with pytest.raises(InstructionsError, match="not allowed"):
        found.destinations(instructions("alice@example.org"), JOB)
    found = email_filter(load(tmp_path, MAIL + 'recipients = ["example.org"]\n'))
    assert found is not None
    found.destinations(instructions("alice@example.org"), JOB)


@pytest.mark.parametrize(
    ("security", "port", "used"), [("starttls", "", 587), ("tls", "", 465), ("tls", "port = 2525\n", 2525)]
)
def test_the_port_is_the_usual_one_or_the_one_that_is_named(
    tmp_path: Path, security: str, port: str, used: int
) -> None:
    loaded = load(tmp_path, MAIL + f'security = "{security}"\n{port}')
    assert loaded.settings.email.server_port == used


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('server = "mail.example.com"\n', "email.sender is missing"),
        ('sender = "scans"\n', "is no sender"),
        ('sender = "a@example.com\\r\\nBcc: b@example.com"\n', "is no sender"),
        ('reply_to = "somebody"\n', 'neither "user" nor "none"'),
        ('recipients = ["@example.com"]\n', "is no domain"),
        ("port = 65536\n", "is no port"),
        ('auth = "ntlm"\n', "email.auth"),
    ],
    ids=lambda text: text[:30].encode("unicode_escape").decode(),
)
def test_a_wrong_value_is_told_of(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(tmp_path, SERVER + text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MAIL + 'security = "none"\n', "sign in by clear text"),
        (XOAUTH2, "email.entra_tenant is missing"),
        (XOAUTH2 + 'token_file = "t"\nentra_tenant = "example.com"\n', "only one of them can count"),
        (MAIL.replace('account = "scans"', 'auth = "plain"'), "email.account is missing"),
    ],
    ids=["clear-text", "no-tokens", "two-tokens", "no-account"],
)
def test_what_does_not_fit_together_is_told_of(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(tmp_path, text)


def test_clear_text_takes_a_word_that_says_insecure(tmp_path: Path) -> None:
    loaded = load(tmp_path, MAIL + 'security = "none"\ninsecure_plain_auth = true\n')
    (use,) = email_secret_uses(loaded.settings)
    assert "in clear text" in use.destination


@pytest.mark.parametrize(
    "changed",
    [
        MAIL.replace("mail.example.com", "mail.evil.example"),
        MAIL + "port = 2525\n",
        MAIL + 'security = "tls"\n',
        MAIL + 'security = "none"\ninsecure_plain_auth = true\n',
        MAIL + 'ca = "other.pem"\n',
        MAIL.replace('account = "scans"', 'account = "others"'),
        MAIL + 'auth = "plain"\n',
    ],
    ids=["server", "port", "security", "clear-text", "authorities", "account", "auth"],
)
def test_case_26_the_password_is_not_sent_elsewhere(tmp_path: Path, changed: str) -> None:
    tmp_path.chmod(0o700)
    loaded = load(tmp_path, MAIL)
    (use,) = email_secret_uses(loaded.settings)
    loaded.secrets.store.keep(use, Secret("Mail-Passw0rd"))
    assert loaded.secrets.find(use) is not None
    other = load(tmp_path, changed)
    with pytest.raises(SecretRefused, match="entered for another destination"):
        other.secrets.find(*email_secret_uses(other.settings))


def test_settings_that_change_nothing_about_that_keep_the_password(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    loaded = load(tmp_path, MAIL)
    (use,) = email_secret_uses(loaded.settings)
    loaded.secrets.store.keep(use, Secret("Mail-Passw0rd"))
    other = load(tmp_path, MAIL + 'max_recipients = 3\nreply_to = "none"\n')
    assert other.secrets.find(*email_secret_uses(other.settings)) is not None


def test_a_token_needs_no_password_and_a_closed_key_a_passphrase(tmp_path: Path) -> None:
    entra = 'entra_tenant = "example.com"\nentra_client_id = "1"\n'
    entra += 'entra_certificate = "c.pem"\nentra_key = "k.pem"\n'
    assert email_secret_uses(load(tmp_path, XOAUTH2 + 'token_file = "t"\n').settings) == []
    assert email_secret_uses(load(tmp_path, XOAUTH2 + entra).settings) == []
    (use,) = email_secret_uses(load(tmp_path, XOAUTH2 + entra + "entra_key_has_passphrase = true\n").settings)
    assert use.name == "email.passphrase"
    assert "authority login.microsoftonline.com" in use.destination


def test_files_that_are_missing_are_found_before_the_first_mail(tmp_path: Path) -> None:
    loaded = load(tmp_path, XOAUTH2 + 'ca = "none.pem"\ntoken_file = "none"\nrecipients = ["*"]\n')
    assert [finding.key for finding in check_email(loaded)] == [
        "email.ca",
        "email.token_file",
        "email.recipients",
    ]


def test_a_template_that_is_wrong_is_told_of_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "mails").mkdir()
    (tmp_path / "mails/subject.txt").write_text("{nothing}")
    with pytest.raises(ConfigurationError, match=r"subject\.txt, character 2: there is no field {nothing}"):
        filters_of(load(tmp_path, MAIL + 'templates = "mails"\n'))
