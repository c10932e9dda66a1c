"""A test domain with a crowd in it: filled, kept if wanted, started."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.crowd import Crowd
from bench.toolbox import REPOSITORY, BenchError
from testdomain import offline
from testdomain.controller import Controller
from testdomain.domain import DomainFolder, missing, template
from testdomain.namespace import Namespace
from testdomain.run import remove_abandoned, template_folder


def _lacking() -> list[str]:
    ldapsearch = (
        [] if shutil.which("ldapsearch") else ["ldapsearch (Debian package ldap-utils) is not installed"]
    )
    return [*missing(), *ldapsearch]


@contextmanager
def running_crowd(crowd: Crowd, folder: Path, shared: Path) -> Iterator[tuple[Controller, float]]:
    """Run a controller with everybody in it; also tells how many seconds putting them in took (0: kept)."""
    if _lacking():
        subprocess.run(["sh", str(REPOSITORY / "tools" / "debian-packages"), "domain"], check=False)
    if lacking := _lacking():
        raise BenchError("; ".join(lacking))
    mark = folder / ".crowd"
    wanted = f"{crowd.users} {crowd.processes}"
    seconds = 0.0
    if not (mark.is_file() and mark.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        domain = template(template_folder(shared)).copy(folder)
        began = time.perf_counter()
        offline.apply(domain.path, crowd.operations())
        seconds = time.perf_counter() - began
        mark.write_text(wanted)
    remove_abandoned()
    with ExitStack() as stack:
        namespace = Namespace.make()
        stack.callback(namespace.remove)
        stack.callback(namespace.kill_processes)
        controller = Controller(DomainFolder(folder), namespace)
        stack.callback(controller.stop)
        controller.start()
        yield controller, seconds
