"""Eventing messages, durations and filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from postscan.contracts import wse
from postscan.core.errors import FaultParty, PostscanError
from postscan.soap.names import DSP, WSA, WSDP, WSE, qname
from postscan.soap.xml import parse, serialize

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
STATUS_EVENT = f"{DSP}/PostScanJobStatusEvent"
END_EVENT = f"{DSP}/PostScanJobEndStateEvent"


def read(text: str) -> etree._Element:
    return parse(text.encode())


def message(local: str, content: str) -> etree._Element:
    return read(f'<wse:{local} xmlns:wse="{WSE}" xmlns:wsa="{WSA}">{content}</wse:{local}>')


NOTIFY_TO = (
    "<wse:NotifyTo><wsa:Address>\n http://192.0.2.9:5357/sink\n</wsa:Address><wsa:ReferenceParameters>"
    "<wse:Identifier>urn:uuid:A</wse:Identifier></wsa:ReferenceParameters></wse:NotifyTo>"
)
DELIVERY = f'<wse:Delivery Mode="{WSE}/DeliveryModes/Push">{NOTIFY_TO}</wse:Delivery>'
END_TO = NOTIFY_TO.replace("NotifyTo", "EndTo")
WINDOWS = (
    f'{END_TO}{DELIVERY}<wse:Expires>PT1H</wse:Expires><wse:Filter Dialect="{WSDP}/Action">\n{STATUS_EVENT}\n'
    f' {END_EVENT}</wse:Filter><x:ScanDestinations xmlns:x="urn:x"/>'
)


# Subscribe -------------------------------------------------------------------------------------------------


def test_the_subscribe_of_windows_is_read() -> None:
    request = wse.Subscribe.from_element(message("Subscribe", WINDOWS))
    assert request.notify_to.address == "http://192.0.2.9:5357/sink"
    assert request.end_to is not None
    assert [parameter.text for parameter in request.end_to.parameters] == ["urn:uuid:A"]
    assert request.mode == wse.PUSH
    assert request.expires == wse.Expires(duration=timedelta(hours=1))
    assert request.filter_dialect == wse.ACTION_DIALECT
    assert request.filter_actions == (STATUS_EVENT, END_EVENT)


def test_a_subscribe_with_nothing_but_a_sink_is_read() -> None:
    request = wse.Subscribe.from_element(message("Subscribe", f"<wse:Delivery>{NOTIFY_TO}</wse:Delivery>"))
    assert (request.end_to, request.mode, request.expires) == (None, None, None)
    assert (request.filter_dialect, request.filter_actions) == (None, ())


def test_a_filter_of_another_dialect_is_read_for_what_it_is() -> None:
    content = (
        f'{DELIVERY}<wse:Filter Dialect=" http://www.w3.org/TR/1999/REC-xpath-19991116 ">//a</wse:Filter>'
    )
    request = wse.Subscribe.from_element(message("Subscribe", content))
    assert request.filter_dialect == "http://www.w3.org/TR/1999/REC-xpath-19991116"


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("", "wse:Delivery"),
        ("<wse:Delivery/>", "wse:NotifyTo"),
        ("<wse:Delivery><wse:NotifyTo/></wse:Delivery>", "wse:NotifyTo"),
        (f"<wse:EndTo><wsa:Address/></wse:EndTo>{DELIVERY}", "wse:EndTo"),
    ],
)
def test_a_subscribe_without_a_usable_endpoint_is_malformed(content: str, detail: str) -> None:
    with pytest.raises(wse.InvalidMessage) as caught:
        wse.Subscribe.from_element(message("Subscribe", content))
    assert caught.value.detail == detail


def test_a_mode_that_needs_no_sink_is_refused_as_a_mode() -> None:
    with pytest.raises(wse.DeliveryModeRequestedUnavailable):
        wse.Subscribe.from_element(message("Subscribe", '<wse:Delivery Mode="urn:pull"/>'))


def test_our_subscribe_has_its_parts_in_the_order_of_the_schema() -> None:
    sink = wse.EndpointReference("http://192.0.2.9:5357/sink")
    node = wse.Subscribe(
        sink, sink, wse.PUSH, wse.Expires(duration=timedelta(hours=1)), wse.ACTION_DIALECT, (STATUS_EVENT,)
    ).to_element()
    assert [etree.QName(child).localname for child in node] == ["EndTo", "Delivery", "Expires", "Filter"]


# Round trips -----------------------------------------------------------------------------------------------

MANAGER = wse.EndpointReference("https://scan.example:5362/ScanServer/1")


@pytest.mark.parametrize(
    "value",
    [
        wse.Subscribe(MANAGER),
        wse.Subscribe(MANAGER, MANAGER, wse.PUSH, wse.Expires(moment=NOW), wse.ACTION_DIALECT, (END_EVENT,)),
        wse.SubscribeResponse(MANAGER, timedelta(minutes=15)),
        wse.Renew(wse.Expires(duration=timedelta(hours=1))),
        wse.Renew(),
        wse.RenewResponse(timedelta(hours=1)),
        wse.GetStatusResponse(timedelta(seconds=0.25)),
        wse.GetStatusResponse(),
        wse.SubscriptionEnd(MANAGER, wse.SOURCE_SHUTTING_DOWN, "The scan server is stopping."),
        wse.SubscriptionEnd(MANAGER, wse.DELIVERY_FAILURE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_written_is_read_back_as_the_same(value: wse.Renew) -> None:
    assert type(value).from_element(parse(serialize(value.to_element()))) == value


def test_our_answer_to_subscribe_writes_its_manager_with_the_identifier() -> None:
    identifier = etree.Element(qname(WSE, "Identifier"))
    identifier.text = "urn:uuid:S"
    node = wse.SubscribeResponse(
        wse.EndpointReference("https://s/1", (identifier,)), timedelta(hours=1)
    ).to_element()
    assert serialize(node).endswith(
        b"<wse:SubscriptionManager><wsa:Address>https://s/1</wsa:Address><wsa:ReferenceParameters>"
        b"<wse:Identifier>urn:uuid:S</wse:Identifier></wsa:ReferenceParameters></wse:SubscriptionManager>"
        b"<wse:Expires>PT1H</wse:Expires></wse:SubscribeResponse>"
    )


@pytest.mark.parametrize("value", [wse.GetStatus(), wse.Unsubscribe()])
def test_requests_without_content_are_empty_elements(value: wse.GetStatus | wse.Unsubscribe) -> None:
    node = value.to_element()
    assert (node.tag, len(node), node.text) == (type(value).TAG, 0, None)


def test_an_answer_that_gives_a_point_in_time_is_read_as_the_time_left() -> None:
    answer = message("RenewResponse", "<wse:Expires>2026-11-21T13:30:00+01:00</wse:Expires>")
    assert wse.RenewResponse.from_element(answer, now=NOW).expires == timedelta(minutes=30)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("<wse:Expires>PT1H</wse:Expires>", "wse:SubscriptionManager"),
        (
            "<wse:SubscriptionManager><wsa:Address>urn:a</wsa:Address></wse:SubscriptionManager>",
            "wse:Expires",
        ),
    ],
)
def test_an_answer_to_subscribe_must_be_complete(content: str, detail: str) -> None:
    with pytest.raises(wse.InvalidMessage) as caught:
        wse.SubscribeResponse.from_element(message("SubscribeResponse", content))
    assert caught.value.detail == detail


# SubscriptionEnd -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (f"<wse:Status>\n{WSE}/SourceShuttingDown\n</wse:Status>", wse.SOURCE_SHUTTING_DOWN),
        (f"<wse:Status>{WSE}/SourceCanceling</wse:Status>", wse.SOURCE_CANCELLING),
        (f"<wse:Status>{WSE}/SourceCancelling</wse:Status>", wse.SOURCE_CANCELLING),
        ("<wse:Code>wse:DeliveryFailure</wse:Code>", wse.DELIVERY_FAILURE),
        ("<wse:Code>unbound:DeliveryFailure</wse:Code>", wse.DELIVERY_FAILURE),
        ("<wse:Code>SourceCanceling</wse:Code>", wse.SOURCE_CANCELLING),
        ("<wse:Code>wsa:DeliveryFailure</wse:Code>", "wsa:DeliveryFailure"),
        ("<wse:Status>urn:own:status</wse:Status>", "urn:own:status"),
        ("<wse:Status/>", None),
        ("", None),
    ],
)
def test_the_status_of_an_end_is_read_in_every_form_peers_write(content: str, status: str | None) -> None:
    manager = "<wse:SubscriptionManager><wsa:Address>urn:a</wsa:Address></wse:SubscriptionManager>"
    end = wse.SubscriptionEnd.from_element(message("SubscriptionEnd", manager + content))
    assert end.status == status


def test_of_several_reasons_the_english_one_is_read() -> None:
    content = (
        "<wse:SubscriptionManager><wsa:Address>urn:a</wsa:Address></wse:SubscriptionManager>"
        '<wse:Reason xml:lang="de">Ende</wse:Reason><wse:Reason xml:lang="en-US">The end</wse:Reason>'
    )
    assert wse.SubscriptionEnd.from_element(message("SubscriptionEnd", content)).reason == "The end"


def test_an_end_without_manager_is_malformed() -> None:
    with pytest.raises(wse.InvalidMessage):
        wse.SubscriptionEnd.from_element(message("SubscriptionEnd", ""))


# Durations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT1H", timedelta(hours=1)),
        (" PT15M\n", timedelta(minutes=15)),
        ("PT3600S", timedelta(hours=1)),
        ("P1DT0.5S", timedelta(days=1, seconds=0.5)),
        ("-PT1S", timedelta(seconds=-1)),
        ("P1Y2M3D", timedelta(days=365 + 60 + 3)),
        ("PT0.12345678S", timedelta(microseconds=123456)),
        ("P0D", timedelta(0)),
        (f"P{'9' * 200}Y", timedelta.max),
        (f"-P{'9' * 200}Y", timedelta.min),
    ],
)
def test_a_duration_is_read(text: str, duration: timedelta) -> None:
    assert wse.parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "1H",
        "PT1",
        "P1H",
        "PT1D",
        "PT.5S",
        "PT5.S",
        "+PT1S",
        "PT1H ago",
        "PT١S",
        "P-1D",
        f"P{'1' * 300}D",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(wse.InvalidExpirationTime) as caught:
        wse.parse_duration(text)
    assert caught.value.detail == "wse:Expires"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "PT0S"),
        (timedelta(seconds=3600.0), "PT1H"),
        (timedelta(seconds=90), "PT1M30S"),
        (timedelta(days=2), "P2D"),
        (timedelta(days=-1, seconds=-0.5), "-P1DT0.5S"),
    ],
)
def test_a_duration_is_written_in_its_short_form(duration: timedelta, text: str) -> None:
    assert wse.write_duration(duration) == text


@given(st.timedeltas())
def test_every_duration_survives_writing_and_reading(duration: timedelta) -> None:
    assert wse.parse_duration(wse.write_duration(duration)) == duration


@given(st.text(max_size=20) | st.from_regex(r"-?P([0-9]+[YMD])*(T([0-9.]+[HMS])*)?", fullmatch=True))
def test_any_text_is_an_expiry_or_a_refusal(text: str) -> None:
    try:
        expires = wse.Expires.parse(text)
    except wse.InvalidExpirationTime:
        return
    assert isinstance(expires.seconds_from(NOW), float)


# Expires ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT1H", 3600.0),
        ("-PT1H", -3600.0),
        ("2026-11-21T12:00:30Z", 30.0),
        ("2026-11-21T12:00:30.5", 30.5),
        ("2026-11-21T14:00:00+01:00", 3600.0),
        ("2001-01-01T00:00:00Z", -816_955_200.0),
    ],
)
def test_an_expiry_tells_the_seconds_that_are_left(text: str, seconds: float) -> None:
    assert wse.Expires.parse(text).seconds_from(NOW) == seconds


@pytest.mark.parametrize(
    "text",
    ["soon", "2026-11-21", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "10000-01-01T00:00:00Z"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(wse.InvalidExpirationTime):
        wse.Expires.parse(text)


def test_an_expiry_is_one_or_the_other() -> None:
    with pytest.raises(ValueError, match="either"):
        wse.Expires(duration=timedelta(1), moment=NOW)
    with pytest.raises(ValueError, match="either"):
        wse.Expires()


# Filters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [STATUS_EVENT, DSP, f"{DSP}/", DSP.replace("http", "HTTP")])
def test_a_filter_lets_through_what_lies_below_one_of_its_actions(wanted: str) -> None:
    assert wse.action_matches(("urn:other", wanted), STATUS_EVENT)


@pytest.mark.parametrize("wanted", [END_EVENT, STATUS_EVENT[:-5], f"{STATUS_EVENT}/More", "not a uri", ""])
def test_a_filter_holds_back_everything_else(wanted: str) -> None:
    assert not wse.action_matches((wanted,), STATUS_EVENT)


def test_an_empty_filter_lets_nothing_through() -> None:
    assert not wse.action_matches((), STATUS_EVENT)


@given(st.lists(st.text(max_size=30), max_size=4), st.text(max_size=30))
def test_filtering_never_fails(filters: list[str], action: str) -> None:
    assert wse.action_matches(filters, action) in (True, False)


# Faults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "namespace", "party"),
    [
        (wse.DeliveryModeRequestedUnavailable("x"), WSE, FaultParty.SENDER),
        (wse.InvalidExpirationTime("x"), WSE, FaultParty.SENDER),
        (wse.UnsupportedExpirationType("x"), WSE, FaultParty.SENDER),
        (wse.FilteringRequestedUnavailable("x"), WSE, FaultParty.SENDER),
        (wse.FilterActionNotSupported("x"), WSDP, FaultParty.SENDER),
        (wse.EventSourceUnableToProcess("x"), WSE, FaultParty.RECEIVER),
        (wse.UnableToRenew("x"), WSE, FaultParty.RECEIVER),
        (wse.InvalidMessage("x"), WSE, FaultParty.SENDER),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PostscanError) else "",
)
def test_an_error_has_the_subcode_of_its_name_and_says_what_to_do(
    error: PostscanError, namespace: str, party: FaultParty
) -> None:
    assert error.fault.subcode == qname(namespace, type(error).__name__)
    assert error.fault.party is party
    assert error.what_to_do


def test_a_refused_filter_names_the_dialect_that_works() -> None:
    error = wse.FilteringRequestedUnavailable("dialect x")
    assert (error.detail_name, error.detail) == (qname(WSE, "SupportedDialect"), f"{WSDP}/Action")


def test_a_refused_mode_names_the_mode_that_works() -> None:
    error = wse.DeliveryModeRequestedUnavailable("mode x")
    assert (error.detail_name, error.detail) == (qname(WSE, "SupportedDeliveryMode"), wse.PUSH)
