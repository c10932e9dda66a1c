"""The messages of WS-DSC: written as its schema wants them, read in either service's words."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from postscan.contracts import dsc, dsp, schemas
from postscan.contracts.binding import Bound
from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.keywords import (
    DocumentFormat,
    FilterState,
    FilterStateReason,
    JobState,
    JobStateReason,
    RepositoryState,
    RepositoryStateReason,
)
from postscan.core.errors import InvalidArgument
from postscan.soap.names import DSC, EMLF, EXTENSIONS, FSF, FTR, SPF, qname
from postscan.soap.xml import parse, serialize

SPECIFICATION = Path(os.environ.get("POSTSCAN_SPEC", Path(__file__).parents[3] / "shared" / "spec"))
# schemaLocation of the published schemas, and the names they are kept under.
PUBLISHED = {"PostScan.xsd": "psp.xsd", "WDPScan.xsd": "wscn.xsd"}


def reread(message: Bound) -> Any:
    """Write the message, check it against the schema, and read it again from octets."""
    root = parse(serialize(message.to_element()))
    schemas.validate(root)
    return type(message).from_element(root)


# Values ---------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001 - made aware here
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)
VENDORS = st.sampled_from(["hp:Jammed", "a1:b_c-d.e"])
JOB_REASONS = st.sampled_from([*JobStateReason, dsc.TIMED_OUT]) | VENDORS
FILTERS = st.builds(
    dsc.FilterStatus,
    dialect=st.sampled_from([FSF, SPF, EMLF, "urn:vendor:filter"]),
    state=st.sampled_from(FilterState) | VENDORS,
    reasons=st.lists(st.sampled_from(FilterStateReason) | VENDORS, max_size=3).map(tuple),
)
STANDING: dict[str, Any] = {
    "job_token": TEXTS,
    "state": st.sampled_from(JobState) | VENDORS,
    "reasons": st.lists(JOB_REASONS, max_size=3).map(tuple),
    "filters": st.lists(FILTERS, min_size=1, max_size=3).map(tuple),
    "images_received": st.integers(0, 2**31 - 1),
}
DESCRIBED: dict[str, Any] = {"psp_identifier": TEXTS, "psp_display_name": TEXTS, "user_name": TEXTS}
STATUSES = st.builds(dsc.JobStatus, **STANDING, created=st.none() | MOMENTS, completed=st.none() | MOMENTS)
SUMMARIES = st.builds(dsc.JobSummary, **STANDING, **DESCRIBED)
LISTS = st.builds(
    dsc.JobList,
    total=st.none() | st.integers(0, 2**31 - 1),
    jobs=st.lists(SUMMARIES, max_size=3).map(tuple),
)
END_STATES = st.builds(
    dsc.PostScanJobEndState,
    **{**STANDING, **DESCRIBED, "reasons": st.lists(JOB_REASONS, min_size=1, max_size=3).map(tuple)},
    completed=st.none() | MOMENTS,
)
DOCUMENTS = st.builds(
    dsc.Documents,
    documents=st.lists(
        st.builds(
            dsc.DocumentDescription,
            document_id=st.integers(1, 2**31 - 1),
            format=st.sampled_from([*DocumentFormat, "vendor-raw"]),
        ),
        max_size=3,
    ).map(tuple),
)
SERVER_STATES: dict[str, Any] = {
    "state": st.sampled_from(RepositoryState),
    "reasons": st.lists(
        st.sampled_from([RepositoryStateReason.NONE, dsc.OUT_OF_DISK_SPACE, dsc.SHUTTING_DOWN]), max_size=2
    ).map(tuple),
}
NAMES = st.sampled_from([dsc.CONFIGURATION, dsc.STATUS, dsc.JOB_STATUS, "{urn:v}X", "Bare", "nobody:Knows"])


def element(kind: type[Bound], known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Return answers: one that holds what was asked for, or one that says it is not known."""
    held = [st.builds(kind, name=NAMES, valid=st.just(True), **{key: value}) for key, value in known.items()]
    return st.one_of(st.builds(kind, name=NAMES, valid=st.just(False)), *held)


SERVER_STATUSES = st.builds(dsc.RepositoryStatus, **SERVER_STATES)
MESSAGES = st.one_of(
    st.builds(dsc.GetRepositoryElementsRequest, names=st.lists(NAMES, min_size=1, max_size=4).map(tuple)),
    st.builds(
        dsc.GetRepositoryElementsResponse,
        elements=st.lists(
            element(dsc.RepositoryElementData, {"status": SERVER_STATUSES}), min_size=1, max_size=3
        ).map(tuple),
    ),
    st.builds(
        dsc.GetPostScanJobElementsRequest,
        job_token=TEXTS,
        names=st.lists(NAMES, min_size=1, max_size=4).map(tuple),
    ),
    st.builds(
        dsc.GetPostScanJobElementsResponse,
        elements=st.lists(
            element(
                dsc.JobElementData,
                {
                    "status": STATUSES,
                    "documents": DOCUMENTS,
                    "description": st.builds(dsc.JobDescription, **DESCRIBED),
                },
            ),
            min_size=1,
            max_size=3,
        ).map(tuple),
    ),
    st.builds(dsc.CancelPostScanJobRequest, job_token=TEXTS),
    st.just(dsc.CancelPostScanJobResponse()),
    st.builds(dsc.GetActiveJobsRequest, skip=st.none() | st.integers(0, 2**31 - 1)),
    st.builds(dsc.GetJobHistoryRequest, skip=st.none() | st.integers(0, 2**31 - 1)),
    st.builds(dsc.GetActiveJobsResponse, active=LISTS),
    st.builds(dsc.GetJobHistoryResponse, history=LISTS),
    st.builds(dsc.RepositoryStatusSummaryEvent, summary=st.builds(dsc.StatusSummary, **SERVER_STATES)),
    st.builds(dsc.PostScanJobStatusEvent, status=STATUSES),
    st.builds(dsc.PostScanJobEndStateEvent, end_state=END_STATES),
)


def configuration() -> dsc.RepositoryConfiguration:
    told = etree.Element(qname(DSC, "FilterConfig"), nsmap={"dsc": DSC})
    FileShareConfig(share_uncs=(r"\\files.example.com\scans",)).to_element(told)
    empty = etree.Element(qname(DSC, "FilterConfig"), nsmap={"dsc": DSC})
    return dsc.RepositoryConfiguration(
        filters=(
            dsc.Filter(dialect=dsc.dialect_name(FSF), config=told),
            dsc.Filter(dialect=dsc.dialect_name("urn:vendor:fax"), config=empty),
        )
    )


def configured() -> list[Bound]:
    """Return the messages that hold a configuration."""
    one = dsc.RepositoryElementData(name=dsc.CONFIGURATION, valid=True, configuration=configuration())
    changes = dsc.ElementChanges(configuration=configuration())
    return [
        dsc.GetRepositoryElementsResponse(elements=(one,)),
        dsc.RepositoryElementsChangeEvent(changes=changes),
        dsc.RepositoryElementsChangeEvent(changes=dsc.ElementChanges()),
    ]


# Writing and reading --------------------------------------------------------------------------------------


@given(MESSAGES)
def test_a_message_is_read_as_it_was_written_and_is_valid(message: Bound) -> None:
    assert reread(message) == message


@pytest.mark.parametrize("message", configured())
def test_a_configuration_is_read_as_it_was_written(message: Bound) -> None:
    again = reread(message)
    assert serialize(again.to_element()) == serialize(message.to_element())


def test_dsc_has_spellings_of_its_own() -> None:
    status = dsc.JobStatus(
        job_token="t",
        state=JobState.ABORTED,
        reasons=(JobStateReason.SEND_IMAGE_FAILED, dsc.TIMED_OUT),
        filters=(
            dsc.FilterStatus(
                dialect=SPF,
                state=FilterState.COMPLETED_WITH_ERRORS,
                reasons=(
                    FilterStateReason.SHAREPOINT_ACCESS_DENIED,
                    FilterStateReason.SHAREPOINT_OUT_OF_DISK_SPACE,
                ),
            ),
        ),
        images_received=0,
    )
    written = status.to_element()
    assert [e.text for e in written.iter(qname(DSC, "JobStateReason"))] == [
        "SendImangeFailed",
        "PostScanJobTimedOut",
    ]
    assert [e.text for e in written.iter(qname(DSC, "FilterStateReason"))] == [
        "SharePointAccessDenied",
        "SharePointOutOfDiskSpace",
    ]


@pytest.mark.parametrize(
    ("service", "spelling"),
    [(d, s) for d in (dsc, dsp) for s in ("SendImangeFailed", "SendImageFailed")],
)
def test_both_services_read_either_spelling(service: Any, spelling: str) -> None:
    namespace = service.DSC if service is dsc else service.DSP
    root = parse(
        f"""<d:PostScanJobStatusEvent xmlns:d="{namespace}"><d:JobStatus><d:JobToken>t</d:JobToken>
        <d:JobState>Aborted</d:JobState><d:JobStateReasons><d:JobStateReason>{spelling}</d:JobStateReason>
        </d:JobStateReasons><d:FilterStatuses><d:FilterStatus><d:Dialect>urn:f</d:Dialect>
        <d:FilterState>Canceled</d:FilterState></d:FilterStatus></d:FilterStatuses>
        <d:ImagesReceived>0</d:ImagesReceived></d:JobStatus></d:PostScanJobStatusEvent>""".encode()
    )
    schemas.validate(root)
    event = service.PostScanJobStatusEvent.from_element(root)
    assert event.status.reasons == (JobStateReason.SEND_IMAGE_FAILED,)


def test_the_published_configuration_is_read_whatever_its_prefixes() -> None:
    root = parse(
        f"""<con:GetRepositoryElementsResponse xmlns:con="{DSC}" xmlns:x="{DSC}" xmlns:f="{FTR}">
        <con:RepositoryElements><con:ElementData con:Name="x:RepositoryConfiguration" con:Valid="true">
        <con:RepositoryConfiguration><con:Filters>
          <con:Filter><con:Dialect>
            f:fileshare
          </con:Dialect><con:FilterConfig/></con:Filter>
          <con:Filter><con:Dialect>f:email</con:Dialect><con:FilterConfig/></con:Filter>
        </con:Filters></con:RepositoryConfiguration></con:ElementData></con:RepositoryElements>
        </con:GetRepositoryElementsResponse>""".encode()
    )
    schemas.validate(root)
    (one,) = dsc.GetRepositoryElementsResponse.from_element(root).elements
    assert one.name == dsc.CONFIGURATION
    assert one.configuration is not None
    assert [dsc.dialect_uri(f.dialect) for f in one.configuration.filters] == [FSF, EMLF]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (FSF, qname(FTR, "fileshare")),
        (SPF, qname(FTR, "sharepoint")),
        ("urn:vendor:fax", "{urn:vendor}fax"),
        ("http://vendor.example/2020/", "{http://vendor.example/2020/}filter"),
        ("http://vendor.example/1", "{http://vendor.example/1}filter"),
    ],
)
def test_a_dialect_is_a_qualified_name_in_the_configuration(uri: str, name: str) -> None:
    assert dsc.dialect_name(uri) == name


def test_a_reason_of_ours_has_a_prefix_that_resolves() -> None:
    status = dsc.RepositoryStatus(state=RepositoryState.STOPPED, reasons=(dsc.OUT_OF_DISK_SPACE,))
    (reason,) = status.to_element().iter(qname(DSC, "RepositoryStateReason"))
    prefix, _, token = (reason.text or "").partition(":")
    assert (reason.nsmap[prefix], token) == (EXTENSIONS, "OutOfDiskSpace")


def test_a_vendors_reason_stays_as_it_is_where_its_prefix_means_nothing() -> None:
    root = parse(
        f"""<d:RepositoryStatusSummaryEvent xmlns:d="{DSC}"><d:StatusSummary>
        <d:RepositoryState>hp:Asleep</d:RepositoryState><d:RepositoryStateReasons>
        <d:RepositoryStateReason>hp:Night</d:RepositoryStateReason></d:RepositoryStateReasons>
        </d:StatusSummary></d:RepositoryStatusSummaryEvent>""".encode()
    )
    schemas.validate(root)
    summary = dsc.RepositoryStatusSummaryEvent.from_element(root).summary
    assert (summary.state, summary.reasons) == ("hp:Asleep", ("hp:Night",))


def test_actions_follow_the_rule() -> None:
    assert dsc.action_of(dsc.GetActiveJobsRequest) == f"{DSC}/GetActiveJobs"
    assert len(dsc.REQUESTS) == 5
    assert list(dsc.EVENTS) == [
        f"{DSC}/RepositoryElementsChangeEvent",
        f"{DSC}/RepositoryStatusSummaryEvent",
        f"{DSC}/PostScanJobStatusEvent",
        f"{DSC}/PostScanJobEndStateEvent",
    ]


# What is refused ------------------------------------------------------------------------------------------

ASKED = "<d:RequestedElements><d:Name>d:RepositoryStatus</d:Name></d:RequestedElements>"
BROKEN = [
    ("GetRepositoryElementsRequest", "", "dsc:RequestedElements"),
    ("GetRepositoryElementsRequest", "<d:RequestedElements/>", "dsc:Name"),
    ("GetRepositoryElementsRequest", ASKED + ASKED, "dsc:RequestedElements"),
    ("GetRepositoryElementsRequest", ASKED + "<v:More xmlns:v='urn:v'/>", "More"),
    ("GetRepositoryElementsRequest", ASKED.replace("d:Repo", "a:b:Repo"), "dsc:Name"),
    ("CancelPostScanJobRequest", "", "dsc:JobToken"),
    ("CancelPostScanJobRequest", f"<d:JobToken>{'x' * 256}</d:JobToken>", "dsc:JobToken"),
    ("GetPostScanJobElementsRequest", ASKED, "dsc:JobToken"),
    ("GetPostScanJobElementsRequest", "<d:JobToken>t</d:JobToken>", "dsc:RequestedElements"),
    ("GetActiveJobsRequest", f'<p:Skip xmlns:p="{EXTENSIONS}">-1</p:Skip>', "px:Skip"),
    ("GetActiveJobsRequest", f'<p:Skip xmlns:p="{EXTENSIONS}">all</p:Skip>', "px:Skip"),
]


def message(local: str, content: str) -> etree._Element:
    return parse(f'<d:{local} xmlns:d="{DSC}">{content}</d:{local}>'.encode())


@pytest.mark.parametrize(("local", "content", "detail"), BROKEN)
def test_a_wrong_argument_is_named(local: str, content: str, detail: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        schemas.validate(message(local, content))
    assert caught.value.detail == detail


def test_a_request_may_hold_what_a_vendor_added_where_there_is_room() -> None:
    schemas.validate(message("GetJobHistoryRequest", "<v:Since xmlns:v='urn:v'>2026</v:Since>"))


def test_a_name_whose_prefix_is_not_declared_is_no_broken_message() -> None:
    asked = message("GetRepositoryElementsRequest", ASKED.replace("d:Repo", "x:Repo"))
    schemas.validate(asked)
    assert dsc.GetRepositoryElementsRequest.from_element(asked).names == ("x:RepositoryStatus",)


# Beside the published schema ------------------------------------------------------------------------------


class _Locations(etree.Resolver):
    """Finds the schemas under the names they are kept under."""

    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:
        name = Path(system_url).name
        if name == "px.xsd":
            return self.resolve_string(schema_of("px"), context)
        return self.resolve_filename(str(SPECIFICATION / "schema" / PUBLISHED.get(name, name)), context)


def schema_of(name: str) -> bytes:
    return (Path(schemas.__file__).parent / "schema" / f"{name}.xsd").read_bytes()


@lru_cache(maxsize=1)
def published() -> etree.XMLSchema:
    """Return the published schema of WS-DSC, with those of the filters and of our own additions."""
    if not (SPECIFICATION / "schema" / "dsc.xsd").exists():
        pytest.skip(f"the published schemas are not there: {SPECIFICATION / 'schema'} (set POSTSCAN_SPEC)")
    driver = f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
      <xs:import namespace="{DSC}" schemaLocation="dsc.xsd"/>
      <xs:import namespace="{FSF}" schemaLocation="fsf.xsd"/>
      <xs:import namespace="{EXTENSIONS}" schemaLocation="px.xsd"/>
    </xs:schema>"""
    parser = etree.XMLParser()
    parser.resolvers.add(_Locations())
    return etree.XMLSchema(etree.fromstring(driver, parser, base_url=str(SPECIFICATION / "schema" / "x.xsd")))


@pytest.fixture(scope="module")
def theirs() -> etree.XMLSchema:
    return published()


@given(message=MESSAGES)
def test_what_we_write_is_valid_by_the_published_schema(theirs: etree.XMLSchema, message: Bound) -> None:
    root = parse(serialize(message.to_element()))
    assert theirs.validate(root), theirs.error_log


@pytest.mark.parametrize("written", configured())
def test_the_configuration_is_valid_by_the_published_schema(theirs: etree.XMLSchema, written: Bound) -> None:
    assert theirs.validate(parse(serialize(written.to_element()))), theirs.error_log


@pytest.mark.parametrize(("local", "content", "_detail"), BROKEN)
def test_what_we_refuse_the_published_schema_refuses_too(
    theirs: etree.XMLSchema, local: str, content: str, _detail: str
) -> None:
    assert not theirs.validate(message(local, content))


@given(message=MESSAGES, data=st.data())
def test_a_message_that_lost_or_doubled_a_part_is_judged_alike(
    theirs: etree.XMLSchema, message: Bound, data: st.DataObject
) -> None:
    """Mutate a message, and let both schemas judge it."""
    root = parse(serialize(message.to_element()))
    places = [node for node in root.iter() if node is not root]
    if not places:
        return
    place = data.draw(st.sampled_from(places))
    parent = place.getparent()
    assert parent is not None
    what = data.draw(st.sampled_from(["lose", "double", "empty", "stranger", "attribute"]))
    if what == "lose":
        parent.remove(place)
    elif what == "double":
        place.addnext(parse(serialize(place)))
    elif what == "empty":
        place.text = ""
    elif what == "stranger":
        place.addnext(etree.Element(qname(DSC, "Stranger")))
    else:
        place.set("plain", "1")
    ours = True
    try:
        schemas.validate(root)
    except InvalidArgument:
        ours = False
    assert ours is theirs.validate(root)
