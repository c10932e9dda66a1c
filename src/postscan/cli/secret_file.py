"""Reads files that hold one secret each, and refuses those that others could read or put in place."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret

MAX_OCTETS: Final = 4_096


class SecretRefused(ConfigurationError):
    """A secret that is there is not used."""

    advice = "Keep the secret in a file of the server's own account, mode 0600, in a folder of its own."


def read_secret_file(path: Path, *, group_may_read: bool = False, account: int | None = None) -> Secret:
    """Return the secret in a file: its one line, without the end of the line.

    :param group_may_read: take a file that its group can read, as systemd's credentials are.
    :param account: see ``read_private``.
    :raises SecretRefused: it cannot be read, is no regular file, belongs to another account or can be read
        by others, or does not hold one line of text.
    """
    return Secret(one_line(read_private(path, group_may_read=group_may_read, account=account), str(path)))


def read_private(
    path: Path,
    *,
    group_may_read: bool = False,
    max_octets: int = MAX_OCTETS,
    account: int | None = None,
) -> bytes:
    """Return what is in a file that none but its owner, this account or root, can read or replace.

    :param account: user id of the server's account, whose files root may read, too.
    :raises SecretRefused: it is not such a file.
    """
    try:
        # Neither through a link that somebody put there, nor waiting at a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SecretRefused(f"{path} does not exist", advice="Write the secret there, mode 0600.") from error
    except OSError as error:
        if path.is_symlink():
            raise SecretRefused(
                f"{path} is a link, and could come to mean another file", advice="Name the file itself."
            ) from error
        raise SecretRefused(
            f"{path} cannot be read: {error.strerror}",
            advice="Give it to the account the server runs as, mode 0600.",
        ) from error
    try:
        folder = path.absolute().parent
        status, around = os.fstat(descriptor), folder.stat()
        trusted = {os.geteuid(), 0}
        if os.geteuid() == 0:
            # Root also looks after installations of the server's account.
            trusted |= {around.st_uid, 0 if account is None else account}
        _require_private(path, status, trusted, group_may_read=group_may_read)
        _require_own_folder(folder, around)
        content = b""
        while len(content) <= max_octets and (read := os.read(descriptor, max_octets + 1 - len(content))):
            content += read
    except OSError as error:
        raise SecretRefused(f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) > max_octets:
        raise SecretRefused(f"{path} holds more than {max_octets} octets, which is no secret")
    return content


def one_line(content: bytes, where: str) -> str:
    """Return the one line of text that ``content`` is, without its end; raises SecretRefused."""
    if len(content) > MAX_OCTETS:
        raise SecretRefused(f"{where} holds more than {MAX_OCTETS} octets, which is no secret")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The error knows the octets; what is raised from here on must not.
        raise SecretRefused(f"{where} holds no UTF-8 text ({error.reason})") from None
    line = text.removesuffix("\n").removesuffix("\r")
    if not line or any(character in line for character in "\r\n\0"):
        raise SecretRefused(
            f"{where} is empty or holds more than one line",
            advice="Write the secret as one line, and nothing else.",
        )
    return line


def _require_private(
    path: Path, status: os.stat_result, trusted: Collection[int], *, group_may_read: bool
) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SecretRefused(f"{path} is no regular file")
    if status.st_uid not in trusted:
        raise SecretRefused(
            f"{path} belongs to another account (user id {status.st_uid})",
            advice="Give it to the account the server runs as, or to root.",
        )
    if status.st_mode & (0o137 if group_may_read else 0o177):
        raise SecretRefused(
            f"others can read {path}, or run it (mode {stat.S_IMODE(status.st_mode):04o})",
            advice=f"chmod 600 {path}, and change the secret if others used this machine.",
        )


def _require_own_folder(folder: Path, status: os.stat_result) -> None:
    """Refuse a folder in which others could put another file in this one's place."""
    shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if shared or (os.geteuid() != 0 and status.st_uid not in (os.geteuid(), 0)):
        raise SecretRefused(
            f"others can put files into {folder} (mode {stat.S_IMODE(status.st_mode):04o},"
            f" user id {status.st_uid})",
            advice=f"Keep the secret in a folder of the server's own account: chmod go-w {folder}.",
        )
