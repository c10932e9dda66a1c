"""Tokens of Microsoft Entra ID, against the stub of an authority that verifies what it is shown."""

from __future__ import annotations

import asyncio
import gzip
import logging
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.entra.failures import TokenError, TokenTrouble
from postscan.filters.entra.tokens import EntraTokens
from postscan.filters.sharepoint.address import Origin
from postscan.filters.sharepoint.bearer import BearerAuth
from postscan.filters.sharepoint.library import LibraryError, Trouble
from support import issuing
from support.sharepoint_stub import TENANT, Fault
from support.sharepoint_visits import Visit, visit

ALICE = "alice@example.com"
GRAPH = "https://graph.example.com"
DISCOVERY = "openid-configuration"
TOKEN = "oauth2/v2.0/token"


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Visit]:
    async with visit(tmp_path) as visitor:
        yield visitor


class HandClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        """Return the wall-clock time."""
        return self.moment

    def monotonic(self) -> float:
        """Return the monotonic time."""
        return self.seconds


def asked_for_tokens(at: Visit) -> int:
    return sum(TOKEN in line for line in at.stub.lines("authority"))


class TestTokens:
    async def test_a_token_is_for_its_resource_and_is_kept(self, at: Visit) -> None:
        first = await at.tokens.token(GRAPH)
        assert await at.tokens.token(GRAPH) == first
        other = await at.tokens.token("https://sp.example.com")
        assert at.stub.authority.tokens == {first.reveal(): GRAPH, other.reveal(): "https://sp.example.com"}

    async def test_many_deliveries_that_begin_at_once_ask_once(self, at: Visit) -> None:
        found = await asyncio.gather(*(at.tokens.token(GRAPH) for _ in range(20)))
        assert len(set(found)) == 1
        assert asked_for_tokens(at) == 1

    async def test_a_token_is_renewed_before_it_ends(self, at: Visit) -> None:
        clock = HandClock()
        tokens = EntraTokens(at.app(), context=at.tls, clock=clock)
        first = await tokens.token(GRAPH)
        clock.seconds += 3600 - 301
        assert await tokens.token(GRAPH) == first
        clock.seconds += 2
        assert await tokens.token(GRAPH) != first

    async def test_a_token_that_is_refused_is_renewed_once(self, at: Visit) -> None:
        async with at.graph() as library:
            await library.ensure_folder(ALICE)
            at.stub.authority.expire_all()
            await library.ensure_folder(ALICE)
        assert asked_for_tokens(at) == 2

    async def test_two_tokens_refused_are_enough(self, at: Visit) -> None:
        at.stub.fail_next("GET", "/v1.0/", 401, {}, times=50)
        async with at.graph() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        assert caught.value.trouble is Trouble.WRONG_CREDENTIALS
        assert asked_for_tokens(at) == 2

    async def test_a_token_another_delivery_renewed_is_not_thrown_away(self, at: Visit) -> None:
        old = await at.tokens.token(GRAPH)
        at.tokens.refused(GRAPH, old)
        new = await at.tokens.token(GRAPH)
        at.tokens.refused(GRAPH, old)
        assert await at.tokens.token(GRAPH) == new

    def test_tokens_do_not_travel_in_clear(self, at: Visit) -> None:
        with pytest.raises(ValueError, match="TLS"):
            BearerAuth(at.tokens, Origin("http", "sp.example.com", 80))


class TestRefusals:
    async def test_a_certificate_that_is_not_registered_is_said_in_words(self, at: Visit) -> None:
        other = issuing.self_signed(issuing.Wish("other", key=issuing.rsa_key()))
        at.stub.authority.certificate = other.certificate
        with pytest.raises(TokenError, match=r"not registered with the app \(AADSTS700027\)") as caught:
            await at.tokens.token(GRAPH)
        assert caught.value.trouble is TokenTrouble.REFUSED
        assert "Upload the certificate" in caught.value.what_to_do
        # The stub repeats the signed assertion in what it says, which must not be repeated here.
        assert "eyJ" not in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"client_id": "00000000-0000-0000-0000-000000000000"}, "AADSTS700016"),
            ({"tenant": "99999999-9999-9999-9999-999999999999"}, "knows no tenant"),
        ],
        ids=["app", "tenant"],
    )
    async def test_an_unknown_app_or_tenant_is_said_in_words(
        self, at: Visit, changes: dict[str, object], words: str
    ) -> None:
        tokens = EntraTokens(at.app(**changes), context=at.tls)
        with pytest.raises(TokenError, match=words) as caught:
            await tokens.token(GRAPH)
        assert caught.value.trouble is TokenTrouble.REFUSED

    async def test_a_certificate_that_has_ended_is_not_even_shown(self, at: Visit) -> None:
        clock = HandClock()
        clock.moment += timedelta(days=400)
        tokens = EntraTokens(at.app(), context=at.tls, clock=clock)
        with pytest.raises(TokenError, match="ended on"):
            await tokens.token(GRAPH)
        assert at.stub.seen == []

    @pytest.mark.parametrize("part", [DISCOVERY, TOKEN])
    async def test_an_authority_that_is_busy_says_for_how_long(self, at: Visit, part: str) -> None:
        method = "GET" if part == DISCOVERY else "POST"
        at.stub.fail_next(method, part, 503, {}, headers={"Retry-After": "17"})
        with pytest.raises(TokenError) as caught:
            await at.tokens.token(GRAPH)
        assert caught.value.trouble is TokenTrouble.THROTTLED
        assert caught.value.retry_after == timedelta(seconds=17)
        assert await at.tokens.token(GRAPH)

    async def test_an_authority_that_is_away_may_come_back(self, at: Visit) -> None:
        tokens = EntraTokens(at.app(authority="localhost:9"), context=at.tls)
        with pytest.raises(
            TokenError, match="localhost:9, which gives the tokens, cannot be reached"
        ) as caught:
            await tokens.token(GRAPH)
        assert caught.value.trouble is TokenTrouble.AWAY

    async def test_an_authority_that_is_not_trusted_gets_nothing(self, at: Visit) -> None:
        tokens = EntraTokens(at.app())
        with pytest.raises(TokenError, match="not trusted") as caught:
            await tokens.token(GRAPH)
        assert caught.value.trouble is TokenTrouble.UNTRUSTED
        assert at.stub.seen == []

    @pytest.mark.parametrize("part", [DISCOVERY, TOKEN])
    @pytest.mark.parametrize(
        "body",
        ["[]", "<html>", '"text"', "[" * 100_000, "{}", '{"access_token": "a\\nb", "expires_in": 1}'],
        ids=["list", "html", "text", "deep", "empty", "two-lines"],
    )
    async def test_an_answer_that_is_none_of_an_authority_is_told(
        self, at: Visit, part: str, body: str
    ) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(text=body)

        at.stub.faults.append(Fault("GET" if part == DISCOVERY else "POST", part, answer))
        with pytest.raises(TokenError) as caught:
            await at.tokens.token(GRAPH)
        assert body[:20] not in str(caught.value) or body == "{}"

    async def test_an_answer_beyond_all_measure_is_not_read(self, at: Visit) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(10_000):
                try:
                    await response.write(b" " * 65_536)
                except ConnectionError:
                    break
            return response

        at.stub.faults.append(Fault("GET", DISCOVERY, answer))
        with pytest.raises(TokenError) as caught:
            await at.tokens.token(GRAPH)
        assert caught.value.trouble is TokenTrouble.UNREADABLE

    @pytest.mark.parametrize("part", [DISCOVERY, TOKEN])
    async def test_a_compressed_bomb_is_not_unpacked(self, at: Visit, part: str) -> None:
        bomb = gzip.compress(b" " * (200 << 20))

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

        at.stub.faults.append(Fault("GET" if part == DISCOVERY else "POST", part, answer))
        tracemalloc.start()
        with pytest.raises(TokenError) as caught:
            await at.tokens.token(GRAPH)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert caught.value.trouble is TokenTrouble.UNREADABLE
        assert peak < 40 << 20

    @pytest.mark.parametrize("lifetime", ["1e400", "NaN", "-1", '"x"', "null", "9" * 400, "true", "[]"])
    async def test_a_token_with_an_odd_lifetime_is_taken_or_told_of(self, at: Visit, lifetime: str) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(text=f'{{"access_token": "abc", "expires_in": {lifetime}}}')

        at.stub.faults.append(Fault("POST", TOKEN, answer))
        found = await asyncio.gather(at.tokens.token(GRAPH), return_exceptions=True)
        told = [one.trouble if isinstance(one, TokenError) else one for one in found]
        assert told in ([Secret("abc")], [TokenTrouble.UNREADABLE])

    async def test_many_who_wait_for_a_mute_authority_wait_once(self, at: Visit) -> None:
        asked = 0

        async def silence(_: web.Request) -> web.StreamResponse:
            nonlocal asked
            asked += 1
            await asyncio.Event().wait()
            raise AssertionError

        at.stub.faults += [Fault("GET", DISCOVERY, silence) for _ in range(20)]
        tokens = EntraTokens(at.app(), context=at.tls, seconds=0.5)
        ended = await asyncio.gather(*(tokens.token(GRAPH) for _ in range(20)), return_exceptions=True)
        assert {one.trouble for one in ended if isinstance(one, TokenError)} == {TokenTrouble.AWAY}
        assert asked == 1

    async def test_an_authority_that_says_nothing_is_not_waited_for(self, at: Visit) -> None:
        async def silence(_: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        at.stub.faults.append(Fault("GET", DISCOVERY, silence))
        tokens = EntraTokens(at.app(), context=at.tls, seconds=0.5)
        with pytest.raises(TokenError, match="does not answer in time") as caught:
            await tokens.token(GRAPH)
        assert caught.value.trouble is TokenTrouble.AWAY

    async def test_who_waits_for_a_token_can_be_canceled(self, at: Visit) -> None:
        reached = asyncio.Event()

        async def silence(_: web.Request) -> web.StreamResponse:
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError

        at.stub.faults.append(Fault("GET", DISCOVERY, silence))
        task = asyncio.create_task(at.tokens.token(GRAPH))
        await asyncio.wait_for(reached.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await at.tokens.token(GRAPH)


class TestApp:
    @pytest.mark.parametrize("tenant", ["", "common", "Organizations", "a/b", "x y", "é"])
    def test_what_is_no_tenant_is_refused(self, at: Visit, tenant: str) -> None:
        with pytest.raises(ConfigurationError, match="is no tenant"):
            at.app(tenant=tenant)

    def test_a_key_of_another_certificate_is_refused(self, at: Visit) -> None:
        other = issuing.rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        with pytest.raises(ConfigurationError, match="do not belong together"):
            at.app(private_key=Secret(other))

    def test_a_key_that_is_not_rsa_is_refused(self, at: Visit) -> None:
        other = issuing.ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        with pytest.raises(ConfigurationError, match="no RSA key"):
            at.app(private_key=Secret(other))

    def test_what_is_no_certificate_or_key_is_refused(self, at: Visit) -> None:
        with pytest.raises(ConfigurationError, match="no PEM certificate"):
            at.app(certificate="x")
        with pytest.raises(ConfigurationError, match="cannot be read"):
            at.app(private_key=Secret("x"))

    async def test_a_key_may_be_encrypted(self, at: Visit) -> None:
        key = load_pem_private_key(at.stub.private_key.encode(), None)
        pem = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"geheim")
        ).decode()
        with pytest.raises(ConfigurationError, match="passphrase"):
            at.app(private_key=Secret(pem))
        with pytest.raises(ConfigurationError, match="passphrase"):
            at.app(private_key=Secret(pem), passphrase=Secret("falsch"))
        app = at.app(private_key=Secret(pem), passphrase=Secret("geheim"))
        assert await EntraTokens(app, context=at.tls).token(GRAPH)


class TestSilence:
    async def test_no_secret_is_logged_or_shown(
        self, at: Visit, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.DEBUG)
        token = await at.tokens.token(GRAPH)
        at.stub.authority.certificate = issuing.self_signed(
            issuing.Wish("x", key=issuing.rsa_key())
        ).certificate
        at.tokens.refused(GRAPH, token)
        with pytest.raises(TokenError) as caught:
            await at.tokens.token(GRAPH)
        output = capsys.readouterr()
        said = caplog.text + output.out + output.err + repr(at.tokens) + repr(at.app()) + repr(caught.value)
        key_line = at.stub.private_key.splitlines()[2]
        assertion = "client_assertion=eyJ"
        assert [secret for secret in (token.reveal(), key_line, assertion) if secret in said] == []

    async def test_a_server_that_repeats_the_token_is_not_quoted(self, at: Visit) -> None:
        async def repeat(request: web.Request) -> web.StreamResponse:
            text = f"refused {request.headers['Authorization']}"
            return web.json_response({"error": {"code": "accessDenied", "message": text}}, status=403)

        at.stub.faults.append(Fault("GET", "/v1.0/", repeat))
        async with at.graph() as library:
            with pytest.raises(LibraryError) as caught:
                await library.ensure_folder(ALICE)
        (token,) = at.stub.authority.tokens
        assert token[:12] not in str(caught.value)
        assert TENANT not in str(caught.value)
