"""Who may ask WS-DSC, and what everybody else is told; events go to administrators alone."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from postscan.console.client import RepositoryClient
from postscan.contracts import dsc
from postscan.dpws.client import RemoteFault
from postscan.soap.names import DSC, WSE, qname
from support import wire
from support.scanning import Site, change, make_installation, running
from support.sinks import listening

REFUSED = qname(DSC, "ClientErrorCurrentUserNotScanAdmin")
SUBSCRIBE = (
    "<wse:Subscribe><wse:Delivery><wse:NotifyTo><wsa:Address>http://127.0.0.1:4242/</wsa:Address>"
    "</wse:NotifyTo></wse:Delivery></wse:Subscribe>"
)
MANAGED = '<wse:Identifier wsa:IsReferenceParameter="true">urn:uuid:x</wse:Identifier>'
OPERATIONS: dict[str, Callable[[RepositoryClient], Awaitable[Any]]] = {
    "GetRepositoryElements": lambda console: console.status(),
    "GetActiveJobs": lambda console: console.active_jobs(),
    "GetJobHistory": lambda console: console.history(),
    "GetPostScanJobElements": lambda console: console.job_status("t"),
    "CancelPostScanJob": lambda console: console.cancel("t"),
}


def fingerprint(site: Site, user: str) -> str:
    """Return the SHA-256 of a user's certificate."""
    pem = (site.made.pki / "users" / f"{user}.pem").read_text()
    end = "-----END CERTIFICATE-----"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index(end) + len(end)])).hexdigest()


async def refused(work: Awaitable[Any]) -> RemoteFault:
    with pytest.raises(RemoteFault) as caught:
        await work
    return caught.value


async def eventing(site: Site, name: str, user: str | None, body: str | None = None) -> wire.Answer:
    """Send a message of WS-Eventing to WS-DSC."""
    assert site.server is not None
    path = urlsplit(site.server.services["WS-DSC"]).path
    async with wire.wire(site, user) as peer:
        message = wire.envelope(f"{WSE}/{name}", body or f"<wse:{name}/>", headers=MANAGED)
        return await peer.post(message, path=path)


@pytest.mark.parametrize("user", ["alice", None])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_whoever_is_no_administrator_is_refused_every_operation(
    tmp_path: Path, operation: str, user: str | None
) -> None:
    async with running(tmp_path / "site") as site, site.console(user) as console:
        fault = await refused(OPERATIONS[operation](console))
    assert fault.soap.subcode == REFUSED
    assert "[administrators]" in fault.what_to_do


@pytest.mark.parametrize("mode", ["authenticated", "unauthenticated"])
async def test_whoever_is_no_administrator_manages_no_subscription(tmp_path: Path, mode: str) -> None:
    believed = {"allow": ["127.0.0.1"]}
    async with running(tmp_path / "site", server={"mode": mode}, devices=believed) as site:
        for user in ("alice", None):
            for name, body in (
                ("Subscribe", SUBSCRIBE),
                ("Renew", None),
                ("GetStatus", None),
                ("Unsubscribe", None),
            ):
                answer = await eventing(site, name, user, body)
                assert answer.fault.subcode == REFUSED, name


async def test_a_member_of_the_group_is_an_administrator_whatever_the_groups_spelling(tmp_path: Path) -> None:
    groups = {"groups": ["Nobody", "ACCOUNTING"]}
    async with running(tmp_path / "site", administrators=groups) as site:
        async with site.console("alice") as console:
            await console.status()
        async with site.console("bob") as console:
            assert (await refused(console.status())).soap.subcode == REFUSED


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ("Scan Adminiſtrators", "Scan Administrators"),
        ("Große Runde", "Grosse Runde"),
        ("s-1-5-21-1-2-3-512", "S-1-5-21-1-2-3-512"),
        ("s-1-5-21-1-2-3-512", "s-1-5-21-1-2-3-512"),
    ],
)
async def test_a_group_that_is_called_like_the_administrators_makes_none(
    tmp_path: Path, own: str, wanted: str
) -> None:
    made = make_installation(tmp_path / "site", administrators={"groups": [wanted]})
    people = made.directory / "users.toml"
    people.write_text(people.read_text().replace("Accounting", own).replace("Scan Administrators", "Others"))
    async with running(tmp_path, made=made) as site, site.console("alice") as console:
        assert (await refused(console.status())).soap.subcode == REFUSED


async def test_a_group_can_be_named_by_its_security_identifier(tmp_path: Path) -> None:
    made = make_installation(tmp_path / "site", administrators={"groups": ["s-1-5-21-1-2-3-1200"]})
    people = made.directory / "users.toml"
    group = '\n[[group]]\nname = "Office"\nsid = "S-1-5-21-1-2-3-1200"\nmembers = ["alice"]\n'
    people.write_text(people.read_text() + group)
    async with running(tmp_path, made=made) as site:
        async with site.console("alice") as console:
            await console.status()
        async with site.console("bob") as console:
            assert (await refused(console.status())).soap.subcode == REFUSED


@pytest.mark.parametrize("mode", ["authenticated", "unauthenticated"])
async def test_a_listed_certificate_makes_an_administrator_in_either_mode(tmp_path: Path, mode: str) -> None:
    made = make_installation(tmp_path / "site", server={"mode": mode})
    change(made.config, certificates=[fingerprint(Site(made), "bob")])
    async with running(tmp_path, made=made) as site:
        async with site.console("bob") as console, listening() as sink:
            await console.status()
            manager = (await console.subscribe(sink.endpoint(), timedelta(minutes=1))).manager
            await console.renew(manager, timedelta(minutes=2))
            await console.unsubscribe(manager)
        async with site.console("alice") as console:
            assert (await refused(console.status())).soap.subcode == REFUSED


async def test_in_unauthenticated_mode_no_group_counts(tmp_path: Path) -> None:
    mode = {"mode": "unauthenticated"}
    believed = {"allow": ["127.0.0.1"]}
    async with (
        running(tmp_path / "site", server=mode, devices=believed) as site,
        site.console("admin") as console,
    ):
        assert (await refused(console.status())).soap.subcode == REFUSED


async def test_an_account_that_leaves_the_group_may_do_nothing_more_at_once(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        await console.status()
        people = site.made.directory / "users.toml"
        people.write_text(people.read_text().replace("Scan Administrators", "Former Administrators"))
        async with asyncio.timeout(20):
            while True:
                try:
                    await console.status()
                except RemoteFault as fault:
                    told = fault.soap.subcode
                    break
                await asyncio.sleep(0.05)
    assert told == REFUSED


async def test_an_administrator_who_is_none_any_more_hears_nothing_more(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console, listening() as sink:
        assert site.server is not None
        assert site.server._reloader is not None
        await console.subscribe(sink.endpoint(), timedelta(minutes=5))
        administrators = site.server._reloader._parts.administrators
        (owner,) = administrators._known
        policy = site.server.settings.administrators
        await administrators.change(type(policy)(groups=("Others",)))
        assert not administrators.may_know(owner)
        async with site.device() as device:
            token = await device.create(await site.process(), (await site.user()).sid)
            await administrators.change(policy)
            await administrators.look_again({owner})
            await device.cancel(token)
        first = dsc.PostScanJobStatusEvent.from_element(_body(await sink.next())).status
    # What happened meanwhile (Creating) was not told; what came after was.
    assert (first.job_token, str(first.state)) == (token, "Terminating")


async def test_a_device_hears_nothing_of_ws_dsc(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, listening() as sink, site.console("alice") as console:
        fault = await refused(console.subscribe(sink.endpoint(), timedelta(minutes=1)))
    assert fault.soap.subcode == REFUSED


async def test_a_subscription_is_its_subscribers_alone(tmp_path: Path) -> None:
    groups = {"groups": ["Scan Administrators", "Accounting"]}
    async with (
        running(tmp_path / "site", administrators=groups) as site,
        site.console("admin") as one,
        site.console("alice") as other,
        listening() as sink,
    ):
        await other.find()
        manager = (await one.subscribe(sink.endpoint(), timedelta(minutes=1))).manager
        with pytest.raises(RemoteFault, match=r"UnableToRenew|InvalidMessage"):
            await other.renew(manager, timedelta(minutes=1))
        with pytest.raises(RemoteFault, match="InvalidMessage"):
            await other.unsubscribe(manager)


def _body(message: Any) -> Any:
    return message.body
