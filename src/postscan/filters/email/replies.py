"""What mail servers answer, and what that means for a job."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Final

from postscan.contracts.keywords import FilterStateReason
from postscan.filters.contract import DeliveryError

_LONGEST: Final = 300
# RFC 3463, 2: class, subject, detail.
_ENHANCED: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its code, and its text as one line of printable characters."""

    code: int
    whole: str

    @classmethod
    def of(cls, code: int, text: str) -> Reply:
        """Take an answer as it came, with whatever is in it."""
        line = " ".join(text.encode("utf-8", "replace").decode().split())
        return cls(code, "".join(char if char.isprintable() else "�" for char in line))

    @property
    def text(self) -> str:
        """Its text, no longer than people want to read."""
        return self.whole if len(self.whole) <= _LONGEST else self.whole[: _LONGEST - 1] + "…"

    @property
    def is_good(self) -> bool:
        """Whether it says yes (2yz)."""
        return 200 <= self.code < 300

    @property
    def is_temporary(self) -> bool:
        """Whether it says "not now" (4yz)."""
        return 400 <= self.code < 500

    @property
    def enhanced(self) -> tuple[int, int, int] | None:
        """The enhanced status code at its beginning, if there is one."""
        found = _ENHANCED.match(self.whole)
        return None if found is None else (int(found[1]), int(found[2]), int(found[3]))

    @property
    def is_about_size(self) -> bool:
        """Whether the message is larger than the server takes (RFC 1870, 6; RFC 3463, 3.4 and 3.5)."""
        if self.code not in (552, 523, 554):
            return False
        if self.enhanced is None:
            return self.code == 552
        return self.enhanced[1:] in ((3, 4), (2, 3))

    @property
    def is_about_too_many(self) -> bool:
        """Whether this recipient is one too many for one message (RFC 5321, 4.5.3.1.10)."""
        return self.code in (452, 552) and (self.enhanced is None or self.enhanced[1:] == (5, 3))

    def without(self, *hidden: str) -> Reply:
        """Return it without words that it must not repeat."""
        text = self.whole
        for word in filter(None, hidden):
            text = text.replace(word, "…")
        return Reply(self.code, text)

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


def unreachable(place: str, why: str) -> DeliveryError:
    """Return the failure of a mail server that cannot be reached, or stopped answering."""
    return DeliveryError(
        f"the mail server {place} {why}",
        reason=FilterStateReason.INVALID_SMTP_SERVER,
        transient=True,
        advice="Check that it runs, that `server`, `port` and `security` of [email] are right, and that no"
        " firewall is in between; the delivery is tried again by itself.",
    )


NO_TLS: Final = (
    'Check `port` and `security` of [email], which belong together (587 with "starttls", 465 with "tls", as a'
    " rule); the delivery is tried again by itself."
)
_UNTRUSTED: Final = (
    "Name the server as its certificate does (`server` of [email]), and the authority its certificate comes"
    " from (`ca`); the delivery is tried again by itself."
)


def untrusted(place: str, why: str, advice: str = _UNTRUSTED) -> DeliveryError:
    """Return the failure of a connection that could not be protected."""
    return DeliveryError(
        f"the mail server {place} cannot be trusted: {why}; nothing was sent to it",
        reason=FilterStateReason.INVALID_SMTP_SERVER,
        transient=True,
        advice=advice,
    )


def not_signed_in(place: str, why: str, advice: str) -> DeliveryError:
    """Return the failure of an account that the mail server did not let in."""
    return DeliveryError(
        f"the mail server {place} {why}",
        reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
        transient=True,
        advice=advice,
    )


def busy(place: str, reply: Reply) -> DeliveryError:
    """Return the failure that an answer of "not now" is."""
    return DeliveryError(
        f"the mail server {place} takes no message now: {reply}",
        reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
        transient=True,
        advice="It is tried again by itself; see the mail server's own log if this goes on.",
    )


def refused(place: str, what: str, reply: Reply) -> DeliveryError:
    """Return the failure that a final "no" to ``what`` is."""
    return DeliveryError(
        f"the mail server {place} refuses {what}: {reply}",
        reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
        transient=False,
        advice="See the mail server's own log for the reason, let it take such mail (or send from an account"
        " and address that may), then retry the job.",
    )


def too_large(place: str, what: str, limit: str) -> DeliveryError:
    """Return the failure of something that is larger than a message may be."""
    return DeliveryError(
        f"{what}, and {limit}",
        reason=FilterStateReason.UNABLE_TO_SEND_EMAIL,
        transient=False,
        advice=f"Scan with a lower resolution or fewer pages a document, or have {place} and"
        " `max_message_bytes` of [email] take larger messages, then retry the job.",
    )


def megabytes(octets: int) -> str:
    """Return a size for people."""
    if octets >= 1_000_000:
        return f"{octets / 1_000_000:.1f} MB"
    return f"{octets / 1_000:.1f} KB" if octets >= 1_000 else f"{octets} octets"


def tls_trouble(place: str, error: BaseException | None) -> DeliveryError | None:
    """Return the failure of the server's TLS, if that is what ``error`` came from."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, ssl.SSLCertVerificationError):
            return untrusted(place, f"its certificate is not accepted ({error.verify_message})")
        if isinstance(error, ssl.SSLError):
            why = f"it does not speak TLS as it should ({error.reason or type(error).__name__})"
            return untrusted(place, why, NO_TLS)
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None
