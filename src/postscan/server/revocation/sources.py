"""Where the network can be asked about a certificate: its lists, and its responders."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, ParamSpec, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from postscan.core.certificates import MALFORMED
from postscan.core.clock import Clock
from postscan.server.revocation import crl, ocsp
from postscan.server.revocation.crl import RevocationList
from postscan.server.revocation.fetching import Fetcher
from postscan.server.revocation.files import MAX_LIST_BYTES
from postscan.server.revocation.keeper import Fetched, Keeper
from postscan.server.revocation.model import Finding, LdapLists, RevocationSettings, SourceFailed, Status
from postscan.server.revocation.ocsp import OcspAnswer, OcspQuestion

P = ParamSpec("P")
T = TypeVar("T")
_SHA256: Final = hashes.SHA256()
_MAX_KEPT_LISTS: Final = 64
_MAX_KEPT_OCTETS: Final = 128 * 1024 * 1024
_MAX_KEPT_ANSWERS: Final = 10_000
_MAX_ANSWER_BYTES: Final = 64 * 1024
_MAX_ADDRESSES: Final = 8
_MAX_AWAY: Final = 1_000
# A list may be long and the line slow. Callers do not wait that long; the next one finds it.
_LIST_SECONDS: Final = 60.0
# 16 octets are what responders of every age take (RFC 8954 allows 1 to 32).
_NONCE_BYTES: Final = 16
# Work that holds up the loop noticeably goes to a thread.
_LARGE: Final = 64 * 1024
# What came but says of itself that it is over, or says nothing, is asked for again after so long.
_SOON_SECONDS: Final = 60.0


class NetworkSources:
    """Lists and answers from the network, fetched once for all who ask."""

    def __init__(self, settings: RevocationSettings, clock: Clock, ldap: LdapLists | None) -> None:
        self._clock = clock
        self._ldap = ldap
        self._fetcher = Fetcher(allow_loopback=settings.allow_loopback)
        self._cache_seconds = settings.cache_seconds
        patience = settings.timeout_seconds
        self._answer_seconds = settings.timeout_seconds
        self._delta_seconds = settings.timeout_seconds / 8
        # Responders that did not answer, and until when nobody waits for them again.
        self._away: dict[str, float] = {}
        self._lists: Keeper[str, tuple[RevocationList, ...]] = Keeper(
            clock, patience=patience, entries=_MAX_KEPT_LISTS, octets=_MAX_KEPT_OCTETS
        )
        self._answers: Keeper[tuple[str, bytes, bytes], OcspAnswer] = Keeper(
            clock, patience=patience, entries=_MAX_KEPT_ANSWERS
        )

    async def close(self) -> None:
        """End what is being fetched."""
        await self._lists.close()
        await self._answers.close()
        await self._fetcher.close()

    async def by_lists(self, certificate: x509.Certificate, issuer: x509.Certificate) -> Finding:
        """Ask the places that the certificate says its authority's lists are at, one after another."""
        addresses = crl.addresses_of(crl.points_of(certificate))[:_MAX_ADDRESSES]
        troubles = []
        for address in addresses:
            if crl.is_in_directory(address) and self._ldap is None:
                continue
            try:
                lists = await self._lists.get(address, partial(self._fetch_lists, address))
            except SourceFailed as error:
                troubles.append(str(error))
                continue
            deltas = await self._deltas(certificate, issuer, lists)
            found = await judge_lists(lists, deltas, certificate, issuer, self._clock.now())
            if found.conclusive:
                return found
            troubles.append(found.why)
        return Finding(Status.UNKNOWN, "; ".join(troubles) or "it names no list that could be fetched")

    async def by_responders(self, certificate: x509.Certificate, issuer: x509.Certificate) -> Finding:
        """Ask the OCSP responders that the certificate names, one after another."""
        troubles = []
        for address in ocsp.addresses_of(certificate)[:_MAX_ADDRESSES]:
            key = (address, certificate.fingerprint(_SHA256), issuer.fingerprint(_SHA256))
            try:
                answer = await self._answers.get(key, partial(self._ask, address, certificate, issuer))
            except SourceFailed as error:
                troubles.append(str(error))
                continue
            found = answer.finding
            if found.until is not None and found.until < self._clock.now():
                troubles.append(f"{found.why}: no newer answer came")
                continue
            if answer.responder is not None:
                responder = await self.by_lists(answer.responder, issuer)
                if responder.status is Status.REVOKED:
                    troubles.append(f"{address}: the responder's certificate was revoked")
                    continue
            if found.conclusive:
                return found
            troubles.append(found.why)
        return Finding(Status.UNKNOWN, "; ".join(troubles) or "it names no responder")

    async def _deltas(
        self, certificate: x509.Certificate, issuer: x509.Certificate, lists: Sequence[RevocationList]
    ) -> list[RevocationList]:
        """Return the delta lists of some complete ones; without those that cannot be had soon."""
        found: list[RevocationList] = []
        deadline = asyncio.get_running_loop().time() + self._delta_seconds
        for base in lists:
            # Where it leads is believed only of what the authority signed.
            if await _off_loop(base.size, base.refusal, certificate, issuer) is not None:
                continue
            for address in crl.delta_addresses(certificate, base)[:_MAX_ADDRESSES]:
                if crl.is_in_directory(address) and self._ldap is None:
                    continue
                # Without it the complete list decides alone, as RFC 5280 (6.3.3 c) has it.
                with contextlib.suppress(SourceFailed, TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        found += await self._lists.get(address, partial(self._fetch_lists, address))
                    break
        return found

    async def _fetch_lists(self, address: str) -> Fetched[tuple[RevocationList, ...]]:
        if crl.is_in_directory(address):
            if self._ldap is None:
                raise SourceFailed(f"{address}: there is no directory to ask")
            try:
                octets = [one for one in await self._ldap(address) if len(one) <= MAX_LIST_BYTES]
            except ValueError as error:
                raise SourceFailed(f"{address}: {error}") from error
        else:
            octets = [await self._fetcher.get(address, limit=MAX_LIST_BYTES, seconds=_LIST_SECONDS)]
        if not octets:
            raise SourceFailed(f"{address}: there is no list")
        read: list[RevocationList] = []
        for one in octets:
            read += await _off_loop(len(one), crl.read_lists, one, address)
        ends = [one.ends for one in read]
        seconds = min((self._seconds_until(end) for end in ends), default=_SOON_SECONDS)
        return Fetched(tuple(read), seconds, sum(one.size for one in read))

    async def _ask(
        self, address: str, certificate: x509.Certificate, issuer: x509.Certificate
    ) -> Fetched[OcspAnswer]:
        question = OcspQuestion(certificate, issuer, os.urandom(_NONCE_BYTES))
        if self._away.get(address, 0.0) > self._clock.monotonic():
            raise SourceFailed(f"{address} did not answer a moment ago")
        try:
            asked = question.encode()
        except MALFORMED as error:
            raise SourceFailed(f"the certificate cannot be asked about: {error}") from error
        try:
            octets = await self._fetcher.post(
                address,
                asked,
                ocsp.REQUEST_TYPE,
                limit=_MAX_ANSWER_BYTES,
                seconds=self._answer_seconds,
            )
        except SourceFailed:
            if len(self._away) >= _MAX_AWAY:
                self._away.clear()
            self._away[address] = self._clock.monotonic() + _SOON_SECONDS
            raise
        answer = ocsp.read_answer(octets, question, address, self._clock.now())
        finding = answer.finding
        known = finding.conclusive and finding.until is not None
        return Fetched(answer, self._seconds_until(finding.until) if known else _SOON_SECONDS)

    def _seconds_until(self, end: datetime | None) -> float:
        left = (end - self._clock.now()).total_seconds() if end is not None else 0.0
        return min(left, self._cache_seconds) if left > 0 else _SOON_SECONDS


async def judge_lists(
    lists: Sequence[RevocationList],
    deltas: Sequence[RevocationList],
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    now: datetime,
) -> Finding:
    """Return what lists say of a certificate; long ones are searched in a thread."""
    size = sum(one.size for one in (*lists, *deltas))
    return await _off_loop(size, crl.judge, lists, deltas, certificate, issuer, now)


async def _off_loop(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do ``work`` on so many octets, in a thread when they are many."""
    if size > _LARGE:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
