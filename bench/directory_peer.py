"""The same questions asked by OpenLDAP's `ldapsearch`: what the controller itself takes, and little more.

Starting the program, connecting and binding are measured by a search for nothing and subtracted; many
questions of one kind go over one connection (``-f``). It reads no XML, checks no rights, and asks for no
groups of users: the figures are what is left when a client does as little as it can.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from bench.toolbox import BenchError
from postscan.directory.active.identifiers import sid_octets, sid_text
from testdomain.controller import Controller
from testdomain.facts import BASE_DN, CONTROLLER, DNS_DOMAIN, PROCESSES_DN, SERVICE

_SECONDS: Final = 600
_IS_PROCESS: Final = "(objectClass=msImaging-PostScanProcess)"
_PAGED: Final = ("-E", "pr=500/noprompt")
# LDAP_SERVER_SD_FLAGS_OID with 7: owner, group and DACL.
_DESCRIPTORS: Final = ("-E", "1.2.840.113556.1.4.801=::MAMCAQc=")
_WHOLE: Final = ("displayName", "msImaging-PSPIdentifier", "msImaging-PSPString", "serverName")
_SID: Final = re.compile(r"^objectSid:: (\S+)$", re.MULTILINE)


class LdapSearch:
    """Runs `ldapsearch` beside a controller; ``work`` is for its files. Seconds are what is returned."""

    def __init__(self, controller: Controller, work: Path) -> None:
        self._controller = controller
        self._work = work

    def list_as(self, name: str, password: str) -> float:
        """Return how long it takes to list the scan processes that a user may read."""
        who = (name, password)
        search = [*_PAGED, "-b", PROCESSES_DN, "-s", "one", _IS_PROCESS, *_WHOLE]
        return self._seconds(who, search) - self._nothing(who)

    def list_descriptors(self) -> float:
        """Return how long it takes to list identifier and security descriptor of all scan processes."""
        search = [*_PAGED, *_DESCRIPTORS, "-b", PROCESSES_DN, "-s", "one", _IS_PROCESS]
        search += ["msImaging-PSPIdentifier", "nTSecurityDescriptor"]
        return self._seconds(_SERVICE, search) - self._nothing(_SERVICE)

    def create(self, sids: Sequence[str], identifiers: Sequence[UUID]) -> float:
        """Return how long it takes to find one user by SID, and one process by identifier."""
        users = self._many([_octets(sid_octets(sid)) for sid in sids], "(objectSid=%s)", BASE_DN, "sub")
        found = self._many(
            [_octets(identifier.bytes_le) for identifier in identifiers],
            f"(&{_IS_PROCESS}(msImaging-PSPIdentifier=%s))",
            PROCESSES_DN,
            "one",
        )
        return (users + found) / len(sids)

    def sids(self, names: Sequence[str]) -> list[str]:
        """Return the SIDs of users, in their order; not measured."""
        file = self._file(names)
        said = self._run(
            _SERVICE, ["-f", str(file), "-b", BASE_DN, "-s", "sub", "(sAMAccountName=%s)", "objectSid"]
        )
        found = [sid_text(base64.b64decode(text)) for text in _SID.findall(said)]
        if len(found) != len(names):
            raise BenchError(f"{len(found)} of {len(names)} users were found")
        return found

    def _many(self, values: Sequence[str], where: str, base: str, scope: str) -> float:
        search = ["-f", str(self._file(values)), "-b", base, "-s", scope, where, *_WHOLE, "sAMAccountName"]
        return self._seconds(_SERVICE, search) - self._nothing(_SERVICE)

    def _file(self, lines: Iterable[str]) -> Path:
        path = self._work / "questions"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def _nothing(self, who: tuple[str, str]) -> float:
        """Return how long starting, binding, and asking for what costs nothing take; the best of three."""
        return min(self._seconds(who, ["-b", "", "-s", "base", "1.1"]) for _ in range(3))

    def _seconds(self, who: tuple[str, str], search: Sequence[str]) -> float:
        began = time.perf_counter()
        self._run(who, search)
        return time.perf_counter() - began

    def _run(self, who: tuple[str, str], search: Sequence[str]) -> str:
        bind = ["-x", "-H", f"ldaps://{CONTROLLER}", "-D", who[0], "-w", who[1]]
        done = self._controller.run(
            ["ldapsearch", "-LLL", "-o", "ldif-wrap=no", *bind, *search], timeout=_SECONDS
        )
        if done.returncode != 0:
            raise BenchError(f"ldapsearch failed: {done.stderr.strip()}")
        return done.stdout


_SERVICE: Final = (f"{SERVICE.name}@{DNS_DOMAIN}", SERVICE.password)


def _octets(value: bytes) -> str:
    """Write octets as the value of a filter."""
    return "".join(f"\\{octet:02x}" for octet in value)
