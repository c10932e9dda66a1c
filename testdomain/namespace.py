"""A network namespace with one address, in which a controller has all of its fixed ports to itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testdomain.errors import NamespaceRefused
from testdomain.facts import ADDRESS, CONTROLLER, DNS_DOMAIN, SCAN_SERVER

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_SECONDS: Final = 30
_ETC: Final = Path("/etc/netns")
_NAME: Final = re.compile(r"testdomain(\d+)x[0-9a-f]{6}")


class Namespace:
    """A network namespace; `ip netns exec` runs programs in it, which see its own hosts and resolver."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def make(cls, name: str | None = None) -> Namespace:
        """Make one, under a name that tells which process it belongs to, unless it is given a name.

        :raises NamespaceRefused: it cannot be made here.
        """
        space = cls(name or f"testdomain{os.getpid()}x{secrets.token_hex(3)}")
        _ip("netns", "add", space.name)
        try:
            space._furnish()
        except BaseException:
            space.remove()
            raise
        return space

    @staticmethod
    def abandoned() -> list[str]:
        """Return the names of namespaces whose makers are gone without having removed them."""
        found = [_NAME.fullmatch(path.name) for path in Path("/run/netns").glob("testdomain*")]
        return [one.group() for one in found if one and not Path("/proc", one.group(1)).exists()]

    def remove(self) -> None:
        """Take it away; whatever still runs in it has to be gone."""
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False, timeout=_SECONDS)
        shutil.rmtree(_ETC / self.name, ignore_errors=True)
        with contextlib.suppress(OSError):
            _ETC.rmdir()  # fails while others are there

    def command(self, command: Sequence[object]) -> list[str]:
        """Return the command line that runs ``command`` in it."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def kill_processes(self) -> None:
        """End every process in it, but the one that asks."""
        said = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        for pid in {int(line) for line in said.stdout.split()} - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in it while the block runs: this thread's sockets, and the threads and programs it starts."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _enter(back)
        finally:
            os.close(back)

    def _furnish(self) -> None:
        folder = _ETC / self.name  # `ip netns exec` puts its files in the place of those in /etc
        while not folder.exists():
            with contextlib.suppress(FileNotFoundError):  # another one took the folder above away just now
                folder.mkdir(parents=True)
        hosts = ["127.0.0.1 localhost", f"{ADDRESS} {CONTROLLER} dc1", f"{ADDRESS} {SCAN_SERVER} scansrv"]
        (folder / "hosts").write_text("\n".join([*hosts, ""]))
        (folder / "resolv.conf").write_text(f"nameserver {ADDRESS}\nsearch {DNS_DOMAIN}\n")
        # One cable with both ends in here; IPv6 would have the controller listen on addresses of its own.
        quiet = "echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6"
        _ip("netns", "exec", self.name, "sh", "-c", quiet)
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("-n", self.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        _ip("-n", self.name, "link", "set", "eth1", "up")
        _ip("-n", self.name, "link", "set", "eth0", "up")
        _ip("-n", self.name, "address", "add", f"{ADDRESS}/24", "dev", "eth0")


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip()[:200]
        raise NamespaceRefused(f"a network namespace cannot be made or furnished here: {said}") from error


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
