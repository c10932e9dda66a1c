"""The operations that put people, groups, rights, scan processes and certificates into a new domain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from testdomain.facts import (
    ADDRESS,
    BASE_DN,
    COMPUTER,
    CONTROLLER,
    DNS_DOMAIN,
    GROUPS,
    PEOPLE,
    PROCESSES_DN,
    SCAN_SERVER,
    UPN_SUFFIX,
    Person,
)
from testdomain.offline import Operation, add, address, delegate, modify
from testdomain.processes import domain_processes

_ENABLED, _DISABLED, _WORKSTATION = 0x200, 0x202, 0x1000
# 2020-01-01 in units of 100 ns since 1601.
_LONG_AGO: Final = "132223104000000000"
_PUBLIC_KEY_SERVICES: Final = f"CN=Public Key Services,CN=Services,CN=Configuration,{BASE_DN}"
_COMPUTER_DN: Final = f"CN=SCANSRV,CN=Computers,{BASE_DN}"
# schemaIDGUID of the class and the attributes ([MS-ADSC] 2.157, [MS-ADA2] 2.524 and 2.527).
_PROCESS_CLASS: Final = "1f7c257c-b8a3-4525-82f8-11ccc7bee36e"
_HASH_ALGORITHM: Final = "8ae70db5-6406-4196-92fe-f3bb557520a7"
_THUMBPRINT: Final = "9cdfdbc5-0304-4569-95f6-c4f663fe5ae6"


def population(authority: x509.Certificate, revoked: x509.CertificateRevocationList) -> Iterator[Operation]:
    """Yield what is to be in the domain, in the order it has to be made.

    :param authority: published as an enterprise root that may certify logons.
    :param revoked: its list of revoked certificates.
    """
    yield modify(f"CN=Partitions,CN=Configuration,{BASE_DN}", {"uPNSuffixes": UPN_SUFFIX})
    # What samba_spnupdate would add after some time, once the controller runs.
    names = [
        f"ldap/{CONTROLLER}",
        f"ldap/{CONTROLLER}/{DNS_DOMAIN}",
        "ldap/DC1",
        f"GC/{CONTROLLER}/{DNS_DOMAIN}",
    ]
    yield modify(f"CN=DC1,OU=Domain Controllers,{BASE_DN}", {"servicePrincipalName": names})
    for person in PEOPLE:
        yield _account(person)
    yield _computer()
    yield address(SCAN_SERVER, ADDRESS)
    yield from _groups()
    yield from _rights()
    for process in domain_processes():
        values: dict[str, str | bytes] = {
            "objectClass": "msImaging-PostScanProcess",
            "displayName": process.display_name,
            "msImaging-PSPIdentifier": process.identifier.bytes_le,
            "msImaging-PSPString": process.xml,
            "serverName": SCAN_SERVER,
        }
        yield add(process.dn, values, process.descriptor)
    yield from _authorities(authority, revoked)


def _account(person: Person) -> Operation:
    values: dict[str, str | bytes] = {
        "objectClass": "user",
        "sAMAccountName": person.name,
        "userPrincipalName": person.upn,
        "displayName": person.common_name or f"{person.given_name} {person.surname}".strip(),
        "givenName": person.given_name,
        "sn": person.surname,
        "mail": person.mail,
        "wWWHomePage": person.home_site,
        "userAccountControl": str(_ENABLED if person.enabled else _DISABLED),
        "clearTextPassword": person.password.encode("utf-16-le"),
        "accountExpires": _LONG_AGO if person.expired else "",
    }
    return add(person.dn, {name: value for name, value in values.items() if value})


def _computer() -> Operation:
    host = COMPUTER.name.removesuffix("$")
    return add(
        _COMPUTER_DN,
        {
            "objectClass": "computer",
            "sAMAccountName": COMPUTER.name,
            "dNSHostName": SCAN_SERVER,
            "servicePrincipalName": [f"HOST/{host}", f"HOST/{SCAN_SERVER}"],
            "userAccountControl": str(_WORKSTATION),
            "clearTextPassword": COMPUTER.password.encode("utf-16-le"),
        },
    )


def _groups() -> Iterator[Operation]:
    for name in GROUPS:
        yield add(_group_dn(name), {"objectClass": "group", "sAMAccountName": name})
    people = {person.name: person.dn for person in PEOPLE} | {COMPUTER.name: _COMPUTER_DN}
    for name, members in GROUPS.items():
        yield modify(_group_dn(name), {"member": [people.get(m) or _group_dn(m) for m in members]})


def _group_dn(name: str) -> str:
    return f"CN={name},CN=Users,{BASE_DN}"


def _rights() -> Iterator[Operation]:
    """Delegate what docs/active-directory.md tells an administrator to delegate."""
    aces = "(A;CI;RPLCLORC;;;{Scan Servers})"
    for writer in ("{svc-scan}", "{Scan Administrators}"):
        # To create and delete such objects, and to do everything with them.
        aces += f"(OA;;CCDC;{_PROCESS_CLASS};;{writer})"
        aces += f"(OA;CIIO;RPWPCRCCDCLCLORCWOWDSDDTSW;;{_PROCESS_CLASS};{writer})"
    yield delegate(PROCESSES_DN, aces)
    published = (_THUMBPRINT, _HASH_ALGORITHM)
    yield delegate(_COMPUTER_DN, "".join(f"(OA;;RPWP;{guid};;{{Scan Servers}})" for guid in published))


def _authorities(authority: x509.Certificate, revoked: x509.CertificateRevocationList) -> Iterator[Operation]:
    name = str(authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    certificate = authority.public_bytes(Encoding.DER)
    values: dict[str, str | bytes] = {"objectClass": "certificationAuthority", "cACertificate": certificate}
    values |= {"authorityRevocationList": b"\0", "certificateRevocationList": b"\0"}
    yield add(f"CN={name},CN=Certification Authorities,{_PUBLIC_KEY_SERVICES}", values)
    yield add(f"CN=NTAuthCertificates,{_PUBLIC_KEY_SERVICES}", values)
    point = f"CN=dc1,CN=CDP,{_PUBLIC_KEY_SERVICES}"
    yield add(point, {"objectClass": "container"})
    lists: dict[str, str | bytes] = {"objectClass": "cRLDistributionPoint", "authorityRevocationList": b"\0"}
    lists["certificateRevocationList"] = revoked.public_bytes(Encoding.DER)
    yield add(f"CN={name},{point}", lists)
