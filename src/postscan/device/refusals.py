"""What the user of a device, or whoever looks after it, can do about a refusal of the scan server."""

from __future__ import annotations

from typing import Final

from postscan.dpws.failures import RemoteFault

_BY_ARGUMENT: Final = {
    "UserIdentifier": "The server's directory does not know this user, or the account is disabled: have the"
    " administrator look into users.toml.",
    "PSP_Identifier": "The server does not know this scan process, or does not grant it to this user:"
    " `postscan processes list` shows which it knows and for whom.",
    "Format": "The octets are not what the format says, or the server does not take the format: send the"
    " pages as another with --format.",
    "DocumentId": "Give every image of a job its own DocumentId.",
    "ImageData": "The image is empty, or larger than the server takes (max_image_bytes): scan with a lower"
    " --resolution, or in another --format.",
}
_BY_SUBCODE: Final = {
    "FailedAuthentication": "Show the certificate of the very user who scans: --cert and --key, or --pki"
    " with users/NAME.pem and .key. A server in unauthenticated mode wants the device on its list,"
    " [devices] allow.",
    "NoValidPostScanInstructionsFound": "The directory used here and the server's are not the same any"
    " more, or the scan process is another server's: read the scan process anew, and compare its"
    " ScanRepository with the server's fqdn.",
    "OutOfDiskSpace": "Tell the administrator: the server's disk is full, or nearly so (min_free_bytes).",
    "ServerErrorTemporaryError": "Try again a little later; the server's log tells what it lacked.",
    "ServerErrorInternalError": "Tell the administrator: the server's log tells what happened.",
    "ServerErrorPostScanJobCanceled": "Someone canceled the job at the server; scan again.",
    "ClientErrorJobTokenNotFound": "The server gave the job up, or forgot it; scan again.",
    "OperationFailed": "`postscan jobs show TOKEN` at the server tells how the job stands; if it ended,"
    " scan again.",
    "InvalidArgs": "Tell the administrator: the server's log tells which argument was wrong.",
}


def advice_on(fault: RemoteFault) -> str:
    """Return what to do about a fault of WS-DSP; empty when nothing is known that helps."""
    argument = (fault.detail or "").rpartition(":")[2]
    if fault.subcode == "InvalidArgs" and argument in _BY_ARGUMENT:
        return _BY_ARGUMENT[argument]
    return _BY_SUBCODE.get(fault.subcode, "")
