"""Scan servers and searches on the machines of :mod:`support.netns`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postscan.cli.installation import Installation, InstallationPlan, create_installation
from support.commands import PROGRAM, environment, line_with
from support.netns import SECONDS, Network


@dataclass
class Served:
    """A server that runs on a machine, its installation, and the addresses of its services by name."""

    made: Installation
    process: subprocess.Popen[str]
    services: Mapping[str, str]

    @property
    def ca(self) -> Path:
        """The authority that certifies it."""
        return self.made.pki / "ca.pem"


def install(
    net: Network, machine: str, folder: Path, *, port: int = 5362, **overrides: Mapping[str, Any]
) -> Installation:
    """Make the installation of a server that listens on all addresses of a machine, under its name."""
    settings = {section: dict(values) for section, values in overrides.items()}
    settings.setdefault("server", {}).setdefault("metrics_listen", "")
    settings.setdefault("limits", {}).setdefault("min_free_bytes", 0)
    return create_installation(
        InstallationPlan(
            folder=folder,
            fqdn=net.fqdn(machine),
            listen=f"0.0.0.0:{port}",
            domain="example.com",
            overrides=settings,
        )
    )


def serve(net: Network, machine: str, made: Installation) -> Served:
    """Run a server on a machine until the network goes, or somebody stops it."""
    process = net.popen(machine, [*PROGRAM, "serve", "--json", "--config", made.config], env=environment())
    ready = json.loads(line_with(process, '"ready"'))
    return Served(made, process, ready["services"])


def serving(net: Network, machine: str, folder: Path, **how: Any) -> Served:
    """Make an installation and run its server."""
    return serve(net, machine, install(net, machine, folder, **how))


def discover(net: Network, machine: str, *options: object) -> list[dict[str, Any]]:
    """Run `postscan discover` on a machine; return what it tells, line by line."""
    done = net.run(machine, [*PROGRAM, "discover", "--json", *options], env=environment())
    assert done.returncode in (0, 5), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def first_found(net: Network, machine: str, *options: object) -> dict[str, Any]:
    """Return the first device that a search tells of, however long a busy machine takes to answer."""
    command = [*PROGRAM, "discover", "--json", "--timeout", SECONDS, *options]
    process = net.popen(machine, command, env=environment())
    found: dict[str, Any] = json.loads(line_with(process, '"found"'))
    process.kill()
    return found
