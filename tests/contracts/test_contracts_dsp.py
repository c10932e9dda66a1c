"""The messages of WS-DSP: read from what devices write, written as the schema wants them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from postscan.contracts import dsp, schemas
from postscan.contracts.binding import Bound
from postscan.contracts.keywords import (
    DocumentFormat,
    FilterState,
    FilterStateReason,
    JobState,
    JobStateReason,
)
from postscan.contracts.psp import PostScanInstructions
from postscan.core.errors import InvalidArgument
from postscan.soap.names import DSP, EMLF, FSF, PSP, SOAP, WSA, XOP, qname
from postscan.soap.xml import parse, serialize

TOKEN = "0c349cb0-59ed-4d02-b6d5-ebc729c73830"

# The published examples in short, with their traps: values wrapped in line ends, a time without zone, names
# under prefixes that are not ours.
CREATE = f"""
<s:Envelope xmlns:s="{SOAP}" xmlns:a="{WSA}" xmlns:p="{DSP}" xmlns:q="{PSP}">
  <s:Header><a:Action>
    {DSP}/CreatePostScanJob
  </a:Action></s:Header>
  <s:Body>
    <p:CreatePostScanJobRequest>
      <p:UserIdentifier> S-1-5-21-917267712-1342860078-1792151419-500
      </p:UserIdentifier>
      <p:PSP_Identifier>C4F199C7-6876-4549-A86E-A85035952448</p:PSP_Identifier>
      <p:PostScanInstructions>
        <q:ContinueOnError>true</q:ContinueOnError>
        <q:DocumentRootName>SampleScanJob</q:DocumentRootName>
        <q:FiltersToProcess>
          <q:Filter>
            <q:Dialect>
              {FSF}
            </q:Dialect>
            <q:Instructions>
              <fsh:FileShareConfig xmlns:fsh="{FSF}"><fsh:FileShares>
                <fsh:ShareUNC>\\\\contoso\\scans</fsh:ShareUNC>
              </fsh:FileShares></fsh:FileShareConfig>
            </q:Instructions>
          </q:Filter>
          <q:Filter>
            <q:Dialect>{EMLF}</q:Dialect>
            <q:Instructions>
              <e:EmailConfig xmlns:e="{EMLF}"><e:SendToAddresses e:CanAddAddresses="false">
                <e:EmailAddress>user@contoso.com</e:EmailAddress>
              </e:SendToAddresses></e:EmailConfig>
            </q:Instructions>
          </q:Filter>
        </q:FiltersToProcess>
        <v:Priority xmlns:v="urn:vendor" v:level="7">v:High</v:Priority>
      </p:PostScanInstructions>
    </p:CreatePostScanJobRequest>
  </s:Body>
</s:Envelope>"""

ELEMENTS = f"""
<p:GetPostScanJobElementsResponse xmlns:p="{DSP}">
  <p:JobElements>
    <p:ElementData p:Name="p:JobStatus" p:Valid="true">
      <p:JobStatus>
        <p:JobToken>{TOKEN}</p:JobToken>
        <p:JobState>Creating</p:JobState>
        <p:FilterStatuses>
          <p:FilterStatus>
            <p:Dialect>
 {FSF}
 </p:Dialect>
            <p:FilterState>Pending</p:FilterState>
          </p:FilterStatus>
        </p:FilterStatuses>
        <p:ImagesReceived>1</p:ImagesReceived>
        <p:JobCreatedTime>2009-04-28T18:37:19.519</p:JobCreatedTime>
      </p:JobStatus>
    </p:ElementData>
    <p:ElementData p:Name="p:JobDescription" p:Valid="1">
      <p:JobDescription>
        <p:PSP_Identifier>614655A4-38A5-46C4-B768-B6329EC5F318</p:PSP_Identifier>
        <p:PSP_DisplayName>FileShare Process</p:PSP_DisplayName>
        <p:JobOriginatingUserName>User1@contoso.com</p:JobOriginatingUserName>
      </p:JobDescription>
    </p:ElementData>
    <p:ElementData p:Name="p:Nonsense" p:Valid="false"/>
  </p:JobElements>
</p:GetPostScanJobElementsResponse>"""

STATUS = dsp.JobStatus(
    job_token=TOKEN,
    state=JobState.PROCESSING,
    filters=(dsp.FilterStatus(dialect=FSF, state=FilterState.PROCESSING),),
    images_received=3,
    created=datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC),
)
END_STATE = dsp.PostScanJobEndState(
    job_token=TOKEN,
    psp_identifier="614655A4-38A5-46C4-B768-B6329EC5F318",
    psp_display_name="Archiv für Rechnungen",
    user_name="ada@example.com",
    state=JobState.COMPLETED,
    reasons=(JobStateReason.COMPLETED_WITH_ERRORS,),
    filters=(
        dsp.FilterStatus(
            dialect=FSF,
            state=FilterState.COMPLETED_WITH_ERRORS,
            reasons=(FilterStateReason.FILE_SHARE_ACCESS_DENIED, FilterStateReason.OUT_OF_DISK_SPACE),
        ),
    ),
    images_received=3,
    completed=datetime(2026, 2, 3, 4, 6, tzinfo=UTC),
)


def element_of(xml: str) -> etree._Element:
    root = parse(xml.strip().encode())
    schemas.validate(root)
    return root


def reread(message: Bound) -> Any:
    """Write the message, check it against the schema, and read it again from octets."""
    root = parse(serialize(message.to_element()))
    schemas.validate(root)
    return type(message).from_element(root)


def create_request() -> dsp.CreatePostScanJobRequest:
    root = element_of(CREATE)
    return dsp.CreatePostScanJobRequest.from_element(root[1][0])


# CreatePostScanJob --------------------------------------------------------------------------------------


def test_the_create_example_is_read() -> None:
    request = create_request()

    assert request.user_identifier == "S-1-5-21-917267712-1342860078-1792151419-500"
    assert request.psp_identifier == "C4F199C7-6876-4549-A86E-A85035952448"
    assert request.instructions.continue_on_error is True
    assert request.instructions.document_root_name == "SampleScanJob"
    assert [f.dialect for f in request.instructions.filters] == [FSF, EMLF]
    assert request.instructions_element.tag == qname(DSP, "PostScanInstructions")


def test_stored_instructions_are_sent_on_with_what_vendors_added() -> None:
    stored = create_request().instructions_element

    request = dsp.CreatePostScanJobRequest.for_process(
        user_identifier="S-1-1-0", psp_identifier="x", instructions=stored
    )

    sent = reread(request).instructions_element
    assert sent.tag == qname(DSP, "PostScanInstructions")
    vendors = sent.find("{urn:vendor}Priority")
    assert vendors.text == "v:High"
    assert vendors.nsmap["v"] == "urn:vendor"
    assert vendors.get("{urn:vendor}level") == "7"
    assert stored.getparent() is not None, "the stored tree is left whole"


def test_psp_instructions_are_sent_under_the_name_of_dsp() -> None:
    stored = create_request().instructions_element
    xml = serialize(stored).replace(b"p:PostScanInstructions", b"q:PostScanInstructions")

    request = dsp.CreatePostScanJobRequest.for_process(
        user_identifier="S-1-1-0", psp_identifier="x", instructions=parse(xml)
    )

    written = request.to_element()
    schemas.validate(written)
    assert written[2].tag == qname(DSP, "PostScanInstructions")


def test_changed_instructions_are_written_as_changed() -> None:
    request = create_request()
    changed = dataclasses.replace(request.instructions, document_root_name="Other")

    again = reread(dataclasses.replace(request, instructions=changed))

    assert again.instructions.document_root_name == "Other"
    assert again.instructions.continue_on_error is True
    assert len(again.instructions.filters) == 2


def test_instructions_made_from_values_are_valid() -> None:
    filters = create_request().instructions.filters
    instructions = PostScanInstructions(document_root_name="Scan", filters=filters)

    again = reread(
        dsp.CreatePostScanJobRequest(user_identifier="S-1-1-0", psp_identifier="x", instructions=instructions)
    )

    assert again.instructions.document_root_name == "Scan"
    assert again.instructions.continue_on_error is False
    assert [f.dialect for f in again.instructions.filters] == [FSF, EMLF]


# The other requests and answers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [dsp.CreatePostScanJobResponse, dsp.EndPostScanJobRequest, dsp.CancelPostScanJobRequest],
)
def test_messages_that_hold_a_token_keep_it(kind: type[Bound]) -> None:
    message: Any = kind(job_token=TOKEN)  # type: ignore[call-arg]  # every class of the list has this field
    assert reread(message).job_token == TOKEN


@pytest.mark.parametrize(
    "kind", [dsp.SendImageResponse, dsp.EndPostScanJobResponse, dsp.CancelPostScanJobResponse]
)
def test_acknowledgements_are_empty_elements(kind: type[Bound]) -> None:
    element = kind().to_element()
    schemas.validate(element)
    assert len(element) == 0
    assert etree.QName(element).localname == kind.__name__


def test_a_token_is_read_without_the_white_space_round_it() -> None:
    root = element_of(
        f'<EndPostScanJobRequest xmlns="{DSP}"><JobToken>\n {TOKEN}\n</JobToken></EndPostScanJobRequest>'
    )
    assert dsp.EndPostScanJobRequest.from_element(root).job_token == TOKEN


def test_a_missing_token_is_named() -> None:
    with pytest.raises(InvalidArgument) as caught:
        dsp.EndPostScanJobRequest.from_element(etree.Element(qname(DSP, "EndPostScanJobRequest")))
    assert caught.value.detail == "dsp:JobToken"


@pytest.mark.parametrize("document_format", DocumentFormat)
def test_every_published_format_can_be_sent(document_format: DocumentFormat) -> None:
    image = etree.Element(qname(DSP, "ImageData"), nsmap={"xop": XOP})
    etree.SubElement(image, qname(XOP, "Include"), href="cid:1@uuid")
    description = dsp.DocumentDescription(document_id=9, format=document_format)

    again = reread(dsp.SendImageRequest(job_token=TOKEN, description=description, image=image))

    assert again.description.format is document_format
    assert again.description.document_id == 9
    assert again.image[0].get("href") == "cid:1@uuid"
    assert image.getparent() is None


# GetPostScanJobElements ---------------------------------------------------------------------------------


def test_requested_names_are_resolved_with_the_prefixes_in_scope() -> None:
    root = element_of(
        f"""<GetPostScanJobElementsRequest xmlns="{DSP}" xmlns:x="{DSP}">
              <JobToken>{TOKEN}</JobToken>
              <RequestedElements>
                <Name>x:JobStatus</Name>
                <Name>
                  y:JobDescription
                </Name>
                <y:Name xmlns:y="{DSP}">y:JobDescription</y:Name>
                <Name>Documents</Name>
                <Name xmlns="{DSP}" xmlns:x="urn:other">x:JobStatus</Name>
              </RequestedElements>
            </GetPostScanJobElementsRequest>"""
    )

    assert dsp.GetPostScanJobElementsRequest.from_element(root).names == (
        dsp.JOB_STATUS,
        "y:JobDescription",
        dsp.JOB_DESCRIPTION,
        dsp.DOCUMENTS,
        "{urn:other}JobStatus",
    )


def test_the_elements_example_is_read() -> None:
    status, description, nonsense = dsp.GetPostScanJobElementsResponse.from_element(
        element_of(ELEMENTS)
    ).elements

    assert (status.name, status.valid) == (dsp.JOB_STATUS, True)
    assert status.status is not None
    assert status.status.state is JobState.CREATING
    assert status.status.filters == (dsp.FilterStatus(dialect=FSF, state=FilterState.PENDING),)
    assert status.status.created == datetime(2009, 4, 28, 18, 37, 19, 519000, tzinfo=UTC)
    assert status.status.completed is None
    assert (description.name, description.valid) == (dsp.JOB_DESCRIPTION, True)
    assert description.description is not None
    assert description.description.user_name == "User1@contoso.com"
    assert nonsense == dsp.ElementData(name=qname(DSP, "Nonsense"), valid=False)


@pytest.mark.parametrize(
    "name",
    [
        dsp.JOB_STATUS,
        "{urn:vendor}Counter",
        "x:JobStatus",
        "JobStatus",
        "{http://www.w3.org/2004/08/xop/include}a",
    ],
)
def test_an_unknown_name_goes_back_with_a_prefix_that_resolves(name: str) -> None:
    answer = dsp.GetPostScanJobElementsResponse(elements=(dsp.ElementData(name=name, valid=False),))
    assert reread(answer) == answer


@pytest.mark.parametrize("name", ["xml:lang", "xmlns:x", "dsp:JobStatus", "XMLthing:a"])
def test_a_prefix_that_cannot_be_declared_freely_is_replaced(name: str) -> None:
    (element,) = reread(
        dsp.GetPostScanJobElementsResponse(elements=(dsp.ElementData(name=name, valid=False),))
    ).elements
    assert element.name == "unresolved:" + name.partition(":")[2]


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.from_regex(r"[A-Za-z_][\w.-]{0,20}(:[A-Za-z_][\w.-]{0,20})?", fullmatch=True).map(str.strip))
def test_every_name_a_request_may_hold_can_be_answered(name: str) -> None:
    request = etree.Element(qname(DSP, "GetPostScanJobElementsRequest"), nsmap={"dsp": DSP})
    etree.SubElement(request, qname(DSP, "JobToken")).text = TOKEN
    holder = etree.SubElement(request, qname(DSP, "RequestedElements"))
    etree.SubElement(holder, qname(DSP, "Name")).text = name
    try:
        schemas.validate(request)
    except InvalidArgument:
        return  # \w holds letters that no XML name may
    (asked,) = dsp.GetPostScanJobElementsRequest.from_element(request).names

    answer = dsp.GetPostScanJobElementsResponse(elements=(dsp.ElementData(name=asked, valid=False),))

    assert len(reread(answer).elements) == 1


def test_a_name_of_a_vendor_can_be_asked_for() -> None:
    request = dsp.GetPostScanJobElementsRequest(job_token=TOKEN, names=(dsp.DOCUMENTS, "{urn:vendor}Counter"))
    assert reread(request) == request


def test_documents_stand_each_in_an_element_of_its_own() -> None:
    documents = dsp.Documents(
        documents=(
            dsp.DocumentDescription(document_id=1, format=DocumentFormat.PNG),
            dsp.DocumentDescription(document_id=7, format=DocumentFormat.TIFF_SINGLE_G4),
        )
    )
    data = dsp.ElementData(name=dsp.DOCUMENTS, valid=True, documents=documents)
    answer = dsp.GetPostScanJobElementsResponse(elements=(data,))

    assert reread(answer) == answer
    assert len(documents.to_element().findall(qname(DSP, "Document"))) == 2


def test_a_job_without_documents_has_an_empty_list() -> None:
    data = dsp.ElementData(name=dsp.DOCUMENTS, valid=True, documents=dsp.Documents())
    assert (
        reread(dsp.GetPostScanJobElementsResponse(elements=(data,))).elements[0].documents == dsp.Documents()
    )


# Events and keywords ------------------------------------------------------------------------------------


def test_a_status_event_comes_back_as_it_was() -> None:
    event = dsp.PostScanJobStatusEvent(status=STATUS)
    assert reread(event) == event


def test_an_end_state_event_comes_back_as_it_was() -> None:
    event = dsp.PostScanJobEndStateEvent(end_state=END_STATE)
    assert reread(event) == event


def test_times_are_written_in_utc() -> None:
    element = STATUS.to_element()
    assert element.findtext(qname(DSP, "JobCreatedTime")) == "2026-02-03T04:05:06.789Z"


@pytest.mark.parametrize("state", JobState)
def test_every_published_job_state_is_kept(state: JobState) -> None:
    event = dsp.PostScanJobStatusEvent(status=dataclasses.replace(STATUS, state=state))
    assert reread(event).status.state is state


@pytest.mark.parametrize("reason", JobStateReason)
def test_every_published_job_state_reason_is_kept(reason: JobStateReason) -> None:
    event = dsp.PostScanJobStatusEvent(status=dataclasses.replace(STATUS, reasons=(reason,)))
    assert reread(event).status.reasons == (reason,)


@pytest.mark.parametrize("state", FilterState)
def test_every_published_filter_state_is_kept(state: FilterState) -> None:
    filters = (dsp.FilterStatus(dialect=FSF, state=state),)
    event = dsp.PostScanJobStatusEvent(status=dataclasses.replace(STATUS, filters=filters))
    assert reread(event).status.filters[0].state is state


@pytest.mark.parametrize("reason", FilterStateReason)
def test_every_published_filter_state_reason_is_kept(reason: FilterStateReason) -> None:
    filters = (dsp.FilterStatus(dialect=FSF, state=FilterState.COMPLETED_WITH_ERRORS, reasons=(reason,)),)
    event = dsp.PostScanJobStatusEvent(status=dataclasses.replace(STATUS, filters=filters))
    assert reread(event).status.filters[0].reasons == (reason,)


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("SendImangeFailed", JobStateReason.SEND_IMAGE_FAILED),
        ("PostScanJobTimedOut", "PostScanJobTimedOut"),
        ("acme:PaperOnFire", "acme:PaperOnFire"),
    ],
)
def test_other_spellings_of_job_state_reasons_are_read(spelled: str, meant: str) -> None:
    event = dsp.PostScanJobStatusEvent(status=dataclasses.replace(STATUS, reasons=(spelled,)))
    assert reread(event).status.reasons == (meant,)


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("SharePointAccessDenied", FilterStateReason.SHAREPOINT_ACCESS_DENIED),
        ("SharePointOutOfDiskSpace", FilterStateReason.SHAREPOINT_OUT_OF_DISK_SPACE),
    ],
)
def test_the_spellings_of_dsc_are_read_and_those_of_dsp_written(spelled: str, meant: str) -> None:
    filters = (dsp.FilterStatus(dialect=FSF, state="Canceled", reasons=(spelled,)),)
    event = dsp.PostScanJobStatusEvent(status=dataclasses.replace(STATUS, filters=filters))

    read = reread(event)

    assert read.status.filters[0].reasons == (meant,)
    assert spelled.encode() not in serialize(read.to_element())


def test_a_text_that_xml_cannot_carry_does_not_stop_an_event() -> None:
    event = dsp.PostScanJobEndStateEvent(
        end_state=dataclasses.replace(END_STATE, psp_display_name="bell\x07\x00")
    )
    assert reread(event).end_state.psp_display_name == "bell\ufffd\ufffd"


# Actions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "local"),
    [
        (dsp.SendImageRequest, "SendImage"),
        (dsp.SendImageResponse, "SendImageResponse"),
        (dsp.GetPostScanJobElementsRequest, "GetPostScanJobElements"),
        (dsp.PostScanJobStatusEvent, "PostScanJobStatusEvent"),
        (dsp.PostScanJobEndStateEvent, "PostScanJobEndStateEvent"),
    ],
)
def test_actions_follow_the_pattern_of_the_namespace(kind: type[Bound], local: str) -> None:
    assert dsp.action_of(kind) == f"{DSP}/{local}"


def test_the_five_operations_are_found_by_action() -> None:
    assert {action.rpartition("/")[2] for action in dsp.REQUESTS} == {
        "CreatePostScanJob",
        "SendImage",
        "EndPostScanJob",
        "CancelPostScanJob",
        "GetPostScanJobElements",
    }
    assert dsp.REQUESTS[f"{DSP}/SendImage"] is dsp.SendImageRequest
