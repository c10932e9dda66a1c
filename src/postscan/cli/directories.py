"""The directory that the settings name, whichever kind it is, and the secrets it needs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from postscan.cli.secret_store import SecretUse
from postscan.cli.settings_directory import DirectorySettings
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.directory.embedded import EmbeddedDirectory

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings, Settings
    from postscan.directory.active.directory import ActiveDirectory, ActiveDirectorySettings
    from postscan.directory.active.signing_in import SignedIn
    from postscan.directory.ldap.binding import Credentials
    from postscan.directory.ldap.settings import LdapSettings

DIRECTORY_PASSWORD: Final = "directory.password"  # noqa: S105 - the name of a secret, not one


def directory_of(loaded: LoadedSettings) -> EmbeddedDirectory | ActiveDirectory:
    """Return the directory the settings name; nothing is connected yet.

    :raises ConfigurationError: the account's password is missing, or must not be used.
    """
    settings = loaded.settings
    if not settings.directory.is_active:
        return EmbeddedDirectory(settings.directory.folder, domain=settings.directory_domain)
    from postscan.directory.active.directory import ActiveDirectory

    return ActiveDirectory(active_directory_settings(loaded))


def password_use(settings: Settings) -> SecretUse | None:
    """Return how the directory account's password is used; None when it has none."""
    directory = settings.directory
    if not directory.is_active or directory.keytab or not directory.account:
        return None
    controllers = [f"controller {name}" for name in directory.controllers]
    return SecretUse(
        DIRECTORY_PASSWORD,
        (
            f"domain {settings.directory_domain}",
            *(controllers or ["controllers that DNS names"]),
            *(f"name server {address}" for address in directory.dns_servers),
            f"authorities of {directory.ca}" if directory.ca else "authorities of this system",
            *(["in clear text"] if directory.transport == "plain" else []),
        ),
        directory.password_file or None,
    )


def active_directory_settings(loaded: LoadedSettings) -> ActiveDirectorySettings:
    """Return what the Active Directory is asked with; raises ConfigurationError, see directory_of."""
    from postscan.directory.active.directory import ActiveDirectorySettings, WeakMapping

    said = loaded.settings.directory
    return ActiveDirectorySettings(
        ldap=_ldap_settings(loaded.settings, _credentials(loaded)),
        processes=said.processes or None,
        home_site_attribute=said.home_site_attribute,
        weak_mapping=WeakMapping(said.weak_mapping),
        cache_seconds=said.cache_seconds,
        cache_entries=said.cache_entries,
        global_catalog=said.global_catalog,
    )


def principal(account: str, domain: str, *, kerberos: bool) -> str:
    r"""Return an account as a bind wants it: a bare name with its domain, a Kerberos realm in capitals.

    ``name@domain``, ``DOMAIN\name`` and distinguished names say enough themselves.
    """
    if "\\" in account or "=" in account:
        return account
    name, at, realm = account.rpartition("@")
    if not at:
        name, realm = account, domain
    # A realm is told apart by case, the names of Active Directory are not (RFC 4120, 6.1).
    return f"{name}@{realm.upper() if kerberos and realm.casefold() == domain.casefold() else realm}"


async def sign_in_to(
    loaded: LoadedSettings | None, domain: str | None, ca: Path | None, name: str, password: Secret
) -> SignedIn:
    """Sign a user in with their password, at the domain of the settings, or at ``domain``.

    :param ca: the authorities of the controllers' certificates, for ``domain``.
    :raises CredentialsRefused: the directory does not take name and password.
    :raises ConfigurationError: there is no Active Directory to ask.
    """
    from postscan.core.clock import SystemClock
    from postscan.directory.active.signing_in import sign_in
    from postscan.directory.ldap.binding import Mechanism, Sasl, SimplePassword
    from postscan.directory.ldap.client import Ldap
    from postscan.directory.ldap.settings import LdapSettings

    simple = SimplePassword(name, password)
    said = loaded.settings.directory if loaded is not None and domain is None else DirectorySettings()
    if domain is not None:
        ldap = LdapSettings(domain=domain, credentials=simple, ca=ca)
    elif loaded is not None and said.is_active:
        # Sealing is done by what the settings log on with, which then is no simple bind.
        sealed = said.transport == "sealed"
        ldap = _ldap_settings(
            loaded.settings, Sasl(Mechanism(said.bind), name, password) if sealed else simple
        )
    else:
        raise ConfigurationError(
            "the embedded directory knows no passwords",
            advice="Show the user's certificate instead; or name the domain with --domain DOMAIN.",
        )
    return await sign_in(
        ldap,
        name,
        password,
        connect=Ldap,
        clock=SystemClock(),
        container=said.processes or None,
        home_site_attribute=said.home_site_attribute,
    )


def _ldap_settings(settings: Settings, credentials: Credentials) -> LdapSettings:
    from postscan.directory.ldap.settings import LdapSettings, Transport

    said = settings.directory
    plain = said.transport == "plain" and said.insecure_plain_bind
    return LdapSettings(
        domain=settings.directory_domain,
        credentials=credentials,
        transport=Transport.INSECURE_PLAIN if plain else Transport(said.transport),
        controllers=tuple(said.controllers),
        dns_servers=tuple(said.dns_servers),
        site=said.site or None,
        ca=said.ca or None,
        connect_seconds=said.connect_seconds,
        answer_seconds=said.answer_seconds,
    )


def _credentials(loaded: LoadedSettings) -> Credentials:
    from postscan.directory.ldap.binding import Mechanism, Sasl, SimplePassword

    said = loaded.settings.directory
    use = password_use(loaded.settings)
    found = loaded.secrets.find(use) if use is not None else None
    source = partial(_secret, loaded, use) if use is not None and found is not None else None
    kerberos = said.bind in ("kerberos", "negotiate")
    account = said.account and principal(said.account, loaded.settings.directory_domain, kerberos=kerberos)
    if found is None and use is not None and not kerberos:
        raise _missing(loaded, use)
    secret = found.secret if found is not None else None
    if said.bind == "password":
        return SimplePassword(account, secret or Secret(""), source)
    keytab = Path(said.keytab) if said.keytab else None
    return Sasl(Mechanism(said.bind), account, secret, keytab, source)


def _secret(loaded: LoadedSettings, use: SecretUse) -> Secret:
    """Return the secret as it is now; where it must not be used any more, find() says so."""
    found = loaded.secrets.find(use)
    if found is None:
        raise _missing(loaded, use)
    return found.secret


def _missing(loaded: LoadedSettings, use: SecretUse) -> ConfigurationError:
    return ConfigurationError(
        f"there is no password for the directory's account {loaded.settings.directory.account}",
        advice=f"Enter it with `postscan secrets set {use.name}`, or name a file with it (0600) as"
        " password_file under [directory].",
    )
