"""A Samba file server: everything in one folder, its accounts and mounts in a mount namespace of its own.

Samba wants every account to be one of the system, and a share that can be full wants a small file system.
Both are only there inside the namespace, so nothing is left on the machine, and several servers can run at
once. Needs root, and the Debian packages samba and util-linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_TOOLS: Final = {
    "smbd": "samba",
    "smbpasswd": "samba-common-bin",
    "bash": "bash",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
# In a process namespace: when its first process goes, the kernel takes all others, however they hide.
_ISOLATED: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_SECONDS: Final = 60.0
_PAUSE: Final = 0.05
_FIRST_UID: Final = 54_001
_ADDRESS: Final = "127.0.0.1"
# Where the server sees its folder: short, as paths of unix sockets must be (unix(7): 108 octets), and below
# folders that its accounts may pass.
SEEN_AT: Final = Path("/mnt/s")


class FileServerError(Exception):
    """The file server could not be made, or did not start."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may log on."""

    name: str
    password: str
    enabled: bool = True

    def __repr__(self) -> str:
        return f"Account({self.name!r})"


SCANNER: Final = Account("scanner", "Sc4nner-Passw0rd")
STRANGER: Final = Account("stranger", "Str4nger-Passw0rd")
DISABLED: Final = Account("gone", "G0ne-Passw0rd", enabled=False)
ACCOUNTS: Final = (SCANNER, STRANGER, DISABLED)


@dataclass(frozen=True, slots=True)
class Share:
    """A share; ``size`` is that of a file system of its own, like "4m"; ``options`` are Samba's."""

    name: str
    options: Mapping[str, str]
    size: str = ""


SHARES: Final = (
    Share("scans", {"read only": "no"}),
    Share("readonly", {"read only": "yes"}),
    Share("others", {"read only": "no", "valid users": STRANGER.name}),
    Share("tiny", {"read only": "no"}, size="4m"),
    Share("hidden$", {"read only": "no"}),
    Share("dfs", {"read only": "no", "msdfs root": "yes"}),
)


def missing() -> list[str]:
    """Return what this machine lacks for a file server, in words; empty when nothing is missing."""
    lacking = [] if os.geteuid() == 0 else ["only root can make mount namespaces and run smbd for others"]
    for tool, package in _TOOLS.items():
        if not shutil.which(tool):
            lacking.append(f"{tool} (Debian package {package}) is not installed, or not in PATH")
    return lacking


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((_ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


class FileServer:
    """A standalone Samba with accounts of its own (NTLM), or with a keytab (Kerberos).

        with FileServer(folder) as server:
            server.folder("scans")          # the share's content
            server.kill(); server.start()   # the same data, at the same port

    :param folder: where everything is; made when it is not there.
    :param shares: what it offers.
    :param accounts: who may log on; unix accounts of these names exist in the server's namespace alone.
    :param options: Samba's global options, besides or in place of those here.
    :param port: where it listens; a free one when None.
    :param addresses: the interfaces it listens at.
    :param command: what programs are started with, such as ``ip netns exec NAME``.
    """

    address = _ADDRESS

    def __init__(
        self,
        folder: Path,
        *,
        shares: Sequence[Share] = SHARES,
        accounts: Sequence[Account] = ACCOUNTS,
        options: Mapping[str, str] | None = None,
        port: int | None = None,
        addresses: str = _ADDRESS,
        command: Sequence[object] = (),
    ) -> None:
        self.path = folder.absolute()
        self.port = port or free_port()
        self.shares = tuple(shares)
        self.accounts = tuple(accounts)
        self._options = dict(options or {})
        self._addresses = addresses
        self._command = [str(word) for word in command]
        self._namespace: subprocess.Popen[bytes] | None = None
        self._anchor = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def log(self) -> Path:
        """What Samba says."""
        return self.path / "smbd.log"

    def folder(self, share: str) -> Path:
        """Return the content of a share, as seen from outside; the server must have been started once."""
        return Path(f"/proc/{self._anchor}/root") / SEEN_AT.relative_to("/") / "shares" / share

    def link(self, share: str, name: str, *targets: str) -> None:
        r"""Make a link of a DFS root: ``name`` leads to ``targets``, such as ``host\share``."""
        place = self.folder(share) / name
        place.unlink(missing_ok=True)
        place.symlink_to(f"msdfs:{','.join(targets)}")

    def start(self) -> None:
        """Start it and wait until it accepts connections; does nothing when it runs.

        :raises FileServerError: something is missing here, or Samba ended.
        """
        if self._process is not None and self._process.poll() is None:
            return
        if self._namespace is None:
            self._make_namespace()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._inside(
                    "smbd",
                    "--foreground",
                    "--no-process-group",
                    "--debug-stdout",
                    "-s",
                    SEEN_AT / "smb.conf",
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_maker,
            )
        _until(self._is_ready, f"smbd does not answer; it says:\n{self._said()}")

    def stop(self) -> None:
        """Let it end in good order; harmless when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that serve connections, at once, as by a power cut."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it answer nothing, while the kernel goes on to accept connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and its namespace; the data in its folder stays (but not that of shares with a size)."""
        self.kill()
        if self._namespace is not None:
            self._namespace.kill()
            self._namespace.communicate(timeout=_SECONDS)
            self._namespace = None

    def run(self, *command: object, given: str = "") -> str:
        """Run a program in the server's namespace to its end and return what it says."""
        done = subprocess.run(
            self._inside(*command), input=given, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        if done.returncode != 0:
            raise FileServerError(f"{command[0]} failed: {(done.stdout + done.stderr).strip()[-2_000:]}")
        return done.stdout

    def set_password(self, account: Account, password: str) -> None:
        """Give an account another password."""
        self.run("smbpasswd", "-c", SEEN_AT / "smb.conf", "-s", account.name, given=f"{password}\n" * 2)

    def connections(self) -> int:
        """Return how many processes serve a connection now."""
        main = self._main()
        return len([pid for pid in _children_of(main) if _command_of(pid) == b"smbd"]) if main else 0

    def _make_namespace(self) -> None:
        if lacking := missing():
            raise FileServerError("; ".join(lacking))
        new = not (self.path / "private").exists()
        for name in ("private", "state", "lock", "run", "ncalrpc", "shares"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        self._write_files()
        self._namespace = subprocess.Popen(
            [*self._command, *_ISOLATED, "sh", "-ec", self._mounts(), str(self.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_end_with_maker,
        )
        said = self._namespace.stdout.readline() if self._namespace.stdout is not None else b""
        if said != b"ready\n":
            why = self._namespace.stderr.read() if self._namespace.stderr is not None else b""
            raise FileServerError(f"no namespace for the file server: {why.decode(errors='replace').strip()}")
        [self._anchor] = _children_of(self._namespace.pid)
        for share in self.shares:
            place = self.folder(share.name)
            if new or share.size:
                os.chown(place, _FIRST_UID, _FIRST_UID)
                place.chmod(0o777)
        if new:
            for account in self.accounts:
                typed = f"{account.password}\n" * 2
                settings = ("-c", SEEN_AT / "smb.conf", "-s")
                self.run("smbpasswd", *settings, "-a", account.name, given=typed)
                if not account.enabled:
                    self.run("smbpasswd", *settings, "-d", account.name)

    def _mounts(self) -> str:
        lines = [
            "mount -t tmpfs -o mode=755 tmpfs /mnt",
            f"mkdir -p {SEEN_AT}",
            f'mount --bind "$0" {SEEN_AT}',
            f"mount --bind {SEEN_AT}/passwd /etc/passwd",
            f"mount --bind {SEEN_AT}/group /etc/group",
        ]
        for share in self.shares:
            place = f"'{SEEN_AT}/shares/{share.name}'"
            lines.append(f"mkdir -p {place}")
            if share.size:
                lines.append(f"mount -t tmpfs -o size={share.size} tmpfs {place}")
        return "; ".join([*lines, "echo ready", "exec sleep infinity"])

    def _write_files(self) -> None:
        names = [account.name for account in self.accounts]
        people = [
            f"{name}:x:{_FIRST_UID + number}:{_FIRST_UID + number}::/:/usr/sbin/nologin"
            for number, name in enumerate(names)
        ]
        groups = [f"{name}:x:{_FIRST_UID + number}:" for number, name in enumerate(names)]
        _write(self.path / "passwd", [*Path("/etc/passwd").read_text().splitlines(), *people])
        _write(self.path / "group", [*Path("/etc/group").read_text().splitlines(), *groups])
        self.path.chmod(0o755)
        settings = {
            "server role": "standalone server",
            "workgroup": "TESTFILES",
            "netbios name": "TESTFILES",
            "interfaces": self._addresses,
            "bind interfaces only": "yes",
            "smb ports": str(self.port),
            "disable netbios": "yes",
            "private dir": f"{SEEN_AT}/private",
            "state directory": f"{SEEN_AT}/state",
            "cache directory": f"{SEEN_AT}/state",
            "lock directory": f"{SEEN_AT}/lock",
            "pid directory": f"{SEEN_AT}/run",
            "ncalrpc dir": f"{SEEN_AT}/ncalrpc",
            "passdb backend": f"tdbsam:{SEEN_AT}/private/passdb.tdb",
            "map to guest": "never",
            "host msdfs": "yes",
            "server signing": "mandatory",
            "server min protocol": "SMB2_02",
            "load printers": "no",
            "printcap name": "/dev/null",
            "disable spoolss": "yes",
            "log level": "1",
            "max log size": "0",
        } | self._options
        lines = ["[global]", *(f"  {name} = {value}" for name, value in settings.items())]
        for share in self.shares:
            lines += [f"[{share.name}]", f"  path = {SEEN_AT}/shares/{share.name}"]
            lines += [f"  {name} = {value}" for name, value in share.options.items()]
        _write(self.path / "smb.conf", lines)

    def _inside(self, *command: object) -> list[str]:
        if self._namespace is None:
            raise FileServerError("the file server was not started")
        entering = ["nsenter", f"--target={self._anchor}", "--mount", "--pid", "--net"]
        return [*entering, *map(str, command)]

    def _is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise FileServerError(f"smbd ended; it says:\n{self._said()}")
        answers = subprocess.run(
            self._inside("bash", "-c", f": < /dev/tcp/{_ADDRESS}/{self.port}"),
            capture_output=True,
            check=False,
            timeout=_SECONDS,
        )
        return answers.returncode == 0

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else ""

    def _main(self) -> int | None:
        """Return the process id of the smbd that listens."""
        if self._process is None:
            return None
        found = _children_of(self._process.pid)
        return found[0] if found else None

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        main = self._main()
        if number is signal.SIGTERM and main is not None:
            # Not when it is killed: a frozen one would go on for a moment, and answer.
            self._signal(signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                os.kill(main, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.kill()
        self._process.wait(_SECONDS)
        self._process = None
        _until(lambda: not self._orphans(), "processes of the file server do not end")

    def _orphans(self) -> list[int]:
        """Return what is left of smbd in the namespace: they lose their parent when that is killed."""
        left = [pid for pid in _descendants(self._anchor) if _command_of(pid) == b"smbd"]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left

    def _signal(self, number: signal.Signals) -> None:
        reached: set[int] = set()
        # Looked for again, until there is none that another made just before it was reached.
        while found := [pid for pid in self._processes() if pid not in reached]:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            reached.update(found)

    def _processes(self) -> list[int]:
        return [] if self._process is None else _descendants(self._process.pid)


def _write(path: Path, lines: Iterable[str]) -> None:
    # In place: the file may be bound to another name.
    path.write_text("\n".join([*lines, ""]))
    path.chmod(0o644)


def _end_with_maker() -> None:
    """Have the kernel stop this process when its maker is gone, even if that was killed (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            raise FileServerError(otherwise)
        time.sleep(_PAUSE)


def _parents() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended just now
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            # One that is dead may have threads that still wait for the disk, and hold its locks.
            if state != "Z" or len(list((status.parent / "task").iterdir())) > 1:
                children.setdefault(int(parent), []).append(int(status.parent.name))
    return children


def _children_of(pid: int) -> list[int]:
    return _parents().get(pid, [])


def _descendants(pid: int) -> list[int]:
    children = _parents()
    found: list[int] = []
    level = [pid]
    while level := [child for parent in level for child in children.get(parent, [])]:
        found += level
    return found


def _command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_bytes().strip()
    return b""
