"""When datagrams are sent, and how often (dpws.md, 1.4): the only place that knows these numbers."""

from __future__ import annotations

from random import Random
from typing import Final

# WS-Discovery's own value, not the 5 s of DPWS: a person waits, and WSDAPI too answers within 2.5 s.
APP_MAX_DELAY: Final = 0.5
MULTICAST_COPIES: Final = 4
UNICAST_COPIES: Final = 2
UDP_MIN_DELAY: Final = 0.050
UDP_MAX_DELAY: Final = 0.250
UDP_UPPER_DELAY: Final = 0.500
# DPWS 2006/02, appendix I: MAX_ENVELOPE_SIZE. Nobody sends more, so nothing larger is looked at.
MAX_DATAGRAM: Final = 32_767


def first_delay(random: Random) -> float:
    """Return how many seconds to wait before a multicast message is answered, or before a Hello."""
    return random.uniform(0.0, APP_MAX_DELAY)


def copy_times(random: Random, copies: int) -> tuple[float, ...]:
    """Return when each copy of one datagram is sent, in seconds after the first.

    The first pause is random between 50 and 250 ms; each further one is twice as long, at most 500 ms.
    """
    times = [0.0]
    pause = random.uniform(UDP_MIN_DELAY, UDP_MAX_DELAY)
    for _ in range(copies - 1):
        times.append(times[-1] + pause)
        pause = min(2 * pause, UDP_UPPER_DELAY)
    return tuple(times)
