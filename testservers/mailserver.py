"""A real mail server (Postfix) that takes mail for one domain into folders, and sends nothing on.

Everything it has lies in one folder: settings, queue, accounts, mail. It listens at two ports of the loopback
interface: one with STARTTLS, one with TLS from the first octet. Who submits mail has to sign in, over TLS.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Self

DOMAIN: Final = "example.com"
ACCOUNT: Final = f"scan@{DOMAIN}"
PASSWORD: Final = "Mail-Passw0rd"
PEOPLE: Final = ("alice", "bob", "carol", "scan", "jürgen")
_PROGRAMS: Final = ("postfix", "postconf", "saslpasswd2")
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_NOBODY: Final = 65534
_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0
_PAUSE: Final = 0.02
# What each of the daemons is, from the description of master(5); none is confined to a folder of its own.
_SERVICES: Final = """\
{port} inet n - n - - smtpd
{tls_port} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_tls_security_level=encrypt
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class MailServerError(Exception):
    """The mail server could not be made or started; the message says why, for whoever runs it."""


def missing() -> str | None:
    """Return what this machine lacks to run the mail server, in words; None when nothing."""
    absent = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"{', '.join(absent)} (Debian: postfix sasl2-bin)"
    if os.geteuid() != 0:
        return "the rights of root, which Postfix is started with"
    return None


class MailServer:
    """Postfix; ``port`` takes STARTTLS, ``tls_port`` is TLS from the first octet, both at ``host``.

    :param folder: what all of it is kept in; every account must be able to pass through it and what is above.
    :param certificate: the server's certificate with its chain, PEM; ``key`` its key.
    :param mailboxes: the local parts that mail is taken for.
    :param message_size_limit: in octets; 0 for none.
    :param one_session: end each process after one session, so that changed settings count from the next on.
    """

    host: Final = "localhost"

    def __init__(
        self,
        folder: Path,
        *,
        certificate: Path,
        key: Path,
        mailboxes: Sequence[str] = PEOPLE,
        message_size_limit: int = 30_000_000,
        one_session: bool = True,
    ) -> None:
        self.folder = folder.absolute()
        self._mailboxes = tuple(mailboxes)
        self._limit = message_size_limit
        self._one_session = one_session
        self._access: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.tls_port = _free_ports(2)
        self._make(certificate, key)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """What Postfix says."""
        return self.folder / "mail.log"

    def start(self) -> None:
        """Start it, and wait until it greets; does nothing when it runs. Mail and queue are as they were.

        :raises MailServerError: it ended, or did not answer in time.
        """
        if self._process is not None and self._process.poll() is None:
            return
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                ["postfix", "-c", self._settings, "start-fg"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop it as its administrator would. Harmless when it does not run."""
        if self._process is None:
            return
        subprocess.run(
            ["postfix", "-c", self._settings, "stop"],
            capture_output=True,
            check=False,
            env=self._environment(),
            timeout=_STOP_SECONDS,
        )
        self.kill()

    def kill(self) -> None:
        """End all its processes at once, as by a power cut."""
        if self._process is None:
            return
        # Looked for again, as one that is about to be killed may have made another.
        while found := self._processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(_STOP_SECONDS)
        self._process = None

    def limit_messages(self, octets: int) -> None:
        """Take no message larger than this, from the next session on; 0 for no limit."""
        self._limit = octets
        self._write_settings()

    def answer_recipients(self, answers: Mapping[str, str]) -> None:
        """Answer each of these recipients in this way, like ``450 4.2.0 Try again later``.

        It counts from the next session on; recipients that are not named are as at first.
        """
        self._access = dict(answers)
        self._write_access()

    def freeze(self) -> None:
        """Stop it in its tracks: the kernel still accepts connections, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def arrived(self, address: str) -> list[EmailMessage]:
        """Return the mail in somebody's mailbox, the oldest first."""
        return [email.message_from_bytes(one, policy=email.policy.default) for one in self.octets(address)]

    def octets(self, address: str) -> list[bytes]:
        """Return the mail in somebody's mailbox as it was written there, the oldest first."""
        name = address.partition("@")[0]
        files = sorted(
            self.folder.joinpath("mail", name, "new").glob("*"), key=lambda one: one.stat().st_mtime
        )
        return [one.read_bytes() for one in files]

    def queued(self) -> int:
        """Return how many messages it has taken and not put into mailboxes yet."""
        queue = self.folder / "queue"
        names = ("maildrop", "incoming", "active", "deferred")
        # One that it is still writing, or never finished writing, is not executable.
        return sum(1 for name in names for one in _files(queue / name) if one & 0o100)

    def wait_until_empty(self, seconds: float = 60.0) -> None:
        """Wait until all mail it has taken is in mailboxes; raises MailServerError."""
        _until(lambda: self.queued() == 0, seconds, f"mail is still queued; {self.log} may say why")

    @property
    def _settings(self) -> Path:
        return self.folder / "etc"

    def _make(self, certificate: Path, key: Path) -> None:
        if (lacks := missing()) is not None:
            raise MailServerError(f"this machine lacks {lacks}")
        for name in ("etc/sasl", "queue", "data", "mail"):
            self.folder.joinpath(name).mkdir(parents=True, exist_ok=True)
        for above in (self.folder, *self.folder.parents):
            if not above.stat().st_mode & 0o001:
                raise MailServerError(f"other accounts cannot pass through {above}, and Postfix has several")
        shutil.chown(self.folder / "data", "postfix")
        os.chown(self.folder / "mail", _NOBODY, -1)
        shutil.copy(certificate, self._settings / "server.pem")
        shutil.copy(key, self._settings / "server.key")
        self._settings.joinpath("server.key").chmod(0o600)
        services = _SERVICES.format(port=f"127.0.0.1:{self.port}", tls_port=f"127.0.0.1:{self.tls_port}")
        self._settings.joinpath("master.cf").write_text(services)
        boxes = "".join(f"{name}@{DOMAIN} {name}/\n" for name in self._mailboxes)
        self._settings.joinpath("mailboxes").write_text(boxes)
        self._write_access()
        self._write_settings()
        self._write_accounts()

    def _write_settings(self) -> None:
        etc = self._settings
        values = {
            "compatibility_level": "3.6",
            "queue_directory": self.folder / "queue",
            "data_directory": self.folder / "data",
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "mail_owner": "postfix",
            "maillog_file": self.log,
            "maillog_file_prefixes": self.folder,
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": f"mail.{DOMAIN}",
            "mydestination": "",
            "mynetworks": "",
            "alias_maps": "",
            "alias_database": "",
            "recipient_delimiter": "+",
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_base": self.folder / "mail",
            "virtual_mailbox_maps": f"texthash:{etc}/mailboxes",
            "virtual_uid_maps": f"static:{_NOBODY}",
            "virtual_gid_maps": f"static:{_NOBODY}",
            "virtual_mailbox_limit": "0",
            "message_size_limit": self._limit,
            # A queue's disk must have room for one and a half messages (postconf(5), queue_minfree).
            "queue_minfree": "0",
            "smtpd_tls_cert_file": etc / "server.pem",
            "smtpd_tls_key_file": etc / "server.key",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_auth_only": "yes",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "cyrus",
            "smtpd_sasl_path": "smtpd",
            "smtpd_sasl_local_domain": DOMAIN,
            "smtpd_sasl_security_options": "noanonymous",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            "smtpd_recipient_restrictions": f"check_recipient_access texthash:{etc}/recipients",
            "smtpd_recipient_limit": "50",
            "smtpd_error_sleep_time": "0",
            "smtpd_forbid_bare_newline": "reject",
            "smtpd_forbid_unauth_pipelining": "yes",
            "smtpd_client_connection_count_limit": "0",
            "unverified_recipient_reject_code": "550",
            "max_use": "1" if self._one_session else "100",
            "default_transport": "error:nothing is sent on from here",
        }
        text = "".join(f"{name} = {value}\n" for name, value in values.items())
        _replace(self._settings / "main.cf", text)

    def _write_access(self) -> None:
        _replace(
            self._settings / "recipients",
            "".join(f"{who} {answer}\n" for who, answer in self._access.items()),
        )

    def _write_accounts(self) -> None:
        accounts = self._settings / "sasldb2"
        self._settings.joinpath("sasl/smtpd.conf").write_text(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\n"
            "mech_list: PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-1\n"
            f"sasldb_path: {accounts}\n"
        )
        name, _, domain = ACCOUNT.partition("@")
        subprocess.run(
            ["saslpasswd2", "-p", "-c", "-f", accounts, "-u", domain, name],
            input=PASSWORD.encode(),
            check=True,
            env=self._environment(),
        )
        shutil.chown(accounts, "postfix")

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PATH": _PATH}

    def _processes(self) -> list[int]:
        """Return the ids of its processes: the one that was started, and what it or they started."""
        if self._process is None:
            return []
        session = self._process.pid
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended just now
                fields = status.read_text().rpartition(")")[2].split()
                if fields[0] != "Z" and session in (int(fields[1]), int(fields[2]), int(fields[3])):
                    found.append(int(status.parent.name))
        master = self.folder / "queue/pid/master.pid"
        with contextlib.suppress(OSError, ValueError):
            found += _of_master(int(master.read_text()), self._settings)
        return sorted(set(found))

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            process = self._process
            if process is None or process.poll() is not None:
                output = (self.folder / "output.log").read_text(errors="replace")
                log = self.log.read_text(errors="replace") if self.log.exists() else ""
                raise MailServerError(f"Postfix ended:\n{output[-1_000:]}\n{log[-1_000:]}")
            return _greets(self.port)

        _until(ready, _READY_SECONDS, f"Postfix does not answer; {self.log} may say why")


@contextlib.contextmanager
def mail_server(
    *, certificate: Path, key: Path, message_size_limit: int = 30_000_000
) -> Iterator[MailServer]:
    """Run a mail server in a folder of its own, which is gone afterwards; raises MailServerError."""
    folder = Path(tempfile.mkdtemp(prefix="mailserver-"))
    folder.chmod(0o711)
    try:
        server = MailServer(folder, certificate=certificate, key=key, message_size_limit=message_size_limit)
        with server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _of_master(pid: int, settings: Path) -> list[int]:
    """Return the id of the master process and those of its children, when it is the one of ``settings``."""
    with contextlib.suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"MAIL_CONFIG={settings}".encode() not in environment:
            return []
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]
    return []


def _free_ports(count: int) -> tuple[int, ...]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(int(one.getsockname()[1]) for one in sockets)


def _greets(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(3) == b"220"
    return False


def _files(folder: Path) -> Iterator[int]:
    """Return the modes of the files in a folder."""
    for one in folder.rglob("*") if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # it was moved on just now
            mode = one.stat().st_mode
            if stat.S_ISREG(mode):
                yield mode


def _replace(path: Path, text: str) -> None:
    """Write a file so that who reads it meanwhile gets all of the old or all of the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    # Postfix waits for files that changed just now to settle; these are complete.
    os.utime(beside, times=(long_ago := time.time() - 60, long_ago))
    beside.replace(path)


def _until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise MailServerError(otherwise)
        time.sleep(_PAUSE)
