"""`postscan certificates`: the certificates of an installation with an authority of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postscan.cli.exit_codes import ExitCode
from postscan.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from postscan.cli.output import Output, quiet_logs
from postscan.core.errors import ConfigurationError, PostscanError

if TYPE_CHECKING:
    from postscan.cli.pki import KeyAlgorithm, KeyPair
    from postscan.cli.settings import LoadedSettings
    from postscan.cli.settings_model import Settings
    from postscan.directory.model import User

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
_SOON = timedelta(days=30)
RenewOption = Annotated[
    bool, typer.Option("--renew", help="Replace the certificate and key that are there by new ones.")
]
CaKeyOption = Annotated[
    Path | None,
    typer.Option("--ca-key", metavar="FILE", help="The authority's key; without it, ca.key beside ca.pem."),
]
KeysOption = Annotated[
    str, typer.Option("--keys", metavar="ec|rsa", help="P-256 keys, or RSA 2048 for old devices.")
]


class NotIssued(PostscanError):
    """No certificate was issued, and nothing was changed."""

    exit_code = ExitCode.REFUSED


@app.callback()
def certificates() -> None:
    """List, issue and renew the certificates of the server and the users.

    For installations whose authority `postscan init` made. Where another authority issues certificates, it
    renews them as well.
    """


@app.command("list")
def list_certificates(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List certificates and when they expire.

    Exit status: 3 when one has expired.
    """
    output = Output(json)
    rows = []
    for path, what in _files(_settings(config)):
        expires = _expiry(path)
        left = expires - datetime.now(UTC)
        state = "expired" if left < timedelta(0) else "expires soon" if left < _SOON else "valid"
        rows.append({"what": what, "expires": expires, "state": state, "file": path})
    output.table(
        ["what", "expires", "state", "file"],
        [(row["what"], f"{row['expires']:%Y-%m-%d}", row["state"], row["file"]) for row in rows],
        styles={"state": lambda state: {"valid": "green", "expired": "bold red"}.get(state, "yellow")},
    )
    output.result(rows)
    if any(row["state"] == "expired" for row in rows):
        raise typer.Exit(ExitCode.CONFIGURATION)


@app.command("user")
def issue_to_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Logon name or UPN, as the directory has it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    renew: RenewOption = False,
    ca_key: CaKeyOption = None,
    keys: KeysOption = "ec",
    json: JsonOption = False,
) -> None:
    """Issue the certificate by which devices prove that a user signed in at them; valid for a year."""
    from postscan.cli.pki import issue_user

    loaded = _loaded(config)
    settings = loaded.settings
    user = asyncio.run(_user(loaded, name))
    folder = settings.tls.folder / "users"
    pair = issue_user(_authority(settings, ca_key), user, algorithm=_algorithm(keys))
    _keep(Output(json), user.upn, pair, folder / f"{user.name}.pem", folder / f"{user.name}.key", renew=renew)


@app.command("server")
def issue_to_server(
    config: ConfigOption = DEFAULT_CONFIG,
    renew: RenewOption = False,
    ca_key: CaKeyOption = None,
    keys: KeysOption = "ec",
    json: JsonOption = False,
) -> None:
    """Issue the server's certificate for its name in the settings; `postscan server reload` has it shown."""
    from postscan.cli.installation import addresses_in
    from postscan.cli.pki import issue_server

    settings = _settings(config)
    fqdn, tls = settings.server.fqdn, settings.tls
    addresses = addresses_in(settings.server.listen)
    pair = issue_server(_authority(settings, ca_key), fqdn, addresses, algorithm=_algorithm(keys))
    output = Output(json)
    _keep(output, fqdn, pair, tls.certificate, tls.key, renew=renew)
    output.line("`postscan server reload` (or a restart) makes the server show the new one.")


def _settings(config: Path) -> Settings:
    return _loaded(config).settings


def _loaded(config: Path) -> LoadedSettings:
    from postscan.cli.settings import load_settings

    quiet_logs()
    return load_settings(config, os.environ)


def _files(settings: Settings) -> Iterator[tuple[Path, str]]:
    if settings.tls.client_ca:
        yield Path(settings.tls.client_ca), "authority"
    yield settings.tls.certificate, f"server {settings.server.fqdn}"
    for path in sorted((settings.tls.folder / "users").glob("*.pem")):
        yield path, f"user {path.stem}"


def _expiry(path: Path) -> datetime:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is no certificate that can be read",
            advice="`postscan config check` tells what the settings name and what is wrong with it.",
        ) from error


async def _user(loaded: LoadedSettings, name: str) -> User:
    from postscan.cli.directories import directory_of

    directory = directory_of(loaded)
    try:
        user = await directory.user_by_name(name)
    finally:
        await directory.close()
    if user is not None:
        return user
    said = loaded.settings.directory
    if said.is_active:
        raise NotIssued(
            f"the domain {loaded.settings.directory_domain} knows no user {name!r}",
            advice="Write the logon name (alice) or the UPN (alice@example.com).",
        )
    problems = "".join(f" What is wrong there: {problem}" for problem in directory.problems()[:1])
    raise NotIssued(
        f"the directory knows no user {name!r}",
        advice=f"Add a [[user]] to {said.folder / 'users.toml'} first.{problems}",
    )


def _algorithm(text: str) -> KeyAlgorithm:
    from postscan.cli.pki import KeyAlgorithm

    try:
        return KeyAlgorithm(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither ec nor rsa") from error


def _authority(settings: Settings, ca_key: Path | None) -> KeyPair:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from postscan.cli.pki import KeyPair

    if not settings.tls.client_ca:
        raise NotIssued(
            "there is no authority of our own: tls.client_ca is empty",
            advice="Ask the authority of the directory for certificates.",
        )
    certificate_path = Path(settings.tls.client_ca)
    key_path = ca_key or certificate_path.with_suffix(".key")
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
        fits = certificate.public_key() == key.public_key()
    except (OSError, ValueError, TypeError) as error:
        raise NotIssued(
            f"the authority cannot be used ({certificate_path}, {key_path}): {error}",
            advice="Name its key with --ca-key, a PEM file without a password; if it is kept elsewhere, fetch"
            " it for this. If another authority issues your certificates, ask there.",
        ) from error
    if not fits:
        raise NotIssued(
            f"{key_path} is not the key of {certificate_path}", advice="Name the right one with --ca-key."
        )
    return KeyPair(certificate, key)  # type: ignore[arg-type]  # as written by init: P-256 or RSA


def _keep(output: Output, whose: str, pair: KeyPair, certificate: Path, key: Path, *, renew: bool) -> None:
    from postscan.cli.pki import write_pair

    there = [path for path in (certificate, key) if path.exists()]
    if there and not renew:
        raise NotIssued(
            f"{there[0]} is there already and was left as it is", advice="To replace it, add --renew."
        )
    certificate.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = certificate.with_name(f".{certificate.name}.new"), key.with_name(f".{key.name}.new")
    for path in fresh:
        path.unlink(missing_ok=True)
    write_pair(pair, *fresh)
    fresh[0].replace(certificate)
    fresh[1].replace(key)
    expires = pair.certificate.not_valid_after_utc
    output.line(f"{certificate}: {whose}, valid until {expires:%Y-%m-%d}")
    output.line(f"{key}: its private key")
    output.result({"whose": whose, "certificate": certificate, "key": key, "expires": expires})
