"""Envelopes and their addressing headers, and the answers and faults that go back by them."""

from __future__ import annotations

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from postscan.core.errors import PostscanError
from postscan.soap.envelope import (
    LARGEST_ENVELOPE,
    Headers,
    fault_headers,
    read_envelope,
    require_request,
    write_envelope,
    write_reply,
)
from postscan.soap.faults import fault_of, read_fault, write_fault
from postscan.soap.names import DSP
from postscan.soap.xml import parse


def run(data: bytes) -> None:
    """Read an envelope and answer it: with a fault if it is refused, with an empty answer if not."""
    root = parse(data)
    try:
        envelope = read_envelope(root)
        require_request(envelope)
    except PostscanError as error:
        _check_fault(error, fault_headers(root))
        raise
    read_fault(envelope)
    headers = envelope.headers
    reply = write_reply(headers, "urn:answer", None)
    must(len(reply) <= LARGEST_ENVELOPE, f"an empty answer of {len(reply)} octets")
    answered = read_envelope(parse(reply)).headers
    must(answered.relates_to == headers.message_id, "the answer relates to another message")
    _check_fault(PostscanError("made up", detail="dsp:JobToken"), headers)
    again = read_envelope(parse(write_envelope(headers, envelope.body))).headers
    must(_uris(again) == _uris(headers), "headers came back otherwise")


def _uris(headers: Headers) -> tuple[object, ...]:
    endpoints = (headers.reply_to, headers.fault_to, headers.source)
    addresses = tuple(None if e is None else e.address for e in endpoints)
    return (headers.action, headers.to, headers.message_id, headers.relates_to, *addresses)


def _check_fault(error: PostscanError, relates_to: Headers | None) -> None:
    fault = write_fault(fault_of(error, DSP), relates_to, correlation_id="0")
    must(len(fault) <= LARGEST_ENVELOPE, f"a fault of {len(fault)} octets")
    must(read_fault(read_envelope(parse(fault))) is not None, "a fault that is none")


def seeds() -> list[bytes]:
    """Return messages with every header."""
    return [samples.get(), *samples.subscriptions(), *samples.sightings(), *samples.subscription_answers()]


TARGET = Target(
    "addressing",
    run,
    seeds,
    mutate_xml,
    words=(b"RelatesTo", b"RelationshipType", b"ReferenceProperties", b"mustUnderstand", b"FaultTo", b"role"),
)
