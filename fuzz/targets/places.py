"""Places that a scan process names: shares, mail addresses, sites; none may mean more than it says."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fuzz.mutation import mutate_octets
from fuzz.target import Target, must
from postscan.core.errors import PostscanError
from postscan.filters.email.addresses import AddressRefused, parse_address, parse_mailbox
from postscan.filters.sharepoint.address import AddressError, parse_library_address
from postscan.filters.shares import ShareMap

_ROOT: Final = Path("/srv/scans")
_SHARES: Final = ShareMap((_ROOT,), {r"\\files.example.com\scans": _ROOT})


def run(data: bytes) -> None:
    """Read octets as a place of each kind."""
    text = data.decode("utf-8", errors="replace")
    _read_share(text)
    _read_mail(text)
    try:
        address = parse_library_address(text)
    except (AddressError, PostscanError):
        return
    must(
        address.origin.host.isascii() and "@" not in address.origin.host, f"the host {address.origin.host!r}"
    )


def _read_share(text: str) -> None:
    try:
        target = _SHARES.target_of(text)
    except PostscanError as error:
        must(len(str(error)) < 2_000 + len(text) * 6, "a refusal that is too long")
        return
    folder = getattr(target, "folder", None)
    must(folder is None or Path(folder).is_relative_to(_ROOT), f"the folder {folder}")
    must(folder is None or ".." not in Path(folder).parts, f"the folder {folder}")


def _read_mail(text: str) -> None:
    for read in (parse_address, lambda written: parse_mailbox(written).address):
        try:
            address = str(read(text))
        except AddressRefused as error:
            must("\n" not in str(error) and len(str(error)) < 500, "a refusal that may end a line")
            continue
        must(address.count("@") == 1, f"the address {address!r}")
        must(address.isprintable() and not set(address) & set('<>,;:"\\ '), f"the address {address!r}")


def seeds() -> list[bytes]:
    """Return places of each kind."""
    return [
        rb"\\files.example.com\scans\in\2026",
        b"file:///srv/scans/in",
        b"alice@example.com",
        "Alice Ädams <alice@exämple.com>".encode(),
        b"https://sp.example.com/sites/team/Shared%20Documents/in",
        b"https://sp.example.com:8443/sites/a%2Fb/%2e%2e/x",
    ]


TARGET = Target(
    "places",
    run,
    seeds,
    mutate_octets,
    words=(
        b"..",
        b"%2e",
        b"\\",
        b"//",
        b"@",
        b"<",
        b">",
        b"\r\n",
        b"https://",
        b"file:",
        b"localhost",
        b"\\\\?\\",
    ),
)
