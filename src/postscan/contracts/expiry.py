"""When a subscription ends: xs:duration or xs:dateTime (XML Schema Part 2, 3.2.6 and 3.2.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from postscan.contracts.wse_faults import InvalidExpirationTime
from postscan.core.clock import xs_datetime
from postscan.soap.xml import WHITE_SPACE

_DURATION = re.compile(
    r"(?P<sign>-?)P(?=[0-9T])(?:(?P<years>[0-9]+)Y)?(?:(?P<months>[0-9]+)M)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?"
    r"(?:(?P<seconds>[0-9]+)(?:\.(?P<fraction>[0-9]+))?S)?)?",
    re.ASCII,
)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
# MAX_FIELD_SIZE of DPWS; it also keeps int() away from digits without end.
_MAX_TEXT: Final = 256
_SECONDS: Final = {
    "years": 365 * 86_400,
    "months": 30 * 86_400,
    "days": 86_400,
    "hours": 3_600,
    "minutes": 60,
}
_MICROSECOND: Final = timedelta(microseconds=1)
_LONGEST: Final = timedelta.max // _MICROSECOND
_SHORTEST: Final = timedelta.min // _MICROSECOND


def parse_duration(text: str) -> timedelta:
    """Read an xs:duration.

    A year counts 365 days and a month 30: a subscription needs no calendar. Digits beyond microseconds are
    dropped, and what no timedelta can hold becomes the longest (or shortest) one.

    :raises InvalidExpirationTime: not a duration, or one of more than 256 characters.
    """
    text = text.strip(WHITE_SPACE)
    found = _DURATION.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if found is None:
        raise InvalidExpirationTime(f"{text[:_MAX_TEXT]!r} is not a duration", detail="wse:Expires")
    seconds = int(found["seconds"] or 0) + sum(
        int(found[unit] or 0) * length for unit, length in _SECONDS.items()
    )
    total = seconds * 1_000_000 + int((found["fraction"] or "")[:6].ljust(6, "0"))
    total = -total if found["sign"] else total
    return timedelta(microseconds=max(_SHORTEST, min(_LONGEST, total)))


def write_duration(duration: timedelta) -> str:
    """Write an xs:duration of days, hours, minutes and seconds: ``PT1H``, ``-P1DT0.5S``, ``PT0S``."""
    minutes, seconds = divmod(abs(duration).seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{abs(duration).microseconds:06d}".rstrip("0").rstrip(".")
    days = f"{abs(duration).days}D" if abs(duration).days else ""
    time = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    if seconds or fraction or not (days or time):
        time += f"{seconds}{fraction}S"
    return ("-" if duration < timedelta(0) else "") + "P" + days + (f"T{time}" if time else "")


@dataclass(frozen=True, slots=True)
class Expires:
    """A wish, or a promise, of when a subscription ends: after a ``duration``, or at a ``moment`` (aware)."""

    duration: timedelta | None = None
    moment: datetime | None = None

    def __post_init__(self) -> None:
        if (self.duration is None) == (self.moment is None):
            raise ValueError("either a duration or a moment")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read either form; a moment without zone is taken as UTC.

        :raises InvalidExpirationTime: it is neither, or a moment outside of the years 1 to 9999.
        """
        text = text.strip(WHITE_SPACE)
        if len(text) > _MAX_TEXT or _MOMENT.fullmatch(text) is None:
            return cls(duration=parse_duration(text))
        try:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise InvalidExpirationTime(f"{text!r} is no point in time", detail="wse:Expires") from error
        return cls(moment=moment)

    def seconds_from(self, now: datetime) -> float:
        """Return the seconds from ``now`` (aware) until the end; negative for what is over."""
        if self.duration is not None:
            return self.duration.total_seconds()
        assert self.moment is not None  # noqa: S101 - __post_init__ saw to it
        return (self.moment - now).total_seconds()

    def __str__(self) -> str:
        """Write it as it stands on the wire."""
        if self.duration is not None:
            return write_duration(self.duration)
        assert self.moment is not None  # noqa: S101 - __post_init__ saw to it
        return xs_datetime(self.moment)
