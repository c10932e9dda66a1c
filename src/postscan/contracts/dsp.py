"""WS-DSP: the messages of the five operations and the two events (ws-dsp.md; schema/dsp.xsd).

Keywords are read in the spelling of WS-DSP and of WS-DSC, and written in that of WS-DSP (trap 4). Where a
keyword set is open to vendors, a value that is none of ours stays a plain string.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Self

from lxml import etree

from postscan.contracts.binding import (
    BOOLEAN,
    DATE_TIME,
    INTEGER,
    NAME,
    Bound,
    attribute,
    child,
    children,
    element,
    keyword,
    raw,
    text,
    texts,
)
from postscan.contracts.keywords import (
    DocumentFormat,
    FilterState,
    FilterStateReason,
    JobState,
    JobStateReason,
)
from postscan.contracts.psp import PostScanInstructions
from postscan.soap.names import DSP, qname, split_qname

JOB_STATUS: Final = qname(DSP, "JobStatus")
JOB_DESCRIPTION: Final = qname(DSP, "JobDescription")
DOCUMENTS: Final = qname(DSP, "Documents")

_JOB_STATE = keyword(JobState)
_JOB_STATE_REASON = keyword(JobStateReason, {"SendImangeFailed": JobStateReason.SEND_IMAGE_FAILED})
_FILTER_STATE = keyword(FilterState)
_FILTER_STATE_REASON = keyword(
    FilterStateReason,
    {
        "SharePointAccessDenied": FilterStateReason.SHAREPOINT_ACCESS_DENIED,
        "SharePointOutOfDiskSpace": FilterStateReason.SHAREPOINT_OUT_OF_DISK_SPACE,
    },
)

# Where a job stands -------------------------------------------------------------------------------------


@element(DSP, "FilterStatus")
class FilterStatus(Bound):
    """Where one filter of a job stands; ``dialect`` is the filter's URI."""

    dialect: str = text("Dialect")
    state: FilterState | str = text("FilterState", _FILTER_STATE)
    reasons: tuple[FilterStateReason | str, ...] = texts(
        "FilterStateReason", _FILTER_STATE_REASON, wrapper="FilterStateReasons", default=()
    )


@element(DSP, "JobStatus")
class JobStatus(Bound):
    """Where a job stands; times are aware, and None until they have come."""

    job_token: str = text("JobToken")
    state: JobState | str = text("JobState", _JOB_STATE)
    reasons: tuple[JobStateReason | str, ...] = texts(
        "JobStateReason", _JOB_STATE_REASON, wrapper="JobStateReasons", default=()
    )
    filters: tuple[FilterStatus, ...] = children("FilterStatus", FilterStatus, wrapper="FilterStatuses")
    images_received: int = text("ImagesReceived", INTEGER)
    created: datetime | None = text("JobCreatedTime", DATE_TIME, default=None)
    completed: datetime | None = text("JobCompletedTime", DATE_TIME, default=None)


@element(DSP, "JobDescription")
class JobDescription(Bound):
    """What a job is; each text has at most 255 characters."""

    psp_identifier: str = text("PSP_Identifier")
    psp_display_name: str = text("PSP_DisplayName")
    user_name: str = text("JobOriginatingUserName")


@element(DSP, "DocumentDescription")
class DocumentDescription(Bound):
    """One document of a job: its number (1 and up, chosen by the device) and its format."""

    document_id: int = text("DocumentId", INTEGER)
    format: DocumentFormat | str = text("Format", keyword(DocumentFormat))


@element(DSP, "Documents")
class Documents(Bound):
    """The documents of a job."""

    documents: tuple[DocumentDescription, ...] = children(
        "DocumentDescription", DocumentDescription, each="Document", default=()
    )


# Operations ---------------------------------------------------------------------------------------------


@element(DSP, "CreatePostScanJobRequest")
class CreatePostScanJobRequest(Bound):
    """Asks for a job.

    ``user_identifier`` is the user's SID, ``psp_identifier`` the scan process's GUID in any of its spellings
    (:func:`postscan.contracts.identifiers.parse_process_identifier`).
    """

    user_identifier: str = text("UserIdentifier")
    psp_identifier: str = text("PSP_Identifier")
    instructions: PostScanInstructions = child("PostScanInstructions", PostScanInstructions)

    @classmethod
    def for_process(cls, *, user_identifier: str, psp_identifier: str, instructions: etree._Element) -> Self:
        """Return the request that sends the stored instructions of a scan process on as they are.

        :param instructions: psp:PostScanInstructions as read from the directory.
        :raises InvalidArgument: they cannot be read.
        """
        return cls(
            user_identifier=user_identifier,
            psp_identifier=psp_identifier,
            instructions=PostScanInstructions.from_element(instructions),
        )

    @property
    def instructions_element(self) -> etree._Element:
        """The instructions as an element: dsp:PostScanInstructions as it came, when this was read."""
        return self.instructions.element


@element(DSP, "CreatePostScanJobResponse")
class CreatePostScanJobResponse(Bound):
    """The job is there; the token names it from now on."""

    job_token: str = text("JobToken")


@element(DSP, "SendImageRequest")
class SendImageRequest(Bound):
    """Sends one image; ``image`` is dsp:ImageData, which holds base64 or an xop:Include."""

    job_token: str = text("JobToken")
    description: DocumentDescription = child("DocumentDescription", DocumentDescription)
    image: etree._Element = raw("ImageData")


@element(DSP, "SendImageResponse")
class SendImageResponse(Bound):
    """The image is kept."""


@element(DSP, "EndPostScanJobRequest")
class EndPostScanJobRequest(Bound):
    """Tells that all images were sent."""

    job_token: str = text("JobToken")


@element(DSP, "EndPostScanJobResponse")
class EndPostScanJobResponse(Bound):
    """The job is complete and will be worked on."""


@element(DSP, "CancelPostScanJobRequest")
class CancelPostScanJobRequest(Bound):
    """Asks to cancel a job."""

    job_token: str = text("JobToken")


@element(DSP, "CancelPostScanJobResponse")
class CancelPostScanJobResponse(Bound):
    """The job is being canceled."""


@element(DSP, "GetPostScanJobElementsRequest")
class GetPostScanJobElementsRequest(Bound):
    """Asks for elements of a job by name (trap 2 and 3).

    ``names`` are Clark names; one whose prefix is not declared stays as it stands (``x:JobStatus``), and one
    without prefix and default namespace is a bare local name. Both are names nobody knows.
    """

    job_token: str = text("JobToken")
    names: tuple[str, ...] = texts("Name", NAME, wrapper="RequestedElements")


@element(DSP, "ElementData")
class ElementData(Bound):
    """One element that was asked for.

    ``name`` is as in the request. When it is ``valid`` one of the others is set; when it is not known, none.
    """

    name: str = attribute(qname(DSP, "Name"), NAME)
    valid: bool = attribute(qname(DSP, "Valid"), BOOLEAN)
    status: JobStatus | None = child("JobStatus", JobStatus, default=None)
    description: JobDescription | None = child("JobDescription", JobDescription, default=None)
    documents: Documents | None = child("Documents", Documents, default=None)


@element(DSP, "GetPostScanJobElementsResponse")
class GetPostScanJobElementsResponse(Bound):
    """The elements that were asked for, one for each name, in order."""

    elements: tuple[ElementData, ...] = children("ElementData", ElementData, wrapper="JobElements")


# Events -------------------------------------------------------------------------------------------------


@element(DSP, "PostScanJobStatusEvent")
class PostScanJobStatusEvent(Bound):
    """A job's status has changed."""

    status: JobStatus = child("JobStatus", JobStatus)


@element(DSP, "PostScanJobEndState")
class PostScanJobEndState(Bound):
    """How a job ended; ``reasons`` holds at least one (``None`` when there is nothing to say)."""

    job_token: str = text("JobToken")
    psp_identifier: str = text("PSP_Identifier")
    psp_display_name: str = text("PSP_DisplayName")
    user_name: str = text("JobOriginatingUserName")
    state: JobState | str = text("JobCompletedState", _JOB_STATE)
    reasons: tuple[JobStateReason | str, ...] = texts(
        "JobStateReason", _JOB_STATE_REASON, wrapper="JobCompletedStateReasons"
    )
    filters: tuple[FilterStatus, ...] = children(
        "FilterStatus", FilterStatus, wrapper="FilterCompletedStatuses"
    )
    images_received: int = text("ImagesReceived", INTEGER)
    completed: datetime | None = text("JobCompletedTime", DATE_TIME, default=None)


@element(DSP, "PostScanJobEndStateEvent")
class PostScanJobEndStateEvent(Bound):
    """A job has ended."""

    end_state: PostScanJobEndState = child("PostScanJobEndState", PostScanJobEndState)


# Actions ------------------------------------------------------------------------------------------------


def action_of(message_class: type[Bound]) -> str:
    """Return the wsa:Action of a message (spec README, Constants): a request's has no ``Request`` in it."""
    return f"{DSP}/{split_qname(message_class.TAG)[1].removesuffix('Request')}"


REQUESTS: Final[dict[str, type[Bound]]] = {
    action_of(kind): kind
    for kind in (
        CreatePostScanJobRequest,
        SendImageRequest,
        EndPostScanJobRequest,
        CancelPostScanJobRequest,
        GetPostScanJobElementsRequest,
    )
}
"""The class of every request, by action."""
