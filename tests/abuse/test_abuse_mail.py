"""Abuse cases 25, 33, 34, 35 and 36: what mail may be made to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError, InstructionsError
from postscan.filters.email.addresses import DomainPolicy
from postscan.filters.email.settings import Security
from support.delivery import JOB
from support.mail import ALICE, Authority, MailSite, instructions, settings_of
from support.names import NASTY
from support.odd_mail import OddMailServer

SMUGGLED = "x\r\n.\r\nMAIL FROM:<eve@evil.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nhello\r\n.\r\n"


def site_of(folder: Path, server: OddMailServer, **changes: Any) -> MailSite:
    """Return a job whose mail goes to the strict server, without TLS and account."""

    class Place:
        host = "127.0.0.1"
        port = server.port

    values = {"security": Security.NONE, "account": "", "ca": None} | changes
    nobody = Authority(folder, folder, folder)
    return MailSite(folder, settings_of(Place, nobody, **values))  # type: ignore[arg-type]  # host and port


def verbs(server: OddMailServer) -> list[str]:
    """Return what was said, by verb."""
    return [command.split(" ")[0] for command in server.commands]


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.com\r\nRCPT TO:<bob@example.com>",
        "alice@example.com\nDATA",
        "alice@example.com\0",
        "alice@example.com> SIZE=0 <",
        "<alice@example.com>",
        '"a\r\nb"@example.com',
        "alice@example.com\u2028RCPT",
        "alice@evil.example,alice@example.com",
    ],
    ids=["crlf", "lf", "nul", "parameter", "brackets", "quoted", "line-separator", "list"],
)
async def test_case_33_an_address_cannot_become_a_command(tmp_path: Path, address: str) -> None:
    async with OddMailServer() as server:
        site = site_of(tmp_path, server, recipients=DomainPolicy.of(["*"]))
        site.job = replace(JOB, user_mail=address)
        with pytest.raises(InstructionsError):
            await site.deliver(instructions(user=True), site.document())
        assert server.commands == []


@given(st.text(min_size=1, max_size=60) | NASTY)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_case_33_no_address_says_more_than_one_recipient(tmp_path: Path, address: str) -> None:
    async with OddMailServer() as server:
        site = site_of(tmp_path, server, recipients=DomainPolicy.of(["*"]))
        site.job = replace(JOB, user_mail=f"{address}@example.com")
        try:
            await site.deliver(instructions(user=True), site.document())
        except InstructionsError:
            assert server.commands == []
            return
        assert verbs(server) == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        assert server.breaches == []
        assert len(server.messages) == 1


@given(name=st.text(max_size=80) | NASTY, root=st.text(max_size=80) | NASTY, token=st.text(max_size=20))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_case_34_no_name_of_anything_injects_a_header(
    tmp_path: Path, name: str, root: str, token: str
) -> None:
    async with OddMailServer() as server:
        site = site_of(tmp_path, server)
        site.job = replace(
            JOB,
            token=token,
            user_display_name=name,
            document_root_name=root,
            process_name=f"{root}\r\nBcc: eve@evil.example",
        )
        await site.deliver(instructions(ALICE), site.document(name=name))
        assert server.breaches == []
        (message,) = server.messages
        head = message.partition(b"\r\n\r\n")[0].decode()
        names = [line.partition(":")[0] for line in head.split("\r\n") if not line.startswith((" ", "\t"))]
        assert sorted(names) == sorted(
            [
                *("From", "To", "Reply-To", "Subject", "Date", "Auto-Submitted", "MIME-Version"),
                *("Content-Type", "Message-ID", "X-Postscan-Job", "X-Postscan-Part"),
            ]
        )
        assert [command for command in server.commands if command.startswith("RCPT")] == [
            f"RCPT TO:<{ALICE}>"
        ]


async def test_case_35_text_that_looks_like_the_end_smuggles_no_message(tmp_path: Path) -> None:
    for variant in (SMUGGLED, SMUGGLED.replace("\r\n", "\n"), SMUGGLED.replace("\r\n", "\r"), ".\n" * 50):
        async with OddMailServer() as server:
            site = site_of(tmp_path, server)
            site.job = replace(JOB, user_display_name=variant, document_root_name=variant)
            element = instructions(ALICE, subject="{name}")
            body = etree.SubElement(element, "{urn:postscan:extensions}Body")
            body.text = variant.replace("\r", "\n") + "{files}"
            await site.deliver(element, site.document(1, variant.encode()))
            assert verbs(server) == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
            assert server.breaches == []
            (message,) = server.messages
            assert b"\nMAIL FROM:" not in message


async def test_case_36_mail_goes_only_where_the_settings_allow(tmp_path: Path) -> None:
    async with OddMailServer() as server:
        site = site_of(tmp_path, server, max_recipients=20, max_recipients_per_hour=30)
        with pytest.raises(InstructionsError, match="not allowed"):
            await site.deliver(instructions(ALICE, "victim@elsewhere.example"), site.document())
        with pytest.raises(InstructionsError, match="a job may have 20"):
            await site.deliver(instructions(*(f"a{n}@example.com" for n in range(10_000))), site.document())
        many = instructions(*(f"a{n}@example.com" for n in range(20)))
        await site.deliver(many, site.document())
        site.job = replace(JOB, token="the-next")
        with pytest.raises(InstructionsError, match="within an hour"):
            await site.deliver(many, site.document())
        assert len(server.messages) == 1


async def test_case_36_the_sender_is_that_of_the_settings(tmp_path: Path) -> None:
    async with OddMailServer() as server:
        site = site_of(tmp_path, server)
        site.job = replace(JOB, user_mail="ceo@example.com", user_upn="ceo@example.com")
        await site.deliver(instructions(ALICE), site.document())
        (said,) = [command for command in server.commands if command.startswith("MAIL")]
        assert said.startswith("MAIL FROM:<scan@example.com>")
        assert b"From: Scanner <scan@example.com>\r\n" in server.messages[0]


async def test_case_25_no_password_stands_in_an_error_or_in_what_describes_the_filter(tmp_path: Path) -> None:
    secret = "Ve2y-Secret"
    async with OddMailServer({"AUTH": f"535 5.7.8 {secret} is wrong"}) as server:
        site = site_of(
            tmp_path,
            server,
            account="scan",
            insecure=True,
            password=lambda: Secret(secret),
        )
        with pytest.raises(DeliveryError) as caught:
            await site.deliver(instructions(ALICE), site.document())
        assert secret not in str(caught.value)
        assert secret not in repr(site.settings)
        assert secret not in repr(vars(site.filter))
