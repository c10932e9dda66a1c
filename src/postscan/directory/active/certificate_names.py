"""How altSecurityIdentities names a certificate, in the forms a controller takes for strong; pure.

[MS-PKCA] 3.1.5.2.1.2 has the strings, 3.1.5.2.1.5 which of them are strong. What is said of issuer and
subject alone, or of a mail address, is weak (whoever asks for a certificate may choose it) and is never
looked up.

Names stand as CertNameToStr writes them (CERT_X500_NAME_STR): from the root down, as they are encoded, with
no space after the comma; serial numbers are octets from the last to the first.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

# CertNameToStr knows these key names; any other type is written as OID.1.2.3.
_KEYS: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.EMAIL_ADDRESS: "E",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "S",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.TITLE: "T",
    NameOID.GIVEN_NAME: "G",
    NameOID.INITIALS: "I",
    NameOID.SURNAME: "SN",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
    NameOID.POSTAL_CODE: "PostalCode",
}
_QUOTED: Final = frozenset(',+="\n<>#;')


def strong_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return every value of altSecurityIdentities that means this certificate; upper and lower case are one.

    There are several for one form where tools disagree: a serial number with and without the octet that only
    says it is positive, and ``SHA1-PUKEY``, which the document says is of the public key and tools take from
    the whole certificate. Each stands for this key and no other.

    :raises MALFORMED: the certificate's extensions or key cannot be read.
    """
    names = [
        f"X509:<I>{issuer}<SR>{serial}"
        for issuer in (x500_string(certificate.issuer),)
        for serial in _serials(certificate.serial_number)
    ]
    names += [f"X509:<SKI>{identifier}" for identifier in _key_identifiers(certificate)]
    names += [f"X509:<SHA1-PUKEY>{digest}" for digest in _key_hashes(certificate)]
    return tuple(names)


def x500_string(name: x509.Name) -> str:
    """Write a name as CertNameToStr does: in the order of its encoding, values quoted where needed."""
    return ",".join(
        " + ".join(f"{_key(attribute)}={_value(attribute)}" for attribute in rdn) for rdn in name.rdns
    )


def _key(attribute: x509.NameAttribute[str | bytes]) -> str:
    return _KEYS.get(attribute.oid, f"OID.{attribute.oid.dotted_string}")


def _value(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = attribute.value
    if isinstance(value, bytes):
        return "#" + value.hex().upper()
    if not value or value != value.strip() or _QUOTED.intersection(value):
        return '"' + value.replace('"', '""') + '"'
    return value


def _serials(number: int) -> list[str]:
    octets = number.to_bytes((number.bit_length() + 7) // 8 or 1, "little", signed=False)
    # DER puts a zero octet before a serial number whose first bit is set; CryptoAPI drops it.
    return [octets.hex()] + ([(octets + b"\0").hex()] if octets[-1] & 0x80 else [])


def _key_identifiers(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return []
    # Some authorities write a few octets that mean nothing; a name must be long enough to be one key's.
    return [extension.value.digest.hex()] if len(extension.value.digest) >= 16 else []


def _key_hashes(certificate: x509.Certificate) -> list[str]:
    key = certificate.public_key()
    octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return [
        x509.SubjectKeyIdentifier.from_public_key(key).digest.hex(),
        hashlib.sha1(octets, usedforsecurity=False).hexdigest(),
        hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest(),
    ]
