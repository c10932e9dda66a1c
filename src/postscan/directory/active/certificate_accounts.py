"""Whose a certificate is: the one account that everything in it agrees on.

What counts, from strong to weak (KB5014754 and [MS-PKCA] 3.1.5.2.1): the security identifier in the
certificate, in its own extension or as a tag URI in subjectAltName, as authorities write it that cannot make
the extension; a strong form of altSecurityIdentities; the user principal name in subjectAltName, which says
least, as a name may have been another's before.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final

from cryptography import x509

from postscan.core.certificates import MALFORMED
from postscan.directory.active.certificate_names import strong_names
from postscan.directory.active.people import Found, People
from postscan.directory.active.user_entries import NameKind, read_name
from postscan.directory.certificates import CertificateRefused, subject_of
from postscan.directory.model import User, is_sid

# RFC 4151; KB5014754, "SAN URI".
_TAG: Final = "tag:microsoft.com,2022-09-14:sid:"
# Each is a question to the directory.
_MOST_NAMES: Final = 16


class WeakMapping(StrEnum):
    """Whether a user principal name alone may say whose a certificate is."""

    ALLOW = "allow"
    REFUSE = "refuse"


class CertificateAccounts:
    """Finds the account of a certificate; whether the certificate is valid and trusted is not asked here."""

    def __init__(self, people: People, weak: WeakMapping = WeakMapping.ALLOW) -> None:
        self._people = people
        self._weak = weak

    async def user_of(self, certificate: x509.Certificate) -> User | None:
        """Return the user whose certificate it is, None when nothing in it names an account.

        :raises CertificateRefused: it names different accounts, or a security identifier that is nobody's,
            or only a principal name where that does not suffice.
        """
        subject = subject_of(certificate)
        sids = dict.fromkeys(([] if subject.sid is None else [subject.sid]) + _tagged_sids(certificate))
        if len(sids) + len(subject.upns) > _MOST_NAMES:
            raise CertificateRefused("the certificate names more accounts than one could have names")
        try:
            names = strong_names(certificate)
        except MALFORMED as error:
            raise CertificateRefused(f"the certificate's key cannot be read: {error}") from error
        by_sid, listed, by_principal = await asyncio.gather(
            asyncio.gather(*(self._by_sid(sid) for sid in sids)),
            self._people.find_by_certificate_names(names),
            asyncio.gather(*(self._by_principal(upn) for upn in subject.upns)),
        )
        strong = by_sid + listed
        weak = [found for found in by_principal if found is not None]
        accounts = {found.account.sid: found for found in strong + weak}
        if len(accounts) > 1:
            named = " and ".join(sorted(f"{f.account.domain}\\{f.account.name}" for f in accounts.values()))
            raise CertificateRefused(
                f"the certificate stands for several accounts: {named}",
                advice="Correct altSecurityIdentities of all accounts but one, or have the certificate "
                "issued anew.",
            )
        if weak and not strong and self._weak is WeakMapping.REFUSE:
            raise CertificateRefused(
                "the certificate names its user by principal name alone, which the settings refuse",
                advice="Issue certificates with the security identifier, or enter this one in the account's "
                "altSecurityIdentities; weak_mapping in [directory] is the setting.",
            )
        return await self._people.user_of(next(iter(accounts.values()), None))

    async def _by_sid(self, sid: str) -> Found:
        found = await self._people.find_by_sid(sid)
        if found is None:
            raise CertificateRefused(
                f"the certificate is for {sid}, which is no user the directory can see",
                advice="Was the account deleted and made anew, or is it of another forest?",
            )
        return found

    async def _by_principal(self, upn: str) -> Found | None:
        name = read_name(upn)
        if name is None or name.kind is not NameKind.PRINCIPAL:
            return None
        return await self._people.find_by_name(upn)


def _tagged_sids(certificate: x509.Certificate) -> list[str]:
    # That the extensions can be read, subject_of has seen.
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = names.get_values_for_type(x509.UniformResourceIdentifier)
    sids = [address[len(_TAG) :] for address in addresses if address.casefold().startswith(_TAG)]
    if not all(is_sid(sid) for sid in sids):
        raise CertificateRefused("the certificate names a security identifier of unknown form")
    return sids
