"""The names filter: documents go on as they are, under names that a template makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.contracts.names import BarcodeKind, BarcodePage
from postscan.filters.contract import (
    PROCESSING,
    DeliveryError,
    InstructionsError,
    JsonValue,
    ProbeOrder,
    ProcessingOrder,
    Product,
    SpooledDocument,
    WorkFailed,
)
from postscan.filters.names import reading
from postscan.filters.names.fields import FIELDS, Place, name_of, values_of
from postscan.filters.names.filter import NamesFilter
from postscan.filters.naming import document_name
from postscan.filters.templates import Template
from postscan.soap.names import NAMES
from postscan.soap.xml import parse
from support.barcodes import barcode_choice, barcode_page, names_instructions
from support.delivery import JOB
from support.names import NASTY, assert_safe_everywhere
from support.processing import MemoryBench, as_documents, document, page, tiff_g4

BERLIN = ZoneInfo("Europe/Berlin")
FILTER = NamesFilter(zone=BERLIN)
FIRST = tiff_g4(barcode_page((BarcodeKind.CODE_128, "4711"), words="Invoice"))
SECOND = tiff_g4(barcode_page((BarcodeKind.QR_CODE, "4712"), words="Delivery note"))
PLAIN = tiff_g4(page("Only words"))
TIFF = DocumentFormat.TIFF_SINGLE_G4


class NoWorkers:
    """Workers that may not be asked, or only refuse, or answer as a test wants."""

    def __init__(self, refusal: WorkFailed | None = None, *, answer: JsonValue = "unasked") -> None:
        self._refusal = refusal
        self._answer = answer
        self.asked = 0

    async def run(self, task: str, arguments: Mapping[str, JsonValue], **_: object) -> JsonValue:
        """Refuse, or answer."""
        self.asked += 1
        if self._refusal is not None:
            raise self._refusal
        assert self._answer != "unasked", f"{task} was asked for"
        return self._answer


@pytest.fixture
def bench(tmp_path: Path) -> MemoryBench:
    return MemoryBench(tmp_path / "bench")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def named(
    bench: MemoryBench, template: str, *documents: SpooledDocument, rest: str = ""
) -> list[str | None]:
    order = ProcessingOrder(JOB, names_instructions(template, rest), documents)
    return [product.name for product in await FILTER.process(order, bench)]


async def test_documents_are_handed_on_without_a_copy(bench: MemoryBench, spool: Path) -> None:
    documents = [document(spool, 7, PLAIN, TIFF, number=1), document(spool, 9, PLAIN, TIFF, number=2)]
    order = ProcessingOrder(JOB, names_instructions("{root}-{document}"), documents)
    assert await FILTER.process(order, bench) == [
        Product(documents[0].path, TIFF, (7,), "Invoice-1", None),
        Product(documents[1].path, TIFF, (9,), "Invoice-2", None),
    ]
    assert not list(bench.folder.iterdir())
    assert bench.told[-1] == (2, 2)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{root}_{date}_{time}_{user}", "Invoice_2026-11-21_153005_alice"),
        ("{date:%d.%m.%Y, %H Uhr}", "21.11.2026, 15 Uhr"),
        ("{process} of {display_name} in {domain}", "Invoices of alice in example.com"),
        ("{job}", "6f2c3b1e"),
        ("{page:03} ({pages}), {document} of {documents}", "001 (1), 1 of 1"),
        ("{counter:05}", "00001"),
        ("{{{user:2}}}", "{al}"),
    ],
)
async def test_each_field_has_its_value(template: str, name: str, bench: MemoryBench, spool: Path) -> None:
    assert await named(bench, template, document(spool, 1, PLAIN, TIFF)) == [name]


async def test_the_full_name_stands_for_the_user_who_has_one(bench: MemoryBench, spool: Path) -> None:
    job = replace(JOB, user_display_name="Alice Müller")
    order = ProcessingOrder(job, names_instructions("{display_name}"), [document(spool, 1, PLAIN, TIFF)])
    (product,) = await FILTER.process(order, bench)
    assert product.name == "Alice Müller"


async def test_pages_are_counted_through_documents_of_several(bench: MemoryBench, spool: Path) -> None:
    documents = [
        document(spool, 1, PLAIN, TIFF, pages=3),
        replace(document(spool, 2, PLAIN, TIFF), sources=(4, 5)),
        document(spool, 3, PLAIN, TIFF),
    ]
    assert await named(bench, "{page}+{pages}", *documents) == ["1+3", "4+2", "6+1"]


async def test_the_counter_counts_jobs_and_is_the_same_for_a_job_again(
    bench: MemoryBench, spool: Path, tmp_path: Path
) -> None:
    documents = [document(spool, 1, PLAIN, TIFF), document(spool, 2, PLAIN, TIFF)]
    assert await named(bench, "{counter}", *documents) == ["1", "1"]
    after = bench.next_job(tmp_path / "next")
    assert await named(after, "{counter:03}", *documents) == ["002", "002"]
    assert await named(bench, "{counter}", *documents) == ["1", "1"]


async def test_a_counter_that_no_name_shows_is_not_used(bench: MemoryBench, spool: Path) -> None:
    await named(bench, "{root}", document(spool, 1, PLAIN, TIFF))
    assert not bench.counters


async def test_scan_processes_share_a_counter_that_they_name(bench: MemoryBench, spool: Path) -> None:
    shared = names_instructions("{counter}", "<names:Counter>invoices</names:Counter>")
    for process_id in ("a", "b"):
        job = replace(JOB, process_id=process_id)
        await FILTER.process(ProcessingOrder(job, shared, [document(spool, 1, PLAIN, TIFF)]), bench)
        own = ProcessingOrder(job, names_instructions("{counter}"), [document(spool, 1, PLAIN, TIFF)])
        await FILTER.process(own, bench)
    assert set(bench.counters) == {"names/invoices", "names/a", "names/b"}


async def test_the_barcode_of_the_first_page_names_all_documents(bench: MemoryBench, spool: Path) -> None:
    documents = [document(spool, number, content, TIFF) for number, content in ((1, FIRST), (2, PLAIN))]
    assert await named(bench, "{barcode}_{document}", *documents) == ["4711_1", "4711_2"]
    assert not bench.warnings


async def test_each_document_can_have_its_own_barcode(bench: MemoryBench, spool: Path) -> None:
    documents = [
        document(spool, number, content, TIFF) for number, content in ((1, FIRST), (2, PLAIN), (3, SECOND))
    ]
    choice = barcode_choice(where=BarcodePage.FIRST_OF_DOCUMENT)
    assert await named(bench, "{barcode|none}", *documents, rest=choice) == ["4711", "none", "4712"]
    assert not bench.warnings


async def test_a_document_without_a_barcode_keeps_its_name_where_nothing_else_is_said(
    bench: MemoryBench, spool: Path
) -> None:
    documents = [document(spool, 1, PLAIN, TIFF), replace(document(spool, 2, PLAIN, TIFF), name="before")]
    assert await named(bench, "{barcode}", *documents) == [None, "before"]
    assert bench.warnings == [
        "document 1: there is no barcode that fits on its first page (the usual names are kept)"
    ]


async def test_a_barcode_of_another_kind_or_pattern_does_not_fit(bench: MemoryBench, spool: Path) -> None:
    first = document(spool, 1, FIRST, TIFF)
    assert await named(bench, "{barcode|-}", first, rest=barcode_choice("QRCode")) == ["-"]
    assert await named(bench, "{barcode|-}", first, rest=barcode_choice(pattern="[0-9]{5}")) == ["-"]
    assert await named(bench, "{barcode|-}", first, rest=barcode_choice("Code128", pattern="4(.*)")) == [
        "711"
    ]


async def test_a_broken_page_costs_the_name_and_nothing_else(bench: MemoryBench, spool: Path) -> None:
    broken = document(spool, 1, FIRST[: len(FIRST) // 3], TIFF)
    good = document(spool, 2, SECOND, TIFF)
    choice = barcode_choice(where=BarcodePage.FIRST_OF_DOCUMENT)
    assert await named(bench, "{barcode}", broken, good, rest=choice) == [None, "4712"]
    (warning,) = bench.warnings
    assert warning == (
        "document 1: no barcode could be read: the first page is no tiff that can be decoded"
        " (it keeps its usual name)"
    )


async def test_a_format_that_barcodes_cannot_be_read_from_is_a_warning(
    bench: MemoryBench, spool: Path
) -> None:
    assert await named(bench, "{root}{barcode|}", document(spool, 1, b"PK", DocumentFormat.XPS)) == [
        "Invoice"
    ]
    assert bench.warnings == ["document 1: barcodes cannot be read from xps (documents are named without)"]


async def test_a_pattern_that_never_ends_is_ended_with_its_worker(
    bench: MemoryBench, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LIMITS", replace(reading.LIMITS, cpu_seconds=1))
    hostile = tiff_g4(barcode_page((BarcodeKind.QR_CODE, "a" * 60)))
    documents = [document(spool, 1, hostile, TIFF), document(spool, 2, FIRST, TIFF)]
    choice = barcode_choice(pattern="(a|a)*b|4711", where=BarcodePage.FIRST_OF_DOCUMENT)
    assert await named(bench, "{barcode|-}", *documents, rest=choice) == ["-", "4711"]
    (warning,) = bench.warnings
    assert warning.startswith("document 1: no barcode could be read: ")


async def test_after_some_pages_that_exhaust_workers_no_more_are_looked_at(
    spool: Path, tmp_path: Path
) -> None:
    workers = NoWorkers(WorkFailed("it took too long", limit="seconds"))
    bench = MemoryBench(tmp_path / "bench", workers=workers)
    documents = [document(spool, number, FIRST, TIFF) for number in range(1, 31)]
    choice = barcode_choice(where=BarcodePage.FIRST_OF_DOCUMENT)
    assert await named(bench, "{barcode|-}", *documents, rest=choice) == ["-"] * 30
    assert workers.asked == 4
    assert [warning.partition(":")[0] for warning in bench.warnings] == [
        "document 1",
        "document 2",
        "document 3",
        "too many pages could not be read",
    ]


@pytest.mark.parametrize(
    "answer",
    [None, "4711", [], ["4711"], [{"text": 4711}], [{"text": None}, {"text": "x"}], [{"other": 1}]],
    ids=str,
)
async def test_a_worker_that_says_something_odd_has_found_nothing(
    answer: JsonValue, spool: Path, tmp_path: Path
) -> None:
    bench = MemoryBench(tmp_path / "bench", workers=NoWorkers(answer=answer))
    assert await named(bench, "{barcode|-}", document(spool, 1, FIRST, TIFF)) == ["-"]


async def test_many_documents_are_read_a_few_at_a_time(bench: MemoryBench, spool: Path) -> None:
    contents = [FIRST, PLAIN, SECOND] * 4
    documents = [document(spool, number, content, TIFF) for number, content in enumerate(contents, start=1)]
    choice = barcode_choice(where=BarcodePage.FIRST_OF_DOCUMENT)
    names = await named(bench, "{barcode|-}", *documents, rest=choice)
    assert names == ["4711", "-", "4712"] * 4
    assert bench.told == [(8, 12), (12, 12), (12, 12)]


async def test_no_worker_is_asked_where_no_name_shows_a_barcode(spool: Path, tmp_path: Path) -> None:
    bench = MemoryBench(tmp_path / "bench", workers=NoWorkers())
    assert await named(bench, "{root}", document(spool, 1, FIRST, TIFF)) == ["Invoice"]


async def test_a_worker_that_fails_costs_the_name_and_nothing_else(spool: Path, tmp_path: Path) -> None:
    bench = MemoryBench(tmp_path / "bench", workers=NoWorkers(WorkFailed("it died", limit="memory_bytes")))
    assert await named(bench, "{root}{barcode|}", document(spool, 1, FIRST, TIFF)) == ["Invoice"]
    assert bench.warnings == ["document 1: no barcode could be read: it died (documents are named without)"]


async def test_the_worker_reads_the_spooled_document_and_leaves_it_as_it_is(
    bench: MemoryBench, spool: Path
) -> None:
    first = document(spool, 1, FIRST, TIFF)
    first.path.chmod(0o400)
    spool.chmod(0o500)
    await named(bench, "{barcode}", first)
    assert first.path.read_bytes() == FIRST


async def test_names_given_before_are_replaced(bench: MemoryBench, spool: Path) -> None:
    made = as_documents([Product(document(spool, 1, PLAIN, TIFF).path, TIFF, (1,), name="before", pages=4)])
    assert await named(bench, "{root} ({pages})", *made) == ["Invoice (4)"]


# ---------------------------------------------------------------- names are safe


# Every field alone, and some together.
TEMPLATES = (
    *(f"{{{field}}}" for field in FIELDS),
    "{root}_{date}_{user}_{counter:05}",
    "{process}{user}.{display_name}",
    "{user} {page}",
    ".{domain|.}",
)


@given(st.sampled_from(TEMPLATES), NASTY, NASTY, st.sampled_from(("", "x" * 10_000)))
@example("{root}", "CON", "x", "")
@example("{root}{barcode}", "CO", "M1", "")
@example("{root}", "..", "\u202e", "")
@example("{barcode}{document}", "", "../../etc/cron.d/x" * 500, "")
def test_whatever_fields_hold_the_file_name_is_safe_everywhere(
    template: str, one: str, other: str, much: str
) -> None:
    job = replace(
        JOB,
        document_root_name=one + much,
        user_name=other + much,
        user_display_name=one,
        user_domain=other,
        process_name=much + other,
        token=one or "0",
    )
    values = values_of(job, Place(1, 2, 1, 1), zone=BERLIN, counter=1, barcode=other + much)
    name = name_of(Template.parse(template, FIELDS), values)
    for attempt in (0, 1, 9_999):
        spooled = SpooledDocument(1, 1, DerivedFormat.PDF, Path(), 0, "", name=name)
        final = document_name(job, spooled, attempt=attempt)
        assert_safe_everywhere(final)
        assert final.endswith(f" ({attempt + 1}).pdf" if attempt else ".pdf")


@given(st.text(min_size=1, max_size=3_000), st.integers(1, 9_999))
def test_a_number_at_the_end_is_never_what_is_cut_off(root: str, counter: int) -> None:
    job = replace(JOB, document_root_name=root, user_name=root)
    values = values_of(job, Place(1, 1, 1, 1), zone=BERLIN, counter=counter)
    name = name_of(Template.parse("{root}_{user}_{date}_{counter:05}", FIELDS), values)
    final = document_name(job, SpooledDocument(1, 1, TIFF, Path(), 0, "", name=name))
    assert final.endswith(f"_2026-11-21_{counter:05}.tif")


def test_a_name_of_which_nothing_remains_is_none() -> None:
    values = values_of(replace(JOB, document_root_name="../.."), Place(1, 1, 1, 1), zone=None)
    assert name_of(Template.parse("{root}", FIELDS), values) is None


# ---------------------------------------------------------------- instructions


@pytest.mark.parametrize(
    ("template", "rest", "detail", "words"),
    [
        ("{rot}", "", "names:Template", "character 2: there is no field {rot}; did you mean {root}?"),
        ("{root", "", "names:Template", "not closed"),
        ("Scan", "", "names:Template", "all documents would be called the same"),
        ("{user}/{date}", "", "names:Template", "holds '/'"),
        ("{date:%H:%M}", "", "names:Template", "holds ':'"),
        ("{barcode|?}", "", "names:Template", r"holds '?'"),
        ("{root}\n{user}", "", "names:Template", "a line break or tabulator"),
        ("{root}\u202e", "", "names:Template", "the character U+202E"),
        ("{root}" * 200, "", "names:Template", "characters, and 1000 are allowed"),
        ("{root}", barcode_choice("Code129"), "names:Kind", "no kind of barcode 'Code129'"),
        ("{root}", barcode_choice(where="Last"), "names:Page", "'Last'"),
        ("{root}", barcode_choice(pattern="("), "names:Pattern", "no regular expression"),
    ],
    ids=lambda value: (
        value[:20] if isinstance(value, str) and value.isascii() and value.isprintable() else ""
    ),
)
def test_wrong_instructions_are_told_with_their_element(
    template: str, rest: str, detail: str, words: str
) -> None:
    with pytest.raises(InstructionsError) as caught:
        FILTER.destinations(names_instructions(template, rest), JOB)
    assert words in str(caught.value)
    assert caught.value.detail == detail
    assert caught.value.what_to_do
    assert len(str(caught.value)) < 400


def test_instructions_without_a_template_are_refused() -> None:
    empty = parse(f"<I xmlns:names='{NAMES}'><names:NamesConfig/></I>".encode())
    with pytest.raises(InstructionsError, match="Template is missing"):
        FILTER.destinations(empty, JOB)


def test_right_instructions_have_the_destination_of_processing_filters() -> None:
    choice = barcode_choice("QRCode", "EAN13", pattern="[0-9]+", where="FirstOfDocument")
    instructions = names_instructions(
        "{barcode|none} – {date:%Y}", f"<names:Counter>a</names:Counter>{choice}"
    )
    assert FILTER.destinations(instructions, JOB) == [PROCESSING]


def test_the_preview_shows_what_pages_would_be_called() -> None:
    assert FILTER.preview(names_instructions("{root}_{date}_{user}_{counter:05}_{page}"), JOB) == [
        "page 1 of 3 would be Invoice_2026-11-21_alice_00001_1.tif",
        "page 2 of 3 would be Invoice_2026-11-21_alice_00001_2.tif",
        "page 3 of 3 would be Invoice_2026-11-21_alice_00001_3.tif",
        "one document of 3 pages would be Invoice_2026-11-21_alice_00001_1.pdf",
    ]


def test_the_preview_shows_how_equal_names_are_told_apart_and_the_usual_name() -> None:
    assert FILTER.preview(names_instructions("{barcode}"), JOB) == [
        "page 1 of 3 would be BARCODE.tif",
        "page 2 of 3 would be BARCODE (2).tif",
        "page 3 of 3 would be BARCODE (3).tif",
        "one document of 3 pages would be BARCODE.pdf",
        "BARCODE stands for what the barcode says",
        "where no barcode is found, a document has the usual name: Invoice_2026-11-21_153005_alice_001.pdf",
    ]


# ---------------------------------------------------------------- dry run


async def test_a_dry_run_reads_a_barcode_that_it_draws(bench: MemoryBench) -> None:
    tried = NamesFilter(zone=BERLIN, workers=bench.workers)
    order = ProbeOrder(PROCESSING, JOB, names_instructions("{barcode}_{date}"))
    assert await tried.probe(order) == [
        "a Code128 barcode was read from a page drawn for it",
        "a page would be called BARCODE_2026-11-21.tif (BARCODE standing for one)",
    ]


async def test_a_dry_run_tells_that_workers_fail() -> None:
    tried = NamesFilter(workers=NoWorkers(WorkFailed("no process can be started")))
    order = ProbeOrder(PROCESSING, JOB, names_instructions("{barcode}"))
    with pytest.raises(DeliveryError, match="barcodes cannot be read: no process can be started"):
        await tried.probe(order)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_template_and_pattern_is_refused_or_previewed(template: str, pattern: str) -> None:
    try:
        instructions = names_instructions(template, barcode_choice(pattern=pattern))
    except Exception:
        return  # what XML cannot hold cannot be in a scan process
    try:
        lines = FILTER.preview(instructions, JOB)
    except InstructionsError as error:
        lines = [str(error), error.what_to_do]
    assert all(lines)
