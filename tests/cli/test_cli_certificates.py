"""`postscan certificates`: adding a user, and what has to be done every year."""

from __future__ import annotations

import json
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from postscan.cli import main, pki
from postscan.cli.exit_codes import ExitCode
from postscan.device.client import client_context
from support.commands import Desk, draw_page, make_desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path / "site")


def certificates(desk: Desk, *arguments: str) -> int:
    return main(["certificates", *arguments, "--config", str(desk.config)])


def add_carol(desk: Desk) -> None:
    users = desk.made.directory / "users.toml"
    sid = desk.made.users[0].sid.rpartition("-")[0] + "-1200"
    users.write_text(f'{users.read_text()}\n[[user]]\nsid = "{sid}"\nname = "carol"\n')


def test_a_user_added_to_the_directory_scans_with_the_certificate_issued(desk: Desk, tmp_path: Path) -> None:
    page = draw_page(tmp_path / "page.png")
    with desk.serving():
        add_carol(desk)
        assert certificates(desk, "user", "carol") == ExitCode.OK
        words = ["scan", str(page), "-p", "Scan to my folder", "-u", "carol", "--config", str(desk.config)]
        # The server looks at the file again a second after it did so last.
        until = time.monotonic() + 60
        while main(words) != ExitCode.OK:
            assert time.monotonic() < until, "the server never learned of the new user"
    (arrived,) = (desk.made.folder / "delivered" / "carol@example.com").iterdir()
    assert arrived.read_bytes() == page.read_bytes()


def test_the_private_key_is_private(desk: Desk) -> None:
    add_carol(desk)
    assert certificates(desk, "user", "carol@example.com") == ExitCode.OK
    users = desk.made.pki / "users"
    assert stat.S_IMODE((users / "carol.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in users.iterdir()) == [
        f"{name}.{kind}" for name in ("admin", "alice", "bob", "carol") for kind in ("key", "pem")
    ]


def test_an_unknown_user_gets_none(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert certificates(desk, "user", "carol") == ExitCode.REFUSED
    assert "users.toml first" in capsys.readouterr().err


@pytest.mark.parametrize("whose", [["user", "alice"], ["server"]])
def test_what_is_there_is_replaced_only_when_asked(
    desk: Desk, capsys: pytest.CaptureFixture[str], whose: list[str]
) -> None:
    path = desk.made.pki / ("server.pem" if whose == ["server"] else "users/alice.pem")
    before = path.read_bytes()
    assert certificates(desk, *whose) == ExitCode.REFUSED
    assert "add --renew" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert certificates(desk, *whose, "--renew") == ExitCode.OK
    assert path.read_bytes() != before
    assert main(["config", "check", "--config", str(desk.config)]) == ExitCode.OK


def test_expired_certificates_are_listed_and_renewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as past:
        past.setattr(pki, "_BACKDATED", timedelta(days=900))
        past.setattr(pki, "USER_DAYS", -1)
        past.setattr(pki, "SERVER_DAYS", -1)
        desk = make_desk(tmp_path / "site")
    assert certificates(desk, "list") == ExitCode.CONFIGURATION
    assert "expired" in capsys.readouterr().out
    for whose in (["user", "alice"], ["user", "bob"], ["user", "admin"], ["server"]):
        assert certificates(desk, *whose, "--renew") == ExitCode.OK
    capsys.readouterr()
    assert certificates(desk, "list", "--json") == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in told] == [
        *("authority", "server localhost", "user admin", "user alice", "user bob")
    ]
    assert {row["state"] for row in told} == {"valid"}
    assert datetime.fromisoformat(told[1]["expires"]) > datetime.now(UTC) + timedelta(days=300)


def test_an_authority_kept_elsewhere_is_named(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = (desk.made.pki / "ca.key").rename(tmp_path / "stick.key")
    assert certificates(desk, "user", "alice", "--renew") == ExitCode.REFUSED
    assert "--ca-key" in capsys.readouterr().err
    assert certificates(desk, "user", "alice", "--renew", "--ca-key", str(key)) == ExitCode.OK
    other = str(desk.made.pki / "server.key")
    assert certificates(desk, "user", "alice", "--renew", "--ca-key", other) == ExitCode.REFUSED
    assert "is not the key of" in capsys.readouterr().err


def test_old_devices_get_keys_they_know(desk: Desk) -> None:
    assert certificates(desk, "user", "alice", "--renew", "--keys", "rsa") == ExitCode.OK
    path = desk.made.pki / "users" / "alice.pem"
    assert "RSA" in type(x509.load_pem_x509_certificate(path.read_bytes()).public_key()).__name__
    client_context(desk.made.pki / "ca.pem", path, path.with_suffix(".key"))
    assert certificates(desk, "user", "alice", "--renew", "--keys", "dsa") == ExitCode.USAGE
