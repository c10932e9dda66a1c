"""The certificate authorities and revocation lists a forest publishes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from postscan.directory.active.authorities import (
    read_authorities,
    read_revocation_list,
    read_revocation_lists,
)
from support.account_certificates import certificate
from support.memory_ldap import MemoryLdap

SERVICES = "CN=Public Key Services,CN=Services,CN=Configuration,DC=dsm,DC=test"
ROOT, ISSUER = certificate(serial=1), certificate(serial=2)
VERSION_5 = b"\xa0\x03\x02\x01\x04"
POINT = f"CN=DSM CA,CN=ca1,CN=CDP,{SERVICES}"


def ldap(*roots: bytes, logon: bytes | None = None) -> MemoryLdap:
    made = MemoryLdap("DC=dsm,DC=test", "CN=Configuration,DC=dsm,DC=test")
    authority = {"objectClass": ["top", "certificationAuthority"]}
    for number, value in enumerate(roots):
        made.put(
            f"CN=CA{number},CN=Certification Authorities,{SERVICES}", authority | {"cACertificate": value}
        )
    if logon is not None:
        made.put(f"CN=NTAuthCertificates,{SERVICES}", authority | {"cACertificate": logon})
    point = {"objectClass": ["top", "cRLDistributionPoint"]}
    made.put(POINT, point | {"certificateRevocationList": [b"crl", b"\0"]})
    made.put(f"CN=other,CN=ca2,CN=CDP,{SERVICES}", point | {"certificateRevocationList": b"other"})
    return made


async def test_the_roots_and_the_issuers_of_logons_are_read() -> None:
    found = await read_authorities(
        ldap(ROOT.public_bytes(Encoding.DER), logon=ISSUER.public_bytes(Encoding.DER))
    )
    assert found.roots == (ROOT,)
    assert found.logon_issuers == (ISSUER,)
    assert found.may_sign_on(ISSUER)
    assert not found.may_sign_on(ROOT)
    assert not found.problems


async def test_a_root_that_stands_there_twice_counts_once() -> None:
    der = ROOT.public_bytes(Encoding.DER)
    assert (await read_authorities(ldap(der, der))).roots == (ROOT,)


async def test_a_place_holder_is_no_certificate_and_no_problem() -> None:
    found = await read_authorities(ldap(b"\0", logon=b"\0"))
    assert found.roots == found.logon_issuers == ()
    assert not found.problems


@pytest.mark.parametrize(
    "broken", [b"\x30\x03abc", ROOT.public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", VERSION_5, 1)]
)
async def test_a_broken_certificate_is_told_and_the_others_count(broken: bytes) -> None:
    found = await read_authorities(ldap(broken, ROOT.public_bytes(Encoding.DER)))
    assert found.roots == (ROOT,)
    assert len(found.problems) == 1
    assert "CN=CA0" in found.problems[0]


async def test_a_forest_without_authorities_has_none() -> None:
    made = MemoryLdap("DC=dsm,DC=test", "CN=Configuration,DC=dsm,DC=test")
    found = await read_authorities(made)
    assert found.roots == found.logon_issuers == found.problems == ()


async def test_all_revocation_lists_are_read() -> None:
    assert sorted(await read_revocation_lists(ldap())) == [b"crl", b"other"]


@pytest.mark.parametrize(
    "address",
    [
        "ldap:///{point}?certificateRevocationList?base?objectClass=cRLDistributionPoint",
        "LDAP:///{point}",
        "ldap:///{escaped}?certificateRevocationList",
    ],
)
async def test_the_revocation_list_a_certificate_points_to_is_read(address: str) -> None:
    written = address.format(point=POINT, escaped=POINT.replace(" ", "%20").replace("=", "%3D"))
    assert await read_revocation_list(ldap(), written) == [b"crl"]


async def test_a_revocation_list_that_is_not_there_is_none() -> None:
    assert await read_revocation_list(ldap(), f"ldap:///CN=x,CN=CDP,{SERVICES}") == []


@pytest.mark.parametrize(
    "address",
    [
        f"ldap://evil.test/{POINT}",
        f"ldaps:///{POINT}",
        f"http:///{POINT}",
        "ldap:///",
        "ldap:///CN=alice,CN=Users,DC=dsm,DC=test?unixUserPassword",
        f"ldap:///CN=CDP,{SERVICES},DC=evil",
        f"ldap:///CN=x\\,CN=CDP,{SERVICES}",
        "ldap:///no name at all",
        "ldap://[",
    ],
)
async def test_an_address_outside_the_forests_lists_is_not_followed(address: str) -> None:
    made = ldap()
    with pytest.raises(ValueError):
        await read_revocation_list(made, address)
    assert not made.asked
