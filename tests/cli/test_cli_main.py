"""The program as a whole: help, version, exit statuses, errors without tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import postscan.cli.manual
from postscan.cli import main
from postscan.cli.exit_codes import MEANINGS, ExitCode
from postscan.cli.manual import COMMAND_GROUPS, CommandGroup
from postscan.core.errors import ConfigurationError


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import sys; from postscan.cli import main; sys.exit(main())", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Give the program a command ``fail`` that raises whatever the test puts into the list."""
    errors: list[BaseException] = []
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    def fail() -> None:
        raise errors[0]

    module = type(sys)("postscan.cli.failing_for_tests")
    module.app = app  # type: ignore[attr-defined]  # a module made for this test
    monkeypatch.setitem(sys.modules, "postscan.cli.failing_for_tests", module)
    monkeypatch.setitem(COMMAND_GROUPS, "fail", CommandGroup("failing_for_tests", "Fail."))
    return errors


def test_help_reads_like_a_manual_page() -> None:
    page = run("--help")
    assert page.returncode == 0
    for heading in ("Usage:", "Options:", "Commands:", "Files", "Environment:", "Exit status:", "Examples:"):
        assert heading in page.stdout
    for name in COMMAND_GROUPS:
        assert f"\n  {name} " in page.stdout
    for code, meaning in MEANINGS.items():
        assert f"{int(code)} " in page.stdout
        assert meaning in page.stdout


def test_help_loads_no_command() -> None:
    heavy = ["lxml", "pydantic_settings", "cryptography", "aiohttp", "sqlalchemy"]
    program = (
        "import sys; from postscan.cli import main; main(['--help']);"
        f"print([module for module in {heavy} if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", list(COMMAND_GROUPS))
def test_every_command_explains_itself_as_the_manual_does(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    _usage, explained, *_more = capsys.readouterr().out.split("\n\n")
    assert explained.split()[:2] == COMMAND_GROUPS[name].summary.split()[:2]


@pytest.mark.parametrize("name", list(COMMAND_GROUPS))
def test_no_command_offers_to_change_the_shell(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "completion" not in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("postscan 0.")


def test_without_a_command_help_is_shown_and_the_status_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == ExitCode.USAGE
    assert "Usage: postscan" in capsys.readouterr().err


def test_a_mistyped_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proceses"]) == ExitCode.USAGE
    assert "Did you mean 'processes'?" in capsys.readouterr().err


def test_a_wrong_option_leads_to_that_commands_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--nonsense"]) == ExitCode.USAGE
    assert "postscan config check --help" in capsys.readouterr().err


def test_an_error_on_purpose_is_told_with_advice_and_its_own_status(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ConfigurationError("the key is missing", advice="write one"))
    assert main(["fail"]) == ExitCode.CONFIGURATION
    assert capsys.readouterr().err == "error: the key is missing\nwhat to do: write one\n"


def test_an_unexpected_error_shows_no_traceback(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(RuntimeError("boom"))
    assert main(["fail"]) == ExitCode.FAILURE
    told = capsys.readouterr().err
    assert "RuntimeError: boom" in told
    assert "Traceback" not in told
    assert "--debug" in told


def test_debug_shows_the_traceback(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing.append(RuntimeError("boom"))
    assert main(["--debug", "fail"]) == ExitCode.FAILURE
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("POSTSCAN_DEBUG", "1")
    assert main(["fail"]) == ExitCode.FAILURE
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_has_its_own_status(failing: list[BaseException]) -> None:
    failing.append(KeyboardInterrupt())
    assert main(["fail"]) == ExitCode.INTERRUPTED


def test_a_broken_network_pipe_is_an_error_not_a_closed_output(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(BrokenPipeError(32, "Broken pipe"))
    assert main(["fail"]) == ExitCode.FAILURE
    assert "Broken pipe" in capsys.readouterr().err


def test_a_missing_file_is_named(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(FileNotFoundError(2, "No such file or directory", "page.tif"))
    assert main(["fail"]) == ExitCode.FAILURE
    assert "No such file or directory: page.tif" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_failure(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from postscan.cli import main; sys.exit(main())", "--help"],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == ExitCode.OUTPUT_CLOSED
    assert done.stderr == b""


def test_every_exit_status_is_explained() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert postscan.cli.manual.MEANINGS is MEANINGS
