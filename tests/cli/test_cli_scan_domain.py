"""`postscan scan` by users of a real domain: with a password, with a certificate, and what is refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from tomllib import loads

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.installation import Installation
from support.commands import PROGRAM, draw_page
from support.domain import Domain
from support.office import VOUCHING, address_of, certify, make_office, serving_apart
from support.pty import typed
from support.scanning import make_installation
from testdomain.facts import ALICE, BOB, CAROL, SCAN_SERVER, Person


def password_of(person: Person, folder: Path) -> Path:
    path = folder / f"{person.name}.password"
    path.touch(0o600)
    path.write_text(person.password + "\n")
    return path


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return draw_page(tmp_path / "page.png")


def scan(domain: Domain, made: Installation, page: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "scan", page, "--config", made.config, "--ca", domain.ca, *words]
    return domain.run(command)


def test_a_user_signs_in_with_a_password_and_scans(domain: Domain, tmp_path: Path, page: Path) -> None:
    made = make_office(domain, tmp_path / "site", **VOUCHING)
    file = password_of(ALICE, tmp_path)
    with serving_apart(domain, made):
        done = scan(
            domain, made, page, "-p", "Invoices to Finance", "-u", "alice", "--password-file", file, "--json"
        )
    assert done.returncode == ExitCode.OK, done.stderr
    assert json.loads(done.stdout)["delivered"] is True
    assert [path.parent.name for path in (made.folder / "delivered").rglob("*.png")] == ["alice@dsm.test"]


def test_a_device_without_settings_signs_in_to_a_domain_that_dns_finds(
    domain: Domain, tmp_path: Path, page: Path
) -> None:
    made = make_office(domain, tmp_path / "site", **VOUCHING)
    words = ["--domain", "dsm.test", "--ca", domain.ca, "--server", address_of(made)]
    words += ["-u", BOB.upn, "--password-file", password_of(BOB, tmp_path), "-p", "Staff archive"]
    with serving_apart(domain, made):
        done = domain.run([*PROGRAM, "scan", page, *words], cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "Staff archive, for bob@dsm.test" in done.stdout


def test_a_password_is_typed_without_being_shown(domain: Domain, tmp_path: Path, page: Path) -> None:
    made = make_office(domain, tmp_path / "site", **VOUCHING)
    words = ["scan", page, "-p", "For Alice alone", "-u", "alice", "--ask-password"]
    words += ["--config", made.config, "--ca", domain.ca]
    command = domain.controller.namespace.command([*PROGRAM, *words])
    with serving_apart(domain, made):
        code, shown = typed(command, [ALICE.password], domain.controller.environment())
    assert code == ExitCode.OK, shown
    assert ALICE.password not in shown


def test_the_account_of_a_certificate_needs_no_name(domain: Domain, tmp_path: Path, page: Path) -> None:
    made = make_office(domain, tmp_path / "site", tls={"client_ca": ""})
    certificate = asyncio.run(certify(domain, made, ALICE))
    with serving_apart(domain, made):
        done = scan(domain, made, page, "-p", "For Alice alone", "--cert", certificate)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "for alice@dsm.test" in done.stdout


# Refused before anything is sent ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "password", "words"),
    [
        (ALICE, "Not-hers-1", "password is wrong"),
        (CAROL, CAROL.password, "disabled"),
        (Person("nobody", "Whatever-1"), "Whatever-1", "wrong"),
        (Person("*", "Whatever-1"), "Whatever-1", "wrong"),
    ],
)
def test_who_does_not_prove_their_password_is_told_in_plain_words(
    domain: Domain,
    tmp_path: Path,
    page: Path,
    capsys: pytest.CaptureFixture[str],
    person: Person,
    password: str,
    words: str,
) -> None:
    made = make_office(domain, tmp_path / "site", **VOUCHING)
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(password)
    options = ["-p", "For everybody", "-u", person.name, "--password-file", str(file)]
    code = main(["scan", str(page), *options, "--config", str(made.config)])
    said = capsys.readouterr()
    assert code == ExitCode.REFUSED
    assert words in said.err
    assert password not in said.err + said.out


def test_who_is_disabled_is_told_so(
    domain: Domain, tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site", **VOUCHING)
    config = ["--config", str(made.config)]
    assert main(["scan", str(page), "-p", "For everybody", "-u", "carol", *config]) == ExitCode.REFUSED
    assert "account of carol@dsm.test is disabled" in capsys.readouterr().err
    assert main(["processes", "list", "--user", "carol", *config]) == ExitCode.OK
    assert "account of carol@dsm.test is disabled" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "advice", "code"),
    [("dsm.test", "--ca FILE", ExitCode.CONFIGURATION), ("nowhere.test", "--domain", ExitCode.UNREACHABLE)],
)
def test_without_settings_the_advice_is_about_options(
    domain: Domain,
    tmp_path: Path,
    page: Path,
    named: str,
    advice: str,
    code: ExitCode,
) -> None:
    words = ["-p", "x", "-u", "alice", "--domain", named, "--password-file", password_of(ALICE, tmp_path)]
    done = domain.run([*PROGRAM, "scan", page, *words], cwd=tmp_path)
    assert done.returncode == code
    assert advice in done.stderr
    assert "[directory]" not in done.stderr


def test_a_name_that_two_scan_processes_have_is_nobodys_choice(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_installation(tmp_path / "site")
    folder = made.directory / "processes"
    toml = (folder / "invoices.toml").read_text()
    again = toml.replace(loads(toml)["identifier"][:8], "0badcafe")
    (folder / "again.toml").write_text(again.replace('"Invoices"', '"INVOICES"'))
    (folder / "again.xml").write_bytes((folder / "invoices.xml").read_bytes())
    options = ["-p", "Invoices", "-u", "alice", "--config", str(made.config)]
    assert main(["scan", str(page), *options]) == ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "2 scan processes that are named 'Invoices'" in told
    assert "0badcafe" in told


def test_each_user_has_only_their_own_processes(
    domain: Domain, tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site", **VOUCHING)
    options = ["-p", "For Alice alone", "-u", "bob", "--password-file", str(password_of(BOB, tmp_path))]
    code = main(["scan", str(page), *options, "--config", str(made.config)])
    said = capsys.readouterr().err
    assert code == ExitCode.REFUSED
    assert "bob@dsm.test has no scan process 'For Alice alone'" in said
    assert "“Staff archive”" in said


def test_a_server_with_another_certificate_than_the_published_one_gets_nothing(
    domain: Domain, tmp_path: Path, page: Path
) -> None:
    made = make_office(domain, tmp_path / "site", **VOUCHING)
    config = "--config", str(made.config)
    assert main(["directory", "publish-certificate", *config]) == 0
    options = ["-p", "For Alice alone", "-u", "alice", "--password-file", password_of(ALICE, tmp_path)]
    try:
        with serving_apart(domain, made):
            done = scan(domain, made, page, *options)
            assert done.returncode == ExitCode.OK, done.stderr
            assert "the directory publishes this server's certificate" in done.stdout
        # The same authority and name, and yet another certificate.
        _take_other_certificate(domain, made)
        with serving_apart(domain, made):
            done = scan(domain, made, page, *options)
            assert done.returncode == ExitCode.UNREACHABLE
            assert "published" in done.stderr or "hash" in done.stderr
    finally:
        assert main(["directory", "publish-certificate", "--remove", *config]) == 0


def _take_other_certificate(domain: Domain, made: Installation) -> None:
    from postscan.cli.pki import issue_server

    pair = issue_server(domain.authority(), SCAN_SERVER)
    (made.pki / "server.pem").write_bytes(pair.certificate_pem())
    (made.pki / "server.key").write_bytes(pair.key_pem())


# Without a domain -----------------------------------------------------------------------------------------


def test_the_embedded_directory_knows_no_passwords(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_installation(tmp_path / "site")
    options = ["-p", "Invoices", "-u", "alice", "--password-file", str(password_of(ALICE, tmp_path))]
    assert main(["scan", str(page), *options, "--config", str(made.config)]) == ExitCode.CONFIGURATION
    assert "embedded directory knows no passwords" in capsys.readouterr().err


def test_the_embedded_directory_finds_the_account_of_a_certificate(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_installation(tmp_path / "site")
    certificate = made.pki / "users" / "bob.pem"
    code = main(
        ["scan", str(page), "-p", "Nothing", "--cert", str(certificate), "--config", str(made.config)]
    )
    assert code == ExitCode.REFUSED
    assert "bob@example.com has no scan process 'Nothing'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say who scans"),
        (["--cert", "x.pem", "--ask-password"], "a password is somebody's"),
        (["-u", "alice", "--ask-password", "--password-file", "x"], "exclude each other"),
        (["-u", "alice", "--domain", "dsm.test"], "--domain goes with"),
    ],
)
def test_who_scans_has_to_be_said(
    page: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["scan", str(page), "-p", "Invoices", *words]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_a_password_file_that_others_read_is_refused(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = password_of(ALICE, tmp_path)
    file.chmod(0o644)
    words = ["-p", "Invoices", "-u", "alice", "--password-file", str(file)]
    assert main(["scan", str(page), *words]) == ExitCode.CONFIGURATION
    assert "others can read" in capsys.readouterr().err
