"""Machines of a small network, each a network namespace: real multicast, real source addresses, one computer.

    with network("server", "device") as net:
        peer = net.popen("server", ["wsdd", "-i", INTERFACE])
        said = net.run("device", ["wsdiscover"])
        with net.inside("device"):
            heard = socket.socket(...)  # belongs to the device's namespace for good

All machines hang on one switch (a namespace of its own, so the computer's own network is not touched). Each
has the interface ``eth0`` with an IPv4 address, an IPv6 address and a link-local one, and programs started in
it find the others as ``NAME.example.com``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

INTERFACE = "eth0"
DOMAIN = "example.com"
SECONDS = 60
_CLONE_NEWNET = 0x40000000
_PREFIX4, _PREFIX6 = "10.77.0.", "fd77::"
# Addresses are usable at once, without waiting for who else might have them.
_QUICK_ADDRESSES = "for f in all default; do echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad; done"


@dataclass
class Network:
    """What :func:`network` made; names are those it was given."""

    spaces: dict[str, str]
    processes: list[subprocess.Popen[Any]] = field(default_factory=list)

    def namespace(self, name: str) -> str:
        """Return the name of the machine's network namespace, as `ip netns` knows it."""
        return self.spaces[name]

    def fqdn(self, name: str) -> str:
        """Return the host name by which programs on every machine find this one."""
        return f"{name}.{DOMAIN}"

    def address(self, name: str) -> str:
        """Return the machine's IPv4 address (of a /24)."""
        return f"{_PREFIX4}{self._number(name)}"

    def address6(self, name: str) -> str:
        """Return the machine's IPv6 address (of a /64)."""
        return f"{_PREFIX6}{self._number(name)}"

    def link_local(self, name: str) -> str:
        """Return the machine's link-local IPv6 address, without the interface."""
        said = self.ip(name, "-6", "-brief", "address", "show", "dev", INTERFACE, "scope", "link")
        return said.split()[2].partition("/")[0]

    def run(
        self, name: str, command: Sequence[object], *, timeout: float = SECONDS, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on a machine to its end; ``options`` are those of subprocess.run."""
        chosen = {"capture_output": True, "text": True, "check": False} | options
        return subprocess.run(self._within(name, command), timeout=timeout, **chosen)

    def popen(self, name: str, command: Sequence[object], **options: Any) -> subprocess.Popen[str]:
        """Start a program on a machine; it is killed when the network goes, if it still runs."""
        chosen = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        process: subprocess.Popen[str] = subprocess.Popen(self._within(name, command), **chosen)
        self.processes.append(process)
        return process

    def ip(self, name: str, *arguments: str) -> str:
        """Run `ip` for a machine, as ``net.ip("server", "link", "set", "eth0", "down")``."""
        return _ip("-n", self.spaces[name], *arguments)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Be on a machine while the block runs: sockets that this thread makes then stay there for good."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"/run/netns/{self.spaces[name]}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _set_namespace(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _set_namespace(back)
        finally:
            os.close(back)

    def _number(self, name: str) -> int:
        return list(self.spaces).index(name) + 1

    def _within(self, name: str, command: Sequence[object]) -> list[str]:
        return ["ip", "netns", "exec", self.spaces[name], *map(str, command)]


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """Make machines of these names (letters and digits), and remove them with all that runs on them.

    Skips the test, saying what is missing, where namespaces cannot be made.
    """
    _require_namespaces()
    mark = f"postscan{os.getpid()}x{secrets.token_hex(3)}"
    switch = f"{mark}-switch"
    net = Network({name: f"{mark}-{name}" for name in names})
    try:
        _make_switch(switch)
        for name in names:
            _make_machine(net, name, switch)
        yield net
    finally:
        for process in net.processes:
            _end(process)
        for space in (*net.spaces.values(), switch):
            _remove(space)


def _require_namespaces() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    if shutil.which("ip") is None:
        pytest.skip("`ip` (Debian package iproute2) is not installed")
    trial = f"postscan{os.getpid()}-trial{secrets.token_hex(3)}"
    try:
        _ip("netns", "add", trial)
        _ip("-n", trial, "link", "add", "name", "trial0", "type", "bridge")
        _ip("-n", trial, "link", "add", "name", "trial1", "type", "veth", "peer", "name", "trial2")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {str(error.stderr).strip()[:200]}")
    finally:
        subprocess.run(["ip", "netns", "del", trial], capture_output=True, check=False)


def _make_switch(switch: str) -> None:
    _ip("netns", "add", switch)
    quick = ("mcast_snooping", "0", "forward_delay", "0")
    _ip("-n", switch, "link", "add", "name", "switch", "type", "bridge", *quick)
    _ip("-n", switch, "link", "set", "switch", "up")


def _make_machine(net: Network, name: str, switch: str) -> None:
    space, number = net.spaces[name], net._number(name)
    _ip("netns", "add", space)
    _name_resolution(space, net)
    _ip("netns", "exec", space, "sh", "-c", _QUICK_ADDRESSES)
    _ip("-n", space, "link", "set", "lo", "up")
    port = f"port{number}"
    _ip("-n", switch, "link", "add", "name", port, "type", "veth", "peer", "name", INTERFACE, "netns", space)
    _ip("-n", switch, "link", "set", port, "master", "switch", "up")
    _ip("-n", space, "address", "add", f"{net.address(name)}/24", "brd", "+", "dev", INTERFACE)
    _ip("-n", space, "address", "add", f"{net.address6(name)}/64", "dev", INTERFACE, "nodad")
    _ip("-n", space, "link", "set", INTERFACE, "up")


def _name_resolution(space: str, net: Network) -> None:
    folder = Path("/etc/netns") / space  # `ip netns exec` puts its files in the place of those in /etc
    while not folder.exists():
        with contextlib.suppress(FileNotFoundError):  # another test took the last one away just now
            folder.mkdir(parents=True)
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{net.address(name)} {net.fqdn(name)} {name}" for name in net.spaces]
    (folder / "hosts").write_text("\n".join(lines) + "\n")


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    with contextlib.suppress(ValueError):  # its output was closed by the test
        process.communicate(timeout=SECONDS)


def _remove(space: str) -> None:
    subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
    shutil.rmtree(Path("/etc/netns") / space, ignore_errors=True)
    with contextlib.suppress(OSError):
        Path("/etc/netns").rmdir()  # fails while other networks are there


def _ip(*arguments: str) -> str:
    return subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, check=True, timeout=SECONDS
    ).stdout


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
