"""The domain controller of a test domain: started in a namespace, stopped, frozen, gone with its maker."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import sansldap

from testdomain.domain import DomainFolder
from testdomain.errors import TestDomainError
from testdomain.facts import ADDRESS
from testdomain.namespace import Namespace

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_PAUSE: Final = 0.05
# DNS, Kerberos, LDAP, LDAPS, and the Global Catalog with and without TLS.
_PORTS: Final = (53, 88, 389, 636, 3268, 3269)
# In a process namespace: when its first process goes, the kernel takes all others, however they hide.
_ISOLATED: Final = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
# Samba looks for some of its own sockets in /run/samba only; and the paths of the others must not be long
# (unix(7): 108 octets), so it sees its folder at a short one.
_SEEN_AT: Final = "/run/samba/domain"
_START_SAMBA: Final = (
    "mkdir -p /run/samba && mount -t tmpfs tmpfs /run/samba && mkdir "
    f'{_SEEN_AT} && mount --bind "$0" {_SEEN_AT} && '
    f"exec samba --foreground --no-process-group --debug-stdout -s {_SEEN_AT}/etc/running.conf"
)


class Controller:
    """A domain controller; ``namespace`` is where it runs and is reached at testdomain.facts.ADDRESS."""

    def __init__(self, domain: DomainFolder, namespace: Namespace, *, outlives_maker: bool = False) -> None:
        self.domain = domain
        self.namespace = namespace
        self._outlives_maker = outlives_maker
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What Samba says."""
        return self.domain.path / "samba.log"

    def start(self) -> None:
        """Start it, and wait until it answers; does nothing when it runs.

        :raises TestDomainError: it ended, or did not answer within a minute.
        """
        if self._process is not None and self._process.poll() is None:
            return
        settings = self.domain.settings.read_text().replace(str(self.domain.path), _SEEN_AT)
        self.domain.settings.with_name("running.conf").write_text(settings)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.namespace.command([*_ISOLATED, "sh", "-c", _START_SAMBA, self.domain.path]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TDB_NO_FSYNC": "1", "KRB5_CONFIG": str(self.domain.krb5_conf)},
                # Samba signals its process group when it stops.
                start_new_session=True,
                preexec_fn=None if self._outlives_maker else _end_with_maker,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it at once, as by a power cut; its database survives that. Harmless when it does not run."""
        if self._process is None:
            return
        for pid in [*self._processes(), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(_STOP_SECONDS)
        self._process = None
        with self.namespace.inside():
            _until(lambda: not any(_answers(port) for port in _PORTS), _STOP_SECONDS, "it still listens")

    def freeze(self) -> None:
        """Stop it in its tracks: the kernel goes on to accept connections, but nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on; harmless when it was not frozen."""
        self._signal(signal.SIGCONT)

    def run(
        self, command: Sequence[object], *, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program beside it to its end, with the domain's name resolution and Kerberos settings.

        ``options`` are those of subprocess.run; output is captured as text unless they say otherwise.
        """
        chosen: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
        chosen |= {"env": self.environment()} | options
        done: subprocess.CompletedProcess[str]
        done = subprocess.run(self.namespace.command(command), timeout=timeout, **chosen)
        return done

    def environment(self) -> dict[str, str]:
        """Return the environment for programs that use the domain."""
        files = {"KRB5_CONFIG": self.domain.krb5_conf, "LDAPTLS_CACERT": self.domain.ca}
        return dict(os.environ) | {name: str(path) for name, path in files.items()}

    def _signal(self, number: signal.Signals) -> None:
        reached: set[int] = set()
        # Looked for again, until there is none that another made just before it was reached.
        while found := [pid for pid in self._processes() if pid not in reached]:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            reached.update(found)

    def _processes(self) -> list[int]:
        """Return the ids of Samba's processes: those below ours in the tree of processes."""
        if self._process is None:
            return []
        return descendants(self._process.pid)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        def ready() -> bool:
            if process.poll() is not None:
                said = self.log.read_text(errors="replace").strip()[-2_000:]
                raise TestDomainError(f"Samba ended with status {process.returncode}:\n{said}")
            return all(_answers(port) for port in _PORTS) and _ldap_answers()

        with self.namespace.inside():
            _until(ready, _READY_SECONDS, f"Samba does not answer; {self.log} may say why")


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below this one, the first generation first."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended just now
            fields = status.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found: list[int] = []
    level = [pid]
    while level := [child for parent in level for child in children.get(parent, [])]:
        found += level
    return found


def _end_with_maker() -> None:
    """Have the kernel stop this process when its maker is gone, even if that was killed (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _until(condition: Any, seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TestDomainError(otherwise)
        time.sleep(_PAUSE)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((ADDRESS, port)) == 0


def _ldap_answers() -> bool:
    """Ask for the root DSE, as anybody may."""
    client = sansldap.LDAPClient()
    client.search_request("", sansldap.SearchScope.BASE, attributes=["defaultNamingContext"])
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, 389), timeout=5) as connection:
        connection.sendall(client.data_to_send())
        readable, _, _ = select.select([connection], [], [], 5)
        return bool(readable) and bool(connection.recv(1))
    return False
