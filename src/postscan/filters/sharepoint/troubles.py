"""From what a library has against us to words, the published FilterStateReason, and whether time heals it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError
from postscan.filters.sharepoint.http import Answer
from postscan.filters.sharepoint.library import LibraryError, Trouble


@dataclass(frozen=True, slots=True)
class _Meaning:
    reason: FilterStateReason
    transient: bool
    advice: str


_GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_MOST_WORDS: Final = 200
_DENIED: Final = FilterStateReason.SHAREPOINT_ACCESS_DENIED
_UNKNOWN: Final = FilterStateReason.UNKNOWN_ERROR
_MEANINGS: Final[Mapping[Trouble, _Meaning]] = MappingProxyType(
    {
        Trouble.WRONG_CREDENTIALS: _Meaning(
            _DENIED,
            False,
            "Correct the account and its password (keytab, or certificate) in the settings of this site, then"
            " retry the job. It is not tried again by itself, as wrong passwords lock accounts.",
        ),
        Trouble.NOT_TRIED: _Meaning(
            _DENIED,
            True,
            "Correct the account and its password in the settings of this site, or what the account may read;"
            " the delivery is tried again by itself.",
        ),
        Trouble.NO_WAY_TO_LOG_ON: _Meaning(
            _DENIED,
            False,
            "Set `auth` of this site to a way of logging on that the server offers, then retry the job.",
        ),
        Trouble.DENIED: _Meaning(
            _DENIED,
            False,
            "Let the account of this site contribute to the library (add folders and items), then retry the"
            " job.",
        ),
        Trouble.NO_LIBRARY: _Meaning(
            FilterStateReason.INVALID_ARGS,
            False,
            "Correct the library's address in the scan process (open it in a browser to see it), or make the"
            " library; only the users' folders are made by the server.",
        ),
        Trouble.FULL: _Meaning(
            FilterStateReason.SHAREPOINT_OUT_OF_DISK_SPACE,
            True,
            "Make room in the site, its recycle bin too, or raise its quota; the delivery is tried again by"
            " itself.",
        ),
        Trouble.TOO_LARGE: _Meaning(
            _UNKNOWN,
            False,
            "Raise the largest upload that the web application (or a proxy before it) takes, or let the scan"
            " process make smaller documents; then retry the job.",
        ),
        Trouble.LOCKED: _Meaning(
            _UNKNOWN,
            True,
            "Have whoever locked or checked out the file or folder release it; the delivery is tried again by"
            " itself.",
        ),
        Trouble.REFUSED_NAME: _Meaning(
            _UNKNOWN,
            False,
            "See which file types the server blocks and how long its paths may be; choose another document"
            " name or format in the scan process, then scan again.",
        ),
        Trouble.THROTTLED: _Meaning(
            _UNKNOWN, True, "Nothing has to be done: the delivery is tried again after the pause it asks for."
        ),
        Trouble.AWAY: _Meaning(
            _UNKNOWN,
            True,
            "Check that the SharePoint server runs and can be reached from here; the delivery is tried again"
            " by itself.",
        ),
        Trouble.UNTRUSTED: _Meaning(
            _UNKNOWN,
            True,
            "Name the authority of the server's certificate as `ca` of this site, or have the certificate"
            " renewed; the delivery is tried again by itself.",
        ),
        Trouble.REDIRECTED: _Meaning(
            _UNKNOWN,
            False,
            "Write the address that the server leads to into the scan process, and its host into the settings"
            " if it is trusted. A page to log on at means: set `auth` of this site to what the server takes.",
        ),
        Trouble.REFUSED: _Meaning(
            _UNKNOWN, False, "See what the SharePoint server logged, then retry the job."
        ),
        Trouble.UNREADABLE: _Meaning(
            _UNKNOWN,
            True,
            "Check that `api` of this site fits the server, and that no proxy answers in its place; the"
            " delivery is tried again by itself.",
        ),
    }
)
# Those of RFC 4918, 11 (WebDAV), RFC 6585 and what Online says when too much was asked for (509).
_STATUS: Final[Mapping[int, tuple[Trouble, str]]] = MappingProxyType(
    {
        403: (Trouble.DENIED, "the account may not do this"),
        404: (Trouble.NO_LIBRARY, "it is not there"),
        408: (Trouble.AWAY, "it waited too long for the request"),
        409: (Trouble.NO_LIBRARY, "the folder it should be in is not there"),
        410: (Trouble.NO_LIBRARY, "it is gone"),
        411: (Trouble.REFUSED, "it wants to know the length before"),
        413: (Trouble.TOO_LARGE, "the document is larger than the server takes"),
        414: (Trouble.REFUSED_NAME, "the path is too long"),
        415: (Trouble.REFUSED_NAME, "the server does not take files of this type"),
        423: (Trouble.LOCKED, "somebody has locked it or checked it out"),
        424: (Trouble.LOCKED, "something it depends on failed"),
        429: (Trouble.THROTTLED, "the server was asked too often"),
        500: (Trouble.AWAY, "the server had an error of its own"),
        502: (Trouble.AWAY, "the server behind the proxy does not answer"),
        503: (Trouble.AWAY, "the server is busy or being serviced"),
        504: (Trouble.AWAY, "the server behind the proxy does not answer in time"),
        507: (Trouble.FULL, "there is no room left, or a quota is reached"),
        509: (Trouble.THROTTLED, "the server has no bandwidth left for us"),
    }
)


def status_error(answer: Answer, doing: str, said: str = "") -> LibraryError:
    """Return the error that the status of an answer stands for.

    :param doing: what was tried, like ``making the folder alice@example.com``.
    :param said: the server's own words, already shortened; shown after ours. Without them, those of the
        header that SharePoint has for it.
    """
    trouble, words = _STATUS.get(answer.status, (Trouble.REFUSED, "it was refused"))
    if answer.status < 400:
        trouble, words = Trouble.UNREADABLE, "the answer is not one to what was asked"
    elif answer.status >= 500 and answer.status not in _STATUS:
        trouble = Trouble.AWAY
    if answer.status == 503 and answer.retry_after is not None:
        trouble, words = Trouble.THROTTLED, "the server is busy and names a pause"
    told = [f"HTTP {answer.status}", said or _extended_error(answer), _correlation(answer)]
    text = f"{doing}: {words} ({', '.join(part for part in told if part)})"
    return LibraryError(text, trouble, retry_after=answer.retry_after)


def _extended_error(answer: Answer) -> str:
    """Return the words of X-MSDAVEXT_ERROR, which are there to be shown (MS-WDV 2.2.3)."""
    _, _, text = answer.headers.get("x-msdavext_error", "").partition(";")
    words = " ".join(unquote(text, errors="replace").split())
    return "".join(char if char.isprintable() else "?" for char in words)[:_MOST_WORDS]


def _correlation(answer: Answer) -> str:
    """Return by what the server's log names the request (MS-WSSHP, SPRequestGuid), if it is a GUID."""
    guid = answer.headers.get("sprequestguid", "").strip()
    return f"in its log as {guid.lower()}" if _GUID.fullmatch(guid) else ""


def delivery_failure(error: LibraryError, label: str) -> DeliveryError:
    """Return the failure of a delivery to ``label`` that an adapter's error means."""
    meaning = _MEANINGS[error.trouble]
    return DeliveryError(
        f"{label}: {error}",
        reason=meaning.reason,
        transient=meaning.transient,
        advice=error.what_to_do or meaning.advice,
        retry_after=error.retry_after if meaning.transient else None,
    )
