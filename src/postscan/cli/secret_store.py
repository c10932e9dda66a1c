"""Where secrets come from, and the file of those that were entered: each for one destination alone.

A secret that was entered is bound to where it goes. When the settings name another host, it is not used, so
that whoever can change a host is not sent the secret of the one before (abuse case 26).
"""

from __future__ import annotations

import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postscan.cli.secret_file import SecretRefused, one_line, read_private, read_secret_file
from postscan.cli.toml_text import toml_string, toml_value
from postscan.core.secret import Secret

_NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_MAX_STORE: Final = 1024 * 1024
_HEAD: Final = """\
# Secrets of this installation, written by `postscan secrets`. Nobody else may read this file (0600).
# Each is used for the destination it was entered for, and for no other.
"""


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A secret that the settings make use of.

    ``name`` is what people call it, like ``directory.password``; ``destination`` says in words, one a line,
    where it is sent, and whatever makes that place the right one; ``file`` is where the settings say it is.
    """

    name: str
    destination: tuple[str, ...]
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """A secret, and in words where it came from."""

    secret: Secret
    origin: str


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """One secret of the store, and the destination it was entered for."""

    secret: Secret
    destination: tuple[str, ...]


def variable_of(name: str) -> str:
    """Return the environment variable that may hold the secret of this name."""
    return "POSTSCAN_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def check_name(name: str) -> str:
    """Return ``name`` when it can name a secret; raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("is no name of a secret; write one like directory.password")
    return name


class SecretStore:
    """The file of secrets that were entered.

    :param path: secrets.toml; it need not be there.
    :param account: user id of the server's account, to whom the file belongs; None when that is not known.
    """

    def __init__(self, path: Path, account: int | None = None) -> None:
        self.path = path
        self._account = account

    def read(self) -> dict[str, KeptSecret]:
        """Return what is kept, by name; raises SecretRefused when the file is not private, or broken."""
        if not os.path.lexists(self.path):
            return {}
        content = read_private(self.path, max_octets=_MAX_STORE, account=self._account)
        try:
            return {
                name: KeptSecret(
                    Secret(str(entry["value"])), tuple(str(line) for line in entry["destination"])
                )
                for name, entry in tomllib.loads(content.decode()).items()
            }
        except (ValueError, KeyError, TypeError):
            # Without the cause, whose text may quote the line.
            raise SecretRefused(
                f"{self.path} is no file that `postscan secrets` wrote",
                advice=f"Remove {self.path}, and enter the secrets again with `postscan secrets set NAME`.",
            ) from None

    def keep(self, use: SecretUse, secret: Secret, owner: tuple[int, int] | None = None) -> None:
        """Keep a secret for the destination it is used for now, in place of the one before.

        :param owner: user and group id that a new file is given to.
        :raises SecretRefused: what is kept cannot be read or written.
        """
        kept = self.read()
        kept[check_name(use.name)] = KeptSecret(secret, use.destination)
        self._write(kept, owner)

    def forget(self, name: str) -> bool:
        """Forget a secret; tells whether there was one."""
        kept = self.read()
        if kept.pop(name, None) is None:
            return False
        self._write(kept, None)
        return True

    def _write(self, kept: Mapping[str, KeptSecret], owner: tuple[int, int] | None) -> None:
        text = _HEAD + "".join(
            f"\n[{toml_string(name)}]\ndestination = {toml_value(one.destination)}\n"
            f"value = {toml_string(one.secret.reveal())}\n"
            for name, one in sorted(kept.items())
        )
        beside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(beside, flags, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                if self.path.exists():
                    before = self.path.stat()
                    owner = before.st_uid, before.st_gid
                if owner is not None and os.geteuid() == 0:
                    os.fchown(file.fileno(), *owner)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except OSError as error:
            raise SecretRefused(
                f"{self.path} cannot be written: {error.strerror}",
                advice="Run this as the account that owns the installation, or as root.",
            ) from error
        finally:
            beside.unlink(missing_ok=True)


class Secrets:
    """Finds secrets: systemd's credentials, the environment, the file the settings name, then the store.

    :param store: secrets.toml, beside the settings.
    :param env: the environment.
    :param account: user id of the server's account, whose files root may read; None when that is not known.
    """

    def __init__(self, store: Path, env: Mapping[str, str], account: int | None = None) -> None:
        self.store = SecretStore(store, account)
        self._env = env
        self._account = account

    def find(self, use: SecretUse) -> FoundSecret | None:
        """Return a secret, None when there is none anywhere.

        :raises SecretRefused: the first place that has one must not be trusted with it, or it was entered
            for another destination.
        """
        folder = self._env.get("CREDENTIALS_DIRECTORY", "")
        credential = Path(folder) / check_name(use.name)
        if folder and os.path.lexists(credential):
            secret = read_secret_file(credential, group_may_read=True)
            return FoundSecret(secret, f"systemd credential {use.name}")
        variable = variable_of(use.name)
        if variable in self._env:
            line = one_line(self._env[variable].encode(errors="surrogateescape"), f"variable {variable}")
            return FoundSecret(Secret(line), f"environment variable {variable}")
        if use.file is not None:
            return FoundSecret(read_secret_file(use.file, account=self._account), str(use.file))
        kept = self.store.read().get(use.name)
        if kept is None:
            return None
        if kept.destination != use.destination:
            raise SecretRefused(
                f"{use.name} was entered for another destination ({', '.join(kept.destination)}) than the"
                f" settings name now ({', '.join(use.destination)}), and is not sent there",
                advice=f"If the change is right, enter it again: `postscan secrets set {use.name}`.",
            )
        return FoundSecret(kept.secret, str(self.store.path))
