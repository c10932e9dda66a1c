"""How commands reach a scan server: its address, whom to trust, and what to prove oneself with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import typer

PATH = "/ScanServer"
PORT = 5362


def checked_address(text: str) -> str:
    """Return a scan server's address, with the usual path if it has none; a usage error for what is none."""
    example = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(example)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise typer.BadParameter(f"{text!r} is no address; write it like https://scan.example.com:5362{PATH}")
    if example != text:
        path = "" if parts.path.strip("/") else PATH
        raise typer.BadParameter(f"{text!r} is no address; write {example.rstrip('/')}{path}")
    return text if parts.path.strip("/") else f"{text.rstrip('/')}{PATH}"


def address_of(name: str, port: int = PORT, scheme: str = "https") -> str:
    """Return the address of the scan server with this host name."""
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}{PATH}"


@dataclass(frozen=True, slots=True)
class Keys:
    """What a command trusts and what it proves its user with; PEM files."""

    pki: Path | None
    ca: Path | None
    certificate: Path | None
    key: Path | None

    @property
    def authority(self) -> Path | None:
        """The authority to trust; None for those this machine trusts."""
        return self.ca or (self.pki / "ca.pem" if self.pki is not None else None)

    def pair_of(self, user: str) -> tuple[Path | None, Path | None]:
        """Return certificate and key; the key may stand in the certificate's file (None)."""
        certificate = self.certificate
        if certificate is None and self.pki is not None:
            own = self.pki / "users" / f"{user}.pem"
            certificate = own if own.exists() else None
        if certificate is None:
            return None, None
        beside = certificate.with_suffix(".key")
        return certificate, self.key or (beside if beside.exists() else None)
