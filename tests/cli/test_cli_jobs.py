"""`postscan jobs` as an administrator uses it beside a running server."""

from __future__ import annotations

import contextlib
import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from postscan.cli import main
from postscan.cli.admin_client import AdminClient, AdminRefused
from postscan.cli.exit_codes import ExitCode
from postscan.cli.job_text import local_time, news, said, standing
from support.commands import Desk, draw_page, line_with, make_desk, started


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Make an installation whose server runs and does not soon try again what failed."""
    folder = tmp_path_factory.mktemp("jobs")
    desk = make_desk(folder / "site", retry={"first_seconds": 3600})
    draw_page(folder / "page.png")
    with desk.serving():
        yield desk


def scan(desk: Desk, *arguments: str, wait: str = "30") -> dict[str, Any]:
    """Scan a page, in this process, and return what a script is told."""
    page = desk.made.folder.parent / "page.png"
    words = ["scan", str(page), "-p", "Invoices", "-u", "alice", "--config", str(desk.config)]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main([*words, "--json", "--wait", wait, *arguments])
    told: dict[str, Any] = json.loads(said.getvalue())
    return told


def fingerprint(desk: Desk) -> str:
    """Return the SHA-256 hash of the certificate that alice's device shows."""
    pem = (desk.made.pki / "users" / "alice.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def jobs(desk: Desk, *arguments: str) -> int:
    """Run the command in this process, which is quick."""
    return main(["jobs", *arguments, "--config", str(desk.config)])


@pytest.fixture
def waiting(desk: Desk) -> Iterator[str]:
    """Make a job whose destination is away; the destination is back afterwards."""
    away = desk.invoices.rename(desk.invoices.with_name("away"))
    token = scan(desk, wait="0")["token"]
    with started("jobs", "watch", token, "--config", desk.config) as process:
        line_with(process, "next try ")
    yield token
    if away.exists():
        away.rename(desk.invoices)


def test_a_job_is_shown_in_full(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    token = scan(desk)["token"]
    assert jobs(desk, "show", token) == ExitCode.OK
    told = capsys.readouterr().out
    for words in (
        f"job {token}",
        "Completed (PostScanJobCompletedSuccessfully)",
        "Invoices (",
        "alice@example.com (S-1-5-21-",
        "sent from",
        "127.0.0.1",
        f"their own certificate, sha256:{fingerprint(desk)}",
        "no longer in the spool",
        "Delivered",
        "_alice_001.png",
    ):
        assert words in told


def test_everything_a_person_sees_a_script_gets_as_json(desk: Desk) -> None:
    token = scan(desk)["token"]
    job = desk.jobs("show", token)
    assert job["token"] == token
    assert job["origin"] == "127.0.0.1"
    assert job["vouched_by"] == f"certificate:sha256:{fingerprint(desk)}"
    (document,) = job["documents"]
    assert (document["format"], len(document["sha256"])) == ("png", 64)
    (place,) = job["filters"][0]["destinations"]
    assert (place["state"], len(place["delivered"])) == ("Delivered", 1)
    assert token in [one["token"] for one in desk.jobs("list")]
    assert token not in [one["token"] for one in desk.jobs("list", "--active")]
    assert len(desk.jobs("list", "--limit", "1")) == 1


def test_a_token_may_be_cut_short(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    token = scan(desk)["token"]
    assert jobs(desk, "show", token[:12].upper()) == ExitCode.OK
    assert f"job {token}" in capsys.readouterr().out


async def test_a_beginning_that_several_tokens_share_is_refused_with_what_they_are() -> None:
    class Answers(AdminClient):
        async def ask(self, method: str, path: str, *, advice: str | None = None) -> Any:
            return [{"token": "abc1"}, {"token": "abd2"}, {"token": "xyz3"}]

    with pytest.raises(AdminRefused, match="2 jobs have a token that begins 'ab': abc1, abd2"):
        await Answers(Path("data")).find("ab")


@pytest.mark.parametrize("token", ["zzz", "00000000-0000-0000-0000-000000000000", "../etc/passwd"])
@pytest.mark.parametrize("command", ["show", "cancel", "retry", "watch"])
def test_a_token_of_no_job_is_told(
    desk: Desk, capsys: pytest.CaptureFixture[str], command: str, token: str
) -> None:
    assert jobs(desk, command, token) == ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "no job has " in told
    assert "`postscan jobs list` shows the jobs there are." in told


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_a_token_of_no_letters_is_nobodys(
    desk: Desk, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert jobs(desk, command, "") == ExitCode.REFUSED
    assert "no job has a token that begins ''" in capsys.readouterr().err


def test_what_a_waiting_delivery_waits_for_is_told(
    desk: Desk, waiting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jobs(desk, "show", waiting) == ExitCode.OK
    told = capsys.readouterr().out
    assert "Waiting" in told
    assert "invoices is away: No such file or directory" in told
    assert "still in the spool" in told


def test_a_waiting_delivery_is_tried_at_once_when_asked(
    desk: Desk, waiting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.invoices.with_name("away").rename(desk.invoices)
    assert jobs(desk, "retry", waiting) == ExitCode.OK
    assert jobs(desk, "watch", waiting) == ExitCode.OK
    assert "Completed" in capsys.readouterr().out


def test_a_waiting_job_can_be_canceled_and_again(
    desk: Desk, waiting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jobs(desk, "cancel", waiting) == ExitCode.OK
    assert f"{waiting}  " in capsys.readouterr().out
    assert jobs(desk, "watch", waiting) == ExitCode.JOB_NOT_COMPLETED
    assert jobs(desk, "cancel", waiting, "--json") == ExitCode.OK
    capsys.readouterr()
    assert desk.jobs("show", waiting)["state"] == "Canceled"


def test_a_failed_job_is_delivered_again_once_the_cause_is_mended(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = desk.invoices / "alice@example.com"
    kept = folder.rename(folder.with_name("kept")) if folder.exists() else None
    folder.write_text("a file in the way")
    token = scan(desk)["token"]
    assert desk.jobs("show", token)["state"] == "Aborted"
    folder.unlink()
    if kept is not None:
        kept.rename(folder)
    assert jobs(desk, "retry", token) == ExitCode.OK
    assert jobs(desk, "watch", token) == ExitCode.OK
    assert "Completed" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_a_job_that_delivered_everything_is_neither_canceled_nor_delivered_again(
    desk: Desk, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    token = scan(desk)["token"]
    assert jobs(desk, command, token) == ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "the job is Completed and cannot be " in told
    assert "what to do: " in told
    assert "new job" not in told


def test_watching_tells_each_change_and_ctrl_c_is_its_ordinary_end(desk: Desk, waiting: str) -> None:
    with started("jobs", "watch", "--json", "--seconds", "0.1", "--config", desk.config) as process:
        assert json.loads(line_with(process, waiting))["state"] == "Processing"
        desk.invoices.with_name("away").rename(desk.invoices)
        assert jobs(desk, "retry", waiting) == ExitCode.OK
        assert json.loads(line_with(process, '"Completed"'))["token"] == waiting
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate()
    assert process.returncode == ExitCode.OK
    assert complained == ""


def test_a_data_folder_with_a_long_path_has_a_socket_too(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / ("long" * 20) / "site")
    with desk.serving():
        assert desk.jobs("list") == []


@pytest.mark.parametrize(
    "command", [["list"], ["show", "ab"], ["cancel", "ab"], ["retry", "ab"], ["watch"], ["watch", "ab"]]
)
def test_without_a_server_every_command_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert jobs(make_desk(tmp_path / "site"), *command) == ExitCode.UNREACHABLE
    told = capsys.readouterr()
    assert "error: no server answers at " in told.err
    assert "`postscan serve --config FILE`" in told.err
    assert told.out == ""


def test_no_jobs_yet_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = make_desk(tmp_path / "site")
    with desk.serving():
        assert jobs(desk, "list") == ExitCode.OK
        assert capsys.readouterr().out == "no jobs\n"
        assert desk.jobs("list") == []


def test_the_reason_that_is_called_none_is_not_told() -> None:
    assert said("Processing", ["None"]) == "Processing"
    assert said("Aborted", ["SendImageFailed"]) == "Aborted (SendImageFailed)"
    assert news(["PostScanJobCompletedSuccessfully"]) == []
    assert news(["PostScanJobCompletedWithErrors"]) == ["PostScanJobCompletedWithErrors"]


def test_times_are_told_by_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert local_time("2026-03-01T20:30:15.123Z") == "2026-03-02 05:30:15"
        assert local_time("2026-03-01T20:30:15.123Z", clock_only=True) == "05:30:15"
    time.tzset()
    assert local_time(None) is None


def test_a_job_that_waits_for_two_places_tells_of_both() -> None:
    places = [
        {
            "label": label,
            "state": "Waiting",
            "next_attempt": "2026-03-01T20:30:15Z",
            "last_error": f"{label} is away",
        }
        for label in ("file:///a", "file:///b")
    ]
    filters = [{"dialect": "urn:x/fileshare", "state": "Processing", "destinations": places}]
    told = standing({"state": "Processing", "reasons": ["None"], "images": 2, "filters": filters})
    assert told.startswith("Processing, 2 images; fileshare Processing; next try ")
    assert told.count("file:///a is away") == told.count("file:///b is away") == 1
