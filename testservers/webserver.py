"""A real web server (Apache with mod_dav) that stands in for SharePoint's WebDAV, over TLS.

Everything it has lies in one folder. It listens at a port for each way of logging on, all with the same data:
``/sites/team/Shared Documents`` and whatever else is made under ``root``. Some paths behave in a way of their
own: see :class:`WebServer`.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from testservers.webserver_settings import (
    ACCOUNT_OF_APACHE,
    BUSY_SECONDS,
    MODULES,
    SMALL_OCTETS,
    Logon,
    httpd_conf,
)

__all__ = [
    "ACCOUNT",
    "BUSY_SECONDS",
    "FULL_OCTETS",
    "LIBRARY",
    "NTLM_DOMAIN",
    "PASSWORD",
    "SMALL_OCTETS",
    "Logon",
    "WebServer",
    "WebServerError",
    "missing",
    "web_server",
]

ACCOUNT: Final = "svc-sp"
PASSWORD: Final = "Sp-Passw0rd1"
NTLM_DOMAIN: Final = "DSM"
LIBRARY: Final = "/sites/team/Shared Documents"
FULL_OCTETS: Final = 1024 * 1024
_APACHE: Final = "/usr/sbin/apache2"
_NEEDED: Final = {
    _APACHE: "apache2",
    str(MODULES / "mod_auth_gssapi.so"): "libapache2-mod-auth-gssapi",
}
_NTLM_MECHANISM: Final = ("/etc/gss/mech.d", "gss-ntlmssp")
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
# In a process namespace: when its first process goes, the kernel takes all others.
_ISOLATED: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_PAUSE: Final = 0.02


class WebServerError(Exception):
    """The web server could not be made or started; the message says why, for whoever runs it."""


def missing() -> str | None:
    """Return what this machine lacks to run the web server, in words; None when nothing."""
    absent = sorted({package for path, package in _NEEDED.items() if not Path(path).exists()})
    if not any(Path(_NTLM_MECHANISM[0]).glob("*ntlm*")):
        absent.append(_NTLM_MECHANISM[1])
    if absent:
        return f"Debian packages: {' '.join(absent)}"
    if os.geteuid() != 0:
        return "the rights of root, to give the server a small disk and an account of its own"
    return None


class WebServer:
    """Apache; ``origin(logon)`` is where it is reached, ``root`` holds what it stores.

    Below ``/sites/small`` it takes at most SMALL_OCTETS in a request, below ``/sites/full`` there is a disk
    of FULL_OCTETS (empty after each start), and ``/sites/moved`` leads to ``leads_to``.

    :param folder: what all of it is kept in; every account must be able to pass through what is above.
    :param certificate: the server's certificate with its chain, PEM; ``key`` its key.
    :param address: where it listens; ``host`` is the name its certificate has.
    :param keytab: the keys of ``HTTP/host``, without which there is no Kerberos; ``krb5_conf`` is the file
        with the realm's settings. Both are copied, so that Apache's account can read them.
    :param ntlm_users: passwords by account of the domain NTLM_DOMAIN.
    """

    def __init__(
        self,
        folder: Path,
        *,
        certificate: Path,
        key: Path,
        host: str = "localhost",
        address: str = "127.0.0.1",
        keytab: Path | None = None,
        ntlm_users: Mapping[str, str] | None = None,
        leads_to: str = "https://elsewhere.invalid/",
        krb5_conf: Path | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.host = host
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self._logons = [
            logon
            for logon in Logon
            if keytab is not None or logon not in (Logon.KERBEROS, Logon.KERBEROS_ONCE)
        ]
        self._ports = dict(zip(self._logons, _free_ports(address, len(self._logons)), strict=True))
        self._make(certificate, key, keytab, krb5_conf, ntlm_users or {ACCOUNT: PASSWORD}, leads_to)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def root(self) -> Path:
        """What the root of the server's paths is on disk."""
        return self.folder / "root"

    @property
    def log(self) -> Path:
        """What Apache says."""
        return self.folder / "error.log"

    def port(self, logon: Logon) -> int:
        """Return the port where people log on in this way."""
        return self._ports[logon]

    def origin(self, logon: Logon) -> str:
        """Return scheme, host and port, like ``https://localhost:40123``."""
        scheme = "http" if logon is Logon.NOBODY else "https"
        return f"{scheme}://{self.host}:{self._ports[logon]}"

    def start(self) -> None:
        """Start it, and wait until it answers; does nothing when it runs. Files and ports are as they were.

        :raises WebServerError: it ended, or did not answer in time.
        """
        if self._process is not None and self._process.poll() is None:
            return
        # A mount of its own is gone with its last process, and that with its first one, however it ends.
        mounted = (
            f'mount -t tmpfs -o size={FULL_OCTETS},mode=0777 tmpfs "$0/root/sites/full"'
            ' && mkdir -m 0777 "$0/root/sites/full/Shared Documents"'
            f' && exec {_APACHE} -f "$0/httpd.conf" -DFOREGROUND'
        )
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*_ISOLATED, "sh", "-c", mounted, str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG": "C",
                    "NTLM_USER_FILE": str(self.folder / "ntlm-users"),
                    "KRB5_CONFIG": str(self.folder / "krb5.conf"),
                    "KRB5RCACHEDIR": str(self.folder / "run"),
                },
                start_new_session=True,
                preexec_fn=_end_with_maker,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop it as its administrator would, whatever is under way; harmless when it does not run."""
        if self._process is None:
            return
        for pid in _of_session(self._process.pid, parent=self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End all its processes at once, as by a power cut."""
        if self._process is None:
            return
        # The session is its own, so that also those are found whose parent is gone already.
        while found := _of_session(self._process.pid):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(_PAUSE)
        self._process.wait(_STOP_SECONDS)
        self._process = None

    def freeze(self) -> None:
        """Stop it in its tracks: the kernel still accepts connections, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def answer_with(self, status: int | None) -> None:
        """Answer every request with 503 or 429 and Retry-After: BUSY_SECONDS; None as before."""
        for one in (503, 429):
            mark = self.folder / f"answer-{one}"
            mark.unlink(missing_ok=True)
            if one == status:
                mark.touch()

    def unlock(self) -> None:
        """Forget all locks, which would outlive what they lock."""
        for path in (self.folder / "run").glob("locks*"):
            path.unlink()

    def requests(self) -> list[tuple[str, str, int, int, str]]:
        """Return what was asked: method, path, status, octets received with the head, and who asked."""
        lines = (self.folder / "access.log").read_text().splitlines()
        fields = [line.split("\t") for line in lines]
        return [(method, path, int(status), int(octets), who) for method, path, status, octets, who in fields]

    def stored(self, folder: str = LIBRARY) -> dict[str, bytes]:
        """Return the files below a folder by their path in it; what mod_dav keeps for itself is left out."""
        base = self.root / folder.strip("/")
        files = sorted(path for path in base.rglob("*") if path.is_file())
        return {
            str(path.relative_to(base)): path.read_bytes()
            for path in files
            if ".DAV" not in path.parts and not path.name.startswith(".davfs.tmp")
        }

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            for pid in _of_session(self._process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _READY_SECONDS
        while True:
            if process.poll() is not None:
                said = (self.folder / "output.log").read_text(errors="replace").strip()[-1_000:]
                logged = self.log.read_text(errors="replace").strip()[-1_000:] if self.log.exists() else ""
                raise WebServerError(f"Apache ended with status {process.returncode}: {said} {logged}")
            if all(self._answers(logon) for logon in self._logons):
                return
            if time.monotonic() > end:
                raise WebServerError(f"Apache does not answer; {self.log} may say why")
            time.sleep(_PAUSE)

    def _answers(self, logon: Logon) -> bool:
        """Tell whether HTTP is answered, with whatever status."""
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection((self._address, self._ports[logon]), 5))
            talk = plain
            if logon is not Logon.NOBODY:
                talk = stack.enter_context(trusting.wrap_socket(plain))
            talk.sendall(b"OPTIONS /ready HTTP/1.0\r\n\r\n")
            return talk.recv(5) == b"HTTP/"
        return False

    def _make(
        self,
        certificate: Path,
        key: Path,
        keytab: Path | None,
        krb5_conf: Path | None,
        ntlm_users: Mapping[str, str],
        leads_to: str,
    ) -> None:
        for name in ("run", f"root{LIBRARY}", "root/sites/small/Shared Documents", "root/sites/full"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        users = "".join(f"{NTLM_DOMAIN}:{name}:{password}\n" for name, password in ntlm_users.items())
        # The form `htpasswd -s` writes: a hash that is made in one step: this password is no secret.
        hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode(), usedforsecurity=False).digest()).decode()
        files = {
            "ntlm-users": users.encode(),
            "basic-users": f"{ACCOUNT}:{{SHA}}{hashed}\n".encode(),
            "server.pem": certificate.read_bytes(),
            "server.key": key.read_bytes(),
            "krb5.conf": krb5_conf.read_bytes() if krb5_conf is not None else b"",
            "http.keytab": keytab.read_bytes() if keytab is not None else b"",
            "httpd.conf": httpd_conf(self.folder, self.host, self._address, self._ports, leads_to).encode(),
            "access.log": b"",
        }
        for name, content in files.items():
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_bytes(content)
        self._hand_over()

    def _hand_over(self) -> None:
        """Give the files to the account that Apache's processes run as."""
        if os.geteuid() != 0:
            return
        account = pwd.getpwnam(ACCOUNT_OF_APACHE)
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)


@contextmanager
def web_server(
    *,
    certificate: Path,
    key: Path,
    host: str = "localhost",
    address: str = "127.0.0.1",
    keytab: Path | None = None,
    ntlm_users: Mapping[str, str] | None = None,
    leads_to: str = "https://elsewhere.invalid/",
    krb5_conf: Path | None = None,
) -> Iterator[WebServer]:
    """Run a web server in a folder of its own, which is removed afterwards; see :class:`WebServer`."""
    folder = Path(tempfile.mkdtemp(prefix="webserver-"))
    try:
        folder.chmod(0o755)
        with WebServer(
            folder,
            certificate=certificate,
            key=key,
            host=host,
            address=address,
            keytab=keytab,
            ntlm_users=ntlm_users,
            leads_to=leads_to,
            krb5_conf=krb5_conf,
        ) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(address: str, count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((address, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _end_with_maker() -> None:
    """Have the kernel stop this process when its maker is gone, even if that was killed (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _of_session(session: int, *, parent: int | None = None) -> list[int]:
    """Return the ids of the living processes of a session, or of those that have this parent (proc(5))."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended just now
            fields = status.read_text().rpartition(")")[2].split()
            wanted = int(fields[3]) == session and parent in (None, int(fields[1]))
            if wanted and fields[0] != "Z":
                found.append(int(status.parent.name))
    return found
