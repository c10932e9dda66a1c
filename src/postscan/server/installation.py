"""What an installation is recognised by for good: the GUIDs of its services, and its lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from postscan.core.errors import ConfigurationError
from postscan.core.log import get_logger

_log = get_logger("server")


class InstallationLocked(ConfigurationError):
    """Another server runs on the same data folder."""

    advice = "Stop the other server first, or give this one a data folder of its own."


@dataclass(frozen=True, slots=True)
class Identity:
    """Path segments and serial number that survive restarts, and the numbers peers judge news by.

    ``metadata_version`` grows with the metadata, ``instance_id`` with every start. ``description`` is a hash
    of what the metadata say.
    """

    wsdsp: UUID
    wsdsc: UUID
    serial_number: str
    metadata_version: int
    instance_id: int
    description: str


class Installation:
    """The data folder of a server, held exclusively from :meth:`open` to :meth:`close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None
        self._identity: Identity | None = None

    def open(self) -> None:
        """Take the folder; raises InstallationLocked, ConfigurationError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise InstallationLocked(f"{self.folder} is in use by another server") from error
        except OSError as error:
            raise ConfigurationError(
                f"the data folder {self.folder} cannot be used: {error}",
                advice="Create it, and let the server's account write to it.",
            ) from error

    def close(self) -> None:
        """Let the folder go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def identity(self, description: str, now: int) -> Identity:
        """Return the identity of this start, made on first use; ``description`` is what the metadata says.

        The metadata version grows whenever the description is another than last time, because peers cache
        metadata by it. The instance id is ``now``, the seconds since 1970, but always larger than last time:
        peers ignore a lower one, and a clock may be wrong when a machine starts (dpws.md 1.7, R-10).
        """
        path = self._file
        known = path.exists()
        digest = _digest(description)
        try:
            kept = json.loads(path.read_text())
            # Installations of before WS-DSC have no GUID for it yet: with it, their metadata are others.
            is_complete = "wsdsc" in kept
            identity = Identity(
                UUID(kept["wsdsp"]),
                UUID(kept["wsdsc"]) if is_complete else uuid.uuid4(),
                str(kept["serial"]),
                int(kept["version"]) + (kept["description"] != digest or not is_complete),
                max(now, int(kept.get("instance", 0)) + 1),
                digest,
            )
        except FileNotFoundError:
            identity = Identity(uuid.uuid4(), uuid.uuid4(), uuid.uuid4().hex[:12].upper(), 1, now, digest)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error}",
                advice="Restore it from a backup: peers know the services by what is in it.",
            ) from error
        try:
            self._keep(identity)
        except OSError as error:
            if not known:
                raise ConfigurationError(
                    f"{path} cannot be written: {error}",
                    advice="Make room on the disk, and let the server's account write to the data folder.",
                ) from error
            # A full disk must not keep a server from starting, whose deliveries make room.
            _log.error("the identity of this start could not be kept", error=str(error))
            self._identity = identity
        return identity

    def changed(self, description: str) -> int:
        """Note that the metadata change while the server runs; return their new version.

        :raises ConfigurationError: it cannot be kept, so that a later start would take the number again.
        """
        if self._identity is None:
            raise RuntimeError("the identity was not read yet")
        version = self._identity.metadata_version + 1
        try:
            self._keep(replace(self._identity, metadata_version=version, description=_digest(description)))
        except OSError as error:
            raise ConfigurationError(
                f"{self._file} cannot be written: {error}",
                advice="Make room on the disk, and let the server's account write to the data folder.",
            ) from error
        return version

    @property
    def _file(self) -> Path:
        return self.folder / "identity.json"

    def _keep(self, identity: Identity) -> None:
        content = {
            "wsdsp": str(identity.wsdsp),
            "wsdsc": str(identity.wsdsc),
            "serial": identity.serial_number,
            "version": identity.metadata_version,
            "instance": identity.instance_id,
            "description": identity.description,
        }
        _write_durably(self._file, json.dumps(content, indent=2) + "\n")
        self._identity = identity


def _digest(description: str) -> str:
    return hashlib.sha256(description.encode()).hexdigest()


def _write_durably(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
