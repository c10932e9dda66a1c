"""The scan process as stored in the directory (scan-process-and-filters.md; schema/psp.xsd).

It says which server does the work, how the device scans (the ticket), and what the server does with the
images (the instructions, one entry for each filter).
"""

from __future__ import annotations

from typing import TypeVar

from lxml import etree

from postscan.contracts import schemas
from postscan.contracts.binding import Bound, child, children, element, flag, raw, text
from postscan.contracts.wscn import ScanTicket
from postscan.core.errors import InvalidArgument
from postscan.soap.names import PREFIX_OF, PSP, SPX, WSCN, display_name, qname, split_qname
from postscan.soap.xml import PROCESS_LIMITS, parse

_B = TypeVar("_B", bound=Bound)


@element(PSP, "Filter")
class FilterToProcess(Bound):
    """One filter of a job.

    ``dialect`` is the URI that names the filter and its namespace; ``instructions`` is the element
    psp:Instructions, whose content only that filter understands (:func:`filter_config` reads it).
    """

    dialect: str = text("Dialect")
    instructions: etree._Element = raw("Instructions")


@element(PSP, "PostScanInstructions", keeps_source=True)
class PostScanInstructions(Bound):
    """What the server does with the images of a job.

    ``document_root_name`` begins the name of every file; without ``continue_on_error`` the first filter that
    fails ends the job. The last two are extensions (schema/spx.xsd): what the user may change at the device.
    """

    continue_on_error: bool = flag("ContinueOnError", default=False)
    document_root_name: str = text("DocumentRootName")
    filters: tuple[FilterToProcess, ...] = children("Filter", FilterToProcess, wrapper="FiltersToProcess")
    allow_device_file_name_change: bool = flag("AllowDeviceFileNameChange", default=False, namespace=SPX)
    allow_device_file_path_change: bool = flag("AllowDeviceFilePathChange", default=False, namespace=SPX)

    @property
    def element(self) -> etree._Element:
        """The instructions as an element: the one they were read from, or one written from the fields."""
        return self.to_element() if self.source is None else self.source


@element(PSP, "PostScanProcess", keeps_source=True)
class PostScanProcess(Bound):
    """A scan process; ``scan_repository`` is the fully qualified domain name of the scan server.

    The extensions that open something to the user may stand here or in the instructions: ask
    :attr:`file_name_may_change` and :attr:`file_path_may_change`.
    """

    scan_repository: str = text("ScanRepository")
    scan_ticket: ScanTicket = child("ScanTicket", ScanTicket)
    instructions: PostScanInstructions = child("PostScanInstructions", PostScanInstructions)
    allow_device_file_name_change: bool = flag("AllowDeviceFileNameChange", default=False, namespace=SPX)
    allow_device_file_path_change: bool = flag("AllowDeviceFilePathChange", default=False, namespace=SPX)

    @property
    def instructions_element(self) -> etree._Element:
        """The instructions as an element, which a device sends on unchanged."""
        return self.instructions.element

    @property
    def scan_ticket_element(self) -> etree._Element:
        """The scan ticket as an element (psp:ScanTicket), with what vendors added to it."""
        source = self.scan_ticket.source
        return self.scan_ticket.to_element(tag=qname(PSP, "ScanTicket")) if source is None else source

    @property
    def file_name_may_change(self) -> bool:
        """Whether the user may change DocumentRootName at the device."""
        return self.allow_device_file_name_change or self.instructions.allow_device_file_name_change

    @property
    def file_path_may_change(self) -> bool:
        """Whether the user may change the target of the file-share filter at the device."""
        return self.allow_device_file_path_change or self.instructions.allow_device_file_path_change


def read_process(xml: bytes) -> PostScanProcess:
    """Read a scan process.

    :raises XmlRefused: not XML, not acceptable XML, or more than 524,288 characters.
    :raises InvalidArgument: not a scan process, or one that breaks the schema; ``detail`` names the element.
    """
    root = parse(xml, PROCESS_LIMITS)
    if root.tag != PostScanProcess.TAG:
        raise InvalidArgument(f"{root.tag!s} is not a scan process", detail=display_name(str(root.tag)))
    schemas.validate(root)
    return PostScanProcess.from_element(root)


def write_process(process: PostScanProcess) -> bytes:
    """Return the scan process as an indented XML document in UTF-8, for people to read.

    :raises InvalidArgument: a value does not fit the schema (a text is too long, no filter is there).
    """
    written = process.to_element()
    prefixes: dict[str | None, str] = dict(written.nsmap)
    for namespace in {PSP, WSCN}.difference(prefixes.values()):
        prefixes[PREFIX_OF[namespace]] = namespace
    root = etree.Element(PostScanProcess.TAG, nsmap=prefixes)
    for name, value in written.attrib.items():
        root.set(name, value)
    root.extend(list(written))
    schemas.validate(root)
    etree.indent(root, space="  ")
    return etree.tostring(root, encoding="utf-8", xml_declaration=True, pretty_print=True)


def filter_config(instructions: etree._Element, kind: type[_B]) -> _B:
    """Read what psp:Instructions hold for one kind of filter.

    :raises InvalidArgument: they hold no such element, several, or an unreadable one.
    """
    found = instructions.findall(kind.TAG)
    if len(found) != 1:
        local = split_qname(kind.TAG)[1]
        raise InvalidArgument(
            f"{len(found)} elements {local} in the instructions", detail=display_name(kind.TAG)
        )
    return kind.from_element(found[0])
