"""Where a file server says that a DFS path leads, and what that means by the list of servers."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Final

from fuzz.mutation import mutate_octets
from fuzz.target import Target, must
from postscan.core.errors import PostscanError
from postscan.core.secret import Secret
from postscan.filters.smb.referral import parse_referral
from postscan.filters.smb.servers import Logon, SmbServer, SmbServers

_SERVERS: Final = SmbServers(
    [SmbServer("files.example.com", Logon.NTLM, "scan", lambda: Secret("x"), shares=("scans",))]
)


def run(data: bytes) -> None:
    """Read a referral, and look up what it leads to."""
    found = parse_referral(data)
    must(sum(map(len, found.targets)) <= 64 * 2_048, "targets that are too long")
    for text in found.targets:
        with suppress(PostscanError):
            target = _SERVERS.target_of_path("\\\\" + text.strip("\\"))
            must(target.server.host == "files.example.com" and target.share.casefold() == "scans", text)
            must(not {".", "..", ""} & set(target.folders), f"the folders {target.folders}")


def seeds() -> list[bytes]:
    """Return referrals of the versions there are."""
    name = "\\files.example.com\\scans\\in\0".encode("utf-16-le")
    return [
        struct.pack("<HHI", 30, 1, 2)
        + struct.pack("<HHHHIHHH", 4, 34, 0, 0, 60, 0, 0, 34)
        + bytes(16)
        + name,
        struct.pack("<HHI", 30, 1, 2) + struct.pack("<HHHHIIHHH", 2, 22, 0, 0, 0, 60, 0, 0, 22) + name,
        struct.pack("<HHI", 30, 1, 0) + struct.pack("<HHHH", 1, 8 + len(name), 0, 0) + name,
    ]


TARGET = Target("dfs", run, seeds, mutate_octets, words=(b"\\\0", b".\0.\0", b"@\0", b"\0\0", b"$\0"))
