"""The scan processes of the test domain: one for each way of giving, and refusing, the right to use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

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
from postscan.soap.names import FSF, PSP, qname
from testdomain.facts import PROCESSES_DN, SCAN_SERVER
from testdomain.foreign import FOREIGN_XML

# The share every process delivers to.
SHARE: Final = rf"\\{SCAN_SERVER}\scans"
_NAMES: Final = UUID("6d1f5d0e-6f4b-4a53-9d0f-1d7c3f1f6f10")
_FULL: Final = "RPWPCRCCDCLCLORCWOWDSDDTSW"
_READ: Final = "RPLCLORC"
# Domain Admins and the system may do everything, the scan servers read; nothing is inherited.
_PROTECTED: Final = (
    f"O:DAG:DAD:P(A;;{_FULL};;;DA)(A;;{_FULL};;;SY)(A;;{_READ};;;{{Scan Servers}})"
    f"(A;;{_FULL};;;{{Scan Administrators}})"
)
# The same by inheritance from the container, to which these rights are delegated.
_INHERITING: Final = f"O:DAG:DAD:(A;;{_FULL};;;DA)(A;;{_FULL};;;SY)"


@dataclass(frozen=True, slots=True)
class DomainProcess:
    """A scan process of the test domain.

    ``descriptor`` is its security descriptor as SDDL, in which ``{name}`` stands for the SID of an account;
    ``readers`` are the users who may use it, disabled and expired ones not counted; ``broken`` says that
    what it holds is no scan process.
    """

    display_name: str
    xml: bytes
    descriptor: str
    readers: frozenset[str]
    broken: bool = False

    @property
    def identifier(self) -> UUID:
        """Its identifier, the same in every test domain."""
        return uuid5(_NAMES, self.display_name)

    @property
    def dn(self) -> str:
        """The distinguished name of its object."""
        return f"CN={self.identifier},{PROCESSES_DN}"


def domain_processes() -> tuple[DomainProcess, ...]:
    """Return the scan processes the domain is populated with."""
    everybody = ("alice", "bob", "dave", "frank", "zoë(test)")

    def one(name: str, base: str, aces: str, *readers: str) -> DomainProcess:
        return DomainProcess(name, own_xml(name), base + aces, frozenset(readers))

    return (
        one("Invoices to Finance", _PROTECTED, f"(A;;{_READ};;;{{ScanFinance}})", "alice"),
        one("Staff archive", _INHERITING, f"(A;;{_READ};;;{{ScanStaff}})", "alice", "bob"),
        one("For Alice alone", _PROTECTED, f"(A;;{_READ};;;{{alice}})", "alice"),
        one("For everybody", _INHERITING, f"(A;;{_READ};;;AU)", *everybody),
        DomainProcess(
            "For everybody but Bob",
            own_xml("For everybody but Bob"),
            # What denies comes first.
            f"O:DAG:DAD:P(D;;{_READ};;;{{bob}}){_PROTECTED.partition('D:P')[2]}(A;;{_READ};;;AU)",
            frozenset(everybody) - {"bob"},
        ),
        one("Deep down", _PROTECTED, f"(A;;{_READ};;;{{ScanDeep1}})", "dave"),
        one("Round the ring", _PROTECTED, f"(A;;{_READ};;;{{ScanRingB}})", "zoë(test)"),
        one("Büro (Süd) & <Umlaute>", _INHERITING, f"(A;;{_READ};;;{{Büro (Süd)}})", "zoë(test)", "frank"),
        DomainProcess(
            "Written elsewhere", FOREIGN_XML, f"{_INHERITING}(A;;{_READ};;;AU)", frozenset(everybody)
        ),
        DomainProcess(
            "Broken",
            b"<psp:PostScanProcess this is no XML",
            f"{_INHERITING}(A;;{_READ};;;AU)",
            frozenset(everybody),
            broken=True,
        ),
        # Not even the scan server can read it.
        DomainProcess(
            "Hidden", own_xml("Hidden"), f"O:DAG:DAD:P(A;;{_FULL};;;DA)(A;;{_FULL};;;SY)", frozenset()
        ),
    )


def own_xml(name: str) -> bytes:
    """Return a scan process as this project writes it."""
    instructions = etree.Element(qname(PSP, "Instructions"), nsmap={"psp": PSP, "fsf": FSF})
    FileShareConfig(share_uncs=(SHARE,)).to_element(instructions)
    return write_process(
        PostScanProcess(
            scan_repository=SCAN_SERVER,
            scan_ticket=ScanTicket(
                job=TicketJob(name=name, user_name=""),
                parameters=DocumentParameters(
                    format=Keyword(value=DocumentFormat.PDF_A),
                    input_source=Keyword(value="ADF"),
                    media_sides=MediaSides(
                        front=MediaSide(
                            color=Keyword(value="Grayscale8"), resolution=Resolution(width=300, height=300)
                        )
                    ),
                ),
            ),
            instructions=PostScanInstructions(
                continue_on_error=False,
                document_root_name="Scan",
                filters=(FilterToProcess(dialect=FSF, instructions=instructions),),
                allow_device_file_name_change=True,
            ),
        )
    )
