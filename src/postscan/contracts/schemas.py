"""Validation against the schemas this project carries (``schema/*.xsd``, written from the specification).

One driver schema imports every namespace; an envelope is validated in one pass, and what its Body and Header
hold is validated wherever a declaration exists (the wildcards are lax, so vendor extensions pass).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from lxml import etree

from postscan.core.errors import InvalidArgument
from postscan.soap.names import PREFIX_OF, split_qname

# The forms of libxml2's messages. What it expects ends, after optional elements, with the required one.
_PLACE = re.compile(r"Element '([^']+)'(?:, attribute '([^']+)')?:")
_ABSENT_ATTRIBUTE = re.compile(r": The attribute '([^']+)' is required but missing\.$")
_REQUIRED = re.compile(r"Expected is (?:one of )?\( (?:.* )?(\{[^{}\s]+\}[^\s*,]+) \)\.$")
_CLARK = re.compile(r"\{[^{}\s]+\}[\w.-]+")


@lru_cache(maxsize=1)
def _schema() -> etree.XMLSchema:
    with resources.as_file(resources.files(__package__) / "schema") as folder:
        return etree.XMLSchema(etree.parse(folder / "postscan.xsd"))


def validate(element: etree._Element) -> None:
    """Check an element (an envelope, a body, a scan process) against the schemas.

    :raises InvalidArgument: the first violation; ``detail`` is the prefixed name of the element (or
        attribute) that is missing, unexpected or malformed.
    """
    schema = _schema()
    if schema.validate(element):
        return
    first = schema.error_log[0]
    raise InvalidArgument(f"schema violation: {first.message}", detail=_culprit(first, element))


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where an element breaks the schemas: its line (1 is the first) and what is wrong there."""

    line: int
    message: str
    detail: str | None


def violations(element: etree._Element) -> list[Violation]:
    """Return every violation of the schemas, in document order, with namespaces shortened to prefixes."""
    return violations_of(_schema(), element)


def violations_of(schema: etree.XMLSchema, element: etree._Element) -> list[Violation]:
    """Return every violation of one schema, as ``violations`` does."""
    if schema.validate(element):
        return []
    return [
        Violation(
            entry.line,
            _CLARK.sub(lambda m: _prefixed(m.group(0)), entry.message),
            _culprit(entry, element),
        )
        for entry in schema.error_log
    ]


def _culprit(entry: etree._LogEntry, root: etree._Element) -> str | None:
    """Return the prefixed name of what is wrong, out of libxml2's message."""
    message = entry.message
    place = _PLACE.match(message)
    if place is None:
        return None
    tag, bad_attribute = place.groups()
    # The type is asked first: other messages quote values, which might imitate these.
    if entry.type_name == "SCHEMAV_ELEMENT_CONTENT":
        required = _REQUIRED.search(message)
        if required and _is_absent(required.group(1), beside=tag, root=root):
            return _prefixed(required.group(1))
    elif entry.type_name == "SCHEMAV_CVC_COMPLEX_TYPE_4":
        absent = _ABSENT_ATTRIBUTE.search(message)
        bad_attribute = absent.group(1) if absent else None
    if bad_attribute:
        return f"{_prefixed(tag)}/@{_prefixed(bad_attribute)}"
    return _prefixed(tag)


def _is_absent(tag: str, *, beside: str, root: etree._Element) -> bool:
    """Tell whether some element ``beside`` has no ``tag`` among its children, nor among its siblings."""
    return any(
        node.find(tag) is None and (parent is None or parent.find(tag) is None)
        for node in root.iter(beside)
        for parent in (node.getparent(),)
    )


def _prefixed(clark: str) -> str:
    namespace, local = split_qname(clark)
    prefix = PREFIX_OF.get(namespace)
    return f"{prefix}:{local}" if prefix else local
