"""Secrets that filters use: found when they are needed, and told of when they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from postscan.cli.findings import Finding, problem
from postscan.cli.secret_file import SecretRefused
from postscan.cli.secret_store import SecretUse, check_name
from postscan.cli.settings_tables import without_secrets
from postscan.cli.toml_text import toml_value
from postscan.core.errors import ConfigurationError

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings
    from postscan.core.secret import Secret
    from postscan.filters.plugins import InstalledFilter


def secret_of(loaded: LoadedSettings, use: SecretUse) -> Secret:
    """Return a secret as it is now, so that a corrected one is used from the next time on.

    :raises ConfigurationError: there is none; SecretRefused, one of these, when it must not be used.
    """
    found = loaded.secrets.find(use)
    if found is None:
        raise ConfigurationError(
            f"the secret {use.name} is missing",
            advice=f"Enter it with `postscan secrets set {use.name}`, or name a file with it (0600).",
        )
    return found.secret


def check_secrets(loaded: LoadedSettings, uses: list[SecretUse]) -> Iterator[Finding]:
    """Tell which secrets are missing, or are not used because of where they lie."""
    for use in uses:
        try:
            found = loaded.secrets.find(use)
        except SecretRefused as error:
            yield problem(use.name, str(error), error.what_to_do)
            continue
        if found is None:
            yield problem(
                use.name,
                "this secret is missing",
                f"`postscan secrets set {use.name}`, or name a file with it (0600)",
            )


def plugin_secret_use(loaded: LoadedSettings, installed: InstalledFilter, name: str) -> SecretUse:
    """Return how a filter of another package uses its secret ``name``.

    Nobody but the filter knows which of its settings say where the secret goes, so it is bound to all of
    them, and to the package (abuse case 26).

    :raises ConfigurationError: it cannot be the name of a secret.
    """
    kind = installed.kind.name
    try:
        check_name(f"filters.{kind}.{name}")
    except ValueError as error:
        raise ConfigurationError(
            f"filters.{kind}.{name} {error}", advice=f"Tell the maker of {installed.package}."
        ) from error
    settings = loaded.settings.filters.settings_of(kind)
    file_key = f"{name}_file"
    file = settings.get(file_key)
    return SecretUse(
        f"filters.{kind}.{name}",
        (
            f"filter {kind} of {installed.package_name}",
            *(
                f"{key} {toml_value(without_secrets(key, value))}"
                for key, value in sorted(settings.items())
                if key != file_key
            ),
        ),
        loaded.base / file if isinstance(file, str) and file else None,
    )
