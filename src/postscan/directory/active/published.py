"""The hash of a scan server's certificate on its computer object, for devices to compare.

Attributes msImaging-ThumbprintHash and msImaging-HashAlgorithm ([MS-ADA2] 2.524, 2.527). What Windows names
the algorithm is not written down anywhere: ``SHA256`` is written here, and every usual spelling is read.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postscan.core.log import get_logger
from postscan.directory.ldap.filters import all_of, any_of, equal
from postscan.directory.ldap.model import Change, Entry, LdapClient, Operation, Scope
from postscan.directory.model import DirectoryError, NoSuchEntry

HASH: Final = "msImaging-ThumbprintHash"
ALGORITHM: Final = "msImaging-HashAlgorithm"
WRITTEN_ALGORITHM: Final = "SHA256"
# Spelled without hyphens, underscores and spaces; also by object identifier, as Windows often does.
_ALGORITHMS: Final = {
    "sha1": "sha1",
    "sha224": "sha224",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
    "sha3256": "sha3_256",
    "sha3384": "sha3_384",
    "sha3512": "sha3_512",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_log = get_logger("directory")


class PublishedHashUnusable(DirectoryError):
    """What the directory publishes of a server's certificate cannot be compared with."""

    retry_helps = False
    advice = "Publish the certificate again: `postscan directory publish-certificate` on the scan server."


class NoSuchComputer(NoSuchEntry):
    """No computer object (or more than one) is the scan server's."""

    advice = (
        "Join the scan server to the domain, or make a computer account for it, and give the account its "
        "full DNS name (attribute dNSHostName)."
    )


@dataclass(frozen=True, slots=True)
class PublishedHash:
    """A digest of a certificate (its DER form), and the algorithm as :mod:`hashlib` names it."""

    algorithm: str
    digest: bytes

    def matches(self, certificate: bytes) -> bool:
        """Tell whether this is the digest of ``certificate`` (DER)."""
        actual = hashlib.new(self.algorithm, certificate, usedforsecurity=False).digest()
        return hmac.compare_digest(actual, self.digest)


def read_hash(value: bytes, algorithm: str | None) -> PublishedHash:
    """Read both attributes; the digest may stand there as octets or as hexadecimal text.

    :param algorithm: None where the attribute is missing: the digest's length tells.
    :raises PublishedHashUnusable: an unknown or too weak algorithm, or a digest of another length.
    """
    if algorithm is None:
        name = next((n for n in ("sha256", "sha1", "sha384", "sha512") if _digest(value, n)), None)
        if name is None:
            raise PublishedHashUnusable(
                f"{HASH} holds {len(value)} octets, which is no hash's length, and {ALGORITHM} is missing"
            )
    else:
        spelled = algorithm.strip().casefold().replace("-", "").replace("_", "").replace(" ", "")
        name = _ALGORITHMS.get(spelled)
        if name is None:
            raise PublishedHashUnusable(f"{ALGORITHM} is {algorithm[:64]!r}, which is not known or too weak")
    digest = _digest(value, name)
    if digest is None:
        raise PublishedHashUnusable(f"{HASH} holds {len(value)} octets, which is no {name} hash")
    return PublishedHash(name, digest)


def _digest(value: bytes, algorithm: str) -> bytes | None:
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    if len(value) == size:
        return value
    try:
        digest = bytes.fromhex(value.decode("ascii").strip().replace(":", " "))
    except ValueError:
        return None
    return digest if len(digest) == size else None


class PublishedCertificates:
    """Reads and writes the hashes in the domain that ``ldap`` is bound to."""

    def __init__(self, ldap: LdapClient) -> None:
        self._ldap = ldap

    async def read(self, host: str) -> PublishedHash | None:
        """Return what is published for the scan server with this full DNS name; None when nothing is.

        :raises PublishedHashUnusable: something is published that cannot be compared with, or it cannot be
            told which of several computer objects is the server's.
        """
        found = await self._computers(host)
        if len(found) > 1:
            raise PublishedHashUnusable(_several(host, found), advice=NoSuchComputer.advice)
        value = found[0].octets(HASH) if found else None
        return None if value is None else read_hash(value, found[0].text(ALGORITHM))

    async def publish(self, host: str, certificate: x509.Certificate) -> bool:
        """Publish ``certificate`` as the scan server's; tell whether anything had to be changed.

        :raises NoSuchComputer: no computer object has this DNS name, or several have.
        """
        computer = await self._computer(host)
        digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
        if computer.octets(HASH) == digest and computer.text(ALGORITHM) == WRITTEN_ALGORITHM:
            return False
        await self._ldap.modify(
            computer.dn,
            [
                Change(Operation.REPLACE, HASH, (digest,)),
                Change(Operation.REPLACE, ALGORITHM, (WRITTEN_ALGORITHM.encode(),)),
            ],
        )
        _log.info("certificate hash published", computer=computer.dn, sha256=digest.hex())
        return True

    async def withdraw(self, host: str) -> bool:
        """Remove what is published for the scan server; tell whether there was anything."""
        computer = await self._computer(host)
        present = [name for name in (HASH, ALGORITHM) if computer[name]]
        if present:
            await self._ldap.modify(computer.dn, [Change(Operation.REPLACE, name) for name in present])
            _log.info("certificate hash withdrawn", computer=computer.dn)
        return bool(present)

    async def _computer(self, host: str) -> Entry:
        found = await self._computers(host)
        if not found:
            raise NoSuchComputer(f"no computer object of the domain has the DNS name {host}")
        if len(found) > 1:
            raise NoSuchComputer(_several(host, found))
        return found[0]

    async def _computers(self, host: str) -> list[Entry]:
        name = host.rstrip(".")
        root = await self._ldap.root()
        found = await self._ldap.search(
            root.default_naming_context,
            Scope.SUBTREE,
            all_of(
                any_of(equal("dNSHostName", name), equal("servicePrincipalName", f"HOST/{name}")),
                equal("objectCategory", "computer"),
            ),
            ["dNSHostName", HASH, ALGORITHM],
            limit=10,
        )
        # A DNS name of one's own is better than a service name, which an old account may have kept.
        named = [e for e in found if (e.text("dNSHostName") or "").casefold() == name.casefold()]
        return named or found


def _several(host: str, found: list[Entry]) -> str:
    return f"{len(found)} computer objects have the DNS name {host}: " + "; ".join(e.dn for e in found[:3])
