"""The scan process: read from the directory, written for people."""

from __future__ import annotations

import dataclasses

import pytest
from lxml import etree

from postscan.contracts.emlf import EmailConfig
from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.psp import (
    FilterToProcess,
    PostScanInstructions,
    PostScanProcess,
    filter_config,
    read_process,
    write_process,
)
from postscan.contracts.spf import SharePointConfig
from postscan.contracts.wscn import DocumentParameters, Keyword, ScanTicket, TicketJob
from postscan.core.errors import InvalidArgument
from postscan.soap.names import EMLF, FSF, PSP, SPF, SPX, WSCN, qname
from postscan.soap.xml import XmlRefused

PROCESS = f"""<?xml version="1.0" encoding="utf-8"?>
<q:PostScanProcess xmlns:q="{PSP}" xmlns:w="{WSCN}" xmlns:x="{SPX}" xmlns:v="urn:vendor">
  <!-- written by an administrator -->
  <q:ScanRepository> scan.example.com
  </q:ScanRepository>
  <q:ScanTicket>
    <w:JobDescription>
      <w:JobName>Invoices</w:JobName>
      <w:JobOriginatingUserName>Ada</w:JobOriginatingUserName>
    </w:JobDescription>
    <w:DocumentParameters><w:Format w:MustHonor="true">pdf-a</w:Format></w:DocumentParameters>
    <v:Staple kind="v:corner"/>
  </q:ScanTicket>
  <q:PostScanInstructions>
    <q:ContinueOnError>1</q:ContinueOnError>
    <q:DocumentRootName>Rechnung für Ada</q:DocumentRootName>
    <q:FiltersToProcess>
      <q:Filter>
        <q:Dialect> {FSF} </q:Dialect>
        <q:Instructions>
          <f:FileShareConfig xmlns:f="{FSF}"><f:FileShares>
            <f:ShareUNC>\\\\files\\scans</f:ShareUNC>
            <f:ShareUNC>\\\\files\\copies</f:ShareUNC>
          </f:FileShares></f:FileShareConfig>
        </q:Instructions>
      </q:Filter>
      <q:Filter>
        <q:Dialect>{SPF}</q:Dialect>
        <q:Instructions>
          <s:SharePointConfig xmlns:s="{SPF}">
            <s:SaveToMySite>true</s:SaveToMySite>
            <s:SaveToSharePointSites>
              <s:SaveToSharePointSiteURL>http://contoso/site/scans</s:SaveToSharePointSiteURL>
            </s:SaveToSharePointSites>
          </s:SharePointConfig>
        </q:Instructions>
      </q:Filter>
      <q:Filter>
        <q:Dialect>{EMLF}</q:Dialect>
        <q:Instructions>
          <e:EmailConfig xmlns:e="{EMLF}">
            <e:SendToScanUser>0</e:SendToScanUser>
            <e:SendToAddresses e:CanAddAddresses="1">
              <e:EmailAddress>ada@example.com</e:EmailAddress>
            </e:SendToAddresses>
          </e:EmailConfig>
        </q:Instructions>
      </q:Filter>
    </q:FiltersToProcess>
    <x:AllowDeviceFileNameChange>true</x:AllowDeviceFileNameChange>
  </q:PostScanInstructions>
  <x:AllowDeviceFilePathChange>false</x:AllowDeviceFilePathChange>
</q:PostScanProcess>"""


def process() -> PostScanProcess:
    return read_process(PROCESS.encode())


def minimal(**changes: object) -> PostScanProcess:
    """Return a process made from values, not read from XML."""
    holder = etree.Element(qname(PSP, "Instructions"))
    FileShareConfig(share_uncs=(r"\\files\scans",)).to_element(holder)
    made = PostScanProcess(
        scan_repository="scan.example.com",
        scan_ticket=ScanTicket(
            job=TicketJob(name="Scan", user_name="Ada"),
            parameters=DocumentParameters(format=Keyword(value="png", must_honor=True)),
        ),
        instructions=PostScanInstructions(
            document_root_name="Scan", filters=(FilterToProcess(dialect=FSF, instructions=holder),)
        ),
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]  # tests name the fields


# Reading ------------------------------------------------------------------------------------------------


def test_a_process_is_read() -> None:
    read = process()

    assert read.scan_repository == "scan.example.com"
    assert read.scan_ticket.job.name == "Invoices"
    assert read.instructions.continue_on_error is True
    assert read.instructions.document_root_name == "Rechnung für Ada"
    assert [f.dialect for f in read.instructions.filters] == [FSF, SPF, EMLF]
    assert read.instructions_element.tag == qname(PSP, "PostScanInstructions")
    assert read.scan_ticket_element.find("{urn:vendor}Staple") is not None


def test_continue_on_error_is_off_when_nothing_is_said() -> None:
    xml = PROCESS.replace("<q:ContinueOnError>1</q:ContinueOnError>", "")
    assert read_process(xml.encode()).instructions.continue_on_error is False


@pytest.mark.parametrize("value", ["true", "1", " true "])
@pytest.mark.parametrize("place", ["</q:PostScanInstructions>", "</q:PostScanProcess>"])
def test_what_is_open_at_the_device_may_stand_in_two_places(place: str, value: str) -> None:
    flags = [
        f"<x:{local}>{value}</x:{local}>"
        for local in ("AllowDeviceFileNameChange", "AllowDeviceFilePathChange")
    ]
    plain = PROCESS.replace("<x:AllowDeviceFileNameChange>true</x:AllowDeviceFileNameChange>", "").replace(
        "<x:AllowDeviceFilePathChange>false</x:AllowDeviceFilePathChange>", ""
    )
    closed = read_process(plain.encode())
    opened = read_process(plain.replace(place, "".join(flags) + place).encode())

    assert (closed.file_name_may_change, closed.file_path_may_change) == (False, False)
    assert (opened.file_name_may_change, opened.file_path_may_change) == (True, True)


@pytest.mark.parametrize("written", ["false", "0", ""])
def test_a_flag_that_is_false_or_empty_opens_nothing(written: str) -> None:
    xml = PROCESS.replace("<x:AllowDeviceFileNameChange>true<", f"<x:AllowDeviceFileNameChange>{written}<")
    assert read_process(xml.encode()).file_name_may_change is False


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (("q:ScanRepository", "q:Server"), "psp:ScanRepository"),
        (("<w:JobName>Invoices</w:JobName>", ""), "wscn:JobName"),
        ((">pdf-a<", "> <"), "wscn:Format"),
        (("Rechnung für Ada", "x" * 256), "psp:DocumentRootName"),
        (("<q:ContinueOnError>1<", "<q:ContinueOnError>ja<"), "psp:ContinueOnError"),
        (("\\\\files\\scans", "x" * 256), "fsf:ShareUNC"),
        (("http://contoso/site/scans", "x" * 2049), "spf:SaveToSharePointSiteURL"),
        (('e:CanAddAddresses="1"', 'e:CanAddAddresses="all"'), "emlf:SendToAddresses/@emlf:CanAddAddresses"),
        (('e:CanAddAddresses="1"', 'CanAddAddresses="1"'), "emlf:SendToAddresses/@CanAddAddresses"),
        (
            ("<x:AllowDeviceFilePathChange>false<", "<x:AllowDeviceFilePathChange>maybe<"),
            "spx:AllowDeviceFilePathChange",
        ),
    ],
)
def test_a_process_that_breaks_the_schema_is_refused(change: tuple[str, str], detail: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_process(PROCESS.replace(*change).encode())
    assert caught.value.detail == detail


def test_another_document_is_not_a_process() -> None:
    xml = f'<f:FileShareConfig xmlns:f="{FSF}"/>'
    with pytest.raises(InvalidArgument) as caught:
        read_process(xml.encode())
    assert caught.value.detail == "fsf:FileShareConfig"


def test_a_process_has_at_most_524288_characters() -> None:
    padding = 524_288 - len(PROCESS)
    assert read_process((PROCESS + " " * padding).encode()).scan_repository == "scan.example.com"
    with pytest.raises(XmlRefused):
        read_process((PROCESS + " " * (padding + 1)).encode())


def test_a_process_with_a_document_type_is_refused() -> None:
    xml = PROCESS.replace("<q:PostScanProcess ", "<!DOCTYPE x [<!ENTITY a 'b'>]><q:PostScanProcess ", 1)
    with pytest.raises(XmlRefused):
        read_process(xml.encode())


# Writing ------------------------------------------------------------------------------------------------


def test_a_process_comes_back_as_it_was_written() -> None:
    written = write_process(minimal())
    read = read_process(written)

    assert read.scan_repository == "scan.example.com"
    assert read.scan_ticket == minimal().scan_ticket
    assert read.instructions.document_root_name == "Scan"
    assert filter_config(read.instructions.filters[0].instructions, FileShareConfig).share_uncs == (
        r"\\files\scans",
    )
    assert write_process(read) == written


def test_people_see_an_element_a_line() -> None:
    lines = write_process(process()).decode().splitlines()
    assert lines[0].startswith("<?xml ")
    assert (
        "    <psp:DocumentRootName>Scan</psp:DocumentRootName>"
        in write_process(minimal()).decode().splitlines()
    )
    assert any("Rechnung für Ada" in line for line in lines)


def test_what_a_vendor_added_is_written_again() -> None:
    read = read_process(write_process(process()))

    staple = read.scan_ticket_element.find("{urn:vendor}Staple")
    assert staple is not None
    assert staple.get("kind") == "v:corner"
    assert staple.nsmap["v"] == "urn:vendor"


def test_a_changed_process_is_written_as_changed() -> None:
    read = process()
    changed = dataclasses.replace(
        read, instructions=dataclasses.replace(read.instructions, document_root_name="Other")
    )

    again = read_process(write_process(changed))

    assert again.instructions.document_root_name == "Other"
    assert again.file_name_may_change is True
    assert again.scan_ticket_element.find("{urn:vendor}Staple") is not None


def test_flags_are_written_only_when_they_open_something() -> None:
    assert b"AllowDevice" not in write_process(minimal())
    opened = write_process(minimal(allow_device_file_path_change=True))
    assert read_process(opened).file_path_may_change is True
    assert read_process(opened).file_name_may_change is False


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"scan_repository": "x" * 256}, "psp:ScanRepository"),
        ({"instructions": PostScanInstructions(document_root_name="a", filters=())}, "psp:Filter"),
    ],
)
def test_a_process_that_nobody_could_read_is_not_written(change: dict[str, object], detail: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        write_process(minimal(**change))
    assert caught.value.detail == detail


# The three filters --------------------------------------------------------------------------------------


def instructions_of(dialect: str) -> etree._Element:
    return next(f.instructions for f in process().instructions.filters if f.dialect == dialect)


def test_shares_are_read_in_order() -> None:
    config = filter_config(instructions_of(FSF), FileShareConfig)
    assert config.share_uncs == (r"\\files\scans", r"\\files\copies")


def test_sharepoint_sites_are_read() -> None:
    config = filter_config(instructions_of(SPF), SharePointConfig)
    assert config == SharePointConfig(save_to_my_site=True, urls=("http://contoso/site/scans",))


def test_addresses_are_read_with_their_qualified_attribute() -> None:
    config = filter_config(instructions_of(EMLF), EmailConfig)
    assert config == EmailConfig(
        send_to_scan_user=False, addresses=("ada@example.com",), can_add_addresses=True
    )


@pytest.mark.parametrize(
    "config",
    [
        FileShareConfig(),
        FileShareConfig(share_uncs=("a", "b")),
        SharePointConfig(),
        SharePointConfig(save_to_my_site=True, urls=("a", "b")),
        EmailConfig(),
        EmailConfig(send_to_scan_user=True, addresses=("a", "b"), can_add_addresses=True),
        EmailConfig(addresses=("a",)),
    ],
)
def test_filter_instructions_come_back_as_they_were(
    config: FileShareConfig | SharePointConfig | EmailConfig,
) -> None:
    holder = etree.Element(qname(PSP, "Instructions"))
    config.to_element(holder)
    assert filter_config(holder, type(config)) == config


def test_instructions_without_those_of_the_filter_are_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        filter_config(instructions_of(SPF), FileShareConfig)
    assert caught.value.detail == "fsf:FileShareConfig"


def test_instructions_that_say_it_twice_are_refused() -> None:
    holder = etree.Element(qname(PSP, "Instructions"))
    FileShareConfig(share_uncs=("a",)).to_element(holder)
    FileShareConfig(share_uncs=("b",)).to_element(holder)
    with pytest.raises(InvalidArgument):
        filter_config(holder, FileShareConfig)
