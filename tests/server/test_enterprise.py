"""Authorities of the directory: which of them may certify users, and when they are asked for again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from postscan.cli.pki import KeyPair, create_ca
from postscan.core.errors import ConfigurationError
from postscan.directory.active.authorities import Authorities
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.ldap.model import DirectoryAway
from postscan.server.enterprise import EnterpriseAuthorities
from postscan.server.upkeep import LOOK_SECONDS, RENEW_SECONDS, DirectoryUpkeep
from support.clock import FakeClock


def der(pair: KeyPair) -> bytes:
    return pair.certificate.public_bytes(Encoding.DER)


class Forest:
    """What a directory answers: its state, and how often it was asked."""

    def __init__(self, *roots: KeyPair, logon: tuple[KeyPair, ...] = ()) -> None:
        self.roots = [one.certificate for one in roots]
        self.logon = [one.certificate for one in logon]
        self.away = False
        self.asked = 0

    async def read(self) -> Authorities:
        self.asked += 1
        if self.away:
            raise DirectoryAway("no controller answers")
        return Authorities(tuple(self.roots), tuple(self.logon))


@pytest.fixture(scope="module")
def root() -> KeyPair:
    return create_ca("Enterprise root")


@pytest.fixture(scope="module")
def other() -> KeyPair:
    return create_ca("Root of machines and web sites")


async def read(forest: Forest) -> EnterpriseAuthorities:
    authorities = EnterpriseAuthorities(forest.read)
    await authorities.refresh()
    return authorities


async def test_an_issuer_that_may_sign_on_certifies_users(root: KeyPair) -> None:
    authorities = await read(Forest(root, logon=(root,)))
    assert list(authorities()) == [root.certificate]
    assert authorities.may_sign_on([b"leaf", der(root)])


async def test_an_issuer_below_a_root_has_to_be_listed_itself(root: KeyPair, other: KeyPair) -> None:
    authorities = await read(Forest(root, logon=(other,)))
    assert authorities.may_sign_on([b"leaf", der(other), der(root)])
    assert not authorities.may_sign_on([b"leaf", b"another issuer", der(root)])


async def test_a_root_of_the_directory_alone_certifies_no_users(root: KeyPair, other: KeyPair) -> None:
    authorities = await read(Forest(root, other, logon=(root,)))
    assert not authorities.may_sign_on([b"leaf", der(other)])


async def test_an_authority_of_the_settings_needs_no_listing(
    root: KeyPair, other: KeyPair, tmp_path: Path
) -> None:
    authorities = await read(Forest(root, other, logon=(root,)))
    file = tmp_path / "ca.pem"
    file.write_bytes(other.certificate_pem())
    authorities.beside(file)
    assert authorities.may_sign_on([b"leaf", der(other)])
    file.write_bytes(root.certificate_pem() + b"\n")
    assert not authorities.may_sign_on([b"leaf", der(other)])


@pytest.mark.parametrize("chain", [[], [b"leaf"]])
async def test_without_a_chain_nobody_signs_on(root: KeyPair, chain: list[bytes]) -> None:
    assert not (await read(Forest(root, logon=(root,)))).may_sign_on(chain)


async def test_a_root_that_signs_on_as_a_user_does_not(root: KeyPair) -> None:
    assert not (await read(Forest(root, logon=(root,)))).may_sign_on([der(root)])


async def test_what_was_read_last_counts_while_the_directory_is_away(root: KeyPair) -> None:
    forest = Forest(root, logon=(root,))
    authorities = await read(forest)
    forest.away = True
    with pytest.raises(DirectoryAway):
        await authorities.refresh()
    assert authorities.may_sign_on([b"leaf", der(root)])


async def test_only_a_change_is_told(root: KeyPair, other: KeyPair) -> None:
    forest = Forest(root, logon=(root,))
    authorities = EnterpriseAuthorities(forest.read)
    assert [await authorities.refresh(), await authorities.refresh()] == [True, False]
    forest.logon = [other.certificate]
    assert await authorities.refresh()


# Looking after it ------------------------------------------------------------------------------------------


class Directory(EmbeddedDirectory):
    """A directory that can be away."""

    def __init__(self, forest: Forest, folder: Path) -> None:
        super().__init__(folder)
        self._forest = forest
        self.looked = asyncio.Event()

    async def ping(self) -> None:
        self.looked.set()
        if self._forest.away:
            raise DirectoryAway("no controller answers")


class World:
    """An upkeep, and all around it."""

    def __init__(self, forest: Forest, folder: Path) -> None:
        self.forest = forest
        self.clock = FakeClock()
        self.directory = Directory(forest, folder)
        self.authorities = EnterpriseAuthorities(forest.read)
        self.renewed = 0
        self.upkeep = DirectoryUpkeep(self.directory, self.authorities, self._renew, sleep=self.clock.sleep)

    async def _renew(self) -> bool:
        self.renewed += 1
        return True

    async def pass_time(self, seconds: float) -> None:
        """Let the upkeep look as often as it does in that time."""
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.directory.looked.clear()
            self.clock.advance(LOOK_SECONDS)
            await self.directory.looked.wait()
            # What follows the look waits for nothing but itself.
            for _turn in range(5):
                await asyncio.sleep(0)


@pytest.fixture
def world(root: KeyPair, tmp_path: Path) -> World:
    return World(Forest(root, logon=(root,)), tmp_path)


async def test_authorities_are_asked_for_once_an_hour(world: World) -> None:
    await world.upkeep.begin()
    world.upkeep.start()
    await world.directory.looked.wait()
    assert world.forest.asked == 1
    await world.pass_time(RENEW_SECONDS - LOOK_SECONDS)
    assert world.forest.asked == 1
    await world.pass_time(2 * LOOK_SECONDS)
    assert world.forest.asked == 2
    await world.upkeep.stop()


async def test_a_directory_that_is_away_is_told_and_looked_for_again(world: World) -> None:
    world.forest.away = True
    await world.upkeep.begin()
    assert world.upkeep.trouble == "no controller answers"
    await world.upkeep.look()
    assert (world.upkeep.trouble, world.renewed) == ("no controller answers", 0)
    world.forest.away = False
    await world.upkeep.look()
    assert (world.upkeep.trouble, world.renewed) == (None, 1)
    assert world.authorities.was_read


async def test_a_failure_of_the_renewal_does_not_end_looking(world: World) -> None:
    async def fail() -> bool:
        raise RuntimeError("files of TLS were taken away")

    upkeep = DirectoryUpkeep(world.directory, world.authorities, fail, sleep=world.clock.sleep)
    upkeep.start()
    await world.directory.looked.wait()
    await world.pass_time(2 * LOOK_SECONDS)
    assert upkeep._task is not None
    assert not upkeep._task.done()
    await upkeep.stop()


async def test_authorities_that_could_not_be_put_into_force_are_again_at_the_next_look(world: World) -> None:
    tried: list[bool] = []

    async def fail_once() -> bool:
        tried.append(True)
        if len(tried) == 1:
            raise ConfigurationError("the key is just being replaced")
        return True

    upkeep = DirectoryUpkeep(world.directory, world.authorities, fail_once, sleep=world.clock.sleep)
    with pytest.raises(ConfigurationError):
        await upkeep.look()
    await upkeep.look()
    assert len(tried) == 2
    await upkeep.look()
    assert len(tried) == 2


async def test_an_upkeep_that_was_never_started_can_be_stopped(world: World) -> None:
    await world.upkeep.stop()
