"""What a client certificate says of the account it stands for, as Active Directory reads it.

The security identifier stands in an extension of its own ([MS-WCCE] 2.2.2.7.7.4, szOID_NTDS_CA_SECURITY_EXT:
GeneralNames with one OtherName that holds the SID's string form as octets); the user principal name in an
OtherName of subjectAltName ([MS-WCCE] 2.2.2.7.5 and RFC 5280, 4.2.1.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from postscan.core.certificates import MALFORMED
from postscan.core.errors import PostscanError
from postscan.directory import der
from postscan.directory.model import is_sid

SID_EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2")
SID_NAME: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2.1")
UPN_NAME: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_SID_NAME_DER: Final = bytes.fromhex("060a2b060104018237190201")


class CertificateRefused(PostscanError):
    """A certificate whose naming of its account cannot be read, or contradicts itself."""

    advice = "Have the user's certificate issued anew, with one SID and one user principal name."


@dataclass(frozen=True, slots=True)
class CertificateSubject:
    """Who a certificate stands for.

    ``sid`` is the string form, None without the extension; ``upns`` and ``mail`` come from subjectAltName;
    ``sha256`` is the lower-case hex hash of the whole certificate (DER).
    """

    sid: str | None
    upns: tuple[str, ...]
    mail: str | None
    sha256: str


def subject_of(certificate: x509.Certificate) -> CertificateSubject:
    """Read who ``certificate`` stands for; whether it is valid and trusted is not asked here.

    :raises CertificateRefused: an extension is malformed, or holds several security identifiers.
    """
    try:
        extensions = certificate.extensions
        names = _alternative_names(extensions)
        return CertificateSubject(
            sid=_sid(extensions),
            upns=tuple(_upns(names)),
            mail=next(iter(names.get_values_for_type(x509.RFC822Name)), None) if names else None,
            sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        )
    except MALFORMED as error:
        raise CertificateRefused(f"the certificate's extensions cannot be read: {error}") from error


def user_certificate_extensions(sid: str, upn: str) -> list[x509.ExtensionType]:
    """Return the extensions that name an account: subjectAltName with the UPN, and the SID extension.

    :raises ValueError: ``sid`` is no security identifier, or ``upn`` is empty.
    """
    if not is_sid(sid):
        raise ValueError(f"{sid!r} is no security identifier")
    if not upn:
        raise ValueError("the user principal name is empty")
    principal = x509.OtherName(UPN_NAME, der.write(der.UTF8_STRING, upn.encode()))
    identifier = x509.OtherName(SID_NAME, der.write(der.OCTET_STRING, sid.encode("ascii")))
    return [
        x509.SubjectAlternativeName([principal]),
        # The extension's value is a GeneralNames, the very form subjectAltName has.
        x509.UnrecognizedExtension(SID_EXTENSION, x509.SubjectAlternativeName([identifier]).public_bytes()),
    ]


def _alternative_names(extensions: x509.Extensions) -> x509.SubjectAlternativeName | None:
    try:
        return extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _upns(names: x509.SubjectAlternativeName | None) -> list[str]:
    if names is None:
        return []
    return [
        der.only(name.value, der.UTF8_STRING).decode()
        for name in names.get_values_for_type(x509.OtherName)
        if name.type_id == UPN_NAME
    ]


def _sid(extensions: x509.Extensions) -> str | None:
    try:
        extension = extensions.get_extension_for_oid(SID_EXTENSION).value
    except x509.ExtensionNotFound:
        return None
    found = _sids(extension.public_bytes())
    if len(found) != 1:
        raise der.DerError(f"{len(found)} security identifiers where one is needed")
    if not is_sid(found[0]):
        raise der.DerError("a security identifier of unknown form")
    return found[0]


def _sids(general_names: bytes) -> list[str]:
    sids = []
    for tag, name in der.values(der.only(general_names, der.SEQUENCE)):
        # OtherName ::= SEQUENCE { type-id OID, value [0] EXPLICIT ANY }, tagged [0] in GeneralName.
        if tag == der.CONTEXT_0 and name.startswith(_SID_NAME_DER):
            value = der.only(name.removeprefix(_SID_NAME_DER), der.CONTEXT_0)
            sids.append(der.only(value, der.OCTET_STRING).decode("ascii"))
    return sids
