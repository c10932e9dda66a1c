"""What `postscan processes validate` tells of every filter's instructions, for a server's settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from postscan.cli import main
from postscan.cli.process_checks import ProcessChecker, ProcessReport
from postscan.cli.settings import load_settings
from postscan.core.errors import PostscanError
from postscan.soap.names import ASSEMBLE, EMLF, FSF, NAMES, SPF
from support.scanning import make_installation, running

EMAIL = {"server": "mail.example.com", "sender": "scans@example.com", "auth": "none"}
SITES = {"https://sp.example.com": {"api": "webdav", "auth": "ntlm", "account": "DSM\\svc"}}


def shares(*paths: str) -> tuple[str, str]:
    listed = "\n".join(f"<f:ShareUNC>{path}</f:ShareUNC>" for path in paths)
    return (
        FSF,
        f'<f:FileShareConfig xmlns:f="{FSF}"><f:FileShares>\n{listed}</f:FileShares></f:FileShareConfig>',
    )


def mail(*addresses: str) -> tuple[str, str]:
    listed = "\n".join(f"<e:EmailAddress>{one}</e:EmailAddress>" for one in addresses)
    return EMLF, (
        f'<e:EmailConfig xmlns:e="{EMLF}"><e:SendToScanUser>true</e:SendToScanUser>'
        f"<e:SendToAddresses>\n{listed}</e:SendToAddresses></e:EmailConfig>"
    )


def sites(*urls: str) -> tuple[str, str]:
    listed = "\n".join(f"<s:SaveToSharePointSiteURL>{one}</s:SaveToSharePointSiteURL>" for one in urls)
    return SPF, (
        f'<s:SharePointConfig xmlns:s="{SPF}"><s:SaveToMySite>true</s:SaveToMySite>'
        f"<s:SaveToSharePointSites>\n{listed}</s:SaveToSharePointSites></s:SharePointConfig>"
    )


def pdf() -> tuple[str, str]:
    return ASSEMBLE, f'<a:AssembleConfig xmlns:a="{ASSEMBLE}"><a:Output>pdf-a</a:Output></a:AssembleConfig>'


def names(template: str) -> tuple[str, str]:
    return NAMES, f'<n:NamesConfig xmlns:n="{NAMES}">\n\n<n:Template>{template}</n:Template></n:NamesConfig>'


class Checks:
    """A server's settings, and scan processes that are checked with them."""

    def __init__(self, folder: Path, **overrides: dict[str, object]) -> None:
        self.made = make_installation(folder / "site", **overrides)
        self.sample = next((self.made.directory / "processes").glob("*.xml")).read_text()

    @property
    def delivered(self) -> str:
        """A share that may be written to."""
        return (self.made.folder / "delivered").as_uri()

    def process(self, *filters: tuple[str, str]) -> str:
        """Return a scan process with these filters."""
        head, _, rest = self.sample.partition("<psp:FiltersToProcess>")
        _, _, tail = rest.partition("</psp:FiltersToProcess>")
        listed = "".join(
            f"\n<psp:Filter><psp:Dialect>{dialect}</psp:Dialect><psp:Instructions>\n{config}\n"
            "</psp:Instructions></psp:Filter>"
            for dialect, config in filters
        )
        return f"{head}<psp:FiltersToProcess>{listed}</psp:FiltersToProcess>{tail}"

    def report(self, *filters: tuple[str, str]) -> ProcessReport:
        """Check a scan process with these filters."""
        loaded = load_settings(self.made.config, {})
        return ProcessChecker(loaded).report(self.process(*filters).encode())

    def lines(self, words: str, *filters: tuple[str, str]) -> list[int]:
        """Return the lines of such a scan process that have these words."""
        text = self.process(*filters)
        return [number for number, line in enumerate(text.split("\n"), 1) if words in line]


@pytest.fixture(name="checks")
def _checks(tmp_path: Path) -> Checks:
    return Checks(tmp_path, email=EMAIL, sharepoint={"sites": SITES})


def test_a_process_with_all_filters_is_valid(checks: Checks) -> None:
    report = checks.report(
        pdf(),
        names("{root}_{counter:05}"),
        shares(checks.delivered),
        mail("bob@example.com"),
        sites("https://sp.example.com/sites/team/Shared%20Documents"),
    )
    assert report.problems == ()
    assert report.hints == ()


@pytest.mark.parametrize(
    ("filter_", "wrong"),
    [
        (
            mail("bob@example.com", "bob@elsewhere.org", "no address", "x@y.org"),
            ("elsewhere", "no add", "y.org"),
        ),
        (
            sites(
                "https://sp.example.com/a/b",
                "https://other.example.com/a",
                "https://sp.example.com.evil.org/",
            ),
            ("other.", "evil"),
        ),
        (shares("file:///etc", "file:///var"), ("/etc", "/var")),
    ],
    ids=["e-mail", "SharePoint", "file share"],
)
def test_every_wrong_destination_is_told_with_its_own_line(
    checks: Checks, filter_: tuple[str, str], wrong: tuple[str, ...]
) -> None:
    problems = checks.report(filter_).problems
    expected = [line for words in wrong for line in checks.lines(words, filter_)]
    assert [problem.line for problem in problems] == expected
    assert all(problem.advice for problem in problems)


def test_more_destinations_than_a_server_can_follow_are_told_soon(checks: Checks) -> None:
    (problem,) = checks.report(shares(*(f"{checks.delivered}/{number}" for number in range(3_000)))).problems
    assert "3000 destinations, 200 are allowed" in problem.message
    assert "Divide" in problem.advice


def test_a_wrong_template_is_told_with_its_line(checks: Checks) -> None:
    filters = (names("{rooot}"), shares(checks.delivered))
    (problem,) = checks.report(*filters).problems
    assert [problem.line] == checks.lines("rooot", *filters)
    assert "root" in problem.advice + problem.message


def test_the_names_that_documents_would_get_are_shown(checks: Checks) -> None:
    report = checks.report(names("{root}_{process}_{user}_{counter:05}"), shares(checks.delivered))
    root, name = re.search(r"RootName>(.*?)<.*", checks.sample), re.search(r"JobName>(.*?)<", checks.sample)
    assert root is not None
    assert name is not None
    expected = f"{root[1]}_{name[1]}_user_00001"
    assert any(expected in sentence for _line, sentence in report.previews), report.previews


def test_filters_that_are_not_set_up_name_their_section(tmp_path: Path) -> None:
    report = Checks(tmp_path).report(mail("bob@example.com"), sites("https://sp.example.com/a"))
    assert ["e-mail" in one.message or "SharePoint" in one.message for one in report.problems] == [True, True]
    assert "[email]" in report.problems[0].advice
    assert "[sharepoint]" in report.problems[1].advice


def test_a_filter_that_is_turned_off_is_told(tmp_path: Path) -> None:
    checks = Checks(tmp_path, filters={"disabled": ["assemble"]})
    (problem,) = checks.report(pdf(), shares(checks.delivered)).problems
    assert problem.message == "the assemble filter is turned off on this server"
    assert '"assemble"' in problem.advice


def test_processing_steps_alone_would_deliver_nothing(checks: Checks) -> None:
    (problem,) = checks.report(pdf(), names("{root}")).problems
    assert "would be delivered nowhere" in problem.message


def test_a_step_behind_a_delivery_is_told_to_run_first(checks: Checks) -> None:
    filters = (shares(checks.delivered), pdf())
    report = checks.report(*filters)
    assert report.problems == ()
    ((line, hint),) = report.hints
    assert "runs before it all the same" in hint
    assert line == checks.lines("<psp:Filter>", *filters)[1]


def test_an_unknown_filter_is_told_with_those_there_are(checks: Checks) -> None:
    (problem,) = checks.report(
        ("urn:example:fax", '<a xmlns="urn:example:fax"/>'), shares(checks.delivered)
    ).problems
    assert "urn:example:fax" in problem.message
    assert "names (urn:postscan:filter:names)" in problem.advice


def test_hints_and_previews_are_printed_and_in_the_json(
    checks: Checks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.xml"
    file.write_text(checks.process(shares(checks.delivered), names("{root}_{counter:05}")))
    config = ["--config", str(checks.made.config)]
    assert main(["processes", "validate", str(file), *config]) == 0
    said = capsys.readouterr().out
    assert "note: this processing step stands behind" in said
    assert "_00001" in said
    assert main(["processes", "validate", str(file), "--json", *config]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["valid"]
    assert len(told["hints"]) == 1
    assert any("_00001" in one["preview"] for one in told["previews"])


def test_processes_show_tells_what_the_steps_do(checks: Checks, capsys: pytest.CaptureFixture[str]) -> None:
    path = checks.made.directory / "processes" / "invoices.xml"
    path.write_text(checks.process(pdf(), names("{root}_x"), mail("bob@example.com")))
    config = ["--config", str(checks.made.config)]
    assert main(["processes", "show", "Invoices", *config]) == 0
    said = capsys.readouterr().out
    for words in ("assemble: Output pdf-a", "names: Template {root}_x", "e-mail: the user's own address"):
        assert words in said
    assert main(["processes", "list", "--json", *config]) == 0
    told = {one["display_name"]: one for one in json.loads(capsys.readouterr().out)}
    kinds = [(one["name"], one["processing"]) for one in told["Invoices"]["filters"]]
    assert kinds == [("assemble", True), ("names", True), ("e-mail", False)]


async def test_a_job_for_a_filter_that_is_not_set_up_is_refused(tmp_path: Path) -> None:
    checks = Checks(tmp_path)
    (checks.made.directory / "processes" / "invoices.xml").write_text(checks.process(mail("bob@example.com")))
    async with running(tmp_path / "site", made=checks.made) as site, site.device() as device:
        with pytest.raises(PostscanError, match="NoValidPostScanInstructionsFound"):
            await device.create(await site.process("Invoices"), (await site.user()).sid)
