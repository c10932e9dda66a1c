"""From what became of a piece of work in a worker process to the published FilterStateReason."""

from __future__ import annotations

import signal

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError, WorkFailed
from postscan.filters.workers import NoRoom, WorkerDied


def processing_failure(error: WorkFailed, doing: str) -> DeliveryError:
    """Return the failure of a processing step.

    What the work itself refused, or a limit ended, stays so however often it is tried; a full disk and a
    process that the system killed to make room do not.

    :param doing: what failed, as the beginning of a sentence, such as ``the pages cannot be put together``.
    """
    reason, transient, advice = FilterStateReason.UNKNOWN_ERROR, False, error.what_to_do
    if isinstance(error, NoRoom):
        reason, transient = FilterStateReason.OUT_OF_DISK_SPACE, True
        advice = "Make room on the spool's disk; the work is tried again by itself."
    elif isinstance(error, WorkerDied) and error.signal == signal.SIGKILL:
        reason, transient = FilterStateReason.SERVER_OUT_OF_MEMORY, True
        advice = (
            "The system ends processes when memory runs out: give the machine more, or lower"
            " processing.workers. The work is tried again by itself."
        )
    elif error.limit == "memory_bytes":
        reason = FilterStateReason.SERVER_OUT_OF_MEMORY
    return DeliveryError(f"{doing}: {error}", reason=reason, transient=transient, advice=advice)
