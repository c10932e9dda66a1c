"""The certificate authorities a forest trusts, and the revocation lists it publishes.

They stand below ``CN=Public Key Services,CN=Services`` of the configuration: the enterprise roots, as
dsm-overview.md (Weak Authentication, Enterprise Root Paths) tells devices to read them; NTAuthCertificates,
the authorities whose certificates may sign somebody on; and CDP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postscan.core.certificates import MALFORMED
from postscan.core.log import get_logger
from postscan.directory.ldap.filters import equal
from postscan.directory.ldap.model import Entry, LdapClient, NoSuchObject, Scope
from postscan.directory.ldap.names import below

_SERVICES: Final = "CN=Public Key Services,CN=Services"
_CERTIFICATES: Final = "cACertificate"
_REVOCATIONS: Final = "certificateRevocationList"
# An attribute that must have a value although there is none holds this.
_NOTHING: Final = b"\0"
_log = get_logger("directory")


@dataclass(frozen=True, slots=True)
class Authorities:
    """What the forest trusts: ``roots``, and the ``logon_issuers`` whose certificates may sign somebody on.

    ``problems`` names values that are no certificates, which are left out.
    """

    roots: tuple[x509.Certificate, ...] = ()
    logon_issuers: tuple[x509.Certificate, ...] = ()
    problems: tuple[str, ...] = ()

    def may_sign_on(self, issuer: x509.Certificate) -> bool:
        """Tell whether certificates of this issuer may sign somebody on."""
        return issuer in self.logon_issuers


async def read_authorities(ldap: LdapClient) -> Authorities:
    """Read the enterprise roots and the issuers of logon certificates; none where there is no such object."""
    services = f"{_SERVICES},{(await ldap.root()).configuration_naming_context}"
    problems: list[str] = []
    roots = await _found(
        ldap, f"CN=Certification Authorities,{services}", Scope.ONE_LEVEL, "certificationAuthority"
    )
    logon = await _found(ldap, f"CN=NTAuthCertificates,{services}", Scope.BASE, "certificationAuthority")
    return Authorities(_certificates(roots, problems), _certificates(logon, problems), tuple(problems))


async def read_revocation_lists(ldap: LdapClient) -> list[bytes]:
    """Return every revocation list that is published in the forest (DER, unverified)."""
    services = f"{_SERVICES},{(await ldap.root()).configuration_naming_context}"
    found = await _found(ldap, f"CN=CDP,{services}", Scope.SUBTREE, "cRLDistributionPoint", _REVOCATIONS)
    return _lists(found)


async def read_revocation_list(ldap: LdapClient, address: str) -> list[bytes]:
    """Return the revocation lists at an ``ldap:///`` address of a certificate (DER, unverified).

    Only addresses without a host, of objects below CDP of this forest, are followed: a certificate cannot
    make us ask another server, or for another object.

    :raises ValueError: the address is none of those.
    """
    services = f"{_SERVICES},{(await ldap.root()).configuration_naming_context}"
    parts = urlsplit(address)
    name = unquote(parts.path).removeprefix("/")
    if parts.scheme.casefold() != "ldap" or parts.netloc or not name:
        raise ValueError("not the address of an object in this forest")
    if not below(name, f"CN=CDP,{services}"):
        raise ValueError("not the address of a revocation list in this forest")
    entry = await ldap.read(name, [_REVOCATIONS])
    return [] if entry is None else _lists([entry])


async def _found(
    ldap: LdapClient, base: str, scope: Scope, kind: str, attribute: str = _CERTIFICATES
) -> list[Entry]:
    try:
        return await ldap.search(base, scope, equal("objectClass", kind), [attribute])
    except NoSuchObject:
        return []


def _certificates(entries: Iterable[Entry], problems: list[str]) -> tuple[x509.Certificate, ...]:
    found: dict[bytes, x509.Certificate] = {}
    for entry in entries:
        for value in entry[_CERTIFICATES]:
            if value == _NOTHING:
                continue
            try:
                certificate = x509.load_der_x509_certificate(value)
                found[certificate.public_bytes(Encoding.DER)] = certificate
            except MALFORMED as error:
                problem = f"{entry.dn}: a value of {_CERTIFICATES} is no certificate: {error}"
                _log.warning("certificate of an authority cannot be read", problem=problem)
                problems.append(problem)
    return tuple(found.values())


def _lists(entries: Iterable[Entry]) -> list[bytes]:
    return [value for entry in entries for value in entry[_REVOCATIONS] if value != _NOTHING]
