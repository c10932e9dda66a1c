"""Takes over what a processing filter made: checked, hashed, durable, and in the job's folder.

A filter, or a decoder in a worker process that a hostile image took over, may return any path. So nothing is
believed of one: it is opened step by step from the workbench's folder without following links, and what was
opened is what is hashed, synced and found again under its final name (abuse cases 29 and 30).

After a crash on the way the job's folder holds files that no row names; the spool removes them at the start.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postscan.contracts.formats import DerivedFormat
from postscan.contracts.keywords import DocumentFormat
from postscan.core.errors import PostscanError
from postscan.filters.contract import Product, SpooledDocument
from postscan.jobs.disk import A_FOLDER, storage_errors, sync_folder
from postscan.jobs.errors import UnusableProducts
from postscan.jobs.model import ProcessedDocument

# Opening a FIFO without this would wait for its writer for ever.
_A_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What opening says of a link, and of a socket or a device without driver.
_LINKS: Final = frozenset({errno.ELOOP, errno.EMLINK})
_NO_FILES: Final = frozenset({errno.ENXIO, errno.ENODEV, errno.EISDIR})
_CHUNK: Final = 1024 * 1024
_LONGEST_NAME: Final = 1000
# Made documents have ids beyond those of images: the filter's place in the job, then their number there.
_NUMBER_BITS: Final = 32

Folder = int
"""An open folder's descriptor."""


@dataclass(frozen=True, slots=True)
class ProductLimits:
    """How many documents one filter may hand on, and how many octets it may add to the spool."""

    documents: int
    octets: int


class TakeoverStopped(PostscanError):
    """Taking over was asked to stop; nothing of it is left in the job's folder."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """One filter's products, about to become documents of its job.

    ``workbench`` is the folder they were made in, ``job_folder`` where they go; ``documents`` is what the
    filter got, which it may hand on.
    """

    workbench: Path
    job_folder: Path
    filter_index: int
    documents: Sequence[SpooledDocument]
    limits: ProductLimits

    def run(self, products: Sequence[Product], stopped: threading.Event) -> list[ProcessedDocument]:
        """Take every product over; blocks. On any error the job's folder is as it was before.

        ``stopped`` ends it soon.

        :raises UnusableProducts: there are none, too many or too large ones, or one is not what it must be.
        :raises OutOfDiskSpace, StorageUnavailable: the disk says so.
        :raises TakeoverStopped: ``stopped`` was set.
        """
        self._check_number(products)
        by_path = {document.path: document for document in self.documents}
        known = {source for document in self.documents for source in document.sources}
        taken: list[ProcessedDocument] = []
        used: set[Path] = set()
        octets = 0
        try:
            with storage_errors("cannot take over what a filter made"), ExitStack() as open_folders:
                source = open_folders.enter_context(_workbench(self.workbench))
                target = os.open(self.job_folder, A_FOLDER)
                open_folders.callback(os.close, target)
                for number, product in enumerate(products, start=1):
                    if product.path in used:
                        raise UnusableProducts(f"document {number} is one that was returned before")
                    used.add(product.path)
                    _check_facts(number, product)
                    if not known.issuperset(product.sources):
                        raise UnusableProducts(f"document {number} names images that the filter did not get")
                    same = by_path.get(product.path)
                    if same is not None:
                        taken.append(self._handed_on(number, product, same))
                        continue
                    one = self._taken_over(
                        number, product, source, target, self.limits.octets - octets, stopped
                    )
                    octets += one.size
                    taken.append(one)
                os.fsync(target)
        except BaseException:
            self.undo(taken)
            raise
        return taken

    def undo(self, taken: Sequence[ProcessedDocument]) -> None:
        """Remove from the job's folder what was taken over."""
        with storage_errors("cannot remove what a filter made"):
            for one in taken:
                if one.file_name is not None:
                    (self.job_folder / one.file_name).unlink(missing_ok=True)
            if taken and self.job_folder.is_dir():
                sync_folder(self.job_folder)

    def _check_number(self, products: Sequence[Product]) -> None:
        if not products:
            raise UnusableProducts("the filter returned no document")
        if len(products) > self.limits.documents:
            raise UnusableProducts(
                f"the filter returned {len(products)} documents, {self.limits.documents} are allowed"
            )

    def _handed_on(self, number: int, product: Product, same: SpooledDocument) -> ProcessedDocument:
        return ProcessedDocument(
            filter_index=self.filter_index,
            number=number,
            document_id=same.document_id,
            format=product.format,
            size=same.size,
            sha256=same.sha256,
            name=_bounded(product.name) or same.name,
            sources=same.sources,
            pages=same.pages if product.pages is None else product.pages,
            file_name=None,
        )

    def _taken_over(
        self,
        number: int,
        product: Product,
        source: Folder,
        target: Folder,
        most: int,
        stopped: threading.Event,
    ) -> ProcessedDocument:
        document_id = (self.filter_index + 1) << _NUMBER_BITS | number
        file_name = f"{document_id}.{random.getrandbits(32):08x}"
        with ExitStack() as opened:
            folder, name = self._parent_of(product.path, number, source, opened)
            file = self._open(name, folder, number)
            opened.callback(os.close, file)
            found = _checked(file, number, most)
            sha256 = _hash(file, stopped)
            os.fchmod(file, 0o600)
            os.fsync(file)
            os.rename(name, file_name, src_dir_fd=folder, dst_dir_fd=target)
            try:
                if not _same(os.stat(file_name, dir_fd=target, follow_symlinks=False), found):
                    raise UnusableProducts(f"document {number} was changed while it was taken over")
            except BaseException:
                os.unlink(file_name, dir_fd=target)
                raise
        return ProcessedDocument(
            filter_index=self.filter_index,
            number=number,
            document_id=document_id,
            format=product.format,
            size=found.st_size,
            sha256=sha256,
            name=_bounded(product.name),
            sources=product.sources,
            pages=product.pages,
            file_name=file_name,
        )

    def _parent_of(self, path: Path, number: int, source: Folder, opened: ExitStack) -> tuple[Folder, str]:
        """Open the folder that a product lies in, from the workbench's on; return it and the last name."""
        inside = path.relative_to(self.workbench) if path.is_relative_to(self.workbench) else None
        if inside is None or not inside.parts or ".." in inside.parts:
            raise UnusableProducts(f"document {number} does not lie in the folder it was to be made in")
        folder = source
        for part in inside.parts[:-1]:
            try:
                folder = os.open(part, A_FOLDER, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise UnusableProducts(f"document {number} lies in what is no folder") from error
            except OSError as error:
                if error.errno in _LINKS:
                    raise UnusableProducts(f"document {number} lies behind a link") from error
                raise
            opened.callback(os.close, folder)
        return folder, inside.parts[-1]

    def _open(self, name: str, folder: Folder, number: int) -> int:
        try:
            return os.open(name, _A_FILE, dir_fd=folder)
        except FileNotFoundError as error:
            raise UnusableProducts(f"document {number} is not there") from error
        except OSError as error:
            if error.errno in _LINKS or error.errno in _NO_FILES:
                raise UnusableProducts(f"document {number} is no regular file") from error
            raise


def as_documents(
    before: Sequence[SpooledDocument], made: Sequence[ProcessedDocument], files: Callable[[str], Path]
) -> list[SpooledDocument]:
    """Return what a filter handed on as the documents that the next one gets.

    :param before: what it got; those that it handed on itself keep their files.
    :param files: returns where a file of the job's folder lies.
    """
    paths: Mapping[int, Path] = {document.document_id: document.path for document in before}
    return [
        SpooledDocument(
            document_id=one.document_id,
            number=number,
            format=one.format,
            path=paths[one.document_id] if one.file_name is None else files(one.file_name),
            size=one.size,
            sha256=one.sha256,
            name=one.name,
            sources=one.sources,
            pages=one.pages,
        )
        for number, one in enumerate(made, start=1)
    ]


@contextmanager
def _workbench(path: Path) -> Iterator[Folder]:
    try:
        descriptor = os.open(path, A_FOLDER)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnusableProducts("the folder that documents were to be made in is none any more") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _hash(file: int, stopped: threading.Event) -> str:
    digest = hashlib.sha256()
    while chunk := os.read(file, _CHUNK):
        if stopped.is_set():
            raise TakeoverStopped("the job is being stopped")
        digest.update(chunk)
    return digest.hexdigest()


def _checked(file: int, number: int, most: int) -> os.stat_result:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise UnusableProducts(f"document {number} is no regular file")
    if found.st_nlink != 1:
        raise UnusableProducts(f"document {number} is a file that has another name besides")
    if found.st_size == 0:
        raise UnusableProducts(f"document {number} is empty")
    if found.st_size > most:
        raise UnusableProducts(f"document {number} makes more octets of the job than it may have")
    return found


def _same(moved: os.stat_result, found: os.stat_result) -> bool:
    """Tell whether a file is the one that was hashed, and still of that size, without another name."""
    return os.path.samestat(moved, found) and moved.st_size == found.st_size and moved.st_nlink == 1


def _check_facts(number: int, product: Product) -> None:
    """Look at what is said of a file; a filter of another package may say anything."""
    if not isinstance(product.format, DocumentFormat | DerivedFormat):
        raise UnusableProducts(f"document {number} has a format that is none")
    if product.pages is not None and not (isinstance(product.pages, int) and 0 <= product.pages < 1 << 32):
        raise UnusableProducts(f"document {number} has a number of pages that is none")
    if not isinstance(product.name, str | None):
        raise UnusableProducts(f"document {number} has a name that is no text")


def _bounded(name: str | None) -> str | None:
    return None if name is None else name[:_LONGEST_NAME].encode(errors="replace").decode()
