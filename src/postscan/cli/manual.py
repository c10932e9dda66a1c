"""The program as a whole: the table of commands, loaded when used, and `postscan --help` as a manual page."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from postscan.cli.exit_codes import MEANINGS


@dataclass(frozen=True, slots=True)
class CommandGroup:
    """One command or command group: which module of ``postscan.cli`` has it, and its line in the manual.

    The module has a Typer ``app``: with one command it becomes ``postscan NAME``, with a callback or
    several commands ``postscan NAME COMMAND``.
    """

    module: str
    summary: str


# To add a command: write postscan/cli/<module>.py with a Typer `app`, and a line here. The module is
# imported when its command runs, so it may import what it likes.
COMMAND_GROUPS: dict[str, CommandGroup] = {
    "demo": CommandGroup("demo", "See the whole system work, in a temporary folder."),
    "init": CommandGroup("init", "Make a complete installation: settings, keys, directory, folders."),
    "serve": CommandGroup("serve", "Run the scan server."),
    "scan": CommandGroup("scan", "Scan files to a scan server: a DSM device in one command."),
    "discover": CommandGroup("discover", "Search the network for devices and scan servers."),
    "server": CommandGroup("server", "Look after a scan server over the network, as its administrator."),
    "jobs": CommandGroup("jobs", "Follow, cancel and deliver again the jobs of the server here."),
    "processes": CommandGroup("processes", "List, validate, move and edit scan processes."),
    "directory": CommandGroup("directory", "Check the directory, and publish the certificate in it."),
    "secrets": CommandGroup("secrets", "Enter, list and remove passwords that the server needs."),
    "certificates": CommandGroup("certificates", "List, issue and renew certificates."),
    "config": CommandGroup("config", "Check the settings and everything they name."),
}

_FILES = [
    ("server.toml", "the server's settings; paths in it are relative to its folder"),
    ("secrets.toml", "passwords that were entered with `postscan secrets set`; the server's alone"),
    ("pki/", "the certificates of the authority, the server and the users; *.key files are private"),
    ("directory/users.toml", "the users: security identifier, names, mail, groups"),
    ("directory/processes/", "the scan processes: *.xml, each beside a *.toml that says who may use it"),
    ("data/", "the server's own: jobs and accepted images; only the server writes here"),
    ("delivered/", "where the sample scan processes deliver"),
]
_ENVIRONMENT = [
    ("POSTSCAN_CONFIG", "the settings file when --config is not given"),
    ("POSTSCAN_<SECTION>__<KEY>", "overrides one setting, such as POSTSCAN_SERVER__LISTEN=0.0.0.0:5362"),
    ("POSTSCAN_SECRET_<NAME>", "a secret, such as POSTSCAN_SECRET_DIRECTORY_PASSWORD"),
    ("CREDENTIALS_DIRECTORY", "where systemd put secrets (LoadCredential=directory.password:...)"),
    ("POSTSCAN_DEBUG", "set to 1, the same as --debug"),
    ("NO_COLOR", "set to anything: no colour"),
]
_EXAMPLES = [
    ("postscan demo", "see the whole system work"),
    ("postscan init scans --fqdn scan.example.com --listen 0.0.0.0:5362", "make an installation"),
    ("postscan config check --config scans/server.toml", "see every setting and whether all is in order"),
    ("postscan serve --config scans/server.toml", "run the server"),
    (
        "postscan scan page.tif --process Invoices --user alice --config scans/server.toml",
        "scan a page as alice, from the same machine",
    ),
    ("postscan discover --ca scans/pki/ca.pem", "see which devices and servers the network has"),
    ("postscan server watch --config scans/server.toml", "see every job's events, as an administrator"),
    ("postscan server reload --config scans/server.toml", "put changed settings into force"),
    ("postscan processes list --config scans/server.toml --user alice", "see what alice may use"),
    ("postscan processes validate invoices.xml", "check a scan process before it goes into service"),
    (
        "postscan processes test Invoices --user alice --config scans/server.toml",
        "prove every destination of one, without a job",
    ),
    ("postscan processes export --to backup --config scans/server.toml", "keep the scan processes as files"),
    ("postscan processes diff backup --config scans/server.toml", "see what importing them would change"),
]

_COMPLETION_OPTIONS = {"install_completion", "show_completion"}


class LazyCommands(MutableMapping[str, Any]):
    """The commands by name; a command's module is imported when the command is first asked for."""

    def __init__(self, groups: dict[str, CommandGroup]) -> None:
        self._groups = groups
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            module = importlib.import_module(f"postscan.cli.{self._groups[name].module}")
            command = typer.main.get_command(module.app)
            command.name = name
            # Typer adds these to every app that stands alone, which none of ours does.
            command.params = [p for p in command.params if p.name not in _COMPLETION_OPTIONS]
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._groups, **self._loaded})

    def __len__(self) -> int:
        return len({**self._groups, **self._loaded})

    def __contains__(self, name: object) -> bool:
        return name in self._groups or name in self._loaded


class ManualGroup(TyperGroup):
    """The top of the command line: lazy commands, and help that reads like a manual page."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands(COMMAND_GROUPS)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands' names in the order of the table, importing nothing."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table of commands from their summaries, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, group.summary) for name, group in COMMAND_GROUPS.items()])
        formatter.write_paragraph()
        formatter.write_text("`postscan COMMAND --help` explains each.")

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the manual page's further sections."""
        with formatter.section("Files (of an installation made by `postscan init`)"):
            formatter.write_dl(_FILES)
        with formatter.section("Environment"):
            formatter.write_dl(_ENVIRONMENT)
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])
        with formatter.section("Examples"):
            for command, purpose in _EXAMPLES:
                formatter.write(f"{'':{formatter.current_indent}}# {purpose}\n")
                formatter.write(f"{'':{formatter.current_indent}}{command}\n")
