"""What really arrived: read back by other people's clients, or from the disks of the servers themselves."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testservers.demo_installation import ARCHIVE, USER, Servers
from testservers.fileserver import SCANNER
from testservers.mailserver import DOMAIN

_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file at a destination; ``size`` in octets, ``sha256`` in hex."""

    filter: str
    place: str
    name: str
    size: int
    sha256: str
    content: bytes


def everything(servers: Servers) -> list[Arrived]:
    """Return every file on the share (by smbclient), in the mailboxes and in the library."""
    servers.mail.wait_until_empty()
    return [*_on_share(servers), *_in_mailboxes(servers), *_in_library(servers)]


def text_of(pdf: bytes) -> str:
    """Return the text of a PDF as pdftotext finds it."""
    done = subprocess.run(
        ["pdftotext", "-", "-"], input=pdf, capture_output=True, check=True, timeout=_SECONDS
    )
    return done.stdout.decode(errors="replace")


def _on_share(servers: Servers) -> list[Arrived]:
    with tempfile.TemporaryDirectory(prefix="share-") as folder:
        subprocess.run(
            [
                *("smbclient", "//localhost/scans", "--port", str(servers.files.port)),
                *("--user", f"{SCANNER.name}%{SCANNER.password}", "--client-protection=sign"),
                *("--directory", "letters", "--command", "prompt off; recurse on; mget *"),
            ],
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return [
            _arrived("fileshare", "share", str(path.relative_to(folder)), path.read_bytes()) for path in files
        ]


def _in_mailboxes(servers: Servers) -> list[Arrived]:
    found = []
    for address in (f"{USER}@{DOMAIN}", ARCHIVE):
        for message in servers.mail.arrived(address):
            for part in message.iter_attachments():
                content = part.get_content()
                octets = content if isinstance(content, bytes) else str(content).encode()
                found.append(_arrived("email", address, part.get_filename() or "", octets))
    return found


def _in_library(servers: Servers) -> list[Arrived]:
    return [_arrived("sharepoint", "library", name, octets) for name, octets in servers.web.stored().items()]


def _arrived(filter_: str, place: str, name: str, octets: bytes) -> Arrived:
    return Arrived(filter_, place, name, len(octets), hashlib.sha256(octets).hexdigest(), octets)
