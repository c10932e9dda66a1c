"""The certification authorities that the directory names, as read last.

Reading is somebody else's call (see upkeep): whoever judges a certificate never waits for the directory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postscan.core.log import get_logger
from postscan.directory.active.authorities import Authorities

_log = get_logger("identity")


class EnterpriseAuthorities:
    """The enterprise roots of a forest, and which issuers may sign somebody on (NTAuthCertificates).

    Calling it returns the roots: an ``AuthoritySource``.

    :param read: asks the directory; may raise DirectoryError.
    """

    def __init__(self, read: Callable[[], Awaitable[Authorities]]) -> None:
        self._read = read
        self._known = Authorities()
        self._roots: frozenset[bytes] = frozenset()
        self._issuers: frozenset[bytes] = frozenset()
        self._file: Path | None = None
        self._of_file: tuple[tuple[int, int, int], frozenset[bytes]] | None = None
        self.was_read = False

    def __call__(self) -> Sequence[x509.Certificate]:
        """Return the roots as they were read last; none before that."""
        return self._known.roots

    async def refresh(self) -> bool:
        """Ask the directory; tell whether anything is other than before. Raises DirectoryError."""
        fresh = await self._read()
        changed = (fresh.roots, fresh.logon_issuers) != (self._known.roots, self._known.logon_issuers)
        self._known, self.was_read = fresh, True
        self._roots = _octets(fresh.roots)
        self._issuers = _octets(fresh.logon_issuers)
        return changed

    def beside(self, client_ca: Path | None) -> None:
        """Say which file's authorities are trusted whatever the directory says of them ([tls] client_ca)."""
        if client_ca != self._file:
            self._file, self._of_file = client_ca, None

    def may_sign_on(self, chain: Sequence[bytes]) -> bool:
        """Tell whether a verified chain (DER, leaf first, anchor last) may sign its user on.

        One that ends in a root that only the directory names must come from an issuer that NTAuthCertificates
        lists: an enterprise has other authorities, which certify machines, mail or web sites.
        """
        if not chain:
            return False
        if chain[-1] in self._named_by_settings():
            return True
        return len(chain) > 1 and chain[-1] in self._roots and chain[1] in self._issuers

    def _named_by_settings(self) -> frozenset[bytes]:
        if self._file is None:
            return frozenset()
        try:
            status = self._file.stat()
            signature = status.st_mtime_ns, status.st_size, status.st_ino
            if self._of_file is None or self._of_file[0] != signature:
                pem = x509.load_pem_x509_certificates(self._file.read_bytes())
                self._of_file = signature, _octets(pem)
        except (OSError, ValueError) as error:
            _log.error(
                "authorities of the settings cannot be read again", file=str(self._file), why=str(error)
            )
        return self._of_file[1] if self._of_file is not None else frozenset()


def _octets(certificates: Sequence[x509.Certificate]) -> frozenset[bytes]:
    return frozenset(one.public_bytes(Encoding.DER) for one in certificates)
