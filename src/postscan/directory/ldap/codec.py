"""LDAP requests as octets (RFC 4511), with the controls that Active Directory is asked with; no I/O.

ASN.1 is written by sansldap, and filters are its own. Its session knows neither Add, Modify nor Delete, so
every request is put together here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sansldap import FilterOptions, LDAPFilter
from sansldap.asn1 import ASN1Tag, ASN1Writer, TagClass

from postscan.directory.ldap.answers import Control, Message, Reader
from postscan.directory.ldap.model import Change, Scope

# Controls: RFC 2696; [MS-ADTS] 3.1.1.3.4.1.11 and 3.1.1.3.4.1.4.
PAGED_RESULTS: Final = "1.2.840.113556.1.4.319"
SD_FLAGS: Final = "1.2.840.113556.1.4.801"
DOMAIN_SCOPE: Final = "1.2.840.113556.1.4.1339"
# Extended operations: RFC 4511, 4.14 and 4.4.1.
START_TLS: Final = "1.3.6.1.4.1.1466.20037"
NOTICE_OF_DISCONNECTION: Final = "1.3.6.1.4.1.1466.20036"

# OWNER, GROUP and DACL are read. Written is the DACL alone: that needs no more than WRITE_DAC
# ([MS-ADTS] 3.1.1.3.4.1.11). The SACL is left alone both times.
_READ_PARTS: Final = 7
_WRITTEN_PARTS: Final = 4
_VERSION: Final = 3
_BIND, _UNBIND, _SEARCH, _MODIFY, _ADD, _DELETE, _EXTENDED = 0, 2, 3, 6, 8, 10, 23


def page_control(size: int, cookie: bytes = b"") -> Control:
    """Ask for a page of so many entries, the first one or that after ``cookie`` (RFC 2696, 2)."""
    writer = ASN1Writer()
    with writer.push_sequence() as inner:
        inner.write_integer(size)
        inner.write_octet_string(cookie)
    return Control(PAGED_RESULTS, bytes(writer.get_data()), critical=True)


def next_cookie(message: Message) -> bytes:
    """Return where the next page starts, empty after the last page (RFC 2696, 3)."""
    control = message.control(PAGED_RESULTS)
    if control is None or control.value is None:
        return b""
    inner = Reader(control.value).inside()
    inner.skip()  # how many there are altogether; servers need not know
    return inner.octets()


def descriptor_control(*, written: bool = False) -> Control:
    """Say which parts of a security descriptor are meant: owner, group and DACL; the DACL to be written."""
    writer = ASN1Writer()
    with writer.push_sequence() as inner:
        inner.write_integer(_WRITTEN_PARTS if written else _READ_PARTS)
    return Control(SD_FLAGS, bytes(writer.get_data()), critical=True)


def domain_scope_control() -> Control:
    """Ask for no references to other domains ([MS-ADTS] 3.1.1.3.4.1.4)."""
    return Control(DOMAIN_SCOPE)


def bind_simple(message_id: int, account: str, secret: str) -> bytes:
    """Write a simple bind (RFC 4511, 4.2)."""

    def write(body: ASN1Writer) -> None:
        body.write_integer(_VERSION)
        body.write_octet_string(account.encode())
        body.write_octet_string(secret.encode(), _context(0))

    return _message(message_id, _BIND, write)


def bind_sasl(message_id: int, mechanism: str, token: bytes) -> bytes:
    """Write one step of a SASL bind (RFC 4511, 4.2)."""

    def write(body: ASN1Writer) -> None:
        body.write_integer(_VERSION)
        body.write_octet_string(b"")
        with body.push_sequence(_context(3, constructed=True)) as sasl:
            sasl.write_octet_string(mechanism.encode())
            sasl.write_octet_string(token)

    return _message(message_id, _BIND, write)


def unbind(message_id: int) -> bytes:
    """Write the good-bye, which nothing answers (RFC 4511, 4.3)."""
    return _primitive(message_id, _UNBIND, b"")


def search(
    message_id: int,
    base: str,
    scope: Scope,
    where: LDAPFilter,
    attributes: Sequence[str],
    controls: Sequence[Control] = (),
) -> bytes:
    """Write a search; aliases are not followed, and limits are the server's (RFC 4511, 4.5.1)."""

    def write(body: ASN1Writer) -> None:
        body.write_octet_string(base.encode())
        body.write_enumerated(int(scope))
        body.write_enumerated(0)  # neverDerefAliases
        body.write_integer(0)  # sizeLimit
        body.write_integer(0)  # timeLimit
        body.write_boolean(False)
        where.pack(body, FilterOptions())
        with body.push_sequence() as wanted:
            for attribute in attributes:
                wanted.write_octet_string(attribute.encode())

    return _message(message_id, _SEARCH, write, controls)


def add(
    message_id: int, dn: str, attributes: Mapping[str, Sequence[bytes]], controls: Sequence[Control] = ()
) -> bytes:
    """Write the addition of an object (RFC 4511, 4.7)."""

    def write(body: ASN1Writer) -> None:
        body.write_octet_string(dn.encode())
        with body.push_sequence() as listed:
            for name, values in attributes.items():
                _write_attribute(listed, name, values)

    return _message(message_id, _ADD, write, controls)


def modify(message_id: int, dn: str, changes: Sequence[Change], controls: Sequence[Control] = ()) -> bytes:
    """Write a change of an object (RFC 4511, 4.6)."""

    def write(body: ASN1Writer) -> None:
        body.write_octet_string(dn.encode())
        with body.push_sequence() as listed:
            for change in changes:
                with listed.push_sequence() as one:
                    one.write_enumerated(int(change.operation))
                    _write_attribute(one, change.attribute, change.values)

    return _message(message_id, _MODIFY, write, controls)


def delete(message_id: int, dn: str, controls: Sequence[Control] = ()) -> bytes:
    """Write the removal of an object (RFC 4511, 4.8)."""
    return _primitive(message_id, _DELETE, dn.encode(), controls)


def extended(message_id: int, name: str) -> bytes:
    """Write an extended request that needs no value (RFC 4511, 4.12)."""
    return _message(message_id, _EXTENDED, lambda body: body.write_octet_string(name.encode(), _context(0)))


def _message(
    message_id: int,
    operation: int,
    write: Callable[[ASN1Writer], None],
    controls: Sequence[Control] = (),
) -> bytes:
    writer = ASN1Writer()
    with writer.push_sequence() as message:
        message.write_integer(message_id)
        with message.push_sequence(ASN1Tag(TagClass.APPLICATION, operation, True)) as body:
            write(body)
        _write_controls(message, controls)
    return bytes(writer.get_data())


def _primitive(message_id: int, operation: int, value: bytes, controls: Sequence[Control] = ()) -> bytes:
    writer = ASN1Writer()
    with writer.push_sequence() as message:
        message.write_integer(message_id)
        message.write_octet_string(value, ASN1Tag(TagClass.APPLICATION, operation, False))
        _write_controls(message, controls)
    return bytes(writer.get_data())


def _write_controls(message: ASN1Writer, controls: Sequence[Control]) -> None:
    if not controls:
        return
    with message.push_sequence(_context(0, constructed=True)) as listed:
        for control in controls:
            with listed.push_sequence() as one:
                one.write_octet_string(control.kind.encode())
                if control.critical:
                    one.write_boolean(True)
                if control.value is not None:
                    one.write_octet_string(control.value)


def _write_attribute(writer: ASN1Writer, name: str, values: Sequence[bytes]) -> None:
    with writer.push_sequence() as attribute:
        attribute.write_octet_string(name.encode())
        with attribute.push_set() as held:
            for value in values:
                held.write_octet_string(value)


def _context(number: int, *, constructed: bool = False) -> ASN1Tag:
    return ASN1Tag(TagClass.CONTEXT_SPECIFIC, number, constructed)
