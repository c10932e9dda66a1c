"""What the schemas accept and refuse of WS-DSP, and how a refusal names the argument."""

from __future__ import annotations

import pytest
from lxml import etree

from postscan.contracts import schemas
from postscan.contracts.keywords import (
    DocumentFormat,
    FilterState,
    FilterStateReason,
    JobState,
    JobStateReason,
)
from postscan.core.errors import InvalidArgument
from postscan.soap.names import DSP, FSF, PSP, SOAP, XOP, XOP_2003
from postscan.soap.xml import parse

TOKEN = "<d:JobToken>t</d:JobToken>"
DESCRIPTION = (
    "<d:DocumentDescription><d:DocumentId>1</d:DocumentId><d:Format>png</d:Format></d:DocumentDescription>"
)
IMAGE = f'<d:ImageData><x:Include xmlns:x="{XOP}" href="cid:a%40b"/></d:ImageData>'
INSTRUCTIONS = (
    "<d:PostScanInstructions><p:DocumentRootName>a</p:DocumentRootName><p:FiltersToProcess><p:Filter>"
    "<p:Dialect>urn:f</p:Dialect><p:Instructions/></p:Filter></p:FiltersToProcess></d:PostScanInstructions>"
)
FILTERS = (
    "<d:FilterStatuses><d:FilterStatus><d:Dialect>urn:f</d:Dialect><d:FilterState>Pending</d:FilterState>"
    "</d:FilterStatus></d:FilterStatuses>"
)
PENDING = "<d:JobState>Pending</d:JobState>"
NO_IMAGES = "<d:ImagesReceived>0</d:ImagesReceived>"
USER = "<d:UserIdentifier>S-1-1-0</d:UserIdentifier>"
PROCESS = "<d:PSP_Identifier>g</d:PSP_Identifier>"


def message(local: str, content: str) -> etree._Element:
    prefixes = f'xmlns:d="{DSP}" xmlns:p="{PSP}" xmlns:f="{FSF}" xmlns:v="urn:vendor"'
    return parse(f"<d:{local} {prefixes}>{content}</d:{local}>".encode())


def status(content: str) -> etree._Element:
    return message("PostScanJobStatusEvent", f"<d:JobStatus>{content}</d:JobStatus>")


def refusal(element: etree._Element) -> str | None:
    with pytest.raises(InvalidArgument) as caught:
        schemas.validate(element)
    return caught.value.detail


@pytest.mark.parametrize(
    ("local", "content"),
    [
        ("CreatePostScanJobRequest", USER + PROCESS + INSTRUCTIONS),
        ("CreatePostScanJobResponse", TOKEN + "<v:More>1</v:More>"),
        ("SendImageRequest", TOKEN + DESCRIPTION + IMAGE),
        ("SendImageRequest", TOKEN + DESCRIPTION + IMAGE.replace(XOP, XOP_2003)),
        ("SendImageRequest", TOKEN + DESCRIPTION + "<d:ImageData>\n iVBORw0KGgo=\n </d:ImageData>"),
        ("SendImageResponse", ""),
        ("SendImageResponse", "<v:More/>"),
        ("EndPostScanJobRequest", f"<d:JobToken>\n {'x' * 255} \n</d:JobToken>"),
        ("EndPostScanJobRequest", '<d:JobToken v:trace="1">t</d:JobToken>'),
        ("CancelPostScanJobResponse", "<v:More/>"),
        (
            "GetPostScanJobElementsRequest",
            TOKEN
            + "<d:RequestedElements><d:Name> d:A\n</d:Name><d:Name>nobody:B</d:Name></d:RequestedElements>",
        ),
        (
            "GetPostScanJobElementsResponse",
            '<d:JobElements><d:ElementData d:Name="v:A" d:Valid="1"><v:A/></d:ElementData></d:JobElements>',
        ),
    ],
)
def test_messages_are_accepted(local: str, content: str) -> None:
    schemas.validate(message(local, content))


@pytest.mark.parametrize(
    ("local", "content", "detail"),
    [
        ("CreatePostScanJobRequest", PROCESS + INSTRUCTIONS, "dsp:UserIdentifier"),
        ("CreatePostScanJobRequest", USER + INSTRUCTIONS, "dsp:PSP_Identifier"),
        ("CreatePostScanJobRequest", USER + PROCESS, "dsp:PostScanInstructions"),
        ("CreatePostScanJobRequest", USER + PROCESS + INSTRUCTIONS + "<v:More/>", "More"),
        ("CreatePostScanJobRequest", USER + USER + PROCESS + INSTRUCTIONS, "dsp:UserIdentifier"),
        (
            "CreatePostScanJobRequest",
            USER + PROCESS + "<d:PostScanInstructions/>",
            "psp:DocumentRootName",
        ),
        (
            "CreatePostScanJobRequest",
            USER + PROCESS + INSTRUCTIONS.replace("<p:Instructions/>", ""),
            "psp:Instructions",
        ),
        (
            "CreatePostScanJobRequest",
            USER
            + PROCESS
            + INSTRUCTIONS.replace(
                "<p:Instructions/>",
                "<p:Instructions><f:FileShareConfig><f:FileShares/></f:FileShareConfig></p:Instructions>",
            ),
            "fsf:ShareUNC",
        ),
        (
            "CreatePostScanJobRequest",
            USER
            + PROCESS
            + INSTRUCTIONS.replace(
                "<p:DocumentRootName>", "<p:ContinueOnError>yes</p:ContinueOnError><p:DocumentRootName>"
            ),
            "psp:ContinueOnError",
        ),
        ("SendImageRequest", DESCRIPTION + IMAGE, "dsp:JobToken"),
        ("SendImageRequest", TOKEN + IMAGE, "dsp:DocumentDescription"),
        ("SendImageRequest", TOKEN + DESCRIPTION, "dsp:ImageData"),
        ("SendImageRequest", TOKEN + DESCRIPTION.replace(">1<", ">0<") + IMAGE, "dsp:DocumentId"),
        ("SendImageRequest", TOKEN + DESCRIPTION.replace(">1<", ">one<") + IMAGE, "dsp:DocumentId"),
        ("SendImageRequest", TOKEN + DESCRIPTION.replace(">1<", ">2147483648<") + IMAGE, "dsp:DocumentId"),
        ("SendImageRequest", TOKEN + DESCRIPTION.replace("png", "gif") + IMAGE, "dsp:Format"),
        ("SendImageRequest", TOKEN + DESCRIPTION.replace("png", "application/pdf") + IMAGE, "dsp:Format"),
        ("SendImageRequest", TOKEN + DESCRIPTION.replace("png", "acme:raw") + IMAGE, "dsp:Format"),
        ("SendImageRequest", TOKEN + DESCRIPTION + IMAGE.replace("href", "ref"), "xop:Include/@ref"),
        (
            "SendImageRequest",
            TOKEN + DESCRIPTION + f'<d:ImageData><x:Include xmlns:x="{XOP}"/></d:ImageData>',
            "xop:Include/@href",
        ),
        ("SendImageRequest", TOKEN + DESCRIPTION + "<d:ImageData><v:File/></d:ImageData>", "File"),
        ("EndPostScanJobRequest", "", "dsp:JobToken"),
        ("EndPostScanJobRequest", TOKEN + TOKEN, "dsp:JobToken"),
        ("EndPostScanJobRequest", "<d:Token>t</d:Token>", "dsp:JobToken"),
        ("CancelPostScanJobRequest", f"<d:JobToken>{'x' * 256}</d:JobToken>", "dsp:JobToken"),
        ("CancelPostScanJobRequest", "<d:JobToken><d:JobToken/></d:JobToken>", "dsp:JobToken"),
        ("GetPostScanJobElementsRequest", TOKEN, "dsp:RequestedElements"),
        ("GetPostScanJobElementsRequest", TOKEN + "<d:RequestedElements/>", "dsp:Name"),
        (
            "GetPostScanJobElementsRequest",
            TOKEN + "<d:RequestedElements><d:Name>a b</d:Name></d:RequestedElements>",
            "dsp:Name",
        ),
        (
            "GetPostScanJobElementsResponse",
            '<d:JobElements><d:ElementData d:Valid="true"/></d:JobElements>',
            "dsp:ElementData/@dsp:Name",
        ),
        (
            "GetPostScanJobElementsResponse",
            '<d:JobElements><d:ElementData d:Name="nobody:A" d:Valid="true"/></d:JobElements>',
            "dsp:ElementData/@dsp:Name",
        ),
    ],
)
def test_a_refusal_names_the_argument(local: str, content: str, detail: str) -> None:
    assert refusal(message(local, content)) == detail


def test_a_value_cannot_choose_what_the_refusal_names() -> None:
    trick = "x'. Expected is ( {urn:evil}Name )."
    assert (
        refusal(message("SendImageRequest", TOKEN + DESCRIPTION.replace("png", trick) + IMAGE))
        == "dsp:Format"
    )


def test_the_body_of_an_envelope_is_validated() -> None:
    xml = f'<s:Envelope xmlns:s="{SOAP}"><s:Body><EndPostScanJobRequest xmlns="{DSP}"/></s:Body></s:Envelope>'
    assert refusal(parse(xml.encode())) == "dsp:JobToken"


def test_an_element_that_is_no_message_is_refused() -> None:
    assert refusal(message("JobStatus", "")) == "dsp:JobStatus"


def test_every_violation_is_told_with_its_line() -> None:
    element = message(
        "SendImageRequest", f"\n{TOKEN}\n{DESCRIPTION.replace('>1<', '>0<').replace('png', 'gif')}"
    )

    found = schemas.violations(element)

    assert [(v.line, v.detail) for v in found] == [
        (3, "dsp:DocumentId"),
        (3, "dsp:Format"),
        (1, "dsp:ImageData"),
    ]
    assert "{" not in found[2].message


def test_a_valid_element_has_no_violations() -> None:
    assert schemas.violations(message("SendImageResponse", "")) == []


# Keywords: what every enumeration holds -----------------------------------------------------------------

PUBLISHED = (
    [("JobState", kind.value) for kind in JobState]
    + [("JobStateReason", kind.value) for kind in JobStateReason]
    + [("FilterState", kind.value) for kind in FilterState]
    + [("FilterStateReason", kind.value) for kind in FilterStateReason]
)
OF_DSC = [
    ("JobStateReason", "SendImangeFailed"),
    ("JobStateReason", "PostScanJobTimedOut"),
    ("FilterStateReason", "SharePointAccessDenied"),
    ("FilterStateReason", "SharePointOutOfDiskSpace"),
]
OF_VENDORS = [
    (local, "acme:Odd_state-1.2")
    for local in ("JobState", "JobStateReason", "FilterState", "FilterStateReason")
]


def with_keyword(local: str, value: str) -> etree._Element:
    values = {"JobState": "Pending", "FilterState": "Pending"} | {local: value}
    reason = values.get("JobStateReason", "None")
    reasons = f"<d:JobStateReasons><d:JobStateReason>{reason}</d:JobStateReason></d:JobStateReasons>"
    filter_reason = values.get("FilterStateReason", "UnknownError")
    return status(
        f"{TOKEN}<d:JobState>{values['JobState']}</d:JobState>{reasons}"
        f"<d:FilterStatuses><d:FilterStatus><d:Dialect> urn:f </d:Dialect>"
        f"<d:FilterState>{values['FilterState']}</d:FilterState><d:FilterStateReasons><d:FilterStateReason>"
        f"{filter_reason}</d:FilterStateReason></d:FilterStateReasons></d:FilterStatus></d:FilterStatuses>"
        "<d:ImagesReceived>0</d:ImagesReceived>"
    )


@pytest.mark.parametrize(("local", "value"), PUBLISHED + OF_DSC + OF_VENDORS)
def test_keywords_are_accepted_with_white_space_round_them(local: str, value: str) -> None:
    schemas.validate(with_keyword(local, f"\n  {value}\n"))


@pytest.mark.parametrize("local", ["JobState", "JobStateReason", "FilterState", "FilterStateReason"])
@pytest.mark.parametrize("value", ["", "Nonsense", "pending", "a b", "Pending Held"])
def test_other_words_are_refused(local: str, value: str) -> None:
    assert refusal(with_keyword(local, value)) == f"dsp:{local}"


@pytest.mark.parametrize("document_format", DocumentFormat)
def test_every_published_format_is_accepted(document_format: DocumentFormat) -> None:
    schemas.validate(
        message("SendImageRequest", TOKEN + DESCRIPTION.replace("png", f" {document_format} ") + IMAGE)
    )


# Statuses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (f"{TOKEN}{FILTERS}{NO_IMAGES}", "dsp:JobState"),
        (
            f"{TOKEN}{PENDING}{NO_IMAGES}",
            "dsp:FilterStatuses",
        ),
        (f"{TOKEN}{PENDING}{FILTERS}", "dsp:ImagesReceived"),
        (
            f"{TOKEN}{PENDING}{FILTERS}<d:ImagesReceived>-1</d:ImagesReceived>",
            "dsp:ImagesReceived",
        ),
        (
            f"{TOKEN}{PENDING}<d:JobStateReasons/>{FILTERS}{NO_IMAGES}",
            "dsp:JobStateReason",
        ),
        (
            f"{TOKEN}{PENDING}{FILTERS}{NO_IMAGES}<d:JobCreatedTime>yesterday</d:JobCreatedTime>",
            "dsp:JobCreatedTime",
        ),
    ],
)
def test_a_status_that_lacks_something_is_refused(content: str, detail: str) -> None:
    assert refusal(status(content)) == detail


def test_a_status_may_carry_a_vendors_elements_at_its_end() -> None:
    schemas.validate(status(f"{TOKEN}{PENDING}{FILTERS}{NO_IMAGES}<v:Ink/>"))
