"""`postscan config`: what is in force, where it came from, and whether all that it names is in order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from postscan.cli.output import Output, quiet_logs

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Check the settings and everything they name."""


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Print every setting and where it came from, then what is wrong with files, keys and folders.

    Checked are: the certificate (dates, name, key), permissions of private keys, the authorities, the
    directory and its scan processes, the data folder, and the file-share folders.

    Exit status: 0 when all is in order (warnings included), 3 when something is wrong.
    """
    from postscan.cli.checks import check_installation
    from postscan.cli.directory_findings import in_words
    from postscan.cli.findings import Severity
    from postscan.cli.settings import load_settings
    from postscan.cli.settings_text import unit_of
    from postscan.cli.toml_text import toml_value

    output = Output(json)
    loaded = load_settings(config, os.environ)
    quiet_logs()
    findings = check_installation(loaded)
    problems = [finding for finding in findings if finding.severity is Severity.PROBLEM]

    values = {
        shown.key: {
            "value": shown.value,
            "unit": unit_of(shown.field) if shown.field is not None else "",
            "origin": loaded.origin_of(shown),
        }
        for shown in loaded.values()
    }
    output.line(f"settings of {loaded.path.absolute()}")
    output.table(
        ["key", "value", "from"],
        [
            (dotted, f"{toml_value(entry['value'])} {entry['unit']}".rstrip(), entry["origin"])
            for dotted, entry in values.items()
        ],
        styles={"from": lambda origin: "dim" if origin == "default" else "bold"},
        whole=["key"],
    )
    output.line()
    directory = in_words(loaded)
    output.line(f"directory: {directory}")
    if loaded.settings.directory.is_active:
        output.line("  nobody was asked; `postscan directory check` walks the whole way to the domain")
    for finding in findings:
        output.line(f"{finding.severity}: {finding.key}: {finding.message}", style=_STYLES[finding.severity])
        output.line(f"  what to do: {finding.advice}")
    warnings = len(findings) - len(problems)
    output.line(_verdict(len(problems), warnings), style="bold red" if problems else "bold green")
    output.result(
        {
            "file": loaded.path.absolute(),
            "ok": not problems,
            "directory": directory,
            "settings": {dotted: _plain(entry) for dotted, entry in values.items()},
            "findings": [
                {
                    "key": finding.key,
                    "severity": finding.severity,
                    "message": finding.message,
                    "advice": finding.advice,
                }
                for finding in findings
            ],
        }
    )
    if problems:
        raise typer.Exit(ExitCode.CONFIGURATION)


_STYLES = {"problem": "bold red", "warning": "yellow"}


def _verdict(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "All is in order."
    count = [
        f"{n} {word}{'' if n == 1 else 's'}"
        for n, word in ((problems, "problem"), (warnings, "warning"))
        if n
    ]
    return f"{' and '.join(count)}."


def _plain(value: Any) -> Any:
    """Make a value fit for JSON: paths as text."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
