"""Logging on at a real Apache: by Basic, NTLM and Kerberos, rightly and wrongly."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from postscan.contracts.keywords import FilterStateReason
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.contract import DeliveryError
from postscan.filters.sharepoint.address import Origin, parse_origin
from postscan.filters.sharepoint.auth import BasicAuth, KerberosAuth, NtlmAuth
from postscan.filters.sharepoint.connection import HttpSite
from postscan.filters.sharepoint.refused_password import RefusedPassword
from support.clock import FakeClock
from support.delivery import MemoryLedger
from support.domain import Domain
from support.libraries import LibrarySite, basic, nobody, ntlm, site_of
from testdomain.facts import ADDRESS, SCAN_SERVER, SERVICE
from testservers.webserver import (
    ACCOUNT,
    LIBRARY,
    NTLM_DOMAIN,
    PASSWORD,
    Logon,
    WebServer,
    missing,
    web_server,
)

WRONG = "Wr0ng-Passw0rd-canary"
NAME = "alice@example.com/Invoice_2026-11-21_143005_alice_001.tif"
PRINCIPAL = "svc-scan@DSM.TEST"


@pytest.fixture
def spoken(web: WebServer, web_pki: Path, spool: Path) -> Callable[..., LibrarySite]:
    """Return what makes the site at a port, with a way of logging on."""

    def make(logon: Logon, auth: Callable[[Origin], object]) -> LibrarySite:
        return site_of(web, web_pki / "ca.pem", spool, logon, auth)  # type: ignore[arg-type] # any HttpAuth

    return make


async def logged(web: WebServer, number: int) -> list[tuple[str, str, int, int, str]]:
    """Return the requests once there are so many in the log, which is written after an answer."""
    while len(asked := [one for one in web.requests() if one[1] != "/ready"]) < number:
        await asyncio.sleep(0.01)
    assert len(asked) == number
    return asked


@pytest.mark.parametrize(("logon", "auth"), [(Logon.BASIC, basic), (Logon.NTLM, ntlm)], ids=["basic", "ntlm"])
async def test_the_right_password_is_taken(
    web: WebServer, spoken: Callable[..., LibrarySite], logon: Logon, auth: Callable[[Origin], object]
) -> None:
    site = spoken(logon, auth)

    await site.deliver(site.document(1), site.document(2))

    assert len(web.stored()) == 2
    puts = [who for method, _, _, _, who in web.requests() if method == "PUT"]
    assert [who.endswith(ACCOUNT) for who in puts] == [True, True]


@pytest.mark.parametrize(
    ("logon", "auth"),
    [
        (Logon.BASIC, lambda origin: BasicAuth(origin, ACCOUNT, Secret(WRONG))),
        (Logon.NTLM, lambda origin: NtlmAuth(origin, f"{NTLM_DOMAIN}\\{ACCOUNT}", Secret(WRONG))),
        (Logon.NTLM, lambda origin: NtlmAuth(origin, f"{NTLM_DOMAIN}\\nobody", Secret(WRONG))),
    ],
    ids=["basic", "ntlm", "ntlm, nobody's account"],
)
async def test_a_wrong_password_is_told_at_once_and_tried_once(
    web: WebServer,
    spoken: Callable[..., LibrarySite],
    caplog: pytest.LogCaptureFixture,
    logon: Logon,
    auth: Callable[[Origin], object],
) -> None:
    caplog.set_level(logging.DEBUG)
    site = spoken(logon, auth)

    with pytest.raises(DeliveryError, match="or its password is wrong") as refused:
        await site.deliver(site.document(1, b"x" * 5_000_000))

    assert refused.value.reason is FilterStateReason.SHAREPOINT_ACCESS_DENIED
    assert not refused.value.transient
    assert "wrong passwords lock accounts" in refused.value.what_to_do
    asked = await logged(web, 1 if logon is Logon.BASIC else 3)
    assert {method for method, *_ in asked} == {"PROPFIND"}
    assert max(octets for _, _, _, octets, _ in asked) < 10_000
    assert WRONG not in f"{refused.value!r} {refused.value.__cause__!r} {caplog.text}"


@pytest.mark.parametrize(
    ("logon", "auth", "offered"),
    [(Logon.BASIC, ntlm, "basic"), (Logon.NTLM, basic, "negotiate, ntlm")],
    ids=["ntlm at basic", "basic at ntlm"],
)
async def test_a_way_that_the_server_does_not_offer_is_told(
    spoken: Callable[..., LibrarySite], logon: Logon, auth: Callable[[Origin], object], offered: str
) -> None:
    site = spoken(logon, auth)

    with pytest.raises(DeliveryError, match=f"it offers: {offered}") as refused:
        await site.deliver(site.document())

    assert not refused.value.transient
    assert "Set `auth` of this site" in refused.value.what_to_do


async def test_a_password_that_was_refused_is_not_tried_again_by_the_next_job(
    web: WebServer, spoken: Callable[..., LibrarySite]
) -> None:
    clock, password = FakeClock(), [WRONG]
    refused = RefusedPassword(clock)
    site = spoken(Logon.BASIC, lambda origin: BasicAuth(origin, ACCOUNT, Secret(password[0]), refused))

    async def refusal() -> str:
        with pytest.raises(DeliveryError, match="or its password is wrong") as failed:
            await site.deliver(site.document())
        return str(failed.value)

    assert "refused before" not in await refusal()
    assert "is not tried again for 10 min" in await refusal()
    await logged(web, 1)
    with pytest.raises(DeliveryError) as waits:
        await site.deliver(site.document())
    assert waits.value.transient
    assert waits.value.retry_after == timedelta(seconds=600)
    clock.advance(601)
    assert "refused before" not in await refusal()
    await logged(web, 2)
    password[0] = PASSWORD
    await site.deliver(site.document())
    assert list(web.stored()) == [NAME]


@pytest.mark.parametrize(("logon", "requests"), [(Logon.BASIC, 1), (Logon.NTLM, 3)], ids=["basic", "ntlm"])
async def test_a_wrong_password_is_tried_once_however_many_jobs_begin_at_once(
    web: WebServer, spoken: Callable[..., LibrarySite], logon: Logon, requests: int
) -> None:
    refused = RefusedPassword()
    way = BasicAuth if logon is Logon.BASIC else NtlmAuth
    account = ACCOUNT if logon is Logon.BASIC else f"{NTLM_DOMAIN}\\{ACCOUNT}"
    site = spoken(logon, lambda origin: way(origin, account, Secret(WRONG), refused))
    document = site.document()

    ended = await asyncio.gather(
        *(site.deliver(document, ledger=MemoryLedger()) for _ in range(50)), return_exceptions=True
    )

    await logged(web, requests)
    assert [one.transient for one in ended if isinstance(one, DeliveryError)] == [False] + [True] * 49


async def test_whoever_does_not_log_on_is_refused(spoken: Callable[..., LibrarySite]) -> None:
    site = spoken(Logon.BASIC, nobody)

    with pytest.raises(DeliveryError, match="does not take the credentials"):
        await site.deliver(site.document())


async def test_a_password_with_any_letters_is_sent_as_utf_8(web: WebServer, web_pki: Path) -> None:
    auth = BasicAuth(parse_origin("https://sp.example.com"), "jürgen", Secret("pä: 密"))

    assert await auth.headers() == {"Authorization": "Basic asO8cmdlbjpww6Q6IOWvhg=="}


def test_basic_needs_tls() -> None:
    with pytest.raises(ConfigurationError, match="no TLS"):
        BasicAuth(parse_origin("http://sp.example.com"), "alice", Secret("x"))


def test_an_account_with_a_colon_cannot_log_on_by_basic() -> None:
    with pytest.raises(ConfigurationError, match="colon"):
        BasicAuth(parse_origin("https://sp.example.com"), "a:b", Secret("x"))


def test_credentials_of_one_origin_are_refused_for_another() -> None:
    auth = basic(parse_origin("https://sp.example.com"))

    with pytest.raises(ValueError, match="no other"):
        HttpSite(parse_origin("https://sp.example.com:8443"), auth)


async def test_a_connection_that_the_server_closed_is_proven_anew(
    web: WebServer, spoken: Callable[..., LibrarySite]
) -> None:
    here = spoken(Logon.NTLM, ntlm).connection(LIBRARY.replace(" ", "%20"))
    try:
        assert (await here.request("PROPFIND", "/sites/team/", headers={"Depth": "0"})).status == 207
        web.stop()
        web.start()
        assert (await here.request("PROPFIND", "/sites/team/", headers={"Depth": "0"})).status == 207
    finally:
        await here.close()


async def test_a_server_with_another_certificate_gets_no_password(
    web: WebServer, library: LibrarySite, tmp_path: Path
) -> None:
    here = HttpSite(
        parse_origin(library.origin), basic(parse_origin(library.origin)), tls=ssl.create_default_context()
    )
    try:
        with pytest.raises(Exception, match="comes from an authority that is not trusted here"):
            await here.request("GET", "/")
    finally:
        await here.close()
    assert [path for _, path, *_ in web.requests() if path != "/ready"] == []


async def test_a_server_of_another_name_gets_no_password(web: WebServer, library: LibrarySite) -> None:
    library.origin = f"https://127.0.0.2:{web.port(Logon.BASIC)}"

    with pytest.raises(DeliveryError) as refused:
        await library.deliver(library.document())

    assert "Connection refused" in str(refused.value) or "for another" in str(refused.value)


@pytest.fixture
def kerberos_web(domain: Domain, tmp_path: Path) -> Iterator[WebServer]:
    """Run a web server of the domain in its namespace; only there are its names and its address."""
    if lacking := missing():
        pytest.skip(f"no web server: {lacking}")
    certificate = domain.folder.server_certificate
    with web_server(
        certificate=certificate,
        key=certificate.with_suffix(".key"),
        host=SCAN_SERVER,
        address=ADDRESS,
        keytab=domain.folder.computer_keytab,
        krb5_conf=domain.krb5_conf,
    ) as server:
        yield server


def kerberos_site(
    server: WebServer,
    domain: Domain,
    spool: Path,
    auth: Callable[[Origin], KerberosAuth],
    logon: Logon = Logon.KERBEROS,
) -> LibrarySite:
    return LibrarySite(server.origin(logon), domain.ca, spool, auth)


def by_password(origin: Origin) -> KerberosAuth:
    return KerberosAuth(origin, PRINCIPAL, password=Secret(SERVICE.password))


@pytest.mark.parametrize(
    "logon", [Logon.KERBEROS, Logon.KERBEROS_ONCE], ids=["each request", "the connection"]
)
async def test_kerberos_by_password_is_taken(
    kerberos_web: WebServer, domain: Domain, spool: Path, logon: Logon
) -> None:
    site = kerberos_site(kerberos_web, domain, spool, by_password, logon)

    await site.deliver(site.document(1, b"x" * 3_000_000), site.document(2))

    assert len(kerberos_web.stored()) == 2
    puts = [(status, who) for method, _, status, _, who in kerberos_web.requests() if method == "PUT"]
    assert puts == [(201, PRINCIPAL)] * 2


async def test_kerberos_by_keytab_is_taken(kerberos_web: WebServer, domain: Domain, spool: Path) -> None:
    keytab = domain.folder.service_keytab
    site = kerberos_site(
        kerberos_web, domain, spool, lambda origin: KerberosAuth(origin, PRINCIPAL, keytab=keytab)
    )

    await site.deliver(site.document())

    assert list(kerberos_web.stored()) == [NAME]


async def test_kerberos_by_the_tickets_of_the_process_is_taken(
    kerberos_web: WebServer, domain: Domain, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/tickets")
    got = domain.run(["kinit", "-kt", domain.folder.service_keytab, PRINCIPAL], env=os.environ)
    assert got.returncode == 0, got.stderr
    site = kerberos_site(kerberos_web, domain, spool, lambda origin: KerberosAuth(origin, ""))

    await site.deliver(site.document())

    assert list(kerberos_web.stored()) == [NAME]


async def test_a_wrong_kerberos_password_is_told_and_the_server_is_not_asked(
    kerberos_web: WebServer, domain: Domain, spool: Path
) -> None:
    site = kerberos_site(
        kerberos_web, domain, spool, lambda origin: KerberosAuth(origin, PRINCIPAL, password=Secret(WRONG))
    )

    with pytest.raises(DeliveryError, match="the account or its password is wrong") as refused:
        await site.deliver(site.document())

    assert refused.value.reason is FilterStateReason.SHAREPOINT_ACCESS_DENIED
    assert not refused.value.transient
    assert WRONG not in f"{refused.value!r} {refused.value.__cause__!r}"


async def test_a_domain_that_is_away_is_waited_for(
    kerberos_web: WebServer, domain: Domain, spool: Path
) -> None:
    domain.stop()
    site = kerberos_site(kerberos_web, domain, spool, by_password)

    with pytest.raises(DeliveryError, match="no key distribution centre") as away:
        await site.deliver(site.document())

    assert away.value.transient


async def test_a_server_that_the_domain_does_not_know_is_told(
    kerberos_web: WebServer, domain: Domain, spool: Path
) -> None:
    site = kerberos_site(kerberos_web, domain, spool, by_password)
    site.origin = site.origin.replace(SCAN_SERVER, ADDRESS)

    with pytest.raises(DeliveryError, match=f"it needs the service principal HTTP/{ADDRESS}") as refused:
        await site.deliver(site.document())

    assert not refused.value.transient
