"""A refused password is tried again ever more rarely, so that no account gets locked."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.smb import session as sessions
from postscan.filters.smb.logon import LogonGuard
from postscan.filters.smb.servers import SmbServer
from postscan.filters.smb.troubles import LogonRefused
from support.smb import SmbSite, at
from testservers.fileserver import DISABLED, SCANNER

GOOD, BAD = Secret("good"), Secret("bad")
SERVER = at(445)


@dataclass
class Clock:
    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


class Door:
    """Counts how often somebody really knocks."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.guard = LogonGuard(self.clock)
        self.knocks: list[Secret | None] = []
        self._counting = threading.Lock()

    def knock(self, password: Secret | None, server: SmbServer = SERVER, *, counted: bool = True) -> bool:
        try:
            with self.guard.attempt(server, password):
                with self._counting:
                    self.knocks.append(password)
                if password == BAD:
                    raise LogonRefused("label", server, "the password is wrong", counted=counted)
        except LogonRefused:
            return False
        return True


def test_a_refused_password_is_not_tried_again_at_once() -> None:
    door = Door()
    assert [door.knock(BAD) for _ in range(50)] == [False] * 50
    assert len(door.knocks) == 1


def test_it_is_tried_again_ever_more_rarely() -> None:
    door = Door()
    when = []
    for minute in range(120):
        door.clock.seconds = minute * 60.0
        before = len(door.knocks)
        door.knock(BAD)
        if len(door.knocks) > before:
            when.append(minute)
    assert when == [0, 1, 5, 21, 51, 81, 111]


def test_another_password_is_tried_at_once() -> None:
    door = Door()
    door.knock(BAD)
    assert door.knock(GOOD)


def test_a_password_that_was_right_is_not_watched() -> None:
    door = Door()
    assert all(door.knock(GOOD) for _ in range(5))
    assert len(door.knocks) == 5


def test_other_servers_are_not_concerned() -> None:
    door = Door()
    door.knock(BAD)
    door.knock(BAD, dataclasses.replace(SERVER, host="other.example.com"))
    assert len(door.knocks) == 2


def test_a_refusal_that_locks_nobody_is_not_waited_for() -> None:
    door = Door()
    for _ in range(3):
        door.knock(BAD, counted=False)
    assert len(door.knocks) == 3


def test_many_who_come_at_once_try_a_wrong_password_once() -> None:
    door = Door()
    with ThreadPoolExecutor(16) as threads:
        assert not any(threads.map(lambda _: door.knock(BAD), range(64)))
    assert len(door.knocks) == 1


def test_tickets_and_keytabs_are_not_watched() -> None:
    door = Door()
    assert all(door.knock(None) for _ in range(3))


async def test_many_deliveries_with_a_wrong_password_log_on_once(
    smb: SmbSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []
    log_on = sessions.log_on

    def counting(*arguments: object) -> object:
        attempts.append(arguments)
        return log_on(*arguments)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(sessions, "log_on", counting)
    smb.use(at(smb.server.port, dataclasses.replace(SCANNER, password="wrong")))
    documents = [smb.document(number) for number in range(1, 11)]
    done = await asyncio.gather(*(smb.deliver(one) for one in documents), return_exceptions=True)
    assert all(isinstance(error, DeliveryError) for error in done)
    assert len(attempts) == 1


async def test_no_password_gets_into_errors_or_logs(
    smb: SmbSite, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("DEBUG")
    said = ""
    for account in (SCANNER, dataclasses.replace(SCANNER, password="wr0ng-Passw0rd"), DISABLED):
        smb.use(at(smb.server.port, account))
        try:
            await smb.deliver(smb.document())
        except DeliveryError as error:
            said += repr(error) + str(error) + error.what_to_do
    said += "".join(capfd.readouterr()) + caplog.text
    for password in (SCANNER.password, "wr0ng-Passw0rd", DISABLED.password):
        assert password not in said
