"""Security identifiers that are the same everywhere, and their usual names ([MS-DTYP] 2.4.2.4).

Those that a group of a domain may be called as well have the authority before their name, as Windows shows
them: who gives rights to a group Network must not give them to everybody where there is no such group.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "S-1-1-0": "Everyone",
        "S-1-3-0": "CREATOR OWNER",
        "S-1-5-2": r"NT AUTHORITY\NETWORK",
        "S-1-5-4": r"NT AUTHORITY\INTERACTIVE",
        "S-1-5-7": r"NT AUTHORITY\ANONYMOUS LOGON",
        "S-1-5-9": r"NT AUTHORITY\ENTERPRISE DOMAIN CONTROLLERS",
        "S-1-5-10": r"NT AUTHORITY\SELF",
        "S-1-5-11": "Authenticated Users",
        "S-1-5-15": r"NT AUTHORITY\This Organization",
        "S-1-5-18": r"NT AUTHORITY\SYSTEM",
        "S-1-5-19": r"NT AUTHORITY\LOCAL SERVICE",
        "S-1-5-20": r"NT AUTHORITY\NETWORK SERVICE",
        "S-1-5-32-544": "Administrators",
        "S-1-5-32-545": "Users",
        "S-1-5-32-546": "Guests",
        "S-1-5-32-548": "Account Operators",
        "S-1-5-32-549": "Server Operators",
        "S-1-5-32-550": "Print Operators",
        "S-1-5-32-551": "Backup Operators",
        "S-1-5-32-554": "Pre-Windows 2000 Compatible Access",
        "S-1-5-32-560": "Windows Authorization Access Group",
    }
)
SIDS: Final[Mapping[str, str]] = MappingProxyType({name.casefold(): sid for sid, name in NAMES.items()})
