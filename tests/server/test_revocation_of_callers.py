"""A caller whose certificate was revoked: a readable fault and no job, over real TLS."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from postscan.cli.pki import KeyPair
from postscan.server.identity import TrustedDevices
from support.authorities import Authority
from support.clock import FakeClock
from support.scanning import Site, change, make_installation, running
from support.wire import Answer, create_request, jobs_of, wire


class Office:
    """A running server, the authority of its users, and the list it publishes in a file."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.list = folder / "list.crl"
        pki = site.made.pki
        key = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.authority = Authority(KeyPair(_read(pki / "ca.pem"), key))

    def publish(self, *revoked: str) -> None:
        """Put a list that names these users' certificates in the place of the last."""
        users = [_read(self.site.made.pki / "users" / f"{name}.pem") for name in revoked]
        new = self.list.with_suffix(".new")
        new.write_bytes(self.authority.crl(*users))
        os.replace(new, self.list)  # noqa: PTH105

    def allow(self, name: str) -> None:
        """Put a certificate's hash on the list of devices."""
        certificate = _read(self.site.made.pki / "users" / f"{name}.pem")
        digest = certificate.fingerprint(hashes.SHA256()).hex()
        assert self.site.server is not None
        assert self.site.server._reloader is not None
        parts = self.site.server._reloader._parts
        parts.authenticator.trust(TrustedDevices(certificates=frozenset({digest})))

    async def create(self, user: str) -> Answer:
        async with wire(self.site, user) as peer:
            return await peer.post(
                create_request(await self.site.process(), (await self.site.user(user)).sid)
            )


def _read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


class ClockOfToday(FakeClock):
    """A clock that tests move by hand, from now on: TLS looks at the machine's."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = datetime.now(UTC)


@asynccontextmanager
async def office(folder: Path, **overrides: Mapping[str, Any]) -> AsyncIterator[tuple[Office, FakeClock]]:
    """Run a server that looks into a list in a file, and takes nobody it can not find out about."""
    listed = {"policy": "hard", "crl_files": [str(folder / "list.crl")], "fetch": False}
    made = make_installation(folder / "site", revocation=listed, **overrides)
    Office(Site(made), folder).publish()
    clock = ClockOfToday()
    async with running(folder, made=made, clock=clock) as site:
        yield Office(site, folder), clock


async def test_a_revoked_certificate_gets_a_fault_that_says_so_and_no_job(tmp_path: Path) -> None:
    async with office(tmp_path) as (made, _):
        made.publish("alice")
        answer = await made.create("alice")
        assert (answer.status, answer.subcode) == (400, "FailedAuthentication")
        assert answer.detail == "The certificate was revoked."
        assert await jobs_of(made.site) == 0
        assert (await made.create("bob")).status == 200


async def test_a_certificate_revoked_amid_a_job_is_refused_within_a_minute(tmp_path: Path) -> None:
    async with office(tmp_path) as (made, clock), wire(made.site, "alice") as peer:
        token = await peer.create()
        made.publish("alice")
        clock.advance(61)
        answer = await peer.upload(token, b"\xff\xd8\xff\xe0")
        assert answer.detail == "The certificate was revoked."


async def test_nobody_can_be_asked_and_the_policy_is_hard(tmp_path: Path) -> None:
    async with office(tmp_path) as (made, _):
        made.list.write_bytes(Authority.root("Another").crl())
        answer = await made.create("alice")
        assert answer.subcode == "FailedAuthentication"
        assert answer.detail == "Whether the certificate was revoked cannot be found out at present."
        # Another policy takes effect without a restart.
        change(made.site.made.config, policy="off")
        assert made.site.server is not None
        assert (await made.site.server.reload()).applied == ("revocation.policy",)
        assert (await made.create("alice")).status == 200


@pytest.mark.parametrize("revoked", [True, False])
async def test_a_device_listed_by_its_hash_is_refused_when_its_authority_revoked_it(
    tmp_path: Path, revoked: bool
) -> None:
    async with office(tmp_path, server={"mode": "unauthenticated"}) as (made, _):
        made.allow("bob")
        made.publish(*(["bob"] if revoked else []))
        answer = await made.create("bob")
        assert answer.status == (400 if revoked else 200)
        assert not revoked or answer.detail == "The certificate was revoked."


async def test_a_device_listed_by_its_hash_is_taken_when_nobody_can_be_asked(tmp_path: Path) -> None:
    async with office(tmp_path, server={"mode": "unauthenticated"}) as (made, _):
        made.allow("bob")
        made.list.write_bytes(Authority.root("Another").crl())
        assert (await made.create("bob")).status == 200


async def test_a_certificate_that_belongs_to_nobody_makes_us_ask_nobody(tmp_path: Path) -> None:
    async with office(tmp_path) as (made, _):
        users = made.site.made.directory / "users.toml"
        blocks = users.read_text().split("[[user]]")
        users.write_text("[[user]]".join(block for block in blocks if 'name = "bob"' not in block))
        server = made.site.server
        assert server is not None
        assert server._revocation is not None
        asked: list[object] = []

        async def remember(chain: object) -> float:
            asked.append(chain)
            return 60.0

        server._revocation.check = remember  # type: ignore[method-assign]
        async with wire(made.site, "bob") as peer:
            await peer.post(create_request(await made.site.process(), "S-1-5-21-1-2-3-4"))
        assert asked == []
        assert (await made.create("alice")).status == 200
        assert len(asked) == 1
