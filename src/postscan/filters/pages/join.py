"""Joining PDF parts to documents, as plain PDF or PDF/A-2b (ISO 19005-2).

What is called PDF/A was judged by pikepdf's validator, which approves nothing that it does not know. It does
not know JPEG 2000: images of that kind are taken when they are what PDF/A-2 allows (``images.sheets_of``).
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final

import pikepdf
from pikepdf import pdfa
from PIL import ImageCms

from postscan.filters.pages.errors import PageError
from postscan.filters.pages.parts import Part, opened_pdf

MARK: Final = "/PostscanContent"
"""An entry of the information dictionary: ``images`` when scanned images are all that the document has."""

_LEAST_ROOM: Final = 1024 * 1024
_OF_A_CATALOGUE: Final = frozenset({"/Type", "/Pages", "/Version"})
_JPEG_2000: Final = "JPEG 2000"
_OTHER_OUTPUT: Final = "Choose the output pdf, or let the device send images."
_HARMLESS_ACTIONS: Final = frozenset({"/URI", "/GoTo"})
_PROFILE_CLASSES: Final = frozenset({b"scnr", b"mntr", b"prtr", b"spac"})
_PROFILE_SPACES: Final = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}
_PLAIN_SPACES: Final = {1: pikepdf.Name.DeviceGray, 3: pikepdf.Name.DeviceRGB}
_NOT_IN_XML: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535))


@dataclass(frozen=True, slots=True)
class Labels:
    """What a document says of itself: its title, when the job was made, and that it is PDF/A-2b."""

    title: str
    created: datetime
    archival: bool


_ANY_LABELS: Final = Labels("", datetime(2000, 1, 1, tzinfo=UTC), archival=True)


@dataclass(frozen=True, slots=True)
class _Run:
    """Pages of one file that follow each other there: from ``first`` on, before ``end``."""

    path: Path
    first: int
    end: int
    drawn: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """A document that was made: its file, the documents its pages are of, and how many pages it has.

    ``unproven`` says what nobody can tell to be PDF/A or not; empty when nothing is.
    """

    path: Path
    numbers: tuple[int, ...]
    pages: int
    unproven: str = ""


def join(
    parts: Sequence[Part], without: frozenset[int], per_document: int | None, folder: Path, labels: Labels
) -> Iterator[Joined]:
    """Write the pages of all parts into documents of ``per_document`` pages, all into one when it is None.

    :param without: numbers of documents whose pages are left out.
    :param folder: where the documents are written to.
    :raises PageError: what was made is no PDF/A, though it should be.
    """
    pages = [
        (part, place) for part in parts for place, number in enumerate(part.numbers) if number not in without
    ]
    size = per_document or max(1, len(pages))
    for count, begin in enumerate(range(0, len(pages), size)):
        group = pages[begin : begin + size]
        path = folder / f"made-{count + 1}.pdf"
        _write(_runs(group), path, labels)
        unproven = judge(path) if labels.archival else ""
        numbers = dict.fromkeys(part.numbers[place] for part, place in group)
        yield Joined(path, tuple(numbers), len(group), unproven)


def judge(path: Path) -> str:
    """Return what nobody can tell to be PDF/A-2b or not, empty when all is.

    :raises PageError: it is none.
    """
    # A stream, as a file would be mapped into memory as a whole.
    with path.open("rb") as stream:
        report = pdfa.validate_written(stream, pdfa.Flavour.PDFA_2B)
    doubts = [one for one in report.findings if _JPEG_2000 not in one.message]
    for one in doubts:
        if one.kind == "violation":
            raise PageError(
                f"the pages cannot be made PDF/A-2b: {one.message} ({one.rule}, {one.where})",
                advice=_OTHER_OUTPUT,
            )
    return f"{doubts[0].message} ({doubts[0].where})" if doubts else ""


def archival_trouble(part: Part, folder: Path) -> PageError | None:
    """Return why the pages of a part cannot be in a PDF/A-2b, None when they can.

    Where nobody can tell, it is believed when it says so itself.
    """
    path = folder / "judged.pdf"
    try:
        _write([_Run(part.path, 0, len(part.numbers), drawn=False)], path, _ANY_LABELS)
        unproven = judge(path)
        if unproven and not _claims_archival(part.path):
            return PageError(f"nobody can tell whether its pages are PDF/A: {unproven}", advice=_OTHER_OUTPUT)
    except PageError as error:
        return error
    finally:
        path.unlink(missing_ok=True)
    return None


def _claims_archival(path: Path) -> bool:
    try:
        with opened_pdf(path, path.name) as source:
            return not source.is_encrypted and source.open_metadata().pdfa_status[:1] in ("1", "2")
    except (PageError, pikepdf.PdfError, ValueError, TypeError):
        return False


def _runs(pages: Sequence[tuple[Part, int]]) -> list[_Run]:
    runs = []
    for _key, followers in groupby(enumerate(pages), key=lambda one: (one[1][0].path, one[1][1] - one[0])):
        group = [page for _count, page in followers]
        part = group[0][0]
        runs.append(_Run(part.path, group[0][1], group[-1][1] + 1, part.drawn))
    return runs


def _write(runs: Sequence[_Run], path: Path, labels: Labels) -> None:
    """Write pages into one document.

    qpdf joins them, not pikepdf, which would hold all of their images in memory at once.
    """
    joined = path.with_name("joined.pdf")
    arguments = ["qpdf", "--empty", "--deterministic-id", "--warning-exit-0", "--no-warn", "--pages"]
    for run in runs:
        arguments += [str(run.path), f"{run.first + 1}-{run.end}"]
    try:
        pikepdf.Job([*arguments, "--", str(joined)]).run()
        # Not repaired: qpdf says nothing of a file that could not be written to its end.
        made = pikepdf.open(joined, access_mode=pikepdf.AccessMode.stream, attempt_recovery=False)
    except (pikepdf.PdfError, pikepdf.JobUsageError, RuntimeError) as error:
        raise _join_failure(joined, error) from error
    with made:
        if len(made.pages) != sum(run.end - run.first for run in runs):
            raise PageError("the pages cannot be joined: some of them are missing")
        for key in set(made.Root.keys()) - _OF_A_CATALOGUE:
            # Forms, scripts and the like, which qpdf brings along with the pages.
            del made.Root[key]
        place = 0
        for run in runs:
            pages = made.pages[place : place + run.end - run.first] if not run.drawn else ()
            for page in pages:
                _disarm(page)
            place += run.end - run.first
        if labels.archival:
            _make_archival(made)
        _label(made, labels, drawn=all(run.drawn for run in runs))
        with path.open("wb") as file:
            # An identifier of what it holds, so that the same pages make the same octets after a crash.
            made.save(file, min_version="1.7", deterministic_id=True)
    joined.unlink()


def _join_failure(joined: Path, error: Exception) -> Exception:
    """Return what kept qpdf from joining: a limit of file sizes, a full disk, or the pages themselves."""
    size = joined.stat().st_size if joined.exists() else 0
    if size >= resource.getrlimit(resource.RLIMIT_FSIZE)[0] >= 0:
        return OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if shutil.disk_usage(joined.parent).free < _LEAST_ROOM:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return PageError(f"the pages cannot be joined: {str(error)[:200]}")


def _disarm(page: pikepdf.Page) -> None:
    """Take away what a page could do by itself, and files that hang on it: scans are looked at."""
    for key in ("/AA", "/AF"):
        if key in page.obj:
            del page.obj[key]
    notes = page.obj.get("/Annots")
    if isinstance(notes, pikepdf.Array):
        kept = [note for note in notes if isinstance(note, pikepdf.Dictionary) and _is_harmless(note)]
        if kept:
            page.obj["/Annots"] = pikepdf.Array(kept)
        else:
            del page.obj["/Annots"]


def _is_harmless(note: pikepdf.Dictionary) -> bool:
    action = note.get("/A")
    if (
        "/AA" in note
        or "/AF" in note
        or note.get("/Subtype") in ("/FileAttachment", "/RichMedia", "/Movie", "/Screen", "/3D")
    ):
        return False
    return action is None or (
        isinstance(action, pikepdf.Dictionary)
        and str(action.get("/S")) in _HARMLESS_ACTIONS
        and "/Next" not in action
    )


def _make_archival(pdf: pikepdf.Pdf) -> None:
    """Give colours their meaning: an output intent for those of devices, and no profile that is not one."""
    profile = pdf.make_stream(_srgb(), {"/N": 3, "/Alternate": pikepdf.Name.DeviceRGB})
    pdf.Root.OutputIntents = pikepdf.Array(
        [
            pikepdf.Dictionary(
                Type=pikepdf.Name.OutputIntent,
                S=pikepdf.Name.GTS_PDFA1,
                OutputConditionIdentifier=pikepdf.String("sRGB"),
                RegistryName=pikepdf.String("http://www.color.org"),
                Info=pikepdf.String("sRGB IEC61966-2.1"),
                DestOutputProfile=pdf.make_indirect(profile),
            )
        ]
    )
    for page in pdf.pages:
        for image in page.get_images(recursive=False).values():
            _require_profile(image)


def _require_profile(image: pikepdf.Object) -> None:
    space = image.get("/ColorSpace")
    if not isinstance(space, pikepdf.Array) or len(space) != 2 or space[0] != "/ICCBased":
        return
    stream = space[1]
    colours = int(stream.get("/N", 0))
    head = stream.read_bytes()[:128]
    if (
        head[36:40] == b"acsp"
        and head[12:16] in _PROFILE_CLASSES
        and _PROFILE_SPACES.get(head[16:20]) == colours
    ):
        return
    if colours in _PLAIN_SPACES:
        image["/ColorSpace"] = _PLAIN_SPACES[colours]


def _srgb() -> bytes:
    """Return an sRGB profile, the same octets each time: the date of its making is taken out (ICC.1, 7.2)."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes((7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0))
    return bytes(profile)


def _label(pdf: pikepdf.Pdf, labels: Labels, *, drawn: bool) -> None:
    title = labels.title.translate(_NOT_IN_XML)
    with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
        if title:
            metadata["dc:title"] = title
        metadata["pdf:Producer"] = "Postscan"
        metadata["xmp:CreateDate"] = labels.created.isoformat(timespec="seconds")
        metadata["xmp:ModifyDate"] = labels.created.isoformat(timespec="seconds")
        if labels.archival:
            metadata["pdfaid:part"] = "2"
            metadata["pdfaid:conformance"] = "B"
    # The information dictionary must say the same (ISO 19005-2, 6.6.3).
    moment = labels.created.strftime("D:%Y%m%d%H%M%S%z")
    moment = f"{moment[:-2]}'{moment[-2:]}'"
    if title:
        pdf.docinfo["/Title"] = title
    pdf.docinfo["/Producer"] = "Postscan"
    pdf.docinfo["/CreationDate"] = moment
    pdf.docinfo["/ModDate"] = moment
    if drawn:
        pdf.docinfo[MARK] = "images"
