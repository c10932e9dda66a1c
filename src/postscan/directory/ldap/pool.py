"""A few bound connections to one directory, lent to one request at a time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from postscan.directory.ldap.connection import Connection
from postscan.directory.ldap.dialling import Dialler
from postscan.directory.ldap.model import CredentialsRefused, DirectoryAway, RootDse
from postscan.directory.model import DirectoryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A connection that rested longer may have been forgotten by a firewall; one that is older holds rights
# (and a Kerberos ticket) as they were when it was made.
_LONGEST_REST: Final = 240.0
_OLDEST: Final = 3600.0
# A refused password is not tried again at once, and ever more rarely: domains lock an account, for all who
# use it, after as few as five attempts in half an hour.
_REFUSED_SECONDS: Final = (60.0, 240.0, 960.0, 1_800.0)


@dataclass(slots=True, eq=False)
class Pooled:
    """A connection of the pool, and what its controller says of itself once that was asked."""

    connection: Connection
    made: float
    used: float
    root: RootDse | None = None


class Pool:
    """Makes connections as they are needed, at most ``size``, and keeps those that are still good.

    :param patience: how many seconds a request waits for its turn.
    """

    def __init__(self, dialler: Dialler, *, size: int, patience: float) -> None:
        self._dialler = dialler
        self._patience = patience
        self._idle: list[Pooled] = []
        self._busy: set[Pooled] = set()
        self._places = asyncio.Semaphore(size)
        self._dialling = asyncio.Lock()
        self._failed: tuple[float, DirectoryError] | None = None
        self._refusals = 0
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Pooled]:
        """Lend a connection; it is used again unless what was done with it was given up half-way.

        :raises DirectoryAway: there is none to be had.
        :raises CredentialsRefused: the account was refused, now or a moment ago.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            raise DirectoryAway("all connections to the directory are in use for too long") from None
        try:
            pooled = self._rested() or await self._dialled()
            async with self._lent(pooled):
                yield pooled
        finally:
            self._places.release()

    def gone(self, pooled: Pooled) -> None:
        """Take note that a controller does not serve: no other connection to it is lent, it is asked last."""
        endpoint = (pooled.connection.host, pooled.connection.port)
        self._dialler.went_away(*endpoint)
        why = DirectoryAway(f"another connection to {pooled.connection.name} ended")
        for other in [pooled, *self._idle]:
            if (other.connection.host, other.connection.port) == endpoint:
                other.connection.abort(why)

    async def close(self) -> None:
        """Let every connection go; requests under way end with DirectoryAway."""
        self._closed = True
        everyone = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(one.connection.close() for one in everyone))

    @asynccontextmanager
    async def _lent(self, pooled: Pooled) -> AsyncIterator[None]:
        self._busy.add(pooled)
        given_up = True
        try:
            yield
            given_up = False
        except DirectoryError:
            given_up = False  # it was answered; the answer was a refusal
            raise
        finally:
            self._busy.discard(pooled)
            if given_up or self._closed or not pooled.connection.usable:
                pooled.connection.abort(DirectoryAway("the request was given up"))
            else:
                pooled.used = _now()
                self._idle.append(pooled)

    def _rested(self) -> Pooled | None:
        now = _now()
        while self._idle:
            pooled = self._idle.pop()
            fresh = now - pooled.used < _LONGEST_REST and now - pooled.made < _OLDEST
            if pooled.connection.usable and fresh:
                return pooled
            pooled.connection.abort(DirectoryAway("the connection rested too long"))
        return None

    async def _dialled(self) -> Pooled:
        asked = _now()
        try:
            async with asyncio.timeout(self._patience):
                await self._dialling.acquire()
        except TimeoutError:
            raise DirectoryAway("connecting to the directory takes too long") from None
        try:
            if self._closed:
                raise DirectoryAway("the directory is not used any more")
            if rested := self._rested():
                return rested
            if await self._dialler.renew_credentials():
                self._failed, self._refusals = None, 0
            self._raise_if_just_failed(asked)
            connection = await self._dialler.dial()
        except DirectoryError as error:
            if self._failed is None or self._failed[1] is not error:
                self._failed = (_now(), error)
                self._refusals += isinstance(error, CredentialsRefused)
            raise
        else:
            self._failed, self._refusals = None, 0
            return Pooled(connection, _now(), _now())
        finally:
            self._dialling.release()

    def _raise_if_just_failed(self, asked: float) -> None:
        """Let those who waited while somebody else failed fail with them, instead of one by one."""
        if self._failed is None:
            return
        when, error = self._failed
        refused = isinstance(error, CredentialsRefused) and _now() - when < self._pause()
        if refused or when >= asked:
            raise error.with_traceback(None)

    def _pause(self) -> float:
        """Return for how long an account that was refused is not tried again."""
        if not self._dialler.has_password:
            return _REFUSED_SECONDS[0]  # no attempt of which domains count too many
        return _REFUSED_SECONDS[min(self._refusals, len(_REFUSED_SECONDS)) - 1]


def _now() -> float:
    return asyncio.get_running_loop().time()
