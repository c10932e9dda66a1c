"""Abuse case 25: a secret the server needs stands in no output, log, error, answer or file but its own."""

from __future__ import annotations

import base64
import signal
import subprocess
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from postscan.cli import main
from postscan.cli.installation import Installation
from support.commands import PROGRAM, SECONDS, draw_page, line_with
from support.domain import Domain
from support.office import make_office
from testdomain.facts import ALICE, SERVICE

# What a log or a message might make of a secret.
WRONG = "Wrong-Canary-7781"
SECRETS = (SERVICE.password, ALICE.password, WRONG)
VARIABLE = "POSTSCAN_SECRET_DIRECTORY_PASSWORD"


def shapes(secret: str) -> list[bytes]:
    """Return a secret as it may stand in text, in other codings."""
    octets = secret.encode()
    return [octets, base64.b64encode(octets), octets.hex().encode(), secret.encode("utf-16-le")]


def traces(content: bytes) -> list[bytes]:
    return [shape for secret in SECRETS for shape in shapes(secret) if shape in content]


def leaking_files(folder: Path, but: Iterable[str] = ("password", "secrets.toml")) -> list[Path]:
    """Return the files of an installation in which a secret stands; ``but`` are those made for it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in but)
    return [path for path in files if traces(path.read_bytes())]


BREAKAGE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "authority": {"ca": "pki/ca.pem"},
    "name": {"controllers": ["dc1.invalid"]},
    "address": {"controllers": ["10.53.0.1"]},
    "port": {"controllers": ["dc1.dsm.test:1"]},
    "container": {"processes": "CN=None,DC=dsm,DC=test"},
    "starttls": {"transport": "starttls"},
    "ntlm": {"bind": "ntlm", "transport": "sealed"},
}
COMMANDS = [
    ["config", "check"],
    ["config", "check", "--json"],
    ["directory", "check", "--user", "alice"],
    ["directory", "check", "--json"],
    ["directory", "user", "alice"],
    ["directory", "publish-certificate", "--remove"],
    ["secrets", "list", "--json"],
    ["secrets", "list"],
    ["secrets", "remove", "directory.password"],
    ["processes", "list"],
    ["certificates", "list"],
]


@pytest.mark.parametrize(
    ("breakage", "source"),
    [*((breakage, "file") for breakage in BREAKAGE), ("nothing", "environment"), ("nothing", "store")],
)
def test_case_25_no_command_shows_a_secret_however_it_fails(
    domain: Domain,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    breakage: str,
    source: str,
) -> None:
    how = {"connect_seconds": 1, "answer_seconds": 2, **BREAKAGE[breakage]}
    made = make_office(domain, tmp_path / "site", directory=how)
    _keep(made, source, monkeypatch)
    for words in COMMANDS:
        # With --debug tracebacks are shown, besides all that is shown without.
        main(["--debug", *words, "--config", str(made.config)])
        said = capfd.readouterr()
        assert traces((said.out + said.err).encode()) == [], words
    assert leaking_files(made.folder) == []


def _keep(made: Installation, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if source == "environment":
        monkeypatch.setenv(VARIABLE, SERVICE.password)
    if source == "store":
        text = made.config.read_text()
        made.config.write_text(text.replace('password_file = "password"', ""))
        words = ["secrets", "set", "directory.password", "--config", str(made.config)]
        done = subprocess.run([*PROGRAM, *words], input=SERVICE.password, text=True, check=True)
        assert done.returncode == 0


@pytest.mark.parametrize("content", [f"{WRONG}\nmore", f"{WRONG}\0", WRONG * 500, f"{WRONG}\udcff"])
def test_case_25_a_wrong_secret_is_not_quoted(
    domain: Domain, tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str
) -> None:
    made = make_office(domain, tmp_path / "site", directory={"connect_seconds": 1})
    (made.folder / "password").write_bytes(content.encode(errors="surrogateescape"))
    store = made.folder / "secrets.toml"
    store.touch(0o600)
    store.write_text(f'["directory.password"\nvalue = "{WRONG}')
    page = draw_page(tmp_path / "page.png")
    sign_in = ["-p", "x", "-u", "alice", "--password-file", str(made.folder / "password")]
    for words in (*COMMANDS, ["scan", str(page), *sign_in], ["serve"]):
        main(["--debug", *words, "--config", str(made.config)])
        said = capfd.readouterr()
        assert traces((said.out + said.err).encode()) == [], words


def test_case_25_a_password_that_is_refused_is_not_quoted(
    domain: Domain, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = make_office(domain, tmp_path / "site")
    (made.folder / "password").write_text(f'"{WRONG}')
    main(["--debug", "directory", "check", "--config", str(made.config)])
    said = capfd.readouterr()
    assert "password is wrong" in said.out
    assert traces((said.out + said.err).encode()) == []


def test_case_25_a_server_tells_its_secret_to_nobody_but_the_directory(
    domain: Domain, tmp_path: Path
) -> None:
    made = make_office(
        domain,
        tmp_path / "site",
        directory={"connect_seconds": 1, "answer_seconds": 1, "cache_seconds": 0},
        server={"mode": "unauthenticated", "log_level": "DEBUG", "metrics_listen": "127.0.0.1:9362"},
        devices={"allow": ["10.53.0.0/24", "127.0.0.0/8"]},
    )
    page = draw_page(tmp_path / "page.png")
    alice = tmp_path / "alice"
    alice.touch(0o600)
    alice.write_text(ALICE.password)
    log = tmp_path / "log"

    def scan() -> subprocess.CompletedProcess[str]:
        words = ["-p", "For everybody", "-u", "alice", "--password-file", alice, "--ca", domain.ca]
        return domain.run([*PROGRAM, "--debug", "scan", page, *words, "--config", made.config])

    said = ""
    with log.open("wb") as errors:
        serve = [*PROGRAM, "--debug", "serve", "--json", "--config", made.config]
        server = domain.popen(serve, stdout=subprocess.PIPE, stderr=errors)
        try:
            line_with(server, '"ready"')
            outcomes = [scan()]
            domain.stop()
            outcomes.append(scan())
            domain.start()
            (made.folder / "password").write_text(WRONG)
            reload = domain.run([*PROGRAM, "server", "reload", "--config", made.config])
            for page_name in ("metrics", "health"):
                with urllib.request.urlopen(f"http://127.0.0.1:9362/{page_name}", timeout=10) as answer:
                    said += answer.read().decode()
            server.send_signal(signal.SIGTERM)
            out, _ = server.communicate(timeout=SECONDS)
        finally:
            server.kill()
            server.wait()
    assert [done.returncode for done in outcomes] == [0, 5]
    said += out + reload.stdout + reload.stderr + "".join(done.stdout + done.stderr for done in outcomes)
    assert traces(said.encode() + log.read_bytes()) == []
    assert "the directory does not answer" in log.read_text() or outcomes[1].returncode == 5
    assert leaking_files(made.folder) == []
    # Nothing of it is in the data folder, which is what backups are made of.
    assert leaking_files(made.folder / "data", but=()) == []


def test_case_25_the_search_finds_what_it_is_meant_to(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(base64.b64encode(WRONG.encode()))
    assert leaking_files(tmp_path) == [tmp_path / "log"]
    assert traces(f"password={SERVICE.password}".encode())
