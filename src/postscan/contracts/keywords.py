"""The published keyword sets (ws-dsp.md, schema/wscn.xsd)."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """States of a PostScan job (ws-dsp.md, JobStatus.JobState)."""

    CREATING = "Creating"
    PENDING = "Pending"
    PENDING_HELD = "Pending-Held"
    STARTED = "Started"
    PROCESSING = "Processing"
    TERMINATING = "Terminating"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    CANCELED = "Canceled"


class JobStateReason(StrEnum):
    """Why a job is in its state, in the spelling of WS-DSP (ws-dsp.md, JobStateReason)."""

    NONE = "None"
    NO_VALID_INSTRUCTIONS = "NoValidPostScanInstructionsFound"
    CREATE_FAILED = "CreatePostScanJobFailed"
    SEND_IMAGE_FAILED = "SendImageFailed"
    CANCELED = "PostScanJobCanceled"
    PROCESSING_FAILED = "PostScanJobProcessingFailed"
    COMPLETED_SUCCESSFULLY = "PostScanJobCompletedSuccessfully"
    COMPLETED_WITH_ERRORS = "PostScanJobCompletedWithErrors"
    COMPLETED_WITH_WARNINGS = "PostScanJobCompletedWithWarnings"


class FilterState(StrEnum):
    """States of one filter of a job (ws-dsp.md, FilterStatus.FilterState)."""

    PENDING = "Pending"
    PROCESSING = "Processing"
    CANCELED = "Canceled"
    COMPLETED_SUCCESSFULLY = "CompletedSuccessfully"
    COMPLETED_WITH_ERRORS = "CompletedWithErrors"
    COMPLETED_WITH_WARNINGS = "CompletedWithWarnings"


class FilterStateReason(StrEnum):
    """Why a filter is in its state, in the spelling of WS-DSP (ws-dsp.md, FilterStateReason)."""

    INVALID_ARGS = "InvalidArgs"
    OUT_OF_DISK_SPACE = "OutOfDiskSpace"
    SERVER_OUT_OF_MEMORY = "ServerOutOfMemory"
    FILE_SHARE_ACCESS_DENIED = "FileShareAccessDenied"
    FILE_SHARE_OUT_OF_DISK_SPACE = "FileShareOutOfDiskSpace"
    SHAREPOINT_ACCESS_DENIED = "SharepointAccessDenied"
    SHAREPOINT_OUT_OF_DISK_SPACE = "SharepointOutOfDiskSpace"
    INVALID_SMTP_SERVER = "InvalidSMTPServer"
    UNABLE_TO_SEND_EMAIL = "UnableToSendEmail"
    UNKNOWN_ERROR = "UnknownError"


class DocumentFormat(StrEnum):
    """What a document may be (ws-dsp.md, SendImageRequest.DocumentDescription.Format)."""

    DIB = "dib"
    EXIF = "exif"
    JBIG = "jbig"
    JFIF = "jfif"
    JPEG2K = "jpeg2k"
    PDF_A = "pdf-a"
    PNG = "png"
    TIFF_SINGLE_UNCOMPRESSED = "tiff-single-uncompressed"
    TIFF_SINGLE_G4 = "tiff-single-g4"
    TIFF_SINGLE_G3MH = "tiff-single-g3mh"
    TIFF_SINGLE_JPEG = "tiff-single-jpeg-tn2"
    TIFF_MULTI_UNCOMPRESSED = "tiff-multi-uncompressed"
    TIFF_MULTI_G4 = "tiff-multi-g4"
    TIFF_MULTI_G3MH = "tiff-multi-g3mh"
    TIFF_MULTI_JPEG = "tiff-multi-jpeg-tn2"
    XPS = "xps"


class RepositoryState(StrEnum):
    """States of a scan server as a whole ([MS-BDSRR] 2.2.5.18)."""

    IDLE = "Idle"
    PROCESSING = "Processing"
    STOPPED = "Stopped"


class RepositoryStateReason(StrEnum):
    """Why a scan server is in its state; nothing else is published ([MS-BDSRR] 2.2.5.17)."""

    NONE = "None"


END_STATES = frozenset({JobState.COMPLETED, JobState.ABORTED, JobState.CANCELED})
FILTER_END_STATES = frozenset(
    {
        FilterState.CANCELED,
        FilterState.COMPLETED_SUCCESSFULLY,
        FilterState.COMPLETED_WITH_ERRORS,
        FilterState.COMPLETED_WITH_WARNINGS,
    }
)
