"""LDAP answers out of octets (RFC 4511): frames, then messages; no I/O.

sansldap's own reader is not used for what a peer sent: it waits for more octets where a message is only
wrong inside, keeps every unknown result code for ever, and needs quadratic time for a long integer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from postscan.directory.ldap.model import DirectoryAway, Entry

LARGEST_MESSAGE: Final = 32 * 1024 * 1024
_LARGEST_NUMBER: Final = 2**31 - 1

# Tags (RFC 4511, 5.1 and appendix B): class, constructed or not, and number in one octet.
BOOLEAN, INTEGER, OCTETS, ENUMERATED, SEQUENCE, SET = 0x01, 0x02, 0x04, 0x0A, 0x30, 0x31
_CONTROLS: Final = 0xA0
_SASL_CREDENTIALS: Final = 0x87
_NAME: Final = 0x8A
_FOUND: Final = 0x64
_LEFT_ALONE: Final = {0x73, 0x79}  # a reference to elsewhere, an intermediate answer
# BindResponse, SearchResultDone, Modify-, Add-, DelResponse, ExtendedResponse
_WITH_RESULT: Final = {0x61, 0x65, 0x67, 0x69, 0x6B, 0x78}


class MalformedMessage(DirectoryAway):
    """What came is not LDAP; the connection cannot be used any more."""

    advice = "Check that the address and port are those of a domain controller's LDAP service."


@dataclass(frozen=True, slots=True)
class Control:
    """A control of a request or an answer (RFC 4511, 4.1.11)."""

    kind: str
    value: bytes | None = None
    critical: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a request ended (RFC 4511, 4.1.9).

    ``credentials`` is what a bind answers for the SASL mechanism, ``name`` the name of an extended answer.
    """

    code: int
    matched_dn: str = ""
    diagnostics: str = ""
    credentials: bytes | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What a server sent: an entry of a search, or the end of a request; neither where it is left alone.

    References to other servers and intermediate answers are such.
    """

    message_id: int
    entry: Entry | None = None
    result: Result | None = None
    controls: tuple[Control, ...] = field(default=())

    def control(self, kind: str) -> Control | None:
        """Return the control of this kind, None when there is none."""
        return next((control for control in self.controls if control.kind == kind), None)


class Frames:
    """Puts whole messages together from octets as they come, however they are cut.

    :raises MalformedMessage: for what cannot start a message, and for one longer than ``largest``.
    """

    def __init__(self, largest: int = LARGEST_MESSAGE) -> None:
        self._largest = largest
        self._octets = bytearray()

    def __bool__(self) -> bool:
        """Tell whether part of a message is waiting for the rest."""
        return bool(self._octets)

    def feed(self, octets: bytes) -> list[bytes]:
        """Take octets and return the messages that are whole now."""
        self._octets += octets
        start, whole = 0, []
        while (end := self._end(start)) is not None and end <= len(self._octets):
            whole.append(bytes(memoryview(self._octets)[start:end]))
            start = end
        del self._octets[:start]
        return whole

    def _end(self, start: int) -> int | None:
        """Return where the message that starts at ``start`` ends, None while that is not known."""
        header = self._octets[start : start + 6]
        if not header:
            return None
        if header[0] != SEQUENCE:
            raise MalformedMessage(f"what came starts with octet 0x{header[0]:02X}: that is not LDAP")
        if len(header) < 2:
            return None
        length, size = header[1], 2
        if length >= 0x80:
            # The definite form only (RFC 4511, 5.1); four octets are more than is ever allowed.
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise MalformedMessage("the length of a message is not as LDAP writes it")
            if len(header) < 2 + count:
                return None
            length, size = int.from_bytes(header[2 : 2 + count], "big"), 2 + count
        if length > self._largest:
            raise MalformedMessage(f"a message of {length} octets; at most {self._largest} are taken")
        return start + size + length


class Reader:
    """Reads the values inside one constructed value, one after the other; never past its end."""

    __slots__ = ("_at", "_end", "_octets")

    def __init__(self, octets: bytes, start: int = 0, end: int | None = None) -> None:
        self._octets = octets
        self._at = start
        self._end = len(octets) if end is None else end

    def __bool__(self) -> bool:
        return self._at < self._end

    def peek(self) -> int:
        """Return the tag of the next value, 0 at the end."""
        return self._octets[self._at] if self._at < self._end else 0

    def octets(self, tag: int = OCTETS) -> bytes:
        """Read a value as it is."""
        start, end = self._next(tag)
        return self._octets[start:end]

    def text(self, tag: int = OCTETS) -> str:
        """Read a value as UTF-8."""
        try:
            return self.octets(tag).decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage("a message holds text that is not UTF-8") from error

    def number(self, tag: int = INTEGER) -> int:
        """Read an integer from 0 to 2147483647, which is all that LDAP has (RFC 4511, 4.1.1)."""
        octets = self.octets(tag)
        value = int.from_bytes(octets, "big", signed=True) if 1 <= len(octets) <= 8 else -1
        if not 0 <= value <= _LARGEST_NUMBER:
            raise MalformedMessage("a message holds a number out of range")
        return value

    def inside(self, tag: int = SEQUENCE) -> Reader:
        """Return a reader of what the next value holds."""
        start, end = self._next(tag)
        return Reader(self._octets, start, end)

    def skip(self) -> None:
        """Leave the next value out."""
        self._next(self.peek())

    def _next(self, tag: int) -> tuple[int, int]:
        octets, at, limit = self._octets, self._at, self._end
        if at + 2 > limit or octets[at] != tag or tag & 0x1F == 0x1F:
            raise MalformedMessage("a message is not put together as LDAP says")
        length, start = octets[at + 1], at + 2
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or start + count > limit:
                raise MalformedMessage("a length inside a message is wrong")
            length, start = int.from_bytes(octets[start : start + count], "big"), start + count
        end = start + length
        if end > limit:
            raise MalformedMessage("a value reaches beyond what holds it")
        self._at = end
        return start, end


def decode(octets: bytes) -> Message:
    """Take one whole message apart.

    :raises MalformedMessage: whatever is wrong with it.
    """
    whole = Reader(octets)
    reader = whole.inside()
    message_id = reader.number()
    operation = reader.peek()
    body = reader.inside(operation)
    if operation == _FOUND:
        return Message(message_id, entry=_entry(body), controls=_trailer(reader)[0])
    if operation in _WITH_RESULT:
        controls, name = _trailer(reader)
        return Message(message_id, result=_result(body, name), controls=controls)
    if operation in _LEFT_ALONE:
        return Message(message_id)
    raise MalformedMessage(f"a message of kind 0x{operation:02X}, which no server sends")


def _entry(body: Reader) -> Entry:
    dn = body.text()
    attributes: dict[str, list[bytes]] = {}
    listed = body.inside()
    while listed:
        one = listed.inside()
        name = one.text()
        held = one.inside(SET)
        values = attributes.setdefault(name, [])
        while held:
            values.append(held.octets())
    return Entry(dn, attributes)


def _result(body: Reader, name: str | None) -> Result:
    code = body.number(ENUMERATED)
    matched_dn = body.octets().decode("utf-8", errors="replace")
    diagnostics = body.octets().decode("utf-8", errors="replace").rstrip("\0")
    credentials = None
    while body:
        if body.peek() == _SASL_CREDENTIALS:
            credentials = body.octets(_SASL_CREDENTIALS)
        elif body.peek() == _NAME:
            name = body.text(_NAME)
        else:
            body.skip()
    return Result(code, matched_dn, diagnostics, credentials, name)


def _trailer(reader: Reader) -> tuple[tuple[Control, ...], str | None]:
    """Read what follows the operation.

    Those are the controls and, unlike in RFC 4511, the name of a notice of disconnection as Active
    Directory writes it ([MS-ADTS], NoticeOfDisconnectionLDAPMessage).
    """
    controls: list[Control] = []
    name: str | None = None
    while reader:
        if reader.peek() == _CONTROLS:
            listed = reader.inside(_CONTROLS)
            while listed:
                controls.append(_control(listed.inside()))
        elif reader.peek() == _NAME:
            name = reader.text(_NAME)
        else:
            reader.skip()
    return tuple(controls), name


def _control(reader: Reader) -> Control:
    kind, critical, value = reader.text(), False, None
    if reader.peek() == BOOLEAN:
        critical = reader.octets(BOOLEAN) != b"\x00"
    if reader.peek() == OCTETS:
        value = reader.octets()
    return Control(kind, value, critical)
