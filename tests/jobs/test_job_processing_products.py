"""Filters, or decoders that a hostile page took over, that return what they must not (abuse cases 29, 30)."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat, FilterState, FilterStateReason, JobState
from postscan.filters.contract import ProcessingOrder, Product, SpooledDocument, Workbench
from postscan.jobs.errors import OutOfDiskSpace, UnusableProducts
from postscan.jobs.model import ProcessedDocument
from postscan.jobs.products import ProductLimits, Takeover, TakeoverStopped
from postscan.jobs.settings import RetryPolicy
from support.chains import JOIN, PLACE, Chain, waits
from support.filters import JoiningFilter, RecordingFilter
from support.jobs import new_job, page

Lie = Callable[[Path, SpooledDocument], list[Product]]
LIMITS = ProductLimits(documents=10, octets=1000)


def pdf(path: Path, *sources: int) -> Product:
    return Product(path, DerivedFormat.PDF, sources or (1,))


def made(path: Path, octets: bytes = b"made") -> Product:
    path.write_bytes(octets)
    return pdf(path)


def a_link_to_a_secret(folder: Path, _: SpooledDocument) -> list[Product]:
    (folder / "x").symlink_to("/etc/shadow")
    return [pdf(folder / "x")]


def a_link_to_a_document_of_its_own(folder: Path, _: SpooledDocument) -> list[Product]:
    made(folder / "real")
    (folder / "x").symlink_to(folder / "real")
    return [pdf(folder / "x")]


def a_secret_itself(_: Path, __: SpooledDocument) -> list[Product]:
    return [pdf(Path("/etc/shadow"))]


def a_way_out(folder: Path, _: SpooledDocument) -> list[Product]:
    return [pdf(folder / ".." / ".." / ".." / "jobs.sqlite")]


def a_way_out_and_in_again(folder: Path, _: SpooledDocument) -> list[Product]:
    made(folder / "x")
    return [pdf(folder / ".." / folder.name / "x")]


def a_file_behind_a_linked_folder(folder: Path, _: SpooledDocument) -> list[Product]:
    (folder / "deep").symlink_to("/etc")
    return [pdf(folder / "deep" / "shadow")]


def a_file_below_a_file(folder: Path, _: SpooledDocument) -> list[Product]:
    made(folder / "x")
    return [pdf(folder / "x" / "y")]


def a_second_name_of_an_image(folder: Path, image: SpooledDocument) -> list[Product]:
    (folder / "x").hardlink_to(image.path)
    return [pdf(folder / "x")]


def a_fifo_that_nobody_writes(folder: Path, _: SpooledDocument) -> list[Product]:
    os.mkfifo(folder / "x")
    return [pdf(folder / "x")]


def a_socket(folder: Path, _: SpooledDocument) -> list[Product]:
    with socket.socket(socket.AF_UNIX) as bound:
        before = Path.cwd()
        os.chdir(folder)  # a socket's address is short
        try:
            bound.bind("x")
        finally:
            os.chdir(before)
    return [pdf(folder / "x")]


def a_folder(folder: Path, _: SpooledDocument) -> list[Product]:
    (folder / "x").mkdir()
    return [pdf(folder / "x")]


def the_workbench(folder: Path, _: SpooledDocument) -> list[Product]:
    return [pdf(folder)]


def a_file_that_is_not_there(folder: Path, _: SpooledDocument) -> list[Product]:
    return [pdf(folder / "x")]


def a_relative_path(folder: Path, _: SpooledDocument) -> list[Product]:
    made(folder / "x")
    return [pdf(Path("x"))]


def an_empty_file(folder: Path, _: SpooledDocument) -> list[Product]:
    return [made(folder / "x", b"")]


def a_file_of_many_octets(folder: Path, _: SpooledDocument) -> list[Product]:
    with (folder / "x").open("wb") as sparse:
        sparse.truncate(1 << 40)
    return [pdf(folder / "x")]


def files_of_many_octets_together(folder: Path, _: SpooledDocument) -> list[Product]:
    return [made(folder / str(number), bytes(400)) for number in range(3)]


def the_same_file_twice(folder: Path, _: SpooledDocument) -> list[Product]:
    return [made(folder / "x"), pdf(folder / "x")]


def the_same_image_twice(_: Path, image: SpooledDocument) -> list[Product]:
    return [pdf(image.path), pdf(image.path)]


def images_it_never_got(folder: Path, _: SpooledDocument) -> list[Product]:
    return [replace(made(folder / "x"), sources=(1, 99))]


def nothing(_: Path, __: SpooledDocument) -> list[Product]:
    return []


def too_many(folder: Path, _: SpooledDocument) -> list[Product]:
    return [made(folder / str(number)) for number in range(11)]


def good_ones_and_a_bad_one(folder: Path, image: SpooledDocument) -> list[Product]:
    return [made(folder / "x"), pdf(image.path), made(folder / "y"), pdf(folder / "z")]


LIES: list[Lie] = [
    a_link_to_a_secret,
    a_link_to_a_document_of_its_own,
    a_secret_itself,
    a_way_out,
    a_way_out_and_in_again,
    a_file_behind_a_linked_folder,
    a_file_below_a_file,
    a_second_name_of_an_image,
    a_fifo_that_nobody_writes,
    a_socket,
    a_folder,
    the_workbench,
    a_file_that_is_not_there,
    a_relative_path,
    an_empty_file,
    a_file_of_many_octets,
    files_of_many_octets_together,
    the_same_file_twice,
    the_same_image_twice,
    images_it_never_got,
    nothing,
    too_many,
    good_ones_and_a_bad_one,
]


@pytest.fixture
def image(tmp_path: Path) -> SpooledDocument:
    """Return an image in a job's folder."""
    (tmp_path / "job").mkdir()
    path = tmp_path / "job" / "1.abc"
    path.write_bytes(b"image")
    return SpooledDocument(1, 1, DocumentFormat.JFIF, path, 5, "00", sources=(1,))


@pytest.fixture
def takeover(tmp_path: Path, image: SpooledDocument) -> Takeover:
    """Return the takeover of what the third filter of a job made."""
    (tmp_path / "work").mkdir()
    return Takeover(tmp_path / "work", image.path.parent, 2, [image], LIMITS)


def run(takeover: Takeover, *products: Product) -> list[ProcessedDocument]:
    return takeover.run(products, threading.Event())


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_case_29_nothing_is_taken_over_that_is_not_a_file_made_there(
    takeover: Takeover, image: SpooledDocument, lie: Lie
) -> None:
    products = lie(takeover.workbench, image)
    with pytest.raises(UnusableProducts):
        run(takeover, *products)
    assert [path.name for path in takeover.job_folder.iterdir()] == ["1.abc"]
    assert image.path.read_bytes() == b"image"


def test_files_become_documents_and_leave_the_workbench(takeover: Takeover, image: SpooledDocument) -> None:
    (takeover.workbench / "deep").mkdir()
    first = replace(made(takeover.workbench / "a", b"first"), name="n" * 2000, pages=3)
    second = made(takeover.workbench / "deep" / "b", b"second")
    taken = run(takeover, first, pdf(image.path), second)
    assert [(t.document_id, t.number, t.size, t.handed_on) for t in taken] == [
        (3 << 32 | 1, 1, 5, False),
        (1, 2, 5, True),
        (3 << 32 | 3, 3, 6, False),
    ]
    assert (taken[0].name, taken[0].pages, taken[1].sha256) == ("n" * 1000, 3, "00")
    contents = {path.name: path.read_bytes() for path in takeover.job_folder.iterdir()}
    assert contents == {"1.abc": b"image", taken[0].file_name: b"first", taken[2].file_name: b"second"}
    assert {path.stat().st_mode & 0o777 for path in takeover.job_folder.glob("1*")} >= {0o600}
    assert not (takeover.workbench / "a").exists()
    takeover.undo(taken)
    assert [path.name for path in takeover.job_folder.iterdir()] == ["1.abc"]


def test_a_workbench_that_was_replaced_by_a_link_is_not_followed(takeover: Takeover, tmp_path: Path) -> None:
    product = made(takeover.workbench / "x")
    takeover.workbench.rename(tmp_path / "elsewhere")
    takeover.workbench.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnusableProducts, match="is none any more"):
        run(takeover, product)


def test_a_file_that_grows_while_it_is_taken_over_is_refused(
    takeover: Takeover, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = made(takeover.workbench / "x")
    plain = os.rename

    def grow_and_rename(*arguments: object, **named: object) -> None:
        with product.path.open("ab") as file:
            file.write(b"more")
        plain(*arguments, **named)  # type: ignore[arg-type]  # what os.rename takes

    monkeypatch.setattr(os, "rename", grow_and_rename)
    with pytest.raises(UnusableProducts, match="was changed"):
        run(takeover, product)
    assert [path.name for path in takeover.job_folder.iterdir()] == ["1.abc"]


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_disk_that_fills_up_on_the_way_leaves_nothing_behind(
    takeover: Takeover, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    products = [made(takeover.workbench / name) for name in "abc"]
    plain, calls = getattr(os, call), [0]

    def full(*arguments: object, **named: object) -> object:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(*arguments, **named)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutOfDiskSpace):
        run(takeover, *products)
    assert [path.name for path in takeover.job_folder.iterdir()] == ["1.abc"]


def test_a_job_that_is_stopped_waits_for_no_large_file(takeover: Takeover) -> None:
    product = made(takeover.workbench / "x")
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(TakeoverStopped):
        takeover.run([product], stopped)
    assert [path.name for path in takeover.job_folder.iterdir()] == ["1.abc"]


@pytest.mark.parametrize("lie", [a_link_to_a_secret, a_fifo_that_nobody_writes, nothing, a_secret_itself])
async def test_case_29_a_lie_is_a_defect_that_loses_no_image(make, lie: Lie) -> None:
    async def process(order: ProcessingOrder, bench: Workbench) -> list[Product]:
        return lie(bench.folder, order.documents[0])

    joining, recording = JoiningFilter(process=process), RecordingFilter()
    policy = RetryPolicy(unexpected_attempts=1)
    chain = Chain(await make(joining, recording, retry=policy), joining, recording)
    job = await chain.scan(JOIN, PLACE)
    done = await chain.done(job)
    assert (done.state, done.filters[0].state) == (JobState.ABORTED, FilterState.COMPLETED_WITH_ERRORS)
    assert done.filters[0].reasons == (FilterStateReason.UNKNOWN_ERROR,)
    assert done.filters[0].deliveries[0].advice != ""
    assert len(chain.shop.files()) == 2
    assert chain.arrived(job) == {}


async def test_what_is_returned_and_is_no_product_is_a_defect_too(make) -> None:
    async def process(*_: object) -> list[Product]:
        return ["/etc/shadow"]  # type: ignore[list-item]  # that is the defect

    joining, recording = JoiningFilter(process=process), RecordingFilter()
    policy = RetryPolicy(unexpected_attempts=1)
    chain = Chain(await make(joining, recording, retry=policy), joining, recording)
    assert (await chain.done(await chain.scan())).state is JobState.ABORTED


async def test_what_is_made_leaves_the_last_quarter_of_the_reserve_alone(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = chain.shop.spool
    settings = replace(chain.shop.settings, min_free_bytes=1000)
    job = await chain.shop.engine.create(new_job(filters=(JOIN, PLACE)))
    await chain.shop.send(job.token, 1, page(1))
    chain.shop.engine.limit(settings)
    monkeypatch.setattr(spool, "free_bytes", lambda: 249)
    await chain.shop.engine.end(job.token, None)
    now = await waits(chain, job, 1)
    assert now.filters[0].deliveries[0].reason is FilterStateReason.OUT_OF_DISK_SPACE
    assert chain.joining.tries(job.token) == 0
    monkeypatch.setattr(spool, "free_bytes", lambda: 250)
    await chain.shop.sleepers(3)
    chain.shop.clock.advance(30)
    assert (await chain.done(job)).state is JobState.COMPLETED
