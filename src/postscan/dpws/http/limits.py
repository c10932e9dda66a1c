"""What one HTTP host allows, with the defaults of the abuse cases."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of an HTTP host. Times in seconds, sizes in octets.

    A head must be complete within ``head_seconds`` of its first octet, a body may pause for
    ``idle_seconds`` and must bring ``min_bytes_per_window`` within every ``rate_window_seconds``
    (abuse case 10). ``drain_bytes`` is how much of a refused body is still read, because WSDAPI reads no
    answer before it has sent its whole request (trap 17); ``linger_seconds`` is how long the peer must be
    silent before a connection is closed whose request has no findable end.
    """

    max_body_bytes: int = 512 * 1024 * 1024
    max_connections: int = 4_096
    head_seconds: float = 10.0
    idle_seconds: float = 30.0
    keep_alive_seconds: float = 120.0
    rate_window_seconds: float = 60.0
    min_bytes_per_window: int = 60 * 1024
    handshake_seconds: float = 10.0
    drain_bytes: int = 64 * 1024 * 1024
    linger_seconds: float = 1.0
    stop_seconds: float = 30.0
