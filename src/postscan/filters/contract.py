"""What a filter is: it reads its instructions, names its destinations, and delivers documents to each.

A filter never touches the jobs table. What it needs to know comes in ``JobFacts`` and ``SpooledDocument``;
what must survive a crash goes through the ``DeliveryLedger``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.core.errors import PostscanError

if TYPE_CHECKING:
    from lxml.etree import _Element


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a filter may know of a job."""

    token: str
    process_name: str
    user_name: str
    user_domain: str
    user_upn: str
    user_mail: str | None
    document_root_name: str
    created: datetime


@dataclass(frozen=True, slots=True)
class SpooledDocument:
    """One accepted image in the spool.

    ``number`` counts from 1 in the order of DocumentId; ``size`` is in octets; ``sha256`` is lower-case hex;
    ``format`` is what the bytes were found to be.
    """

    document_id: int
    number: int
    format: DocumentFormat
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Destination:
    """One place a filter delivers to; ``key`` identifies it within the job for good."""

    key: str
    label: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """One document, delivered: the final name at the destination, and its size in octets."""

    document_id: int
    name: str
    size: int


class DeliveryError(PostscanError):
    """A destination refused or could not be reached.

    ``transient`` is true when time can heal it (share away, disk full): the runner tries again.
    """

    def __init__(self, message: str, *, reason: FilterStateReason, transient: bool, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.reason = reason
        self.transient = transient


class InstructionsError(PostscanError):
    """A filter cannot work with these instructions at all; ``detail`` names what is wrong."""

    advice = "Correct the scan process; `postscan processes validate` names what is wrong."


class DeliveryLedger(Protocol):
    """Where a filter writes down, durably, what it is about to do and what it has done."""

    async def planned_name(self, document_id: int) -> str | None:
        """Return the name planned before a crash for this document at this destination, if any."""

    async def plan(self, document_id: int, name: str) -> None:
        """Record durably that the document is about to appear under ``name``."""

    async def delivered(self, delivery: Delivered) -> None:
        """Record durably that the document is there."""

    async def already_delivered(self) -> dict[int, Delivered]:
        """Return what is there already, by document id."""


class Filter(Protocol):
    """The filter contract: destinations() always before deliver(), deliver() again after any failure."""

    dialect: ClassVar[str]

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return where this job's documents go; raises InstructionsError when the instructions are wrong."""

    async def deliver(
        self,
        destination: Destination,
        job: JobFacts,
        documents: Sequence[SpooledDocument],
        ledger: DeliveryLedger,
    ) -> None:
        """Deliver every document not yet delivered; raises DeliveryError.

        Must be idempotent: called again after a crash at any point it completes what is missing and
        doubles nothing.
        """


@runtime_checkable
class ConfiguredFilter(Protocol):
    """A filter that tells administrators how it is set up."""

    def configuration(self) -> _Element | None:
        """Return what WS-DSC puts into FilterConfig, an element of the filter's own namespace."""
