"""`postscan server` as an administrator uses it: real processes on both sides, and only the wire between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postscan.cli.exit_codes import ExitCode
from postscan.soap.names import ASSEMBLE, FSF, NAMES
from support.commands import Desk, draw_page, interrupt, line_with, make_desk, postscan, started, stop
from support.scanning import change, free_port


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path / "site")


@pytest.fixture
def server(desk: Desk) -> Iterator[subprocess.Popen[str]]:
    with desk.serving() as process:
        yield process


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return draw_page(tmp_path / "page.png")


def told(desk: Desk, *arguments: object) -> Any:
    """Return what `postscan server ... --json` answers."""
    done = desk.run("server", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def begun(desk: Desk, page: Path) -> str:
    """Scan to a folder that is away, so that the job stays; return its token."""
    away = desk.invoices.with_name("away")
    if desk.invoices.exists():
        desk.invoices.rename(away)
    done = desk.scan(page, "--wait", "0", "--json")
    return str(json.loads(done.stdout)["token"])


def events_of(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def event_with(process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Read until an event is wanted, and return it."""
    for event in events_of(process):
        if wanted(event):
            return event
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


@pytest.mark.usefixtures("server")
def test_the_status_names_state_jobs_and_filters(desk: Desk) -> None:
    facts = told(desk, "status")
    assert (facts["server"], facts["state"], facts["active_jobs"]) == (desk.made.address, "Idle", 0)
    offered = {one["dialect"]: one for one in facts["filters"]}
    assert {ASSEMBLE, NAMES} <= set(offered)
    assert (desk.made.folder / "delivered").as_uri() in offered[FSF]["shares"]
    said = desk.run("server", "status").stdout
    assert "Idle; 0 jobs under way" in said
    assert "fileshare" in said


@pytest.mark.usefixtures("server")
def test_without_settings_the_address_and_the_keys_are_enough(desk: Desk, tmp_path: Path) -> None:
    users = desk.made.pki / "users"
    for name in ("admin.pem", "admin.key"):
        shutil.copy(users / name, tmp_path / name)
    done = postscan(
        *("server", "status", "--server", desk.made.address, "--ca", desk.made.pki / "ca.pem"),
        *("--certificate", tmp_path / "admin.pem", "--key", tmp_path / "admin.key", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "Idle"


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("command", [("status",), ("jobs",), ("cancel", "t"), ("watch",)])
def test_whoever_is_no_administrator_is_told_what_to_do(desk: Desk, command: tuple[str, ...]) -> None:
    done = desk.run("server", *command, "--user", "alice")
    assert done.returncode == ExitCode.REFUSED
    assert "ClientErrorCurrentUserNotScanAdmin" in done.stderr
    assert "what to do: Show the certificate of an administrator" in done.stderr


def test_a_server_that_does_not_run_is_out_of_reach(desk: Desk) -> None:
    for command in (("status",), ("watch",), ("reload",)):
        done = desk.run("server", *command)
        assert (done.returncode, "Traceback" in done.stderr) == (ExitCode.UNREACHABLE, False)


def test_without_a_server_named_it_is_asked_which(tmp_path: Path) -> None:
    done = postscan("server", "status", cwd=tmp_path)
    assert done.returncode == ExitCode.CONFIGURATION
    assert "--server URL" in done.stderr
    wrong = postscan("server", "status", "--server", f"localhost:{free_port()}", cwd=tmp_path)
    assert wrong.returncode == ExitCode.USAGE
    assert "/ScanServer" in wrong.stderr


@pytest.mark.usefixtures("server")
def test_jobs_are_listed_until_they_end_and_then_in_the_history(desk: Desk, page: Path) -> None:
    assert "no jobs that have not ended" in desk.run("server", "jobs").stdout
    token = begun(desk, page)
    (job,) = told(desk, "jobs")["active"]
    assert (job["token"], job["user"], job["process"]["name"]) == (token, "alice@example.com", "Invoices")
    assert token in desk.run("server", "jobs").stdout
    canceled = told(desk, "cancel", token[:8])
    assert canceled["token"] == token
    assert canceled["state"] in ("Terminating", "Canceled")
    deadline = time.monotonic() + 30
    while told(desk, "jobs")["active"]:
        assert time.monotonic() < deadline
    history = told(desk, "jobs", "--history")
    assert [(job["token"], job["state"]) for job in history["history"]] == [(token, "Canceled")]
    assert (history["active_total"], history["history_total"]) == (0, 1)


@pytest.mark.usefixtures("server")
def test_a_job_that_is_not_under_way_is_not_canceled(desk: Desk) -> None:
    done = desk.run("server", "cancel", "0123")
    assert done.returncode == ExitCode.REFUSED
    assert "no job under way with a token that begins '0123'" in done.stderr


@pytest.mark.usefixtures("server")
def test_events_are_printed_as_they_come_until_ctrl_c(desk: Desk, page: Path) -> None:
    with started("server", "watch", "--config", desk.config, "--json") as watching:
        first = next(events_of(watching))
        assert (first["event"], first["state"], first["jobs"]) == ("Snapshot", "Idle", [])
        scanned = json.loads(desk.scan(page, "--json").stdout)["token"]
        end = event_with(watching, lambda event: event["event"] == "PostScanJobEndStateEvent")
        assert (end["token"], end["state"], end["user"]) == (scanned, "Completed", "alice@example.com")
        assert interrupt(watching)[0] == ExitCode.OK


@pytest.mark.usefixtures("server")
def test_a_person_reads_what_happened_in_plain_lines(desk: Desk, page: Path) -> None:
    with started("server", "watch", "--config", desk.config) as watching:
        line_with(watching, "server: Idle")
        token = json.loads(desk.scan(page, "--json").stdout)["token"]
        line = line_with(watching, "ended: ")
        assert line.startswith(f"{token[:8]}  alice@example.com  Invoices  ended: Completed")
        line_with(watching, "server: Idle")
        assert interrupt(watching)[0] == ExitCode.OK


def test_watching_goes_on_over_a_restart_of_the_server(desk: Desk) -> None:
    with started("server", "watch", "--config", desk.config, "--json") as too_early:
        assert too_early.wait(60) == ExitCode.UNREACHABLE
    with desk.serving() as process:
        watching_scope = started("server", "watch", "--config", desk.config, "--json")
        watching = watching_scope.__enter__()
        try:
            assert next(events_of(watching))["event"] == "Snapshot"
            assert stop(process)[0] == 0
            event_with(watching, lambda event: event["event"] == "Trouble")
            with desk.serving():
                again = event_with(watching, lambda event: event["event"] == "Snapshot")
                assert again["state"] == "Idle"
                change(desk.config, friendly_name="Other")
                told(desk, "reload")
                event_with(watching, lambda event: event["event"] == "RepositoryElementsChangeEvent")
        finally:
            watching_scope.__exit__(None, None, None)


def test_a_reload_tells_what_is_in_force_and_what_needs_a_restart(
    desk: Desk, server: subprocess.Popen[str]
) -> None:
    change(desk.config, friendly_name="Second floor", max_expires_hours=1)
    done = desk.run("server", "reload")
    assert done.stdout.splitlines() == [
        "in force now: server.friendly_name",
        "after a restart: eventing.max_expires_hours",
    ]
    change(desk.config, friendly_name="Third floor")
    os.kill(server.pid, signal.SIGHUP)
    reloaded = json.loads(line_with(server, '"reloaded"'))
    assert reloaded["applied"] == ["server.friendly_name"]
    assert told(desk, "reload") == {"applied": [], "waiting": ["eventing.max_expires_hours"]}


def test_a_signal_with_wrong_settings_leaves_the_server_as_it_was(
    desk: Desk, server: subprocess.Popen[str]
) -> None:
    change(desk.config, certificate="pki/nobody.pem")
    os.kill(server.pid, signal.SIGHUP)
    told_by_it = json.loads(line_with(server, '"not reloaded"'))
    assert "nobody.pem cannot be read" in told_by_it["error"]
    refused = desk.run("server", "reload")
    assert refused.returncode == ExitCode.REFUSED
    assert "nobody.pem" in refused.stderr
    change(desk.config, certificate="pki/server.pem")
    assert told(desk, "status")["state"] == "Idle"
    assert stop(server)[0] == 0


def test_the_certificate_is_renewed_in_a_running_server(desk: Desk, server: subprocess.Popen[str]) -> None:
    before = (desk.made.pki / "server.pem").read_bytes()
    assert desk.run("certificates", "server", "--renew").returncode == 0
    assert (desk.made.pki / "server.pem").read_bytes() != before
    assert told(desk, "reload")["applied"] == ["files of [tls]"]
    assert told(desk, "status")["state"] == "Idle"
    assert server.poll() is None
