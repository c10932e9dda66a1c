"""What can go wrong with a job, each with the fault its sender sees (ws-dsp.md, common error codes)."""

from __future__ import annotations

from postscan.core.errors import (
    INVALID_ARGS,
    OPERATION_FAILED,
    TEMPORARY_ERROR,
    ConfigurationError,
    FaultKind,
    FaultParty,
    PostscanError,
)


class JobNotFound(PostscanError):
    """No job has this token, or it belongs to another identity, which is the same (abuse case 22)."""

    fault = FaultKind(FaultParty.SENDER, "ClientErrorJobTokenNotFound", "No job matches the token.")
    advice = "Create a new job."


class WrongState(PostscanError):
    """The job's state does not allow the operation."""

    fault = OPERATION_FAILED
    advice = "Ask for the job's status; create a new job to send more images."


class JobEnded(WrongState):
    """The job was ended already and takes no more images."""


class NoImages(WrongState):
    """A job without images was to be ended; it stays Creating."""

    advice = "Send at least one image before ending the job, or cancel it."


class NotRetryable(WrongState):
    """The job has nothing left that could be delivered again."""

    advice = "Only jobs that ended with errors and whose images are still kept can be delivered again."


class JobWasCanceled(PostscanError):
    """The job was canceled meanwhile (by the panel or by an administrator)."""

    fault = FaultKind(FaultParty.RECEIVER, "ServerErrorPostScanJobCanceled", "The job was canceled.")
    advice = "Create a new job."


class DocumentConflict(PostscanError):
    """Another image with the same DocumentId was accepted before (R-5)."""

    fault = INVALID_ARGS
    advice = "Give every image of a job its own DocumentId."

    def __init__(self, message: str) -> None:
        super().__init__(message, detail="dsp:DocumentId")


class ImageTooLarge(PostscanError):
    """One image is larger than the settings allow."""

    fault = INVALID_ARGS
    advice = "Scan with a lower resolution or another format, or raise max_image_bytes."

    def __init__(self, message: str) -> None:
        super().__init__(message, detail="dsp:ImageData")


class JobTooLarge(PostscanError):
    """The job has as many images, or as many octets, as the settings allow."""

    fault = OPERATION_FAILED
    advice = "End this job and send the rest in another, or raise max_images_per_job or max_job_bytes."


class TooManyJobs(PostscanError):
    """Too many jobs wait for their images, of this identity or of all (abuse case 41)."""

    fault = TEMPORARY_ERROR
    retry_helps = True
    advice = "End or cancel open jobs, or wait until the idle ones are given up."


class OutOfDiskSpace(PostscanError):
    """The spool or the store has no room left (R-9)."""

    fault = FaultKind(FaultParty.RECEIVER, "OutOfDiskSpace", "The server has not enough disk space.")
    retry_helps = True
    advice = "Free disk space on the scan server, or lower min_free_bytes."


class UnknownFilter(PostscanError):
    """A job asks for a filter that this server does not have; ``detail`` is its dialect."""

    fault = INVALID_ARGS
    advice = "Correct the scan process, or install the filter."


class BrokenContract(PostscanError):
    """A filter did what the filter contract does not allow: a defect of the filter."""

    advice = "Tell whoever made the filter; the images are kept."


class UnusableProducts(BrokenContract):
    """What a processing filter returned is not what it may return."""


class StorageUnavailable(PostscanError):
    """The spool or the store could not be written or read; nothing was acknowledged."""

    fault = TEMPORARY_ERROR
    retry_helps = True
    advice = "See the scan server's log for what its disk or database said."


class SpoolUnsafe(ConfigurationError):
    """The spool folder is a link, not a folder, or another account's (abuse case 29)."""

    advice = "Let the spool be a folder that the server's account owns, with nothing else in it."


class StorageInUse(ConfigurationError):
    """Another server process works on the same spool."""

    advice = "Stop the other server, or give this one a data folder of its own."


class SchemaTooNew(ConfigurationError):
    """The database was written by a newer version of this program."""

    advice = "Install the newer version again, or restore a backup of the database."
