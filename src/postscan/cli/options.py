"""Options that several commands share, so that they are spelled and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="POSTSCAN_CONFIG",
        metavar="FILE",
        help="The server's settings (server.toml).",
    ),
]
OptionalConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="POSTSCAN_CONFIG",
        metavar="FILE",
        help="The server's settings (server.toml), which name the directory.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

DEFAULT_CONFIG = Path("server.toml")
