"""Settings reloaded while the server runs: all that can be, or none; subscribers and neighbours are told."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from postscan.cli.admin_client import AdminClient, AdminRefused
from postscan.cli.certificates import _authority
from postscan.cli.pki import create_ca, issue_server, write_pair
from postscan.cli.reloading import LIVE, SettingsFile
from postscan.cli.settings import load_settings
from postscan.cli.settings_model import SECTIONS
from postscan.contracts import dsc
from postscan.contracts.keywords import DocumentFormat
from postscan.core.errors import ConfigurationError, PostscanError
from postscan.dpws.client import RemoteFault
from postscan.server.app import ScanServer
from postscan.soap.names import FSF, qname
from support.scanning import Site, change, jpeg, make_installation, running
from support.sinks import listening


def server_of(site: Site) -> ScanServer:
    assert site.server is not None
    return site.server


def version_of(site: Site) -> int:
    """Return the metadata version that discovery tells."""
    device = server_of(site)._device
    assert device is not None
    return device.target.metadata_version


def kept_version(site: Site) -> int:
    """Return the metadata version that the next start begins with."""
    return int(json.loads((site.made.folder / "data" / "identity.json").read_text())["version"])


def served_certificate(site: Site) -> bytes | None:
    """Return the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = urlsplit(site.url).port
    with (
        socket.create_connection(("127.0.0.1", port or 0), timeout=10) as plain,
        context.wrap_socket(plain) as secure,
    ):
        return secure.getpeercert(binary_form=True)


async def friendly_name(site: Site) -> str:
    async with site.device() as device:
        metadata = await device.metadata(await device.probe())
    return metadata.device.friendly_names["en"]


async def test_another_name_is_in_force_at_once_with_a_version_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        before, told = version_of(site), list[int]()
        server_of(site).add_metadata_listener(lambda: told.append(version_of(site)))
        change(site.made.config, friendly_name="Second floor")
        report = await server_of(site).reload()
        assert (report.applied, report.waiting) == (("server.friendly_name",), ())
        assert await friendly_name(site) == "Second floor"
        assert told == [before + 1] == [kept_version(site)]
    async with running(tmp_path, made=site.made) as site:
        assert version_of(site) == before + 1


async def test_nothing_changed_is_nothing_told(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        before = version_of(site)
        report = await server_of(site).reload()
        assert (report.applied, report.waiting, version_of(site)) == ((), (), before)


async def test_what_needs_a_restart_is_named_and_not_applied(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        change(site.made.config, fqdn="other.example.com", max_expires_hours=1, manufacturer="Example")
        report = await server_of(site).reload()
        assert report.applied == ("server.manufacturer",)
        assert report.waiting == ("server.fqdn", "eventing.max_expires_hours")
        assert server_of(site).settings.fqdn == "localhost"
        again = await server_of(site).reload()
        assert (again.applied, again.waiting) == ((), report.waiting)


async def test_administrators_are_told_that_the_configuration_changed(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.console() as console, listening() as sink:
        await console.subscribe(sink.endpoint(), timedelta(minutes=5))
        (tmp_path / "more").mkdir()
        change(site.made.config, roots=["delivered", str(tmp_path / "more")])
        assert (await server_of(site).reload()).applied == ("fileshare.roots",)
        body = (await sink.next()).body
        assert body is not None
        changed = dsc.RepositoryElementsChangeEvent.from_element(body).changes.configuration
        now = await console.configuration()
    assert changed is not None
    for one in (changed, now):
        shares = [node.text for node in one.filters[0].config.iter(qname(FSF, "ShareUNC"))]
        assert (tmp_path / "more").as_uri() in shares


async def test_another_folder_is_delivered_to_or_refused_at_once(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device() as device:
        process, sid = await site.process(), (await site.user()).sid
        kept = await device.create(process, sid)
        change(site.made.config, roots=[])
        await server_of(site).reload()
        with pytest.raises(RemoteFault):
            await device.create(process, sid)
        change(site.made.config, roots=["delivered"])
        await server_of(site).reload()
        await device.create(process, sid)
        # A job of before goes on.
        await device.send_image(kept, 1, DocumentFormat.JFIF, jpeg())
        await device.end(kept)
        await site.spool_empty()
    assert len(site.delivered()) == 1


async def test_other_administrators_are_in_force_at_once(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "site") as site,
        site.console("admin") as admin,
        site.console("alice") as alice,
    ):
        await admin.status()
        change_section(site.made.config, "administrators", groups=["Accounting"])
        assert (await server_of(site).reload()).applied == ("administrators.groups",)
        await alice.status()
        with pytest.raises(RemoteFault, match="ClientErrorCurrentUserNotScanAdmin"):
            await admin.status()


def change_section(config: Path, section: str, **values: object) -> None:
    """Give settings of one section other values."""
    before, head, after = config.read_text().partition(f"[{section}]\n")
    assert head
    own, rest_head, rest = after.partition("\n[")
    part = config.with_suffix(".part")
    part.write_text(own)
    change(part, **values)
    config.write_text(before + head + part.read_text() + rest_head + rest)
    part.unlink()


async def test_limits_are_in_force_for_what_comes(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device() as device:
        token = await device.create(await site.process(), (await site.user()).sid)
        change(site.made.config, max_image_bytes=1_000, max_open_jobs=1)
        await server_of(site).reload()
        with pytest.raises(RemoteFault, match=r"ImageData|InvalidArgs"):
            await device.send_image(token, 1, DocumentFormat.JFIF, jpeg(size=2_000))
        with pytest.raises(RemoteFault, match="ServerErrorTemporaryError"):
            await device.create(await site.process("Invoices"), (await site.user()).sid)


async def test_the_log_level_alone_changes_nothing_that_is_told(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        before = version_of(site)
        change(site.made.config, log_level="WARNING")
        assert (await server_of(site).reload()).applied == ("server.log_level",)
        assert (site.log_levels, version_of(site)) == (["WARNING"], before)


async def test_a_new_certificate_is_shown_to_new_connections_without_a_gap(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device() as device:
        before = await asyncio.to_thread(served_certificate, site)
        token = await device.create(await site.process(), (await site.user()).sid)
        renew_server(site)
        report = await server_of(site).reload()
        assert report.applied == ("files of [tls]",)
        after = await asyncio.to_thread(served_certificate, site)
        assert after != before
        # The device's connection was idle and is gone; it calls again.
        await device.cancel(token)
        assert (await server_of(site).reload()).applied == ()


def renew_server(site: Site) -> None:
    """Have the server's certificate issued again by its authority."""
    pki = site.made.pki
    authority = _authority(load_settings(site.made.config, {}).settings, None)
    pair = issue_server(authority, "localhost", ["127.0.0.1"])
    for name in ("server.pem", "server.key"):
        (pki / name).unlink()
    write_pair(pair, pki / "server.pem", pki / "server.key")


async def test_an_authority_that_is_not_trusted_any_more_lets_nobody_in(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, site.device() as device:
        await device.create(await site.process(), (await site.user()).sid)
        shutil.copy(site.made.pki / "ca.pem", tmp_path / "old.pem")
        other = create_ca("Another authority")
        write_pair(other, tmp_path / "other.pem", tmp_path / "other.key")
        (site.made.pki / "client_ca.pem").write_bytes((tmp_path / "other.pem").read_bytes())
        change(site.made.config, client_ca="pki/client_ca.pem")
        assert (await server_of(site).reload()).applied == ("tls.client_ca",)
        with pytest.raises(PostscanError):
            await device.create(await site.process(), (await site.user()).sid)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made.config.write_text("[server"),
        lambda made: change(made.config, max_open_jobs=0),
        lambda made: change(made.config, certificate="pki/nobody.pem", friendly_name="No"),
        lambda made: (made.pki / "server.pem").write_text("no certificate"),
        lambda made: shutil.copy(made.pki / "users" / "alice.key", made.pki / "server.key"),
        lambda made: change(made.config, friendly_name="No", client_ca="server.toml"),
        lambda made: change(made.config, presentation_url="two words"),
    ],
)
async def test_when_anything_is_wrong_everything_stays_as_it_was(tmp_path: Path, spoil: Any) -> None:
    async with running(tmp_path / "site") as site, site.console() as console:
        before = version_of(site), await friendly_name(site), server_of(site).settings
        shown = await asyncio.to_thread(served_certificate, site)
        text, pem = site.made.config.read_text(), (site.made.pki / "server.pem").read_bytes()
        key = (site.made.pki / "server.key").read_bytes()
        spoil(site.made)
        with pytest.raises(ConfigurationError) as caught:
            await server_of(site).reload()
        assert caught.value.what_to_do
        assert (version_of(site), await friendly_name(site), server_of(site).settings) == before
        assert await asyncio.to_thread(served_certificate, site) == shown
        await console.status()
        site.made.config.write_text(text)
        (site.made.pki / "server.pem").write_bytes(pem)
        (site.made.pki / "server.key").write_bytes(key)
        assert (await server_of(site).reload()).applied == ()


async def test_reloads_at_the_same_time_come_one_after_the_other(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        before = version_of(site)
        change(site.made.config, friendly_name="Once")
        reports = await asyncio.gather(*(server_of(site).reload() for _ in range(5)))
        assert sorted(len(report.applied) for report in reports) == [0, 0, 0, 0, 1]
        assert version_of(site) == before + 1


async def test_the_local_door_reloads_and_tells_what_is_wrong(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        door = AdminClient(site.made.folder / "data")
        change(site.made.config, friendly_name="By the door")
        assert await door.ask("POST", "/reload") == {"applied": ["server.friendly_name"], "waiting": []}
        change(site.made.config, max_open_jobs=0)
        with pytest.raises(AdminRefused, match="max_open_jobs"):
            await door.ask("POST", "/reload")


async def test_a_server_that_does_not_run_reloads_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site:
        pass
    with pytest.raises(PostscanError, match="starting or stopping"):
        await server_of(site).reload()


def test_every_live_setting_is_one_that_there_is() -> None:
    known = {f"{section}.{key}" for section, model in SECTIONS.items() for key in model.model_fields}
    assert known >= LIVE


def test_an_override_from_the_environment_stays_in_force(tmp_path: Path) -> None:
    made = make_installation(tmp_path / "site")
    env = {"POSTSCAN_SERVER__FRIENDLY_NAME": "From outside"}
    source = SettingsFile(load_settings(made.config, env), env, lambda _level: None)
    change(made.config, friendly_name="From the file")
    new = source()
    assert (new.applied, new.settings.appearance.friendly_name) == ((), "From outside")
