"""Answers of whoever takes the place of a domain controller: read as LDAP, or refused as malformed."""

from __future__ import annotations

from typing import Final

from sansldap import LDAPServer, PagedResultControl, PartialAttribute

from fuzz.mutation import mutate_octets
from fuzz.target import Target, must
from postscan.directory.ldap import codec
from postscan.directory.ldap.answers import Frames, decode
from postscan.directory.ldap.filters import present
from postscan.directory.ldap.model import Scope
from postscan.directory.ldap.results import SUCCESS, bind_failure, failure

_LARGEST: Final = 8_192


def run(data: bytes) -> None:
    """Take what came apart, as a connection does."""
    frames = Frames(_LARGEST)
    for frame in frames.feed(data):
        must(len(frame) <= _LARGEST + 6, f"a message of {len(frame)} octets")
        message = decode(frame)
        must(0 <= message.message_id < 2**31, f"the message id {message.message_id}")
        codec.next_cookie(message)
        if message.result is not None and message.result.code != SUCCESS:
            for error in (failure("reading", message.result), bind_failure("alice", message.result)):
                must(str(error).isprintable(), f"the words {str(error)!r}")


def seeds() -> list[bytes]:
    """Return answers as another implementation writes them."""
    searched = LDAPServer()
    searched.receive(codec.search(1, "", Scope.BASE, present("objectClass"), ["*"]))
    attributes = [PartialAttribute("cn", [b"a"]), PartialAttribute("objectSid", [b"\x01\x05", b""])]
    searched.search_result_entry(1, "CN=a,DC=dsm,DC=test", attributes)
    searched.search_result_reference(1, ["ldap://dsm.test/DC=dsm,DC=test"])
    page = PagedResultControl(critical=False, size=0, cookie=b"next")
    searched.search_result_done(1, diagnostics_message="data 52e", controls=[page])
    bound = LDAPServer()
    bound.receive(codec.bind_sasl(1, "GSS-SPNEGO", b"token"))
    bound.bind_response(1, sasl_creds=b"challenge", diagnostics_message="data 775")
    return [searched.data_to_send(), bound.data_to_send()]


TARGET = Target(
    "ldap",
    run,
    seeds,
    mutate_octets,
    words=(b"\x30\x84", b"\x02\x01\x01", b"\x64", b"\x65", b"\xa0", b"\x8a", b"1.2.840.113556.1.4.319"),
)
