"""A dry run against real servers: a Samba and a Postfix, there, gone, and there again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bench.certificates import make_certificates
from postscan.cli import main
from postscan.cli.exit_codes import ExitCode
from postscan.soap.names import EMLF, FSF
from support.commands import Desk, make_desk
from testservers import fileserver, mailserver
from testservers.fileserver import SCANNER, FileServer
from testservers.mailserver import MailServer, mail_server

SHARE = r"\\localhost\scans"
BOB = "bob@example.com"


@pytest.fixture(scope="module")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    """Run a Samba."""
    if lacking := fileserver.missing():
        pytest.skip(f"no file server: {'; '.join(lacking)}")
    with FileServer(tmp_path_factory.mktemp("fileserver")) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Make an authority, and a certificate of it for localhost with its key."""
    server, client = make_certificates(tmp_path_factory.mktemp("certificates"))
    return client.ca, server.certificate, server.key


@pytest.fixture(scope="module")
def postfix(authority: tuple[Path, Path, Path]) -> Iterator[MailServer]:
    """Run a Postfix."""
    if lacking := mailserver.missing():
        pytest.skip(f"no mail server: {lacking}")
    with mail_server(certificate=authority[1], key=authority[2]) as server:
        yield server


def secret_file(path: Path, text: str) -> str:
    """Write a file that only its owner can read; return its path."""
    path.touch(0o600)
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory,
    samba: FileServer,
    postfix: MailServer,
    authority: tuple[Path, Path, Path],
) -> Iterator[Desk]:
    """Make an installation that delivers to both servers, and run it."""
    folder = tmp_path_factory.mktemp("dry-run")
    desk = make_desk(
        folder / "site",
        fileshare={
            "servers": {
                "localhost": {
                    "auth": "ntlm",
                    "account": SCANNER.name,
                    "password_file": secret_file(folder / "smb", SCANNER.password),
                    "port": samba.port,
                    "connect_seconds": 5,
                }
            }
        },
        email={
            "server": "localhost",
            "port": postfix.port,
            "ca": str(authority[0]),
            "account": mailserver.ACCOUNT,
            "password_file": secret_file(folder / "mail", mailserver.PASSWORD),
            "sender": mailserver.ACCOUNT,
        },
    )
    processes = desk.made.directory / "processes"
    xml = (processes / "invoices.xml").read_text()
    begin, end = xml.index("<psp:FiltersToProcess>"), xml.index("</psp:FiltersToProcess>")
    steps = (
        f"<psp:Filter><psp:Dialect>{FSF}</psp:Dialect><psp:Instructions><f:FileShareConfig xmlns:f='{FSF}'>"
        f"<f:FileShares><f:ShareUNC>{SHARE}</f:ShareUNC></f:FileShares></f:FileShareConfig>"
        "</psp:Instructions></psp:Filter>"
        f"<psp:Filter><psp:Dialect>{EMLF}</psp:Dialect><psp:Instructions><e:EmailConfig xmlns:e='{EMLF}'>"
        "<e:SendToScanUser>true</e:SendToScanUser><e:SendToAddresses>"
        f"<e:EmailAddress>{BOB}</e:EmailAddress></e:SendToAddresses></e:EmailConfig>"
        "</psp:Instructions></psp:Filter>"
    )
    (processes / "both.xml").write_text(xml[:begin] + "<psp:FiltersToProcess>" + steps + xml[end:])
    (processes / "both.toml").write_text(
        f'identifier = "{UUID(int=77)}"\ndisplay_name = "Both"\nusers = ["alice"]\ngroups = []\n'
    )
    with desk.serving():
        yield desk


def dry_run(
    desk: Desk, capsys: pytest.CaptureFixture[str], status: int = ExitCode.OK
) -> list[dict[str, Any]]:
    """Return what came of a dry run at the share, and by mail."""
    capsys.readouterr()
    assert main(["processes", "test", "Both", "--json", "--config", str(desk.config)]) == status
    said = capsys.readouterr().out
    assert SCANNER.password not in said
    assert mailserver.PASSWORD not in said
    return [place for one in json.loads(said)["filters"] for place in one["destinations"]]


def test_a_share_and_a_mail_server_are_proven_and_nothing_is_left(
    desk: Desk, samba: FileServer, postfix: MailServer, capsys: pytest.CaptureFixture[str]
) -> None:
    share, mail = dry_run(desk, capsys)
    assert (share["state"], mail["state"]) == ("Proven", "Proven")
    assert SHARE in share["label"]
    assert BOB in json.dumps(mail)
    assert not list(samba.folder("scans").iterdir())
    postfix.wait_until_empty()
    assert not postfix.arrived(BOB)


def test_a_file_server_that_is_gone_fails_alone(
    desk: Desk, samba: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    samba.kill()
    try:
        share, mail = dry_run(desk, capsys, ExitCode.JOB_NOT_COMPLETED)
    finally:
        samba.start()
    assert (share["state"], share["heals"], mail["state"]) == ("Failed", True, "Proven")
    assert share["advice"]
    assert [place["state"] for place in dry_run(desk, capsys)] == ["Proven", "Proven"]


def test_a_mail_server_that_is_gone_fails_alone(
    desk: Desk, postfix: MailServer, capsys: pytest.CaptureFixture[str]
) -> None:
    postfix.stop()
    try:
        share, mail = dry_run(desk, capsys, ExitCode.JOB_NOT_COMPLETED)
    finally:
        postfix.start()
    assert (share["state"], mail["state"], mail["heals"]) == ("Proven", "Failed", True)
    assert mail["advice"]


def test_a_recipient_that_the_mail_server_refuses_is_told(
    desk: Desk, postfix: MailServer, capsys: pytest.CaptureFixture[str]
) -> None:
    postfix.answer_recipients({BOB: "550 5.1.1 No such mailbox"})
    try:
        _share, mail = dry_run(desk, capsys, ExitCode.JOB_NOT_COMPLETED)
    finally:
        postfix.answer_recipients({})
    assert mail["state"] == "Failed"
    assert "No such mailbox" in mail["error"]


def test_it_is_said_in_words(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["processes", "test", "Both", "--config", str(desk.config)]) == ExitCode.OK
    said = capsys.readouterr().out
    assert f"fileshare: {SHARE}: works (" in said
    assert "A job would be delivered." in said
