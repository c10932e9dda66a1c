"""The example package, installed by pip, in real server processes that deliver to a real web server."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from postscan.cli.pki import create_ca, issue_server, write_pair
from support.commands import PROGRAM, SECONDS, Desk, draw_page, environment, make_desk, stop
from support.packages import install_example

DIALECT = "urn:example:filter:http-put"
TOKEN = "kanarie-7f3a"


@dataclass
class WebServer:
    """An https server that takes PUT and DELETE, and remembers what it was asked."""

    port: int = 0
    answer: int = 201
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    puts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://localhost:{self.port}"

    async def handle(self, request: web.Request) -> web.Response:
        """Store, or remove."""
        self.asked.append((request.method, request.path, request.headers.get("Authorization", "")))
        octets = await request.read()
        if self.answer == 201 and request.method == "PUT":
            self.stored[request.path] = octets
        elif self.answer == 201:
            self.stored.pop(request.path, None)
        self.puts.release()
        await self.go_on.wait()
        headers = {"Location": "https://127.0.0.1:1/elsewhere"} if self.answer == 302 else None
        return web.Response(status=self.answer, headers=headers)


@dataclass
class Office:
    """An installation whose process Invoices delivers by the example's filter."""

    desk: Desk
    web: WebServer
    packages: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment of a server that the example is installed for."""
        return {"PYTHONPATH": str(self.packages)}

    async def run(self, *arguments: object, said: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the settings; ``said`` is what it reads."""
        return await asyncio.to_thread(
            subprocess.run,
            [*PROGRAM, *map(str, arguments), "--config", str(self.desk.config)],
            input=said,
            capture_output=True,
            text=True,
            env=environment(**self.env, **env),
            timeout=SECONDS,
            check=False,
        )

    async def json(self, *arguments: object) -> Any:
        """Return what a command answers as JSON."""
        done = await self.run(*arguments, "--json")
        return json.loads(done.stdout)

    async def scan(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Scan a page as alice with Invoices."""
        page = self.desk.made.folder / "page.tif"
        if not page.exists():
            draw_page(page, "1")
        return await self.run("scan", page, "--process", "Invoices", "--user", "alice", *arguments)

    def process(self) -> Path:
        """Return the file of the scan process Invoices."""
        return next(
            path
            for path in (self.desk.made.directory / "processes").glob("*.xml")
            if b">Invoice<" in path.read_bytes()
        )

    def deliver_to(self, *folders: str) -> None:
        """Let Invoices deliver to folders of a web server."""
        listed = "".join(f"\n<h:Folder>{folder}</h:Folder>" for folder in folders)
        config = f'<h:HttpPutConfig xmlns:h="{DIALECT}">{listed}</h:HttpPutConfig>'
        path = self.process()
        xml = path.read_text()
        xml = re.sub(r"(<psp:Dialect>).*?(</psp:Dialect>)", rf"\g<1>{DIALECT}\g<2>", xml)
        xml = re.sub(
            r"(<psp:Instructions[^>]*>).*?(</psp:Instructions>)", rf"\g<1>{config}\g<2>", xml, flags=re.DOTALL
        )
        path.write_text(xml)


@pytest.fixture(name="office")
async def _office(tmp_path: Path) -> AsyncIterator[Office]:
    packages = install_example("postscan-filter-http-put", tmp_path / "packages")
    ca = create_ca("Authority of the web server")
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem())
    write_pair(issue_server(ca, "localhost"), tmp_path / "web.pem", tmp_path / "web.key")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "web.pem", tmp_path / "web.key")
    server = WebServer()
    server.go_on.set()
    app = web.Application(client_max_size=100_000_000)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server.port = runner.addresses[0][1]
    desk = make_desk(
        tmp_path / "installation",
        filters={"http-put": {"folders": [f"{server.url}/scans"], "ca": str(tmp_path / "ca.pem")}},
    )
    office = Office(desk, server, packages)
    office.deliver_to(f"{server.url}/scans/invoices")
    kept = await office.run("secrets", "set", "filters.http-put.token", said=f"{TOKEN}\n")
    assert kept.returncode == 0, kept.stderr
    try:
        yield office
    finally:
        server.go_on.set()
        await runner.cleanup()


async def test_a_scan_arrives_by_the_filter_of_another_package(office: Office) -> None:
    with office.desk.serving(**office.env):
        done = await office.scan()
        assert done.returncode == 0, done.stdout + done.stderr
    ((path, octets),) = office.web.stored.items()
    assert re.fullmatch(r"/scans/invoices/[0-9a-f-]{32,36}/Invoice_.*_alice_001\.tif", path)
    assert octets == (office.desk.made.folder / "page.tif").read_bytes()
    assert office.web.asked == [("PUT", path, f"Bearer {TOKEN}")]


async def test_two_folders_are_two_destinations_of_which_each_is_told(office: Office) -> None:
    folders = [f"{office.web.url}/scans/invoices", f"{office.web.url}/scans/copies"]
    office.deliver_to(*folders, folders[0])
    with office.desk.serving(**office.env):
        done = await office.scan("--json")
        assert done.returncode == 0, done.stdout + done.stderr
        (job,) = await office.json("jobs", "list")
        shown = await office.json("jobs", "show", job["token"])
    assert sorted(path.split("/")[2] for path in office.web.stored) == ["copies", "invoices"]
    assert all(folder in json.dumps(shown) for folder in folders)


async def test_a_server_killed_before_it_knew_delivers_once_all_the_same(office: Office) -> None:
    office.web.go_on.clear()
    with office.desk.serving(**office.env) as server:
        accepted = await office.scan("--wait", "0")
        assert accepted.returncode == 0, accepted.stderr
        await asyncio.wait_for(office.web.puts.acquire(), SECONDS)
        server.kill()
        await asyncio.to_thread(server.wait)
    office.web.go_on.set()
    with office.desk.serving(**office.env):
        await asyncio.wait_for(office.web.puts.acquire(), SECONDS)
        async with asyncio.timeout(SECONDS):
            while (await office.json("jobs", "list"))[0]["state"] != "Completed":
                await asyncio.sleep(0.2)
    assert len(office.web.stored) == 1
    assert len({path for _method, path, _token in office.web.asked}) == 1


async def test_the_administrator_sees_which_filters_there_are(office: Office) -> None:
    with office.desk.serving(**office.env):
        done = await office.run("server", "status", "--json")
    assert done.returncode == 0, done.stderr
    (filter_,) = [one for one in json.loads(done.stdout)["filters"] if "http-put" in one["dialect"]]
    assert filter_["places"] == [f"{office.web.url}/scans"]


async def test_a_folder_outside_of_the_allowed_is_refused_before_the_job(office: Office) -> None:
    for outside in ("https://elsewhere.example.com/scans", f"{office.web.url}/scans/../private"):
        office.deliver_to(f"{office.web.url}/scans/invoices", outside)
        xml = office.process().read_text()
        validated = await office.run("processes", "validate", office.process(), "--json")
        (report,) = json.loads(validated.stdout)
        assert validated.returncode == 4
        (problem,) = report["problems"]
        assert outside in problem["message"]
        assert "[filters.http-put]" in problem["advice"]
        assert problem["line"] <= 1 + xml.count("\n")
        with office.desk.serving(**office.env):
            done = await office.scan()
        assert done.returncode == 4
        assert "NoValidPostScanInstructionsFound" in done.stderr, done.stderr
    assert office.web.asked == []


async def test_instructions_that_break_its_schema_are_refused_everywhere(office: Office) -> None:
    office.deliver_to()
    validated = await office.run("processes", "validate", office.process())
    assert validated.returncode == 4
    assert "HttpPutConfig" in validated.stdout
    exported = office.desk.made.folder / "exported"
    assert (await office.run("processes", "export", "--to", exported)).returncode == 0
    imported = await office.run("processes", "import", exported, "--replace")
    assert imported.returncode == 4
    assert "HttpPutConfig" in imported.stderr
    with office.desk.serving(**office.env):
        assert (await office.scan()).returncode == 4
    assert office.web.asked == []


async def test_the_token_is_not_sent_to_a_server_it_was_not_entered_for(office: Office) -> None:
    """Abuse case 26, for filters of other packages: any of their settings may say where a secret goes."""
    config = office.desk.config.read_text()
    office.desk.config.write_text(config.replace("/scans", "/other"))
    office.deliver_to(f"{office.web.url}/other")
    checked = await office.run("config", "check")
    assert "was entered for another destination" in checked.stdout
    with office.desk.serving(**office.env):
        done = await office.scan("--wait", "3")
        (job,) = await office.json("jobs", "list")
        shown = await office.run("jobs", "show", job["token"])
    assert done.returncode == 6
    assert "entered for another destination" in shown.stdout
    assert office.web.asked == []
    assert TOKEN not in checked.stdout + checked.stderr + done.stdout + done.stderr + shown.stdout


async def test_a_secret_of_a_filter_that_is_not_there_or_a_wrong_name_is_told(office: Office) -> None:
    for name, words in (
        ("filters.fax.token", "need no secret"),
        ("filters.http-put.a_b", "is no name of a secret"),
    ):
        done = await office.run("secrets", "set", name, said="x\n")
        assert done.returncode == 3
        assert words in done.stderr
    listed = await office.json("secrets", "list")
    assert [(row["name"], row["state"]) for row in listed] == [("filters.http-put.token", "in use")]


async def test_a_server_without_the_package_says_that_it_lacks_the_filter(office: Office) -> None:
    office.packages.rename(office.packages.with_name("removed"))
    checked = await office.run("config", "check")
    assert checked.returncode == 3
    assert "no package that is installed brings a filter of this name" in checked.stdout
    validated = await office.run("processes", "validate", office.process())
    assert "there is no filter for" in validated.stdout
    assert "file-share" in validated.stdout


async def test_a_filter_can_be_turned_off(office: Office) -> None:
    text = office.desk.config.read_text().replace("# disabled = []", 'disabled = ["http-put"]')
    office.desk.config.write_text(text)
    validated = await office.run("processes", "validate", office.process())
    assert "there is no filter for" in validated.stdout


async def test_settings_that_the_filter_refuses_keep_the_server_from_starting(office: Office) -> None:
    text = office.desk.config.read_text().replace("folders = [", "folder = [")
    office.desk.config.write_text(text)
    done = await office.run("serve")
    assert done.returncode == 3
    assert "the filter http-put of package postscan-filter-http-put 1.0.0 cannot be used" in done.stderr
    assert "folders" in done.stderr
    checked = await office.run("config", "check")
    assert "cannot be used" in checked.stdout


async def test_a_reload_gives_the_filter_its_new_settings(office: Office) -> None:
    with office.desk.serving(**office.env) as server:
        office.desk.config.write_text(office.desk.config.read_text().replace("/scans", "/other"))
        reloaded = await office.run("server", "reload")
        assert "filters.http-put" in reloaded.stdout, reloaded.stderr
        assert (await office.scan()).returncode == 4
        office.deliver_to(f"{office.web.url}/other")
        entered = await office.run("secrets", "set", "filters.http-put.token", said=f"{TOKEN}\n")
        assert entered.returncode == 0
        done = await office.scan()
        assert done.returncode == 0, done.stdout + done.stderr
        stop(server)
    assert [path.split("/")[1] for path in office.web.stored] == ["other"]


async def test_a_delivery_under_way_ends_with_the_settings_it_began_with(office: Office) -> None:
    office.web.go_on.clear()
    with office.desk.serving(**office.env):
        accepted = await office.scan("--wait", "0")
        assert accepted.returncode == 0, accepted.stderr
        await asyncio.wait_for(office.web.puts.acquire(), SECONDS)
        text = office.desk.config.read_text()
        office.desk.config.write_text(text.replace("folders = ", "timeout_seconds = 50\nfolders = "))
        reloaded = await office.run("server", "reload")
        assert "filters.http-put" in reloaded.stdout, reloaded.stderr
        office.web.go_on.set()
        async with asyncio.timeout(SECONDS):
            while (await office.json("jobs", "list"))[0]["state"] != "Completed":
                await asyncio.sleep(0.2)
    assert len(office.web.asked) == 1


@pytest.mark.parametrize("answer", [302, 404])
async def test_the_token_follows_no_redirect_and_a_refusal_is_told(office: Office, answer: int) -> None:
    office.web.answer = answer
    with office.desk.serving(**office.env):
        done = await office.scan()
        (job,) = await office.json("jobs", "list")
        shown = await office.run("jobs", "show", job["token"])
    assert done.returncode == 6
    assert f"answered {answer}" in shown.stdout
    assert len(office.web.asked) == 1
