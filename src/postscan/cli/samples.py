"""The sample scan processes of a new installation: for everyone, for one group, and to two places at once."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from lxml import etree

from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.psp import FilterToProcess, PostScanInstructions, PostScanProcess, write_process
from postscan.contracts.wscn import (
    DocumentParameters,
    Keyword,
    MediaSide,
    MediaSides,
    Resolution,
    ScanTicket,
    TicketJob,
)
from postscan.core.errors import ConfigurationError
from postscan.directory.model import StoredProcess
from postscan.soap.names import FSF, PSP, qname

EVERYONE = "Everyone"
# ShareUNC holds at most 255 characters (scan-process-and-filters.md, fileshare schema).
_LONGEST_SHARE = 255


def archive_unc(fqdn: str) -> str:
    """Return the UNC root that the sample settings map to a local folder."""
    return rf"\\{fqdn}\archive"


def sample_processes(delivered: Path, fqdn: str, group: str) -> tuple[StoredProcess, ...]:
    """Return three scan processes.

    :param delivered: the absolute folder they deliver to; ``archive`` below it is the first archive.
    :param fqdn: the server's name; :func:`archive_unc` of it is the second archive.
    :param group: who may use "Invoices".
    :raises ConfigurationError: the folder's path is too long to be written into a scan process.
    """
    return (
        _process(
            "Scan to my folder",
            fqdn,
            group=EVERYONE,
            root_name="Scan",
            shares=[delivered.as_uri()],
            format_=DocumentFormat.PDF_A,
            color="RGB24",
            device_may_rename=True,
        ),
        _process(
            "Invoices",
            fqdn,
            group=group,
            root_name="Invoice",
            shares=[(delivered / "invoices").as_uri()],
            format_=DocumentFormat.TIFF_SINGLE_G4,
            color="BlackAndWhite1",
        ),
        _process(
            "Archive (two places)",
            fqdn,
            group=EVERYONE,
            root_name="Archive",
            shares=[(delivered / "archive").as_uri(), archive_unc(fqdn)],
            format_=DocumentFormat.JFIF,
            color="Grayscale8",
            continue_on_error=True,
        ),
    )


def _process(
    name: str,
    fqdn: str,
    *,
    group: str,
    root_name: str,
    shares: list[str],
    format_: DocumentFormat,
    color: str,
    continue_on_error: bool = False,
    device_may_rename: bool = False,
) -> StoredProcess:
    for share in shares:
        if len(share) > _LONGEST_SHARE:
            raise ConfigurationError(
                f"{share} is longer than the {_LONGEST_SHARE} characters a scan process can hold",
                advice="make the installation in a folder with a shorter path",
            )
    process = PostScanProcess(
        scan_repository=fqdn,
        scan_ticket=ScanTicket(
            job=TicketJob(name=name, user_name=""),
            parameters=DocumentParameters(
                format=Keyword(value=format_),
                input_source=Keyword(value="ADF"),
                media_sides=MediaSides(
                    front=MediaSide(color=Keyword(value=color), resolution=Resolution(width=300, height=300))
                ),
            ),
        ),
        instructions=PostScanInstructions(
            continue_on_error=continue_on_error,
            document_root_name=root_name,
            filters=(FilterToProcess(dialect=FSF, instructions=_file_shares(shares)),),
            allow_device_file_name_change=device_may_rename,
        ),
    )
    return StoredProcess(
        identifier=uuid4(),
        display_name=name,
        xml=write_process(process),
        process=process,
        groups=frozenset({group}),
    )


def _file_shares(shares: list[str]) -> etree._Element:
    instructions = etree.Element(qname(PSP, "Instructions"), nsmap={"psp": PSP, "fsf": FSF})
    FileShareConfig(share_uncs=tuple(shares)).to_element(instructions)
    return instructions
