"""Abuse case 39: who poses as a domain controller, or stands before one, learns no password."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.cli.pki import KeyPair, create_ca, issue_server, write_pair
from support.commands import draw_page
from support.domain import Domain
from support.false_controller import FalseController, Manner, false_controller
from support.office import make_office
from support.office_wire import Device, as_stored, office, process_named
from support.scanning import change
from testdomain.facts import ALICE, CONTROLLER, SERVICE

HASTY: Final = {"connect_seconds": 1, "answer_seconds": 1}
# The ways that protect, and with what the account proves itself there.
WAYS: Final = [
    ("ldaps", "password"),
    ("ldaps", "kerberos"),
    ("starttls", "password"),
    ("starttls", "kerberos"),
    ("starttls", "ntlm"),
    ("sealed", "ntlm"),
    ("sealed", "kerberos"),
    ("sealed", "negotiate"),
]
# What only questions have.
QUESTIONS: Final = (b"msImaging", b"objectSid", b"sAMAccountName", b"altSecurityIdentities")
LISTENERS: Final[dict[str, Callable[[Domain, Path], ssl.SSLContext | None]]] = {
    "no": lambda _domain, _folder: None,
    "its own": lambda _domain, folder: serving(folder, create_ca("Evil"), CONTROLLER),
    "another's": lambda domain, folder: serving(folder, domain.authority(), "evil.dsm.test"),
}
# Whichever way, it may speak in clear in every manner; where TLS is to protect, it may begin that as well.
CASES: Final = [
    *((*way, manner, "no") for way in WAYS for manner in Manner),
    *(
        (*way, manner, certificate)
        for way in WAYS
        if way[0] != "sealed"
        for manner in (Manner.AGREES, Manner.REFERS)
        for certificate in ("its own", "another's")
    ),
]


def serving(folder: Path, authority: KeyPair, name: str) -> ssl.SSLContext:
    """Return what a false controller shows for itself."""
    certificate = folder / "false.pem"
    write_pair(issue_server(authority, name), certificate, certificate.with_suffix(".key"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


def learned(false: FalseController) -> list[bytes]:
    """Return what a false controller has heard that it must not."""
    passwords = false.holds(SERVICE.password) + false.holds(ALICE.password)
    return passwords + [question for question in QUESTIONS if question in false.heard]


def settings(false: FalseController, transport: str, bind: str, **more: Any) -> dict[str, Any]:
    account = f"{SERVICE.name}@DSM.TEST" if bind == "kerberos" else SERVICE.name
    chosen = {"controllers": [false.controller], "transport": transport, "bind": bind, "account": account}
    return {**HASTY, **chosen, **more}


@pytest.mark.parametrize(("transport", "bind", "manner", "certificate"), CASES)
def test_case_39_a_false_controller_learns_nothing(
    domain: Domain,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    transport: str,
    bind: str,
    manner: Manner,
    certificate: str,
) -> None:
    """The service account logs on, and a user signs in, at whatever poses as the controller."""
    context = LISTENERS[certificate](domain, tmp_path)
    tls = {"tls": context} if transport == "ldaps" else {"start_tls": context}
    with false_controller(domain.address, manner, **tls) as false:
        made = make_office(domain, tmp_path / "site", directory=settings(false, transport, bind))
        password = tmp_path / "alice"
        password.touch(0o600)
        password.write_text(ALICE.password)
        words = [str(draw_page(tmp_path / "page.png")), "-p", "For everybody", "--user=alice@dsm.test"]
        for command in (
            ["directory", "user", "alice"],
            ["directory", "check", "--user=alice"],
            ["scan", *words, "--password-file", str(password)],
        ):
            before = false.connections
            code = main([*command, "--config", str(made.config)])
            said = capsys.readouterr()
            assert code in (ExitCode.CONFIGURATION, ExitCode.REFUSED, ExitCode.UNREACHABLE), (command, said)
            assert false.connections > before, (command, said)
            assert learned(false) == [], command
            assert SERVICE.password not in said.out + said.err
            assert ALICE.password not in said.out + said.err


@pytest.mark.parametrize(("transport", "bind"), WAYS)
async def test_case_39_a_server_begins_no_job_by_what_a_false_controller_says(
    domain: Domain, tmp_path: Path, transport: str, bind: str
) -> None:
    ours = as_stored(process_named("For everybody"))
    with false_controller(domain.address, Manner.AGREES) as false:
        made = make_office(
            domain,
            tmp_path / "site",
            directory=settings(false, transport, bind),
            server={"mode": "unauthenticated"},
            devices={"allow": ["127.0.0.1"]},
            discovery={"enabled": "no"},
        )
        async with office(domain, made) as here, here.wire(None) as wire:
            answer = await Device(wire, "S-1-5-21-1-2-3-1001").ask(ours)
            assert (answer.status, answer.subcode) == (500, "ServerErrorTemporaryError")
        assert false.connections
        assert learned(false) == []


CLEAR: Final[list[tuple[dict[str, Any], str]]] = [
    ({"transport": "plain"}, "clear text"),
    ({"transport": "plain", "bind": "ntlm", "insecure_plain_bind": True}, ""),
    ({"transport": "plain", "bind": "negotiate", "insecure_plain_bind": True}, ""),
    ({"transport": "sealed", "bind": "password"}, "nothing to seal with"),
    ({"transport": "sealed", "bind": "password", "insecure_plain_bind": True}, "nothing to seal with"),
]


@pytest.mark.parametrize(("how", "words"), CLEAR)
def test_case_39_settings_without_protection_connect_nowhere(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: dict[str, Any], words: str
) -> None:
    with false_controller(domain.address, Manner.AGREES) as false:
        made = make_office(domain, tmp_path / "site", directory={"controllers": [false.controller]})
        # As somebody writes it by hand: installations are not made with settings that are refused.
        change(made.config, **how)
        for command in (["directory", "user", "alice"], ["directory", "check"], ["processes", "list"]):
            code = main([*command, "--config", str(made.config)])
            said = capsys.readouterr()
            assert code == ExitCode.CONFIGURATION, (command, said)
            assert words in said.out + said.err
        assert false.connections == 0


def test_case_39_the_listener_hears_a_password_that_is_sent_in_clear(
    domain: Domain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the other tests look for would be found: here the settings allow it."""
    with false_controller(domain.address, Manner.AGREES) as false:
        made = make_office(
            domain,
            tmp_path / "site",
            directory=settings(false, "plain", "password", insecure_plain_bind=True),
        )
        main(["directory", "user", "alice", "--config", str(made.config)])
        assert false.holds(SERVICE.password) == [SERVICE.password.encode()]
        assert learned(false) != []
