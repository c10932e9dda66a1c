"""A file server for the people of a test domain: they log on with Kerberos, by a keytab of the server.

It is no member of the domain, which would take winbind and a controller that serves SMB itself. Its computer
account says that tickets for it need no PAC (who the user is to Windows), which a server that is no member
refuses; the tickets, and how they are won, are those that any server of a domain gets.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from testdomain import offline
from testdomain.controller import Controller
from testdomain.facts import ADDRESS, BASE_DN, DNS_DOMAIN, NETBIOS, PEOPLE, REALM
from testservers.fileserver import SEEN_AT, SHARES, Account, FileServer, Share

FILE_SERVER: Final = f"files.{DNS_DOMAIN}"
_COMPUTER: Final = "FILES$"
_DN: Final = f"CN=FILES,CN=Computers,{BASE_DN}"
# WORKSTATION_TRUST_ACCOUNT and NO_AUTH_DATA_REQUIRED ([MS-ADTS] 2.2.16).
_CONTROL: Final = 0x1000 | 0x2000000
_KEYTAB: Final = "cifs.keytab"
_SMB: Final = 445


def add_to_domain(controller: Controller, keytab: Path) -> None:
    """Give the domain the file server's account, and write its keys; the controller is restarted for it."""
    account: dict[str, str | bytes | Sequence[str | bytes]] = {
        "objectClass": "computer",
        "sAMAccountName": _COMPUTER,
        "dNSHostName": FILE_SERVER,
        "servicePrincipalName": ["HOST/FILES", f"HOST/{FILE_SERVER}"],
        "userAccountControl": str(_CONTROL),
        "clearTextPassword": "F1les-Passw0rd1".encode("utf-16-le"),
    }
    operations = [offline.add(_DN, account), offline.address(FILE_SERVER, ADDRESS)]
    controller.stop()
    try:
        offline.apply(controller.domain.path, [*operations, offline.keytab(_COMPUTER, keytab)])
    finally:
        controller.start()


def domain_file_server(
    controller: Controller, folder: Path, keytab: Path, shares: Sequence[Share] = SHARES
) -> FileServer:
    """Return a file server in the controller's namespace, at port 445, for the people of the domain.

    :param keytab: what add_to_domain wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(keytab, folder / _KEYTAB)
    return FileServer(
        folder,
        shares=shares,
        # Only their unix accounts are needed: nobody logs on with these passwords.
        accounts=[Account(person.name, "n0-Passw0rd-here") for person in PEOPLE if person.name.isascii()],
        options={
            "realm": REALM,
            "workgroup": NETBIOS,
            "netbios name": "FILES",
            "kerberos method": "dedicated keytab",
            "dedicated keytab file": f"{SEEN_AT}/{_KEYTAB}",
        },
        port=_SMB,
        addresses="lo eth0",
        command=["ip", "netns", "exec", controller.namespace.name],
    )
