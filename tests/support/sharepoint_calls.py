"""Reads the calls of SharePoint's REST service out of URLs, as strictly as the service does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

_TOKEN = re.compile(r"'((?:[^']|'')*)'|guid'([0-9a-fA-F-]{36})'|(\d+)|(true|false)|@(\w+)")
_NAME = re.compile(r"[A-Za-z][\w.]*")
# ASP.NET's requestPathInvalidCharacters; of the decoded path, wherever they stand.
_DANGEROUS = frozenset('<>*%&:\\?"')


class BadCall(Exception):
    """The URL is none that the service takes; the text says why."""


@dataclass(frozen=True)
class Call:
    """One segment: ``GetFolderByServerRelativePath(decodedurl=@f)``. Parameters are named in lower case."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def value(self, *names: str) -> str:
        """Return the parameter of the first of these names that is there; "" is the first without a name."""
        for name in names:
            if name in self.parameters:
                return self.parameters[name]
        raise BadCall(f"{self.name} lacks {names[0]}")


def read_calls(raw_path: str, raw_query: str) -> tuple[list[Call], dict[str, str]]:
    """Return the calls of a path (what follows ``/_api/``), and the query; raises BadCall."""
    path = unquote(raw_path)
    if _DANGEROUS & set(path):
        raise BadCall("A potentially dangerous Request.Path value was detected from the client")
    query = dict(parse_qsl(raw_query, keep_blank_values=True))
    calls = []
    position = 0
    while position < len(path):
        name = _NAME.match(path, position)
        if name is None:
            if path[position:] == "$value":
                calls.append(Call("$value"))
                break
            raise BadCall(f"no call at {path[position:]!r}")
        position = name.end()
        parameters: dict[str, str] = {}
        if path[position : position + 1] == "(":
            parameters, position = _parameters(path, position + 1, query)
        calls.append(Call(name[0].lower(), parameters))
        if position < len(path):
            if path[position] != "/":
                raise BadCall(f"no slash at {path[position:]!r}")
            position += 1
    return calls, query


def _parameters(path: str, position: int, query: Mapping[str, str]) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    while path[position : position + 1] != ")":
        named = re.compile(r"(\w+)=").match(path, position)
        key = named[1].lower() if named else ""
        position = named.end() if named else position
        token = _TOKEN.match(path, position)
        if token is None:
            raise BadCall(f"no value at {path[position:]!r}")
        found[key] = _value(token, query)
        position = token.end()
        if path[position : position + 1] == ",":
            position += 1
    return found, position + 1


def _value(token: re.Match[str], query: Mapping[str, str]) -> str:
    text, guid, number, truth, alias = token.groups()
    if alias is None:
        return text.replace("''", "'") if text is not None else guid or number or truth
    literal = _TOKEN.fullmatch(query.get(f"@{alias}", ""))
    if literal is None or literal[5] is not None:
        raise BadCall(f"the parameter alias @{alias} has no value")
    return _value(literal, {})
