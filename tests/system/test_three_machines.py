"""A device, a server and a console, each on a machine of its own: DSM's sequence diagram over a network.

What device and console are given is what people would carry there: keys, and for the device the directory.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.commands import PROGRAM, draw_page, environment, line_with
from support.netns import Network, network
from support.netservers import Served, first_found, install, serve

PAGES = 3


@dataclass
class Office:
    """The three machines and what lies on them."""

    net: Network
    served: Served
    device: Path
    console: Path

    @property
    def address(self) -> str:
        """Where the server is, as people who know its name write it."""
        return f"https://{self.net.fqdn('server')}:5362/ScanServer"

    def scan(self, *options: object) -> str:
        """Scan pages on the device, as alice; return the job's token."""
        pages = [draw_page(self.device / f"page{number}.png") for number in range(PAGES)]
        command = [*PROGRAM, "scan", "--json", "--process", "Scan to my folder", "--user", "alice"]
        command += ["--directory", self.device / "directory", "--pki", self.device / "pki", *options, *pages]
        done = self.net.run("device", command, env=environment())
        assert done.returncode == 0, done.stdout + done.stderr
        return str(json.loads(done.stdout)["token"])

    def ask(self, command: str, address: str, *options: object) -> dict[str, Any]:
        """Ask the server something on the console, as its administrator."""
        done = self.net.run("console", self.told(command, address, *options), env=environment())
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def told(self, command: str, address: str, *options: object) -> list[object]:
        """Return a command line of the console."""
        return [
            *(*PROGRAM, "server", command, "--server", address, "--json"),
            *("--pki", self.console / "pki", "--user", "admin", *options),
        ]

    def delivered(self) -> int:
        """Return how many files arrived."""
        return sum(1 for path in (self.served.made.folder / "delivered").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    with network("server", "device", "console") as net:
        made = install(net, "server", folder / "server", server={"metrics_listen": "127.0.0.1:9362"})
        device, console = folder / "device", folder / "console"
        shutil.copytree(made.folder / "directory", device / "directory")
        carry(made.pki, device / "pki", "alice")
        carry(made.pki, console / "pki", "admin")
        yield Office(net, serve(net, "server", made), device, console)


def carry(pki: Path, to: Path, user: str) -> None:
    """Bring a user's keys, and whom to trust, to another machine."""
    (to / "users").mkdir(parents=True)
    for name in ("ca.pem", f"users/{user}.pem", f"users/{user}.key"):
        shutil.copy(pki / name, to / name)


def watching(office: Office) -> subprocess.Popen[str]:
    """Watch the server on the console; returns once it is told everything that happens."""
    process = office.net.popen("console", office.told("watch", office.address), env=environment())
    line_with(process, '"Snapshot"')
    return process


def operations(office: Office) -> dict[str, int]:
    """Return how often the server answered each operation, from its metrics."""
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9362/metrics').read().decode())"
    text = office.net.run("server", [PROGRAM[0], "-c", fetch]).stdout
    counted = {}
    for line in text.splitlines():
        if line.startswith("postscan_requests_total{") and 'outcome="ok"' in line:
            counted[line.partition('operation="')[2].partition('"')[0]] = int(float(line.split()[-1]))
    return counted


def test_with_the_servers_name_alone_the_whole_sequence_runs(
    office: Office, record_property: pytest.RecordProperty
) -> None:
    before = operations(office)
    watch = watching(office)
    there = office.delivered()
    token = office.scan()
    assert office.delivered() == there + PAGES
    ended = json.loads(line_with(watch, '"PostScanJobEndStateEvent"'))
    assert (ended["token"], ended["state"], ended["images"]) == (token, "Completed", PAGES)
    history = office.ask("jobs", office.address, "--history")["history"]
    assert [(job["token"], job["state"]) for job in history][:1] == [(token, "Completed")]
    now = operations(office)
    done = {name: now[name] - before.get(name, 0) for name in now}
    wanted = {"Probe": 1, "Get": 1, "Subscribe": 1, "CreatePostScanJob": 1, "SendImage": PAGES}
    wanted |= {"EndPostScanJob": 1}
    assert {name: done.get(name) for name in wanted if done.get(name, 0) < wanted[name]} == {}
    record_property(
        "figures", "three machines: " + ", ".join(f"{name} {done[name]}" for name in wanted) + ", delivered"
    )


def test_without_even_the_name_device_and_console_find_the_server(office: Office) -> None:
    there = office.delivered()
    token = office.scan("--server", "auto")
    assert office.delivered() == there + PAGES
    found = first_found(office.net, "console", "--ca", office.console / "pki/ca.pem")
    history = office.ask("jobs", found["addresses"][0], "--history")["history"]
    assert (history[0]["token"], history[0]["state"]) == (token, "Completed")
    assert office.ask("status", "auto")["server"] == found["addresses"][0]
