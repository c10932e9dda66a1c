"""Instructions of the e-mail filter (scan-process-and-filters.md; schema/emlf.xsd)."""

from __future__ import annotations

from typing import Final

from postscan.contracts.binding import Bound, element, flag, flag_attribute, text, texts
from postscan.soap.names import EMLF, EXTENSIONS, qname

CAN_ADD_ADDRESSES: Final = qname(EMLF, "CanAddAddresses")


@element(EMLF, "EmailConfig")
class EmailConfig(Bound):
    """Whom to send to: the user who scanned, and ``addresses`` of at most 255 characters each.

    ``can_add_addresses`` lets the user add addresses at the device. The attribute stands on the list of
    addresses, so it is not written when there are none. ``subject`` and ``body`` are extensions of ours
    (schema/px.xsd): templates of the message's subject and text, in place of the server's.
    """

    send_to_scan_user: bool = flag("SendToScanUser", default=False)
    addresses: tuple[str, ...] = texts("EmailAddress", wrapper="SendToAddresses", default=())
    can_add_addresses: bool = flag_attribute(CAN_ADD_ADDRESSES, on="SendToAddresses", default=False)
    subject: str | None = text("Subject", default=None, namespace=EXTENSIONS)
    body: str | None = text("Body", default=None, namespace=EXTENSIONS)
