from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from postscan.soap.envelope import EndpointReference, Headers, reply_headers, write_envelope, write_reply
from postscan.soap.names import ANONYMOUS, DSP, qname

ACTION = f"{DSP}/SendImageResponse"
IDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


def answer(text: str | None = None):
    element = etree.Element(qname(DSP, "SendImageResponse"), nsmap={"dsp": DSP})
    element.text = text
    return element


def both_ways(request: Headers, body: etree._Element | None) -> tuple[bytes, bytes]:
    random.seed(5)
    quick = write_reply(request, ACTION, body)
    random.seed(5)
    return quick, write_envelope(reply_headers(request, ACTION), body)


@given(IDS)
def test_an_answer_without_content_is_written_as_any_other(message_id):
    quick, usual = both_ways(Headers(action="urn:ask", message_id=message_id), answer())
    assert quick == usual


@pytest.mark.parametrize("body", [None, answer("text")])
@pytest.mark.parametrize(
    "endpoint",
    [
        None,
        EndpointReference(ANONYMOUS),
        EndpointReference("urn:elsewhere"),
        EndpointReference(ANONYMOUS, (etree.Element("{urn:w}Session", nsmap={"w": "urn:w"}),)),
    ],
)
def test_content_addresses_and_parameters_are_not_lost(body, endpoint):
    quick, usual = both_ways(Headers(action="urn:ask", message_id="urn:1", reply_to=endpoint), body)
    assert quick == usual


def test_parameters_come_back_with_an_answer_without_content():
    session = etree.Element("{urn:w}Session", nsmap={"w": "urn:w"})
    endpoint = EndpointReference(ANONYMOUS, (session,))
    quick, usual = both_ways(Headers(action="urn:ask", message_id="urn:1", reply_to=endpoint), answer())
    assert quick == usual
    assert b"Session" in quick


def test_two_answers_differ_in_their_message_ids():
    request = Headers(action="urn:ask", message_id="urn:1")
    assert write_reply(request, ACTION, answer()) != write_reply(request, ACTION, answer())
