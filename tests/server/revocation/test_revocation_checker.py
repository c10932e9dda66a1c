"""Whether chains still stand, asked of real HTTP servers, by every policy."""

import asyncio
import math
import os
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.x509 import ocsp
from structlog.testing import capture_logs

from postscan.cli.pki import KeyPair
from postscan.core.errors import ConfigurationError
from postscan.directory.model import DirectoryError
from postscan.dpws.http.certificates import CertificateFlaw
from postscan.server.revocation import files, sources
from postscan.server.revocation.checker import RevocationChecker
from postscan.server.revocation.fetching import Fetcher
from postscan.server.revocation.files import read_file
from postscan.server.revocation.model import (
    CertificateRevoked,
    LdapLists,
    OcspUse,
    Policy,
    RevocationSettings,
    RevocationUnknown,
    SourceFailed,
)
from support.authorities import (
    DAY,
    PEM,
    Authority,
    Handler,
    WebServer,
    distribution_points,
    responders,
    silence,
)
from support.clock import FakeClock

HOUR = timedelta(hours=1)
LDAP = "ldap:///CN=Issuing%20CA,CN=CDP,CN=Services?certificateRevocationList?base?objectClass=cRLDistributionPoint"


class World:
    """A root, an issuing authority below it, a web server for both, and checkers on a clock."""

    def __init__(self, server: WebServer) -> None:
        self.clock = FakeClock()
        self.server = server
        self.root = Authority.root("Root", self.clock.now())
        self.issuer = self.root.authority("Issuing CA", distribution_points(server.url("/root.crl")))
        self.lists()
        self.outcomes: list[str] = []
        self._checkers: list[RevocationChecker] = []

    def lists(self, *revoked: x509.Certificate, **more: object) -> None:
        """Publish both authorities' lists."""
        self.root.now = self.issuer.now = self.clock.now()
        self.server.answers["/root.crl"] = self.root.crl(*revoked)
        self.server.answers["/a.crl"] = self.issuer.crl(*revoked, **more)  # type: ignore[arg-type]

    def user(self, *extensions: x509.ExtensionType, listed: str = "/a.crl") -> KeyPair:
        points = () if not listed else (distribution_points(self.server.url(listed)),)
        return self.issuer.issue("alice", *points, *extensions)

    def chain(self, one: KeyPair) -> list[x509.Certificate]:
        return [one.certificate, self.issuer.certificate, self.root.certificate]

    def checker(self, ldap: LdapLists | None = None, **more: object) -> RevocationChecker:
        settings = RevocationSettings(**{"policy": Policy.HARD, "allow_loopback": True, **more})  # type: ignore[arg-type]
        made = RevocationChecker(settings, self.clock, ldap_lists=ldap, observe=self.outcomes.append)
        self._checkers.append(made)
        return made

    def responder(self, one: KeyPair, status: ocsp.OCSPCertStatus, **more: object) -> Handler:
        """Return what answers OCSP requests about a certificate."""

        async def answer(request: web.Request) -> web.Response:
            assert request.content_type == "application/ocsp-request"
            octets = self.issuer.answer(
                await request.read(),
                status,
                certificate=one.certificate,
                **more,  # type: ignore[arg-type]
            )
            return web.Response(body=octets, content_type="application/ocsp-response")

        return answer

    async def close(self) -> None:
        for one in self._checkers:
            await one.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with WebServer() as server:
        made = World(server)
        yield made
        await made.close()


# Lists over HTTP -------------------------------------------------------------------------------------------


async def test_a_chain_of_which_nobody_was_revoked_is_good_as_long_as_its_lists(world: World) -> None:
    world.lists(ends=world.clock.now() + HOUR / 2)
    assert await world.checker().check(world.chain(world.user())) == pytest.approx(1800, abs=1)
    assert (sorted(world.server.asked), world.outcomes) == (["/a.crl", "/root.crl"], ["good"])


@pytest.mark.parametrize("policy", [Policy.SOFT, Policy.HARD])
async def test_a_revoked_certificate_is_refused(world: World, policy: Policy) -> None:
    alice = world.user()
    world.lists(alice.certificate)
    with pytest.raises(CertificateRevoked, match="keyCompromise") as refused:
        await world.checker(policy=policy).check(world.chain(alice))
    assert (refused.value.flaw, refused.value.detail) == (
        CertificateFlaw.REVOKED,
        "The certificate was revoked.",
    )
    assert world.outcomes == ["revoked"]


async def test_a_revoked_authority_takes_its_users_with_it(world: World) -> None:
    alice = world.user()
    world.lists(world.issuer.certificate)
    with pytest.raises(CertificateRevoked, match="the authority's certificate"):
        await world.checker().check(world.chain(alice))


async def test_what_is_trusted_itself_is_not_asked_about(world: World) -> None:
    assert await world.checker().check([world.root.certificate]) == math.inf
    assert await world.checker().check([]) == math.inf
    assert world.server.asked == []


async def test_without_a_policy_nobody_is_asked(world: World) -> None:
    alice = world.user()
    world.lists(alice.certificate)
    assert await world.checker(policy=Policy.OFF).check(world.chain(alice)) == math.inf
    assert world.server.asked == []


def wrong_answers(world: World, alice: KeyPair) -> dict[str, Handler | bytes]:
    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound(world.server.url("/elsewhere.crl"))

    async def compressed(_: web.Request) -> web.Response:
        return web.Response(body=world.issuer.crl(), headers={"Content-Encoding": "gzip"})

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(bytes(65_536))
        except ConnectionError:
            return answer

    async def torn(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"0")
        assert request.transport is not None
        request.transport.abort()
        return answer

    world.server.answers["/elsewhere.crl"] = world.issuer.crl()
    stale = {"begins": world.clock.now() - 3 * DAY, "ends": world.clock.now() - DAY}
    return {
        "ended": world.issuer.crl(**stale),
        "of another key": Authority.root("Issuing CA", world.clock.now()).crl(),
        "garbage": b"<html>not found</html>",
        "nothing": b"",
        "redirect": redirect,
        "compressed": compressed,
        "endless": endless,
        "torn": torn,
        "silent": silence,
    }


WRONG = [
    "ended",
    "of another key",
    "garbage",
    "nothing",
    "redirect",
    "compressed",
    "endless",
    "torn",
    "silent",
]


@pytest.mark.parametrize("kind", WRONG)
async def test_a_list_that_does_not_come_or_does_not_count_leaves_it_to_the_policy(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_LIST_BYTES", 1_000_000)
    alice = world.user()
    world.server.answers["/a.crl"] = wrong_answers(world, alice)[kind]
    waiting = 0.5 if kind == "silent" else 20.0
    with pytest.raises(RevocationUnknown) as refused:
        await world.checker(timeout_seconds=waiting).check(world.chain(alice))
    assert refused.value.detail == "Whether the certificate was revoked cannot be found out at present."
    with capture_logs() as lines:
        seconds = await world.checker(policy=Policy.SOFT, timeout_seconds=waiting).check(world.chain(alice))
    assert seconds == 60
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert warning["event"] == "taken although it may have been revoked"
    assert warning["certificate"] == world.chain(alice)[0].fingerprint(sources._SHA256).hex()
    assert world.outcomes == ["unknown", "unknown"]
    assert "/elsewhere.crl" not in world.server.asked


async def test_a_certificate_that_names_no_place_is_left_to_the_policy(world: World) -> None:
    nameless = world.user(listed="")
    with pytest.raises(RevocationUnknown, match="names no list"):
        await world.checker().check(world.chain(nameless))
    assert await world.checker(policy=Policy.SOFT).check(world.chain(nameless)) == 60


async def test_the_next_place_is_asked_when_one_does_not_help(world: World) -> None:
    url = world.server.url
    alice = world.issuer.issue("alice", distribution_points(url("/missing"), "ftp://x/", LDAP, url("/a.crl")))
    assert await world.checker().check(world.chain(alice)) > 60


async def test_a_flood_of_warnings_does_not_flood_the_log(world: World) -> None:
    checker = world.checker(policy=Policy.SOFT, fetch=False)
    chain = world.chain(world.user())
    with capture_logs() as lines:
        for _ in range(100):
            await checker.check(chain)
    # The certificate and its authority, three times each.
    assert len(lines) == 6
    world.clock.advance(60)
    with capture_logs() as lines:
        await checker.check(chain)
    assert lines[0]["suppressed"] > 0


# What is kept ----------------------------------------------------------------------------------------------


async def test_a_list_is_fetched_once_for_all_who_ask(world: World) -> None:
    checker = world.checker()
    users = [world.user() for _ in range(20)]
    await asyncio.gather(*(checker.check(world.chain(one)) for one in users))
    assert sorted(world.server.asked) == ["/a.crl", "/root.crl"]


async def test_a_revocation_is_heard_of_when_the_kept_list_is_old(world: World) -> None:
    alice = world.user()
    checker = world.checker(cache_seconds=600.0)
    await checker.check(world.chain(alice))
    world.lists(alice.certificate)
    world.clock.advance(300)
    await checker.check(world.chain(alice))
    world.clock.advance(301)
    with pytest.raises(CertificateRevoked):
        await checker.check(world.chain(alice))


async def test_a_list_is_renewed_in_the_background_before_it_is_old(world: World) -> None:
    alice = world.user()
    checker = world.checker(cache_seconds=600.0)
    await checker.check(world.chain(alice))
    world.lists(alice.certificate)
    world.clock.advance(500)
    # Nobody waits for the new one, which is asked for now.
    await checker.check(world.chain(alice))
    await asyncio.wait(set(checker._network._lists._tasks))
    with pytest.raises(CertificateRevoked):
        await checker.check(world.chain(alice))


async def test_a_kept_list_serves_while_its_server_is_away_until_it_ends(world: World) -> None:
    alice = world.user()
    checker = world.checker(cache_seconds=600.0)
    world.lists(ends=world.clock.now() + 2 * HOUR)
    await checker.check(world.chain(alice))
    world.server.answers.pop("/a.crl")
    world.clock.advance(3_600)
    assert await checker.check(world.chain(alice)) == pytest.approx(3_600, abs=1)
    world.clock.advance(3_601)
    with pytest.raises(RevocationUnknown, match="it ended on"):
        await checker.check(world.chain(alice))


async def test_what_was_revoked_stays_so_when_its_list_ends_and_no_other_comes(world: World) -> None:
    alice = world.user()
    world.lists(alice.certificate)
    checker = world.checker(policy=Policy.SOFT)
    with pytest.raises(CertificateRevoked):
        await checker.check(world.chain(alice))
    world.server.answers.clear()
    world.clock.advance(10 * 86_400)
    with pytest.raises(CertificateRevoked):
        await checker.check(world.chain(alice))


async def test_a_server_that_failed_is_left_alone_for_a_minute(world: World) -> None:
    alice = world.user()
    world.server.answers.pop("/a.crl")
    checker = world.checker(policy=Policy.SOFT)
    for _ in range(5):
        await checker.check(world.chain(alice))
    assert world.server.asked.count("/a.crl") == 1
    world.lists()
    world.clock.advance(61)
    assert await checker.check(world.chain(alice)) > 60


async def test_what_is_kept_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MAX_KEPT_LISTS", 4)
    checker = world.checker(policy=Policy.SOFT)
    for number in range(20):
        world.server.answers[f"/{number}.crl"] = world.issuer.crl()
        await checker.check(world.chain(world.user(listed=f"/{number}.crl")))
    assert len(checker._network._lists) <= 4


async def test_large_lists_do_not_fill_the_memory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MAX_KEPT_OCTETS", 3 * len(world.issuer.crl()))
    checker = world.checker()
    for number in range(20):
        world.server.answers[f"/{number}.crl"] = world.issuer.crl()
        await checker.check(world.chain(world.user(listed=f"/{number}.crl")))
    kept = checker._network._lists
    assert len(kept) <= 4


async def test_long_lists_are_read_and_searched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_LARGE", 10)
    alice = world.user()
    assert await world.checker().check(world.chain(alice)) > 60
    world.lists(alice.certificate)
    with pytest.raises(CertificateRevoked):
        await world.checker().check(world.chain(alice))


async def test_other_settings_take_effect_while_it_runs(world: World) -> None:
    checker = world.checker(fetch=False)
    chain = world.chain(world.user())
    with pytest.raises(RevocationUnknown):
        await checker.check(chain)
    await checker.change(RevocationSettings(Policy.HARD, allow_loopback=True))
    assert await checker.check(chain) > 60


# Delta lists -----------------------------------------------------------------------------------------------


async def test_the_delta_list_that_a_list_names_is_read_too(world: World) -> None:
    url = world.server.url("/delta.crl")
    newest = x509.FreshestCRL(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)]
    )
    alice = world.user()
    world.lists(extensions=[(newest, False)])
    assert await world.checker().check(world.chain(alice)) > 60
    assert "/delta.crl" in world.server.asked
    world.server.answers["/delta.crl"] = world.issuer.crl(
        alice.certificate, number=2, extensions=[(x509.DeltaCRLIndicator(1), True)]
    )
    with pytest.raises(CertificateRevoked):
        await world.checker().check(world.chain(alice))


async def test_a_delta_list_that_does_not_come_leaves_it_to_the_complete_one(world: World) -> None:
    url = world.server.url("/delta.crl")
    newest = x509.FreshestCRL(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)]
    )
    world.lists(extensions=[(newest, False)])
    world.server.answers["/delta.crl"] = silence
    # A large enough part of it is left for the complete list.
    assert await world.checker(timeout_seconds=8.0).check(world.chain(world.user())) > 60


async def test_a_forged_list_sends_us_nowhere(world: World) -> None:
    url = world.server.url("/canary")
    newest = x509.FreshestCRL(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)]
    )
    forged = Authority.root("Issuing CA", world.clock.now())
    world.server.answers["/a.crl"] = forged.crl(extensions=[(newest, False)])
    with pytest.raises(RevocationUnknown):
        await world.checker().check(world.chain(world.user()))
    assert "/canary" not in world.server.asked


# OCSP ------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(world: World) -> KeyPair:
    """Return a certificate that names a responder, and a list that is not there."""
    return world.user(responders(world.server.url("/ocsp")), listed="/missing.crl")


async def test_a_responder_says_good_or_revoked(world: World, asked: KeyPair) -> None:
    world.server.answers["/ocsp"] = world.responder(asked, ocsp.OCSPCertStatus.GOOD)
    checker = world.checker()
    for _ in range(3):
        assert await checker.check(world.chain(asked)) > 60
    assert world.server.asked.count("/ocsp") == 1
    assert "/missing.crl" not in world.server.asked
    world.server.answers["/ocsp"] = world.responder(asked, ocsp.OCSPCertStatus.REVOKED)
    with pytest.raises(CertificateRevoked):
        await world.checker().check(world.chain(asked))


async def test_an_answer_serves_until_it_ends_and_no_longer(world: World, asked: KeyPair) -> None:
    ends = world.clock.now() + 2 * HOUR
    world.server.answers["/ocsp"] = world.responder(asked, ocsp.OCSPCertStatus.GOOD, ends=ends)
    world.server.answers["/root.crl"] = world.root.crl(ends=world.clock.now() + DAY)
    checker = world.checker()
    await checker.check(world.chain(asked))
    world.server.answers.pop("/ocsp")
    world.clock.advance(5_400)
    assert await checker.check(world.chain(asked)) == pytest.approx(1_800, abs=1)
    world.clock.advance(1_801)
    with pytest.raises(RevocationUnknown, match="no newer answer came"):
        await checker.check(world.chain(asked))


async def test_a_delegated_responder_is_believed_and_a_strangers_is_not(world: World, asked: KeyPair) -> None:
    good = ocsp.OCSPCertStatus.GOOD
    delegated = world.issuer.responder()
    world.server.answers["/ocsp"] = world.responder(asked, good, signed_by=delegated)
    assert await world.checker().check(world.chain(asked)) > 60
    stranger = Authority.root("Issuing CA", world.clock.now()).responder()
    world.server.answers["/ocsp"] = world.responder(asked, good, signed_by=stranger)
    with pytest.raises(RevocationUnknown, match="not of the authority"):
        await world.checker().check(world.chain(asked))


async def test_a_responder_whose_own_certificate_was_revoked_is_not_believed(
    world: World, asked: KeyPair
) -> None:
    points = distribution_points(world.server.url("/a.crl"))
    delegated = world.issuer.responder(no_check=False, extensions=(points,))
    world.server.answers["/ocsp"] = world.responder(asked, ocsp.OCSPCertStatus.GOOD, signed_by=delegated)
    assert await world.checker().check(world.chain(asked)) > 60
    world.lists(delegated.certificate)
    with pytest.raises(RevocationUnknown, match="responder's certificate was revoked"):
        await world.checker().check(world.chain(asked))


@pytest.mark.parametrize("kind", WRONG)
async def test_lists_are_asked_when_a_responder_does_not_help(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = world.user(responders(world.server.url("/ocsp")))
    answers = wrong_answers(world, alice)
    old = world.clock.now() - 3 * DAY
    answers["ended"] = world.responder(alice, ocsp.OCSPCertStatus.GOOD, begins=old, ends=old + DAY)
    answers["of another key"] = world.responder(
        alice,
        ocsp.OCSPCertStatus.GOOD,
        signed_by=Authority.root("Issuing CA").pair,
    )
    world.server.answers["/ocsp"] = answers[kind]
    waiting = 1.0 if kind == "silent" else 20.0
    assert await world.checker(timeout_seconds=waiting).check(world.chain(alice)) > 60
    assert {"/ocsp", "/a.crl"} <= set(world.server.asked)


async def test_a_responder_that_does_not_know_is_asked_beside_the_lists(world: World) -> None:
    alice = world.user(responders(world.server.url("/ocsp")))
    world.server.answers["/ocsp"] = world.responder(alice, ocsp.OCSPCertStatus.UNKNOWN)
    world.lists(alice.certificate)
    with pytest.raises(CertificateRevoked):
        await world.checker().check(world.chain(alice))


@pytest.mark.parametrize(
    ("use", "called"),
    [(OcspUse.PREFER, "/ocsp"), (OcspUse.FALLBACK, "/a.crl"), (OcspUse.OFF, "/a.crl")],
)
async def test_the_settings_say_who_is_asked_first(world: World, use: OcspUse, called: str) -> None:
    alice = world.user(responders(world.server.url("/ocsp")))
    world.server.answers["/ocsp"] = world.responder(alice, ocsp.OCSPCertStatus.GOOD)
    await world.checker(ocsp=use).check(world.chain(alice))
    assert sorted(world.server.asked) == sorted([called, "/root.crl"])


async def test_responders_are_asked_last_where_the_settings_say_so(world: World, asked: KeyPair) -> None:
    world.server.answers["/ocsp"] = world.responder(asked, ocsp.OCSPCertStatus.GOOD)
    assert await world.checker(ocsp=OcspUse.FALLBACK).check(world.chain(asked)) > 60
    with pytest.raises(RevocationUnknown):
        await world.checker(ocsp=OcspUse.OFF).check(world.chain(asked))


async def test_a_responder_that_is_away_holds_up_only_the_first_who_asks(world: World) -> None:
    first, second = (world.user(responders(world.server.url("/ocsp"))) for _ in range(2))

    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500)

    world.server.answers["/ocsp"] = broken
    checker = world.checker()
    await checker.check(world.chain(first))
    await checker.check(world.chain(second))
    assert world.server.asked.count("/ocsp") == 1


# Files and the directory -----------------------------------------------------------------------------------


def put(path: Path, octets: bytes) -> None:
    """Replace a file, as somebody who fetches lists by night would."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(octets)
    os.replace(temporary, path)  # noqa: PTH105


async def test_a_list_in_a_file_is_enough_and_its_change_takes_effect(world: World, tmp_path: Path) -> None:
    alice, path = world.user(), tmp_path / "lists.pem"
    root = world.root.crl(encoding=PEM)
    put(path, root + world.issuer.crl(encoding=PEM))
    checker = world.checker(crl_files=(path,))
    assert await checker.check(world.chain(alice)) > 60
    put(path, root + world.issuer.crl(alice.certificate, encoding=PEM))
    with pytest.raises(CertificateRevoked):
        await checker.check(world.chain(alice))
    assert world.server.asked == []


@pytest.mark.parametrize("trouble", ["gone", "garbage"])
async def test_a_file_that_went_bad_serves_on_with_a_warning(
    world: World, tmp_path: Path, trouble: str
) -> None:
    alice, path = world.user(), tmp_path / "list.crl"
    put(path, world.issuer.crl(alice.certificate))
    checker = world.checker(crl_files=(path,))
    with pytest.raises(CertificateRevoked):
        await checker.check(world.chain(alice))
    if trouble == "gone":
        path.unlink()
    else:
        put(path, b"garbage")
    with capture_logs() as lines, pytest.raises(CertificateRevoked):
        await checker.check(world.chain(alice))
    assert [line["so"] for line in lines] == ["its last content is used on"]


async def test_without_the_network_only_files_are_looked_into(world: World, tmp_path: Path) -> None:
    path = tmp_path / "list.crl"
    put(path, world.issuer.crl())
    alice = world.user(responders(world.server.url("/ocsp")))
    with pytest.raises(RevocationUnknown):
        await world.checker(crl_files=(path,), fetch=False).check(world.chain(alice))
    assert world.server.asked == []


@pytest.mark.parametrize("content", [b"garbage", b"", b"-----BEGIN X509 CRL-----\nAAAA\n", None])
def test_a_file_that_is_no_list_is_told_with_its_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "list.crl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"list\.crl") as refused:
        read_file(path)
    assert "crl_files" in refused.value.what_to_do


def test_a_file_that_is_too_long_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LIST_BYTES", 100)
    (tmp_path / "list.crl").write_bytes(bytes(101))
    with pytest.raises(ConfigurationError, match="longer than 100"):
        read_file(tmp_path / "list.crl")


async def test_lists_in_the_directory_are_read_through_it(world: World) -> None:
    asked: list[str] = []
    alice = world.issuer.issue("alice", distribution_points(LDAP))
    revoked: list[x509.Certificate] = []

    async def read(address: str) -> Sequence[bytes]:
        asked.append(address)
        # Of an authority whose key was renewed there are several.
        return [Authority.root("Issuing CA", world.clock.now()).crl(), world.issuer.crl(*revoked)]

    assert await world.checker(read).check(world.chain(alice)) > 60
    assert asked == [LDAP]
    revoked.append(alice.certificate)
    with pytest.raises(CertificateRevoked):
        await world.checker(read).check(world.chain(alice))


async def test_an_address_of_another_forest_is_told_as_such(world: World) -> None:
    async def read(address: str) -> Sequence[bytes]:
        raise ValueError(f"{address} is not in this forest")

    chain = world.chain(world.issuer.issue("alice", distribution_points(LDAP)))
    with pytest.raises(RevocationUnknown, match="not in this forest"):
        await world.checker(read).check(chain)


async def test_a_directory_that_is_away_leaves_it_to_the_policy(world: World) -> None:
    async def read(_: str) -> Sequence[bytes]:
        raise DirectoryError("no controller answers")

    chain = world.chain(world.issuer.issue("alice", distribution_points(LDAP)))
    with pytest.raises(RevocationUnknown, match="no controller answers"):
        await world.checker(read).check(chain)
    assert await world.checker(read, policy=Policy.SOFT).check(chain) == 60


# Whom we may be made to call -------------------------------------------------------------------------------


async def refusal(url: str, *, limit: int = 10_000, allow_loopback: bool = False) -> str:
    """Return why an address is not fetched."""
    fetcher = Fetcher(allow_loopback=allow_loopback)
    try:
        with pytest.raises(SourceFailed) as refused:
            await fetcher.get(url, limit=limit, seconds=20.0)
    finally:
        await fetcher.close()
    return str(refused.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1/a.crl", "may not be called"),
        ("http://[::1]/a.crl", "may not be called"),
        ("http://[::ffff:127.0.0.1]/a.crl", "may not be called"),
        ("http://0.0.0.0/a.crl", "may not be called"),
        ("http://169.254.169.254/latest/meta-data/", "may not be called"),
        ("http://[fd00:ec2::254]/", "may not be called"),
        ("http://100.100.100.200/", "may not be called"),
        ("http://[fe80::1]/", "may not be called"),
        ("http://224.0.0.1/", "may not be called"),
        ("http://localhost/a.crl", "no address that may be called"),
        ("http://127.1/a.crl", "not a canonical IPv4 address"),
        ("http://2130706433/a.crl", "not a canonical IPv4 address"),
        ("http://user:secret@pki.example/", "no plain address"),
        ("http:///a.crl", "no plain address"),
        ("http://192.0.2.1/a\r\nX: y", "no plain address"),
        ("http://192.0.2.1/ü", "no plain address"),
        (f"http://192.0.2.1/{'a' * 3000}", "no plain address"),
        ("http://192.0.2.1:99999/", "no address"),
        ("http://192.0.2.1:25/", "port 25 is not that of a web server"),
        ("http://192.0.2.1:6379/", "port 6379 is not that of a web server"),
        ("ftp://192.0.2.1/", "neither http nor https"),
    ],
)
async def test_places_no_authority_has_any_business_with_are_not_called(url: str, why: str) -> None:
    assert why in await refusal(url)


async def test_a_name_of_this_very_machine_is_looked_through(world: World) -> None:
    for host in ("localhost", "127.1", "2130706433"):
        await refusal(f"http://{host}:{world.server.port}/a.crl")
    assert world.server.asked == []


async def test_no_more_is_read_than_a_list_may_have(world: World) -> None:
    async def long(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for _ in range(10):
            await answer.write(bytes(1_000))
        return answer

    world.server.answers["/chunks"] = long
    world.server.answers["/whole"] = bytes(10_000)
    for path in ("/chunks", "/whole"):
        why = await refusal(world.server.url(path), limit=9_999, allow_loopback=True)
        assert "more than 9,999 octets" in why


async def test_a_list_of_this_very_machine_is_not_fetched_unless_allowed(world: World) -> None:
    with pytest.raises(RevocationUnknown, match="may not be called"):
        await world.checker(allow_loopback=False).check(world.chain(world.user()))
    assert world.server.asked == []


async def test_who_was_closed_fetches_nothing_more(world: World) -> None:
    fetcher = Fetcher(allow_loopback=True)
    await fetcher.close()
    with pytest.raises(SourceFailed, match="any more"):
        await fetcher.get(world.server.url("/a.crl"), limit=10_000, seconds=20.0)
    assert world.server.asked == []


async def test_a_proxy_of_the_environment_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with WebServer() as proxy:
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, proxy.url("/"))
        fetcher = Fetcher(allow_loopback=True)
        try:
            await fetcher.get(world.server.url("/a.crl"), limit=10_000, seconds=20.0)
        finally:
            await fetcher.close()
        assert (proxy.asked, world.server.asked) == ([], ["/a.crl"])
