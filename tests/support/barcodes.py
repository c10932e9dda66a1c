"""Pages with barcodes on them, and the instructions of the names filter that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import zxingcpp
from PIL import Image

from postscan.contracts.names import BarcodeKind
from postscan.soap.names import NAMES, PSP
from postscan.soap.xml import parse
from support.processing import page

if TYPE_CHECKING:
    from lxml.etree import _Element


def drawn_barcode(kind: BarcodeKind, text: str, scale: int = 3) -> Image.Image:
    """Return a barcode alone."""
    drawn: Any = zxingcpp.write_barcode_to_image(
        zxingcpp.create_barcode(text, zxingcpp.barcode_format_from_str(kind)), scale=scale
    )
    height, width = memoryview(drawn).shape or (0, 0)
    image: Image.Image = Image.frombytes("L", (width, height), bytes(drawn))
    return image


def barcode_page(*barcodes: tuple[BarcodeKind, str], words: str = "", turned: int = 0) -> Image.Image:
    """Return a page with words at its top and barcodes below, one under the other; then turned by degrees."""
    sheet = page(words)
    top = 220
    for kind, text in barcodes:
        drawn = drawn_barcode(kind, text)
        sheet.paste(drawn, (90, top))
        top += drawn.height + 40
    return sheet.rotate(turned, expand=True, fillcolor=255)


def names_config(template: str, rest: str = "") -> str:
    """Return names:NamesConfig, a line for the template; ``rest`` is XML that follows it."""
    return (
        f"<names:NamesConfig xmlns:names='{NAMES}'>\n"
        f"<names:Template>{escape(template)}</names:Template>{rest}\n</names:NamesConfig>"
    )


def names_instructions(template: str, rest: str = "") -> _Element:
    """Return psp:Instructions of the names filter."""
    config = names_config(template, rest)
    return parse(f"<psp:Instructions xmlns:psp='{PSP}'>{config}</psp:Instructions>".encode())


def names_step(template: str, rest: str = "") -> str:
    """Return psp:Filter, as it stands in a scan process."""
    config = names_config(template, rest)
    return (
        f"<psp:Filter><psp:Dialect>{NAMES}</psp:Dialect>\n"
        f"<psp:Instructions>{config}</psp:Instructions></psp:Filter>"
    )


def barcode_choice(*kinds: str, pattern: str | None = None, where: str | None = None) -> str:
    """Return the element Barcode of the instructions."""
    inner = "".join(f"<names:Kind>{kind}</names:Kind>" for kind in kinds)
    inner += "" if pattern is None else f"<names:Pattern>{escape(pattern)}</names:Pattern>"
    inner += "" if where is None else f"<names:Page>{where}</names:Page>"
    return f"<names:Barcode>{inner}</names:Barcode>"
