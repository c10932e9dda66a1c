"""Text with fields in it, as administrators write it for names of files, subjects and messages.

``{field}`` stands for a value, ``{field:format}`` for a value in a format of its own, ``{field|otherwise}``
and ``{field:format|otherwise}`` also say what to write when there is no value; ``{{`` and ``}}`` are braces.

A template holds no expressions: it can neither reach into a value nor call anything, and what a value holds
is never read as a template. How long the result can get is known before any value is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self, TypeAlias

from postscan.core.errors import PostscanError

FieldValue: TypeAlias = str | int | datetime | None

MAX_TEMPLATE: Final = 1_000
MAX_FIELDS: Final = 200
MAX_DIGITS: Final = 18
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_LENGTH: Final = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
_WIDTH: Final = re.compile(r"0?[1-9][0-9]?", re.ASCII)
_BRACES: Final = re.compile(r"\{\{|\}\}|\{|\}")
# Written out instead of strftime(), whose other directives depend on the machine and its language.
_DIRECTIVES: Final[dict[str, Callable[[datetime], str]]] = {
    "%": lambda moment: "%",
    "Y": lambda moment: f"{moment.year:04}",
    "y": lambda moment: f"{moment.year % 100:02}",
    "m": lambda moment: f"{moment.month:02}",
    "d": lambda moment: f"{moment.day:02}",
    "j": lambda moment: f"{moment.timetuple().tm_yday:03}",
    "H": lambda moment: f"{moment.hour:02}",
    "M": lambda moment: f"{moment.minute:02}",
    "S": lambda moment: f"{moment.second:02}",
    "G": lambda moment: f"{moment.isocalendar().year:04}",
    "V": lambda moment: f"{moment.isocalendar().week:02}",
    "u": lambda moment: f"{moment.isocalendar().weekday}",
}
_DIRECTIVE: Final = re.compile(r"%(.?)", re.DOTALL)


class FieldKind(StrEnum):
    """What values a field has, and so which formats fit it."""

    TEXT = "text"
    """``{field:20}``: at most so many characters of it."""
    NUMBER = "number"
    """``{field:05}``: at least so many digits, with zeros before it."""
    MOMENT = "moment"
    """``{field:%Y-%m}``: directives of strftime: %Y %y %m %d %j %H %M %S %G %V %u %%."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that templates of one kind may use.

    ``about`` says in a few words what it stands for, ``default`` is the format where a template gives none,
    ``longest`` the most characters of a value that are ever written (before any escaping).
    """

    kind: FieldKind
    about: str
    default: str = ""
    longest: int = 1_000


class TemplateError(PostscanError):
    """A template cannot be understood.

    ``position`` is where, in characters from 1; ``line`` counts from 1 as well.
    """

    advice = "Write fields as {field}, {field:format} or {field|otherwise}, and braces as {{ and }}."

    def __init__(self, message: str, *, text: str, offset: int, advice: str | None = None) -> None:
        self.position = offset + 1
        self.line = text.count("\n", 0, offset) + 1
        column = offset - (text.rfind("\n", 0, offset) + 1) + 1
        where = f"line {self.line}, character {column}" if "\n" in text else f"character {column}"
        super().__init__(f"{where}: {message}", advice=advice)


@dataclass(frozen=True, slots=True)
class _Use:
    """One field where it stands in a template; ``otherwise`` is None where none was given."""

    name: str
    field: Field
    format: str
    otherwise: str | None

    def render(self, value: FieldValue, longest: int | None) -> str | None:
        """Return the value as text, None when there is none."""
        if value is None or value == "":
            return None
        most = self.field.longest if longest is None else min(longest, self.field.longest)
        match self.field.kind, value:
            case FieldKind.MOMENT, datetime() as moment:
                return _DIRECTIVE.sub(lambda found: _DIRECTIVES[found[1]](moment), self.format)
            case FieldKind.NUMBER, int() as number:
                return f"{number:0{int(self.format or 0)}}"[: self.field.longest]
            case FieldKind.TEXT, str() as text:
                return text[: min(most, int(self.format)) if self.format else most]
        raise TypeError(f"{self.name} is {self.field.kind}, not {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was understood; ``text`` is how it was written."""

    text: str
    _parts: tuple[str | _Use, ...]

    @classmethod
    def parse(cls, text: str, known: Mapping[str, Field], *, longest: int = MAX_TEMPLATE) -> Self:
        """Read a template.

        :param known: the fields it may use.
        :param longest: the most characters it may have.
        :raises TemplateError: it is too long, uses other fields, or a brace or a format is wrong.
        """
        if len(text) > longest:
            raise TemplateError(
                f"there are {len(text)} characters, and {longest} are allowed",
                text=text,
                offset=longest,
                advice="Shorten the template.",
            )
        parts: list[str | _Use] = []
        at = 0
        while (found := _BRACES.search(text, at)) is not None:
            if found.start() > at:
                parts.append(text[at : found.start()])
            brace, at = found[0], found.end()
            if brace == "{":
                use, at = _read_use(text, at, known)
                parts.append(use)
            elif brace == "}":
                raise TemplateError("there is a } that ends nothing", text=text, offset=found.start())
            else:
                parts.append(brace[0])
            if len(parts) > 2 * MAX_FIELDS:
                raise TemplateError(
                    f"there are more than {MAX_FIELDS} fields",
                    text=text,
                    offset=found.start(),
                    advice="Shorten the template.",
                )
        if at < len(text):
            parts.append(text[at:])
        return cls(text, tuple(parts))

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields it uses."""
        return frozenset(part.name for part in self._parts if isinstance(part, _Use))

    @property
    def needed(self) -> frozenset[str]:
        """The names of those it uses without saying what to write when there is no value."""
        return frozenset(p.name for p in self._parts if isinstance(p, _Use) and p.otherwise is None)

    @property
    def literals(self) -> str:
        """All that is written as it stands: what is around fields, within formats, and instead of values."""
        found = []
        for part in self._parts:
            if isinstance(part, str):
                found.append(part)
                continue
            found.append(part.otherwise or "")
            if part.field.kind is FieldKind.MOMENT:
                found.append(_DIRECTIVE.sub(lambda directive: "%" * (directive[1] == "%"), part.format))
        return "".join(found)

    def render(
        self,
        values: Mapping[str, FieldValue],
        *,
        escape: Callable[[str], str] | None = None,
        longest: int | None = None,
    ) -> str:
        """Return the text with values in place of fields.

        A field without a value (None, an empty text, or not in ``values``) is written as the template says,
        else as nothing. Moments are written as they are: convert them to the right time zone before.

        :param escape: applied to each value that was cut to its length, not to what the template itself says.
        :param longest: the most characters of any value that is text, where fields and formats allow more.
        """
        written = []
        for part in self._parts:
            if isinstance(part, str):
                written.append(part)
                continue
            text = part.render(values.get(part.name), longest)
            if text is not None and escape is not None:
                text = escape(text)
            written.append(text or part.otherwise or "")
        return "".join(written)


def _read_use(text: str, start: int, known: Mapping[str, Field]) -> tuple[_Use, int]:
    """Read a field that begins after the brace at ``start - 1``; also return where the text goes on."""
    end = _BRACES.search(text, start)
    if end is None:
        raise TemplateError("there is a { that is not closed", text=text, offset=start - 1)
    if end[0][0] == "{":
        raise TemplateError("there is a { within a field", text=text, offset=end.start())
    inner, bar, otherwise = text[start : end.start()].partition("|")
    name, colon, written = inner.partition(":")
    if name not in known:
        raise _unknown(name, text, start, known)
    field = known[name]
    if colon:
        _check_format(field, written, name, text, start + len(name) + 1)
    use = _Use(name, field, written if colon else field.default, otherwise if bar else None)
    return use, end.start() + 1


def _unknown(name: str, text: str, offset: int, known: Mapping[str, Field]) -> TemplateError:
    advice = f"Fields there are: {', '.join(known)}."
    if not name:
        return TemplateError("there is no field's name", text=text, offset=offset, advice=advice)
    near = difflib.get_close_matches(name[:40].lower(), known, n=1)
    hint = f"; did you mean {{{near[0]}}}?" if near else ""
    # What is no name at all is told by its beginning: it can be as long as the template.
    shown = name if _NAME.fullmatch(name) else name[:40]
    return TemplateError(f"there is no field {{{shown[:40]}}}{hint}", text=text, offset=offset, advice=advice)


def _check_format(field: Field, written: str, name: str, text: str, offset: int) -> None:
    match field.kind:
        case FieldKind.TEXT:
            if _LENGTH.fullmatch(written) is None:
                raise TemplateError(
                    f"{{{name}}} is text, and {written[:40]!r} is no length",
                    text=text,
                    offset=offset,
                    advice=f"Write the most characters of it, as in {{{name}:20}}.",
                )
        case FieldKind.NUMBER:
            if _WIDTH.fullmatch(written) is None or int(written) > MAX_DIGITS:
                raise TemplateError(
                    f"{{{name}}} is a number, and {written[:40]!r} is no count of digits (1 to {MAX_DIGITS})",
                    text=text,
                    offset=offset,
                    advice=f"Write the least digits of it, as in {{{name}:05}}.",
                )
        case FieldKind.MOMENT:
            if not written:
                raise TemplateError(
                    f"the format of {{{name}}} is missing after the colon",
                    text=text,
                    offset=offset,
                    advice=f"Write it as in {{{name}:%Y-%m-%d}}, or leave the colon out.",
                )
            for found in _DIRECTIVE.finditer(written):
                if found[1] not in _DIRECTIVES:
                    raise TemplateError(
                        f"{found[0]!r} is nothing that {{{name}}} can be written with",
                        text=text,
                        offset=offset + found.start(),
                        advice=f"Write one of {', '.join(f'%{letter}' for letter in _DIRECTIVES)}.",
                    )
