"""Programs that others wrote, for interop tests: found, or installed, or named as missing."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from lxml import etree

from support.netns import Network
from support.scanning import Site

NODE_SOAP = "1.13.0"
_NODE_AT_LEAST = 20


@dataclass(frozen=True)
class Order:
    """All a peer is told: addresses, files for TLS, who scans with which process, and the pages."""

    services: Mapping[str, str]
    ca: Path
    certificate: Path
    key: Path
    user: str
    process: str
    instructions: etree._Element
    pages: tuple[Path, ...]

    @property
    def service(self) -> str:
        """The address of WS-DSP."""
        return self.services["WS-DSP"]

    def wsdl(self, name: str = "WS-DSP") -> str:
        """Return where the WSDL of a service is."""
        return f"{self.services[name]}?wsdl"


@dataclass(frozen=True)
class Apart:
    """A server on a machine of its own, and a machine named ``peer`` for the program of others."""

    net: Network
    site: Site
    services: Mapping[str, str]


def program(name: str, package: str) -> str:
    """Return the path of a program; skips the test, naming program and package, when it is not there."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(
            f"{name} is not installed (Debian package {package}): the interop test with it did not run"
        )
    return path


def version_of(command: list[str], pattern: str = r"\d+\.\d+(?:\.\d+)*") -> str:
    """Return what a program says its version is, or ``unknown``."""
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(pattern, said.stdout + said.stderr)
    return found.group() if found else "unknown"


def debian_version(package: str) -> str:
    """Return the version of an installed Debian package, or ``unknown``."""
    if shutil.which("dpkg-query") is None:
        return "unknown"
    command = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout or "unknown"


def node_soap() -> tuple[str, Path]:
    """Return node, and a folder with node-soap in it; installs that once, into the user's cache.

    Skips the test, saying what is missing: node, npm, or a package registry that answers.
    """
    node, npm = program("node", "nodejs"), program("npm", "npm")
    version = version_of([node, "--version"])
    if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < _NODE_AT_LEAST:
        pytest.skip(
            f"node {version} is older than {_NODE_AT_LEAST}: the interop test with node-soap did not run"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "postscan-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"node-soap-{NODE_SOAP}"
    # Test processes run side by side: the first installs, and the others wait for it.
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _install_node_soap(npm, cache, folder)
    return node, folder


def _install_node_soap(npm: str, cache: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        (fresh / "package.json").write_text(json.dumps({"name": "peer", "private": True}))
        command = [npm, "install", f"soap@{NODE_SOAP}", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=90, check=False)
            why = done.stderr.strip().splitlines()[-1:] if done.returncode else None
        except subprocess.TimeoutExpired:
            why = ["no answer in 90 seconds"]
        if why is not None:
            pytest.skip(f"npm could not install soap@{NODE_SOAP} ({' '.join(why)}): node-soap did not run")
        fresh.rename(folder)
