"""The scan ticket: every setting, and the marks that it must be honored."""

from __future__ import annotations

import pytest
from lxml import etree

from postscan.contracts import wscn
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.psp import PostScanProcess, read_process
from postscan.core.errors import InvalidArgument
from postscan.soap.names import PSP, WSCN

FULL = """
<w:Format w:MustHonor="1">tiff-single-g4</w:Format>
<w:CompressionQualityFactor>80</w:CompressionQualityFactor>
<w:ImagesToTransfer>0</w:ImagesToTransfer>
<w:InputSource>ADFDuplex</w:InputSource>
<w:FilmScanMode>NotApplicable</w:FilmScanMode>
<w:ContentType w:MustHonor="false">Mixed</w:ContentType>
<w:InputSize><w:InputMediaSize><w:Width>8500</w:Width><w:Height>11000</w:Height></w:InputMediaSize></w:InputSize>
<w:Exposure><w:ExposureSettings><w:Contrast>-1000</w:Contrast><w:Sharpness>100</w:Sharpness>
</w:ExposureSettings></w:Exposure>
<w:Scaling w:MustHonor="true">
<w:ScalingWidth>100</w:ScalingWidth><w:ScalingHeight>50</w:ScalingHeight></w:Scaling>
<w:Rotation>90</w:Rotation>
<w:MediaSides>
  <w:MediaFront>
    <w:ScanRegion>
      <w:ScanRegionXOffset>10</w:ScanRegionXOffset>
      <w:ScanRegionWidth w:MustHonor="true">8000</w:ScanRegionWidth>
      <w:ScanRegionHeight>10000</w:ScanRegionHeight>
    </w:ScanRegion>
    <w:ColorProcessing w:MustHonor="true"> RGB24 </w:ColorProcessing>
    <w:Resolution><w:Width>300</w:Width></w:Resolution>
  </w:MediaFront>
  <w:MediaBack><w:Resolution w:MustHonor="true"><w:Width>300</w:Width><w:Height>200</w:Height></w:Resolution>
  </w:MediaBack>
</w:MediaSides>
<v:Staple xmlns:v="urn:vendor" w:MustHonor="true">corner</v:Staple>
"""

SETTINGS = {
    "Format": [kind.value for kind in DocumentFormat] + ["application/x-acme", "image/x.y+z"],
    "InputSource": ["ADF", "ADFDuplex", "Film", "Platen", "acme:Drum"],
    "FilmScanMode": [
        "NotApplicable",
        "ColorSlideFilm",
        "ColorNegativeFilm",
        "BlackandWhiteNegativeFilm",
        "acme:Infrared",
    ],
    "ContentType": ["Auto", "Text", "Photo", "Halftone", "Mixed", "acme:Map"],
    "Rotation": ["0", "90", "180", "270", "acme:Any"],
    "CompressionQualityFactor": ["0", "100"],
    "ImagesToTransfer": ["0", "2147483647"],
}
COLORS = [
    "BlackAndWhite1",
    "Grayscale4",
    "Grayscale8",
    "Grayscale16",
    "RGB24",
    "RGB48",
    "RGBa32",
    "RGBa64",
    "acme:CMYK32",
]


def ticket(parameters: str) -> wscn.ScanTicket:
    """Read a scan process whose ticket has these parameters."""
    xml = f"""<q:PostScanProcess xmlns:q="{PSP}" xmlns:w="{WSCN}"><q:ScanRepository>s</q:ScanRepository>
      <q:ScanTicket><w:JobDescription><w:JobName>J</w:JobName>
        <w:JobOriginatingUserName>U</w:JobOriginatingUserName><w:JobInformation>I</w:JobInformation>
        </w:JobDescription><w:DocumentParameters>{parameters}</w:DocumentParameters></q:ScanTicket>
      <q:PostScanInstructions><q:DocumentRootName>d</q:DocumentRootName><q:FiltersToProcess><q:Filter>
      <q:Dialect>urn:f</q:Dialect><q:Instructions/></q:Filter></q:FiltersToProcess></q:PostScanInstructions>
    </q:PostScanProcess>"""
    process: PostScanProcess = read_process(xml.encode())
    return process.scan_ticket


def parameters(xml: str) -> wscn.DocumentParameters:
    found = ticket(xml).parameters
    assert found is not None
    return found


def test_every_setting_is_read() -> None:
    assert ticket(FULL).job == wscn.TicketJob(name="J", user_name="U", information="I")
    assert parameters(FULL) == wscn.DocumentParameters(
        format=wscn.Keyword(value="tiff-single-g4", must_honor=True),
        quality=wscn.Number(value=80),
        images_to_transfer=wscn.Number(value=0),
        input_source=wscn.Keyword(value="ADFDuplex"),
        film_scan_mode=wscn.Keyword(value="NotApplicable"),
        content_type=wscn.Keyword(value="Mixed"),
        input_size=wscn.InputSize(media=wscn.MediaSize(width=8500, height=11000)),
        exposure=wscn.Exposure(settings=wscn.ExposureSettings(contrast=-1000, sharpness=100)),
        scaling=wscn.Scaling(width=100, height=50, must_honor=True),
        rotation=wscn.Keyword(value="90"),
        media_sides=wscn.MediaSides(
            front=wscn.MediaSide(
                region=wscn.ScanRegion(
                    x_offset=wscn.Number(value=10),
                    width=wscn.Number(value=8000, must_honor=True),
                    height=wscn.Number(value=10000),
                ),
                color=wscn.Keyword(value="RGB24", must_honor=True),
                resolution=wscn.Resolution(width=300),
            ),
            back=wscn.MediaSide(resolution=wscn.Resolution(width=300, height=200, must_honor=True)),
        ),
    )


def test_marks_are_found_wherever_they_stand() -> None:
    top = "wscn:DocumentParameters"
    front = f"{top}/wscn:MediaSides/wscn:MediaFront"
    assert ticket(FULL).must_honor == (
        f"{top}/wscn:Format",
        f"{top}/wscn:Scaling",
        f"{front}/wscn:ScanRegion/wscn:ScanRegionWidth",
        f"{front}/wscn:ColorProcessing",
        f"{top}/wscn:MediaSides/wscn:MediaBack/wscn:Resolution",
        f"{top}/Staple",
    )


def test_a_ticket_made_from_values_tells_its_marks() -> None:
    made = wscn.ScanTicket(
        job=wscn.TicketJob(name="J", user_name="U"),
        parameters=wscn.DocumentParameters(
            format=wscn.Keyword(value="png", must_honor=True), quality=wscn.Number(value=1)
        ),
    )
    assert made.must_honor == ("wscn:DocumentParameters/wscn:Format",)


def test_parameters_come_back_as_they_were() -> None:
    read = parameters(FULL)
    content = b"".join(etree.tostring(child) for child in read.to_element()).decode()
    assert parameters(content) == read


def test_what_the_device_finds_out_by_itself_is_read() -> None:
    read = parameters(
        "<w:InputSize><w:DocumentSizeAutoDetect>1</w:DocumentSizeAutoDetect></w:InputSize>"
        "<w:Exposure><w:AutoExposure>false</w:AutoExposure></w:Exposure>"
    )
    assert read.input_size == wscn.InputSize(auto_detect=True)
    assert read.exposure == wscn.Exposure(auto=False)


def test_one_resolution_stands_for_both() -> None:
    assert wscn.Resolution(width=300).pair == (300, 300)
    assert wscn.Resolution(width=300, height=200).pair == (300, 200)


def test_a_ticket_may_leave_everything_to_the_device() -> None:
    assert parameters("") == wscn.DocumentParameters()
    assert ticket("").must_honor == ()


@pytest.mark.parametrize(("local", "value"), [(k, v) for k, values in SETTINGS.items() for v in values])
def test_published_and_vendors_values_are_accepted(local: str, value: str) -> None:
    read = parameters(f"<w:{local}>\n {value}\n</w:{local}>")
    (setting,) = [s for s in vars(read).values() if s is not None]
    assert str(setting.value) == value


@pytest.mark.parametrize("color", COLORS)
def test_every_color_is_accepted(color: str) -> None:
    read = parameters(
        f"<w:MediaSides><w:MediaFront><w:ColorProcessing>{color}</w:ColorProcessing></w:MediaFront></w:MediaSides>"
    )
    assert read.media_sides is not None
    assert read.media_sides.front.color == wscn.Keyword(value=color)


@pytest.mark.parametrize(
    ("xml", "detail"),
    [
        ("<w:Format>a b</w:Format>", "wscn:Format"),
        ("<w:CompressionQualityFactor>101</w:CompressionQualityFactor>", "wscn:CompressionQualityFactor"),
        ("<w:ImagesToTransfer>-1</w:ImagesToTransfer>", "wscn:ImagesToTransfer"),
        ("<w:InputSource>Glass</w:InputSource>", "wscn:InputSource"),
        ("<w:Rotation>45</w:Rotation>", "wscn:Rotation"),
        ("<w:InputSize/>", "wscn:InputMediaSize"),
        ('<w:Format w:MustHonor="perhaps">png</w:Format>', "wscn:Format/@wscn:MustHonor"),
        ("<w:Scaling><w:ScalingWidth>1001</w:ScalingWidth></w:Scaling>", "wscn:ScalingWidth"),
        ("<w:MediaSides/>", "wscn:MediaFront"),
        ("<w:Rotation>0</w:Rotation><w:Format>png</w:Format>", "wscn:Format"),
    ],
)
def test_other_values_are_refused(xml: str, detail: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ticket(xml)
    assert caught.value.detail == detail
