"""What the user of a device, or whoever looks after it, can do about a refusal of the scan server."""

from __future__ import annotations

from typing import Final

from postscan.dpws.failures import RemoteFault
from postscan.dpws.http.certificates import AuthenticationFlaw, CertificateFlaw

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


_NEW_CERTIFICATE: Final = (
    "Have the administrator issue a new certificate (`postscan certificates user NAME --renew`, or your"
    " company's authority)."
)
_OF_WRONG_MAKING: Final = "Have the administrator look at the template or request it was issued by: "
# By the fixed sentence in the fault's Detail.
_BY_FLAW: Final[dict[str, str]] = {
    AuthenticationFlaw.UNKNOWN_ACCOUNT: "The directory has no account for it: have the administrator compare"
    " the SID and the user principal name in the certificate with the account's.",
    AuthenticationFlaw.ACCOUNT_DISABLED: "Have the administrator enable the account in the directory.",
    AuthenticationFlaw.OTHER_ACCOUNT: "Show the certificate of the very user who scans, or scan as the one it"
    " belongs to.",
    AuthenticationFlaw.ISSUER_NOT_FOR_SIGN_ON: "Have the administrator publish the issuing authority in"
    " NTAuthCertificates of the directory, or name it in [tls] client_ca.",
    AuthenticationFlaw.DEVICE_NOT_LISTED: "Have the administrator put this device's address, or the SHA-256"
    " hash of its certificate, into [devices] allow.",
    AuthenticationFlaw.UNREADABLE: _NEW_CERTIFICATE,
    CertificateFlaw.EXPIRED: _NEW_CERTIFICATE,
    CertificateFlaw.NOT_YET_VALID: "Check the clocks of this machine, of the server and of the authority.",
    CertificateFlaw.SELF_SIGNED: "Show one that an authority of [tls] client_ca (or of the directory) issued."
    " A device's own may be listed by its hash instead.",
    CertificateFlaw.UNKNOWN_AUTHORITY: "Let [tls] client_ca at the server name the authority that issued it;"
    " and put the authorities between into the certificate's file, behind it.",
    CertificateFlaw.AUTHORITY_NOT_CURRENT: "Have the administrator renew the authority's certificate.",
    CertificateFlaw.WRONG_PURPOSE: _OF_WRONG_MAKING
    + "it must allow client authentication (1.3.6.1.5.5.7.3.2) and digital signatures.",
    CertificateFlaw.IS_AUTHORITY: "Show the certificate of the user, not that of the authority.",
    CertificateFlaw.NOT_ISSUED_BY_AUTHORITY: _NEW_CERTIFICATE,
    CertificateFlaw.CHAIN_TOO_LONG: _NEW_CERTIFICATE,
    CertificateFlaw.NAME_NOT_ALLOWED: _OF_WRONG_MAKING
    + "the authority is bound to other names (name constraints).",
    CertificateFlaw.UNKNOWN_EXTENSION: _OF_WRONG_MAKING + "the extension should not be critical.",
    CertificateFlaw.WEAK: _NEW_CERTIFICATE + " It takes RSA of 2048 bits or P-256, and SHA-256.",
    CertificateFlaw.BROKEN: _NEW_CERTIFICATE,
    CertificateFlaw.REVOKED: _NEW_CERTIFICATE,
    CertificateFlaw.REVOCATION_UNKNOWN: "Try again later; the server's log tells whom it could not ask.",
}


def advice_on(fault: RemoteFault) -> str:
    """Return what to do about a fault of WS-DSP; empty when nothing is known that helps."""
    argument = (fault.detail or "").rpartition(":")[2]
    if fault.subcode == "InvalidArgs" and argument in _BY_ARGUMENT:
        return _BY_ARGUMENT[argument]
    if fault.subcode == "FailedAuthentication" and fault.detail in _BY_FLAW:
        return _BY_FLAW[fault.detail]
    return _BY_SUBCODE.get(fault.subcode, "")
