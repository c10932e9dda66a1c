"""The scan ticket: how the device is to scan (ws-scan.md, ScanTicket; schema/wscn.xsd).

Every setting may be absent, which leaves it to the device. A setting marked MustHonor is done exactly or the
ticket is refused; we take the mark to say, too, that the setting is not open to the user (trap 18).
Lengths are in thousandths of an inch, resolutions in dots per inch, scaling in percent.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from postscan.contracts.binding import (
    BOOLEAN,
    INTEGER,
    Bound,
    child,
    content,
    element,
    flag_attribute,
    text,
)
from postscan.soap.names import WSCN, display_name, qname
from postscan.soap.xml import WHITE_SPACE

MUST_HONOR: Final = qname(WSCN, "MustHonor")


@element(WSCN, "Keyword")
class Keyword(Bound):
    """A setting that is a word: a published keyword, a vendor's ``prefix:Token`` or a media type."""

    value: str = content()
    must_honor: bool = flag_attribute(MUST_HONOR, default=False)


@element(WSCN, "Number")
class Number(Bound):
    """A setting that is a whole number."""

    value: int = content(INTEGER)
    must_honor: bool = flag_attribute(MUST_HONOR, default=False)


@element(WSCN, "Resolution")
class Resolution(Bound):
    """Dots per inch along the scan line (``width``) and across it; ``height`` None means the same."""

    width: int = text("Width", INTEGER)
    height: int | None = text("Height", INTEGER, default=None)
    must_honor: bool = flag_attribute(MUST_HONOR, default=False)

    @property
    def pair(self) -> tuple[int, int]:
        """Both resolutions."""
        return self.width, self.width if self.height is None else self.height


@element(WSCN, "ScanRegion")
class ScanRegion(Bound):
    """The part of the page to scan; offsets count from its upper left corner."""

    x_offset: Number | None = child("ScanRegionXOffset", Number, default=None)
    y_offset: Number | None = child("ScanRegionYOffset", Number, default=None)
    width: Number = child("ScanRegionWidth", Number)
    height: Number = child("ScanRegionHeight", Number)


@element(WSCN, "MediaFront")
class MediaSide(Bound):
    """How one side of the sheet is scanned; ``color`` is one of ``RGB24``, ``Grayscale8`` and the like."""

    region: ScanRegion | None = child("ScanRegion", ScanRegion, default=None)
    color: Keyword | None = child("ColorProcessing", Keyword, default=None)
    resolution: Resolution | None = child("Resolution", Resolution, default=None)


@element(WSCN, "MediaSides")
class MediaSides(Bound):
    """How both sides are scanned; without ``back`` it is as the front."""

    front: MediaSide = child("MediaFront", MediaSide)
    back: MediaSide | None = child("MediaBack", MediaSide, default=None)
    must_honor: bool = flag_attribute(MUST_HONOR, default=False)


@element(WSCN, "InputMediaSize")
class MediaSize(Bound):
    """The size of the sheet."""

    width: int = text("Width", INTEGER)
    height: int = text("Height", INTEGER)


@element(WSCN, "InputSize")
class InputSize(Bound):
    """The size of the original: found out by the device, or given; one of the two is set."""

    auto_detect: bool | None = text("DocumentSizeAutoDetect", BOOLEAN, default=None)
    media: MediaSize | None = child("InputMediaSize", MediaSize, default=None)
    must_honor: bool = flag_attribute(MUST_HONOR, default=False)


@element(WSCN, "ExposureSettings")
class ExposureSettings(Bound):
    """Adjustments from the device's normal: the first two from -1000 to 1000, sharpness from -100 to 100."""

    contrast: int | None = text("Contrast", INTEGER, default=None)
    brightness: int | None = text("Brightness", INTEGER, default=None)
    sharpness: int | None = text("Sharpness", INTEGER, default=None)


@element(WSCN, "Exposure")
class Exposure(Bound):
    """The exposure: left to the device, or given; one of the two is set."""

    auto: bool | None = text("AutoExposure", BOOLEAN, default=None)
    settings: ExposureSettings | None = child("ExposureSettings", ExposureSettings, default=None)
    must_honor: bool = flag_attribute(MUST_HONOR, default=False)


@element(WSCN, "Scaling")
class Scaling(Bound):
    """The scaling, from 1 to 1000 percent."""

    width: int = text("ScalingWidth", INTEGER)
    height: int = text("ScalingHeight", INTEGER)
    must_honor: bool = flag_attribute(MUST_HONOR, default=False)


@element(WSCN, "DocumentParameters")
class DocumentParameters(Bound):
    """The settings for the documents of a job.

    ``format`` is a value of :class:`postscan.contracts.keywords.DocumentFormat` or a vendor's media type;
    ``quality`` is from 0 (smallest file) to 100; ``images_to_transfer`` 0 means all there are.
    """

    format: Keyword | None = child("Format", Keyword, default=None)
    quality: Number | None = child("CompressionQualityFactor", Number, default=None)
    images_to_transfer: Number | None = child("ImagesToTransfer", Number, default=None)
    input_source: Keyword | None = child("InputSource", Keyword, default=None)
    film_scan_mode: Keyword | None = child("FilmScanMode", Keyword, default=None)
    content_type: Keyword | None = child("ContentType", Keyword, default=None)
    input_size: InputSize | None = child("InputSize", InputSize, default=None)
    exposure: Exposure | None = child("Exposure", Exposure, default=None)
    scaling: Scaling | None = child("Scaling", Scaling, default=None)
    rotation: Keyword | None = child("Rotation", Keyword, default=None)
    media_sides: MediaSides | None = child("MediaSides", MediaSides, default=None)


@element(WSCN, "JobDescription")
class TicketJob(Bound):
    """What the ticket says of the job: texts for people, at most 255 characters each."""

    name: str = text("JobName")
    user_name: str = text("JobOriginatingUserName")
    information: str | None = text("JobInformation", default=None)


@element(WSCN, "ScanTicket", keeps_source=True)
class ScanTicket(Bound):
    """A scan ticket; what vendors added to it stays in :attr:`source`."""

    job: TicketJob = child("JobDescription", TicketJob)
    parameters: DocumentParameters | None = child("DocumentParameters", DocumentParameters, default=None)

    @property
    def must_honor(self) -> tuple[str, ...]:
        """Where the marks stand, a vendor's included: prefixed names from the ticket down, by ``/``."""
        root = self.to_element() if self.source is None else self.source
        return tuple(
            _path(root, node)
            for node in root.iter("{*}*")
            if node.get(MUST_HONOR, "").strip(WHITE_SPACE) in ("true", "1")
        )


def _path(root: etree._Element, node: etree._Element) -> str:
    names = [display_name(str(node.tag))]
    for ancestor in node.iterancestors():
        if ancestor is root:
            break
        names.append(display_name(str(ancestor.tag)))
    return "/".join(reversed(names))
