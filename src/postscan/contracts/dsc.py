"""WS-DSC: the messages of the five operations and the four events ([MS-BDSRR]; schema/dsc.xsd).

What WS-DSP has too is the same here in another namespace. Keywords are read in either service's spelling and
written in that of WS-DSC (trap 4).
"""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from postscan.contracts import dsp
from postscan.contracts.binding import (
    BOOLEAN,
    INTEGER,
    NAME,
    QNAME,
    Bound,
    Codec,
    attribute,
    child,
    children,
    element,
    keyword,
    raw,
    text,
    texts,
)
from postscan.contracts.codecs import vendor_keyword
from postscan.contracts.keywords import (
    FilterState,
    FilterStateReason,
    JobState,
    JobStateReason,
    RepositoryState,
    RepositoryStateReason,
)
from postscan.soap.names import DSC, EXTENSIONS, FTR, OWN_FILTERS, qname, split_qname

CONFIGURATION: Final = qname(DSC, "RepositoryConfiguration")
STATUS: Final = qname(DSC, "RepositoryStatus")
JOB_STATUS: Final = qname(DSC, "JobStatus")
JOB_DESCRIPTION: Final = qname(DSC, "JobDescription")
DOCUMENTS: Final = qname(DSC, "Documents")

TIMED_OUT: Final = "PostScanJobTimedOut"
"""Why a job was given up that got no End in time; WS-DSP has no such word ([MS-BDSRR] 2.2.5.11)."""
OUT_OF_DISK_SPACE: Final = qname(EXTENSIONS, "OutOfDiskSpace")
"""Why no job can begin: the disk has too little room. Nothing published fits."""
SHUTTING_DOWN: Final = qname(EXTENSIONS, "ShuttingDown")
"""Why no job can begin: the server is being stopped. Nothing published fits."""

_JOB_STATE_REASON = keyword(JobStateReason, written={JobStateReason.SEND_IMAGE_FAILED: "SendImangeFailed"})
_FILTER_STATE_REASON = keyword(
    FilterStateReason,
    written={
        FilterStateReason.SHAREPOINT_ACCESS_DENIED: "SharePointAccessDenied",
        FilterStateReason.SHAREPOINT_OUT_OF_DISK_SPACE: "SharePointOutOfDiskSpace",
    },
)
_JOB_STATE = keyword(JobState)
_STATE = keyword(RepositoryState)
_STATE_REASON = vendor_keyword(RepositoryStateReason)
_EXTENSION_NUMBER = Codec(INTEGER.read, INTEGER.write, lambda _: {"px": EXTENSIONS})
_LOCAL_NAME = re.compile(r"[^\W\d][\w.\-]*")

# The scan server ----------------------------------------------------------------------------------------


def dialect_name(dialect: str) -> str:
    """Return the qualified name (a Clark name) of a filter in RepositoryConfiguration (trap 5).

    Elsewhere a dialect is a URI: ``…/postscan/filter/fileshare`` there is ``ftr:fileshare`` here. A URI that
    does not end in a name becomes the namespace of the name ``filter``.
    """
    end = max(dialect.rfind(separator) for separator in "/#:")
    namespace, local = dialect[: max(end, 0)], dialect[end + 1 :]
    return qname(namespace, local) if namespace and _LOCAL_NAME.fullmatch(local) else qname(dialect, "filter")


def dialect_uri(name: str) -> str:
    """Return the URI of a filter whose qualified name this is, if it is a published one's or one of ours."""
    namespace, local = split_qname(name)
    if namespace == OWN_FILTERS:
        return f"{namespace}:{local}"
    return f"{namespace}/{local}" if namespace == FTR else namespace if local == "filter" else name


@element(DSC, "Filter")
class Filter(Bound):
    """A filter the server offers: its qualified name, and what it tells of its settings (FilterConfig)."""

    dialect: str = text("Dialect", QNAME)
    config: etree._Element = raw("FilterConfig")


@element(DSC, "RepositoryConfiguration")
class RepositoryConfiguration(Bound):
    """What the server offers."""

    filters: tuple[Filter, ...] = children("Filter", Filter, wrapper="Filters", default=())


@element(DSC, "RepositoryStatus")
class RepositoryStatus(Bound):
    """Where the server stands; reasons of ours are Clark names."""

    state: RepositoryState | str = text("RepositoryState", _STATE)
    reasons: tuple[RepositoryStateReason | str, ...] = texts(
        "RepositoryStateReason", _STATE_REASON, wrapper="RepositoryStateReasons", default=()
    )


@element(DSC, "StatusSummary")
class StatusSummary(RepositoryStatus):
    """The same under the name it has in an event."""


# Jobs ---------------------------------------------------------------------------------------------------


@element(DSC, "FilterStatus")
class FilterStatus(dsp.FilterStatus):
    """Where one filter of a job stands; ``dialect`` is the filter's URI."""

    dialect: str = text("Dialect")
    state: FilterState | str = text("FilterState", keyword(FilterState))
    reasons: tuple[FilterStateReason | str, ...] = texts(
        "FilterStateReason", _FILTER_STATE_REASON, wrapper="FilterStateReasons", default=()
    )


@element(DSC, "JobStatus")
class JobStatus(dsp.JobStatus):
    """Where a job stands."""

    reasons: tuple[JobStateReason | str, ...] = texts(
        "JobStateReason", _JOB_STATE_REASON, wrapper="JobStateReasons", default=()
    )
    filters: tuple[FilterStatus, ...] = children("FilterStatus", FilterStatus, wrapper="FilterStatuses")


@element(DSC, "JobDescription")
class JobDescription(dsp.JobDescription):
    """What a job is."""


@element(DSC, "DocumentDescription")
class DocumentDescription(dsp.DocumentDescription):
    """One document of a job."""


@element(DSC, "Documents")
class Documents(dsp.Documents):
    """The documents of a job."""

    documents: tuple[DocumentDescription, ...] = children(
        "DocumentDescription", DocumentDescription, each="Document", default=()
    )


@element(DSC, "JobSummary")
class JobSummary(Bound):
    """A job in a list: what it is, and where it stands."""

    job_token: str = text("JobToken")
    psp_identifier: str = text("PSP_Identifier")
    psp_display_name: str = text("PSP_DisplayName")
    user_name: str = text("JobOriginatingUserName")
    state: JobState | str = text("JobState", _JOB_STATE)
    reasons: tuple[JobStateReason | str, ...] = texts(
        "JobStateReason", _JOB_STATE_REASON, wrapper="JobStateReasons", default=()
    )
    filters: tuple[FilterStatus, ...] = children("FilterStatus", FilterStatus, wrapper="FilterStatuses")
    images_received: int = text("ImagesReceived", INTEGER)


@element(DSC, "PostScanJobEndState")
class PostScanJobEndState(dsp.PostScanJobEndState):
    """How a job ended."""

    reasons: tuple[JobStateReason | str, ...] = texts(
        "JobStateReason", _JOB_STATE_REASON, wrapper="JobCompletedStateReasons"
    )
    filters: tuple[FilterStatus, ...] = children(
        "FilterStatus", FilterStatus, wrapper="FilterCompletedStatuses"
    )


@element(DSC, "JobList")
class JobList(Bound):
    """Jobs, newest first.

    ``total`` is an attribute of ours: how many there are in all, when an envelope does not hold them.
    """

    total: int | None = attribute(qname(EXTENSIONS, "Total"), _EXTENSION_NUMBER, default=None)
    jobs: tuple[JobSummary, ...] = children("JobSummary", JobSummary, default=())


# Operations ---------------------------------------------------------------------------------------------


@element(DSC, "GetRepositoryElementsRequest")
class GetRepositoryElementsRequest(Bound):
    """Asks for elements of the server by name; names as in dsp.GetPostScanJobElementsRequest."""

    names: tuple[str, ...] = texts("Name", NAME, wrapper="RequestedElements")


@element(DSC, "ElementData")
class RepositoryElementData(Bound):
    """One element that was asked for: ``valid`` and one of the others, or neither."""

    name: str = attribute(qname(DSC, "Name"), NAME)
    valid: bool = attribute(qname(DSC, "Valid"), BOOLEAN)
    configuration: RepositoryConfiguration | None = child(
        "RepositoryConfiguration", RepositoryConfiguration, default=None
    )
    status: RepositoryStatus | None = child("RepositoryStatus", RepositoryStatus, default=None)


@element(DSC, "GetRepositoryElementsResponse")
class GetRepositoryElementsResponse(Bound):
    """The elements that were asked for, one for each name, in order."""

    elements: tuple[RepositoryElementData, ...] = children(
        "ElementData", RepositoryElementData, wrapper="RepositoryElements"
    )


@element(DSC, "GetPostScanJobElementsRequest")
class GetPostScanJobElementsRequest(dsp.GetPostScanJobElementsRequest):
    """Asks for elements of any job by name."""


@element(DSC, "ElementData")
class JobElementData(dsp.ElementData):
    """One element that was asked for: ``valid`` and one of the others, or neither."""

    name: str = attribute(qname(DSC, "Name"), NAME)
    valid: bool = attribute(qname(DSC, "Valid"), BOOLEAN)
    status: JobStatus | None = child("JobStatus", JobStatus, default=None)
    description: JobDescription | None = child("JobDescription", JobDescription, default=None)
    documents: Documents | None = child("Documents", Documents, default=None)


@element(DSC, "GetPostScanJobElementsResponse")
class GetPostScanJobElementsResponse(Bound):
    """The elements that were asked for, one for each name, in order."""

    elements: tuple[JobElementData, ...] = children("ElementData", JobElementData, wrapper="JobElements")


@element(DSC, "CancelPostScanJobRequest")
class CancelPostScanJobRequest(Bound):
    """Asks to cancel any job."""

    job_token: str = text("JobToken")


@element(DSC, "CancelPostScanJobResponse")
class CancelPostScanJobResponse(Bound):
    """The job is being canceled."""


@element(DSC, "GetActiveJobsRequest")
class GetActiveJobsRequest(Bound):
    """Asks for the jobs that have not ended; ``skip``, an element of ours, leaves out the newest of them."""

    skip: int | None = text("Skip", _EXTENSION_NUMBER, default=None, namespace=EXTENSIONS)


@element(DSC, "GetActiveJobsResponse")
class GetActiveJobsResponse(Bound):
    """The jobs that have not ended."""

    active: JobList = child("ActiveJobs", JobList)


@element(DSC, "GetJobHistoryRequest")
class GetJobHistoryRequest(Bound):
    """Asks for the jobs that have ended; ``skip`` as in GetActiveJobsRequest."""

    skip: int | None = text("Skip", _EXTENSION_NUMBER, default=None, namespace=EXTENSIONS)


@element(DSC, "GetJobHistoryResponse")
class GetJobHistoryResponse(Bound):
    """The jobs that have ended."""

    history: JobList = child("JobHistory", JobList)


# Events -------------------------------------------------------------------------------------------------


@element(DSC, "ElementChanges")
class ElementChanges(Bound):
    """What is new."""

    configuration: RepositoryConfiguration | None = child(
        "RepositoryConfiguration", RepositoryConfiguration, default=None
    )


@element(DSC, "RepositoryElementsChangeEvent")
class RepositoryElementsChangeEvent(Bound):
    """The server's configuration has changed."""

    changes: ElementChanges = child("ElementChanges", ElementChanges)


@element(DSC, "RepositoryStatusSummaryEvent")
class RepositoryStatusSummaryEvent(Bound):
    """The server's status has changed."""

    summary: StatusSummary = child("StatusSummary", StatusSummary)


@element(DSC, "PostScanJobStatusEvent")
class PostScanJobStatusEvent(Bound):
    """A job's status has changed."""

    status: JobStatus = child("JobStatus", JobStatus)


@element(DSC, "PostScanJobEndStateEvent")
class PostScanJobEndStateEvent(Bound):
    """A job has ended."""

    end_state: PostScanJobEndState = child("PostScanJobEndState", PostScanJobEndState)


# Actions ------------------------------------------------------------------------------------------------


def action_of(message_class: type[Bound]) -> str:
    """Return the wsa:Action of a message (spec README, Constants): a request's has no ``Request`` in it."""
    return f"{DSC}/{split_qname(message_class.TAG)[1].removesuffix('Request')}"


REQUESTS: Final[dict[str, type[Bound]]] = {
    action_of(kind): kind
    for kind in (
        GetRepositoryElementsRequest,
        CancelPostScanJobRequest,
        GetPostScanJobElementsRequest,
        GetActiveJobsRequest,
        GetJobHistoryRequest,
    )
}
"""The class of every request, by action."""

EVENTS: Final[dict[str, type[Bound]]] = {
    action_of(kind): kind
    for kind in (
        RepositoryElementsChangeEvent,
        RepositoryStatusSummaryEvent,
        PostScanJobStatusEvent,
        PostScanJobEndStateEvent,
    )
}
"""The class of every event, by action."""
