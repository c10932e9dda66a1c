"""The filters of a server: our own with their settings, and those that other packages bring.

Our own are put together here, each from a typed section of the settings; they are no entry points, as a
``FilterEnvironment`` has less to give than they take (typed settings, workers), and as they must be there
however the package was installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from postscan.cli.directories import password_use
from postscan.cli.filters_email import EMAIL_NOT_SET_UP, check_email, email_filter, email_secret_uses
from postscan.cli.filters_fileshare import check_file_share, file_share_filter, file_share_secret_uses
from postscan.cli.filters_names import names_filter
from postscan.cli.filters_processing import assemble_filter, check_processing, ocr_filter, workers_of
from postscan.cli.filters_sharepoint import (
    SHAREPOINT_NOT_SET_UP,
    check_sharepoint,
    sharepoint_filter,
    sharepoint_secret_uses,
)
from postscan.cli.findings import Finding, problem, warning
from postscan.cli.secret_uses import check_secrets, plugin_secret_use, secret_of
from postscan.cli.settings_tables import free_tables, secrets_in_free_tables
from postscan.core.errors import ConfigurationError
from postscan.filters.contract import Filter, FilterEnvironment, Workers
from postscan.filters.plugins import GROUP, InstalledFilter, installed_filters
from postscan.filters.unoffered import unoffered
from postscan.soap.names import ASSEMBLE, EMLF, FSF, NAMES, OCR, SPF

if TYPE_CHECKING:
    from postscan.cli.secret_store import SecretUse
    from postscan.cli.settings import LoadedSettings
    from postscan.cli.settings_model import Settings
    from postscan.core.secret import Secret


@dataclass(frozen=True, slots=True)
class OwnFilter:
    """One of our own filters: its name in the settings, its title for people, and how it is made.

    ``make`` returns None when the settings do not say enough; ``not_set_up`` is what they lack then, and
    ``section`` where to say it. What it is given besides are the workers that a dry run may use.
    """

    name: str
    title: str
    dialect: str
    section: str
    make: Callable[[LoadedSettings, Workers], Filter | None]
    not_set_up: str = ""
    check: Callable[[LoadedSettings], Iterable[Finding]] | None = None
    secret_uses: Callable[[Settings], list[SecretUse]] | None = None


OWN: Final = (
    OwnFilter(
        "file-share",
        "file share",
        FSF,
        "fileshare",
        lambda loaded, _workers: file_share_filter(loaded),
        check=check_file_share,
        secret_uses=file_share_secret_uses,
    ),
    OwnFilter(
        "email",
        "e-mail",
        EMLF,
        "email",
        lambda loaded, _workers: email_filter(loaded),
        EMAIL_NOT_SET_UP,
        check_email,
        email_secret_uses,
    ),
    OwnFilter(
        "sharepoint",
        "SharePoint",
        SPF,
        "sharepoint",
        lambda loaded, _workers: sharepoint_filter(loaded),
        SHAREPOINT_NOT_SET_UP,
        check_sharepoint,
        sharepoint_secret_uses,
    ),
    OwnFilter("assemble", "assemble", ASSEMBLE, "processing", assemble_filter),
    OwnFilter("ocr", "OCR", OCR, "processing", ocr_filter, check=check_processing),
    OwnFilter("names", "names", NAMES, "fileshare", names_filter),
)
_NAMES: Final = {own.dialect: own.name for own in OWN}
TITLES: Final = {own.dialect: own.title for own in OWN}
"""What people call our own filters, by dialect."""


def filters_of(loaded: LoadedSettings, workers: Workers | None = None) -> dict[str, Filter]:
    """Return by dialect the filters this server runs, and stand-ins for those of our own that it does not.

    No secret is read and nothing is connected.

    :param workers: where dry runs decode images; those that the settings say, where None.

    :raises ConfigurationError: one cannot be made.
    """
    disabled = loaded.settings.filters.disabled
    pool = workers if workers is not None else workers_of(loaded)
    made: dict[str, Filter] = {}
    for own in OWN:
        if own.name in disabled:
            made[own.dialect] = unoffered(
                own.dialect,
                f"the {own.title} filter is turned off on this server",
                f'Take "{own.name}" out of disabled under [filters] in the settings.',
            )
            continue
        made[own.dialect] = own.make(loaded, pool) or unoffered(
            own.dialect,
            f"the {own.title} filter is not set up on this server: {own.not_set_up}",
            f"Fill in [{own.section}] in the server's settings; `postscan config check` shows it.",
        )
    for dialect, installed in installed_by_dialect(loaded).items():
        made[dialect] = installed.make(environment_of(loaded, installed))
    return made


def installed_by_dialect(loaded: LoadedSettings | None = None) -> dict[str, InstalledFilter]:
    """Return the filters that other packages bring, by dialect, less those that the settings turn off.

    :raises ConfigurationError: one cannot be loaded.
    """
    disabled = loaded.settings.filters.disabled if loaded is not None else ()
    return {one.kind.dialect: one for one in installed_filters(_NAMES, disabled)}


def secret_uses(loaded: LoadedSettings) -> list[SecretUse]:
    """Return all secrets that the settings need: the directory's, then those of the filters."""
    use = password_use(loaded.settings)
    return [*([use] if use is not None else []), *filter_secret_uses(loaded)]


def filter_secret_uses(loaded: LoadedSettings) -> list[SecretUse]:
    """Return the secrets that the filters need, as far as that is known.

    Which ones a filter of another package asks for nobody knows before it does; those that were entered for
    it are told.
    """
    disabled = loaded.settings.filters.disabled
    uses = [
        use
        for own in OWN
        if own.secret_uses is not None and own.name not in disabled
        for use in own.secret_uses(loaded.settings)
    ]
    kept = (plugin_secret(loaded, name) for name in loaded.secrets.store.read())
    return uses + [use for use in kept if use is not None]


def plugin_secret(loaded: LoadedSettings, name: str) -> SecretUse | None:
    """Return how the secret ``filters.FILTER.SECRET`` is used; None when there is no such filter."""
    section, _, rest = name.partition(".")
    filter_name, _, secret = rest.partition(".")
    for installed in installed_by_dialect(loaded).values() if section == "filters" and secret else ():
        if installed.kind.name == filter_name:
            return plugin_secret_use(loaded, installed, secret)
    return None


def environment_of(loaded: LoadedSettings, installed: InstalledFilter) -> FilterEnvironment:
    """Return what a filter of another package is made with."""
    zone = loaded.settings.fileshare.time_zone
    return FilterEnvironment(
        settings=loaded.settings.filters.settings_of(installed.kind.name),
        secret=partial(_secret, loaded, installed),
        zone=ZoneInfo(zone) if zone else None,
    )


def check_filters(loaded: LoadedSettings) -> Iterator[Finding]:
    """Check that every filter can be made and has its secrets, and that all that the settings name exist."""
    try:
        filters_of(loaded)
        yield from _check_installed(loaded)
    except ConfigurationError as error:
        yield problem("filters", str(error), error.what_to_do)
    yield from check_secrets(loaded, filter_secret_uses(loaded))
    for own in OWN:
        if own.check is not None and own.name not in loaded.settings.filters.disabled:
            yield from own.check(loaded)
    for key in secrets_in_free_tables("filters", loaded.settings.filters):
        yield warning(
            key,
            "looks like a secret, and the settings are no place for one",
            f"take it out, and `postscan secrets set {key}` if the filter asks for it",
        )


def _check_installed(loaded: LoadedSettings) -> Iterator[Finding]:
    """Tell which filters the settings name that are not there."""
    disabled = loaded.settings.filters.disabled
    installed = [one.kind.name for one in installed_by_dialect(loaded).values()]
    own_names = {own.name: own for own in OWN}
    for name in free_tables(loaded.settings.filters):
        if name in own_names:
            section = own_names[name].section
            yield problem(
                f"filters.{name}",
                f"the settings of {own_names[name].title} do not stand here",
                f"write them under [{section}]",
            )
        elif name not in installed and name not in disabled:
            yield problem(
                f"filters.{name}",
                "no package that is installed brings a filter of this name",
                f"install it into the Python environment of the server, or take [filters.{name}] out;"
                f" installed are: {', '.join(installed) or 'none'}",
            )
    for name in disabled:
        if name not in own_names and name not in _entry_points():
            yield warning(
                "filters.disabled",
                f"names {name}, and there is no filter of this name",
                f"take it out; our own are {', '.join(own_names)}, installed are"
                f" {', '.join(installed) or 'none'}",
            )


def _entry_points() -> set[str]:
    return {point.name for point in entry_points(group=GROUP)}


def _secret(loaded: LoadedSettings, installed: InstalledFilter, name: str) -> Secret:
    return secret_of(loaded, plugin_secret_use(loaded, installed, name))
