"""An app that is registered with Microsoft Entra ID, and the certificate by which it proves itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret

WORLDWIDE: Final = "login.microsoftonline.com"
_TENANT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")
# Of these no token for an app comes: they mean "whichever tenant the user is of".
_NO_TENANT: Final = frozenset({"common", "organizations", "consumers"})


@dataclass(frozen=True, slots=True)
class EntraApp:
    """A registered app: ``tenant`` is its tenant's id or domain name, ``client_id`` the app's id.

    ``certificate`` is the PEM text of its certificate, ``private_key`` that of the key; ``passphrase`` opens
    the key where it is encrypted. ``authority`` is the host that gives tokens, a national cloud's if need be.

    :raises ConfigurationError: these do not fit together.
    """

    tenant: str
    client_id: str
    certificate: str
    private_key: Secret
    passphrase: Secret | None = None
    authority: str = WORLDWIDE
    _plain_key: Secret = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _TENANT.fullmatch(self.tenant) or self.tenant.lower() in _NO_TENANT:
            raise ConfigurationError(
                f"{self.tenant!r} is no tenant of Microsoft Entra ID",
                advice="Write the tenant's id (a GUID) or a domain name of it, like example.onmicrosoft.com.",
            )
        if not _TENANT.fullmatch(self.client_id):
            raise ConfigurationError(
                f"{self.client_id!r} is no client id", advice="Write the Application (client) ID, a GUID."
            )
        key = self._load_key()
        if key.public_key() != self.x509.public_key():
            raise ConfigurationError(
                "the certificate of the Entra app and its private key do not belong together",
                advice="Name the key that this certificate was made with.",
            )
        # msal would need the passphrase beside the key; so it is opened once, here.
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        object.__setattr__(self, "_plain_key", Secret(pem))

    @property
    def x509(self) -> x509.Certificate:
        """The certificate; raises ConfigurationError when the text holds none."""
        try:
            return x509.load_pem_x509_certificate(self.certificate.encode())
        except ValueError as error:
            raise ConfigurationError(
                "the certificate of the Entra app is no PEM certificate",
                advice="Write the path of a file that begins with -----BEGIN CERTIFICATE-----.",
            ) from error

    def _load_key(self) -> rsa.RSAPrivateKey:
        passphrase = self.passphrase.reveal().encode() if self.passphrase else None
        try:
            key = load_pem_private_key(self.private_key.reveal().encode(), passphrase)
        except (ValueError, TypeError):
            # Without the cause, which may tell of the key.
            raise ConfigurationError(
                "the private key of the Entra app cannot be read: no PEM key, or a wrong passphrase",
                advice="Write the path of a PEM file with the key, and its passphrase if it has one.",
            ) from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ConfigurationError(
                "the private key of the Entra app is no RSA key, and Entra takes no other",
                advice="Make a certificate with an RSA key of 2048 bits or more.",
            )
        return key

    def credential(self) -> dict[str, str]:
        """Return what msal signs with. Hand it to nobody else."""
        return {"private_key": self._plain_key.reveal(), "public_certificate": self.certificate}
