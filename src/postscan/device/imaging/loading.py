"""From a file to the documents a device sends, without decoding anything where that can be avoided."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from postscan.contracts.keywords import DocumentFormat
from postscan.device.errors import ImageError
from postscan.device.imaging.filekind import (
    ByteReader,
    FileKind,
    jpeg_segments,
    open_reader,
    read_kind,
    require_complete,
)
from postscan.device.imaging.request import ConversionRequest, submit
from postscan.device.imaging.sandbox import run_limited
from postscan.device.imaging.scanned import ScannedImage
from postscan.device.imaging.tiff_structure import TiffCompression, TiffPage, TiffStructure, read_structure

_SINGLE_AND_MULTI = {
    TiffCompression.NONE: (DocumentFormat.TIFF_SINGLE_UNCOMPRESSED, DocumentFormat.TIFF_MULTI_UNCOMPRESSED),
    TiffCompression.GROUP3: (DocumentFormat.TIFF_SINGLE_G3MH, DocumentFormat.TIFF_MULTI_G3MH),
    TiffCompression.GROUP4: (DocumentFormat.TIFF_SINGLE_G4, DocumentFormat.TIFF_MULTI_G4),
    TiffCompression.JPEG_TN2: (DocumentFormat.TIFF_SINGLE_JPEG, DocumentFormat.TIFF_MULTI_JPEG),
}


def load(path: Path) -> list[ScannedImage]:
    """Return what is to be sent for a file, as it is wherever a published Format keyword says what it is.

    What the file is, its bytes decide, never its name. Two kinds of file do not go as they are:

    - A TIFF whose compression no keyword means (LZW, Deflate, PackBits, two-dimensional Group 3, old JPEG,
      pages of several kinds, BigTIFF) is rewritten without loss, its pages still one document: as Group 4 if
      every page is black and white, else uncompressed.
    - A PDF that does not claim to be PDF/A in its own metadata is refused, for `pdf-a` is the only published
      PDF keyword and a server may check.

    :raises ImageError: the file is missing, empty, cut short, of no known kind, or such a PDF.
    """
    image = identify(path)
    if image is not None:
        return [image]
    with open_reader(path) as reader:
        if read_kind(reader) is FileKind.PDF:
            raise ImageError(
                f"{path} is a PDF but does not say that it is PDF/A, and no other PDF has a Format.",
                advice="Ask for a format: with `--format pdf-a` (or png, tiff-multi-g4 ...) the pages of a "
                "scanned PDF are taken out and sent as that. Or save it as PDF/A.",
            )
        structure = read_structure(reader)
    bilevel = all(page.bits_per_pixel == 1 for page in structure.pages)
    single, multi = _SINGLE_AND_MULTI[TiffCompression.GROUP4 if bilevel else TiffCompression.NONE]
    request = ConversionRequest((), single if len(structure.pages) == 1 else multi)
    return [image for _source, image in submit([path], request)]


def identify(path: Path) -> ScannedImage | None:
    """Return the file as it is under the keyword that means it; None for a sound TIFF or PDF that none means.

    :raises ImageError: the file is missing, empty, cut short, or of no known kind.
    """
    with open_reader(path) as reader:
        kind = read_kind(reader)
        if kind is FileKind.PDF:
            return _identify_pdf(path)
        if kind is FileKind.TIFF:
            structure = read_structure(reader)
            keyword = tiff_keyword(structure)
            return ScannedImage(path, keyword, len(structure.pages), str(path)) if keyword else None
        require_complete(reader, kind)
        match kind:
            case FileKind.JPEG:
                keyword = DocumentFormat.EXIF if _is_exif(reader) else DocumentFormat.JFIF
            case FileKind.PNG:
                keyword = DocumentFormat.PNG
            case FileKind.BMP:
                keyword = DocumentFormat.DIB
            case _:
                keyword = DocumentFormat.JPEG2K
        return ScannedImage(path, keyword, name=str(path))


def tiff_keyword(structure: TiffStructure) -> DocumentFormat | None:
    """Return the published keyword that means just such a TIFF, None if there is none."""
    codings = {_coding(page) for page in structure.pages}
    if structure.big or len(codings) != 1 or None in codings:
        return None
    single, multi = _SINGLE_AND_MULTI[TiffCompression(codings.pop() or 0)]
    return single if len(structure.pages) == 1 else multi


def _coding(page: TiffPage) -> TiffCompression | None:
    match page.compression:
        # Both are the T.4 one-dimensional code; compression 2 only leaves out the end-of-line codes.
        case TiffCompression.GROUP3 | TiffCompression.MODIFIED_HUFFMAN:
            return None if page.two_dimensional_group3 else TiffCompression.GROUP3
        case TiffCompression.NONE | TiffCompression.GROUP4 | TiffCompression.JPEG_TN2:
            return TiffCompression(page.compression)
    return None


def _identify_pdf(path: Path) -> ScannedImage | None:
    with TemporaryDirectory(prefix="postscan-") as folder:
        found = run_limited("inspect-pdf", Path(folder), {"path": str(path.resolve()), "name": str(path)})
    if not found["claim"]:
        return None
    return ScannedImage(path, DocumentFormat.PDF_A, pages=found["pages"], name=str(path))


def _is_exif(reader: ByteReader) -> bool:
    """Tell whether the file opens as Exif lays down: APP1 first (JFIF then has lost its place, APP0)."""
    for marker, offset, length in jpeg_segments(reader):
        if marker == 0xE0:
            return False
        if marker == 0xE1 and reader.at(offset + 4, min(6, length - 4)) == b"Exif\0\0":
            return True
    return False
