"""How the account proves itself, and what a mail server has to prove before it is shown anything."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bench.certificates import make_certificates
from postscan.contracts.keywords import FilterStateReason
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.email.filter import EmailFilter
from postscan.filters.email.settings import AuthMethod, Security
from postscan.filters.email.tokens import EXCHANGE_ONLINE, EntraMailTokens, FileTokens
from postscan.filters.entra.tokens import EntraTokens
from support.clock import FakeClock
from support.mail import ALICE, Authority, MailSite, instructions, settings_of
from support.odd_mail import OddMailServer
from support.sharepoint_visits import visit
from testservers.mailserver import MailServer

TOKEN = "ya29.very-secret-token"


class Tokens:
    """Hands out one token after the other, the last for ever."""

    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens)
        self.refusals: list[str] = []

    async def token(self) -> Secret:
        return Secret(self.left[0])

    def refused(self, token: Secret) -> None:
        self.refusals.append(token.reveal())
        if len(self.left) > 1:
            self.left.pop(0)


@pytest.fixture
def odd_tls(mail_authority: Authority) -> ssl.SSLContext:
    """Return what the odd server shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(mail_authority.certificate, mail_authority.key)
    return context


def odd_site(folder: Path, server: OddMailServer, authority: Authority, **changes: object) -> MailSite:
    """Return a job whose mail goes to the odd server."""

    class Place:
        host = "localhost"
        port = server.port

    values = {"timeout_seconds": 20.0} | changes
    return MailSite(folder, settings_of(Place, authority, **values))  # type: ignore[arg-type]  # host and port


class TestRealServer:
    @pytest.mark.parametrize(
        "method", [way for way in AuthMethod if way not in (AuthMethod.XOAUTH2, AuthMethod.NONE)]
    )
    async def test_each_way_to_sign_in_works(
        self, mail: MailSite, postfix: MailServer, method: AuthMethod
    ) -> None:
        mail.change(auth=method)
        await mail.deliver(instructions(ALICE), mail.document())
        postfix.wait_until_empty()
        assert len(postfix.arrived(ALICE)) == 1
        used = "SCRAM-SHA-256" if method is AuthMethod.AUTO else method.upper()
        assert f"sasl_method={used}" in postfix.log.read_text()

    async def test_tls_from_the_first_octet_works(self, mail: MailSite, postfix: MailServer) -> None:
        mail.change(security=Security.TLS, port=postfix.tls_port)
        await mail.deliver(instructions(ALICE), mail.document())
        postfix.wait_until_empty()
        assert len(postfix.arrived(ALICE)) == 1

    @pytest.mark.parametrize("method", [AuthMethod.SCRAM_SHA_256, AuthMethod.PLAIN, AuthMethod.LOGIN])
    async def test_a_wrong_password_is_told_of_and_not_tried_again_at_once(
        self, mail: MailSite, postfix: MailServer, method: AuthMethod
    ) -> None:
        mail.settings = replace(mail.settings, auth=method, password=lambda: Secret("wrong-Passw0rd"))
        clock = FakeClock()
        mail.filter = EmailFilter(mail.settings, clock)
        before = postfix.log.read_text().count("authentication failed")
        with pytest.raises(DeliveryError, match=r"refuses the account scan@example\.com: 535") as first:
            await mail.deliver(instructions(ALICE), mail.document())
        assert first.value.transient
        assert first.value.reason is FilterStateReason.UNABLE_TO_SEND_EMAIL
        assert first.value.retry_after == timedelta(minutes=1)
        assert "postscan secrets set email.password" in first.value.what_to_do
        assert "wrong-Passw0rd" not in str(first.value)
        with pytest.raises(DeliveryError, match="the same password waits"):
            await mail.deliver(instructions(ALICE), mail.document())
        assert postfix.log.read_text().count("authentication failed") == before + 1
        clock.advance(61)
        with pytest.raises(DeliveryError, match="535") as third:
            await mail.deliver(instructions(ALICE), mail.document())
        assert third.value.retry_after == timedelta(minutes=2)

    async def test_a_corrected_password_is_used_at_once(self, mail: MailSite, postfix: MailServer) -> None:
        right = mail.settings.password
        assert right is not None
        passwords = [Secret("wrong"), right()]
        mail.change(password=lambda: passwords.pop(0))
        with pytest.raises(DeliveryError, match="535"):
            await mail.deliver(instructions(ALICE), mail.document())
        await mail.deliver(instructions(ALICE), mail.document())
        postfix.wait_until_empty()
        assert len(postfix.arrived(ALICE)) == 1

    async def test_without_an_account_nobody_is_sent_to(self, mail: MailSite) -> None:
        mail.change(account="")
        with pytest.raises(DeliveryError, match=r"refuses every recipient: alice@example\.com: 554"):
            await mail.deliver(instructions(ALICE), mail.document())

    async def test_a_password_that_is_missing_is_told_of(self, mail: MailSite) -> None:
        def missing() -> Secret:
            raise ConfigurationError("the secret email.password is missing", advice="Enter it.")

        mail.change(password=missing)
        with pytest.raises(DeliveryError, match=r"email\.password is missing") as caught:
            await mail.deliver(instructions(ALICE), mail.document())
        assert caught.value.transient
        assert caught.value.what_to_do == "Enter it."


class TestTrust:
    async def test_an_authority_that_is_not_known_ends_it(
        self, mail: MailSite, postfix: MailServer, tmp_path: Path
    ) -> None:
        _, other = make_certificates(tmp_path / "other")
        for changes in ({}, {"security": Security.TLS, "port": postfix.tls_port}):
            mail.change(ca=other.ca, **changes)
            with pytest.raises(DeliveryError, match="cannot be trusted: its certificate") as caught:
                await mail.deliver(instructions(ALICE), mail.document())
            assert caught.value.reason is FilterStateReason.INVALID_SMTP_SERVER
            assert "nothing was sent" in str(caught.value)

    async def test_a_certificate_of_another_name_ends_it(self, mail: MailSite, postfix: MailServer) -> None:
        for changes in ({}, {"security": Security.TLS, "port": postfix.tls_port}):
            mail.change(server="127.0.0.1", **changes)
            with pytest.raises(DeliveryError, match="cannot be trusted: its certificate"):
                await mail.deliver(instructions(ALICE), mail.document())

    async def test_authorities_that_are_none_are_told_of(self, mail: MailSite, tmp_path: Path) -> None:
        for path in (tmp_path / "nothing.pem", tmp_path / "empty.pem"):
            mail.change(ca=path)
            with pytest.raises(DeliveryError, match="cannot be read") as caught:
                await mail.deliver(instructions(ALICE), mail.document())
            assert "`ca` of [email]" in caught.value.what_to_do
            (tmp_path / "empty.pem").touch()

    async def test_a_server_without_starttls_is_shown_nothing(
        self, tmp_path: Path, mail_authority: Authority
    ) -> None:
        async with OddMailServer(extensions=("AUTH PLAIN",)) as server:
            site = odd_site(tmp_path, server, mail_authority)
            with pytest.raises(DeliveryError, match="does not offer STARTTLS"):
                await site.deliver(instructions(ALICE), site.document())
            assert [command[:4] for command in server.commands] == ["EHLO"]

    async def test_a_server_that_refuses_starttls_is_shown_nothing(
        self, tmp_path: Path, mail_authority: Authority
    ) -> None:
        async with OddMailServer({"STARTTLS": "454 4.7.0 Not now"}) as server:
            site = odd_site(tmp_path, server, mail_authority)
            with pytest.raises(DeliveryError, match="454"):
                await site.deliver(instructions(ALICE), site.document())
            assert not any(command.startswith(("AUTH", "MAIL")) for command in server.commands)

    async def test_an_account_never_signs_in_without_tls(
        self, tmp_path: Path, mail_authority: Authority
    ) -> None:
        async with OddMailServer() as server:
            with pytest.raises(ConfigurationError, match="clear text"):
                odd_site(tmp_path, server, mail_authority, security=Security.NONE)

    async def test_an_account_signs_in_without_tls_where_it_is_called_insecure(
        self, tmp_path: Path, mail_authority: Authority
    ) -> None:
        async with OddMailServer() as server:
            site = odd_site(tmp_path, server, mail_authority, security=Security.NONE, insecure=True)
            await site.deliver(instructions(ALICE), site.document())
            assert any(command.startswith("AUTH PLAIN") for command in server.commands)
            assert server.breaches == []


class TestEntra:
    async def test_a_token_of_the_authority_is_what_signs_in(self, tmp_path: Path) -> None:
        async with visit(tmp_path) as at:
            tokens = EntraMailTokens(at.tokens)
            token = await tokens.token()
            assert at.stub.authority.tokens == {token.reveal(): EXCHANGE_ONLINE}
            assert await tokens.token() == token
            tokens.refused(token)
            assert await tokens.token() != token

    async def test_an_authority_that_is_away_is_told_of_and_asked_again(self, tmp_path: Path) -> None:
        async with visit(tmp_path) as at:
            tokens = EntraMailTokens(EntraTokens(at.app(authority="localhost:9"), context=at.tls))
            with pytest.raises(DeliveryError, match="no token to sign in") as caught:
                await tokens.token()
            assert caught.value.transient
            assert caught.value.reason is FilterStateReason.UNABLE_TO_SEND_EMAIL

    async def test_a_token_file_that_others_can_read_is_not_used(self) -> None:
        def refused() -> Secret:
            raise ConfigurationError("others can read token", advice="chmod 600 token")

        with pytest.raises(DeliveryError, match="others can read token") as caught:
            await FileTokens(refused).token()
        assert caught.value.what_to_do == "chmod 600 token"


class TestOddServer:
    async def test_xoauth2_shows_the_token(
        self, tmp_path: Path, mail_authority: Authority, odd_tls: ssl.SSLContext
    ) -> None:
        async with OddMailServer(tls=odd_tls) as server:
            site = odd_site(
                tmp_path,
                server,
                mail_authority,
                security=Security.TLS,
                auth=AuthMethod.XOAUTH2,
                tokens=FileTokens(lambda: Secret(TOKEN)),
            )
            await site.deliver(instructions(ALICE), site.document())
            said = next(command for command in server.commands if command.startswith("AUTH XOAUTH2 "))
            shown = base64.b64decode(said.split()[2]).decode()
            assert shown == f"user=scan@example.com\1auth=Bearer {TOKEN}\1\1"
            assert len(server.messages) == 1

    async def test_a_token_that_is_refused_is_renewed_once(
        self, tmp_path: Path, mail_authority: Authority, odd_tls: ssl.SSLContext
    ) -> None:
        answers = {
            "AUTH": ["334 eyJzdGF0dXMiOiI0MDEifQ=="],
            "LINE": ["535 5.7.3 Authentication unsuccessful"],
        }
        async with OddMailServer(answers, tls=odd_tls) as server:
            tokens = Tokens("old", "new")
            site = odd_site(
                tmp_path,
                server,
                mail_authority,
                security=Security.TLS,
                auth=AuthMethod.XOAUTH2,
                tokens=tokens,
            )
            await site.deliver(instructions(ALICE), site.document())
            assert tokens.refusals == ["old"]
            assert len(server.messages) == 1

    async def test_a_refused_token_is_not_repeated_in_the_error(
        self, tmp_path: Path, mail_authority: Authority, odd_tls: ssl.SSLContext
    ) -> None:
        async with OddMailServer({"AUTH": f"535 5.7.3 What is {TOKEN}?"}, tls=odd_tls) as server:
            site = odd_site(
                tmp_path,
                server,
                mail_authority,
                security=Security.TLS,
                auth=AuthMethod.XOAUTH2,
                tokens=Tokens(TOKEN),
            )
            with pytest.raises(DeliveryError, match=r"refuses the token of scan@example\.com: 535") as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert TOKEN not in str(caught.value)
            assert caught.value.transient

    async def test_a_password_that_the_server_repeats_is_not_told(
        self, tmp_path: Path, mail_authority: Authority, odd_tls: ssl.SSLContext
    ) -> None:
        plain = base64.b64encode(b"\0scan@example.com\0Mail-Passw0rd").decode()
        async with OddMailServer({"AUTH": f"535 5.7.8 No: {plain} Mail-Passw0rd"}, tls=odd_tls) as server:
            site = odd_site(tmp_path, server, mail_authority, security=Security.TLS, auth=AuthMethod.PLAIN)
            with pytest.raises(DeliveryError, match="535") as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert plain not in str(caught.value)
            assert "Mail-Passw0rd" not in str(caught.value)

    async def test_a_way_that_is_not_offered_is_told_of_with_those_that_are(
        self, tmp_path: Path, mail_authority: Authority, odd_tls: ssl.SSLContext
    ) -> None:
        async with OddMailServer(extensions=("AUTH GSSAPI CRAM-MD5",), tls=odd_tls) as server:
            site = odd_site(tmp_path, server, mail_authority, security=Security.TLS)
            with pytest.raises(DeliveryError, match="it offers CRAM-MD5, GSSAPI"):
                await site.deliver(instructions(ALICE), site.document())

    async def test_a_temporary_refusal_counts_against_nobody(
        self, tmp_path: Path, mail_authority: Authority, odd_tls: ssl.SSLContext
    ) -> None:
        async with OddMailServer({"AUTH": ["454 4.7.0 Temporary failure"]}, tls=odd_tls) as server:
            site = odd_site(tmp_path, server, mail_authority, security=Security.TLS)
            with pytest.raises(DeliveryError, match="454") as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert caught.value.retry_after is None
            await site.deliver(instructions(ALICE), site.document())
            assert len(server.messages) == 1

    async def test_a_server_that_does_not_prove_itself_by_scram_is_told_of(
        self, tmp_path: Path, mail_authority: Authority, odd_tls: ssl.SSLContext
    ) -> None:
        async with OddMailServer(extensions=("AUTH SCRAM-SHA-256",), tls=odd_tls) as server:
            site = odd_site(tmp_path, server, mail_authority, security=Security.TLS)
            with pytest.raises(DeliveryError, match="does not prove that it knows the password") as caught:
                await site.deliver(instructions(ALICE), site.document())
            assert caught.value.transient
