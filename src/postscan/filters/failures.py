"""From what the operating system says of a folder to the published FilterStateReason."""

from __future__ import annotations

import errno
import os
from typing import Final

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError

ACCESS_DENIED: Final = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOKEY,
        errno.EKEYEXPIRED,
        errno.EKEYREVOKED,
        errno.EKEYREJECTED,
    }
)
OUT_OF_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG})
_AWAY: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENODEV,
        errno.ENXIO,
        errno.ENOMEDIUM,
        errno.ESTALE,
        errno.EIO,
        errno.EREMOTEIO,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
    }
)


def folder_failure(error: OSError, label: str) -> DeliveryError:
    """Return the failure of a delivery to the share ``label`` that ``error`` means.

    What time or an administrator's quick hand usually heals is transient; errors not known here are, too, as
    trying again for a while costs less than a lost scan.
    """
    code = error.errno
    what = (os.strerror(code) if code is not None else "") or type(error).__name__
    if code in ACCESS_DENIED:
        return DeliveryError(
            f"{label} refuses to be written to: {what}",
            reason=FilterStateReason.FILE_SHARE_ACCESS_DENIED,
            transient=False,
            advice="Let the account the server runs as create folders and files there (and check that the"
            " file system is not mounted read-only), then retry the job.",
        )
    if code in OUT_OF_SPACE:
        return DeliveryError(
            f"{label} has no room: {what}",
            reason=FilterStateReason.FILE_SHARE_OUT_OF_DISK_SPACE,
            transient=True,
            advice="Make room on the share or raise the quota; the delivery is tried again by itself.",
        )
    if code in _NO_FOLDER:
        return DeliveryError(
            f"{label} holds something other than a folder where one is needed: {what}",
            reason=FilterStateReason.UNKNOWN_ERROR,
            transient=False,
            advice="Move what has the name of the target or of the user's folder out of the way, then retry.",
        )
    if code == errno.ENOMEM:
        return DeliveryError(
            f"too little memory to write to {label}",
            reason=FilterStateReason.SERVER_OUT_OF_MEMORY,
            transient=True,
            advice="Give the server more memory; the delivery is tried again by itself.",
        )
    if code in _AWAY:
        return share_away(label, what)
    return DeliveryError(
        f"{label} cannot be written to: {what}",
        reason=FilterStateReason.UNKNOWN_ERROR,
        transient=True,
        advice="See what the server's system log says of this file system; the delivery is tried again.",
    )


def share_away(label: str, why: str) -> DeliveryError:
    """Return the failure of a share that is not there now."""
    return DeliveryError(
        f"{label} is away: {why}",
        reason=FilterStateReason.UNKNOWN_ERROR,
        transient=True,
        advice="Mount the share, or make the target folder: only the users' folders are made by the server."
        " The delivery is tried again by itself.",
    )


def spool_failure(message: str) -> DeliveryError:
    """Return the failure of a delivery whose image in the spool is missing or not what was accepted."""
    return DeliveryError(
        message,
        reason=FilterStateReason.UNKNOWN_ERROR,
        transient=False,
        advice="Check the disk that holds the server's data folder; the image has to be scanned again.",
    )
