"""Pages that the device draws itself, for the demo and the tests: A4 at 300 dpi, each number its own page.

The same number always gives the same page. Each carries its number at its foot.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from postscan.contracts.keywords import DocumentFormat
from postscan.device.imaging.adapt import adapt
from postscan.device.imaging.encode import HOLDS, encode_page, write_tiff
from postscan.device.imaging.page import Page
from postscan.device.imaging.request import MULTI_PAGE, check_ticket
from postscan.device.imaging.scanned import ScannedImage
from postscan.device.landscape import landscape
from postscan.device.page_words import FIRMS, GOODS, PEOPLE, PLACES, SENTENCES, STREETS
from postscan.device.typesetting import Colour, Sheet

DPI = 300
A4 = 2480, 3508
"""Width and height in pixels."""

_MARGIN = 236
_TEXT_WIDTH = A4[0] - 2 * _MARGIN
_BODY = 44
_BLACK, _GREY, _PALE = 0, 96, 200
_NIGHT, _SLATE, _PAPER = (24, 44, 66), (92, 106, 122), (253, 252, 249)
_ACCENTS = ((196, 78, 48), (28, 122, 128), (176, 122, 24), (96, 78, 156))


def text_page(number: int) -> Image.Image:
    """Return a page of black text on white in grey shades (mode L): letters and invoices by turns."""
    sheet = Sheet(Image.new("L", A4, 255), _BLACK)
    chance = random.Random(f"text {number}")  # noqa: S311 - draws a page, guards nothing
    firm = chance.choice(FIRMS)
    y = _letterhead(sheet, firm, chance)
    if number % 2:
        y = _address(sheet, y, "Invoice", f"No. {4000 + number * 17}", chance)
        y = _invoice_table(sheet, y + 70, chance)
        y = sheet.paragraph(_MARGIN, y + 130, _TEXT_WIDTH, _prose(chance, 3), _BODY)
    else:
        y = _address(
            sheet, y, "Minutes and accounts", f"Our reference {number:04d}-{chance.randint(10, 99)}", chance
        )
        y += 90
        for sentences in (4, 5, 3):
            y = sheet.paragraph(_MARGIN, y, _TEXT_WIDTH, _prose(chance, sentences), _BODY) + 34
        y = _figures_table(sheet, y + 30, chance)
    _signature(sheet, y + 110, firm, chance)
    _foot(sheet, f"{firm} · drawn by Postscan for a demonstration", number, _GREY)
    return _scanned(sheet.image)


def photo_page(number: int) -> Image.Image:
    """Return a page with one large colour picture (mode RGB), some 0.7 MB as a JPEG of quality 75."""
    sheet = Sheet(Image.new("RGB", A4, _PAPER), _NIGHT)
    frame = 150
    picture = landscape((A4[0] - 2 * frame, 2860), number)
    sheet.image.paste(picture, (frame, frame))
    chance = random.Random(f"photo {number}")  # noqa: S311 - draws a page, guards nothing
    hour = ("Dusk", "Noon", "Early morning", "Late afternoon")[number % 4]
    sheet.line(frame, 3130, f"{hour} at Lake {chance.choice(PLACES)}", 76)
    detail = f"Plate {number} · 1/{chance.choice((60, 125, 250))} s at f/{chance.choice((5.6, 8, 11))}"
    sheet.line(frame, 3212, detail, 42, ink=_SLATE)
    _foot(sheet, "Picture and page drawn by Postscan for a demonstration", number, _SLATE, frame)
    return _scanned(sheet.image)


def mixed_page(number: int) -> Image.Image:
    """Return a page of text, a colour picture and a chart (mode RGB), like one of a magazine."""
    sheet = Sheet(Image.new("RGB", A4, _PAPER), (34, 36, 40))
    chance = random.Random(f"mixed {number}")  # noqa: S311 - draws a page, guards nothing
    accent = _ACCENTS[number % len(_ACCENTS)]
    place = chance.choice(PLACES)
    sheet.pen.rectangle((0, 0, A4[0], 120), fill=accent)
    sheet.line(_MARGIN, 82, "THE SHORE AND MOUNTAIN REVIEW", 46, bold=True, ink=_PAPER)
    sheet.line(A4[0] - _MARGIN, 82, f"Number {number}", 46, ink=_PAPER, anchor="rs")
    sheet.line(_MARGIN, 330, f"A week at Lake {place}", 140, bold=True, ink=_NIGHT)
    sheet.line(_MARGIN, 424, f"Words and figures by {chance.choice(PEOPLE)}", 54, ink=_SLATE)
    sheet.rule(_MARGIN, 474, _TEXT_WIDTH, 6, ink=accent)
    sheet.image.paste(landscape((_TEXT_WIDTH, 1160), number + 1), (_MARGIN, 540))
    sheet.line(_MARGIN, 1768, f"The lake from the southern bank, with Mount {place} behind.", 40, ink=_SLATE)
    gutter = 90
    column = (_TEXT_WIDTH - gutter) / 2
    for index in range(2):
        x, y = _MARGIN + index * (column + gutter), 1900.0
        for sentences in (3, 3) if index == 0 else (2,):
            y = sheet.paragraph(x, y, column, _prose(chance, sentences), _BODY) + 34
        if index:
            _chart(sheet, (x, y + 20, column, 3180 - y), accent, chance)
    _foot(sheet, "Drawn by Postscan for a demonstration", number, _SLATE)
    return _scanned(sheet.image)


def encode(image: Image.Image, format: DocumentFormat, *, quality: int = 75) -> ScannedImage:  # noqa: A002
    """Return a drawn page in a published format.

    :raises ImageError: the format cannot be made.
    """
    return encode_all([image], format, quality=quality)


def encode_all(
    images: Sequence[Image.Image],
    format: DocumentFormat,  # noqa: A002 - the ticket's own word for it
    *,
    quality: int = 75,
) -> ScannedImage:
    """Return drawn pages as one document; more than one needs a multi-page format.

    As scanners do, PDF/A gets grey pages, which are text, as black and white (Group 4), and colours as JPEG.

    :raises ImageError: the format cannot be made.
    :raises ValueError: several pages, and the format holds one; or none.
    """
    check_ticket(format, quality, None, None)
    if not images or (len(images) > 1 and format not in MULTI_PAGE):
        raise ValueError(f"{len(images)} pages do not go into one {format}")
    modes = HOLDS[format].modes - ({"L"} if format is DocumentFormat.PDF_A else set())
    pages = [
        adapt(
            Page(image, image.info.get("dpi"), lossy=True),
            modes=frozenset({"1"}) if format is DocumentFormat.PDF_A and image.mode == "L" else modes,
            color=None,
            resolution=None,
            newest_profile=0,
            name="page",
        )
        for image in images
    ]
    if format not in MULTI_PAGE:
        return ScannedImage(encode_page(pages[0], format, quality), format, name="drawn page")
    out = io.BytesIO()
    if format is DocumentFormat.PDF_A:
        from postscan.device.imaging.pdf_writing import write_pdf_a

        write_pdf_a(pages, quality, out)
    else:
        write_tiff(pages, format, quality, out)
    return ScannedImage(out.getvalue(), format, pages=len(pages), name="drawn pages")


def as_g4(image: Image.Image, label: str) -> ScannedImage:
    """Return a drawn page as a Group 4 TIFF to send."""
    return replace(encode(image, DocumentFormat.TIFF_SINGLE_G4), name=label)


def as_jpeg(image: Image.Image, label: str) -> ScannedImage:
    """Return a drawn page as a JFIF file of quality 75 to send."""
    return replace(encode(image, DocumentFormat.JFIF), name=label)


def as_png(image: Image.Image, label: str) -> ScannedImage:
    """Return a drawn page as a PNG file to send."""
    return replace(encode(image, DocumentFormat.PNG), name=label)


def as_pdf_a(images: Sequence[Image.Image], label: str) -> ScannedImage:
    """Return drawn pages as one PDF/A document to send."""
    return replace(encode_all(images, DocumentFormat.PDF_A), name=label)


def _scanned(image: Image.Image) -> Image.Image:
    image.info["dpi"] = (float(DPI), float(DPI))
    return image


def _prose(chance: random.Random, sentences: int) -> str:
    return " ".join(chance.sample(SENTENCES, sentences))


def _foot(sheet: Sheet, text: str, number: int, ink: Colour, margin: int = _MARGIN) -> None:
    sheet.rule(margin, 3330, A4[0] - 2 * margin, 3, ink=ink)
    sheet.line(margin, 3394, text, 36, ink=ink)
    sheet.line(A4[0] - margin, 3394, f"Page {number}", 36, ink=ink, anchor="rs")


def _letterhead(sheet: Sheet, firm: str, chance: random.Random) -> float:
    """Draw a mark of rings and the firm's name; return where to go on."""
    pen, x, y = sheet.pen, _MARGIN + 84, 300
    for ring, radius in enumerate(range(84, 8, -24)):
        start = chance.randrange(360)
        pen.arc((x - radius, y - radius, x + radius, y + radius), start, start + 250 - 30 * ring, _BLACK, 11)
    sheet.line(_MARGIN + 220, 302, firm, 92, bold=True)
    place = f"{chance.randint(2, 88)} {chance.choice(STREETS)} · {chance.choice(PLACES)}"
    sheet.line(_MARGIN + 224, 368, place, 40, ink=_GREY)
    sheet.rule(_MARGIN, 440, _TEXT_WIDTH, 5)
    return 600.0


def _address(sheet: Sheet, y: float, title: str, reference: str, chance: random.Random) -> float:
    lines = (
        chance.choice(PEOPLE),
        f"{chance.randint(2, 88)} {chance.choice(STREETS)}",
        f"{chance.randint(1000, 9999)} {chance.choice(PLACES)}",
    )
    for index, line in enumerate(lines):
        sheet.line(_MARGIN, y + index * 66, line, 46)
    date = f"{chance.randint(1, 28)} {chance.choice(('March', 'June', 'September', 'November'))} 2025"
    sheet.line(A4[0] - _MARGIN, y, date, 46, anchor="rs")
    sheet.line(A4[0] - _MARGIN, y + 66, reference, 46, anchor="rs")
    sheet.line(_MARGIN, y + 380, title, 80, bold=True)
    return y + 400


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    right_edge: float


def _table(
    sheet: Sheet, y: float, first: str, columns: Sequence[_Column], rows: Sequence[tuple[str, ...]]
) -> float:
    """Draw a table with the first column on the left and the others set to their right edges."""
    pitch = 84
    sheet.pen.rectangle((_MARGIN, y, A4[0] - _MARGIN, y + pitch), fill=_BLACK)
    sheet.line(_MARGIN + 24, y + 56, first, 42, bold=True, ink=255)
    for column in columns:
        sheet.line(column.right_edge, y + 56, column.title, 42, bold=True, ink=255, anchor="rs")
    y += pitch
    for cells in rows:
        sheet.line(_MARGIN + 24, y + 56, cells[0], 42)
        for column, cell in zip(columns, cells[1:], strict=True):
            sheet.line(column.right_edge, y + 56, cell, 42, anchor="rs")
        y += pitch
        sheet.rule(_MARGIN, y, _TEXT_WIDTH, 2, ink=_PALE)
    sheet.rule(_MARGIN, y, _TEXT_WIDTH, 4)
    return y


def _invoice_table(sheet: Sheet, y: float, chance: random.Random) -> float:
    right = A4[0] - _MARGIN - 24
    columns = (_Column("Quantity", right - 620), _Column("Price", right - 320), _Column("EUR", right))
    orders = [(name, chance.randint(1, 12), price) for name, price in chance.sample(GOODS, 7)]
    rows = [(name, str(count), f"{price:.2f}", f"{count * price:,.2f}") for name, count, price in orders]
    y = _table(sheet, y, "Goods and services", columns, rows)
    net = sum(count * price for _name, count, price in orders)
    for label, amount, size in (
        ("Net", net, 44),
        ("Tax, 20 per cent", net * 0.2, 44),
        ("To pay", net * 1.2, 58),
    ):
        y += 88
        sheet.line(right - 320, y, label, size, bold=size > 50, anchor="rs")
        sheet.line(right, y, f"{amount:,.2f}", size, bold=size > 50, anchor="rs")
    sheet.rule(right - 700, y + 30, 724, 6)
    return y


def _figures_table(sheet: Sheet, y: float, chance: random.Random) -> float:
    right = A4[0] - _MARGIN - 24
    columns = [
        _Column(title, right - 1140 + 380 * index)
        for index, title in enumerate(("Spring", "Summer", "Autumn", "Year"))
    ]
    rows = []
    for place in chance.sample(PLACES, 5):
        figures = [chance.randint(120, 4800) for _ in range(3)]
        rows.append((place, *(f"{figure:,}" for figure in figures), f"{sum(figures):,}"))
    return _table(sheet, y, "Pages sent", columns, rows)


def _signature(sheet: Sheet, y: float, firm: str, chance: random.Random) -> None:
    """Draw a signature's stroke over a name, where there is room left."""
    if y > 2960:
        return
    pace, lean, beat = chance.uniform(0.30, 0.42), chance.uniform(26, 44), chance.uniform(0.9, 1.3)
    points = []
    for step in range(180):
        turn, fading = step * pace / 2, 1.25 - step / 180
        tall = 0.55 + 0.45 * math.sin(turn * 0.31 * beat + 1)
        x = _MARGIN + 40 + step * 3.1 + lean * math.sin(turn + 0.7)
        points.append((x, y + 80 - 76 * fading * tall * math.sin(turn * beat)))
    sheet.pen.line(points, fill=_BLACK, width=6, joint="curve")
    sheet.line(_MARGIN, y + 220, f"{chance.choice(PEOPLE)}, {firm}", 42, ink=_GREY)


def _chart(
    sheet: Sheet, box: tuple[float, float, float, float], accent: tuple[int, int, int], chance: random.Random
) -> None:
    """Draw bars, one for each day of a week, into (left, top, width, height)."""
    left, top, width, height = box
    sheet.line(left, top + 44, "Visitors a day", 48, bold=True, ink=_NIGHT)
    floor, room = top + height - 50, height - 190
    for step in range(5):
        sheet.rule(left, floor - room * step / 4, width, 2, ink=(214, 216, 220))
    pitch = width / 7
    for day, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")):
        share = chance.uniform(0.2, 0.72) + (0.26 if day > 4 else 0)
        x = left + pitch * day + pitch * 0.16
        colour = accent if day > 4 else tuple((channel + 2 * 190) // 3 for channel in accent)
        sheet.pen.rectangle((x, floor - room * share, x + pitch * 0.68, floor), fill=colour)
        sheet.line(
            x + pitch * 0.34, floor - room * share - 14, f"{share * 1000:.0f}", 34, anchor="ms", ink=_SLATE
        )
        sheet.line(x + pitch * 0.34, floor + 50, name, 36, anchor="ms", ink=_SLATE)
    sheet.rule(left, floor, width, 4, ink=_NIGHT)
