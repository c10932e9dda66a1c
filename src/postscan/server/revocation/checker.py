"""Decides whether a chain of certificates still stands, by the policy and whoever can be asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from postscan.core.clock import Clock
from postscan.core.log import get_logger
from postscan.core.rates import BoundedLog
from postscan.server.revocation.files import ListFiles
from postscan.server.revocation.model import (
    CertificateRevoked,
    Finding,
    LdapLists,
    OcspUse,
    Policy,
    RevocationSettings,
    RevocationUnknown,
    Status,
)
from postscan.server.revocation.sources import NetworkSources, judge_lists

_log = get_logger("revocation")
_Source = Callable[[x509.Certificate, x509.Certificate], Awaitable[Finding]]
# How long a certificate that nobody could be asked about is let in before they are asked again.
_UNKNOWN_SECONDS: Final = 60.0


class RevocationChecker:
    """Checks chains that were verified already: addresses are taken from no other certificates.

    :param ldap_lists: reads lists out of the directory, for ldap URIs; without it they are passed over.
    :param observe: is told the outcome of each check: ``good``, ``revoked`` or ``unknown``.
    """

    def __init__(
        self,
        settings: RevocationSettings,
        clock: Clock,
        *,
        ldap_lists: LdapLists | None = None,
        observe: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._ldap_lists = ldap_lists
        self._observe = observe
        self._warnings = BoundedLog(_log, clock, burst=3)
        self._settings = settings
        self._files = ListFiles(settings.crl_files)
        self._network = NetworkSources(settings, clock, ldap_lists)

    async def change(self, settings: RevocationSettings) -> None:
        """Put other settings into force; what was fetched is asked for again."""
        if settings == self._settings:
            return
        before = self._network
        self._settings = settings
        self._files = ListFiles(settings.crl_files)
        self._network = NetworkSources(settings, self._clock, self._ldap_lists)
        await before.close()

    async def close(self) -> None:
        """End what is being fetched."""
        await self._network.close()

    async def check(self, chain: Sequence[x509.Certificate]) -> float:
        """Return for how many seconds a chain may be taken as good without asking again.

        :param chain: a verified chain, the caller's own certificate first, the trusted one last: that is
            trusted because we were told so, and nobody above it could revoke it.
        :raises CertificateRevoked: one of them was revoked.
        :raises RevocationUnknown: nobody knows, and the policy is ``hard``.
        """
        settings = self._settings
        pairs = list(pairwise(chain))
        if settings.policy is Policy.OFF or not pairs:
            return math.inf
        findings = await asyncio.gather(*(self._ask(*pair) for pair in pairs))
        for status in (Status.REVOKED, Status.UNKNOWN):
            for (certificate, _), finding in zip(pairs, findings, strict=True):
                if finding.status is status:
                    self._object(certificate, finding, settings.policy, own=certificate is chain[0])
        if any(not finding.conclusive for finding in findings):
            return _UNKNOWN_SECONDS
        self._observe(Status.GOOD)
        return min(self._seconds_of(finding) for finding in findings)

    def _object(self, certificate: x509.Certificate, finding: Finding, policy: Policy, *, own: bool) -> None:
        """Refuse a certificate, or warn of it, as the policy says."""
        self._observe(finding.status)
        digest = certificate.fingerprint(hashes.SHA256()).hex()
        whose = "the certificate" if own else "the authority's certificate"
        said = f"{whose} {digest[:16]} {{}}: {finding.why}"
        if finding.status is Status.REVOKED:
            raise CertificateRevoked(said.format("was revoked"))
        if policy is Policy.HARD:
            raise RevocationUnknown(said.format("may have been revoked"))
        self._warnings.warning(
            digest,
            "taken although it may have been revoked",
            certificate=digest,
            subject=certificate.subject.rfc4514_string(),
            why=finding.why,
        )

    async def _ask(self, certificate: x509.Certificate, issuer: x509.Certificate) -> Finding:
        settings, network = self._settings, self._network
        lists = await self._files.lists()
        found = await judge_lists(lists, lists, certificate, issuer, self._clock.now())
        if found.conclusive or not settings.fetch:
            return found
        sources: list[_Source] = [network.by_lists]
        if settings.ocsp is not OcspUse.OFF:
            sources.insert(0 if settings.ocsp is OcspUse.PREFER else 1, network.by_responders)
        troubles = [found.why] if lists else []
        for source in sources:
            try:
                # One that does not answer must leave the other its time.
                async with asyncio.timeout(settings.timeout_seconds / len(sources)):
                    found = await source(certificate, issuer)
            except TimeoutError:
                troubles.append("no answer in time")
                continue
            if found.conclusive:
                return found
            troubles.append(found.why)
        return Finding(Status.UNKNOWN, "; ".join(troubles))

    def _seconds_of(self, finding: Finding) -> float:
        until: datetime | None = finding.until
        return max(0.0, (until - self._clock.now()).total_seconds()) if until is not None else 0.0
