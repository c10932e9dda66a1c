"""A test domain for people: brought up in a folder, where it stays until it is taken down."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from testdomain.controller import Controller
from testdomain.domain import DomainFolder, provision
from testdomain.errors import TestDomainError
from testdomain.facts import ADDRESS, CONTROLLER, PROCESSES_DN, SERVICE, USERS
from testdomain.namespace import Namespace

_STATE = "running.json"


def up(path: Path) -> None:
    """Start the domain in ``path``, which is made when there is none, and say how to use it."""
    domain = DomainFolder(path) if DomainFolder(path).settings.exists() else provision(path)
    state = domain.path / _STATE
    if state.exists() and Path("/run/netns", json.loads(state.read_text())["namespace"]).exists():
        raise TestDomainError(f"the domain in {path} is up already")
    namespace = Namespace.make(f"testdomain-{os.getpid()}")
    try:
        controller = Controller(domain, namespace, outlives_maker=True)
        controller.start()
    except BaseException:
        namespace.remove()
        raise
    state.write_text(json.dumps({"namespace": namespace.name}))
    _tell(path, domain)


def down(path: Path, *, remove: bool) -> None:
    """End the domain in ``path`` and all that runs beside it; its folder stays unless it is to be removed."""
    domain, namespace = _found(path)
    namespace.kill_processes()
    namespace.remove()
    (domain.path / _STATE).unlink()
    if remove:
        shutil.rmtree(domain.path)


def run(path: Path, command: Sequence[str]) -> int:
    """Run a program beside the controller, and return its exit status."""
    domain, namespace = _found(path)
    environment = Controller(domain, namespace).environment()
    return subprocess.run(namespace.command(command), env=environment, check=False).returncode


def _found(path: Path) -> tuple[DomainFolder, Namespace]:
    domain = DomainFolder(path)
    state = domain.path / _STATE
    if not state.exists():
        raise TestDomainError(f"no domain is up in {path}")
    return domain, Namespace(json.loads(state.read_text())["namespace"])


def _tell(path: Path, domain: DomainFolder) -> None:
    inside = f"{sys.executable} -m testdomain run {shlex.quote(str(path))}"
    bind = f"-D {SERVICE.principal} -w {shlex.quote(SERVICE.password)}"
    print(f"The domain dsm.test is up; its controller is {CONTROLLER} at {ADDRESS}, in a network of its own.")
    print("Users and their passwords:")
    for person in (*USERS, SERVICE):
        note = " (disabled)" if not person.enabled else " (expired)" if person.expired else ""
        print(f"  {person.name:<10} {person.principal:<29} {person.password}{note}")
    print(f"The authority of its certificates: {domain.ca}")
    print("Programs see it when they are started like this:")
    print(f"  {inside} ldapsearch -x -H ldaps://{CONTROLLER} {bind} -b {PROCESSES_DN} displayName")
    print(f"  {inside} sh")
    print(f"It stays until: {sys.executable} -m testdomain down {shlex.quote(str(path))}")
