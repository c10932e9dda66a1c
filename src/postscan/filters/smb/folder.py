"""What is done in one folder of a share: the calls of the protocol, each under the name of what it is for.

The calls block. What they raise is listed by troubles.operation_errors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smbprotocol.exceptions import SMBException, SMBResponseException
from smbprotocol.file_info import (
    FileAttributes,
    FileDispositionInformation,
    FileInternalInformation,
    FileRenameInformation,
    FileStandardInformation,
)
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    DirectoryAccessMask,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    Open,
    ShareAccess,
    SMB2QueryInfoRequest,
    SMB2QueryInfoResponse,
    SMB2SetInfoRequest,
)
from smbprotocol.tree import TreeConnect

from postscan.filters.smb.transport import SafeConnection
from postscan.filters.smb.troubles import NAME_NOT_FOUND, OCCUPIED, status_of

_UNIT: Final = 65_536
_LARGEST_CHUNK: Final = 8 << 20
_READ_CHUNK: Final = 1 << 20
# What a turn leaves of the credits to those that send little meanwhile.
_RESERVE: Final = 16
_ALL: Final = ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE
_LOOK: Final = FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES | FilePipePrinterAccessMask.SYNCHRONIZE
_WRITE: Final = (
    FilePipePrinterAccessMask.FILE_WRITE_DATA
    | FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES
    | FilePipePrinterAccessMask.DELETE
    | FilePipePrinterAccessMask.SYNCHRONIZE
)
_CREATED: Final = 0x2
_EXISTS: Final = 0xC0000035


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What is known of a file: its size in octets, and the number the file system gave it (0 for none).

    ``size`` is None when the server does not tell (somebody holds the file, or it is none).
    """

    size: int | None
    number: int = 0


class SmbFile:
    """A file that was created here and is held: nobody else can write, rename or remove it meanwhile."""

    def __init__(self, folder: SmbFolder, opened: Open) -> None:
        self._folder = folder
        self._open = opened

    @property
    def connection(self) -> SafeConnection:
        """What it is written over; ``connection.turn`` is held while something is read for it and written."""
        return self._folder.connection

    @property
    def chunk_size(self) -> int:
        """How many octets can be written at once now."""
        return _chunk(self.connection, self.connection.max_write_size, _LARGEST_CHUNK)

    def write(self, octets: bytes, offset: int) -> None:
        """Write octets at an offset; all of them, or an error."""
        written = self._open.write(octets, offset)
        if written != len(octets):
            raise SMBException(f"{written} of {len(octets)} octets were written")

    def flush(self) -> None:
        """Have the server put everything onto its disk."""
        self._open.flush()

    def status(self) -> FileStatus:
        """Return its size and number."""
        return _status(self._open)

    def rename(self, name: str) -> bool:
        """Give it another name in its folder, and replace nothing; False when something has that name."""
        wish = FileRenameInformation()
        wish["replace_if_exists"] = False
        wish["file_name"] = self._folder.path_of(name)
        try:
            _set(self._open, wish)
        except SMBResponseException as error:
            if status_of(error) == _EXISTS:
                return False
            raise
        return True

    def remove(self) -> None:
        """Remove it, and let go of it."""
        wish = FileDispositionInformation()
        wish["delete_pending"] = True
        _set(self._open, wish)
        self._open.close()

    def close(self) -> None:
        """Let go of it."""
        self._open.close()


class SmbFolder:
    """A folder of a share.

    :param path: where it is in the share, without a backslash at either end; empty for the share itself.
    """

    def __init__(self, tree: TreeConnect, path: str) -> None:
        self._tree = tree
        self._path = path
        self.connection: SafeConnection = tree.session.connection

    def path_of(self, name: str) -> str:
        """Return the path in the share of something in this folder."""
        return f"{self._path}\\{name}" if self._path else name

    def check(self) -> None:
        """Look whether it is there, and is a folder."""
        opened = Open(self._tree, self._path)
        _create(opened, DirectoryAccessMask.FILE_READ_ATTRIBUTES, CreateDisposition.FILE_OPEN, is_folder=True)
        opened.close()

    def inner(self, name: str) -> tuple[SmbFolder, bool]:
        """Return a folder inside, made unless it is there; and whether it was made now."""
        opened = Open(self._tree, self.path_of(name))
        wanted = DirectoryAccessMask.FILE_READ_ATTRIBUTES
        _create(opened, wanted, CreateDisposition.FILE_OPEN_IF, is_folder=True)
        made = opened.create_action == _CREATED
        opened.close()
        return SmbFolder(self._tree, self.path_of(name)), made

    def status(self, name: str) -> FileStatus | None:
        """Return what something in this folder is; None when there is nothing of that name."""
        opened = Open(self._tree, self.path_of(name))
        try:
            _create(opened, _LOOK, CreateDisposition.FILE_OPEN)
        except SMBResponseException as error:
            status = status_of(error)
            if status in NAME_NOT_FOUND:
                return None
            if status in OCCUPIED:
                return FileStatus(None)
            raise
        try:
            return _status(opened)
        finally:
            opened.close()

    def create(self, name: str) -> SmbFile | None:
        """Make a file that was not there before, and hold it; None when something has that name."""
        opened = Open(self._tree, self.path_of(name))
        try:
            _create(opened, _WRITE, CreateDisposition.FILE_CREATE, sharing=0)
        except SMBResponseException as error:
            if status_of(error) == _EXISTS:
                return None
            raise
        return SmbFile(self, opened)

    def settle(self, name: str) -> None:
        """Have the server put a file onto its disk, with the name it has."""
        opened = Open(self._tree, self.path_of(name))
        wanted = FilePipePrinterAccessMask.FILE_WRITE_DATA | FilePipePrinterAccessMask.SYNCHRONIZE
        _create(opened, wanted, CreateDisposition.FILE_OPEN)
        try:
            opened.flush()
        finally:
            opened.close()

    def read(self, name: str, most: int) -> Iterator[bytes]:
        """Return the content of a file, piece by piece, and no more than about so many octets of it."""
        opened = Open(self._tree, self.path_of(name))
        wanted = FilePipePrinterAccessMask.FILE_READ_DATA | _LOOK
        _create(opened, wanted, CreateDisposition.FILE_OPEN)
        try:
            # What a server says of the size may change, and be anything.
            size = min(_status(opened).size or 0, most)
            offset = 0
            while offset < size:
                with self.connection.turn:
                    chunk = _chunk(self.connection, self.connection.max_read_size, _READ_CHUNK)
                    piece: bytes = opened.read(offset, min(chunk, size - offset))
                if not piece:
                    break
                yield piece
                offset += len(piece)
        finally:
            with contextlib.suppress(SMBException):  # the connection may be over: then it is closed anyway
                opened.close()

    def remove(self, name: str) -> bool:
        """Remove a file; False when it is gone already."""
        return self._remove(name, CreateOptions.FILE_NON_DIRECTORY_FILE)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder inside."""
        self._remove(name, CreateOptions.FILE_DIRECTORY_FILE)

    def _remove(self, name: str, kind: int) -> bool:
        opened = Open(self._tree, self.path_of(name))
        try:
            opened.create(
                ImpersonationLevel.Impersonation,
                FilePipePrinterAccessMask.DELETE | FilePipePrinterAccessMask.SYNCHRONIZE,
                0,
                _ALL,
                CreateDisposition.FILE_OPEN,
                # The link itself, where it is one.
                kind | CreateOptions.FILE_OPEN_REPARSE_POINT | CreateOptions.FILE_DELETE_ON_CLOSE,
            )
        except SMBResponseException as error:
            if status_of(error) in NAME_NOT_FOUND:
                return False
            raise
        opened.close()
        return True


def _chunk(connection: SafeConnection, allowed: int, largest: int) -> int:
    """Return how many octets may be sent or asked for at once ([MS-SMB2] 3.2.4.1.5)."""
    if not connection.supports_multi_credit:
        # What a server then allows is this, whatever it says ([MS-SMB2] 3.3.5.4).
        return _UNIT
    return max(min(largest, int(allowed), (connection.credits - _RESERVE) * _UNIT), _UNIT)


def _create(
    opened: Open, access: int, disposition: int, *, is_folder: bool = False, sharing: int = _ALL
) -> None:
    opened.create(
        ImpersonationLevel.Impersonation,
        access,
        FileAttributes.FILE_ATTRIBUTE_DIRECTORY if is_folder else FileAttributes.FILE_ATTRIBUTE_NORMAL,
        sharing,
        disposition,
        CreateOptions.FILE_DIRECTORY_FILE if is_folder else CreateOptions.FILE_NON_DIRECTORY_FILE,
    )


def _status(opened: Open) -> FileStatus:
    standard = _query(opened, FileStandardInformation())
    internal = _query(opened, FileInternalInformation())
    return FileStatus(standard["end_of_file"].get_value(), internal["index_number"].get_value())


def _query(
    opened: Open, kind: FileStandardInformation | FileInternalInformation
) -> FileStandardInformation | FileInternalInformation:
    request = SMB2QueryInfoRequest()
    request["info_type"] = kind.INFO_TYPE
    request["file_info_class"] = kind.INFO_CLASS
    request["output_buffer_length"] = len(kind)
    request["file_id"] = opened.file_id
    answer = SMB2QueryInfoResponse()
    answer.unpack(_exchange(opened, request))
    kind.unpack(answer["buffer"].get_value())
    return kind


def _set(opened: Open, kind: FileRenameInformation | FileDispositionInformation) -> None:
    request = SMB2SetInfoRequest()
    request["info_type"] = kind.INFO_TYPE
    request["file_info_class"] = kind.INFO_CLASS
    request["file_id"] = opened.file_id
    request["buffer"] = kind.pack()
    _exchange(opened, request)


def _exchange(opened: Open, request: SMB2QueryInfoRequest | SMB2SetInfoRequest) -> bytes:
    tree = opened.tree_connect
    sent = opened.connection.send(request, tree.session.session_id, tree.tree_connect_id)
    octets: bytes = opened.connection.receive(sent)["data"].get_value()
    return octets
