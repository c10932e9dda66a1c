"""What the server says of itself in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from postscan import __version__
from postscan.contracts.metadata import ThisDevice, ThisModel
from postscan.dpws.host import DeviceDescription


@dataclass(frozen=True, slots=True)
class Appearance:
    """What the server says of itself in its metadata; empty strings are left out.

    ``friendly_names`` are names for further languages, by language tag; one for ``en`` takes the place of
    ``friendly_name``.
    """

    friendly_name: str = "Postscan scan server"
    friendly_names: Mapping[str, str] = field(default_factory=dict)
    manufacturer: str = "Postscan"
    manufacturer_url: str = ""
    model_name: str = "Postscan"
    model_number: str = ""
    model_url: str = ""
    presentation_url: str = ""


def description_of(
    looks: Appearance, address: str, serial_number: str, scopes: tuple[str, ...], metadata_version: int
) -> DeviceDescription:
    """Return the server as a WSD device at ``address``."""
    return DeviceDescription(
        address=address,
        device=ThisDevice(
            friendly_names={"en": looks.friendly_name} | dict(looks.friendly_names),
            firmware_version=__version__,
            serial_number=serial_number,
        ),
        model=ThisModel(
            manufacturers={"en": looks.manufacturer},
            manufacturer_url=looks.manufacturer_url or None,
            model_names={"en": looks.model_name},
            model_number=looks.model_number or None,
            model_url=looks.model_url or None,
            presentation_url=looks.presentation_url or None,
            categories=("Computers",),
        ),
        service_id="uri:postscan:scan-server",
        metadata_version=metadata_version,
        scopes=scopes,
    )


def said_of(looks: Appearance, address: str, scopes: tuple[str, ...], extra_types: tuple[str, ...]) -> str:
    """Return a text that is another when the metadata are."""
    return f"{address}|{looks}|{extra_types}|{__version__}" + "".join(f"|{scope}" for scope in scopes)
