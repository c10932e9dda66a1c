"""Filters of other packages: found by their entry points, refused in words when they cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from postscan.core.errors import ConfigurationError
from postscan.filters.contract import (
    DeliveryFilter,
    FilterEnvironment,
    InstructionsError,
    ProbedFilter,
    ProcessingFilter,
)
from postscan.filters.plugins import InstalledFilter, installed_filters
from postscan.filters.previews import PreviewedFilter
from postscan.soap.names import FSF, PSP
from postscan.soap.xml import parse
from support.delivery import JOB
from support.packages import install

OWN = {FSF: "file-share"}
DIALECT = "urn:example:tray"
HEAD = """
    from postscan.core.errors import ConfigurationError
    from postscan.filters.contract import Destination, FilterKind

    class Tray:
        dialect = "urn:example:tray"

        def destinations(self, instructions, job):
            return [Destination("tray", "the tray")]

        async def deliver(self, order, ledger):
            pass
"""
TRAY = (
    HEAD
    + """
    KIND = FilterKind("tray", "urn:example:tray", lambda environment: Tray())
"""
)
INSTRUCTIONS = parse(f'<p:Instructions xmlns:p="{PSP}"/>'.encode())


@pytest.fixture(name="packages")
def _packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which packages are as good as installed."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def found(disabled: tuple[str, ...] = ()) -> dict[str, InstalledFilter]:
    return {one.kind.name: one for one in installed_filters(OWN, disabled)}


def refused(disabled: tuple[str, ...] = ()) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        installed_filters(OWN, disabled)
    return caught.value


def refused_to_make(packages: Path, source: str) -> ConfigurationError:
    install(packages, "trays", {"tray": "KIND"}, source)
    with pytest.raises(ConfigurationError) as caught:
        found()["tray"].make(FilterEnvironment())
    return caught.value


def test_an_installed_filter_is_found_by_its_entry_point(packages: Path) -> None:
    install(packages, "postscan-trays", {"tray": "KIND"}, TRAY)
    tray = found()["tray"]
    assert (tray.package, tray.kind.dialect) == ("package postscan-trays 1.0", DIALECT)
    made = tray.make(FilterEnvironment())
    assert [place.key for place in made.destinations(INSTRUCTIONS, JOB)] == ["tray"]


def test_what_a_filter_cannot_do_it_does_not_seem_to_do(packages: Path) -> None:
    install(packages, "trays", {"tray": "KIND"}, TRAY)
    made = found()["tray"].make(FilterEnvironment())
    assert isinstance(made, DeliveryFilter)
    assert not isinstance(made, ProcessingFilter)
    assert not isinstance(made, ProbedFilter)


def test_a_filter_that_is_turned_off_is_not_even_loaded(packages: Path) -> None:
    install(packages, "trays", {"tray": "KIND"}, "raise RuntimeError('loaded')")
    assert found(("tray",)) == {}


@pytest.mark.parametrize(
    ("attribute", "source", "message"),
    [
        ("KIND", "import a_module_that_nobody_has", "cannot be loaded: ModuleNotFoundError: No module named"),
        ("KIND", "raise SystemError", "cannot be loaded: SystemError"),
        ("KIND", "raise SystemExit(2)", "cannot be loaded: SystemExit: 2"),
        ("KIND", TRAY.replace('"tray", "urn:example:tray"', '"tray", 5'), "which is no URI"),
        ("KIND", TRAY.replace("lambda environment: Tray()", "Tray, schema='<xs:schema/>'"), "str, not bytes"),
        ("KIND", "", "cannot be loaded: AttributeError"),
        ("KIND", "KIND = 5", "leads to int, not to a FilterKind"),
        ("", TRAY, "leads to module, not to a FilterKind"),
        ("KIND", TRAY.replace('FilterKind("tray"', 'FilterKind("trays"'), "has the name 'trays'"),
        ("KIND", TRAY.replace('"tray", "urn:example:tray"', '"tray", "no uri"'), "which is no URI"),
        ("KIND", TRAY.replace('FilterKind("tray"', 'FilterKind("Tray"'), "in lower-case letters"),
    ],
)
def test_an_entry_point_that_leads_to_no_filter_is_told_with_its_package(
    packages: Path, attribute: str, source: str, message: str
) -> None:
    module = install(packages, "postscan-trays", {"tray": attribute}, source)
    error = refused()
    assert message in str(error)
    assert f"the entry point tray = {module}" in str(error)
    assert "of package postscan-trays 1.0" in str(error)
    assert 'disabled = ["tray"] under [filters]' in error.what_to_do


@pytest.mark.parametrize("what", ["name", "dialect"])
def test_two_packages_that_claim_the_same_are_both_named(packages: Path, what: str) -> None:
    install(packages, "first-trays", {"tray": "KIND"}, TRAY)
    other = (
        TRAY.replace('FilterKind("tray"', 'FilterKind("box"')
        if what == "dialect"
        else TRAY.replace('"tray", "urn:example:tray"', '"tray", "urn:example:box"')
    )
    install(packages, "second-trays", {"box" if what == "dialect" else "tray": "KIND"}, other)
    error = refused()
    assert "package first-trays 1.0" in str(error)
    assert "package second-trays 1.0" in str(error)
    assert f"the {what} " in str(error)


def test_turning_one_of_two_off_settles_whose_dialect_it_is(packages: Path) -> None:
    install(packages, "first-trays", {"tray": "KIND"}, TRAY)
    install(packages, "second-trays", {"box": "KIND"}, TRAY.replace('FilterKind("tray"', 'FilterKind("box"'))
    assert list(found(("tray",))) == ["box"]


@pytest.mark.parametrize(
    "source",
    [
        TRAY.replace('"urn:example:tray"', f'"{FSF}"'),
        TRAY.replace('FilterKind("tray"', 'FilterKind("file-share"'),
    ],
    ids=["dialect", "name"],
)
def test_nobody_takes_the_place_of_a_filter_of_our_own(packages: Path, source: str) -> None:
    install(packages, "trays", {"file-share" if '"file-share"' in source else "tray": "KIND"}, source)
    error = refused()
    assert "which is Postscan's own" in str(error)
    assert "package trays 1.0" in str(error)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TRAY.replace("lambda environment: Tray()", "lambda environment: 1 / 0"), "ZeroDivisionError"),
        (TRAY.replace("lambda environment: Tray()", "lambda environment: exit(3)"), "start: SystemExit: 3"),
        (TRAY.replace("lambda environment: Tray()", "lambda environment: None"), "makes is no filter of"),
        (TRAY.replace("async def deliver", "async def bring"), "either `deliver` or `process`"),
        (TRAY + "\n    Tray.process = Tray.deliver\n", "either `deliver` or `process`"),
        (TRAY.replace('dialect = "urn:example:tray"', 'dialect = "urn:example:box"'), "is no filter of"),
    ],
)
def test_a_filter_that_cannot_be_made_is_told_with_its_package(
    packages: Path, source: str, message: str
) -> None:
    error = refused_to_make(packages, source)
    assert message in str(error)
    assert "the filter tray of package trays 1.0" in str(error)
    assert "[filters.tray]" in error.what_to_do


def test_settings_that_a_filter_refuses_are_told_in_its_own_words(packages: Path) -> None:
    source = (
        HEAD
        + """
    def make(environment):
        raise ConfigurationError("depth is missing", advice="write depth = 3")

    KIND = FilterKind("tray", "urn:example:tray", make)
"""
    )
    error = refused_to_make(packages, source)
    assert str(error).endswith("cannot be used: depth is missing")
    assert "write depth = 3" in error.what_to_do


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("[Destination('', 'x')]", "a destination without a key"),
        ("[Destination('x' * 1001, 'x')]", "more than 1000 characters"),
        ("[Destination('x', 'x'), Destination('x', 'y')]", "two destinations with one key"),
        ("[Destination(str(n), 'x') for n in range(201)]", "more than 200 destinations"),
        ("(Destination(str(n), 'x') for n in iter(int, 1))", "more than 200 destinations"),
        ("['tray']", "failed to read its instructions: TypeError"),
        ("exit(3)", "failed to read its instructions: SystemExit"),
        ("5", "failed to read its instructions: TypeError"),
        ("1 / 0", "failed to read its instructions: ZeroDivisionError"),
    ],
)
def test_wrong_answers_of_a_filter_refuse_the_job_and_nothing_else(
    packages: Path, answer: str, message: str
) -> None:
    source = TRAY.replace('[Destination("tray", "the tray")]', answer)
    install(packages, "trays", {"tray": "KIND"}, source)
    made = found()["tray"].make(FilterEnvironment())
    with pytest.raises(InstructionsError, match=message):
        made.destinations(INSTRUCTIONS, JOB)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("['it lies in the tray']", ["it lies in the tray"]),
        ("(5 for _ in iter(int, 1))", ["5"] * 100),
        ("1 / 0", []),
        ("exit(3)", []),
        ("None", []),
    ],
)
def test_a_preview_that_fails_is_left_out(packages: Path, answer: str, told: list[str]) -> None:
    source = f"{TRAY}\n    Tray.preview = lambda self, instructions, job: {answer}\n"
    install(packages, "trays", {"tray": "KIND"}, source)
    made = found()["tray"].make(FilterEnvironment())
    assert isinstance(made, PreviewedFilter)
    assert made.preview(INSTRUCTIONS, JOB) == told
