"""The messages of WS-DSC: requests as the server reads them, answers as a console does, which checks less."""

from __future__ import annotations

from typing import Final

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target
from fuzz.targets.wsdsp import read_and_write
from postscan.contracts import dsc, schemas
from postscan.contracts.binding import Bound
from postscan.soap.envelope import read_envelope
from postscan.soap.xml import parse, serialize

_TOLD: Final[tuple[type[Bound], ...]] = (
    dsc.GetRepositoryElementsResponse,
    dsc.GetPostScanJobElementsResponse,
    dsc.GetActiveJobsResponse,
    dsc.GetJobHistoryResponse,
    *dsc.EVENTS.values(),
)
_KINDS: Final[dict[str, type[Bound]]] = {kind.TAG: kind for kind in (*dsc.REQUESTS.values(), *_TOLD)}


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
    if isinstance(value, dsc.GetRepositoryElementsResponse):
        for told in value.elements:
            for offered in told.configuration.filters if told.configuration else ():
                dsc.dialect_name(dsc.dialect_uri(offered.dialect))


def seeds() -> list[bytes]:
    """Return one of each message."""
    return samples.dsc_messages()


TARGET = Target(
    "wsdsc", run, seeds, mutate_xml, words=(b"Skip", b"Total", b"Dialect", b"RepositoryStateReason")
)
