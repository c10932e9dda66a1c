"""The test domain as the ActiveDirectory that a scan server makes of it."""

from __future__ import annotations

from pathlib import Path

from postscan.core.secret import Secret
from postscan.directory.ldap.binding import SimplePassword
from postscan.directory.ldap.settings import LdapSettings
from testdomain.facts import CONTROLLER, DNS_DOMAIN, SERVICE, Person


def ldap_settings(ca: Path, person: Person = SERVICE) -> LdapSettings:
    """Return how to ask the test domain over LDAPS as ``person``."""
    return LdapSettings(
        domain=DNS_DOMAIN,
        controllers=(CONTROLLER,),
        ca=ca,
        credentials=SimplePassword(person.principal, Secret(person.password)),
    )
