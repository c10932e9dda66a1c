"""Authorities of client certificates that are named by a directory, and change while the server runs."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography import x509

from postscan.cli.directories import directory_of
from postscan.cli.filters import filters_of
from postscan.cli.settings import load_settings
from postscan.cli.wiring import server_settings
from postscan.core.errors import ConfigurationError
from postscan.directory.certificates import user_certificate_extensions
from postscan.dpws.http.certificates import AuthenticationFlaw, CertificateFlaw
from postscan.server.app import ScanServer
from support.issuing import Authority, Issued, Wish, root, self_signed
from support.scanning import Site, change, make_installation, running
from support.wire import create_request, jobs_of, probe, send_image, wire


@dataclass
class Named:
    """The authorities that a directory names now."""

    authorities: list[Authority] = field(default_factory=list)

    def __call__(self) -> Sequence[x509.Certificate]:
        return [one.certificate for one in self.authorities]


def server_of(site: Site) -> ScanServer:
    assert site.server is not None
    return site.server


async def alices(site: Site, authority: Authority) -> Issued:
    alice = await site.user()
    return authority.issue(
        Wish("alice", extensions=[(e, False) for e in user_certificate_extensions(alice.sid, alice.upn)])
    )


def showing(site: Site, shown: Issued, folder: Path) -> ssl.SSLContext:
    context = site.tls(user=None)
    context.load_cert_chain(shown.write(folder / "shown.pem"))
    return context


async def refusal(site: Site, context: ssl.SSLContext) -> str:
    """Create a job; return why that was refused, and nothing when it was not."""
    async with wire(site, tls=context) as peer:
        answer = await peer.post(create_request(await site.process(), (await site.user()).sid))
        return "" if answer.status == 200 else answer.detail


async def test_an_authority_is_trusted_from_when_it_is_named_until_it_is_not(tmp_path: Path) -> None:
    named, authority = Named(), root()
    async with running(tmp_path / "site", authorities=named) as site:
        context = showing(site, await alices(site, authority), tmp_path)
        assert await refusal(site, context) == CertificateFlaw.UNKNOWN_AUTHORITY.value
        named.authorities.append(authority)
        assert await server_of(site).renew_authorities()
        assert await refusal(site, context) == ""
        # The file's are trusted beside them.
        assert await refusal(site, site.tls()) == ""
        assert not await server_of(site).renew_authorities()
        named.authorities.clear()
        assert await server_of(site).renew_authorities()
        assert await refusal(site, context) == CertificateFlaw.UNKNOWN_AUTHORITY.value


async def test_the_same_authorities_in_another_order_are_no_news(tmp_path: Path) -> None:
    named = Named([root(), root()])
    async with running(tmp_path / "site", authorities=named) as site:
        named.authorities.reverse()
        assert not await server_of(site).renew_authorities()


async def test_no_connection_outlives_the_trust_it_was_made_in(tmp_path: Path) -> None:
    """Nor one that is amid a request: that ends as it began, and the connection with it."""
    named, authority = Named(), root()
    named.authorities.append(authority)
    async with running(tmp_path / "site", authorities=named) as site:
        context = showing(site, await alices(site, authority), tmp_path)
        async with wire(site, tls=context) as idle, wire(site, tls=context) as busy:
            assert await idle.works()
            token = await busy.create()
            body = send_image(token)
            whole = busy.head(f"Content-Length: {len(body)}", "Content-Type: application/soap+xml") + body
            await busy.say(whole[:-10])
            await busy_is_heard(site)
            named.authorities.clear()
            assert await server_of(site).renew_authorities()
            assert await idle.closed() == b""
            await busy.say(whole[-10:])
            answer = await busy.answer()
            assert answer.headers["connection"] == "close"
            assert await busy.closed() == b""


async def busy_is_heard(site: Site) -> None:
    """Let the server take in what was sent: it answers another meanwhile."""
    async with wire(site) as other:
        assert (await other.post(probe(), path="/ScanServer")).status == 200


async def test_named_authorities_alone_are_enough(tmp_path: Path) -> None:
    named, authority = Named(), root()
    named.authorities.append(authority)
    made = make_installation(tmp_path / "site")
    loaded = load_settings(made.config, {})
    told = server_settings(loaded.settings)
    assert told.tls is not None
    told = replace(told, tls=replace(told.tls, client_ca=None))
    server = ScanServer(told, directory_of(loaded), filters_of(loaded), authorities=named)
    await server.start()
    try:
        site = Site(made, server)
        assert await refusal(site, showing(site, await alices(site, authority), tmp_path)) == ""
        assert await refusal(site, site.tls()) == CertificateFlaw.UNKNOWN_AUTHORITY.value
    finally:
        await server.stop()


async def test_a_reload_asks_for_the_authorities_too(tmp_path: Path) -> None:
    named, authority = Named(), root()
    async with running(tmp_path / "site", authorities=named) as site:
        named.authorities.append(authority)
        assert (await server_of(site).reload()).applied == ("authorities of the directory",)
        assert (await server_of(site).reload()).applied == ()
        assert await refusal(site, showing(site, await alices(site, authority), tmp_path)) == ""


async def test_files_that_are_unfit_meanwhile_change_nothing(tmp_path: Path) -> None:
    named, authority = Named(), root()
    async with running(tmp_path / "site", authorities=named) as site:
        own, context = site.tls(), showing(site, await alices(site, authority), tmp_path)
        named.authorities.append(authority)
        (site.made.pki / "ca.pem").write_text("no certificate")
        with pytest.raises(ConfigurationError):
            await server_of(site).renew_authorities()
        assert await refusal(site, own) == ""
        assert await refusal(site, context) == CertificateFlaw.UNKNOWN_AUTHORITY.value


async def test_a_certificate_that_is_listed_while_the_server_runs_is_asked_for(tmp_path: Path) -> None:
    """With no authority to trust at all, certificates are asked for once one is listed."""
    made = make_installation(tmp_path / "site", server={"mode": "unauthenticated"})
    change(made.config, client_ca="")
    device = self_signed(Wish("device"))
    async with running(tmp_path, made=made) as site:
        context = showing(site, device, tmp_path)
        assert await refusal(site, context) == AuthenticationFlaw.DEVICE_NOT_LISTED.value
        change(made.config, allow=[device.sha256])
        assert (await server_of(site).reload()).applied == ("devices.allow",)
        assert await refusal(site, context) == ""
        change(made.config, allow=[])
        assert (await server_of(site).reload()).applied == ("devices.allow",)
        assert await refusal(site, context) == AuthenticationFlaw.DEVICE_NOT_LISTED.value
        assert await jobs_of(site) == 1
