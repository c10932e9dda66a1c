"""`postscan directory` against a real domain: each step of the way, and what it publishes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.directory.certificates import subject_of
from support.domain import Domain
from support.office import make_office, told
from support.scanning import make_installation
from testdomain.facts import ADDRESS, ADMINISTRATOR, ALICE, BOB, CAROL, PROCESSES_DN

Steps = dict[str, dict[str, Any]]
Check = Callable[..., tuple[int, Steps]]


@pytest.fixture
def check(domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Return what makes an installation with some settings of [directory] and checks it."""

    def run(*words: str, account: Any = None, **directory: Any) -> tuple[int, Steps]:
        chosen = {"account": account} if account is not None else {}
        made = make_office(domain, tmp_path / "site", directory=directory, **chosen)
        code, report = told(capsys, "directory", "check", "--config", made.config, *words)
        return code, {step["step"]: step for step in report["steps"]}

    return run


def outcomes(steps: Steps) -> dict[str, str]:
    return {name: step["outcome"] for name, step in steps.items()}


WAY = ("controllers", "addresses", "connection", "TLS", "log-on")


def test_the_whole_way_is_walked(check: Check) -> None:
    code, steps = check("--user", "alice", "--process", "Invoices to Finance")
    assert code == ExitCode.OK
    assert {name: outcome for name, outcome in outcomes(steps).items() if outcome != "ok"} == {
        "global catalog": "not tried",
        "scan processes": "warning",  # one of them is broken on purpose
        "published certificate": "not tried",
    }
    assert "DSM Test CA" in steps["TLS"]["said"]
    assert "as svc-scan@dsm.test at dc1.dsm.test, by a simple bind, TLSv1.3" in steps["log-on"]["said"]
    assert "Windows Server 2012 R2" in steps["schema"]["said"]
    assert steps["container"]["said"] == PROCESSES_DN
    assert "may read, and create scan processes" in steps["rights"]["said"]
    assert any("ScanFinance" in line for line in steps["user"]["details"])
    assert "alice may use it" in steps["scan process"]["details"]


def test_people_read_a_line_a_step_and_a_verdict(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site")
    assert main(["directory", "check", "--config", str(made.config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("directory: Active Directory dsm.test: dc1.dsm.test, by LDAPS")
    assert "OK        connection: dc1.dsm.test:636 (10.53.0.1) accepts connections" in lines
    assert lines[-1] == "0 failed, 1 to look at."


def test_controllers_are_found_by_dns(check: Check) -> None:
    code, steps = check(controllers=[], dns_servers=[ADDRESS])
    assert code == 0
    assert steps["controllers"]["said"] == "dc1.dsm.test, as DNS says for dsm.test"
    assert f"dc1.dsm.test:636 ({ADDRESS})" in steps["connection"]["said"]


def test_a_domain_that_dns_does_not_know_ends_the_way(check: Check) -> None:
    code, steps = check(controllers=[], dns_servers=[ADDRESS], domain="nowhere.dsm.test")
    assert code == ExitCode.UNREACHABLE
    assert steps["controllers"]["outcome"] == "failed"
    assert "dns_servers" in steps["controllers"]["advice"]
    assert {step["outcome"] for name, step in steps.items() if name != "controllers"} == {"not tried"}


def test_a_controller_that_is_away_is_named_and_the_rest_not_tried(domain: Domain, check: Check) -> None:
    domain.stop()
    code, steps = check()
    assert code == ExitCode.UNREACHABLE
    assert steps["connection"]["outcome"] == "failed"
    assert "dc1.dsm.test:636" in steps["connection"]["said"]
    assert "firewall" in steps["connection"]["advice"]
    assert steps["log-on"] == {
        "step": "log-on",
        "outcome": "not tried",
        "said": "TLS comes first",
        "details": [],
        "advice": "",
    }


def test_a_controller_that_hangs_is_unreachable(domain: Domain, check: Check) -> None:
    domain.freeze()
    code, steps = check(connect_seconds=1, answer_seconds=1)
    assert code == ExitCode.UNREACHABLE
    assert steps["TLS"]["outcome"] == "failed"


def test_one_controller_of_two_is_enough_and_the_other_a_warning(check: Check) -> None:
    code, steps = check(controllers=["dc9.invalid", "dc1.dsm.test"])
    assert code == 0
    assert steps["addresses"]["outcome"] == "warning"
    assert "dc9.invalid" in steps["addresses"]["said"]
    assert steps["log-on"]["outcome"] == "ok"


def test_an_authority_that_is_not_the_controllers_is_told_with_what_was_shown(check: Check) -> None:
    code, steps = check(ca="pki/ca.pem")
    assert code == ExitCode.CONFIGURATION
    assert "its certificate is not trusted" in steps["TLS"]["said"]
    assert "certificate for dc1.dsm.test, dsm.test, issued by DSM Test CA" in steps["TLS"]["said"]
    assert "ca under [directory]" in steps["TLS"]["advice"]
    assert steps["log-on"]["outcome"] == "not tried"


def test_an_address_in_place_of_a_name_is_told(check: Check) -> None:
    code, steps = check(controllers=[ADDRESS])
    assert code == ExitCode.CONFIGURATION
    assert steps["TLS"]["outcome"] == "failed"


def test_starttls_is_walked_as_well(check: Check) -> None:
    code, steps = check(transport="starttls")
    assert code == 0
    assert "dc1.dsm.test:389 (10.53.0.1): TLSv1.3" in steps["TLS"]["said"]


def test_kerberos_with_a_keytab_seals(domain: Domain, check: Check) -> None:
    pytest.importorskip("gssapi", reason="postscan[kerberos] is not installed: no gssapi")
    keytab = str(domain.folder.service_keytab)
    code, steps = check(transport="sealed", bind="kerberos", keytab=keytab, password_file=None)
    assert code == 0
    assert steps["TLS"]["outcome"] == "not tried"
    assert "by Kerberos, signed and encrypted" in steps["log-on"]["said"]


def test_a_file_that_the_settings_name_wrongly_is_told_before_what_comes_of_it(
    domain: Domain, check: Check, tmp_path: Path
) -> None:
    pytest.importorskip("gssapi", reason="postscan[kerberos] is not installed: no gssapi")
    keytab = tmp_path / "keytab"
    keytab.write_text("Something else\n")
    keytab.chmod(0o600)
    code, steps = check(transport="sealed", bind="kerberos", keytab=str(keytab), password_file=None)
    assert code == ExitCode.CONFIGURATION
    assert next(iter(steps)) == "settings"
    assert f"{keytab} is no keytab" in steps["settings"]["said"]
    assert steps["log-on"]["outcome"] == "failed"


def test_a_wrong_password_is_told_in_plain_words(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site")
    (made.folder / "password").write_text("hunter2-not-it")
    code, report = told(capsys, "directory", "check", "--config", made.config)
    steps = {step["step"]: step for step in report["steps"]}
    assert code == ExitCode.CONFIGURATION
    assert steps["log-on"]["outcome"] == "failed"
    assert "password" in steps["log-on"]["said"]
    assert "postscan secrets set directory.password" in steps["log-on"]["advice"]
    assert steps["schema"]["outcome"] == "not tried"
    assert "hunter2" not in json.dumps(report)


def test_a_container_that_is_not_there_is_told(check: Check) -> None:
    code, steps = check(processes="CN=None,CN=System,DC=dsm,DC=test")
    assert code == ExitCode.CONFIGURATION
    assert steps["container"]["outcome"] == "failed"
    assert outcomes(steps)["rights"] == outcomes(steps)["scan processes"] == "not tried"
    assert steps["enterprise roots"]["outcome"] == "ok"


def test_another_class_of_container_is_a_warning(check: Check) -> None:
    _, steps = check(processes="CN=System,DC=dsm,DC=test")
    assert steps["container"]["outcome"] == "warning"


@pytest.mark.parametrize(
    ("account", "outcome", "words"),
    [(ALICE, "ok", "which is all the server needs"), (ADMINISTRATOR, "warning", "as an administrator may")],
)
def test_what_the_account_may_do_is_told(check: Check, account: Any, outcome: str, words: str) -> None:
    _, steps = check(account=account)
    assert (steps["rights"]["outcome"], words in steps["rights"]["said"]) == (outcome, True)


@pytest.mark.parametrize(
    ("words", "step", "outcome", "said"),
    [
        (("--user", "nobody"), "user", "failed", "there is no user nobody"),
        (("--user", CAROL.name), "user", "warning", "carol is disabled"),
        (("--process", "None"), "scan process", "failed", "there is no scan process 'None'"),
        (("--process", "Hidden"), "scan process", "failed", "that this account can read"),
    ],
)
def test_one_user_and_one_process_are_looked_at(
    check: Check, words: tuple[str, ...], step: str, outcome: str, said: str
) -> None:
    code, steps = check(*words)
    assert steps[step]["outcome"] == outcome
    assert said in steps[step]["said"]
    assert code == (ExitCode.CONFIGURATION if outcome == "failed" else 0)


def test_who_may_not_use_a_process_is_told(check: Check) -> None:
    _, steps = check("--user", "bob", "--process", "For everybody but Bob")
    assert "bob may NOT use it" in steps["scan process"]["details"]


def test_the_global_catalog_is_asked_when_it_is_wanted(check: Check) -> None:
    _, steps = check(global_catalog=True)
    assert steps["global catalog"]["outcome"] == "ok"
    assert "dc1.dsm.test knows the people of 1 domains" in steps["global catalog"]["said"]


# The published certificate -------------------------------------------------------------------------------


def test_a_certificate_is_published_once_compared_and_removed(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site")
    config = "--config", made.config

    def step() -> dict[str, Any]:
        _, report = told(capsys, "directory", "check", *config)
        return next(one for one in report["steps"] if one["step"] == "published certificate")

    code, report = told(capsys, "directory", "publish-certificate", *config)
    try:
        assert (code, report["changed"], report["before"]) == (0, True, None)
        code, report = told(capsys, "directory", "publish-certificate", *config)
        assert (code, report["changed"]) == (0, False)
        assert report["before"].startswith("sha256 ")
        assert step()["outcome"] == "ok"
        renew = ["certificates", "server", "--renew", "--config", str(made.config)]
        assert main(renew) == 0
        capsys.readouterr()
        assert step()["outcome"] == "failed"
        assert "publish-certificate" in step()["advice"]
    finally:
        code, report = told(capsys, "directory", "publish-certificate", "--remove", *config)
    assert (code, report["removed"]) == (0, True)
    assert told(capsys, "directory", "publish-certificate", "--remove", *config)[1]["removed"] is False


@pytest.mark.parametrize(
    ("settings", "message", "what_to_do"),
    [
        ({"server": {"fqdn": "other.dsm.test"}}, "no computer object", "dNSHostName"),
        ({"account": ALICE}, "insufficientAccessRights", "docs/active-directory.md"),
    ],
)
def test_what_cannot_be_published_says_what_is_missing(
    domain: Domain,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, Any],
    message: str,
    what_to_do: str,
) -> None:
    made = make_office(domain, tmp_path / "site", **settings)
    code = main(["directory", "publish-certificate", "--config", str(made.config)])
    said = capsys.readouterr().err
    assert code == ExitCode.REFUSED
    assert message in said
    assert what_to_do in said


# Users -----------------------------------------------------------------------------------------------------


def test_a_user_is_shown_as_the_directory_has_them(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site")
    code, alice = told(capsys, "directory", "user", ALICE.upn, "--config", made.config)
    assert code == 0
    assert (alice["name"], alice["mail"], alice["home_site"]) == ("alice", ALICE.mail, ALICE.home_site)
    assert "ScanStaff" in alice["groups"]
    assert "Invoices to Finance" in alice["processes"]
    assert told(capsys, "directory", "user", alice["sid"], "--config", made.config)[1] == alice
    assert told(capsys, "directory", "user", "*", "--config", made.config)[0] == ExitCode.REFUSED


def test_scan_processes_that_the_domain_has_are_validated(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site")
    status, results = told(capsys, "processes", "validate", "--config", made.config)
    assert any(one["file"].startswith("Invoices to Finance (") and one["valid"] for one in results)
    # One of them is broken.
    assert status == ExitCode.REFUSED
    (broken,) = (one for one in results if not one["valid"])
    assert "is no scan process" in broken["problems"][0]["message"]


def test_a_certificate_is_issued_to_a_user_of_the_domain_by_our_own_authority(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site")
    code, report = told(capsys, "certificates", "user", BOB.upn, "--renew", "--config", made.config)
    assert (code, report["whose"]) == (0, BOB.upn)
    certificate = x509.load_pem_x509_certificate((made.pki / "users" / "bob.pem").read_bytes())
    sid = told(capsys, "directory", "user", "bob", "--config", made.config)[1]["sid"]
    assert subject_of(certificate).sid == sid
    assert main(["certificates", "user", "nobody", "--config", str(made.config)]) == ExitCode.REFUSED
    assert "the domain dsm.test knows no user" in capsys.readouterr().err


# The embedded directory ------------------------------------------------------------------------------------


def test_the_embedded_directory_is_checked_by_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_installation(tmp_path / "site")
    code, report = told(capsys, "directory", "check", "--config", made.config, "--user", "alice")
    assert code == 0
    assert {step["step"]: step["outcome"] for step in report["steps"]} == {
        "files": "ok",
        "scan processes": "ok",
        "user": "ok",
        "scan process": "ok",
        "administrators": "ok",
    }


def test_an_embedded_directory_that_is_not_there_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_installation(tmp_path / "site", directory={"folder": "elsewhere"})
    assert told(capsys, "directory", "check", "--config", made.config)[0] == ExitCode.CONFIGURATION


def test_the_embedded_directory_publishes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_installation(tmp_path / "site")
    assert main(["directory", "publish-certificate", "--config", str(made.config)]) == ExitCode.CONFIGURATION
    assert "embedded directory publishes no certificates" in capsys.readouterr().err
