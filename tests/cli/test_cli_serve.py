"""`postscan serve` as an administrator meets it: real processes, signals, ports and sockets."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from postscan.cli.exit_codes import ExitCode
from postscan.contracts.keywords import JobState
from postscan.device.client import ScanServerClient
from support import wire
from support.commands import Desk, draw_page, line_with, make_desk, postscan, started, stop
from support.scanning import Site, jpeg


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path / "site")


@pytest.fixture
def server(desk: Desk) -> Iterator[subprocess.Popen[str]]:
    with desk.serving() as process:
        yield process


async def test_the_address_it_prints_is_the_one_in_its_metadata(desk: Desk) -> None:
    with started("serve", "--config", desk.config) as process:
        address = line_with(process, "ready at").split()[-1]
        service = line_with(process, "WS-DSP:").split()[-1]
        async with ScanServerClient(address, tls=Site(desk.made).tls()) as client:
            assert await client.probe() == address
            assert await client.find() == service
        assert stop(process)[0] == ExitCode.OK


def test_a_script_reads_one_line_of_json_once_jobs_are_accepted(desk: Desk) -> None:
    with started("serve", "--json", "--config", desk.config) as process:
        ready = json.loads(line_with(process, "ready"))
        assert ready["address"] == desk.made.address
        assert ready["services"]["WS-DSP"].startswith(desk.made.address)
        assert ready["mode"] == "authenticated"
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[0] == ""


def test_a_person_is_told_that_it_stops_and_has_stopped(desk: Desk) -> None:
    with started("serve", "--config", desk.config) as process:
        line_with(process, "ready at")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
        assert said.splitlines()[-2].startswith("stopping; ")
        assert said.splitlines()[-1] == "stopped"
        assert process.returncode == ExitCode.OK


@pytest.mark.usefixtures("server")
def test_a_second_server_on_the_same_data_folder_is_refused(desk: Desk) -> None:
    second = desk.run("serve")
    assert second.returncode == ExitCode.CONFIGURATION
    assert f"{desk.made.folder / 'data'} is in use by another server" in second.stderr
    assert "what to do: Stop the other server first" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("setting", ["listen", "metrics_listen"])
def test_an_occupied_port_is_told_with_the_setting_that_names_it(desk: Desk, setting: str) -> None:
    with socket.socket() as occupier:
        occupier.bind(("127.0.0.1", 0))
        occupier.listen()
        port = occupier.getsockname()[1]
        done = desk.run("serve", **{f"POSTSCAN_SERVER__{setting.upper()}": f"127.0.0.1:{port}"})
    assert done.returncode == ExitCode.CONFIGURATION
    assert f"cannot listen on 127.0.0.1:{port} (server.{setting}): Address already in use" in done.stderr
    assert "ss -ltnp" in done.stderr


def test_an_address_of_another_machine_is_told(desk: Desk) -> None:
    done = desk.run("serve", POSTSCAN_SERVER__LISTEN="203.0.113.1:5362")
    assert done.returncode == ExitCode.CONFIGURATION
    assert "none of this machine's" in done.stderr


def test_a_port_that_no_device_could_know_is_refused(desk: Desk) -> None:
    done = desk.run("serve", POSTSCAN_SERVER__LISTEN="127.0.0.1:0")
    assert done.returncode == ExitCode.CONFIGURATION
    assert "port 0" in done.stderr


def test_a_missing_key_is_named(desk: Desk) -> None:
    (desk.made.pki / "server.key").unlink()
    done = desk.run("serve")
    assert done.returncode == ExitCode.CONFIGURATION
    assert f"error: {desk.made.pki / 'server.key'} cannot be read: No such file or directory" in done.stderr


def test_what_is_wrong_with_the_installation_is_logged_at_the_start(desk: Desk) -> None:
    desk.invoices.rmdir()
    (desk.made.pki / "users" / "alice.key").chmod(0o644)
    with desk.serving() as process:
        log = [json.loads(line) for line in stop(process)[1].splitlines()]
    found = [line for line in log if line["event"] == "the installation needs attention"]
    assert any("alice.key can be read by others" in line["found"] for line in found)
    assert all(line["advice"] for line in found)


def test_settings_that_are_not_there_are_told_with_how_to_make_them(tmp_path: Path) -> None:
    done = postscan("serve", "--config", tmp_path / "server.toml")
    assert done.returncode == ExitCode.CONFIGURATION
    assert "postscan init" in done.stderr


async def test_an_upload_in_flight_is_finished_when_told_to_stop(desk: Desk) -> None:
    site = Site(desk.made)
    image = jpeg(1, 200_000)
    with desk.serving() as process:
        async with site.device() as client:
            token = await client.create(await site.process("Invoices"), (await site.user()).sid)
            service = await client.find()
        body = wire.upload(token, image)
        where = urlsplit(service)
        head = (
            f"POST {where.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {wire.mtom_type()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        reader, writer = await asyncio.open_connection(where.hostname, where.port, ssl=site.tls())
        writer.write(head + body[:100_000])
        await writer.drain()
        process.send_signal(signal.SIGTERM)
        while _accepts_connections(where.port or 0):
            await asyncio.sleep(0.02)
        writer.write(body[100_000:])
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert answer.startswith(b"HTTP/1.1 200")
        writer.close()
        assert await asyncio.to_thread(process.wait, 30) == ExitCode.OK
    with desk.serving():
        async with site.device() as client:
            status = await client.status(token)
    assert (status.state, status.images_received) == (JobState.CREATING, 1)


def _accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_accepted_job_is_delivered_after_a_restart(desk: Desk, tmp_path: Path) -> None:
    page = draw_page(tmp_path / "page.png")
    away = desk.invoices.rename(tmp_path / "away")
    with desk.serving() as process:
        scanned = desk.scan(page, "--wait", "0", "--json")
        assert scanned.returncode == ExitCode.OK
        token = json.loads(scanned.stdout)["token"]
        assert stop(process)[0] == ExitCode.OK
    away.rename(desk.invoices)
    with desk.serving():
        assert desk.run("jobs", "watch", token).returncode == ExitCode.OK
    assert [path.read_bytes() for path in desk.delivered()] == [page.read_bytes()]


def test_the_service_manager_is_told_when_it_is_ready_and_when_it_stops(desk: Desk, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        with desk.serving(NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            assert manager.recv(100) == b"READY=1"
            stop(process)
            assert manager.recv(100) == b"STOPPING=1"
