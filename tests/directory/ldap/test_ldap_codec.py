"""Requests and answers as octets; what is malformed is told plainly and nothing else happens."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sansldap import (
    BindRequest,
    LDAPClient,
    LDAPControl,
    LDAPFilter,
    LDAPResultCode,
    LDAPServer,
    PagedResultControl,
    PartialAttribute,
    SaslCredential,
    SearchRequest,
    SimpleCredential,
)
from sansldap.asn1 import ASN1Reader

from postscan.directory.ldap import codec
from postscan.directory.ldap.answers import Frames, MalformedMessage, Message, decode
from postscan.directory.ldap.filters import equal, present
from postscan.directory.ldap.model import Change, Operation, Scope


def served() -> LDAPServer:
    """Return a server of sansldap that has been asked something under id 1."""
    server = LDAPServer()
    server.receive(codec.search(1, "", Scope.BASE, present("objectClass"), ["*"]))
    return server


def answered(server: LDAPServer) -> list[Message]:
    return [decode(frame) for frame in Frames().feed(server.data_to_send())]


def test_a_simple_bind_is_read_by_another_implementation() -> None:
    (read,) = LDAPServer().receive(codec.bind_simple(1, "alice@DSM.TEST", "pässword"))
    assert isinstance(read, BindRequest)
    assert (read.version, read.name) == (3, "alice@DSM.TEST")
    assert read.authentication == SimpleCredential(password="pässword")


def test_a_sasl_bind_is_read_by_another_implementation() -> None:
    (read,) = LDAPServer().receive(codec.bind_sasl(1, "GSS-SPNEGO", b"\x00token"))
    assert isinstance(read, BindRequest)
    assert read.authentication == SaslCredential(mechanism="GSS-SPNEGO", credentials=b"\x00token")


def test_a_search_is_read_by_another_implementation() -> None:
    controls = [codec.page_control(500, b"cookie"), codec.descriptor_control(), codec.domain_scope_control()]
    octets = codec.search(300, "DC=test", Scope.ONE_LEVEL, equal("cn", "*"), ["a", "b"], controls)
    (read,) = LDAPServer().receive(octets)
    assert isinstance(read, SearchRequest)
    assert (read.message_id, read.base_object, int(read.scope)) == (300, "DC=test", 1)
    assert read.filter == LDAPFilter.from_string("(cn=\\2a)")
    assert read.attributes == ["a", "b"]
    assert read.deref_aliases == 0
    page, descriptor, scope = read.controls
    assert isinstance(page, PagedResultControl)
    assert (page.size, page.cookie, page.critical) == (500, b"cookie", True)
    assert (descriptor.control_type, descriptor.critical) == ("1.2.840.113556.1.4.801", True)
    assert descriptor.value == bytes.fromhex("3003020107")
    assert scope == LDAPControl("1.2.840.113556.1.4.1339", False, None)


def test_only_the_dacl_of_a_descriptor_is_written() -> None:
    assert codec.descriptor_control(written=True).value == bytes.fromhex("3003020104")


def tree(octets: bytes) -> list[object]:
    """Return BER as nested lists: ``[tag octet, content]``, the content of what is constructed a list."""
    found: list[object] = []
    reader = ASN1Reader(octets)
    while reader:
        header = reader.peek_header()
        first = header.tag.tag_class << 6 | header.tag.is_constructed << 5 | header.tag.tag_number
        inner = reader.read_octet_string(header=header)
        found.append([first, tree(inner) if header.tag.is_constructed else inner])
    return found


def attribute(name: bytes, *values: bytes) -> list[object]:
    return [0x30, [[0x04, name], [0x31, [[0x04, value] for value in values]]]]


def test_an_addition_is_written_as_rfc_4511_says() -> None:
    octets = codec.add(2, "CN=a", {"cn": [b"a"], "x": [b"1", b"2"]}, [codec.descriptor_control(written=True)])
    listed = [attribute(b"cn", b"a"), attribute(b"x", b"1", b"2")]
    control = [
        0x30,
        [[0x04, b"1.2.840.113556.1.4.801"], [0x01, b"\xff"], [0x04, bytes.fromhex("3003020104")]],
    ]
    assert tree(octets) == [
        [0x30, [[0x02, b"\x02"], [0x68, [[0x04, b"CN=a"], [0x30, listed]]], [0xA0, [control]]]]
    ]


def test_a_change_is_written_as_rfc_4511_says() -> None:
    changes = [Change(Operation.REPLACE, "x", (b"1",)), Change(Operation.DELETE, "y")]
    listed = [
        [0x30, [[0x0A, b"\x02"], attribute(b"x", b"1")]],
        [0x30, [[0x0A, b"\x01"], attribute(b"y")]],
    ]
    assert tree(codec.modify(3, "CN=a", changes)) == [
        [0x30, [[0x02, b"\x03"], [0x66, [[0x04, b"CN=a"], [0x30, listed]]]]]
    ]


def test_a_removal_is_written_as_rfc_4511_says() -> None:
    assert codec.delete(4, "CN=a") == bytes.fromhex("3009020104") + b"\x4a\x04CN=a"


def test_a_goodbye_is_written_as_rfc_4511_says() -> None:
    assert codec.unbind(5) == bytes.fromhex("30050201054200")


def test_starting_tls_is_written_as_rfc_4511_says() -> None:
    assert tree(codec.extended(6, codec.START_TLS)) == [
        [0x30, [[0x02, b"\x06"], [0x77, [[0x80, b"1.3.6.1.4.1.1466.20037"]]]]]
    ]


def test_entries_and_their_end_are_read() -> None:
    server = served()
    server.search_result_entry(1, "CN=a", [PartialAttribute("objectSid", [b"\x01", b"\x02"])])
    server.search_result_done(1, controls=[PagedResultControl(critical=False, size=0, cookie=b"next")])
    found, end = answered(server)
    assert found.entry is not None
    assert (found.entry.dn, found.entry["OBJECTSID"]) == ("CN=a", (b"\x01", b"\x02"))
    assert end.result is not None
    assert (end.message_id, end.result.code, codec.next_cookie(end)) == (1, 0, b"next")


def test_a_reference_to_elsewhere_is_neither_entry_nor_end() -> None:
    server = served()
    server.search_result_reference(1, ["ldap://elsewhere.test/DC=elsewhere"])
    (message,) = answered(server)
    assert (message.entry, message.result) == (None, None)


def test_a_refusal_is_read_with_its_words() -> None:
    server = served()
    server.search_result_done(
        1, result_code=LDAPResultCode.NO_SUCH_OBJECT, matched_dn="DC=test", diagnostics_message="nö"
    )
    (message,) = answered(server)
    assert message.result is not None
    assert (message.result.code, message.result.matched_dn, message.result.diagnostics) == (
        32,
        "DC=test",
        "nö",
    )


def test_what_a_bind_answers_for_sasl_is_read() -> None:
    server = LDAPServer()
    server.receive(codec.bind_sasl(1, "GSS-SPNEGO", b"token"))
    server.bind_response(1, result_code=LDAPResultCode.SASL_BIND_IN_PROGRESS, sasl_creds=b"challenge")
    (message,) = answered(server)
    assert message.result is not None
    assert (message.result.code, message.result.credentials) == (14, b"challenge")


def test_the_notice_of_disconnection_of_active_directory_is_read() -> None:
    # Its name stands beside the operation instead of in it.
    octets = bytes.fromhex("302c 020100 780f 0a0134 0400 0408") + b"shutdown"
    name = codec.NOTICE_OF_DISCONNECTION.encode()
    octets += b"\x8a" + bytes([len(name)]) + name
    message = decode(b"\x30" + bytes([len(octets) - 2]) + octets[2:])
    assert message.result is not None
    assert (message.message_id, message.result.code, message.result.name) == (0, 52, name.decode())


@given(st.lists(st.integers(1, 9), max_size=40))
def test_messages_are_whole_however_they_are_cut(cuts: list[int]) -> None:
    messages = [codec.delete(number, "CN=" + "a" * number * 60) for number in range(1, 6)]
    octets, frames, taken = b"".join(messages), Frames(), []
    for cut in cuts:
        taken += frames.feed(octets[:cut])
        octets = octets[cut:]
    taken += frames.feed(octets)
    assert taken == messages
    assert not frames


@given(st.binary(max_size=300))
def test_random_octets_are_frames_or_malformed(octets: bytes) -> None:
    frames = Frames()
    try:
        whole = frames.feed(octets)
    except MalformedMessage:
        return
    for frame in whole:
        _read_or_refused(frame)


def _answers() -> bytes:
    server = served()
    server.search_result_entry(1, "CN=a", [PartialAttribute("cn", [b"a"]), PartialAttribute("x", [])])
    page = PagedResultControl(critical=False, size=0, cookie=b"c")
    server.search_result_done(1, result_code=LDAPResultCode.BUSY, controls=[page])
    return server.data_to_send()


@given(st.data())
def test_an_answer_with_changed_octets_is_read_or_malformed(data: st.DataObject) -> None:
    for whole in Frames().feed(_answers()):
        changed = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 4))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        _read_or_refused(bytes(changed))


@given(st.data())
def test_an_answer_cut_short_is_malformed(data: st.DataObject) -> None:
    whole = Frames().feed(_answers())[0]
    with pytest.raises(MalformedMessage):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


def _read_or_refused(octets: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        codec.next_cookie(decode(octets))


def test_nested_octets_are_not_followed() -> None:
    deep = b""
    for _ in range(5_000):
        length = len(deep)
        deep = b"\x30\x84" + length.to_bytes(4, "big") + deep
    with pytest.raises(MalformedMessage):
        decode(deep)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"HTTP/1.1 400 Bad Request", "not LDAP"),
        (b"\x30\x80", "length"),
        (b"\x30\x85\x01\x00\x00\x00\x00", "length"),
        (b"\x30\x84\x7f\xff\xff\xff", "at most"),
    ],
)
def test_what_cannot_be_a_message_is_refused_before_it_is_collected(octets: bytes, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why):
        Frames().feed(octets)


@pytest.mark.parametrize("operation", [0x60, 0x63, 0x7F, 0x30, 0x42])
def test_what_only_clients_send_is_malformed(operation: int) -> None:
    with pytest.raises(MalformedMessage):
        decode(bytes([0x30, 5, 2, 1, 1, operation, 0]))


def test_a_number_longer_than_any_is_malformed_and_not_computed() -> None:
    number = b"\x02\x84" + (4_000_000).to_bytes(4, "big") + b"\x7f" * 4_000_000
    with pytest.raises(MalformedMessage, match="number"):
        decode(b"\x30\x84" + len(number).to_bytes(4, "big") + number)


def test_a_client_of_another_implementation_reads_what_we_read() -> None:
    client = LDAPClient()
    client.search_request("", 0)
    assert [type(message).__name__ for message in client.receive(_answers())] == [
        "SearchResultEntry",
        "SearchResultDone",
    ]
