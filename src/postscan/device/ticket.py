"""What holds for the pages of a scan: the ticket of the scan process against the wishes of the user.

Files are sent as they are, unless someone asks for something else: the user with an option, or the scan
process by marking a setting of its ticket MustHonor (ws-scan.md, ScanTicket). A marked setting is made
exactly, or the scan is refused; it is not open to the user. Unmarked settings are what a scanner would take
by default; for files they hold only when the user asks for the ticket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.wscn import DocumentParameters, Keyword, MediaSides, Resolution, ScanTicket
from postscan.core.errors import PostscanError
from postscan.device.imaging.request import PRODUCIBLE, ColorMode

_T = TypeVar("_T")
_PARAMETERS: Final = "wscn:DocumentParameters"
_SIDES: Final = f"{_PARAMETERS}/wscn:MediaSides"
# Marks that can be honoured: by converting, or because a file has neither feeder nor film.
_HONOURED: Final = frozenset(
    {
        f"{_PARAMETERS}/wscn:Format",
        f"{_PARAMETERS}/wscn:CompressionQualityFactor",
        f"{_PARAMETERS}/wscn:InputSource",
        f"{_PARAMETERS}/wscn:ContentType",
        _SIDES,
        f"{_SIDES}/wscn:MediaFront/wscn:ColorProcessing",
        f"{_SIDES}/wscn:MediaFront/wscn:Resolution",
        f"{_SIDES}/wscn:MediaBack/wscn:ColorProcessing",
        f"{_SIDES}/wscn:MediaBack/wscn:Resolution",
    }
)


class TicketRefused(PostscanError):
    """The scan ticket insists on what cannot be done here, or on other than what the user asks."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class PageWishes:
    """What pages are to be made into; None keeps what a page has.

    ``quality`` is CompressionQualityFactor, 0 to 100; ``resolution`` in dots per inch; ``color`` a value of
    :class:`postscan.device.imaging.request.ColorMode`.
    """

    format: DocumentFormat | None = None
    quality: int | None = None
    resolution: int | None = None
    color: str | None = None


def settle(ticket: ScanTicket, wishes: PageWishes, *, take_defaults: bool = False) -> PageWishes:
    """Return what holds for the pages.

    :param wishes: what the user asks.
    :param take_defaults: take the ticket's unmarked settings, too, where the user asks nothing.
    :raises TicketRefused: the ticket insists on something that cannot be made here, or that the user asks
        to be otherwise.
    """
    beyond = [mark for mark in ticket.must_honor if mark not in _HONOURED]
    if beyond:
        names = ", ".join(mark.rpartition("/")[2] for mark in beyond)
        raise TicketRefused(
            f"the scan process insists on {names} (MustHonor), which cannot be done with files",
            advice="Use another scan process, or have the administrator take the mark out of its ticket.",
        )
    parameters = ticket.parameters or DocumentParameters()
    sides = _one_side(parameters.media_sides)
    all_insisted = parameters.media_sides is not None and parameters.media_sides.must_honor
    insisted, default = _Asked(parameters, sides, all_insisted).split()
    settled = PageWishes(
        _pick("format", insisted.format, wishes.format, default.format, take_defaults),
        _pick("quality", insisted.quality, wishes.quality, default.quality, take_defaults),
        _pick("resolution", insisted.resolution, wishes.resolution, default.resolution, take_defaults),
        _pick("color", insisted.color, wishes.color, default.color, take_defaults),
    )
    if insisted.format is not None and insisted.format not in PRODUCIBLE:
        raise _cannot_make("format", insisted.format)
    return settled


def _pick(option: str, insisted: _T | None, wish: _T | None, default: _T | None, take: bool) -> _T | None:
    if insisted is None:
        return default if wish is None and take else wish
    if wish is not None and wish != insisted:
        raise TicketRefused(
            f"the scan process insists on the {option} {insisted} (MustHonor), not {wish}",
            advice=f"Leave --{option} out, or use another scan process.",
        )
    return insisted


@dataclass(frozen=True, slots=True)
class _Side:
    color: Keyword | None
    resolution: Resolution | None


def _one_side(sides: MediaSides | None) -> _Side:
    """Return what holds for both sides; files do not tell fronts from backs."""
    if sides is None:
        return _Side(None, None)
    front, back = sides.front, sides.back
    if sides.must_honor and (front.region is not None or (back is not None and back.region is not None)):
        raise _cannot_make("region", "of MediaSides")
    if back is not None:
        _require_same(back.color, front.color, sides.must_honor)
        _require_same(back.resolution, front.resolution, sides.must_honor)
    return _Side(front.color, front.resolution)


def _require_same(back: Keyword | Resolution | None, front: Keyword | Resolution | None, all_: bool) -> None:
    if back is not None and (all_ or back.must_honor) and _plain(back) != _plain(front):
        raise TicketRefused(
            "the scan process insists on backs unlike the fronts (MustHonor), and files have no sides",
            advice="Use another scan process.",
        )


def _plain(setting: Keyword | Resolution | None) -> object:
    return setting.pair if isinstance(setting, Resolution) else setting and setting.value


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the ticket asks, marked or not."""

    parameters: DocumentParameters
    side: _Side
    sides_insisted: bool

    def split(self) -> tuple[PageWishes, PageWishes]:
        """Return what the ticket insists on, and what else it asks; values unknown here count only marked."""
        parts: dict[bool, dict[str, object]] = {True: {}, False: {}}
        found = self.parameters.format
        if found is not None:
            known = {str(one): one for one in DocumentFormat}.get(found.value)
            if known is None and found.must_honor:
                raise _cannot_make("format", found.value)
            parts[found.must_honor]["format"] = known
        if self.parameters.quality is not None:
            parts[self.parameters.quality.must_honor]["quality"] = self.parameters.quality.value
        color = self.side.color
        if color is not None:
            marked = color.must_honor or self.sides_insisted
            if color.value in set(ColorMode):
                parts[marked]["color"] = color.value
            elif marked:
                raise _cannot_make("color mode", color.value)
        resolution = self.side.resolution
        if resolution is not None:
            marked = resolution.must_honor or self.sides_insisted
            across, along = resolution.pair
            if across == along:
                parts[marked]["resolution"] = across
            elif marked:
                raise _cannot_make("resolution", f"{across} by {along}")
        return PageWishes(**parts[True]), PageWishes(**parts[False])  # type: ignore[arg-type]  # built by name


def _cannot_make(what: str, value: str) -> TicketRefused:
    return TicketRefused(
        f"the scan process insists on the {what} {value} (MustHonor), which cannot be made here",
        advice="Use another scan process, or have the administrator take the mark out of its ticket.",
    )
