"""The messages of WS-DSP: requests as the server reads them, answers as a device does, which checks less."""

from __future__ import annotations

from typing import Final

from lxml import etree

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target
from postscan.contracts import dsp, schemas
from postscan.contracts.binding import Bound
from postscan.contracts.compare import differences
from postscan.contracts.identifiers import parse_process_identifier
from postscan.core.errors import InvalidArgument
from postscan.soap.envelope import read_envelope
from postscan.soap.xml import parse, serialize
from postscan.soap.xop import include_of

_TOLD: Final[tuple[type[Bound], ...]] = (
    dsp.CreatePostScanJobResponse,
    dsp.GetPostScanJobElementsResponse,
    dsp.PostScanJobStatusEvent,
    dsp.PostScanJobEndStateEvent,
)
_KINDS: Final[dict[str, type[Bound]]] = {kind.TAG: kind for kind in (*dsp.REQUESTS.values(), *_TOLD)}


def run(data: bytes) -> None:
    """Read a message without its schema, then by it; what the schema accepts can be written again."""
    root = parse(data)
    body = read_envelope(root).body
    kind = None if body is None else _KINDS.get(str(body.tag))
    if body is None or kind is None:
        return
    read_and_write(kind, body)
    schemas.validate(root)
    value = kind.from_element(body)
    kind.from_element(parse(serialize(value.to_element())))
    if isinstance(value, dsp.CreatePostScanJobRequest):
        parse_process_identifier(value.psp_identifier)
        differences(samples.process(), value.instructions_element)
    elif isinstance(value, dsp.SendImageRequest):
        include_of(value.image)


def read_and_write(kind: type[Bound], body: etree._Element) -> None:
    """Read a message that nobody has validated, and write it if it can be read."""
    try:
        value = kind.from_element(body)
    except InvalidArgument:
        return
    serialize(value.to_element())


def seeds() -> list[bytes]:
    """Return one of each message."""
    return samples.dsp_messages()


TARGET = Target(
    "wsdsp",
    run,
    seeds,
    mutate_xml,
    words=(b"JobToken", b"RequestedElements", b"Valid", b"DocumentId", b"ImageData"),
)
