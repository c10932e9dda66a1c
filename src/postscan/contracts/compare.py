"""Whether the instructions a device sent are those of the scan process (abuse case 24).

They are compared as infosets: prefixes, the order of attributes, white space round values and between
elements, the two spellings of a truth value, and whether a default is written out do not matter; the order of
elements does. What differs is reported, save for what the process itself opens to the user:

- ``emlf:CanAddAddresses``: up to 20 more e-mail addresses, behind the stored ones;
- ``spx:AllowDeviceFileNameChange``: another DocumentRootName;
- ``spx:AllowDeviceFilePathChange``: other values of ShareUNC, as many as there are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from lxml import etree

from postscan.contracts.emlf import CAN_ADD_ADDRESSES
from postscan.contracts.psp import PostScanProcess
from postscan.soap.names import DSP, EMLF, FSF, PSP, SPF, SPX, display_name, qname, split_qname
from postscan.soap.xml import WHITE_SPACE

MAX_ADDED_ADDRESSES: Final = 20

_ROOT: Final = qname(PSP, "PostScanInstructions")
_SENT_ROOT: Final = qname(DSP, "PostScanInstructions")
_DOCUMENT_ROOT_NAME: Final = qname(PSP, "DocumentRootName")
_SHARE: Final = (qname(FSF, "FileShares"), qname(FSF, "ShareUNC"))
_ADDRESSES: Final = qname(EMLF, "SendToAddresses")
_ADDRESS: Final = qname(EMLF, "EmailAddress")

# (parent, element) that hold a truth value, which is false when the element is absent.
_FLAGS: Final = frozenset(
    {
        (_ROOT, qname(PSP, "ContinueOnError")),
        (_ROOT, qname(SPX, "AllowDeviceFileNameChange")),
        (_ROOT, qname(SPX, "AllowDeviceFilePathChange")),
        (qname(SPF, "SharePointConfig"), qname(SPF, "SaveToMySite")),
        (qname(EMLF, "EmailConfig"), qname(EMLF, "SendToScanUser")),
    }
)
_TRUTH: Final = {"1": "true", "0": "false"}
# Only these may be empty for false: their declaration has a default value.
_FALSE_WHEN_EMPTY: Final = SPX
# In these, white space round a value says nothing; what a vendor's element makes of it, nobody knows.
_KNOWN: Final = frozenset({PSP, FSF, SPF, EMLF, SPX})

# One local part and one domain of dots, letters (of any script) and what RFC 5321 allows without quotes.
_SIMPLE_ADDRESS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]+(\.[\w-]+)*")
_QNAME: Final = re.compile(r"([^\W\d][\w.-]*):([^\W\d][\w.-]*)")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the instructions differ.

    ``path`` leads there by prefixed names, e.g. ``PostScanInstructions/psp:FiltersToProcess/psp:Filter[2]``;
    ``name`` is the prefixed name of the element (or ``element/@attribute``), for a fault's Detail.
    """

    path: str
    name: str


def differences(stored: PostScanProcess, sent: etree._Element) -> list[Difference]:
    """Return where ``sent`` (dsp:PostScanInstructions) differs from the stored process, in document order.

    ``sent`` was validated before. An empty list means that the job may be created.
    """
    expected = stored.instructions_element
    if sent.tag not in (_ROOT, _SENT_ROOT):
        return [Difference(display_name(str(sent.tag)), display_name(str(sent.tag)))]
    comparison = _Comparison(stored.file_name_may_change, stored.file_path_may_change)
    return list(comparison.elements(expected, sent, None, "PostScanInstructions"))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Walks two trees at a time; ``parent`` is the tag of the stored elements' parent, None at the root."""

    name_may_change: bool
    path_may_change: bool

    def elements(
        self, stored: etree._Element, sent: etree._Element, parent: str | None, path: str
    ) -> Iterator[Difference]:
        tag = _ROOT if parent is None else str(stored.tag)
        name = _name(tag)
        yield from _attributes(stored, sent, tag, path)
        expected, found = _Content.of(stored, tag), _Content.of(sent, tag)
        added: list[etree._Element] = []
        if tag == _ADDRESSES and _attribute(stored, CAN_ADD_ADDRESSES) == "true":
            added = found.take_added(expected)
        if not expected.children and not found.children:
            if not self._is_open(parent, tag) and not _same_value(stored, sent, parent, tag):
                yield Difference(path, name)
        elif not expected.same_text(found):
            yield Difference(path, name)
        yield from self._children(expected.children, found.children, tag, path)
        yield from _unacceptable(added, path, expected.addresses)

    def _children(
        self, expected: list[etree._Element], found: list[etree._Element], tag: str, path: str
    ) -> Iterator[Difference]:
        steps = _steps(expected)
        for position, stored in enumerate(expected):
            if position >= len(found) or found[position].tag != stored.tag:
                # What follows is out of step; telling about each of them would help nobody.
                missing = stored.tag not in {other.tag for other in found[position:]}
                wrong = stored if missing else found[position]
                yield Difference(f"{path}/{steps[position]}", _name(str(wrong.tag)))
                return
            yield from self.elements(stored, found[position], tag, f"{path}/{steps[position]}")
        if len(found) > len(expected):
            extra = found[len(expected)]
            yield Difference(f"{path}/{_steps(found)[len(expected)]}", _name(str(extra.tag)))

    def _is_open(self, parent: str | None, tag: str) -> bool:
        """Tell whether the process lets the user change this element's value."""
        if (parent, tag) == (_ROOT, _DOCUMENT_ROOT_NAME):
            return self.name_may_change
        return (parent, tag) == _SHARE and self.path_may_change


@dataclass(slots=True)
class _Content:
    """What is in an element: its children, and the text before, between and behind them.

    A flag that is false is left out, as if its default had not been written.
    """

    children: list[etree._Element]
    texts: list[str]

    @classmethod
    def of(cls, element: etree._Element, tag: str) -> _Content:
        children: list[etree._Element] = []
        texts = [element.text or ""]
        for child in element:
            if isinstance(child.tag, str) and not _is_default(child, tag):
                children.append(child)
                texts.append("")
            texts[-1] += child.tail or ""
        return cls(children, texts)

    def same_text(self, other: _Content) -> bool:
        """Tell whether both have the same text; text that is white space only stands for none."""

        def significant(texts: list[str]) -> list[str]:
            return [text if text.strip(WHITE_SPACE) else "" for text in texts]

        mine, theirs = significant(self.texts), significant(other.texts)
        # Where the number of children differs, the children tell it.
        return mine == theirs if len(mine) == len(theirs) else "".join(mine) == "".join(theirs)

    @property
    def addresses(self) -> int:
        """How many e-mail addresses come first; libxml2 lets some pass behind a vendor's element."""
        return sum(1 for _ in takewhile(lambda child: child.tag == _ADDRESS, self.children))

    def take_added(self, expected: _Content) -> list[etree._Element]:
        """Take out and return the addresses behind those that are expected."""
        first = last = expected.addresses
        while last < len(self.children) and self.children[last].tag == _ADDRESS:
            last += 1
        if first == last:
            return []
        added = self.children[first:last]
        between = "".join(self.texts[first + 1 : last + 1])
        del self.children[first:last], self.texts[first + 1 : last + 1]
        self.texts[first] += between
        return added


def _is_default(element: etree._Element, parent: str) -> bool:
    plain = not element.attrib and not any(isinstance(child.tag, str) for child in element)
    return (parent, element.tag) in _FLAGS and plain and _flag(element) == "false"


def _flag(element: etree._Element) -> str:
    value = _text(element).strip(WHITE_SPACE)
    if not value and split_qname(str(element.tag))[0] == _FALSE_WHEN_EMPTY:
        return "false"
    return _TRUTH.get(value, value)


def _same_value(stored: etree._Element, sent: etree._Element, parent: str | None, tag: str) -> bool:
    """Compare what two elements without children hold."""
    if (parent, tag) in _FLAGS:
        return _flag(stored) == _flag(sent)
    mine, theirs = _text(stored), _text(sent)
    if split_qname(tag)[0] in _KNOWN:
        return mine.strip(WHITE_SPACE) == theirs.strip(WHITE_SPACE)
    return meaning(mine, stored) == meaning(theirs, sent)


def _attributes(stored: etree._Element, sent: etree._Element, tag: str, path: str) -> Iterator[Difference]:
    for clark in sorted({str(name) for name in (*stored.attrib, *sent.attrib)}):
        if _attribute(stored, clark) != _attribute(sent, clark):
            shown = display_name(clark)
            yield Difference(f"{path}/@{shown}", f"{_name(tag)}/@{shown}")


def _attribute(element: etree._Element, clark: str) -> object:
    value = element.get(clark)
    if clark == CAN_ADD_ADDRESSES and element.tag == _ADDRESSES:
        text = (value or "false").strip(WHITE_SPACE)
        return _TRUTH.get(text, text)
    return None if value is None else meaning(value, element)


def meaning(value: str, element: etree._Element) -> object:
    """Return what a value of unknown type says: a prefix that is declared stands for its namespace."""
    found = _QNAME.fullmatch(value.strip(WHITE_SPACE))
    namespace = element.nsmap.get(found.group(1)) if found else None
    return (namespace, found.group(2)) if found and namespace else value


def _unacceptable(added: list[etree._Element], path: str, stored: int) -> Iterator[Difference]:
    """Report the added addresses that may not be added (abuse cases 33 and 36)."""
    for number, element in enumerate(added, start=1):
        value = _text(element).strip(WHITE_SPACE)
        plain = not element.attrib and not len(element)
        if number > MAX_ADDED_ADDRESSES or not plain or not _is_simple_address(value):
            yield Difference(f"{path}/{_name(_ADDRESS)}[{stored + number}]", _name(_ADDRESS))


def _is_simple_address(value: str) -> bool:
    return (
        value.isprintable()
        and _SIMPLE_ADDRESS.fullmatch(value) is not None
        and not value.startswith(".")
        and ".." not in value
        and ".@" not in value
    )


def _text(element: etree._Element) -> str:
    return (element.text or "") + "".join(child.tail or "" for child in element)


def _name(tag: str) -> str:
    return display_name(_SENT_ROOT if tag == _ROOT else tag)


def _steps(elements: list[etree._Element]) -> list[str]:
    """Return the elements' names, with a number where several have the same."""
    tags = [str(element.tag) for element in elements]
    totals, seen = Counter(tags), Counter[str]()
    steps = []
    for tag in tags:
        seen[tag] += 1
        steps.append(display_name(tag) if totals[tag] == 1 else f"{display_name(tag)}[{seen[tag]}]")
    return steps
