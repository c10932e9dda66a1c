"""The settings of revocation: whether client certificates were taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from postscan.cli.settings_base import Section, setting


class RevocationSettings(Section):
    """Whether client certificates were revoked: whom to ask, and what becomes of those nobody knows about."""

    policy: Literal["off", "soft", "hard"] = setting(
        "soft",
        "soft: revoked certificates are refused; those nobody could be asked about are taken, with a warning"
        " in the log. hard: those are refused, too. off: nobody is asked.",
    )
    crl_files: list[Path] = setting(
        [], "Revocation lists (DER or PEM) that lie here; looked at first, and read again when they change."
    )
    fetch: bool = setting(
        True,
        "Ask over the network: the lists and OCSP responders that the certificates themselves name, by http"
        " and, in an Active Directory, by ldap.",
    )
    ocsp: Literal["prefer", "fallback", "off"] = setting(
        "prefer",
        "When OCSP responders are asked. prefer: before lists are fetched. fallback: if lists did not help.",
    )
    timeout_seconds: int = setting(
        5, "How long a caller waits for all the answers together.", unit="seconds", least=1
    )
    cache_hours: int = setting(
        1,
        "How long what was fetched is used without asking again; never longer than it says itself.",
        unit="hours",
        least=1,
    )
    fetch_from_loopback: bool = setting(
        False, "Let lists and responders be fetched from this very machine: for a laboratory."
    )
