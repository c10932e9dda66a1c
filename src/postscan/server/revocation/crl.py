"""Certificate revocation lists (RFC 5280, 5 and 6.3), read and judged. No I/O.

Not used: lists of other authorities than the certificate's (indirect ones), lists that hold some reasons
only, lists of attribute certificates, and whatever says of itself, as critical, what we do not understand. A
delta list adds to the complete list it was made for (5.2.4); without one, the complete list alone decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from postscan.core.certificates import MALFORMED, MALFORMED_OR_MISSING
from postscan.server.revocation.model import CLOCK_SKEW, Finding, SourceFailed, Status
from postscan.server.revocation.signatures import is_strong

_PEM: Final = b"-----BEGIN X509 CRL-----"
_PEM_END: Final = b"-----END X509 CRL-----"
_UNDERSTOOD: Final = (x509.IssuingDistributionPoint, x509.DeltaCRLIndicator)
_MAX_SIGNERS: Final = 64
_MAX_REASONS: Final = 10_000
_NEVER_LOOKED: Final = "never looked"
_WEB: Final = ("http://", "https://")
_LDAP: Final = ("ldap://", "ldaps://")


class RevocationList:
    """One list as it was read, and whose signature was found on it."""

    __slots__ = (
        *("_reasons", "_signers", "base_number", "begins", "crl", "ends", "issuer", "number", "place"),
        *("scope", "size", "source"),
    )

    def __init__(self, crl: x509.CertificateRevocationList, source: str, size: int) -> None:
        """Read the extensions of a list; raises SourceFailed for one that is of no use to us."""
        self.crl = crl
        self.source = source
        self.size = size
        self._signers: dict[bytes, str] = {}
        self._reasons: dict[int, x509.ReasonFlags | None] = {}
        try:
            # The library reads each part when it is first asked for it.
            self.issuer, self.begins, self.ends = crl.issuer, crl.last_update_utc, crl.next_update_utc
            extensions = list(crl.extensions)
        except MALFORMED as error:
            raise SourceFailed(f"{source}: the list is malformed: {error}") from error
        for extension in extensions:
            if extension.critical and not isinstance(extension.value, _UNDERSTOOD):
                name = extension.oid.dotted_string
                raise SourceFailed(f"{source}: a critical extension is not understood ({name})")
        by_kind = {type(extension.value): extension.value for extension in extensions}
        number = by_kind.get(x509.CRLNumber)
        self.number = number.crl_number if isinstance(number, x509.CRLNumber) else None
        base = by_kind.get(x509.DeltaCRLIndicator)
        self.base_number = base.crl_number if isinstance(base, x509.DeltaCRLIndicator) else None
        place = by_kind.get(x509.IssuingDistributionPoint)
        self.place = place if isinstance(place, x509.IssuingDistributionPoint) else None
        self.scope = _scope_of(self.place, source)

    @property
    def is_delta(self) -> bool:
        """Tell whether this list only holds what changed since a complete one."""
        return self.base_number is not None

    def refusal(self, certificate: x509.Certificate, issuer: x509.Certificate) -> str | None:
        """Return why this list says nothing of ``certificate``, or None when it does."""
        if self.issuer != issuer.subject:
            return "it is another authority's"
        if self.scope is not None and self.scope is not _is_authority(certificate):
            return "it is for the other kind of certificates"
        if self.place is not None and self.place.full_name is not None:
            named = {name for point in points_of(certificate) for name in point.full_name or ()}
            if named.isdisjoint(self.place.full_name):
                return "it is for certificates that name another place"
        return self._refused_signature(issuer)

    def _refused_signature(self, issuer: x509.Certificate) -> str | None:
        digest = hashlib.sha256(issuer.public_bytes(serialization.Encoding.DER)).digest()
        trouble = self._signers.get(digest)
        if trouble is None:
            trouble = self._check_signature(issuer)
            if len(self._signers) >= _MAX_SIGNERS:
                self._signers.clear()
            self._signers[digest] = trouble
        return trouble or None

    def _check_signature(self, issuer: x509.Certificate) -> str:
        try:
            if not is_strong(self.crl.signature_hash_algorithm):
                return "its signature is of a kind that can be forged"
            usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
            if not usage.crl_sign:
                return "the authority's certificate does not allow it to sign lists"
        except x509.ExtensionNotFound:
            pass  # RFC 5280, 6.3.3 (f): only where there is one
        except MALFORMED:
            return "its signature is of a kind that is not known"
        try:
            valid = self.crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type] # others raise
        except MALFORMED:
            return "its signature is of a kind that is not known"
        return "" if valid else "it is not signed by the authority"

    def trouble_with_time(self, now: datetime) -> str | None:
        """Return why nothing can be concluded from what is *not* on this list, or None."""
        if self.begins > now + CLOCK_SKEW:
            return "it is not valid yet"
        ends = self.ends
        if ends is None:
            return "it does not say when the next one comes"
        return f"it ended on {ends:%Y-%m-%d %H:%MZ}" if ends < now else None

    def reason_for(self, serial: int) -> x509.ReasonFlags | None:
        """Return the reason a certificate is on this list for, or None when it is not on it.

        An entry, or a list, that cannot be read although its authority signed it counts as one that revokes.
        """
        known = self._reasons.get(serial, _NEVER_LOOKED)
        if not isinstance(known, str):
            return known
        # Several threads may look at once: each keeps to what it found itself.
        found = self._find(serial)
        if len(self._reasons) >= _MAX_REASONS:
            self._reasons.clear()
        self._reasons[serial] = found
        return found

    def _find(self, serial: int) -> x509.ReasonFlags | None:
        # From end to end: a list of 100,000 entries takes 50 ms.
        try:
            entry = self.crl.get_revoked_certificate_by_serial_number(serial)
            if entry is None:
                return None
            return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except MALFORMED_OR_MISSING:
            return x509.ReasonFlags.unspecified

    def adds_to(self, base: RevocationList) -> bool:
        """Tell whether this delta list may be read together with a complete one (RFC 5280, 5.2.4)."""
        return (
            self.base_number is not None
            and self.number is not None
            and base.number is not None
            and self.base_number <= base.number < self.number
            and self.issuer == base.issuer
            and self.place == base.place
        )


def read_lists(octets: bytes, source: str) -> list[RevocationList]:
    """Read one list as DER, or any number as PEM; raises SourceFailed."""
    if _PEM not in octets:
        return [_read(octets, source, pem=False)]
    blocks = octets.split(_PEM)[1:]
    lists = []
    for block in blocks:
        body, end, _ = block.partition(_PEM_END)
        if not end:
            raise SourceFailed(f"{source}: a list in it has no end")
        lists.append(_read(_PEM + body + _PEM_END + b"\n", source, pem=True))
    return lists


def _read(octets: bytes, source: str, *, pem: bool) -> RevocationList:
    try:
        crl = x509.load_pem_x509_crl(octets) if pem else x509.load_der_x509_crl(octets)
    except MALFORMED as error:
        raise SourceFailed(f"{source}: this is no certificate revocation list") from error
    return RevocationList(crl, source, len(octets))


def judge(
    lists: Sequence[RevocationList],
    deltas: Sequence[RevocationList],
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    now: datetime,
) -> Finding:
    """Say what lists that somebody handed us tell of a certificate.

    A list that has ended still refuses what it names (but for what was on hold, which may be free again):
    a revocation is for good.
    """
    troubles: list[str] = []
    good: Finding | None = None
    for one in lists:
        if one.is_delta:
            continue
        why = one.refusal(certificate, issuer)
        if why is not None:
            troubles.append(f"{one.source}: {why}")
            continue
        fitting = [d for d in deltas if d.is_delta and d.adds_to(one) and not d.refusal(certificate, issuer)]
        found = _judge_one(one, fitting, certificate.serial_number, now)
        if found.status is Status.REVOKED:
            return found
        if found.status is Status.GOOD:
            good = good or found
        else:
            troubles.append(found.why)
    return good or Finding(Status.UNKNOWN, "; ".join(troubles) or "no list of its authority")


def _judge_one(base: RevocationList, deltas: Iterable[RevocationList], serial: int, now: datetime) -> Finding:
    late = base.trouble_with_time(now)
    reason, source, ends = base.reason_for(serial), base, base.ends
    current = [delta for delta in deltas if delta.trouble_with_time(now) is None]
    if current:
        newest = max(current, key=lambda delta: delta.number or 0)
        changed = newest.reason_for(serial)
        if changed is not None:
            source = newest
            reason = None if changed is x509.ReasonFlags.remove_from_crl else changed
        ends = min(filter(None, (ends, newest.ends)), default=None)
    if reason is not None and not (late and reason is x509.ReasonFlags.certificate_hold):
        return Finding(Status.REVOKED, f"{source.source}: revoked ({reason.value})", ends)
    if late is not None:
        return Finding(Status.UNKNOWN, f"{base.source}: {late}")
    return Finding(Status.GOOD, source.source, ends)


def points_of(certificate: x509.Certificate) -> list[x509.DistributionPoint]:
    """Return where a certificate says its authority's own, complete lists are; empty when it does not."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except MALFORMED_OR_MISSING:
        return []
    # A point with an issuer leads to indirect lists, one with reasons to lists that hold some reasons only.
    return [point for point in found if not point.crl_issuer and not point.reasons]


def addresses_of(points: Iterable[x509.DistributionPoint]) -> list[str]:
    """Return the addresses lists can be had from, each once, in order."""
    found = [
        name.value
        for point in points
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier) and name.value.lower().startswith(_WEB + _LDAP)
    ]
    return list(dict.fromkeys(found))


def is_in_directory(address: str) -> bool:
    """Tell whether an address is one of a directory."""
    return address.lower().startswith(_LDAP)


def delta_addresses(certificate: x509.Certificate, base: RevocationList) -> list[str]:
    """Return where delta lists can be had, as the complete list or the certificate says (4.2.1.15, 5.2.6)."""
    for extensions in (base.crl.extensions, certificate.extensions):
        try:
            return addresses_of(extensions.get_extension_for_class(x509.FreshestCRL).value)
        except MALFORMED_OR_MISSING:
            continue
    return []


def _scope_of(place: x509.IssuingDistributionPoint | None, source: str) -> bool | None:
    """Return whether a list is for authorities (True), for others (False), for all (None)."""
    if place is None:
        return None
    if place.indirect_crl or place.only_contains_attribute_certs or place.only_some_reasons:
        raise SourceFailed(f"{source}: indirect and partial lists are not used")
    if place.relative_name is not None:
        raise SourceFailed(f"{source}: lists with a relative name are not used")
    if place.only_contains_user_certs or place.only_contains_ca_certs:
        return place.only_contains_ca_certs
    return None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except MALFORMED_OR_MISSING:
        return False
