"""What SharePoint's REST service and Microsoft Graph answer: JSON objects, and errors read into words.

Errors come in three spellings: OData verbose (``{"error": {"code", "message": {"value"}}}``), OData light
(``{"odata.error": …}``) and Graph's (``{"error": {"code", "message"}}``). SharePoint's
code is a number and the class of the exception; the class says most reliably what went wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from postscan.filters.sharepoint.http import Answer
from postscan.filters.sharepoint.library import LibraryError, Trouble
from postscan.filters.sharepoint.troubles import status_error

USER_AGENT: Final = "NONISV|Postscan|Postscan/1"
"""Microsoft throttles traffic that does not say what it is first ("Avoid getting throttled or blocked")."""
_MOST_TEXT: Final = 200
# What looks like a token (three parts of base64url, the first a JSON object) is not repeated.
_TOKEN_LIKE: Final = re.compile(r"eyJ[\w-]+(\.[\w-]*)*")
_EXCEPTION: Final = re.compile(r"[A-Za-z]+Exception")

# "A file with this name exists already": SPException, ERROR_ALREADY_EXISTS, ERROR_FILE_EXISTS, and Graph's.
_TAKEN: Final = ("-2130575257", "-2147024713", "-2147024816", "nameAlreadyExists")
_UNKNOWN_CALL: Final = frozenset({"ResourceNotFoundException", "InvalidClientQueryException"})
_TAKEN_TEXT: Final = re.compile(r"already exists", re.I)

_BY_EXCEPTION: Final[Mapping[str, Trouble]] = {
    "SPFileLockException": Trouble.LOCKED,
    "SPFileCheckOutException": Trouble.LOCKED,
    "UnauthorizedAccessException": Trouble.DENIED,
    "SPQuotaExceededException": Trouble.FULL,
    "SPQueryThrottledException": Trouble.REFUSED,
    "SPInvalidFileNameException": Trouble.REFUSED_NAME,
    "SPPathTooLongException": Trouble.REFUSED_NAME,
    "PathTooLongException": Trouble.REFUSED_NAME,
    "ServerUnauthorizedAccessException": Trouble.DENIED,
}
_BY_CODE: Final[Mapping[str, Trouble]] = {
    # Graph ("Microsoft Graph error responses and resource types", and those of OneDrive).
    "quotaLimitReached": Trouble.FULL,
    "insufficientStorage": Trouble.FULL,
    "accessDenied": Trouble.DENIED,
    "activityLimitReached": Trouble.THROTTLED,
    "resourceLocked": Trouble.LOCKED,
    "notAllowed": Trouble.REFUSED,
    "malwareDetected": Trouble.REFUSED,
    "itemNotFound": Trouble.NO_LIBRARY,
    "fileTooLarge": Trouble.TOO_LARGE,
    "maxFileSizeExceeded": Trouble.TOO_LARGE,
}
# The server is asked for English, and some errors have no code of their own.
_BY_TEXT: Final[Sequence[tuple[re.Pattern[str], Trouble]]] = (
    (
        re.compile(r"storage quota|out of storage|maximum file storage|quota (limit|exceeded)", re.I),
        Trouble.FULL,
    ),
    (re.compile(r"checked out|is locked", re.I), Trouble.LOCKED),
    (
        re.compile(r"blocked by the administrator|file type .*(blocked|not allowed)", re.I),
        Trouble.REFUSED_NAME,
    ),
    (re.compile(r"too long|invalid characters|not a valid (file|name)", re.I), Trouble.REFUSED_NAME),
    (re.compile(r"message is too big|larger than \d+ bytes|maximum upload size", re.I), Trouble.TOO_LARGE),
)
_IN_WORDS: Final[Mapping[Trouble, str]] = {
    Trouble.LOCKED: "it is locked, checked out or being changed by somebody",
    Trouble.DENIED: "the account may not do that",
    Trouble.FULL: "no room is left, or a quota is reached",
    Trouble.REFUSED_NAME: "the name, or the type of file, is not allowed",
    Trouble.TOO_LARGE: "the document is larger than the server takes",
    Trouble.NO_LIBRARY: "there is no such site, library or folder",
    Trouble.THROTTLED: "it was asked too often",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as the server told it: ``code`` whole, ``exception`` the class in it, ``text`` for people.

    Each is empty where nothing was said. ``text`` is one printable line of at most 200 characters.
    """

    code: str = ""
    exception: str = ""
    text: str = ""


class Refused(LibraryError):
    """An answer that is no success; ``status`` and ``said`` are what the server told."""

    def __init__(
        self, message: str, trouble: Trouble, answer: Answer, fault: Fault, advice: str | None = None
    ) -> None:
        super().__init__(message, trouble, retry_after=answer.retry_after, advice=advice)
        self.status = answer.status
        self.said = fault

    @property
    def says_taken(self) -> bool:
        """Whether the server says that something of this name is there already."""
        return self.said.code.startswith(_TAKEN) or bool(_TAKEN_TEXT.search(self.said.text))


def json_object(answer: Answer, doing: str) -> Mapping[str, object]:
    """Return the JSON object that is an answer's body; raises LibraryError when it is none."""
    found = _parsed(answer.body)
    if found is None:
        raise LibraryError(f"{doing}: the answer is no JSON object", Trouble.UNREADABLE)
    return found


def fault_of(answer: Answer) -> Fault:
    """Return what an answer says of an error; an empty Fault when it says nothing that can be read."""
    body = _parsed(answer.body) or {}
    error = body.get("error", body.get("odata.error"))
    if not isinstance(error, Mapping):
        return Fault()
    message = error.get("message")
    text = message.get("value") if isinstance(message, Mapping) else message
    code = _line(error.get("code"))
    found = _EXCEPTION.search(code)
    return Fault(code, found[0] if found else "", _line(text))


def failure(answer: Answer, doing: str, *, if_denied: str | None = None) -> Refused:
    """Return what an answer that is no success means; ``doing`` is what was asked, like "making a folder".

    :param if_denied: what to do about a right that is missing, where the usual advice does not fit.
    """
    fault = fault_of(answer)
    trouble = _trouble_of(answer, fault)
    if trouble is None:
        plain = status_error(answer, doing, fault.text)
        advice = if_denied if plain.trouble is Trouble.DENIED else None
        return Refused(str(plain), plain.trouble, answer, fault, advice)
    words = _IN_WORDS.get(trouble, "it was refused")
    advice = if_denied if trouble is Trouble.DENIED else None
    if fault.exception == "SPQueryThrottledException":
        words = "the library holds more than its list view threshold lets anybody look through"
        advice = "Have old files moved out of the library, or its columns indexed, then retry the job."
    said = f", {fault.text}" if fault.text else ""
    return Refused(f"{doing}: {words} (HTTP {answer.status}{said})", trouble, answer, fault, advice)


def is_unknown_call(answer: Answer) -> bool:
    """Tell whether SharePoint says that it has no such call, as versions before the call had come do.

    The same exceptions are told for a request that is too large, in words alone.
    """
    fault = fault_of(answer)
    return (
        answer.status in (400, 404, 405)
        and fault.exception in _UNKNOWN_CALL
        and _trouble_of(answer, fault) is None
    )


def _trouble_of(answer: Answer, fault: Fault) -> Trouble | None:
    """Return what the error's own words tell, None when the status has to do."""
    if answer.status in (401, 404, 423, 429, 503, 507, 509):
        return None  # These say themselves what they mean.
    if fault.exception in _BY_EXCEPTION:
        return _BY_EXCEPTION[fault.exception]
    if fault.code in _BY_CODE:
        return _BY_CODE[fault.code]
    found = next((trouble for pattern, trouble in _BY_TEXT if pattern.search(fault.text)), None)
    # A conflict of other kinds (Graph's resourceModified, SharePoint's save conflict) passes.
    return Trouble.LOCKED if found is None and answer.status == 409 else found


def check_size(name: str, stored: int, sent: int) -> None:
    """Check that a server that took a document has all of it.

    It may have more: some libraries write properties, or rights, into files. An error is no reason to try
    again, as every try would leave another file.
    """
    if stored < sent:
        raise LibraryError(
            f"storing {name}: the server says that it took {stored} octets of {sent}", Trouble.REFUSED
        )


def text_of(source: Mapping[str, object], name: str) -> str | None:
    """Return a string of an object, None when there is none of that name."""
    value = source.get(name)
    return value if isinstance(value, str) else None


def size_of(source: Mapping[str, object], name: str) -> int | None:
    """Return a size in octets, which OData writes as a string and Graph as a number; None when it is none."""
    value = source.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def objects_of(value: object) -> Sequence[Mapping[str, object]]:
    """Return the objects of a list, leaving out whatever is none."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _parsed(body: bytes) -> Mapping[str, object] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _line(value: object) -> str:
    if not isinstance(value, str):
        return ""
    shown = "".join(char if char.isprintable() else " " for char in value)
    shown = _TOKEN_LIKE.sub("…", " ".join(shown.split()))
    return shown if len(shown) <= _MOST_TEXT else shown[: _MOST_TEXT - 1] + "…"
