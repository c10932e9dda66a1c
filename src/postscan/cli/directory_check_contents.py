"""What is in a directory that the scan server needs: scan processes, people, certificates."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postscan.cli.directory_check_domain import BIND
from postscan.cli.directory_steps import Told, Walk, doubtful, fine, left_out, wrong
from postscan.cli.process_checks import problems_of
from postscan.cli.process_text import may_use
from postscan.directory.model import StoredProcess, User, is_sid

if TYPE_CHECKING:
    from postscan.cli.settings import LoadedSettings, Settings
    from postscan.directory.active.directory import ActiveDirectory
    from postscan.directory.process_import import EditableDirectory

PROCESSES: Final = "scan processes"
USER: Final = "user"
_MOST_PROBLEMS: Final = 5


class PeopleCheck:
    """Looks up one user and one scan process, in a directory of either kind.

    :param user: whom to look up; None leaves it out.
    :param process: which scan process, by name or identifier; None takes the first of this server.
    """

    def __init__(
        self, directory: EditableDirectory, loaded: LoadedSettings, user: str | None, process: str | None
    ) -> None:
        self._directory = directory
        self._loaded = loaded
        self._settings = loaded.settings
        self._user_name = user
        self._process_name = process
        self._stored: list[StoredProcess] = []
        self._user: User | None = None

    async def walk(self, walk: Walk, needs: tuple[str, ...] = ()) -> None:
        """Take all steps; ``needs`` are those before that have to have gone well."""
        await walk.take(PROCESSES, self._processes, needs)
        await walk.take(USER, self._look_up, needs[:1])
        await walk.take("scan process", self._process, [PROCESSES])
        await walk.take("administrators", self._administrators, needs[:1])

    async def _processes(self) -> Told:
        self._stored = await self._directory.processes()
        wrong_entries = [str(problem) for problem in self._directory.problems()]
        ours = [process for process in self._stored if self._is_ours(process)]
        said = f"{len(self._stored)} can be read, {len(ours)} of them this server's"
        if wrong_entries:
            return doubtful(
                f"{said}; left out as wrong: {len(wrong_entries)}",
                "Correct or remove them; `postscan processes validate` says what is wrong with a file.",
                *wrong_entries[:_MOST_PROBLEMS],
            )
        if not ours:
            return doubtful(
                f"{said}: nobody can scan here yet",
                f"Make some whose ScanRepository is {self._settings.server.fqdn}, and let the account read"
                " them: `postscan processes import`.",
            )
        return fine(said)

    async def _look_up(self) -> Told:
        name = self._user_name
        if name is None:
            return left_out("none was named", "--user NAME looks one up")
        directory = self._directory
        self._user = await (directory.user_by_sid(name) if is_sid(name) else directory.user_by_name(name))
        user = self._user
        if user is None:
            return wrong(
                f"there is no user {name}", "Write the logon name (alice), UPN (alice@example.com) or SID."
            )
        groups = sorted(group for group in user.groups if not is_sid(group))
        details = (
            f"{user.display_name or user.name}, {user.upn}, {user.sid}",
            f"mail {user.mail or 'none'}, own site {user.home_site or 'none'}",
            f"groups, nested ones included: {', '.join(groups) or 'none'}",
        )
        if not user.enabled:
            return doubtful(
                f"{user.name} is disabled, locked or expired", "No job can begin for this user.", *details
            )
        return fine(f"{user.name} is in {len(groups)} groups", *details)

    async def _process(self) -> Told:
        process = self._chosen()
        if process is None and self._process_name is not None:
            return wrong(
                f"there is no scan process {self._process_name!r} that this account can read",
                "`postscan processes list` shows those there are; let the account read it.",
            )
        if process is None:
            return left_out("there is none to look at")
        details = [f"may be used by: {may_use(process)}"]
        if self._user is not None:
            may = "may" if process.granted_to(self._user) else "may NOT"
            details.append(f"{self._user.name} {may} use it")
        problems = problems_of(process.xml, self._loaded)
        name = f"“{process.display_name}” ({process.identifier})"
        if problems:
            return wrong(f"{name}: {problems[0].message}", problems[0].advice, *details)
        return fine(f"{name} is valid, and this server's", *details)

    async def _administrators(self) -> Told:
        allowed = self._settings.administrators
        if self._settings.server.mode == "unauthenticated":
            return left_out("in unauthenticated mode no group counts")
        names = [group for group in allowed.groups if not is_sid(group)]
        known = (await self._directory.known_names((), names)).groups if names else {}
        unknown = [name for name in names if name not in known]
        if unknown and not allowed.certificates:
            return doubtful(
                f"the directory knows no group {', '.join(unknown)}, whose members could administer",
                "Make the group, or name another in administrators.groups.",
            )
        return fine(f"members of {', '.join(allowed.groups) or 'no group'} may look after this server")

    def _is_ours(self, process: StoredProcess) -> bool:
        return process.process.scan_repository.casefold() == self._settings.server.fqdn.casefold()

    def _chosen(self) -> StoredProcess | None:
        wanted = self._process_name
        if wanted is None:
            ours = [process for process in self._stored if self._is_ours(process)]
            theirs = [p for p in ours if self._user is not None and p.granted_to(self._user)]
            return next(iter(theirs or ours), None)
        try:
            identifier = UUID(wanted)
        except ValueError:
            return next((p for p in self._stored if p.display_name.casefold() == wanted.casefold()), None)
        return next((p for p in self._stored if p.identifier == identifier), None)


class CertificateCheck:
    """Looks at what the domain publishes: the server's own certificate, and authorities."""

    def __init__(self, directory: ActiveDirectory, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings

    async def walk(self, walk: Walk) -> None:
        """Take all steps."""
        await walk.take("published certificate", self._published, [BIND])
        await walk.take("enterprise roots", self._roots, [BIND])

    async def _published(self) -> Told:
        fqdn = self._settings.server.fqdn
        found = await self._directory.published_hash(fqdn)
        if found is None:
            return left_out(
                f"none for {fqdn}: devices rely on the certificate's authority alone",
                "`postscan directory publish-certificate` lets them compare the certificate, too.",
            )
        own = own_certificate(self._settings)
        if own is None:
            return left_out("the server's own certificate cannot be read (see `postscan config check`)")
        der = own.public_bytes(Encoding.DER)
        if not found.matches(der):
            return wrong(
                f"what is published for {fqdn} is another certificate's {found.algorithm} hash:"
                " devices will refuse this server",
                "Run `postscan directory publish-certificate` after each change of the certificate.",
                f"published: {found.digest.hex()}",
                f"of {self._settings.tls.certificate}: {hashlib.new(found.algorithm, der).hexdigest()}",
            )
        return fine(f"the {found.algorithm} hash of this server's")

    async def _roots(self) -> Told:
        found = await self._directory.authorities()
        said = f"roots: {len(found.roots)}; issuers that may certify sign-on: {len(found.logon_issuers)}"
        details = (
            *(f"root: {one.subject.rfc4514_string()}" for one in found.roots),
            *(f"may certify sign-on: {one.subject.rfc4514_string()}" for one in found.logon_issuers),
        )
        if found.problems:
            return doubtful(
                f"{said}; {len(found.problems)} values are no certificates",
                "Have them removed from the directory.",
                *found.problems[:_MOST_PROBLEMS],
            )
        if not self._settings.directory.enterprise_roots:
            return left_out(f"{said}; not used, as enterprise_roots = false")
        if not found.roots or not found.logon_issuers:
            only = "those of tls.client_ca" if self._settings.tls.client_ca else "nobody's"
            return doubtful(
                f"{said}: client certificates of {only} are accepted",
                "Publish the authority in the directory (`certutil -dspublish -f ca.cer RootCA`, and"
                " NTAuthCA), or set enterprise_roots = false.",
                *details,
            )
        return fine(said, *details)


def own_certificate(settings: Settings) -> x509.Certificate | None:
    """Return the server's certificate, None when it cannot be read."""
    try:
        return x509.load_pem_x509_certificates(settings.tls.certificate.read_bytes())[0]
    except (OSError, ValueError):
        return None
