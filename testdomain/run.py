"""A test domain from one call: copied from a template, in a namespace of its own, started."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testdomain.controller import Controller
from testdomain.domain import template
from testdomain.namespace import Namespace

# A folder to keep the template in from one run to the next: saves some seconds.
TEMPLATE_VARIABLE = "TESTDOMAIN_TEMPLATE"


@contextmanager
def running(shared: Path) -> Iterator[Controller]:
    """Run a controller of a new domain.

    :param shared: where the template is made, once for everybody who names this folder (unless
        the environment variable TESTDOMAIN_TEMPLATE names one).
    :raises TestDomainError: something is missing here, or Samba failed.
    """
    remove_abandoned()
    original = template(template_folder(shared))
    with ExitStack() as stack:
        namespace = Namespace.make()
        stack.callback(namespace.remove)
        stack.callback(namespace.kill_processes)
        folder = Path(tempfile.gettempdir(), namespace.name)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        controller = Controller(original.copy(folder / "domain"), namespace)
        stack.callback(controller.stop)
        controller.start()
        yield controller


def template_folder(shared: Path) -> Path:
    """Return where the template is: where the environment says, or below ``shared``."""
    return Path(os.environ.get(TEMPLATE_VARIABLE) or shared / "testdomain")


def remove_abandoned() -> None:
    """Remove what was made by processes that were killed and could not clean up."""
    for name in Namespace.abandoned():
        Namespace(name).kill_processes()
        Namespace(name).remove()
        shutil.rmtree(Path(tempfile.gettempdir(), name), ignore_errors=True)
