"""The e-mail filter out of the settings, and the secrets it signs in with."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from postscan.cli.findings import Finding, problem, warning
from postscan.cli.secret_file import SecretRefused, read_private, read_secret_file
from postscan.cli.secret_store import SecretUse
from postscan.cli.secret_uses import secret_of
from postscan.core.errors import ConfigurationError
from postscan.core.secret import Secret
from postscan.filters.email.addresses import DomainPolicy, parse_mailbox
from postscan.filters.email.filter import EmailFilter
from postscan.filters.email.settings import AuthMethod, EmailSettings, ReplyTo, Security, TokenSource
from postscan.filters.email.tokens import EntraMailTokens, FileTokens, no_token
from postscan.filters.entra.app import EntraApp
from postscan.filters.entra.tokens import EntraTokens

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.cli.settings_email import EmailSettings as EmailSection
    from postscan.cli.settings_model import Settings

EMAIL_NOT_SET_UP: Final = "[email] names no server"
EMAIL_PASSWORD: Final = "email.password"  # noqa: S105 - the name of a secret, not one
EMAIL_PASSPHRASE: Final = "email.passphrase"  # noqa: S105 - the name of a secret, not one
_MOST_OF_A_KEY: Final = 64 * 1024


def email_filter(loaded: LoadedSettings) -> EmailFilter | None:
    """Return the filter, None without a mail server; no secret is read and nothing is connected.

    :raises ConfigurationError: a template cannot be used.
    """
    said = loaded.settings.email
    if not said.server:
        return None
    zone = loaded.settings.fileshare.time_zone
    sender = parse_mailbox(said.sender)
    return EmailFilter(
        EmailSettings(
            server=said.server,
            port=said.server_port,
            security=Security(said.security),
            ca=said.ca or None,
            auth=AuthMethod(said.auth),
            account=said.account,
            password=partial(_password, loaded) if said.has_password else None,
            tokens=_tokens(loaded) if said.auth == "xoauth2" else None,
            insecure=said.insecure_plain_auth,
            sender=sender,
            reply_to=ReplyTo(said.reply_to)
            if said.reply_to in (ReplyTo.USER, ReplyTo.NONE)
            else parse_mailbox(said.reply_to),
            recipients=DomainPolicy.of(said.recipients or [sender.address.domain]),
            max_message_bytes=said.max_message_bytes,
            max_recipients=said.max_recipients,
            max_recipients_per_hour=said.max_recipients_per_hour,
            templates=said.templates or None,
            zone=ZoneInfo(zone) if zone else None,
            timeout_seconds=said.timeout_seconds,
            connections=said.connections,
            local_name=loaded.settings.server.fqdn,
        )
    )


def email_secret_uses(settings: Settings) -> list[SecretUse]:
    """Return the secrets of the mail account, bound to all that says where they go (abuse case 26)."""
    said = settings.email
    uses = []
    if said.has_password:
        uses.append(_password_use(said))
    if said.server and said.auth == "xoauth2" and not said.token_file and said.entra_key_has_passphrase:
        uses.append(_passphrase_use(said))
    return uses


def check_email(loaded: LoadedSettings) -> Iterator[Finding]:
    """Check the files that mail needs; nothing is connected."""
    said = loaded.settings.email
    if not said.server:
        return
    if said.ca:
        try:
            ssl.create_default_context(cafile=said.ca)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it holds no certificates"
            yield problem(
                "email.ca",
                f"{said.ca} cannot be used: {why}",
                "name a PEM file with the authority of the mail server's certificate",
            )
    for key, read in (
        ("token_file", read_secret_file),
        ("entra_key", partial(read_private, max_octets=_MOST_OF_A_KEY)),
    ):
        path = getattr(said, key)
        try:
            if path and said.auth == "xoauth2":
                read(path)
        except SecretRefused as error:
            yield problem(f"email.{key}", str(error), error.what_to_do)
    if "*" in said.recipients:
        yield warning(
            "email.recipients",
            "lets users send scans to anybody, where a scan process lets them add addresses",
            "name the domains that scans may be sent to",
        )


def _password(loaded: LoadedSettings) -> Secret:
    return secret_of(loaded, _password_use(loaded.settings.email))


def _password_use(said: EmailSection) -> SecretUse:
    return SecretUse(EMAIL_PASSWORD, (*_destination(said), f"by {said.auth}"), said.password_file or None)


def _passphrase_use(said: EmailSection) -> SecretUse:
    return SecretUse(
        EMAIL_PASSPHRASE,
        (
            *_destination(said),
            f"authority {said.entra_authority}",
            f"tenant {said.entra_tenant}",
            f"app {said.entra_client_id}",
        ),
    )


def _destination(said: EmailSection) -> tuple[str, ...]:
    return (
        f"mail server {said.server}",
        f"port {said.server_port}",
        f"account {said.account}",
        "in clear text" if said.security == "none" else f"by {said.security}",
        f"authorities of {said.ca}" if said.ca else "authorities of this system",
    )


def _tokens(loaded: LoadedSettings) -> TokenSource:
    said = loaded.settings.email
    if said.token_file:
        return FileTokens(partial(read_secret_file, said.token_file))
    return _AppTokens(loaded)


class _AppTokens:
    """Tokens of the app that the settings name; its key is read when the first of them is asked for."""

    def __init__(self, loaded: LoadedSettings) -> None:
        self._loaded = loaded
        self._app: EntraApp | None = None
        self._tokens: EntraMailTokens | None = None

    async def token(self) -> Secret:
        """Return a token; raises DeliveryError."""
        try:
            app = self._read_app()
        except ConfigurationError as error:
            raise no_token(error) from error
        if self._tokens is None or app != self._app:
            self._app, self._tokens = app, EntraMailTokens(EntraTokens(app))
        return await self._tokens.token()

    def refused(self, token: Secret) -> None:
        """Have the next token be another."""
        if self._tokens is not None:
            self._tokens.refused(token)

    def _read_app(self) -> EntraApp:
        said = self._loaded.settings.email
        if not said.entra_certificate or not said.entra_key:
            raise ConfigurationError("[email] names no certificate and key of an Entra app")
        try:
            certificate = said.entra_certificate.read_text("ascii")
            key = Secret(read_private(said.entra_key, max_octets=_MOST_OF_A_KEY).decode("ascii"))
        except OSError as error:
            raise ConfigurationError(f"{said.entra_certificate} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            # Without the cause, which holds the octets.
            raise ConfigurationError(f"{said.entra_certificate} or {said.entra_key} is no PEM file") from None
        opened = said.entra_key_has_passphrase
        return EntraApp(
            tenant=said.entra_tenant,
            client_id=said.entra_client_id,
            certificate=certificate,
            private_key=key,
            passphrase=secret_of(self._loaded, _passphrase_use(said)) if opened else None,
            authority=said.entra_authority,
        )
