"""A real mail server for each process that runs tests, and what a test needs to send mail to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.certificates import make_certificates
from support.mail import Authority, MailSite, settings_of
from testservers.mailserver import MailServer, mail_server, missing


@pytest.fixture(scope="session")
def mail_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make an authority, and a certificate of it for localhost."""
    server, client = make_certificates(tmp_path_factory.mktemp("mail-certificates"))
    return Authority(client.ca, server.certificate, server.key)


@pytest.fixture(scope="session")
def shared_postfix(mail_authority: Authority) -> Iterator[MailServer]:
    """Postfix, as it was left by the test before."""
    if (lacks := missing()) is not None:
        pytest.skip(f"this machine lacks {lacks}")
    with mail_server(certificate=mail_authority.certificate, key=mail_authority.key) as server:
        yield server


@pytest.fixture
def postfix(shared_postfix: MailServer) -> Iterator[MailServer]:
    """Postfix with empty mailboxes, running and answering as at first."""
    shared_postfix.thaw()
    shared_postfix.start()
    shared_postfix.answer_recipients({})
    shared_postfix.limit_messages(30_000_000)
    yield shared_postfix
    shared_postfix.thaw()
    shared_postfix.start()
    shared_postfix.wait_until_empty()
    for box in shared_postfix.folder.joinpath("mail").iterdir():
        shutil.rmtree(box)


@pytest.fixture
def mail(tmp_path: Path, postfix: MailServer, mail_authority: Authority) -> MailSite:
    """Return a job whose mail goes to Postfix."""
    return MailSite(tmp_path, settings_of(postfix, mail_authority))
