"""The resolver that leads nowhere but to addresses that were checked."""

import socket

import pytest

from postscan.dpws.pinned import PinnedResolver


async def test_the_resolver_knows_only_what_was_checked() -> None:
    resolver = PinnedResolver()
    resolver.pin("http://Device.example:80/x", "192.0.2.7")
    (found,) = await resolver.resolve("device.example", 80)
    assert (found["host"], found["port"], found["family"]) == ("192.0.2.7", 80, socket.AF_INET)
    with pytest.raises(OSError, match="not checked"):
        await resolver.resolve("other.example", 80)
