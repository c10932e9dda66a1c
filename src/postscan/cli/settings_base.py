"""What all sections of the settings are made of: values with meaning, default and unit."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


def parse_host_name(text: str) -> str:
    """Return ``text`` when it is a DNS name or an IP address; raises ValueError otherwise."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        labels = text.rstrip(".").split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is no host name; write one like scan.example.com")
    return text.rstrip(".").lower()


HostName = Annotated[str, AfterValidator(parse_host_name)]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Values that are right each, and do not fit together: the dotted key, what is wrong, what to write."""

    key: str
    message: str
    advice: str


def setting(
    default: Any, description: str, *, unit: str = "", least: int | None = None, example: str = ""
) -> Any:
    """Declare one value: its default (``...`` when it has none), meaning, unit and least number.

    :param example: for a table of tables, a name that one of them may have.
    """
    more: dict[str, Any] = {name: text for name, text in (("unit", unit), ("example", example)) if text}
    return Field(default, description=description, ge=least, json_schema_extra=more or None)


class Section(BaseModel):
    """What all sections share: unknown keys are refused, values do not change while running."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def contradictions(self) -> Iterator[Contradiction]:
        """Tell which values of this section do not fit together; paths may still be relative.

        Keys are dotted (``tls.client_ca``); where the section is an entry of a table, the key alone.
        """
        yield from ()
