"""Setting text on a page with the one font that Pillow brings along. Lengths are pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

Colour = int | tuple[int, int, int]

_LEADING = 1.45
_BOLD = 0.028


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the built-in font at ``size`` pixels an em.

    :raises TypeError: this Pillow was built without FreeType.
    """
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise TypeError("drawing pages needs a Pillow with FreeType")
    return loaded


@dataclass(slots=True)
class Sheet:
    """A page being written on: the picture, its pen, and the colour of ink."""

    image: Image.Image
    ink: Colour

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        """Pillow's drawing interface to the page."""
        return ImageDraw.Draw(self.image)

    def line(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        *,
        bold: bool = False,
        ink: Colour | None = None,
        anchor: str = "ls",
    ) -> float:
        """Write one line with its baseline at ``y`` and return its width; ``anchor`` is Pillow's."""
        weight = size * _BOLD if bold else 0
        colour = self.ink if ink is None else ink
        self.pen.text(
            (x, y), text, colour, font(size), anchor=anchor, stroke_width=weight, stroke_fill=colour
        )
        return font(size).getlength(text)

    def paragraph(
        self, x: float, y: float, width: float, text: str, size: int, *, ink: Colour | None = None
    ) -> float:
        """Write justified text from the baseline ``y`` on, and return the baseline after it."""
        lines = wrap(text, size, width)
        for number, words in enumerate(lines):
            gap = font(size).getlength(" ")
            if number < len(lines) - 1 and len(words) > 1:
                gap = (width - sum(font(size).getlength(word) for word in words)) / (len(words) - 1)
            at = x
            for word in words:
                self.line(at, y, word, size, ink=ink)
                at += font(size).getlength(word) + gap
            y += size * _LEADING
        return y

    def rule(
        self, x: float, y: float, width: float, thickness: int = 3, *, ink: Colour | None = None
    ) -> None:
        """Draw a horizontal line."""
        self.pen.rectangle((x, y, x + width, y + thickness - 1), fill=self.ink if ink is None else ink)


def wrap(text: str, size: int, width: float) -> list[list[str]]:
    """Return the words of ``text`` line by line, as many to a line as ``width`` takes."""
    space = font(size).getlength(" ")
    lines, room = [list[str]()], width
    for word in text.split():
        needed = font(size).getlength(word)
        if lines[-1] and needed > room:
            lines.append([])
            room = width
        lines[-1].append(word)
        room -= needed + space
    return lines
