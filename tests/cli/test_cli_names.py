"""Names and dry runs as an administrator uses them: a running server, real commands, real barcodes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from postscan.cli import main
from postscan.cli.admin_client import AdminClient, AdminRefused
from postscan.cli.exit_codes import ExitCode
from postscan.contracts.names import BarcodeKind
from postscan.soap.names import NAMES
from support.barcodes import barcode_choice, barcode_page, names_step
from support.commands import Desk, line_with, make_desk, started
from support.processing import page

NAMED = UUID("11111111-2222-4333-8444-555555555555")
ODD = "Köln / 50%? #1 & +%2F"
TEMPLATE = "{barcode|no barcode}_{user}_{counter:05}_{page:02}"


def add_process(
    desk: Desk, name: str, template: str, *, stem: str = "named", identifier: UUID = NAMED
) -> None:
    """Give the installation a copy of Invoices whose documents are named by a template; alice may use it."""
    folder = desk.made.directory / "processes"
    (folder / f"{stem}.toml").write_text(
        f'identifier = "{identifier}"\ndisplay_name = "{name}"\nusers = ["alice"]\ngroups = []\n'
    )
    (folder / f"{stem}.xml").write_text(with_names(desk, template))


def with_names(desk: Desk, template: str, rest: str = "") -> str:
    """Return the XML of Invoices with a step that names documents before they are delivered."""
    xml = (desk.made.directory / "processes" / "invoices.xml").read_text()
    step = names_step(template, rest)
    assert xml.count("<psp:FiltersToProcess>") == 1
    return xml.replace("<psp:FiltersToProcess>", f"<psp:FiltersToProcess>\n{step}", 1)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Make an installation whose server runs, with a scan process that names documents."""
    folder = tmp_path_factory.mktemp("names")
    desk = make_desk(folder / "site", retry={"first_seconds": 3600}, fileshare={"time_zone": "Europe/Berlin"})
    add_process(desk, "Named", TEMPLATE)
    add_process(desk, ODD, "{root}_{date}", stem="odd", identifier=UUID(int=9))
    barcode_page((BarcodeKind.CODE_128, "INV-7"), words="An invoice").save(
        folder / "first.png", dpi=(200, 200)
    )
    page("Its second page").save(folder / "second.png", dpi=(200, 200))
    with desk.serving():
        yield desk


def scan(desk: Desk, capsys: pytest.CaptureFixture[str], *pages: str) -> dict[str, Any]:
    """Scan pages, in this process, and return the job as `postscan jobs show --json` tells it."""
    folder = desk.made.folder.parent
    files = [str(folder / name) for name in pages]
    words = ["scan", *files, "-p", "Named", "-u", "alice", "--config", str(desk.config), "--json"]
    capsys.readouterr()
    assert main([*words, "--wait", "60"]) == ExitCode.OK
    return run(desk, capsys, "jobs", "show", json.loads(capsys.readouterr().out)["token"])


def run(desk: Desk, capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    """Run a command in this process and return its JSON."""
    capsys.readouterr()
    assert main([*words, "--config", str(desk.config), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def delivered(job: dict[str, Any]) -> list[str]:
    """Return the final names."""
    return [one["name"] for place in job["filters"][-1]["destinations"] for one in place["delivered"]]


def test_documents_are_delivered_under_the_names_of_the_template(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    job = scan(desk, capsys, "first.png", "second.png")
    number = int(delivered(job)[0].split("_")[2])
    assert delivered(job) == [f"INV-7_alice_{number:05}_{page:02}.png" for page in (1, 2)]
    assert {path.name for path in desk.delivered()} >= set(delivered(job))
    again = scan(desk, capsys, "second.png")
    assert delivered(again) == [f"no barcode_alice_{number + 1:05}_01.png"]


def test_case_28_a_barcode_that_leads_elsewhere_lands_in_the_users_folder(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = barcode_page((BarcodeKind.QR_CODE, "../../../tmp/evil\u202e:NUL\n"))
    sheet.save(desk.made.folder.parent / "hostile.png", dpi=(200, 200))
    (name,) = delivered(scan(desk, capsys, "hostile.png"))
    assert name.startswith("tmpevilNUL_alice_")
    (path,) = [path for path in desk.delivered() if path.name == name]
    assert path.parent == desk.invoices / "alice@example.com"


def test_a_job_shows_what_each_step_handed_on(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    job = scan(desk, capsys, "first.png", "second.png")
    step, share = job["filters"]
    assert (step["dialect"], step["kind"], share["kind"]) == (NAMES, "processing", "delivery")
    assert [one["name"] for one in step["made"]] == [name.removesuffix(".png") for name in delivered(job)]
    assert [(one["handed_on"], one["sources"]) for one in step["made"]] == [(True, [1]), (True, [2])]
    assert step["progress"] is None
    assert share["made"] == []
    assert main(["jobs", "show", job["token"], "--config", str(desk.config)]) == ExitCode.OK
    told = capsys.readouterr().out
    for words in ("names", "CompletedSuccessfully", *delivered(job)):
        assert words in told


@pytest.fixture
def away(desk: Desk) -> Iterator[None]:
    """Take the destination away while a test runs."""
    moved = desk.invoices.rename(desk.invoices.with_name("away"))
    yield
    moved.rename(desk.invoices)


class TestDryRun:
    """`postscan processes test`."""

    def test_every_destination_is_proven_by_the_server(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = desk.delivered()
        told = run(desk, capsys, "processes", "test", "Named")
        assert (told["tried_by"], told["user"]["name"], told["failures"]) == ("server", "alice", 0)
        step, share = told["filters"]
        assert (step["kind"], share["kind"]) == ("processing", "delivery")
        assert step["destinations"][0]["proven"] == [
            "a Code128 barcode was read from a page drawn for it",
            "a page would be called BARCODE_alice_00001_01.tif (BARCODE standing for one)",
        ]
        (place,) = share["destinations"]
        assert place["state"] == "Proven"
        assert place["proven"]
        assert desk.delivered() == before

    def test_it_can_be_tried_for_somebody_else_by_identifier(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (invoices,) = [
            one for one in run(desk, capsys, "processes", "list") if one["display_name"] == "Invoices"
        ]
        told = run(desk, capsys, "processes", "test", invoices["identifier"], "--user", "alice")
        assert (told["process"]["name"], told["user"]["upn"]) == ("Invoices", "alice@example.com")

    @pytest.mark.parametrize("seconds", ["0", "nan", "241", "-1", "soon", "inf"])
    def test_the_server_takes_no_other_time_limit(self, desk: Desk, seconds: str) -> None:
        client = AdminClient(desk.made.folder / "data")
        with pytest.raises(AdminRefused, match="seconds is"):
            asyncio.run(client.ask("POST", f"/processes/Named/test?seconds={seconds}"))

    def test_any_name_finds_its_scan_process(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(desk, capsys, "processes", "test", ODD)["process"]["name"] == ODD

    @pytest.mark.usefixtures("away")
    def test_a_destination_that_is_away_is_told_with_what_to_do(
        self, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = run(desk, capsys, "processes", "test", "Named", status=ExitCode.JOB_NOT_COMPLETED)
        (place,) = told["filters"][1]["destinations"]
        assert (told["failures"], place["state"], place["heals"]) == (1, "Failed", True)
        assert place["error"]
        assert place["advice"]
        assert main(["processes", "test", "Named", "--config", str(desk.config)]) == 6
        said = capsys.readouterr().out
        assert "tried by the server" in said
        assert f"what to do: {place['advice']}" in said
        assert "1 destination fails." in said

    def test_a_command_can_try_it_itself(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        told = run(desk, capsys, "processes", "test", "Named", "--here")
        assert (told["tried_by"], told["server_runs"], told["failures"]) == ("command", None, 0)

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("Nothing",), "there is no scan process Nothing"),
            (("Named", "--user", "nobody"), "there is no user nobody"),
            (("Named", "--user", "bob"), "bob@example.com may not use Named"),
            (("Invoices",), "it is given to groups"),
        ],
        ids=["process", "user", "right", "group"],
    )
    @pytest.mark.parametrize("where", [(), ("--here",)], ids=["server", "here"])
    def test_what_cannot_be_tried_is_told(
        self,
        where: tuple[str, ...],
        words: tuple[str, ...],
        why: str,
        desk: Desk,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        arguments = ["processes", "test", *words, *where, "--config", str(desk.config)]
        assert main(arguments) == ExitCode.REFUSED
        assert why in capsys.readouterr().err

    def test_without_a_server_the_command_tries_it_and_says_so(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        desk = make_desk(tmp_path / "site")
        add_process(desk, "Named", "{root}_{date}")
        assert main(["processes", "test", "Named", "--config", str(desk.config)]) == ExitCode.OK
        told = capsys.readouterr().out
        assert "by this command, with its own account (no server runs here)" in told
        assert "A job would be delivered." in told


class TestPreview:
    """`postscan processes validate`."""

    def test_the_names_are_previewed(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        path = desk.made.directory / "processes" / "named.xml"
        assert main(["processes", "validate", str(path), "--config", str(desk.config)]) == ExitCode.OK
        assert "page 2 of 3 would be BARCODE_user_00001_02.tif" in capsys.readouterr().out

    def test_a_wrong_template_is_told_with_its_line(
        self, desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "wrong.xml"
        path.write_text(with_names(desk, "{root}_{usr}", barcode_choice("QRCode")))
        line = (
            path.read_text()
            .splitlines()
            .index(next(line for line in path.read_text().splitlines() if "{usr}" in line))
            + 1
        )
        ((wrong,),) = [
            one["problems"]
            for one in run(desk, capsys, "processes", "validate", str(path), status=ExitCode.REFUSED)
        ]
        assert wrong["line"] == line
        assert "character 9: there is no field {usr}; did you mean {user}?" in wrong["message"]
        assert wrong["advice"].startswith("Fields there are: root, date,")


def test_a_job_keeps_its_names_when_the_server_is_killed(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "site")
    add_process(desk, "Named", "{root}_{counter:03}_{page}")
    page("A page").save(tmp_path / "page.png", dpi=(200, 200))
    arguments = ("scan", tmp_path / "page.png", tmp_path / "page.png", "-p", "Named", "-u", "alice", "--json")
    away = desk.invoices.rename(desk.invoices.with_name("away"))
    with desk.serving() as server:
        token = json.loads(desk.run(*arguments, "--wait", "0").stdout)["token"]
        with started("jobs", "watch", token, "--config", desk.config) as watch:
            line_with(watch, "next try ")
        made = [one["name"] for one in desk.jobs("show", token)["filters"][0]["made"]]
        server.kill()
        server.wait()
    away.rename(desk.invoices)
    with desk.serving():
        with started("jobs", "watch", token, "--config", desk.config, "--json") as watch:
            job = json.loads(line_with(watch, '"Completed"'))
        assert made == ["Invoice_001_1", "Invoice_001_2"]
        assert delivered(job) == [f"{name}.png" for name in made]
        assert sorted(path.name for path in desk.delivered()) == delivered(job)
        later = json.loads(desk.run(*arguments, "--wait", "60").stdout)["token"]
        assert delivered(desk.jobs("show", later)) == ["Invoice_002_1.png", "Invoice_002_2.png"]
