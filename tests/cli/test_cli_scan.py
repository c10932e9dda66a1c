"""`postscan scan` as a user meets it, against a server that runs as its own process."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from postscan.cli import main, pki
from postscan.cli.exit_codes import ExitCode
from postscan.cli.pki import KeyPair, create_ca, issue_user
from support.commands import (
    Desk,
    draw_page,
    free_port,
    interrupt,
    line_with,
    make_desk,
    postscan,
    started,
    stop,
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Make an installation whose server runs."""
    desk = make_desk(tmp_path_factory.mktemp("scan") / "site")
    with desk.serving():
        yield desk


@pytest.fixture
def idle(tmp_path: Path) -> Desk:
    """Make an installation whose server does not run."""
    return make_desk(tmp_path / "site")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return draw_page(tmp_path / "page.png")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("POSTSCAN_"):
            monkeypatch.delenv(name)


def scan(desk: Desk, *arguments: object, process: str = "Invoices", user: str = "alice") -> int:
    """Run the command in this process, which is quick; for what ends before anything is sent."""
    words = ["scan", *map(str, arguments), "--process", process, "--user", user]
    return main([*words, "--config", str(desk.config)])


# What is sent, and how it ends -----------------------------------------------------------------------


def test_the_command_that_init_prints_works_as_printed(tmp_path: Path, page: Path) -> None:
    port = free_port()
    folder = tmp_path / "my scans"
    made = postscan("init", folder, "--fqdn", "localhost", "--listen", f"127.0.0.1:{port}", "--json")
    _check, serve, command = (shlex.split(line) for line in json.loads(made.stdout)["next"])
    env = {"POSTSCAN_SERVER__METRICS_LISTEN": "", "POSTSCAN_LIMITS__MIN_FREE_BYTES": "0"}
    with started(*serve[1:], env=env) as server:
        line_with(server, "ready at")
        done = postscan(*[page if word == "FILE" else word for word in command[1:]])
    assert done.returncode == ExitCode.OK, done.stderr
    assert "no events" not in done.stdout
    assert "\nCompleted (PostScanJobCompletedSuccessfully): 1 image\n" in done.stdout
    (arrived,) = (folder / "delivered" / "alice@localhost").iterdir()
    assert arrived.read_bytes() == page.read_bytes()


def test_only_json_stands_on_standard_output(desk: Desk, page: Path) -> None:
    done = desk.scan(page, page, "--json")
    assert done.returncode == ExitCode.OK
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert (told["state"], told["delivered"], told["images"], told["told_by"]) == (
        "Completed",
        True,
        2,
        "event",
    )


def test_without_a_terminal_there_is_no_bar_and_no_colour(desk: Desk, page: Path) -> None:
    done = desk.scan(page)
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert f"sent 1 of 1: {page} (png, {page.stat().st_size:,} bytes)" in done.stdout


def test_an_address_that_is_not_ours_to_listen_on_is_told(desk: Desk, page: Path) -> None:
    done = desk.scan(page, "--notify-address", "203.0.113.1")
    assert done.returncode == ExitCode.OK
    assert "no events: cannot listen on 203.0.113.1 (Cannot assign requested address)" in done.stdout


def test_a_job_canceled_as_asked_is_no_failure(desk: Desk, page: Path) -> None:
    done = desk.scan(page, page, "--cancel-after", "1")
    assert done.returncode == ExitCode.OK
    assert "Canceled (PostScanJobCanceled): 1 image" in done.stdout


@pytest.fixture
def away(desk: Desk) -> Iterator[Path]:
    """Take the destination of Invoices away, until the test puts it back, or ends."""
    moved = desk.invoices.rename(desk.invoices.with_name("away"))
    yield moved
    if moved.exists():
        moved.rename(desk.invoices)


def test_a_delivery_that_waits_is_accepted_and_pending(desk: Desk, page: Path, away: Path) -> None:
    done = desk.scan(page, "--wait", "0.5")
    assert done.returncode == ExitCode.JOB_NOT_COMPLETED
    assert "accepted, delivery pending: 1 image, the job is Processing" in done.stdout
    assert "does not answer" not in done.stdout
    away.rename(desk.invoices)
    token = done.stdout.partition("job ")[2].split()[0]
    assert main(["jobs", "watch", token, "--config", str(desk.config)]) == ExitCode.OK


def test_what_could_not_be_delivered_anywhere_is_a_failure(desk: Desk, page: Path, away: Path) -> None:
    desk.invoices.mkdir()
    (desk.invoices / "alice@example.com").write_text("in the way of the user's folder")
    done = desk.scan(page)
    shutil.rmtree(desk.invoices)
    assert done.returncode == ExitCode.JOB_NOT_COMPLETED
    assert "Aborted (PostScanJobProcessingFailed): 1 image" in done.stdout
    assert "`postscan jobs show " in done.stdout


def test_what_arrived_only_in_some_places_is_a_failure(desk: Desk, page: Path) -> None:
    obstacle = desk.invoices.with_name("mirror") / "alice@example.com"
    obstacle.write_text("in the way")
    done = desk.run("scan", page, "--process", "Archive (two places)", "--user", "alice", "--json")
    obstacle.unlink()
    assert done.returncode == ExitCode.JOB_NOT_COMPLETED
    told = json.loads(done.stdout)
    assert (told["state"], told["delivered"]) == ("Completed", False)
    assert told["reasons"] == ["PostScanJobCompletedWithErrors"]


# A server that stops, or is interrupted --------------------------------------------------------------


def test_a_server_that_is_killed_and_started_again_gets_every_page_once(idle: Desk, page: Path) -> None:
    words = ["scan", *[page] * 150, "-p", "invoices", "-u", "alice", "--config", idle.config]
    with idle.serving() as first, started(*words) as user:
        line_with(user, "sent 1 of 150")
        first.kill()
        line_with(user, "trying again")
        with idle.serving():
            line_with(user, "Completed (PostScanJobCompletedSuccessfully): 150 images")
            user.communicate()
            assert user.returncode == ExitCode.OK
    assert [path.read_bytes() for path in idle.delivered()] == [page.read_bytes()] * 150


def test_a_server_that_stops_while_the_outcome_is_awaited_is_waited_for(
    idle: Desk, page: Path, tmp_path: Path
) -> None:
    away = idle.invoices.rename(tmp_path / "away")
    words = ["scan", page, "-p", "invoices", "-u", "alice", "--config", idle.config]
    with idle.serving() as first, started(*words) as user:
        line_with(user, "Processing; fileshare Processing")
        assert stop(first)[0] == ExitCode.OK
        line_with(user, "trying again")
        away.rename(idle.invoices)
        with idle.serving():
            line_with(user, "Completed")
            user.communicate()
            assert user.returncode == ExitCode.OK


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_pages_are_sent_cancels_the_job(
    desk: Desk, page: Path, by: signal.Signals
) -> None:
    with started("scan", *[page] * 400, "-p", "invoices", "-u", "alice", "--config", desk.config) as user:
        token = line_with(user, "job ").split()[1]
        line_with(user, "sent 1 of 400")
        status, said, complained = interrupt(user, by)
    assert status == ExitCode.INTERRUPTED
    assert f"job {token} was canceled" in said
    assert complained == "error: interrupted\n"
    assert desk.jobs("show", token)["state"] == "Canceled"


@pytest.mark.usefixtures("away")
def test_ctrl_c_while_the_outcome_is_awaited_leaves_the_job_to_the_server(desk: Desk, page: Path) -> None:
    with started("scan", page, "-p", "invoices", "-u", "alice", "--config", desk.config) as user:
        token = line_with(user, "job ").split()[1]
        line_with(user, "Processing; fileshare Processing")
        status, said, _ = interrupt(user)
    assert status == ExitCode.INTERRUPTED
    assert f"job {token} was accepted: the server delivers it without us" in said
    assert desk.jobs("show", token)["state"] == "Processing"


def test_ctrl_c_while_pages_are_prepared_ends_at_once(idle: Desk, tmp_path: Path) -> None:
    from PIL import Image

    large = tmp_path / "large.png"
    Image.new("RGB", (6_000, 6_000), "white").save(large)
    words = ["scan", *[large] * 40, "-p", "invoices", "-u", "alice", "--format", "jpeg2k"]
    with started(*words, "--config", idle.config) as user:
        while not _children(user):
            assert user.poll() is None
        assert interrupt(user)[0] == ExitCode.INTERRUPTED


def _children(process: subprocess.Popen[str]) -> str:
    """Return the process ids of the workers that decode."""
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()


# What the user, or whoever set things up, got wrong --------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--user", "carol"], ExitCode.REFUSED, "the directory knows no user 'carol'"),
        (["--process", "Nothing"], ExitCode.REFUSED, "“Archive (two places)”, “Invoices”, “Scan to my"),
        (["--format", "gif"], ExitCode.USAGE, "use one of dib, exif,"),
        (["--color", "red"], ExitCode.USAGE, "use one of BlackAndWhite1, Grayscale8, RGB24"),
        (["--format", "xps"], ExitCode.REFUSED, "The format xps cannot be made here"),
        (["--server", "localhost:5362"], ExitCode.USAGE, "write https://localhost:5362/ScanServer"),
        (["--server", "ftp://localhost"], ExitCode.USAGE, "https://scan.example.com:5362/ScanServer"),
        (["--ca", "nothing.pem"], ExitCode.CONFIGURATION, "nothing.pem cannot be read: No such file"),
        (["--cert", "nothing.pem"], ExitCode.CONFIGURATION, "nothing.pem cannot be read: No such file"),
        (["--directory", "nowhere"], ExitCode.UNREACHABLE, "nowhere/users.toml: cannot be read"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    desk: Desk,
    page: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: ExitCode,
    words: str,
) -> None:
    words_of_command = ["scan", str(page), "--config", str(desk.config)]
    for option, default in (("--process", "Invoices"), ("--user", "alice")):
        if option not in arguments:
            words_of_command += [option, default]
    before = len(desk.delivered())
    assert main([*words_of_command, *arguments]) == status
    told = capsys.readouterr()
    assert words in told.err
    assert "what to do: " in told.err
    assert "Traceback" not in told.err
    assert "job " not in told.out
    assert len(desk.delivered()) == before


def test_a_process_of_others_is_not_among_those_offered(
    desk: Desk, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(desk, page, user="bob") == ExitCode.REFUSED
    assert "Those this user may use: “Archive (two places)”, “Scan to my folder”." in capsys.readouterr().err


def test_a_file_that_is_no_image_is_named(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir or Madam")
    assert scan(desk, tmp_path / "letter.jpg") == ExitCode.REFUSED
    assert "letter.jpg is not an image that can be sent" in capsys.readouterr().err


def test_a_missing_file_is_a_usage_error(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(desk, "missing.png") == ExitCode.USAGE
    assert "'missing.png' does not exist" in capsys.readouterr().err


def test_without_any_directory_the_options_that_name_one_are_told(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["scan", str(page), "-p", "Invoices", "-u", "alice"]) == ExitCode.CONFIGURATION
    told = capsys.readouterr().err
    assert "--directory" in told
    assert "--config" in told


def test_a_server_that_does_not_run_is_told_after_a_few_tries(
    idle: Desk, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(idle, page) == ExitCode.UNREACHABLE
    told = capsys.readouterr()
    assert f"cannot reach {idle.made.address}: Connection refused; trying again\n" in told.out
    assert told.err.startswith(f"error: cannot reach {idle.made.address}: Connection refused\nwhat to do: ")


def test_the_wrong_path_is_told(desk: Desk, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = desk.made.address.replace("ScanServer", "Wrong")
    assert scan(desk, page, "--server", wrong) == ExitCode.UNREACHABLE
    assert f"{wrong} answered 404, and not with a SOAP message" in capsys.readouterr().err


def test_another_name_of_the_server_is_told(
    desk: Desk, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = desk.made.address.replace("localhost", "127.0.0.1")
    assert scan(desk, page, "--server", address) == ExitCode.UNREACHABLE
    assert "points to another host" in capsys.readouterr().err


def test_the_path_of_a_server_need_not_be_written(desk: Desk, page: Path) -> None:
    address = desk.made.address.removesuffix("/ScanServer")
    assert scan(desk, page, "--server", address, "--wait", "0") == ExitCode.OK


# Certificates ----------------------------------------------------------------------------------------


def ca_of(desk: Desk) -> KeyPair:
    certificate = x509.load_pem_x509_certificate((desk.made.pki / "ca.pem").read_bytes())
    key = load_pem_private_key((desk.made.pki / "ca.key").read_bytes(), None)
    return KeyPair(certificate, key)  # type: ignore[arg-type]  # the authority's key is of a kind we make


def write_pair(pair: KeyPair, folder: Path) -> tuple[str, Path, str, Path]:
    """Write a pair and return the options that name it."""
    certificate, key = folder / "user.pem", folder / "user.key"
    certificate.write_bytes(pair.certificate_pem())
    key.write_bytes(pair.key_pem())
    return "--cert", certificate, "--key", key


def test_an_expired_certificate_is_told_before_anything_is_sent(
    desk: Desk,
    page: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pki, "_BACKDATED", timedelta(days=500))
    monkeypatch.setattr(pki, "USER_DAYS", -1)
    pair = write_pair(issue_user(ca_of(desk), desk.made.users[0]), tmp_path)
    assert scan(desk, page, *pair) == ExitCode.CONFIGURATION
    assert f"the certificate {tmp_path / 'user.pem'} expired on " in capsys.readouterr().err


def test_a_certificate_of_a_foreign_authority_is_refused_in_so_many_words(
    desk: Desk, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = write_pair(issue_user(create_ca("Foreign"), desk.made.users[0]), tmp_path)
    assert scan(desk, page, *pair) == ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "The certificate comes from an authority that is not trusted." in told
    assert "client_ca" in told


def test_the_certificate_of_another_user_is_refused_with_advice(
    desk: Desk, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = desk.made.pki / "users" / "bob.pem"
    assert scan(desk, page, "--cert", other) == ExitCode.REFUSED
    told = capsys.readouterr().err
    assert "FailedAuthentication" in told
    assert "the certificate of the very user who scans" in told


def test_no_certificate_at_all_is_told_before_the_server_refuses(
    desk: Desk, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca.pem").write_bytes((desk.made.pki / "ca.pem").read_bytes())
    assert scan(desk, page, "--pki", tmp_path) == ExitCode.REFUSED
    assert f"no certificate of alice in {tmp_path / 'users'}: going without" in capsys.readouterr().out


@pytest.mark.parametrize("password", [None, b"secret"])
def test_a_key_that_cannot_be_used_is_named(
    desk: Desk, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], password: bytes | None
) -> None:
    users = desk.made.pki / "users"
    key = users / "bob.key"
    if password is not None:
        mine = load_pem_private_key((users / "alice.key").read_bytes(), None)
        key = tmp_path / "locked.key"
        key.write_bytes(
            mine.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
        )
    assert scan(desk, page, "--key", key, "--cert", users / "alice.pem") == ExitCode.CONFIGURATION
    assert f"{key} holds no private key, or not the one of" in capsys.readouterr().err


def test_a_server_of_a_foreign_authority_is_not_trusted(
    desk: Desk, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca.pem").write_bytes(create_ca("Foreign").certificate_pem())
    assert scan(desk, page, "--ca", tmp_path / "ca.pem") == ExitCode.UNREACHABLE
    assert "comes from an authority that is not trusted here" in capsys.readouterr().err


def test_an_unauthenticated_server_takes_a_listed_device_without_certificate(idle: Desk, page: Path) -> None:
    for path in (idle.made.pki / "users").iterdir():
        path.unlink()
    env = {"POSTSCAN_SERVER__MODE": "unauthenticated", "POSTSCAN_DEVICES__ALLOW": '["127.0.0.1"]'}
    with idle.serving(**env):
        done = idle.scan(page, **env)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "no certificate" not in done.stdout


# The scan ticket -------------------------------------------------------------------------------------


def insist(desk: Desk, element: str) -> None:
    """Mark an element of the ticket of Invoices MustHonor."""
    path = desk.made.directory / "processes" / "invoices.xml"
    before = path.read_text()
    path.write_text(before.replace(f"<wscn:{element}>", f'<wscn:{element} wscn:MustHonor="true">'))
    assert path.read_text() != before


def test_a_page_is_made_into_what_the_ticket_insists_on(idle: Desk, page: Path) -> None:
    insist(idle, "Format")
    with idle.serving():
        done = idle.scan(page)
        assert done.returncode == ExitCode.OK, done.stderr
    (arrived,) = idle.delivered()
    assert arrived.suffix == ".tif"
    assert arrived.read_bytes()[:4] == b"II*\0"


def test_another_format_than_the_ticket_insists_on_is_refused(
    idle: Desk, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    insist(idle, "Format")
    assert scan(idle, page, "--format", "png") == ExitCode.REFUSED
    assert "insists on the format tiff-single-g4 (MustHonor), not png" in capsys.readouterr().err


def test_without_the_mark_files_are_sent_as_they_are_unless_the_ticket_is_asked_for(
    desk: Desk, page: Path
) -> None:
    plain, as_ticket = desk.scan(page), desk.scan(page, "--ticket")
    assert "(png, " in plain.stdout
    assert "(tiff-single-g4, " in as_ticket.stdout
    assert plain.returncode == as_ticket.returncode == ExitCode.OK


def test_the_help_says_that_files_are_sent_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "--help"]) == ExitCode.OK
    assert "Files are sent as they are, unless" in " ".join(capsys.readouterr().out.split())


# On a terminal ---------------------------------------------------------------------------------------


def test_on_a_terminal_lines_stand_above_the_bar_and_the_bar_is_gone_at_the_end(
    desk: Desk, page: Path
) -> None:
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-P", "-m", "postscan", "scan", *[str(page)] * 3, "-p", "invoices"]
    with subprocess.Popen(
        [*command, "-u", "alice", "--config", str(desk.config)],
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    ) as process:
        os.close(follower)
        drawn = b""
        while piece := _read(leader):
            drawn += piece
    os.close(leader)
    assert process.returncode == ExitCode.OK
    assert b"\x1b[2K" in drawn
    *_, rest = drawn.decode().replace("\r", "").rpartition("\x1b[2K")
    assert "Completed" in rest
    assert "\u2501" not in rest


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:
        # How Linux tells that the last user of a terminal is gone.
        return b""
