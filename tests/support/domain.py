"""A real Active Directory for a test: Samba, with the people and scan processes of testdomain.facts.

    async def test_something(domain: Domain) -> None:
        client = Ldap(LdapSettings(controllers=(CONTROLLER,), ca=domain.ca, ...))

While a test uses the fixture ``domain`` it is in the controller's network namespace: sockets, threads and
programs it makes are there, KRB5_CONFIG is set, and names under dsm.test lead to 10.53.0.1. One controller
serves all tests of a worker; a test may stop or freeze it (it is well again for the next) and has to remove
what it adds. TESTDOMAIN_TEMPLATE=DIR keeps the provisioned domain there for later runs, which saves seconds.
``domain.run([...])`` runs a program there, with /etc/hosts and /etc/resolv.conf of the domain as well.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from postscan.cli.pki import KeyPair
from testdomain.controller import Controller
from testdomain.domain import missing
from testdomain.errors import NamespaceRefused
from testdomain.facts import ADDRESS, BASE_DN, DNS_DOMAIN
from testdomain.run import running


class Domain:
    """A running domain, as a test sees it."""

    address = ADDRESS
    base_dn = BASE_DN

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.folder = controller.domain

    @property
    def ca(self) -> Path:
        """The certificate of the domain's authority (PEM), which signed those of controller and server."""
        return self.folder.ca

    @property
    def krb5_conf(self) -> Path:
        """The settings for Kerberos clients; KRB5_CONFIG names them while a test is inside."""
        return self.folder.krb5_conf

    def authority(self) -> KeyPair:
        """Return the domain's authority with its key, to issue certificates by postscan.cli.pki."""
        return self.folder.authority()

    def run(
        self, command: Sequence[object], *, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the namespace to its end; ``options`` are those of subprocess.run."""
        return self.controller.run(command, timeout=timeout, **options)

    def popen(self, command: Sequence[object], **options: Any) -> subprocess.Popen[str]:
        """Start a program in the namespace; the caller ends it."""
        chosen = {"text": True, "env": self.controller.environment()} | options
        process: subprocess.Popen[str] = subprocess.Popen(
            self.controller.namespace.command(command), **chosen
        )
        return process

    def stop(self) -> None:
        """End the controller, as by a power cut: its ports are closed."""
        self.controller.stop()

    def start(self) -> None:
        """Start the controller again and wait until it answers; its data is as it was."""
        self.controller.start()

    def freeze(self) -> None:
        """Let the controller answer nothing, while its connections stay and new ones are accepted."""
        self.controller.freeze()

    def thaw(self) -> None:
        """Let the controller go on."""
        self.controller.thaw()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in the namespace; a test that has the fixture ``domain`` is there already."""
        with pytest.MonkeyPatch.context() as patch, self.controller.namespace.inside():
            patch.setenv("KRB5_CONFIG", str(self.krb5_conf))
            # The files of /etc belong to the computer; only programs started by run() see the domain's.
            patch.setattr(socket, "getaddrinfo", _lookup(socket.getaddrinfo))
            yield


@pytest.fixture(scope="session")
def domain_shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the domain is provisioned, once for all workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def domain_controller(domain_shared: Path) -> Iterator[Controller]:
    """Run one controller for all tests of this worker; skips where that is not possible."""
    if lacking := missing():
        pytest.skip(f"no test domain: {'; '.join(lacking)}")
    try:
        with running(domain_shared) as controller:
            yield controller
    except NamespaceRefused as error:
        pytest.skip(f"no test domain: {error}")


@pytest.fixture
def domain(domain_controller: Controller) -> Iterator[Domain]:
    """Put the test into the namespace of a running domain."""
    here = Domain(domain_controller)
    here.start()
    with here.inside():
        try:
            yield here
        finally:
            here.thaw()


def _lookup(original: Any) -> Any:
    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if isinstance(text, str) and f".{text.casefold().rstrip('.')}".endswith(f".{DNS_DOMAIN}"):
            host = ADDRESS
        return original(host, *arguments, **options)

    return getaddrinfo
