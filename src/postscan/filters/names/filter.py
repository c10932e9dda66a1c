"""The names filter: hands documents on as they are, under names that a template makes."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat, FilterStateReason
from postscan.contracts.names import BarcodeChoice, BarcodeKind, BarcodePage, NamesConfig
from postscan.contracts.psp import filter_config
from postscan.core.errors import InvalidArgument, PostscanError
from postscan.filters.contract import (
    PROCESSING,
    DeliveryError,
    Destination,
    FileFormat,
    InstructionsError,
    JobFacts,
    ProbeOrder,
    ProcessingOrder,
    Product,
    SpooledDocument,
    Workbench,
    Workers,
)
from postscan.filters.names import barcodes
from postscan.filters.names.fields import (
    BARCODE,
    COUNTER,
    FIELDS,
    Place,
    name_of,
    places_of,
    unfit,
    values_of,
)
from postscan.filters.names.reading import LIMITS, BarcodeReader
from postscan.filters.naming import document_name
from postscan.filters.templates import Template
from postscan.soap.names import NAMES, display_name

if TYPE_CHECKING:
    from lxml.etree import _Element

_SAMPLE_BARCODE: Final = "BARCODE"
_PREVIEWED_PAGES: Final = 3


@dataclass(frozen=True, slots=True)
class _Naming:
    """Instructions that were understood."""

    template: Template
    counter: str | None
    barcode: BarcodeChoice


class NamesFilter:
    """The filter of dialect NAMES."""

    dialect: ClassVar[str] = NAMES

    def __init__(self, *, zone: tzinfo | None = None, workers: Workers | None = None) -> None:
        """Make the filter.

        :param zone: the time zone of dates and times, this machine's when None.
        :param workers: where a dry run reads a barcode; without them it does not.
        """
        self._zone = zone
        self._workers = workers

    def destinations(self, instructions: _Element, job: JobFacts) -> list[Destination]:
        """Return the one destination of processing filters; raises InstructionsError."""
        _naming(instructions)
        return [PROCESSING]

    async def process(self, order: ProcessingOrder, bench: Workbench) -> Sequence[Product]:
        """Hand every document on under its name.

        One whose barcode is missing, where the template does not say what to write instead, keeps the name it
        had. A page that cannot be read is a warning: it costs the name, never the document.
        """
        naming = _naming(order.instructions)
        counter = None
        if COUNTER in naming.template.fields:
            counter = await bench.count(f"names/{naming.counter or order.job.process_id}")
        found = await BarcodeReader(naming.template, naming.barcode, bench).read(order.documents)
        products = []
        for document, place, barcode in zip(order.documents, places_of(order.documents), found, strict=True):
            name = document.name
            if barcode is not None or BARCODE not in naming.template.needed:
                values = values_of(order.job, place, zone=self._zone, counter=counter, barcode=barcode)
                name = name_of(naming.template, values) or document.name
            products.append(
                Product(
                    path=document.path,
                    format=document.format,
                    sources=document.sources or (document.document_id,),
                    name=name,
                    pages=document.pages,
                )
            )
        bench.progress(len(products), len(products))
        return products

    def preview(self, instructions: _Element, job: JobFacts) -> list[str]:
        """Return what the pages of a job would be called, one by one and as one document."""
        template = _naming(instructions).template
        count = _PREVIEWED_PAGES
        single = [Place(number, count, number, 1) for number in range(1, count + 1)]
        names = self._names(template, job, single, DocumentFormat.TIFF_SINGLE_G4)
        joined = self._names(template, job, [Place(1, 1, 1, count)], DerivedFormat.PDF)
        told = [f"page {number} of {count} would be {name}" for number, name in enumerate(names, start=1)]
        told.append(f"one document of {count} pages would be {joined[0]}")
        if BARCODE in template.fields:
            told.append(f"{_SAMPLE_BARCODE} stands for what the barcode says")
        if BARCODE in template.needed:
            usual = document_name(job, _document(1, DerivedFormat.PDF, None), zone=self._zone)
            told.append(f"where no barcode is found, a document has the usual name: {usual}")
        return told

    def _names(
        self, template: Template, job: JobFacts, places: Sequence[Place], form: FileFormat
    ) -> list[str]:
        """Return the names of sample documents of one job, at a target that had none of them."""
        taken: Counter[str] = Counter()
        found = []
        for place in places:
            values = values_of(job, place, zone=self._zone, counter=1, barcode=_SAMPLE_BARCODE)
            document = _document(place.document, form, name_of(template, values))
            first = document_name(job, document, zone=self._zone)
            found.append(document_name(job, document, attempt=taken[first], zone=self._zone))
            taken[first] += 1
        return found

    async def probe(self, order: ProbeOrder) -> list[str]:
        """Make a name, and read a barcode from a page drawn for it where the template wants one."""
        naming = _naming(order.instructions)
        proven = []
        if BARCODE in naming.template.fields and self._workers is not None:
            kind = await self._probe_barcode(self._workers)
            proven.append(f"a {kind} barcode was read from a page drawn for it")
        places = [Place(1, 1, 1, 1)]
        name = self._names(naming.template, order.job, places, DocumentFormat.TIFF_SINGLE_G4)[0]
        sample = f" ({_SAMPLE_BARCODE} standing for one)" if BARCODE in naming.template.fields else ""
        proven.append(f"a page would be called {name}{sample}")
        return proven

    async def _probe_barcode(self, workers: Workers) -> str:
        kind = BarcodeKind.CODE_128
        try:
            with tempfile.TemporaryDirectory(prefix="postscan-names-") as folder:
                drawn = {"kind": str(kind), "text": _SAMPLE_BARCODE}
                found = await workers.run(barcodes.PROVE, drawn, folder=Path(folder), limits=LIMITS)
        except (PostscanError, OSError) as error:
            advice = error.what_to_do if isinstance(error, PostscanError) else ""
            raise DeliveryError(
                f"barcodes cannot be read: {error}",
                reason=FilterStateReason.UNKNOWN_ERROR,
                transient=False,
                advice=advice or "Look at the server's log.",
            ) from error
        if found != _SAMPLE_BARCODE:
            raise DeliveryError(
                "a barcode drawn for it was not found",
                reason=FilterStateReason.UNKNOWN_ERROR,
                transient=False,
                advice="Install zxing-cpp again, as `pip install` of Postscan does.",
            )
        return kind


def _document(number: int, form: FileFormat, name: str | None) -> SpooledDocument:
    """Return a document that has no file, to ask for its name."""
    return SpooledDocument(number, number, form, Path(), 0, "", name=name)


def _naming(instructions: _Element) -> _Naming:
    """Read the instructions; raises InstructionsError."""
    try:
        if instructions.tag == NamesConfig.TAG:
            config = NamesConfig.from_element(instructions)
        else:
            config = filter_config(instructions, NamesConfig)
    except InvalidArgument as error:
        raise InstructionsError(f"naming instructions: {error}", detail=error.detail) from error
    return _Naming(_template(config.template), config.counter, _choice(config.barcode or BarcodeChoice()))


def _template(text: str) -> Template:
    detail = display_name(f"{{{NAMES}}}Template")
    try:
        template = Template.parse(text, FIELDS)
    except PostscanError as error:
        raise InstructionsError(
            f"the template {_shown(text)}: {error}", detail=detail, advice=error.what_to_do
        ) from error
    wrong = unfit(template.literals)
    if wrong is not None:
        raise InstructionsError(
            f"the template {_shown(text)} holds {wrong}, which no name can hold",
            detail=detail,
            advice="Leave it out; a name cannot lead into a folder either.",
        )
    if not template.fields:
        raise InstructionsError(
            f"the template {_shown(text)} has no field: all documents would be called the same",
            detail=detail,
            advice=f"Put fields into it: {', '.join(f'{{{name}}}' for name in FIELDS)}.",
        )
    return template


def _choice(choice: BarcodeChoice) -> BarcodeChoice:
    unknown = [kind for kind in choice.kinds if kind not in set(BarcodeKind)]
    if unknown:
        raise InstructionsError(
            f"there is no kind of barcode {_shown(unknown[0])}",
            detail=display_name(f"{{{NAMES}}}Kind"),
            advice=f"Kinds there are: {', '.join(BarcodeKind)}.",
        )
    if choice.page not in set(BarcodePage):
        raise InstructionsError(
            f"barcodes cannot be read from {_shown(choice.page)}",
            detail=display_name(f"{{{NAMES}}}Page"),
            advice=f"Write one of {', '.join(BarcodePage)}.",
        )
    if choice.pattern is not None:
        try:
            re.compile(choice.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise InstructionsError(
                f"the pattern {_shown(choice.pattern)} is no regular expression: {error}",
                detail=display_name(f"{{{NAMES}}}Pattern"),
                advice="Correct it; [0-9]{8} means eight digits, for example.",
            ) from error
    return choice


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
