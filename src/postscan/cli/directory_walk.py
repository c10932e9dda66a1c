"""The whole way that `postscan directory check` walks, for a directory of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from postscan.cli.directories import active_directory_settings, directory_of
from postscan.cli.directory_check_contents import CertificateCheck, PeopleCheck
from postscan.cli.directory_check_domain import BIND, CONTAINER, DomainCheck
from postscan.cli.directory_check_network import ADDRESSES, CONNECTION, CONTROLLERS, NetworkCheck
from postscan.cli.directory_findings import check_directory
from postscan.cli.directory_steps import Outcome, Told, Walk, doubtful, fine, wrong
from postscan.cli.exit_codes import ExitCode
from postscan.cli.findings import Finding, Severity
from postscan.directory.active.directory import ActiveDirectory
from postscan.directory.ldap.model import DirectoryAway

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings

# Where a failure means that the directory cannot be reached.
_WAY = frozenset({CONTROLLERS, ADDRESSES, CONNECTION})


async def walk_to_directory(
    loaded: LoadedSettings, walk: Walk, user: str | None, process: str | None
) -> None:
    """Take all steps; ``user`` and ``process`` are those to look at, by name, if any."""
    settings = loaded.settings
    if settings.directory.is_active:
        await _walk_to_domain(loaded, walk, user, process)
        return
    if await walk.take("files", lambda: _files(loaded)):
        people = PeopleCheck(directory_of(loaded), loaded, user, process)
        await people.walk(walk)


async def _files(loaded: LoadedSettings) -> Told:
    found = list(check_directory(loaded))
    problems = [one for one in found if one.severity is Severity.PROBLEM]
    lines = [one.message for one in found]
    if not loaded.settings.directory.folder.is_dir():
        return wrong(problems[0].message, problems[0].advice)
    if found:
        return doubtful(f"{len(found)} to correct", found[0].advice, *lines)
    return fine(f"all in {loaded.settings.directory.folder} can be read")


async def _found(problems: Sequence[Finding]) -> Told:
    first, *others = (f"{one.key}: {one.message}" for one in problems)
    return wrong(first, problems[0].advice, *others)


async def _walk_to_domain(loaded: LoadedSettings, walk: Walk, user: str | None, process: str | None) -> None:
    settings = loaded.settings
    active = active_directory_settings(loaded)
    # They are told as a step only when something is wrong: what fails further on may come of it.
    if problems := [one for one in check_directory(loaded) if one.severity is Severity.PROBLEM]:
        await walk.take("settings", lambda: _found(problems))
    await NetworkCheck(active.ldap).walk(walk)
    await DomainCheck(active, settings.directory.account).walk(walk)
    async with ActiveDirectory(active) as found:
        await PeopleCheck(found, loaded, user, process).walk(walk, (BIND, CONTAINER))
        await CertificateCheck(found, settings).walk(walk)


def exit_code(walk: Walk) -> ExitCode:
    """Return, after a failure, 5 when it is the way to the directory that failed, else 3."""
    for step in walk.steps:
        if step.told.outcome is Outcome.FAILED and (
            step.name in _WAY or isinstance(step.error, DirectoryAway)
        ):
            return ExitCode.UNREACHABLE
    return ExitCode.CONFIGURATION
