"""What a check of the installation found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is: with a problem the server does not work as set, a warning can wait."""

    PROBLEM = "problem"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: the dotted key it belongs to, what is wrong, and what to do."""

    key: str
    severity: Severity
    message: str
    advice: str


def problem(key: str, message: str, advice: str) -> Finding:
    """Return that something is wrong."""
    return Finding(key, Severity.PROBLEM, message, advice)


def warning(key: str, message: str, advice: str) -> Finding:
    """Return that something can be better."""
    return Finding(key, Severity.WARNING, message, advice)
