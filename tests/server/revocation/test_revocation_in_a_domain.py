"""Lists that lie in a real directory, where the certificates of a Windows authority say they are."""

import math
from urllib.parse import quote

import pytest

from postscan.core.clock import SystemClock
from postscan.directory.active.directory import ActiveDirectory, ActiveDirectorySettings
from postscan.directory.ldap.client import Ldap
from postscan.directory.ldap.model import Change, Operation
from postscan.server.revocation.checker import RevocationChecker
from postscan.server.revocation.model import (
    CertificateRevoked,
    Policy,
    RevocationSettings,
    RevocationUnknown,
)
from support.active_directory import ldap_settings
from support.authorities import Authority, distribution_points
from support.domain import Domain
from testdomain.facts import ADMINISTRATOR, SERVICE

LISTS = "CN=DSM Test CA,CN=dc1,CN=CDP,CN=Public Key Services,CN=Services,CN=Configuration,DC=dsm,DC=test"
ADDRESS = f"ldap:///{quote(LISTS)}?certificateRevocationList?base?objectClass=cRLDistributionPoint"
ELSEWHERE = ADDRESS.replace("ldap:///", "ldap://192.0.2.1/")


async def test_a_certificate_is_looked_up_in_the_list_of_the_directory(domain: Domain) -> None:
    authority = Authority(domain.authority())
    alice = authority.issue("alice", distribution_points(ELSEWHERE, ADDRESS))
    chain = [alice.certificate, authority.certificate]
    administrator = Ldap(ldap_settings(domain.ca, ADMINISTRATOR))
    found = await administrator.read(LISTS, ["certificateRevocationList"])
    assert found is not None
    before = found["certificateRevocationList"]

    async with ActiveDirectory(ActiveDirectorySettings(ldap_settings(domain.ca, SERVICE))) as directory:
        settings = RevocationSettings(Policy.HARD)

        def checker() -> RevocationChecker:
            return RevocationChecker(settings, SystemClock(), ldap_lists=directory.revocation_lists)

        try:
            first = checker()
            assert 0 < await first.check(chain) < math.inf
            await first.close()
            await administrator.modify(LISTS, [_lists(authority.crl(alice.certificate, number=2))])
            second = checker()
            with pytest.raises(CertificateRevoked):
                await second.check(chain)
            await second.close()
            domain.stop()
            third = checker()
            with pytest.raises(RevocationUnknown):
                await third.check(chain)
            await third.close()
        finally:
            domain.start()
            await administrator.modify(LISTS, [_lists(*before)])
            await administrator.close()


def _lists(*values: bytes) -> Change:
    return Change(Operation.REPLACE, "certificateRevocationList", values)
