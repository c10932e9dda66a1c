"""The addresses of document libraries, as scan processes name them."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from postscan.core.errors import PostscanError

MAX_ADDRESS: Final = 2048
"""SaveToSharePointSiteURL is String2048ExtType (spf.xsd)."""
_MANAGED_PATHS: Final = frozenset({"sites", "teams", "personal"})
_PORTS: Final = {"https": 443, "http": 80}
_HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SHARING_LINK = re.compile(r":[a-z]:")
# What a library's page appends to the library's own address.
_FORMS: Final = "forms"
_SAFE_IN_SEGMENT: Final = "!$&'()*+,;=@-._~"


class AddressError(PostscanError):
    """What should be the address of a document library is none that can be used."""

    advice = 'Write the address of the library, like "https://sp.example.com/sites/team/Shared Documents".'


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what credentials belong to. ``host`` is in lower case, without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True, slots=True)
class LibraryAddress:
    """A document library, or a folder in it.

    ``path`` is its segments, decoded, from the root of the server. ``site`` is how many of them belong to the
    site as far as the address alone tells (``sites/team``; none for the root site): a site below it would
    look like a library, and only its server can tell.
    """

    origin: Origin
    path: tuple[str, ...]
    site: int

    @property
    def site_path(self) -> tuple[str, ...]:
        """The segments of the site."""
        return self.path[: self.site]

    @property
    def library_path(self) -> tuple[str, ...]:
        """The segments below the site: the library, and folders in it; empty when a site is named."""
        return self.path[self.site :]

    @property
    def server_relative(self) -> str:
        """The path as SharePoint's APIs want it decoded: ``/sites/team/Shared Documents``."""
        return "/" + "/".join(self.path)

    def below(self, *segments: str) -> LibraryAddress:
        """Return the address of what lies below this one."""
        return LibraryAddress(self.origin, self.path + segments, self.site)

    def __str__(self) -> str:
        return str(self.origin) + encoded(*self.path)


def encoded(*segments: str) -> str:
    """Return segments as the path of a URL, each character that needs it percent-encoded once."""
    return "/" + "/".join(quote(segment, safe=_SAFE_IN_SEGMENT) for segment in segments)


def parse_origin(text: str) -> Origin:
    """Return the origin that ``text`` is, like ``https://sp.example.com``; raises AddressError."""
    origin, path, query = _split(text)
    if path.strip("/") or query:
        raise AddressError(f"{text} has a path, and a site of the settings has none")
    return origin


def address_of(key: str) -> LibraryAddress:
    """Return the address that ``str(address)`` was made of, as destinations keep it; raises AddressError."""
    origin, path, query = _split(key)
    segments = tuple(_decoded(key, segment) for segment in path.split("/") if segment)
    if query or not segments:
        raise AddressError(f"{key} is no address of a library")
    return LibraryAddress(origin, segments, _site_of(segments))


def parse_library_address(text: str, *, default_library: str = "") -> LibraryAddress:
    """Return the library that an address of a scan process names.

    It may be copied from a browser that shows the library (``…/Forms/AllItems.aspx``). Where it names a site
    and no library, ``default_library`` is taken (one segment, or several with slashes). Percent-encoding is
    undone once.

    :raises AddressError: it is no address, or of something other than a library.
    """
    if len(text) > MAX_ADDRESS:
        raise AddressError(f"an address of {len(text)} characters is longer than {MAX_ADDRESS}")
    origin, path, query = _split(text)
    segments = [_decoded(text, segment) for segment in path.split("/") if segment]
    if segments and _SHARING_LINK.fullmatch(segments[0]):
        raise AddressError(f"{text} is a sharing link, not the address of a library")
    if segments and segments[-1].lower().endswith(".aspx"):
        segments = _without_page(text, segments, query)
    elif query:
        raise AddressError(f"{text} has a query, and the address of a library has none")
    site = _site_of(segments)
    if len(segments) == site:
        segments += [segment for segment in default_library.split("/") if segment]
        if len(segments) == site:
            raise AddressError(f"{text} names a site, and no library of it")
    return LibraryAddress(origin, tuple(segments), site)


def _site_of(segments: Sequence[str]) -> int:
    """Return how many of a path's segments are those of its site."""
    return 2 if len(segments) >= 2 and segments[0].lower() in _MANAGED_PATHS else 0


def _split(text: str) -> tuple[Origin, str, str]:
    """Return the origin, the path and the query, both as they stand there."""
    if any(unicodedata.category(char) in ("Cc", "Cs", "Cf") for char in text) or "\\" in text:
        raise AddressError(f"{text!r} has characters that no address has")
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise AddressError(f"{text} is no address: {error}") from error
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        raise AddressError(f"{text} is no address that begins with https:// and a host")
    if "@" in parts.netloc:
        # Not quoted: what stands before it may be a password.
        raise AddressError("an address must not hold a user name or a password")
    if parts.fragment or text.rstrip().endswith("#"):
        raise AddressError(f"{text} has a fragment (#), which is %23 where a name holds it")
    if port == 0 or (port is None and parts.netloc.endswith(":")):
        raise AddressError(f"{text} has no port after the colon")
    origin = Origin(scheme, _checked_host(text, parts.hostname), port or _PORTS[scheme])
    return origin, parts.path, parts.query


def _checked_host(text: str, host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        name = host.lower().removesuffix(".")
    if len(name) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in name.split(".")):
        raise AddressError(f"{text} has no host that is a DNS name (an international one begins with xn--)")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        # 127.1, 0x7f.1 and 2130706433 are addresses to some resolvers.
        raise AddressError(f"{text} has a host that is neither a name nor an address")
    return name


def _decoded(text: str, segment: str) -> str:
    if _BAD_ESCAPE.search(segment):
        raise AddressError(f"{text} has a per cent sign that encodes nothing (%25 is a per cent sign)")
    try:
        name = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise AddressError(f"{text} is not UTF-8 once it is decoded") from error
    hidden = any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in name)
    if hidden or "/" in name or "\\" in name or name in (".", ".."):
        raise AddressError(f"{text} has a segment that leads elsewhere: {segment}")
    return name


def _without_page(text: str, segments: list[str], query: str) -> list[str]:
    """Return the library of a page that shows it."""
    shown = {key.lower() for key, _ in parse_qsl(query, keep_blank_values=True)}
    if shown & {"id", "rootfolder"}:
        raise AddressError(f"{text} is what a browser shows of a folder; write the folder's path instead")
    if len(segments) < 2 or segments[-2].lower() != _FORMS:
        raise AddressError(f"{text} is a page, not a library")
    return segments[:-2]
