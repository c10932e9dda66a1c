"""The Online Certificate Status Protocol (RFC 6960): what is asked, and whether an answer counts. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from postscan.core.certificates import MALFORMED, MALFORMED_OR_MISSING
from postscan.dpws.http.judgement import is_strong_key
from postscan.server.revocation.model import CLOCK_SKEW, Finding, SourceFailed, Status
from postscan.server.revocation.signatures import is_signed_by, is_strong

REQUEST_TYPE: Final = "application/ocsp-request"
_MAX_CERTIFICATES: Final = 8
_NOT_ISSUED: Final[tuple[type[Exception], ...]] = (InvalidSignature, *MALFORMED)
# An answer that does not say when the next one comes may have been recorded: it counts only while it is new.
_WITHOUT_NEXT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OcspQuestion:
    """What is asked about one certificate; ``nonce`` comes back from responders that heed it."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    nonce: bytes

    def encode(self) -> bytes:
        """Return the request as DER."""
        request = self._builder().add_extension(x509.OCSPNonce(self.nonce), critical=False).build()
        return request.public_bytes(serialization.Encoding.DER)

    def is_about(self, answer: ocsp.OCSPSingleResponse) -> bool:
        """Tell whether an answer is about this certificate of this authority."""
        asked = self._builder().build()
        return (
            answer.serial_number == asked.serial_number
            and isinstance(answer.hash_algorithm, hashes.SHA1)
            and answer.issuer_name_hash == asked.issuer_name_hash
            and answer.issuer_key_hash == asked.issuer_key_hash
        )

    def _builder(self) -> ocsp.OCSPRequestBuilder:
        # The hash only names the authority, and SHA-1 is what every responder knows (RFC 5019, 2.1.1).
        algorithm = hashes.SHA1()  # noqa: S303 - names the issuer, signs nothing
        return ocsp.OCSPRequestBuilder().add_certificate(self.certificate, self.issuer, algorithm)


@dataclass(frozen=True, slots=True)
class OcspAnswer:
    """What a responder said; ``responder`` is its certificate where that may itself have been revoked."""

    finding: Finding
    responder: x509.Certificate | None = None


def addresses_of(certificate: x509.Certificate) -> list[str]:
    """Return the responders a certificate names, each once, in order."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except MALFORMED_OR_MISSING:
        return []
    places = [
        access.access_location.value
        for access in found
        if access.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(access.access_location, x509.UniformResourceIdentifier)
    ]
    return [p for p in dict.fromkeys(places) if p.lower().startswith(("http://", "https://"))]


def read_answer(octets: bytes, question: OcspQuestion, source: str, now: datetime) -> OcspAnswer:
    """Return what an answer says; raises SourceFailed for one that does not count."""
    try:
        response = ocsp.load_der_ocsp_response(octets)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            name = response.response_status.name.lower().replace("_", " ")
            raise SourceFailed(f"{source}: the responder answered: {name}")
        signer = _signer_of(response, question.issuer, source, now)
        _check_extensions(response, question, source)
        answers = [one for one in response.responses if question.is_about(one)]
    except MALFORMED as error:
        raise SourceFailed(f"{source}: this is no OCSP answer") from error
    if not answers:
        raise SourceFailed(f"{source}: the answer is about another certificate")
    findings = [_finding(one, source, now) for one in answers]
    # Of several, the worst counts.
    for status in (Status.REVOKED, Status.UNKNOWN, Status.GOOD):
        for finding in findings:
            if finding.status is status:
                return OcspAnswer(finding, signer)
    raise SourceFailed(f"{source}: the answer says nothing")


def _finding(answer: ocsp.OCSPSingleResponse, source: str, now: datetime) -> Finding:
    begins, ends = answer.this_update_utc, answer.next_update_utc
    if begins > now + CLOCK_SKEW:
        raise SourceFailed(f"{source}: the answer is not valid yet")
    if begins < now - _WITHOUT_NEXT if ends is None else ends < now:
        raise SourceFailed(f"{source}: the answer is of {begins:%Y-%m-%d %H:%MZ}, which is too old")
    if answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        reason = answer.revocation_reason or x509.ReasonFlags.unspecified
        return Finding(Status.REVOKED, f"{source}: revoked ({reason.value})", ends)
    if answer.certificate_status is ocsp.OCSPCertStatus.GOOD:
        return Finding(Status.GOOD, source, ends)
    return Finding(Status.UNKNOWN, f"{source}: the responder does not know the certificate", ends)


def _check_extensions(response: ocsp.OCSPResponse, question: OcspQuestion, source: str) -> None:
    for extension in response.extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            if extension.value.nonce != question.nonce:
                raise SourceFailed(f"{source}: the answer is to another question")
        elif extension.critical:
            raise SourceFailed(f"{source}: a critical extension of the answer is not understood")


def _signer_of(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, source: str, now: datetime
) -> x509.Certificate | None:
    """Return the delegated responder's certificate if it may be revoked, None when there is nothing to ask.

    :raises SourceFailed: the answer is signed neither by the authority nor by whom it authorised for that
        (RFC 6960, 4.2.2.2).
    """
    if not is_strong(response.signature_hash_algorithm):
        raise SourceFailed(f"{source}: the answer's signature is of a kind that can be forged")
    if _is_named(response, issuer) and _signed(response, issuer):
        return None
    for candidate in _first(response.certificates):
        if not (_is_named(response, candidate) and _signed(response, candidate)):
            continue
        why = _not_authorised(candidate, issuer, now)
        if why is not None:
            raise SourceFailed(f"{source}: {why}")
        return None if _need_not_be_checked(candidate) else candidate
    raise SourceFailed(f"{source}: the answer is signed neither by the authority nor by a responder of it")


def _first(certificates: list[x509.Certificate]) -> Iterable[x509.Certificate]:
    return certificates[:_MAX_CERTIFICATES]


def _is_named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if response.responder_name is not None:
        return response.responder_name == certificate.subject
    key = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return response.responder_key_hash == key.digest


def _signed(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    return is_signed_by(
        certificate.public_key(),
        response.signature,
        response.tbs_response_bytes,
        response.signature_hash_algorithm,
    )


def _not_authorised(responder: x509.Certificate, issuer: x509.Certificate, now: datetime) -> str | None:
    try:
        responder.verify_directly_issued_by(issuer)
        purposes = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except _NOT_ISSUED:
        return "the responder's certificate is not of the authority"
    except x509.ExtensionNotFound:
        return "the responder's certificate is not for OCSP"
    if ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        return "the responder's certificate is not for OCSP"
    if not responder.not_valid_before_utc <= now <= responder.not_valid_after_utc:
        return "the responder's certificate is not valid now"
    if not (is_strong(responder.signature_hash_algorithm) and is_strong_key(responder.public_key())):
        return "the responder's certificate can be forged"
    return None


def _need_not_be_checked(responder: x509.Certificate) -> bool:
    """Tell whether its authority says so (RFC 6960, 4.2.2.2.1)."""
    try:
        responder.extensions.get_extension_for_class(x509.OCSPNoCheck)
    except x509.ExtensionNotFound:
        return False
    return True
