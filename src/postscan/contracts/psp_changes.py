"""What differs between two writings of a scan process, told to people.

Prefixes, the order of attributes, white space between elements, comments and the encoding are writing and no
difference. The order of elements, their text and their attributes are content. (Whether a device may send
different instructions is another question: :mod:`postscan.contracts.compare`.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from lxml import etree

from postscan.contracts.compare import meaning
from postscan.soap.names import display_name
from postscan.soap.xml import PROCESS_LIMITS, WHITE_SPACE, parse

MAX_CHANGES: Final = 100
_MAX_SHOWN: Final = 120
_MAX_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class ContentChange:
    """One place where the content differs.

    ``path`` leads there by prefixed names below the root, e.g. ``psp:ScanTicket/wscn:JobDescription``.
    ``before`` and ``after`` are its text, shortened where it is long; None where there is no such place.
    """

    path: str
    before: str | None
    after: str | None


def content_changes(before: bytes, after: bytes) -> list[ContentChange]:
    """Return what differs between two scan processes, in document order, at most :data:`MAX_CHANGES`.

    An empty list for different octets means that only the writing differs.

    :raises XmlRefused: one of them is no XML within the limits of a scan process.
    """
    if before == after:
        return []
    old, new = parse(before, PROCESS_LIMITS), parse(after, PROCESS_LIMITS)
    return list(islice(_walk(old, new, ()), MAX_CHANGES))


def _walk(old: etree._Element, new: etree._Element, path: tuple[str, ...]) -> Iterator[ContentChange]:
    for name in sorted({str(name) for name in (*old.attrib, *new.attrib)}):
        mine, theirs = old.get(name), new.get(name)
        if _read(mine, old) != _read(theirs, new):
            yield _change((*path, f"@{_shown_name(name)}"), mine, theirs)
    if _differ(_own_texts(old), _own_texts(new)):
        yield _change(path, _own_text(old), _own_text(new))
    steps, others = _steps(old), _steps(new)
    for step, child in steps.items():
        if step not in others:
            yield _change((*path, _shown_step(step)), _whole_text(child), None)
        else:
            yield from _walk(child, others[step], (*path, _shown_step(step)))
    for step, child in others.items():
        if step not in steps:
            yield _change((*path, _shown_step(step)), None, _whole_text(child))
    if steps.keys() == others.keys() and list(steps) != list(others):
        yield _change(path, _order(steps), _order(others))


def _read(value: str | None, element: etree._Element) -> object:
    return None if value is None else meaning(value, element)


def _change(path: tuple[str, ...], before: str | None, after: str | None) -> ContentChange:
    return ContentChange(
        "/".join(path),
        None if before is None else _shortened(before, _MAX_SHOWN),
        None if after is None else _shortened(after, _MAX_SHOWN),
    )


_Step = tuple[str, int]


def _steps(element: etree._Element) -> dict[_Step, etree._Element]:
    """Return the child elements by name and number among those of the same name, in their order."""
    seen = Counter[str]()
    found = {}
    for child in element:
        tag = str(child.tag)
        seen[tag] += 1
        found[tag, seen[tag]] = child
    return found


def _own_texts(element: etree._Element) -> list[object]:
    """Return the text before, between and behind the child elements; white space there is none."""
    if not len(element):
        return [meaning(element.text or "", element)]
    texts = [element.text or "", *(child.tail or "" for child in element)]
    return [text if text.strip(WHITE_SPACE) else "" for text in texts]


def _differ(texts: list[object], others: list[object]) -> bool:
    if len(texts) == len(others):
        return texts != others
    # The children differ in number and tell it; only text that is new or gone is left to tell.
    return [text for text in texts if text] != [text for text in others if text]


def _own_text(element: etree._Element) -> str:
    return "".join([element.text or "", *(child.tail or "" for child in element)])


def _whole_text(element: etree._Element) -> str:
    return " ".join(" ".join(str(text) for text in element.itertext()).split())


def _order(steps: dict[_Step, etree._Element]) -> str:
    return "in this order: " + ", ".join(_shown_step(step) for step in islice(steps, 10))


def _shown_step(step: _Step) -> str:
    name, number = step
    return _shown_name(name) if number == 1 else f"{_shown_name(name)}[{number}]"


def _shown_name(name: str) -> str:
    return _shortened(display_name(name), _MAX_NAME)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
