"""Writes to a domain's database while its controller is stopped; runs in the Python that Debian's Samba uses.

It is started by :mod:`testdomain.offline`, with the folder of the domain as argument, and reads one
operation a line from standard input, as JSON: ``{"op": "add", "dn": ..., "values": {attribute: [text or
{"base64": ...}]}, "descriptor": SDDL}``, ``modify`` (adds values), ``replace``, ``delegate`` (puts access
control entries in front of an object's own), ``address`` (an A record) and ``keytab``. All of it, but
keytabs, is one transaction. In SDDL ``{name}`` stands for the SID of the account of that name.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from typing import Any

import ldb
from samba import dckeytab  # noqa: F401 - gives Net its export_keytab
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_pack
from samba.net import Net
from samba.param import LoadParm
from samba.provision.sambadns import ARecord
from samba.samdb import SamDB
from samba.sd_utils import SDUtils

_NAME = re.compile(r"\{([^}]+)\}")


class Offline:
    """The database of a domain."""

    def __init__(self, folder: str) -> None:
        self._settings = LoadParm()
        self._settings.load(f"{folder}/etc/smb.conf")
        self._database = SamDB(
            url=f"{folder}/private/sam.ldb",
            session_info=system_session(),
            lp=self._settings,
            # Without these, each of a hundred thousand additions would read and write whole index records.
            options=["batch_mode:1", "transaction_index_cache_size:400000"],
        )
        self._domain = security.dom_sid(self._database.get_domain_sid())
        self._sids: dict[str, str] = {}

    def run(self, operations: list[dict[str, Any]]) -> None:
        """Do what is asked, all or nothing."""
        self._database.transaction_start()
        try:
            for operation in operations:
                if operation["op"] != "keytab":
                    getattr(self, operation.pop("op"))(**operation)
        except BaseException:
            self._database.transaction_cancel()
            raise
        self._database.transaction_commit()
        for operation in operations:
            if operation.get("op") == "keytab":
                Net(None, self._settings).export_keytab(
                    keytab=operation["file"], principal=operation["principal"]
                )

    def add(self, dn: str, values: dict[str, list[Any]], descriptor: str | None = None) -> None:
        """Add an object."""
        message = self._message(dn, values, ldb.FLAG_MOD_ADD)
        if descriptor is not None:
            message["nTSecurityDescriptor"] = ldb.MessageElement(
                [self._descriptor(descriptor)], ldb.FLAG_MOD_ADD, "nTSecurityDescriptor"
            )
        self._database.add(message)

    def modify(self, dn: str, values: dict[str, list[Any]]) -> None:
        """Add values to an object's attributes."""
        self._database.modify(self._message(dn, values, ldb.FLAG_MOD_ADD))

    def replace(self, dn: str, values: dict[str, list[Any]]) -> None:
        """Set attributes of an object."""
        self._database.modify(self._message(dn, values, ldb.FLAG_MOD_REPLACE))

    def delegate(self, dn: str, aces: str) -> None:
        """Put access control entries (SDDL) in front of those an object has."""
        SDUtils(self._database).dacl_prepend_aces(ldb.Dn(self._database, dn), self._with_sids(aces))

    def address(self, name: str, address: str) -> None:
        """Give a host of a zone an address."""
        host, _, zone = name.partition(".")
        partition = f"CN=MicrosoftDNS,DC=DomainDnsZones,{self._database.domain_dn()}"
        message = ldb.Message(ldb.Dn(self._database, f"DC={host},DC={zone},{partition}"))
        message["objectClass"] = "dnsNode"
        message["dnsRecord"] = ldb.MessageElement(ndr_pack(ARecord(address)), ldb.FLAG_MOD_ADD, "dnsRecord")
        self._database.add(message)

    def _message(self, dn: str, values: dict[str, list[Any]], flag: int) -> Any:
        message = ldb.Message(ldb.Dn(self._database, dn))
        for name, given in values.items():
            octets = [base64.b64decode(v["base64"]) if isinstance(v, dict) else v.encode() for v in given]
            message[name] = ldb.MessageElement(octets, flag, name)
        return message

    def _descriptor(self, sddl: str) -> bytes:
        return bytes(ndr_pack(security.descriptor.from_sddl(self._with_sids(sddl), self._domain)))

    def _with_sids(self, sddl: str) -> str:
        return _NAME.sub(lambda found: self._sid(found.group(1)), sddl)

    def _sid(self, name: str) -> str:
        if name not in self._sids:
            where = f"(sAMAccountName={ldb.binary_encode(name)})"
            [found] = self._database.search(
                self._database.domain_dn(), ldb.SCOPE_SUBTREE, where, ["objectSid"]
            )
            self._sids[name] = str(
                self._database.schema_format_value("objectSid", found["objectSid"][0]), "ascii"
            )
        return self._sids[name]


if __name__ == "__main__":
    Offline(sys.argv[1]).run([json.loads(line) for line in sys.stdin])
