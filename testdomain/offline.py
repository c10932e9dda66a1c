"""Changes to a domain's database while its controller is stopped: quick, and with no rights asked for."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from testdomain.errors import TestDomainError

# Samba's modules belong to the Python of the distribution.
_PYTHON = "/usr/bin/python3"
_SECONDS = 3600
Operation = dict[str, Any]


def add(
    dn: str, values: Mapping[str, str | bytes | Sequence[str | bytes]], descriptor: str | None = None
) -> Operation:
    """Return the operation that adds an object; in ``descriptor`` (SDDL) ``{name}`` is an account's SID."""
    operation = {"op": "add", "dn": dn, "values": _values(values)}
    return operation if descriptor is None else operation | {"descriptor": descriptor}


def modify(dn: str, values: Mapping[str, str | bytes | Sequence[str | bytes]]) -> Operation:
    """Return the operation that adds values to an object's attributes."""
    return {"op": "modify", "dn": dn, "values": _values(values)}


def replace(dn: str, values: Mapping[str, str | bytes | Sequence[str | bytes]]) -> Operation:
    """Return the operation that sets an object's attributes."""
    return {"op": "replace", "dn": dn, "values": _values(values)}


def delegate(dn: str, aces: str) -> Operation:
    """Return the operation that puts access control entries (SDDL) in front of an object's own."""
    return {"op": "delegate", "dn": dn, "aces": aces}


def address(name: str, ip: str) -> Operation:
    """Return the operation that gives a name of the domain an address."""
    return {"op": "address", "name": name, "address": ip}


def keytab(principal: str, file: Path) -> Operation:
    """Return the operation that writes an account's keys into a keytab."""
    return {"op": "keytab", "principal": principal, "file": str(file)}


def apply(folder: Path, operations: Iterable[Operation]) -> None:
    """Do all of the operations, or none, to the stopped domain in ``folder``; keytabs come last.

    :raises TestDomainError: one of them was refused; the message has Samba's words.
    """
    # Nothing here has to survive a power cut.
    environment = os.environ | {"TDB_NO_FSYNC": "1", "PYTHONWARNINGS": "ignore"}
    command = [_PYTHON, str(Path(__file__).with_name("samba_side.py")), str(folder)]
    said = subprocess.run(
        command,
        input="".join(json.dumps(operation) + "\n" for operation in operations),
        capture_output=True,
        text=True,
        env=environment,
        timeout=_SECONDS,
        check=False,
    )
    if said.returncode != 0:
        raise TestDomainError(f"Samba refused a change to its database: {said.stderr.strip()[-2_000:]}")


def _values(values: Mapping[str, str | bytes | Sequence[str | bytes]]) -> dict[str, list[Any]]:
    return {
        name: [_value(v) for v in ([given] if isinstance(given, str | bytes) else given)]
        for name, given in values.items()
    }


def _value(value: str | bytes) -> Any:
    return value if isinstance(value, str) else {"base64": base64.b64encode(value).decode()}
